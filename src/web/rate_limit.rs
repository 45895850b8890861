//! How much each may ask for: a client by its token, everybody else by address.
//!
//! A request whose token or signature was verified never counts against its address, so that nobody behind a shared
//! address can shut out the others by sending rubbish.

use actix_web::{
    Error, HttpMessage as _, HttpRequest,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::header::AUTHORIZATION,
    middleware::Next,
    web::Data,
};
use governor::{
    NotUntil, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed, keyed::DefaultKeyedStateStore},
};
use std::{
    hash::Hash,
    net::IpAddr,
    num::NonZeroU32,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use super::{State, origin, problem::Problem};
use crate::{
    address::network,
    config::Config,
    provider::{REGISTRY, handshake::Handshake},
    secret::Secret,
    server,
    store::types::Uuid,
};

/// The limits of this process; none where they are off.
pub struct RateLimits(Option<Limiters>);

struct Limiters {
    clients: Limiter<Uuid>,
    addresses: Limiter<IpAddr>,
    guesses: HandshakeAttempts<DefaultClock>,
}

/// How often an address may try the token of a handshake: so many at once, and so many a minute from then on. A person chose
/// that token, so it may be a word. The handshake is done by hand, once for an address that a provider is to call.
const GUESSES: (u32, u32) = (10, 5);

/// The same for all addresses together, for whoever has many: of a token that may be guessed. Whoever uses all of it up
/// shuts out the one who knows the token, for as long as he goes on; so it does not hold where nothing is won by it.
const ALL_GUESSES: (u32, u32) = (30, 10);

/// From this many characters on a token is no word, if it is random at all.
pub const HARD_TO_GUESS: usize = 16;

impl RateLimits {
    /// Nobody has sent anything yet.
    pub fn new(config: &Config) -> Self {
        let per_second = |rate, burst| Quota::per_second(rate).allow_burst(burst);
        Self(config.rate_limit.then(|| Limiters {
            clients: Limiter::new(per_second(
                config.rate_limit_client,
                config.rate_limit_client_burst,
            )),
            addresses: Limiter::new(per_second(
                config.rate_limit_address,
                config.rate_limit_address_burst,
            )),
            guesses: HandshakeAttempts::new(DefaultClock::default()),
        }))
    }

    /// Counts an attempt at the token of a handshake, before it is compared: past the limit the right one is refused like
    /// any other, or the answer would tell it.
    ///
    /// # Errors
    /// Where there were too many from this address, or in all.
    pub fn count_guess(
        &self,
        request: &HttpRequest,
        config: &Config,
        token: &Secret,
    ) -> Result<(), Problem> {
        let Some(limiters) = self.0.as_ref() else {
            return Ok(());
        };
        let sender = sender(request, config);
        let guessing = limiters.guesses.count(sender, is_hard_to_guess(token));
        guessing.map_err(Problem::rate_limited)
    }

    /// Counts a request of a client.
    ///
    /// # Errors
    /// Where the client has had its share.
    pub fn count_client(&self, id: Uuid) -> Result<(), Problem> {
        let limiters = self.0.as_ref();
        let counted = limiters.map_or(Ok(()), |limiters| limiters.clients.count(id));
        counted.map_err(Problem::rate_limited)
    }

    /// Counts a request that nobody vouches for.
    fn count_address(&self, address: IpAddr) -> Result<(), Problem> {
        let limiters = self.0.as_ref();
        let counted = limiters.map_or(Ok(()), |limiters| {
            limiters.addresses.count(network(address))
        });
        counted.map_err(Problem::rate_limited)
    }
}

/// Whether a token that somebody chose is taken for one that nobody guesses.
pub fn is_hard_to_guess(token: &Secret) -> bool {
    token.expose().chars().count() >= HARD_TO_GUESS
}

/// The attempts at the tokens of handshakes.
struct HandshakeAttempts<C: Clock> {
    addresses: Limiter<IpAddr, C>,
    all: RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>,
}

impl<C: Clock + Clone> HandshakeAttempts<C> {
    fn new(clock: C) -> Self {
        Self {
            addresses: Limiter::with_clock(per_minute(GUESSES), clock.clone()),
            all: RateLimiter::direct_with_clock(per_minute(ALL_GUESSES), clock),
        }
    }

    /// Counts one; gives how long to wait where there were too many. `is_hard`: the token cannot be guessed.
    fn count(&self, address: Option<IpAddr>, is_hard: bool) -> Result<(), Duration> {
        // Its own share first, so that one address alone does not use up that of all.
        if let Some(address) = address {
            self.addresses.count(network(address))?;
        }
        if is_hard {
            return Ok(());
        }
        let clock = self.all.clock();
        self.all.check().map_err(|early| wait(&early, clock))
    }
}

fn per_minute((burst, rate): (u32, u32)) -> Quota {
    let number = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
    Quota::per_minute(number(rate)).allow_burst(number(burst))
}

fn wait<C: Clock>(early: &NotUntil<C::Instant>, clock: &C) -> Duration {
    early.wait_time_from(clock.now())
}

/// Counts by key, in memory that is bounded by what comes in the time that a burst takes to be made good.
struct Limiter<K: Hash + Eq + Clone, C: Clock = DefaultClock> {
    limiter: RateLimiter<K, DefaultKeyedStateStore<K>, C, NoOpMiddleware<C::Instant>>,
    until_sweep: AtomicUsize,
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    fn new(quota: Quota) -> Self {
        Self::with_clock(quota, DefaultClock::default())
    }
}

impl<K: Hash + Eq + Clone, C: Clock> Limiter<K, C> {
    /// The least number of requests between two sweeps.
    const SWEEP: usize = 1024;

    fn with_clock(quota: Quota, clock: C) -> Self {
        Self {
            limiter: RateLimiter::new(quota, DefaultKeyedStateStore::default(), clock),
            until_sweep: AtomicUsize::new(Self::SWEEP),
        }
    }

    /// Counts a request; gives how long to wait where there were too many.
    fn count(&self, key: K) -> Result<(), Duration> {
        if self.until_sweep.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.sweep();
        }
        let clock = self.limiter.clock();
        let counted = self.limiter.check_key(&key);
        counted.map_err(|early| wait(&early, clock))
    }

    /// Forgets the keys that have made everything good. A request adds one key at most, so sweeping again after as
    /// many requests as keys were left keeps the memory within twice of what is needed, and the work within a few
    /// steps for each request, however many addresses send.
    fn sweep(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
        let next = self.limiter.len().max(Self::SWEEP);
        self.until_sweep.store(next, Ordering::Relaxed);
    }
}

/// Marks a request whose token or signature is genuine.
struct Verified;

/// Takes a request out of what counts against its address, and its connection out of those that give way to others.
pub fn mark_verified(request: &HttpRequest) {
    request.extensions_mut().insert(Verified);
    if let Some(connection) = request.conn_data::<server::Handle>() {
        connection.prove();
    }
}

/// Answers 429 to addresses that send too much that nobody vouches for.
///
/// # Errors
/// The handler's own.
pub async fn limit_addresses(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    // Whether a credential is genuine is known when the handler has looked; what has none is refused before it.
    let has_credential = has_credential(&request);
    if !has_credential && let Err(problem) = count(request.request()) {
        return Ok(request.error_response(problem).map_into_right_body());
    }
    let response = next.call(request).await?;
    let verified = response.request().extensions().contains::<Verified>();
    // Nobody can be told genuine while the database is away.
    let unknown = response.status().is_server_error();
    if has_credential
        && !verified
        && !unknown
        && let Err(problem) = count(response.request())
    {
        return Ok(response.error_response(problem).map_into_right_body());
    }
    Ok(response.map_into_left_body())
}

fn count(request: &HttpRequest) -> Result<(), Problem> {
    let is_health = request.path().starts_with("/health/");
    let Some(state) = request.app_data::<Data<State>>().filter(|_| !is_health) else {
        return Ok(());
    };
    let address = sender(request, &state.config.load());
    address.map_or(Ok(()), |address| state.limits.count_address(address))
}

/// Whom a request counts against.
fn sender(request: &HttpRequest, config: &Config) -> Option<IpAddr> {
    let peer = || request.peer_addr().map(|peer| peer.ip());
    // A proxy that names nobody stands for whoever is behind it.
    origin::source_ip(request, &config.trusted_proxies).or_else(peer)
}

/// Whether the request carries what may show that it is genuine, to where that is looked at.
fn has_credential(request: &ServiceRequest) -> bool {
    let looked_at = ["/api/v1/", "/webhooks/"];
    if !looked_at
        .iter()
        .any(|path| request.path().starts_with(path))
    {
        return false;
    }
    let headers = request.headers();
    headers.contains_key(AUTHORIZATION)
        || REGISTRY.iter().any(|provider| {
            let handshake = provider.handshake();
            let may_ask = |it: &Handshake| request.query_string().contains(it.token_parameter);
            headers.contains_key(provider.signing().header) || handshake.is_some_and(may_ask)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use governor::clock::FakeRelativeClock;

    const STRANGER: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));

    /// An address for each number.
    fn address(n: u8) -> Option<IpAddr> {
        Some(IpAddr::from([198, 51, 100, n]))
    }

    /// How many of 100 attempts pass, one from each address.
    fn from_everywhere(guesses: &HandshakeAttempts<FakeRelativeClock>, is_hard: bool) -> usize {
        let passed = (0..100).filter(|&n| guesses.count(address(n), is_hard).is_ok());
        passed.count()
    }

    #[test]
    fn guesses_are_made_good_with_time_and_no_faster_for_those_who_go_on() {
        let clock = FakeRelativeClock::default();
        let guesses = HandshakeAttempts::new(clock.clone());
        let passed = (0..50).filter(|_| guesses.count(STRANGER, false).is_ok());
        assert_eq!(passed.count(), 10);
        assert_eq!(from_everywhere(&guesses, false), 20);
        for _ in 0..5 {
            assert_eq!(
                guesses.count(address(200), false),
                Err(Duration::from_secs(6))
            );
            assert_eq!(from_everywhere(&guesses, false), 0);
            clock.advance(Duration::from_secs(6));
            assert_eq!(from_everywhere(&guesses, false), 1);
        }
        clock.advance(Duration::from_secs(60));
        assert_eq!(from_everywhere(&guesses, false), 10);
        // Once nobody goes on all is as at the beginning.
        clock.advance(Duration::from_secs(180));
        assert_eq!(from_everywhere(&guesses, false), 30);
    }

    #[test]
    fn whoever_knows_a_token_that_nobody_guesses_is_not_shut_out_by_those_who_try() {
        let clock = FakeRelativeClock::default();
        let guesses = HandshakeAttempts::new(clock.clone());
        assert_eq!(from_everywhere(&guesses, true), 100);
        // Each address has no more than its own share all the same.
        let passed = (0..50).filter(|_| guesses.count(STRANGER, true).is_ok());
        assert_eq!(passed.count(), 10);
        clock.advance(Duration::from_secs(60));
        let passed = (0..50).filter(|_| guesses.count(STRANGER, true).is_ok());
        assert_eq!(passed.count(), 5);
        assert!(is_hard_to_guess(&Secret::new("0123456789abcdef")));
        assert!(!is_hard_to_guess(&Secret::new("0123456789abcde")));
    }

    fn limiter(burst: u32) -> Limiter<u32> {
        // So slow that nothing is made good during a test.
        let burst = NonZeroU32::new(burst).unwrap();
        let quota = Quota::with_period(Duration::from_secs(3600)).unwrap();
        Limiter {
            limiter: RateLimiter::keyed(quota.allow_burst(burst)),
            until_sweep: AtomicUsize::new(Limiter::<u32>::SWEEP),
        }
    }

    #[test]
    fn each_key_has_a_burst_of_its_own() {
        let limiter = limiter(3);
        for _ in 0..3 {
            assert!(limiter.count(1).is_ok());
        }
        assert!(limiter.count(1).is_err());
        assert!(limiter.count(2).is_ok());
    }

    #[test]
    fn keys_that_made_everything_good_are_forgotten() {
        let fast = NonZeroU32::new(1_000_000).unwrap();
        let limiter = Limiter::new(Quota::per_second(fast).allow_burst(NonZeroU32::MIN));
        for key in 0..100_000 {
            let _ = limiter.count(key);
        }
        let most = 4 * Limiter::<u32>::SWEEP;
        assert!(limiter.limiter.len() < most, "{}", limiter.limiter.len());
    }

    #[test]
    fn keys_that_still_count_are_kept_and_not_swept_for_each_request() {
        let limiter = limiter(1);
        for key in 0..20_000 {
            assert!(limiter.count(key).is_ok());
        }
        assert_eq!(limiter.limiter.len(), 20_000);
        assert!(limiter.until_sweep.load(Ordering::Relaxed) > Limiter::<u32>::SWEEP);
        assert!((0..20_000).all(|key| limiter.count(key).is_err()));
    }
}
