//! What every provider's route does: read the body, verify it, parse it, and hand it to the intake.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::CONTENT_TYPE,
    web::{self, Bytes, Payload},
};
use std::sync::Arc;
use tokio::time::Instant;

use super::{
    State, body, body_budget::SMALL, diagnosis, key, origin, problem::Problem,
    rate_limit::mark_verified, reply, request_log::RequestNotes,
};
use crate::{
    config::Config,
    idempotency::{Fingerprint, IdempotencyKey, fingerprint, fingerprint_of_json, is_json},
    intake::Inbound,
    json::Value,
    provider::{Delivery, Provider, json, twilio::shared_key},
    store::types::Timestamp,
};

/// A request as it came, nothing about it believed yet.
pub struct SignedRequest {
    /// The URL that its sender called.
    pub url: String,
    /// The signature, as the header has it.
    pub signature: Option<String>,
    /// What it was signed with, as the header of Twilio's has it.
    pub signature_settings: Option<String>,
    /// The content type, as the header has it.
    pub content_type: String,
    /// The body, raw.
    pub body: Bytes,
    provider: Provider,
    request_id: String,
    method: String,
    path: String,
    query: String,
    key: Result<Option<IdempotencyKey>, Problem>,
    source_ip: Option<String>,
}

/// Checks the signature, then reads what is signed. The outer error is about a request that nobody signed, the inner
/// one about one that its sender signed and that cannot be read all the same.
pub type Open = fn(&SignedRequest, &Config) -> Result<Result<Delivery, Problem>, Problem>;

/// Reads, opens and acts on a delivery.
///
/// # Errors
/// Where it is refused, or could not be acted on.
pub async fn receive(
    request: HttpRequest,
    payload: Payload,
    state: web::Data<State>,
    provider: Provider,
    open: Open,
) -> Result<HttpResponse, Problem> {
    // What it is verified with does not change under it.
    let config = state.config.load_full();
    let deadline = Instant::now() + config.request_timeout;
    let notes = RequestNotes::of(&request);
    notes.received();
    let body = body::read(&request, payload, config.max_body_bytes, deadline).await?;
    let _work = state.bodies.work(body.len(), deadline).await?;
    let signed = SignedRequest::new(&request, &config, provider, body.clone());
    let opened = signed.open(config.clone(), open).await;
    if let Err(problem) = &opened
        && problem.code.is_about_signature()
    {
        diagnosis::log_refusal(&request, &state, &config, provider, &body);
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
    state.metrics.count_answer(provider, &answer);
    notes.answer(&answer);
    reply::response(&answer)
}

impl SignedRequest {
    fn new(request: &HttpRequest, config: &Config, provider: Provider, body: Bytes) -> Self {
        let header = |name: &str| {
            let value = request.headers().get(name)?.to_str().ok()?;
            Some(value.trim().to_owned())
        };
        let key = match config.idempotency_enabled {
            true => key::from_headers(request.headers(), &config.idempotency_header),
            false => Ok(None),
        };
        Self {
            url: origin::public_url(request, config),
            signature: header(provider.signature_header()),
            signature_settings: header(shared_key::HEADER),
            content_type: header(CONTENT_TYPE.as_str()).unwrap_or_default(),
            body,
            provider,
            request_id: RequestNotes::of(request).id(),
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            key,
            source_ip: origin::source_ip(request, &config.trusted_proxies).map(|ip| ip.to_string()),
        }
    }

    /// Notes which of how many secrets made the signature.
    pub fn note_secret(&self, at: usize, count: usize) {
        diagnosis::log_secret(&self.request_id, self.provider, at, count);
    }

    /// The content type without its parameters, in lower case.
    pub fn media_type(&self) -> String {
        let essence = self.content_type.split(';').next().unwrap_or_default();
        essence.trim().to_ascii_lowercase()
    }

    /// Verifies and parses, a large body on a thread that may be kept busy.
    async fn open(
        self,
        config: Arc<Config>,
        open: Open,
    ) -> Result<Result<Inbound, Problem>, Problem> {
        body::examine(self.body.len(), move || self.opened(&config, open)).await
    }

    fn opened(self, config: &Config, open: Open) -> Result<Result<Inbound, Problem>, Problem> {
        let delivery = open(&self, config)?;
        Ok(delivery.and_then(|delivery| self.inbound(delivery)))
    }

    fn inbound(self, delivery: Delivery) -> Result<Inbound, Problem> {
        let fingerprint = self.fingerprint(&delivery.body);
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
    fn fingerprint(&self, read: &Value) -> Fingerprint {
        let (method, path, query) = (&self.method, &self.path, &self.query);
        let is_read =
            self.body.len() > SMALL && is_json(&self.content_type) && json::is_sound(&self.body);
        match is_read {
            true => fingerprint_of_json(method, path, query, &self.content_type, read),
            false => fingerprint(method, path, query, &self.content_type, &self.body),
        }
    }
}
