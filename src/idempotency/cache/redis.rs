//! The answers in Redis, which instances share. It may be away, slow, full, emptied or filled with rubbish at any time:
//! then the database is asked instead, and soon Redis is not asked at all until it works again.

#[cfg(target_os = "linux")]
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncCommands as _, Client, ConnectionInfo, IntoConnectionInfo as _, RedisError, SetExpiry,
    SetOptions,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use sha2::{Digest as _, Sha256};
use std::{fmt, future::Future, str::FromStr, sync::Arc, time::Duration};
use tokio::{
    runtime::Handle,
    sync::{Notify, Semaphore},
    task::AbortHandle,
    time::Instant,
};

use super::{
    CachedAnswer, Lookup,
    breaker::{Act, Breaker},
    entry,
};
use crate::{idempotency::key::IdempotencyKey, secret::Secret, store::types::Timestamp};

/// How long a connection or an answer is waited for.
const PATIENCE: Duration = Duration::from_millis(50);
/// How long it is left alone before it is tried again. Doubles where it breaks again soon after it was taken to work.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(32);
/// For so long it must work to be as good as new.
const SOON: Duration = Duration::from_secs(60);
/// After how long without a sign of the other end a connection is lost, which the system would hold on to for minutes.
#[cfg(target_os = "linux")]
const LOST_AFTER: Duration = Duration::from_secs(2);
/// How often it is looked at while it works: where no request asks it, nothing else would find out that it does not.
const LOOK: Duration = Duration::from_secs(2);
/// How many writes are under way at once; what comes beyond them is not kept.
const WRITES: usize = 256;
/// The most that is read of a value: an answer is never so long, not even with each byte escaped.
const LONGEST: isize = 8 * 1024 * 1024;
/// Long enough for whoever looks at how far Redis works.
const PROBE_TTL: Duration = Duration::from_secs(60);

/// Where Redis is. Shows itself without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(Secret);

/// Why a text is no address of a Redis.
#[derive(Debug, thiserror::Error)]
#[error(
    "allowed are redis://…, or rediss://… with TLS, as in redis://:PASSWORD@HOST:6379/0; in a password write @ as %40, / as \
     %2F, # as %23 and ? as %3F"
)]
pub struct InvalidRedisUrl;

impl FromStr for RedisUrl {
    type Err = InvalidRedisUrl;

    fn from_str(text: &str) -> Result<Self, InvalidRedisUrl> {
        let is_known = text.starts_with("redis://") || text.starts_with("rediss://");
        // Its error may quote the text.
        match text.into_connection_info() {
            Ok(_) if is_known && is_plain(text) => Ok(Self(Secret::new(text))),
            _ => Err(InvalidRedisUrl),
        }
    }
}

/// Whether nothing of a password, which was not encoded as it must be, can be taken for the host or what follows it: that
/// is shown.
fn is_plain(text: &str) -> bool {
    let Ok(url) = url::Url::parse(text) else {
        return false;
    };
    let host = url.host_str().unwrap_or_default();
    let in_host = |c: char| c.is_alphanumeric() || "-._:[]".contains(c);
    let rest = [Some(url.path()), url.query(), url.fragment()];
    host.chars().all(in_host) && !rest.into_iter().flatten().any(|part| part.contains('@'))
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.expose();
        let (scheme, _) = text.split_once("://").unwrap_or_default();
        match text.into_connection_info() {
            Ok(info) => write!(
                f,
                "{scheme}://{}/{}",
                info.addr(),
                info.redis_settings().db()
            ),
            Err(_) => f.write_str("redis://…"),
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A Redis, and what is known of how it is.
pub(super) struct Redis {
    link: Arc<Link>,
    runtime: Handle,
    mending: AbortHandle,
}

/// What the tasks share.
struct Link {
    connection: ConnectionManager,
    /// With which all keys begin.
    prefix: String,
    breaker: Breaker,
    broke: Notify,
    writes: Arc<Semaphore>,
}

impl Redis {
    /// Connects in the runtime that this is called in, and does not wait for it.
    pub fn new(url: &RedisUrl, installation: &str) -> Self {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE))
            // Whoever asks next tries again.
            .set_number_of_retries(0);
        let connection = connection_info(url)
            .and_then(Client::open)
            .and_then(|client| ConnectionManager::new_lazy_with_config(client, config))
            .expect("the address was checked when it was read");
        let link = Arc::new(Link {
            connection,
            prefix: format!("hookonce:{installation}:"),
            breaker: Breaker::open(),
            broke: Notify::new(),
            writes: Arc::new(Semaphore::new(WRITES)),
        });
        let runtime = Handle::current();
        let mending = runtime.spawn(mend(link.clone()));
        Self {
            link,
            runtime,
            mending: mending.abort_handle(),
        }
    }

    pub fn is_away(&self) -> bool {
        self.link.breaker.is_open()
    }

    /// The answer that is there; else what that is counted as.
    pub async fn find(&self, wanted: Lookup<'_>) -> Result<CachedAnswer, &'static str> {
        if self.is_away() {
            return Err("skipped");
        }
        let key = self.link.key(wanted.scope, wanted.key);
        let link = self.link.clone();
        // In a runtime that serves no requests: one who keeps its thread busy would make others believe that Redis is
        // slow.
        let reading = self.runtime.spawn(async move {
            let mut connection = link.connection.clone();
            let reading = read(&mut connection, &key);
            link.attempt(Act::Read, reading).await
        });
        match reading.await {
            Ok(Some(Some(bytes))) if bytes.is_empty() => Err("miss"),
            Ok(Some(Some(bytes))) => entry::decode(wanted, &bytes).ok_or("unreadable"),
            Ok(Some(None)) => Err("unreadable"),
            Ok(None) | Err(_) => Err("failed"),
        }
    }

    /// Puts an answer there for as long as it stands, without anybody waiting for it.
    pub fn keep(&self, wanted: Lookup<'_>, kept: &CachedAnswer) {
        if self.is_away() {
            return;
        }
        let key = self.link.key(wanted.scope, wanted.key);
        let ttl = Timestamp::now().until(kept.answered.expires_at);
        if let Ok(value) = entry::encode(wanted, kept) {
            self.in_background(move |mut connection| async move {
                write(&mut connection, &key, value, ttl).await
            });
        }
    }

    /// Takes an answer away, without anybody waiting for it.
    pub fn forget(&self, scope: &str, key: &IdempotencyKey) {
        let key = self.link.key(scope, key);
        self.in_background(move |mut connection| async move { connection.del::<_, ()>(key).await });
    }

    fn in_background<F, W>(&self, write: F)
    where
        F: FnOnce(ConnectionManager) -> W,
        W: Future<Output = Result<(), RedisError>> + Send + 'static,
    {
        if self.is_away() {
            return;
        }
        // Where Redis is slower than the answers come, the rest is not kept, rather than piled up.
        let Ok(permit) = self.link.writes.clone().try_acquire_owned() else {
            return;
        };
        let link = self.link.clone();
        let writing = write(link.connection.clone());
        self.runtime.spawn(async move {
            link.attempt(Act::Write, writing).await;
            drop(permit);
        });
    }
}

fn connection_info(url: &RedisUrl) -> Result<ConnectionInfo, RedisError> {
    let info = url.0.expose().into_connection_info()?;
    #[cfg(target_os = "linux")]
    let info = info.set_tcp_settings(TcpSettings::default().set_user_timeout(LOST_AFTER));
    Ok(info)
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.mending.abort();
    }
}

impl Link {
    /// A name of one length, in which nothing of a customer is to be read.
    fn key(&self, scope: &str, key: &IdempotencyKey) -> String {
        let mut hash = Sha256::new();
        hash.update((scope.len() as u64).to_be_bytes());
        hash.update(scope);
        hash.update(key.as_str());
        format!("{}{}", self.prefix, hex::encode(hash.finalize()))
    }

    /// Does something there in good time. `None`: it did not work; the inner `None`: something of another type stands there.
    async fn attempt<T>(
        &self,
        act: Act,
        doing: impl Future<Output = Result<T, RedisError>>,
    ) -> Option<Option<T>> {
        let cause = match tokio::time::timeout(PATIENCE, doing).await {
            Ok(Ok(value)) => {
                self.breaker.succeeded(act);
                return Some(Some(value));
            }
            Ok(Err(error)) if error.code() == Some("WRONGTYPE") => {
                self.breaker.succeeded(act);
                return Some(None);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => "it does not answer in time".to_owned(),
        };
        if self.breaker.failed(act) {
            log_away(&cause);
            self.broke.notify_one();
        }
        None
    }

    /// Waits until it does not work any more: a request has found out, or a look that is taken now and then.
    async fn breaks(&self) {
        loop {
            tokio::select! {
                // Whoever broke it has told so.
                () = self.broke.notified() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            // One failure alone may be a connection that was closed for its age.
            if self.probe().await.is_ok() || self.probe().await.is_ok() {
                continue;
            }
            if let Err(cause) = self.probe().await
                && self.breaker.trip()
            {
                log_away(&cause);
                return;
            }
        }
    }

    /// Whether all that requests ask of it works.
    async fn probe(&self) -> Result<(), String> {
        let key = format!("{}probe", self.prefix);
        let mut connection = self.connection.clone();
        let probing = async {
            write(&mut connection, &key, b"probe".to_vec(), PROBE_TTL).await?;
            read(&mut connection, &key).await?;
            connection.del(&key).await
        };
        match tokio::time::timeout(3 * PATIENCE, probing).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_elapsed) => Err("it does not answer in time".to_owned()),
        }
    }
}

/// A part of what stands there: whatever that is, no more is read than an answer can have. Nothing, where there is none.
async fn read(connection: &mut ConnectionManager, key: &str) -> Result<Vec<u8>, RedisError> {
    connection.getrange(key, 0, LONGEST - 1).await
}

async fn write(
    connection: &mut ConnectionManager,
    key: &str,
    value: Vec<u8>,
    ttl: Duration,
) -> Result<(), RedisError> {
    // Redis knows no shorter time, and no 0.
    let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1);
    let options = SetOptions::default().with_expiration(SetExpiry::PX(ttl));
    connection.set_options(key, value, options).await
}

/// Tries again and again while the breaker is open, and closes it. No request waits for what does not work.
async fn mend(link: Arc<Link>) {
    let mut pause = PAUSE;
    let mut is_told = false;
    loop {
        let mut failures = 0;
        while let Err(cause) = link.probe().await {
            // A connection that was lost is made anew by the first who finds that out.
            failures += 1;
            if !is_told && failures > 1 {
                log_away(&cause);
                is_told = true;
            }
            tokio::time::sleep(pause).await;
        }
        link.breaker.close();
        match is_told {
            true => log::info!("Redis works again, and is asked for answers"),
            false => log::info!("Redis is asked for answers"),
        }
        let closed_at = Instant::now();
        link.breaks().await;
        is_told = true;
        pause = match closed_at.elapsed() < SOON {
            true => (2 * pause).min(LONGEST_PAUSE),
            false => PAUSE,
        };
        tokio::time::sleep(pause).await;
    }
}

fn log_away(cause: &str) {
    log::warn!("Redis does not work, and is left alone until it does: {cause}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let url: RedisUrl = "rediss://shop:hunter2@cache.example:6380/3"
            .parse()
            .unwrap();
        assert_eq!(url.to_string(), "rediss://cache.example:6380/3");
        assert_eq!(format!("{url:?}"), "rediss://cache.example:6380/3");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "redis",
            "http://x",
            "redis://",
            "redis://h:port",
            "memcached://h",
            "redis://u:SECRET/x@h",
            "redis://u:6379/x@h",
            "redis://u:1?SECRET/x@h",
            "redis://u:6#SECRET@h",
            "redis://u;SECRET",
            "redis:/u:SECRET@h",
        ] {
            assert!(text.parse::<RedisUrl>().is_err(), "{text}");
        }
    }
}
