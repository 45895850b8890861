//! The routes of all providers: read the body, verify it, parse it, and hand it to the intake.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{ContentType, HeaderMap},
    web::{self, Bytes, Data, Payload, ServiceConfig},
};
use std::time::SystemTime;
use tokio::time::Instant;

use super::{
    State, at, body,
    body_budget::SMALL,
    diagnosis, get, key, origin,
    problem::{ErrorCode, Problem},
    rate_limit::mark_verified,
    reply,
    request_log::RequestNotes,
};
use crate::{
    config::Config,
    idempotency::{Fingerprint, IdempotencyKey, fingerprint, fingerprint_of_json},
    intake::Inbound,
    json::Value,
    media_type,
    provider::{
        Delivery, Provider, REGISTRY,
        handshake::{Handshake, token_matches},
        json,
        refusal::Refusal,
        request::{Headers, Request},
        route::Route,
        setting::Settings,
    },
    store::types::Timestamp,
};

/// Puts the routes of all providers into an application.
pub fn routes(app: &mut ServiceConfig) {
    for &provider in REGISTRY {
        for route in provider.routes() {
            let receive = move |request, payload, state| {
                let source = Source { provider, route };
                receive(request, payload, state, source)
            };
            let handshake = provider.handshake();
            let resource = match handshake.filter(|handshake| handshake.path == route.path) {
                None => at(route.path, "POST"),
                Some(handshake) => {
                    let answer = move |request, state| answer(request, state, handshake);
                    at(route.path, "GET, HEAD, POST").route(get().to(answer))
                }
            };
            app.service(resource.route(web::post().to(receive)));
        }
    }
}

impl Headers for HeaderMap {
    fn get(&self, name: &str) -> Option<&str> {
        HeaderMap::get(self, name)?.to_str().ok()
    }
}

/// Whose requests come by a route.
#[derive(Clone, Copy)]
struct Source {
    provider: &'static dyn Provider,
    route: &'static Route,
}

/// Reads, verifies and acts on a delivery.
async fn receive(
    request: HttpRequest,
    payload: Payload,
    state: Data<State>,
    source: Source,
) -> Result<HttpResponse, Problem> {
    // What it is verified with does not change under it.
    let config = state.config.load_full();
    let deadline = Instant::now() + config.request_timeout;
    let notes = RequestNotes::of(&request);
    notes.received();
    let body = body::read(&request, payload, config.max_body_bytes, deadline).await?;
    let _work = state.bodies.work(body.len(), deadline).await?;
    let signed = SignedRequest::new(&request, &config, source, body.clone());
    let opened = if body.len() <= SMALL {
        signed.open(request.headers(), &config.providers)
    } else {
        let (headers, config) = (request.headers().clone(), config.clone());
        let open = move || signed.open(&headers, &config.providers);
        body::examine(body.len(), open).await
    };
    if let Err(problem) = &opened
        && problem.code.is_about_signature()
    {
        diagnosis::log_refusal(&request, &state, &config, source.provider, &body);
    }
    let genuine = opened?;
    mark_verified(&request);
    let inbound = genuine?;
    if config.idempotency_enabled {
        let derived = || inbound.delivery.derived_key.parse().ok();
        if let Some(key) = inbound.key.clone().or_else(derived) {
            notes.key(&key);
        }
    }
    notes.delivery(&inbound.delivery);
    let answer = state
        .intake
        .receive(inbound, Timestamp::now(), deadline)
        .await?;
    state.metrics.count_answer(source.provider, &answer);
    notes.answer(&answer);
    reply::response(&answer)
}

/// Answers a handshake.
async fn answer(
    request: HttpRequest,
    state: Data<State>,
    handshake: &'static Handshake,
) -> Result<HttpResponse, Problem> {
    let config = state.config.load_full();
    let Some(ours) = config.providers.token(handshake.variable) else {
        return Err(Problem::not_configured(handshake.variable));
    };
    let query = request.uri().query().unwrap_or_default();
    let parameter = |wanted: &str| {
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs.find_map(|(name, value)| (name == wanted).then(|| value.into_owned()))
    };
    let theirs = parameter(handshake.token_parameter);
    if theirs.is_some() {
        state.limits.count_guess(&request, &config, ours)?;
    }
    let is_genuine = theirs.is_some_and(|theirs| token_matches(ours, &theirs));
    if is_genuine {
        mark_verified(&request);
    }
    match (handshake.challenge)(&parameter) {
        Some(challenge) if is_genuine => Ok(HttpResponse::Ok()
            .insert_header(ContentType::plaintext())
            .body(challenge)),
        _ => Err(Problem::new(
            ErrorCode::VerifyTokenMismatch,
            handshake.expected,
        )),
    }
}

/// A request as it came, nothing about it believed yet.
struct SignedRequest {
    source: Source,
    /// The URL that its sender called.
    url: String,
    body: Bytes,
    request_id: String,
    method: String,
    path: String,
    query: String,
    key: Result<Option<IdempotencyKey>, Problem>,
    source_ip: Option<String>,
}

impl SignedRequest {
    fn new(request: &HttpRequest, config: &Config, source: Source, body: Bytes) -> Self {
        let key = match config.idempotency_enabled {
            true => key::from_headers(request.headers(), &config.idempotency_header),
            false => Ok(None),
        };
        Self {
            source,
            url: origin::public_url(request, config),
            body,
            request_id: RequestNotes::of(request).id(),
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            key,
            source_ip: origin::source_ip(request, &config.trusted_proxies).map(|ip| ip.to_string()),
        }
    }

    /// Checks the signature, then reads what is signed. The outer error is about a request that nobody signed, the inner
    /// one about one that its sender signed and that cannot be read all the same.
    fn open(
        mut self,
        headers: &HeaderMap,
        settings: &Settings,
    ) -> Result<Result<Inbound, Problem>, Problem> {
        let Source { provider, route } = self.source;
        let (url, body) = (std::mem::take(&mut self.url), self.body.clone());
        let request = Request::new(&url, headers, &body, SystemTime::now());
        if let Some(signed_by) = provider.verify(&request, settings)? {
            diagnosis::log_secret(&self.request_id, provider, signed_by);
        }
        let delivery = provider.parse(&request, route);
        Ok(match delivery {
            Ok(delivery) => self.inbound(delivery, request.content_type()),
            Err(refusal) => Err(refusal.into()),
        })
    }

    fn inbound(self, delivery: Delivery, content_type: &str) -> Result<Inbound, Problem> {
        let fingerprint = self.fingerprint(&delivery.body, content_type);
        Ok(Inbound {
            // Only now: a header of a request that nobody signed is not even looked at.
            key: self.key?,
            fingerprint,
            method: self.method,
            path: self.path,
            source_ip: self.source_ip,
            delivery,
        })
    }

    /// What the request says; of a large body that is JSON by what was read of it, for to read it twice takes twice
    /// the memory.
    fn fingerprint(&self, read: &Value, content_type: &str) -> Fingerprint {
        let (method, path, query) = (&self.method, &self.path, &self.query);
        let is_read = self.body.len() > SMALL
            && media_type::is_json(content_type)
            && json::is_sound(&self.body);
        match is_read {
            true => fingerprint_of_json(method, path, query, content_type, read),
            false => fingerprint(method, path, query, content_type, &self.body),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotConfigured(variable) => Self::not_configured(variable),
            Refusal::Signature(error) => error.into(),
            Refusal::MediaType(expected) => Self::new(ErrorCode::ContentTypeUnsupported, expected),
            Refusal::Malformed(error) => error.into(),
        }
    }
}
