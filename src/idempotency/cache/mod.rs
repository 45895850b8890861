//! Copies of answers, in front of the database: in the memory of this process, then in Redis if there is one. Only
//! committed answers are put there, and the database is asked for what is missing, so that nothing depends on the
//! caches.

#[cfg(feature = "redis")]
mod breaker;
#[cfg(feature = "redis")]
mod entry;
mod memory;
#[cfg(not(feature = "redis"))]
mod no_redis;
#[cfg(feature = "redis")]
mod redis;

#[cfg(feature = "redis")]
pub use self::redis::{InvalidRedisUrl, RedisUrl};

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, Ordering},
    },
    time::Instant,
};

use self::memory::Memory;
#[cfg(not(feature = "redis"))]
use self::no_redis::Redis;
#[cfg(feature = "redis")]
use self::redis::Redis;
use super::{fingerprint::Fingerprint, key::IdempotencyKey, lookups::LookupTimer, reply::Answered};
use crate::store::types::Timestamp;

/// The answers that are kept in front of the database; none by default. Cheap to clone, all clones are one.
#[derive(Clone, Default)]
pub struct Cache(Option<Arc<Inner>>);

struct Inner {
    memory: Option<Memory>,
    redis: Option<Redis>,
    /// Answers that expired by then are not used any more, whatever the clock has said since: a clean-up has deleted
    /// their records.
    forgotten_until: AtomicI64,
    /// Answers kept by then are not used any more: an operator has said that records may have been changed by hand.
    distrusted_until: AtomicI64,
    listener: OnceLock<Arc<dyn Listener>>,
}

/// An answer, and a time at which the database was known to have it.
#[derive(Clone, Debug, PartialEq)]
struct CachedAnswer {
    answered: Answered,
    at: Timestamp,
}

/// Is told of each look into a cache.
pub trait Listener: Send + Sync {
    /// It was this cache, and this is its result.
    fn looked(&self, cache: &str, result: &str);
}

/// What a look-up is for.
#[derive(Clone, Copy)]
pub struct Lookup<'a> {
    /// Who the key belongs to.
    pub scope: &'a str,
    /// The key.
    pub key: &'a IdempotencyKey,
    /// What the request says.
    pub fingerprint: &'a Fingerprint,
}

/// How Redis is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedisState {
    /// There is none.
    Unused,
    /// It answers.
    Up,
    /// It does not, and is not asked.
    Away,
}

impl Cache {
    /// With `bytes` of this process's memory; 0 keeps nothing there.
    pub fn new(bytes: u64) -> Self {
        Self::over((bytes > 0).then(|| Memory::new(bytes)), None)
    }

    /// With a Redis behind the memory, whose keys begin with `installation`. It is connected to in the runtime that this
    /// is called in, and not waited for.
    #[cfg(feature = "redis")]
    pub fn with_redis(bytes: u64, url: &RedisUrl, installation: &str) -> Self {
        let memory = (bytes > 0).then(|| Memory::new(bytes));
        Self::over(memory, Some(Redis::new(url, installation)))
    }

    fn over(memory: Option<Memory>, redis: Option<Redis>) -> Self {
        Self(Some(Arc::new(Inner {
            memory,
            redis,
            forgotten_until: AtomicI64::new(i64::MIN),
            distrusted_until: AtomicI64::new(i64::MIN),
            listener: OnceLock::new(),
        })))
    }

    /// The answer that was given to a request, if a cache has it and it is still valid at `now`. `lookups` is told how long
    /// it took to find. An answer that is not found here is then looked up in the database.
    pub async fn find(
        &self,
        wanted: Lookup<'_>,
        lookups: &LookupTimer,
        now: Timestamp,
    ) -> Option<Answered> {
        let begun = Instant::now();
        let found = self.0.as_deref()?.find(wanted, now).await;
        if found.is_some() {
            lookups.took(begun.elapsed(), now);
        }
        found
    }

    /// Keeps a committed answer. `asked_at` is a time before the database confirmed it. Redis gets the answer a little
    /// later, if at all.
    pub fn keep(&self, wanted: Lookup<'_>, answered: &Answered, asked_at: Timestamp) {
        let Some(inner) = self.0.as_deref() else {
            return;
        };
        let kept = CachedAnswer {
            answered: answered.clone(),
            at: asked_at,
        };
        if !inner.is_active(&kept, asked_at) {
            return;
        }
        if let Some(redis) = &inner.redis {
            redis.keep(wanted, &kept);
        }
        if let Some(memory) = &inner.memory {
            memory.keep(wanted, kept);
        }
    }

    /// Forgets the answer of a key, since the key stands for another request now.
    pub fn forget(&self, scope: &str, key: &IdempotencyKey) {
        let Some(inner) = self.0.as_deref() else {
            return;
        };
        if let Some(memory) = &inner.memory {
            memory.forget(scope, key);
        }
        if let Some(redis) = &inner.redis {
            redis.forget(scope, key);
        }
    }

    /// Forgets whatever expired by `until`: its records are being deleted.
    pub fn forget_expired(&self, until: Timestamp) {
        if let Some(inner) = self.0.as_deref() {
            let until = until.microseconds();
            inner.forgotten_until.fetch_max(until, Ordering::Relaxed);
        }
    }

    /// Uses no answer any more that was kept by `now`, here or in Redis: somebody may have changed records by hand.
    pub fn distrust(&self, now: Timestamp) {
        if let Some(inner) = self.0.as_deref() {
            let now = now.microseconds();
            inner.distrusted_until.fetch_max(now, Ordering::Relaxed);
        }
    }

    /// How Redis is.
    pub fn redis(&self) -> RedisState {
        match self.0.as_deref().and_then(|inner| inner.redis.as_ref()) {
            None => RedisState::Unused,
            Some(redis) if redis.is_away() => RedisState::Away,
            Some(_) => RedisState::Up,
        }
    }

    /// How many bytes of memory it takes, about.
    pub fn bytes(&self) -> u64 {
        let memory = self.0.as_deref().and_then(|inner| inner.memory.as_ref());
        memory.map_or(0, Memory::bytes)
    }

    /// Tells `listener` of each look into a cache from now on. Only the first listener is told.
    pub fn listen(&self, listener: Arc<dyn Listener>) {
        if let Some(inner) = self.0.as_deref() {
            let _ = inner.listener.set(listener);
        }
    }
}

impl Inner {
    async fn find(&self, wanted: Lookup<'_>, now: Timestamp) -> Option<Answered> {
        if let Some(memory) = &self.memory {
            let found = memory.find(wanted).ok_or("miss");
            if let Some(kept) = self.compare("memory", found, now) {
                return Some(kept.answered);
            }
        }
        let found = self.redis.as_ref()?.find(wanted).await;
        let kept = self.compare("redis", found, now)?;
        if let Some(memory) = &self.memory {
            memory.keep(wanted, kept.clone());
        }
        Some(kept.answered)
    }

    /// The answer that was found, if it is still valid. The listener is told of the look either way.
    fn compare(
        &self,
        cache: &str,
        found: Result<CachedAnswer, &'static str>,
        now: Timestamp,
    ) -> Option<CachedAnswer> {
        let standing =
            |kept: CachedAnswer| self.is_active(&kept, now).then_some(kept).ok_or("stale");
        let judged = found.and_then(standing);
        let result = judged.as_ref().err().unwrap_or(&"hit");
        if let Some(listener) = self.listener.get() {
            listener.looked(cache, result);
        }
        judged.ok()
    }

    fn is_active(&self, kept: &CachedAnswer, now: Timestamp) -> bool {
        let expires_at = kept.answered.expires_at;
        let is_past = |time: Timestamp, bound: &AtomicI64| {
            time.microseconds() <= bound.load(Ordering::Relaxed)
        };
        expires_at > now
            && !is_past(expires_at, &self.forgotten_until)
            && !is_past(kept.at, &self.distrusted_until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        idempotency::{fingerprint::fingerprint, reply::StoredReply},
        store::types::Uuid,
    };
    use std::time::Duration;

    fn answered(expires_at: Timestamp) -> Answered {
        Answered {
            record: Uuid::random(),
            reply: StoredReply {
                status: 200,
                ..StoredReply::default()
            },
            expires_at,
        }
    }

    fn wanted<'a>(key: &'a IdempotencyKey, fingerprint: &'a Fingerprint) -> Lookup<'a> {
        Lookup {
            scope: "s",
            key,
            fingerprint,
        }
    }

    #[tokio::test]
    async fn what_a_clean_up_takes_away_is_gone_however_the_clock_is_set_since() {
        let cache = Cache::new(100_000);
        let (key, fingerprint) = ("k".parse().unwrap(), fingerprint("POST", "/", "", "", b""));
        let wanted = wanted(&key, &fingerprint);
        let noon = Timestamp::beginning().after(Duration::from_secs(12 * 60 * 60));
        let expires_at = noon.after(Duration::from_secs(10));
        let find = async |now| {
            cache
                .find(wanted, &LookupTimer::default(), now)
                .await
                .is_some()
        };
        cache.keep(wanted, &answered(expires_at), noon);
        assert!(find(noon).await);
        assert!(!find(expires_at).await, "it stands until then");
        cache.forget_expired(expires_at.before(Duration::from_micros(1)));
        assert!(find(noon).await, "the clean-up left it");
        cache.forget_expired(expires_at);
        assert!(!find(noon).await, "the clean-up took it");
        cache.keep(wanted, &answered(expires_at), noon);
        assert!(!find(noon).await, "read before, and kept after it");
        let later = answered(expires_at.after(Duration::from_micros(1)));
        cache.keep(wanted, &later, noon);
        assert!(find(noon).await, "made anew");
        cache.forget("s", &key);
        assert!(!find(noon).await);
    }

    #[tokio::test]
    async fn what_an_operator_distrusts_is_asked_for_anew() {
        let cache = Cache::new(100_000);
        let (key, fingerprint) = ("k".parse().unwrap(), fingerprint("POST", "/", "", "", b""));
        let wanted = wanted(&key, &fingerprint);
        let noon = Timestamp::beginning().after(Duration::from_secs(12 * 60 * 60));
        let later = noon.after(Duration::from_micros(1));
        let answered = answered(noon.after(Duration::from_secs(10)));
        let find = async || {
            cache
                .find(wanted, &LookupTimer::default(), later)
                .await
                .is_some()
        };
        cache.keep(wanted, &answered, noon);
        assert!(find().await);
        cache.distrust(noon);
        assert!(!find().await);
        cache.keep(wanted, &answered, noon);
        assert!(!find().await, "read before, and kept after it");
        cache.keep(wanted, &answered, later);
        assert!(find().await, "read since");
    }

    struct Looks(std::sync::Mutex<Vec<String>>);

    impl Listener for Looks {
        fn looked(&self, cache: &str, result: &str) {
            self.0.lock().unwrap().push(format!("{cache} {result}"));
        }
    }

    #[tokio::test]
    async fn each_look_is_told_with_its_result() {
        let cache = Cache::new(100_000);
        let looks = Arc::new(Looks(std::sync::Mutex::default()));
        cache.listen(looks.clone());
        let (key, fingerprint) = ("k".parse().unwrap(), fingerprint("POST", "/", "", "", b""));
        let wanted = wanted(&key, &fingerprint);
        let now = Timestamp::now();
        let expires_at = now.after(Duration::from_secs(10));
        let find = async |at| drop(cache.find(wanted, &LookupTimer::default(), at).await);
        find(now).await;
        cache.keep(wanted, &answered(expires_at), now);
        find(now).await;
        find(expires_at).await;
        let told = looks.0.lock().unwrap().clone();
        assert_eq!(told, ["memory miss", "memory hit", "memory stale"]);
    }

    #[tokio::test]
    async fn it_takes_as_many_bytes_as_its_answers() {
        let cache = Cache::new(1_000_000);
        let (key, fingerprint) = ("k".parse().unwrap(), fingerprint("POST", "/", "", "", b""));
        let now = Timestamp::now();
        let mut large = answered(now.after(Duration::from_secs(60)));
        large.reply.body = vec![b'a'; 10_000].into();
        cache.keep(wanted(&key, &fingerprint), &large, now);
        // It is counted a moment later.
        let counted = async {
            while cache.bytes() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
                let _ = cache
                    .find(wanted(&key, &fingerprint), &LookupTimer::default(), now)
                    .await;
            }
            cache.bytes()
        };
        let counted = tokio::time::timeout(Duration::from_secs(10), counted).await;
        let bytes = counted.unwrap();
        assert!((10_003..11_000).contains(&bytes), "{bytes}");
    }
}
