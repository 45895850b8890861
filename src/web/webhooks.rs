//! The routes of all providers: read the body, verify it, parse it, and hand it to the intake.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::ContentType,
    web::{self, Bytes, Data, Payload, ServiceConfig},
};
use tokio::time::Instant;

use super::{
    State, at, body,
    body_budget::SMALL,
    diagnosis, get, key,
    observer::ObservesRequest as _,
    origin,
    problem::{ErrorCode, Problem},
    rate_limit::mark_verified,
    reply,
    request_log::RequestNotes,
    signed_request::SignedRequest,
};
use crate::{
    config::Config,
    provider::{
        Provider, REGISTRY,
        handshake::{Handshake, token_matches},
        route::Route,
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
    let signed = signed(&request, &config, source, body.clone());
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
    if let Some(signed_by) = genuine.signed_by {
        diagnosis::log_secret(&notes.id(), source.provider, signed_by);
    }
    let inbound = genuine.inbound?;
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

fn signed(request: &HttpRequest, config: &Config, source: Source, body: Bytes) -> SignedRequest {
    let key = match config.idempotency_enabled {
        true => key::from_headers(request.headers(), &config.idempotency_header),
        false => Ok(None),
    };
    let source_ip = origin::source_ip(request, &config.trusted_proxies);
    SignedRequest {
        provider: source.provider,
        route: source.route,
        url: origin::public_url(request, config.into()),
        body,
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        key,
        source_ip: source_ip.map(|ip| ip.to_string()),
    }
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
