//! What the middleware can be told, and what it does where it is told nothing.

use actix_web::{
    Error, HttpResponse,
    dev::ServiceRequest,
    http::{
        Method,
        header::{self, HeaderName},
    },
};
use ipnet::IpNet;
use std::{
    sync::{Arc, Once},
    time::Duration,
};

use super::Idempotency;
use crate::{
    idempotency::{Cache, Lifetimes, LookupTimer, ReplayTally, two_phase::TwoPhase},
    redaction::Redaction,
    store::Store,
};

/// Replayed where nothing more is asked for.
const REPLAYED_HEADERS: [HeaderName; 10] = [
    header::ALLOW,
    header::CONTENT_DISPOSITION,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LOCATION,
    header::ETAG,
    header::LAST_MODIFIED,
    header::LINK,
    header::LOCATION,
    header::RETRY_AFTER,
    header::VARY,
];

/// Belong to one client, one connection or one moment, and never to a replay. `Content-Type` and `Content-Encoding`
/// always do: without them the body cannot be read.
const NEVER_REPLAYED: [&str; 21] = [
    "authentication-info",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "idempotent-replayed",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "set-cookie",
    "set-cookie2",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
];

type ScopeOf = dyn Fn(&ServiceRequest) -> Result<String, Error> + Send + Sync;
type Tells = dyn Fn(&HttpResponse) -> bool + Send + Sync;

#[derive(Clone)]
pub(super) struct Settings {
    pub two_phase: TwoPhase,
    pub enabled: bool,
    pub required: bool,
    pub header: HeaderName,
    pub methods: Vec<Method>,
    pub scope: Arc<ScopeOf>,
    pub max_body_bytes: usize,
    pub answer_timeout: Duration,
    pub stores: Arc<Tells>,
    pub refuses: Arc<Tells>,
    pub replayed_headers: Vec<HeaderName>,
    pub trusted_proxies: Vec<IpNet>,
    pub redaction: Redaction,
    pub replays: Option<Arc<ReplayTally>>,
    /// Told once that another one is around this one.
    pub nested: Arc<Once>,
}

impl Idempotency {
    /// The shortest lease.
    pub const MIN_LEASE: Duration = Duration::from_millis(100);

    /// With its records in `store`, and for all else the defaults that the other methods name.
    pub fn new(store: Store) -> Self {
        let lifetimes = Lifetimes {
            ttl: Duration::from_secs(24 * 60 * 60),
            lease: Duration::from_secs(30),
        };
        Self(Arc::new(Settings {
            two_phase: TwoPhase::new(store, lifetimes, Duration::from_secs(10)),
            enabled: true,
            required: true,
            header: HeaderName::from_static("x-idempotency-key"),
            methods: vec![Method::POST, Method::PUT, Method::PATCH],
            scope: Arc::new(|_| Ok("http".to_owned())),
            max_body_bytes: 3 * 1024 * 1024,
            answer_timeout: Duration::from_secs(30),
            stores: Arc::new(super::is_final),
            refuses: Arc::new(|_| false),
            replayed_headers: REPLAYED_HEADERS.to_vec(),
            trusted_proxies: Vec::new(),
            redaction: Redaction::default(),
            replays: None,
            nested: Arc::new(Once::new()),
        }))
    }

    /// How long an answer is replayed, from when its request came; longer than any handler takes. 24 hours.
    ///
    /// # Panics
    /// Where it is zero: nothing would be replayed.
    pub fn ttl(self, ttl: Duration) -> Self {
        assert!(!ttl.is_zero(), "a time to live of zero replays nothing");
        self.with(|settings| settings.two_phase.lifetimes.ttl = ttl)
    }

    /// How long the key of a process that died is kept from others. The lease of a handler that runs is renewed three
    /// times as often. 30 seconds.
    ///
    /// # Panics
    /// Where it is shorter than [`MIN_LEASE`](Self::MIN_LEASE): it would run out before it could be renewed, and the
    /// handler run twice at once.
    pub fn lease(self, lease: Duration) -> Self {
        assert!(
            lease >= Self::MIN_LEASE,
            "a lease of {lease:?} is too short to be renewed"
        );
        self.with(|settings| settings.two_phase.lifetimes.lease = lease)
    }

    /// The header that carries the key. `Idempotency-Key` is accepted beside it. `X-Idempotency-Key`.
    ///
    /// # Panics
    /// Where it is no name of a header: no request could carry a key.
    pub fn header(self, name: &str) -> Self {
        let header = name.parse();
        let header = header.unwrap_or_else(|_| panic!("{name:?} is no name of a header"));
        self.with(|settings| settings.header = header)
    }

    /// Whether a request without a key is refused; else it passes through, as often as it comes. True.
    pub fn required(self, required: bool) -> Self {
        self.with(|settings| settings.required = required)
    }

    /// The methods that a key counts for. POST, PUT and PATCH.
    pub fn methods(self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.with(|settings| settings.methods = methods.into_iter().collect())
    }

    /// Whether keys count at all; else everything passes through. True.
    pub fn enabled(self, enabled: bool) -> Self {
        self.with(|settings| settings.enabled = enabled)
    }

    /// Who a key belongs to: two requests with one key are the same only within one scope. The default is one scope
    /// for whoever calls, and right for one client only: of several, one could read what another was answered. An
    /// error is the answer, and nothing is stored.
    pub fn scope<F>(self, scope: F) -> Self
    where
        F: Fn(&ServiceRequest) -> Result<String, Error> + Send + Sync + 'static,
    {
        self.with(|settings| settings.scope = Arc::new(scope))
    }

    /// The largest body that is read; 413 `BODY_TOO_LARGE` above. 3 MiB.
    pub fn max_body_bytes(self, bytes: usize) -> Self {
        self.with(|settings| settings.max_body_bytes = bytes)
    }

    /// How long the body may take to come, and how long the database is waited for. 10 seconds.
    ///
    /// # Panics
    /// Where it is zero: no request would be answered.
    pub fn timeout(self, timeout: Duration) -> Self {
        assert!(!timeout.is_zero(), "nothing is done in no time");
        self.with(|settings| settings.two_phase.timeout = timeout)
    }

    /// How long the body of an answer may take to come, once the handler has given its head: a stream that does not end
    /// would keep the key for ever. What takes longer fails as one that is too large does. 30 seconds.
    ///
    /// # Panics
    /// Where it is zero: no answer would be stored.
    pub fn answer_timeout(self, timeout: Duration) -> Self {
        assert!(!timeout.is_zero(), "no answer comes in no time");
        self.with(|settings| settings.answer_timeout = timeout)
    }

    /// Which answers are a request's last word, to be stored and replayed. After any other the same request runs the
    /// handler again. [`is_final`](super::is_final).
    pub fn stores<F>(self, stores: F) -> Self
    where
        F: Fn(&HttpResponse) -> bool + Send + Sync + 'static,
    {
        self.with(|settings| settings.stores = Arc::new(stores))
    }

    /// Which answers say that the request could not be read or was not let in: they are not stored, and any request may
    /// use the key afterwards, a corrected one too. What [`was_refused`](super::was_refused) knows need not be said; an
    /// error handler of one's own had better use [`unread`](super::unread). None.
    pub fn refuses<F>(self, refuses: F) -> Self
    where
        F: Fn(&HttpResponse) -> bool + Send + Sync + 'static,
    {
        self.with(|settings| settings.refuses = Arc::new(refuses))
    }

    /// Headers that are replayed too, beside `Content-Type`, `Content-Encoding`, `Allow`, `Content-Disposition`,
    /// `Content-Language`, `Content-Location`, `ETag`, `Last-Modified`, `Link`, `Location`, `Retry-After` and `Vary`. Those of
    /// one client, connection or moment (`Set-Cookie`, `WWW-Authenticate`, `Connection`, `Date` and their like) are not
    /// stored even if asked for.
    pub fn replayed_headers(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.with(|settings| {
            for name in names {
                let known = &mut settings.replayed_headers;
                if !NEVER_REPLAYED.contains(&name.as_str()) && !known.contains(&name) {
                    known.push(name);
                }
            }
        })
    }

    /// The proxies whose `X-Forwarded-For` or `Forwarded` is believed, for the source address in the record. None.
    pub fn trusted_proxies(self, networks: impl IntoIterator<Item = IpNet>) -> Self {
        let networks = networks.into_iter().collect();
        self.with(|settings| settings.trusted_proxies = networks)
    }

    /// The members whose values are masked in the body that the record keeps for the operator, of JSON and of forms. A
    /// body that is neither is then masked as a whole. None. What is fingerprinted, handled and replayed is not masked.
    pub fn redaction(self, redaction: Redaction) -> Self {
        self.with(|settings| settings.redaction = redaction)
    }

    /// Counts replays there; whoever made it writes them down. They are not counted where there is none.
    pub fn replay_tally(self, replays: Arc<ReplayTally>) -> Self {
        self.with(|settings| settings.replays = Some(replays))
    }

    /// Who is told how long keys are looked up for. Nobody.
    pub fn lookups(self, lookups: LookupTimer) -> Self {
        self.with(|settings| settings.two_phase.lookups = lookups)
    }

    /// What is asked for answers before the database. Nothing.
    pub fn cache(self, cache: Cache) -> Self {
        self.with(|settings| settings.two_phase.cache = cache)
    }

    fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }
}
