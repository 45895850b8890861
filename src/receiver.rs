//! A receiver of webhooks for a program of one's own: verifies a source's requests, hands each event to a handler once, in
//! the transaction that also keeps the answer, and gives the same answer to every repeat.

use actix_web::{
    HttpRequest, HttpResponse,
    dev::{AppService, HttpServiceFactory},
    web::{self, Payload},
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

use crate::{
    handler::Handler,
    idempotency::{Cache, Lifetimes, LookupTimer, transactional::Transactional},
    intake::{Intake, Settings as IntakeSettings},
    provider::{Provider, route::Route, setting::Settings},
    redaction::Redaction,
    store::{Store, types::Timestamp},
    web::{
        key,
        problem::{ErrorCode, Problem},
        reply,
        signed_request::SignedRequest,
    },
};

/// An actix service that receives the webhooks of one source. Build it once, where the server is started, and clone it into
/// each worker's application.
///
/// What it answers: as the provider wants where a delivery is taken; 401 where it is not signed; 400 where it cannot be
/// read; 413 where it is too large; 409 where its key stands for another request; 5xx where nothing was done, and the
/// sender is to come again. Whoever comes again gets the first answer, with `Idempotent-Replayed: true`.
#[derive(Clone)]
pub struct Receiver(Arc<Inner>);

struct Inner {
    path: String,
    provider: &'static dyn Provider,
    route: &'static Route,
    settings: Settings,
    public_url: Option<String>,
    most_bytes: usize,
    timeout: Duration,
    intake: Intake,
}

/// A receiver that is still being described.
pub struct ReceiverBuilder {
    path: String,
    provider: &'static dyn Provider,
    settings: Settings,
    public_url: Option<String>,
    most_bytes: usize,
    timeout: Duration,
    lifetimes: Lifetimes,
    redaction: Redaction,
    batch: usize,
    handlers: Vec<Arc<dyn Handler>>,
}

impl Receiver {
    /// Of a provider that is built in: its value in [`crate::provider`]'s registry.
    pub fn of(provider: &'static dyn Provider) -> ReceiverBuilder {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let route = provider.routes().first();
        ReceiverBuilder {
            path: route.map_or_else(
                || format!("/webhooks/{}", provider.name()),
                |route| route.path.to_owned(),
            ),
            provider,
            settings: Settings::default(),
            public_url: None,
            most_bytes: 3 * 1024 * 1024,
            timeout: Duration::from_secs(10),
            lifetimes: Lifetimes {
                ttl: DAY,
                lease: Duration::from_secs(30),
            },
            redaction: Redaction::default(),
            batch: 256,
            handlers: Vec::new(),
        }
    }

    /// Of a provider of one's own, [`Hmac`](crate::provider::Hmac) for one. It is kept for as long as the program runs.
    pub fn of_own(provider: impl Provider) -> ReceiverBuilder {
        Self::of(Box::leak(Box::new(provider)))
    }
}

impl ReceiverBuilder {
    /// Where its requests come; by itself the provider's usual path, or `/webhooks/` and its name.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// A variable of the provider's [`settings`](Provider::settings) and its value, as the program takes it from the
    /// environment: several secrets are separated by commas.
    ///
    /// # Panics
    /// Where the provider has no such variable, or the value is not what it holds.
    #[must_use]
    pub fn setting(mut self, variable: &str, value: &str) -> Self {
        let mut known = self.provider.settings().iter();
        let setting = known.find(|setting| setting.variable == variable);
        let setting = setting.expect("a variable of the provider's");
        let set = self.settings.set(setting, value);
        set.expect("a value of the variable's kind");
        self
    }

    /// The URL that senders call, without the path, where it is not that of the `Host` header: `https://hooks.example.com`.
    /// Of use where a provider signs it.
    #[must_use]
    pub fn public_url(mut self, base: impl Into<String>) -> Self {
        self.public_url = Some(base.into());
        self
    }

    /// Who acts on events; of several the first that wants an event has it.
    #[must_use]
    pub fn handler(mut self, handler: impl Handler) -> Self {
        self.handlers.push(Arc::new(handler));
        self
    }

    /// The most bytes of a body; by itself 3 MiB.
    #[must_use]
    pub fn most_bytes(mut self, bytes: usize) -> Self {
        self.most_bytes = bytes;
        self
    }

    /// How long a request may take; by itself 10 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// For how long the same request gets its answer again by its key; by itself a day. Its events are known for longer: see
    /// [`clean_up`](crate::clean_up::clean_up).
    #[must_use]
    pub fn kept_for(mut self, ttl: Duration) -> Self {
        self.lifetimes.ttl = ttl;
        self
    }

    /// What is masked in what is stored of a delivery.
    #[must_use]
    pub fn redacted(mut self, redaction: Redaction) -> Self {
        self.redaction = redaction;
        self
    }

    /// The most events that share a transaction; 1 gives each delivery its own. By itself 256.
    #[must_use]
    pub fn batch(mut self, most: usize) -> Self {
        self.batch = most;
        self
    }

    /// Builds it over a store. To be called within the runtime.
    pub fn build(self, store: &Store) -> Receiver {
        let settings = IntakeSettings {
            keys_enabled: true,
            redaction: self.redaction,
            batch: self.batch,
        };
        /// Of answers that were given last.
        const CACHE_BYTES: u64 = 16 * 1024 * 1024;
        let (lookups, cache) = (LookupTimer::default(), Cache::new(CACHE_BYTES));
        let keys = Transactional::new(store.clone(), self.lifetimes, lookups, cache);
        let intake = Intake::new(store, settings, self.handlers, reply::encode, keys);
        Receiver(Arc::new(Inner {
            path: self.path,
            route: self
                .provider
                .routes()
                .first()
                .unwrap_or(&Route::UNDESCRIBED),
            provider: self.provider,
            settings: self.settings,
            public_url: self.public_url,
            most_bytes: self.most_bytes,
            timeout: self.timeout,
            intake,
        }))
    }
}

impl HttpServiceFactory for Receiver {
    fn register(self, app: &mut AppService) {
        let path = self.0.path.clone();
        let receive = move |request, payload| self.clone().receive(request, payload);
        web::resource(path)
            .route(web::post().to(receive))
            .register(app);
    }
}

impl Receiver {
    async fn receive(
        self,
        request: HttpRequest,
        payload: Payload,
    ) -> Result<HttpResponse, Problem> {
        let inner = self.0;
        let deadline = Instant::now() + inner.timeout;
        let body = payload.to_bytes_limited(inner.most_bytes);
        let body = match tokio::time::timeout_at(deadline, body).await {
            Ok(Ok(body)) => body.map_err(|error| malformed(&error.to_string()))?,
            Ok(Err(_too_large)) => return Err(inner.too_large()),
            Err(_elapsed) => return Err(malformed("the body did not arrive in time")),
        };
        let uri = request.uri();
        let url = match &inner.public_url {
            Some(base) => format!("{}{uri}", base.trim_end_matches('/')),
            None => request.full_url().to_string(),
        };
        let signed = SignedRequest {
            provider: inner.provider,
            route: inner.route,
            url,
            body,
            method: request.method().to_string(),
            path: uri.path().to_owned(),
            query: uri.query().unwrap_or_default().to_owned(),
            key: key::from_headers(request.headers(), key::CUSTOMARY),
            source_ip: request.peer_addr().map(|address| address.ip().to_string()),
        };
        let genuine = signed.open(request.headers(), &inner.settings)?;
        let inbound = genuine.inbound?;
        let answer = inner.intake.receive(inbound, Timestamp::now(), deadline);
        reply::response(&answer.await?)
    }
}

impl Inner {
    fn too_large(&self) -> Problem {
        Problem::new(
            ErrorCode::BodyTooLarge,
            format!("a body has at most {} bytes", self.most_bytes),
        )
    }
}

fn malformed(message: &str) -> Problem {
    Problem::new(ErrorCode::BodyMalformed, message)
}
