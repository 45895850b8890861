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
/// How long to wait before trying Redis again. Doubles if it fails again soon after it seemed to work.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(32);
/// How long it must work before the pause is reset.
const SOON: Duration = Duration::from_secs(60);
/// After how long without a sign of the other end a connection counts as lost. The system would keep it for minutes.
#[cfg(target_os = "linux")]
const LOST_AFTER: Duration = Duration::from_secs(2);
/// How often Redis is checked while it works: without requests, nothing else would notice that it fails.
const LOOK: Duration = Duration::from_secs(2);
/// How many writes are under way at once; answers beyond that are not kept.
const WRITES: usize = 256;
/// The most bytes that are read of a value: an answer is never so long, not even with each byte escaped.
const LONGEST: isize = 8 * 1024 * 1024;
/// How long a probe's value stays: long enough for an operator who checks whether Redis works.
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

/// Whether no part of a password that was not encoded can be read as the host or what follows it, which are shown.
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
    /// The prefix of all keys.
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

    /// The answer in Redis. The error is what the look is counted as.
    pub async fn find(&self, wanted: Lookup<'_>) -> Result<CachedAnswer, &'static str> {
        if self.is_away() {
            return Err("skipped");
        }
        let key = self.link.key(wanted.scope, wanted.key);
        let link = self.link.clone();
        // In a runtime that serves no requests: a request that keeps its thread busy would make Redis seem slow.
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
        // If answers come faster than Redis stores them, the rest is not kept, so that they do not pile up.
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
    /// A name of fixed length that reveals nothing about a customer.
    fn key(&self, scope: &str, key: &IdempotencyKey) -> String {
        let mut hash = Sha256::new();
        hash.update((scope.len() as u64).to_be_bytes());
        hash.update(scope);
        hash.update(key.as_str());
        format!("{}{}", self.prefix, hex::encode(hash.finalize()))
    }

    /// Does an operation in Redis, with a time limit. `None` if it failed; an inner `None` if a value of another type is there.
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

    /// Waits until Redis fails: a request or a regular check has found that out.
    async fn breaks(&self) {
        loop {
            tokio::select! {
                // The request that opened the breaker has reported it.
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

/// The first bytes of a value: no more is read than an answer can have. Empty if there is no value.
async fn read(connection: &mut ConnectionManager, key: &str) -> Result<Vec<u8>, RedisError> {
    connection.getrange(key, 0, LONGEST - 1).await
}

async fn write(
    connection: &mut ConnectionManager,
    key: &str,
    value: Vec<u8>,
    ttl: Duration,
) -> Result<(), RedisError> {
    // Redis accepts no shorter time than 1 ms, and no 0.
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
            // The first operation on a lost connection fails and reconnects.
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
