//! Idempotency for handlers of one's own, as actix middleware: each key's work is done once, and its answer replayed.
//! Only HTTP; the work's two phases are in [`crate::idempotency::two_phase`].

use actix_web::{
    Error, HttpMessage as _, HttpRequest, HttpResponse,
    body::{BoxBody, MessageBody, to_bytes_limited},
    dev::{Payload, Service, ServiceRequest, ServiceResponse, Transform, forward_ready},
    error::{InternalError, JsonPayloadError},
    http::{
        Method,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
    rt,
    web::{self, Bytes},
};
use arc_swap::ArcSwap;
use futures_util::future::LocalBoxFuture;
use ipnet::IpNet;
use std::{
    future::{Ready, ready},
    rc::Rc,
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

use super::{body, key, origin, problem::Problem, reply, request_log::RequestNotes};
use crate::{
    idempotency::{
        Answered, Cache, Fingerprint, KeyedRequest, Lookups, ReplayTally, StoredReply, Terms,
        fingerprint,
        two_phase::{Begun, Running, Settled, TwoPhase},
    },
    json::Value,
    provider::twilio::form::Form,
    redaction::Redaction,
    store::{
        Store,
        types::{Json, Timestamp},
    },
};

const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Replayed where nothing else is asked for.
const REPLAYED_HEADERS: [HeaderName; 8] = [
    header::CONTENT_DISPOSITION,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LOCATION,
    header::ETAG,
    header::LAST_MODIFIED,
    header::LINK,
    header::LOCATION,
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

/// Middleware around an `App`, a `Scope`, a `Resource` or a `Route`: a request that carries an idempotency key reaches
/// the handler once, and every repetition of it gets the first answer, byte for byte.
///
/// ```no_run
/// # use actix_web::{App, Error, HttpResponse, HttpServer, dev::ServiceRequest, web};
/// # use hookonce::{store::Store, web::Idempotency};
/// # async fn charge() -> HttpResponse { HttpResponse::Created().finish() }
/// # fn client(_: &ServiceRequest) -> Result<String, Error> { Ok(String::new()) }
/// # fn serve(store: Store) {
/// let idempotency = Idempotency::new(store).scope(client);
/// HttpServer::new(move || {
///     let charges = web::resource("/charges").route(web::post().to(charge));
///     App::new().service(charges.wrap(idempotency.clone()))
/// });
/// # }
/// ```
///
/// Build it once, where the server is started, and clone it into each worker's application: leases are then renewed
/// beside the workers, and a handler that blocks its worker's thread keeps its key. One around a handler is enough; a
/// second one would find the key taken by the first.
///
/// | what comes | what happens |
/// | --- | --- |
/// | another method than [`methods`](Self::methods) | passes through |
/// | no key | 400 `IDEMPOTENCY_KEY_REQUIRED`, or passes through: [`required`](Self::required) |
/// | a new key | it is claimed in the database, the handler runs, its answer is stored and sent with `Idempotent-Replayed: false` |
/// | a known key, the same request | the stored answer with `Idempotent-Replayed: true` |
/// | a known key, another request | 409 `IDEMPOTENCY_KEY_MISMATCH` |
/// | a known key whose handler still runs | 409 `REQUEST_PROCESSING` with `Retry-After` |
/// | the database is away | 503 `STORE_UNAVAILABLE`; the handler does not run |
///
/// The same request has the same method, path, query, content type and body; white space and the order of members do
/// not count in a JSON body.
///
/// What frees the key instead of being stored, so that the next request with it runs the handler again: a panic, an
/// answer that says to come again (5xx, 408, 425, 429) or that who asks is the trouble (401, 403), one that
/// says that the request could not be read (413, 415, `BODY_MALFORMED`, actix's own for JSON), and a body that breaks off or is larger
/// than [`StoredReply::MAX_BYTES`]. The last is answered with a 500, **though the handler has run**. A panic and an
/// error of another middleware take the request with them, so they leave this one as an `Err`.
///
/// A handler runs to its end though its client goes away, and its answer is stored. Where its process dies, the key
/// comes free when its [`lease`](Self::lease) runs out, and the next request runs the handler again. What a handler
/// does outside the database may so be done twice: let it pass the key on to whatever it calls. It finds the key in
/// `web::ReqData<IdempotencyKey>`.
#[derive(Clone)]
pub struct Idempotency(Arc<Settings>);

type ScopeOf = dyn Fn(&ServiceRequest) -> Result<String, Error> + Send + Sync;

#[derive(Clone)]
struct Settings {
    two_phase: TwoPhase,
    enabled: bool,
    required: bool,
    header: String,
    methods: Vec<Method>,
    scope: Arc<ScopeOf>,
    max_body_bytes: usize,
    replayed_headers: Vec<HeaderName>,
    /// Of all clones: they may change while requests are answered.
    trusted_proxies: Arc<ArcSwap<Vec<IpNet>>>,
    redaction: Redaction,
    replays: Option<Arc<ReplayTally>>,
}

impl Idempotency {
    /// With its records in `store`, and for all else the defaults that the other methods name.
    pub fn new(store: Store) -> Self {
        let terms = Terms {
            ttl: Duration::from_secs(24 * 60 * 60),
            lease: Duration::from_secs(30),
        };
        Self(Arc::new(Settings {
            two_phase: TwoPhase::new(store, terms, Duration::from_secs(10)),
            enabled: true,
            required: true,
            header: "X-Idempotency-Key".to_owned(),
            methods: vec![Method::POST, Method::PUT, Method::PATCH],
            scope: Arc::new(|_| Ok("http".to_owned())),
            max_body_bytes: 3 * 1024 * 1024,
            replayed_headers: REPLAYED_HEADERS.to_vec(),
            trusted_proxies: Arc::default(),
            redaction: Redaction::default(),
            replays: None,
        }))
    }

    /// How long an answer is replayed, from when its request came; longer than any handler takes. 24 hours.
    pub fn ttl(self, ttl: Duration) -> Self {
        self.with(|settings| settings.two_phase.terms.ttl = ttl)
    }

    /// How long the key of a process that died is kept from others. The lease of a handler that runs is renewed three
    /// times as often. 30 seconds.
    pub fn lease(self, lease: Duration) -> Self {
        self.with(|settings| settings.two_phase.terms.lease = lease)
    }

    /// The header that carries the key. `Idempotency-Key` is accepted beside it. `X-Idempotency-Key`.
    pub fn header(self, name: &str) -> Self {
        self.with(|settings| settings.header = name.to_owned())
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
    pub fn timeout(self, timeout: Duration) -> Self {
        self.with(|settings| settings.two_phase.timeout = timeout)
    }

    /// The headers that are replayed beside `Content-Type` and `Content-Encoding`. `Content-Disposition`, `-Language`
    /// and `-Location`, `ETag`, `Last-Modified`, `Link`, `Location`, `Vary`. Those of one client, connection or moment
    /// (`Set-Cookie`, `WWW-Authenticate`, `Connection`, `Date` and their like) are not stored even if asked for.
    pub fn replayed_headers(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        let names = names.into_iter();
        let allowed = names.filter(|name| !NEVER_REPLAYED.contains(&name.as_str()));
        self.with(|settings| settings.replayed_headers = allowed.collect())
    }

    /// The proxies whose `X-Forwarded-For` or `Forwarded` is believed, for the source address in the record. None.
    pub fn trusted_proxies(self, networks: impl IntoIterator<Item = IpNet>) -> Self {
        let networks = Arc::new(ArcSwap::from_pointee(networks.into_iter().collect()));
        self.with(|settings| settings.trusted_proxies = networks)
    }

    /// Believes these proxies from now on, in all clones.
    pub(super) fn trust(&self, networks: Vec<IpNet>) {
        self.0.trusted_proxies.store(Arc::new(networks));
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
    pub fn lookups(self, lookups: Lookups) -> Self {
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

impl<S, B> Transform<S, ServiceRequest> for Idempotency
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse;
    type Error = Error;
    type Transform = IdempotencyService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(IdempotencyService {
            settings: self.0.clone(),
            service: Rc::new(service),
        }))
    }
}

/// A service with [`Idempotency`] around it.
pub struct IdempotencyService<S> {
    settings: Arc<Settings>,
    service: Rc<S>,
}

impl<S, B> Service<ServiceRequest> for IdempotencyService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse;
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<ServiceResponse, Error>>;

    forward_ready!(service);

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        let (settings, service) = (self.settings.clone(), self.service.clone());
        Box::pin(async move {
            match settings.keyed(&mut request).await {
                Ok(None) => Ok(service.call(request).await?.map_into_boxed_body()),
                Ok(Some(keyed)) => {
                    // actix drops this future where the client goes away. What has begun is finished all the same.
                    let task = rt::spawn(settings.answer(service, request, keyed));
                    task.await
                        .unwrap_or_else(|died| Err(Problem::internal(died).into()))
                }
                Err(error) => Ok(request.error_response(error)),
            }
        })
    }
}

/// What became of a request in its handler.
enum Outcome {
    /// An answer to store.
    Answered(HttpResponse, StoredReply),
    /// An answer that does not settle the request.
    Unsettled(HttpResponse),
    /// No answer.
    Failed(Failure),
}

/// Why a handler has no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the handler died: {0}")]
    Died(rt::task::JoinError),
    #[error("the reply broke off: {0}")]
    BrokeOff(String),
    #[error(
        "the reply is larger than the {} bytes that are stored",
        StoredReply::MAX_BYTES
    )]
    TooLarge,
}

impl Settings {
    /// The request with its key. None where it passes through.
    async fn keyed(&self, request: &mut ServiceRequest) -> Result<Option<KeyedRequest>, Error> {
        if !self.enabled || !self.methods.contains(request.method()) {
            return Ok(None);
        }
        let key = match key::from_headers(request.headers(), &self.header)? {
            Some(key) => key,
            None if self.required => return Err(Problem::key_required(&self.header).into()),
            None => return Ok(None),
        };
        let notes = RequestNotes::of(request.request());
        notes.received();
        let scope = (self.scope)(request)?;
        let body = self.read_body(request).await?;
        let (fingerprint, body) = describe(request, body, &self.redaction).await?;
        let source_ip = origin::source_ip(request.request(), &self.trusted_proxies.load());
        request.extensions_mut().insert(key.clone());
        notes.key(&key);
        notes.route(request.match_pattern());
        Ok(Some(KeyedRequest {
            scope: scope.into(),
            key,
            webhook_type: "http",
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            fingerprint,
            body,
            source_ip: source_ip.map(|ip| ip.to_string()),
        }))
    }

    /// Reads the body, and gives it back to the request for its handler.
    async fn read_body(&self, request: &mut ServiceRequest) -> Result<Bytes, Problem> {
        let deadline = Instant::now() + self.two_phase.timeout;
        let payload = request.take_payload();
        let body = body::read(request.request(), payload, self.max_body_bytes, deadline).await?;
        request.set_payload(Payload::from(body.clone()));
        Ok(body)
    }

    /// Answers a request with a key. Not to be dropped half-way.
    async fn answer<S, B>(
        self: Arc<Self>,
        service: Rc<S>,
        request: ServiceRequest,
        keyed: KeyedRequest,
    ) -> Result<ServiceResponse, Error>
    where
        S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
        B: MessageBody + 'static,
    {
        let running = match self.two_phase.begin(keyed).await {
            Ok(Begun::Ours(running)) => running,
            Ok(Begun::Replay(answered)) => {
                let (request, _read) = request.into_parts();
                RequestNotes::of(&request).reply(&answered.reply, true);
                return send(Some(request), self.replay(&answered));
            }
            Err(error) => return Ok(request.error_response(Problem::from(error))),
        };
        let notes = RequestNotes::of(request.request());
        // In a task of its own, where a panic ends.
        let handler = rt::spawn(self.clone().run(service, request));
        let (request, outcome) = match handler.await {
            Ok(ran) => ran,
            Err(died) => (None, Outcome::Failed(Failure::Died(died))),
        };
        send(request, self.settle(*running, outcome, &notes).await)
    }

    /// Runs the handler. Gives the request back with what came of it, unless an error took it along.
    async fn run<S, B>(
        self: Arc<Self>,
        service: Rc<S>,
        request: ServiceRequest,
    ) -> (Option<HttpRequest>, Outcome)
    where
        S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
        B: MessageBody + 'static,
    {
        let (request, response) = match service.call(request).await {
            Ok(response) => {
                let (request, response) = response.into_parts();
                (Some(request), response.map_into_boxed_body())
            }
            Err(error) => (None, HttpResponse::from_error(error)),
        };
        let outcome = match settles(&response) {
            true => self.collect(response).await,
            false => Outcome::Unsettled(response),
        };
        (request, outcome)
    }

    /// Reads the answer into memory, if it is not larger than what is stored.
    async fn collect(&self, response: HttpResponse) -> Outcome {
        let (head, body) = response.into_parts();
        let body = match to_bytes_limited(body, StoredReply::MAX_BYTES).await {
            Ok(Ok(body)) => body,
            Ok(Err(error)) => return Outcome::Failed(Failure::BrokeOff(error.to_string())),
            Err(_larger) => return Outcome::Failed(Failure::TooLarge),
        };
        let names = self.replayed_headers.iter();
        let headers = names
            .chain([&header::CONTENT_ENCODING])
            .filter_map(|name| Some((name.to_string(), text(head.headers(), name)?)));
        let reply = StoredReply {
            status: head.status().as_u16().cast_signed(),
            content_type: text(head.headers(), &header::CONTENT_TYPE),
            headers: headers.collect(),
            body: body.clone(),
        };
        Outcome::Answered(head.set_body(BoxBody::new(body)), reply)
    }

    /// Stores the answer or gives the key back, and says what is sent.
    async fn settle(
        &self,
        running: Running,
        outcome: Outcome,
        notes: &RequestNotes,
    ) -> Result<HttpResponse, Problem> {
        match outcome {
            Outcome::Answered(response, reply) => {
                notes.reply(&reply, false);
                match running.complete(reply).await? {
                    Settled::Stored => Ok(first(response)),
                    Settled::Overtaken(answered) => {
                        notes.reply(&answered.reply, true);
                        self.replay(&answered)
                    }
                }
            }
            Outcome::Unsettled(response) => {
                running.release(&reason(&response)).await;
                Ok(first(response))
            }
            Outcome::Failed(failure) => {
                running.release(&failure.to_string()).await;
                Err(Problem::internal(failure))
            }
        }
    }

    fn replay(&self, answered: &Answered) -> Result<HttpResponse, Problem> {
        if let Some(replays) = &self.replays {
            replays.note(answered.record, Timestamp::now());
        }
        reply::stored(&answered.reply, true)
    }
}

/// What the request says, and its body for the record.
async fn describe(
    request: &ServiceRequest,
    body: Bytes,
    redaction: &Redaction,
) -> Result<(Fingerprint, Option<Json>), Problem> {
    /// From here on it would keep the other connections of its thread waiting.
    const LARGE: usize = 64 * 1024;
    let size = body.len();
    let method = request.method().to_string();
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let content_type = text(request.headers(), &header::CONTENT_TYPE).unwrap_or_default();
    let redaction = redaction.clone();
    let read = move || {
        let fingerprint = fingerprint(&method, &path, &query, &content_type, &body);
        (fingerprint, to_keep(&body, &content_type, &redaction))
    };
    match size {
        ..LARGE => Ok(read()),
        _ => web::block(read).await.map_err(Problem::internal),
    }
}

/// A body as the JSON that is kept: what it is, the members of a form, or a string. None where it is no text.
fn to_keep(body: &[u8], content_type: &str, redaction: &Redaction) -> Option<Json> {
    let text = std::str::from_utf8(body)
        .ok()
        .filter(|text| !text.is_empty())?;
    if redaction.is_empty()
        && let Ok(as_written) = Json::parse(text.to_owned())
    {
        return Some(as_written);
    }
    let json = text.parse().ok();
    Some(match json.or_else(|| form(body, content_type)) {
        Some(document) => Json::of(&redaction.of(&document)),
        None if redaction.is_empty() => Json::of(&text.into()),
        // Nobody knows where in it the values are.
        None => Json::of(&Redaction::MASK.into()),
    })
}

/// The members of a form.
fn form(body: &[u8], content_type: &str) -> Option<Value> {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let is_form = essence.eq_ignore_ascii_case("application/x-www-form-urlencoded");
    is_form
        .then(|| Form::parse(body).ok()?.to_json().ok())
        .flatten()
}

/// Whether an answer is the request's last word, rather than an invitation to come again, or to come with another
/// token or a body that can be read.
fn settles(response: &HttpResponse) -> bool {
    let problem = response
        .error()
        .and_then(|error| error.as_error::<Problem>());
    let unread = problem.is_some_and(|problem| problem.code.leaves_unread())
        || response
            .error()
            .is_some_and(|error| error.as_error::<JsonPayloadError>().is_some());
    !unread
        && !matches!(
            response.status().as_u16(),
            401 | 403 | 408 | 413 | 415 | 425 | 429 | 500..
        )
}

/// Why an answer was not stored, for the operator.
fn reason(response: &HttpResponse) -> String {
    match response.error() {
        Some(error) => format!("answered {}: {error}", response.status()),
        None => format!("answered {}", response.status()),
    }
}

/// All values of a header, as one list. Those that are no UTF-8 cannot be kept.
fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values = headers.get_all(name);
    let values: Vec<_> = values
        .filter_map(|value| std::str::from_utf8(value.as_bytes()).ok())
        .collect();
    (!values.is_empty()).then(|| values.join(", "))
}

fn first(mut response: HttpResponse) -> HttpResponse {
    let headers = response.headers_mut();
    headers.insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("false"));
    response
}

/// An answer to the request, or an error where the request was lost.
fn send(
    request: Option<HttpRequest>,
    answer: Result<HttpResponse, Problem>,
) -> Result<ServiceResponse, Error> {
    match (request, answer) {
        (Some(request), Ok(response)) => Ok(ServiceResponse::new(request, response)),
        (Some(request), Err(problem)) => Ok(ServiceResponse::from_err(problem, request)),
        (None, Ok(response)) => Err(InternalError::from_response("an error", response).into()),
        (None, Err(problem)) => Err(problem.into()),
    }
}
