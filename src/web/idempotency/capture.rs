//! What a request says: its key, its fingerprint, and what of it is kept.

use actix_web::{
    Error, HttpMessage as _,
    dev::{Payload, ServiceRequest},
    http::header,
    web::{self, Bytes},
};
use tokio::time::Instant;

use super::{
    coding::{self, text},
    settings::Settings,
};
use crate::{
    idempotency::{Fingerprint, IdempotencyKey, KeyedRequest, fingerprint},
    json::Value,
    media_type,
    provider::form::Form,
    redaction::Redaction,
    store::types::Json,
    web::{body, key, observer::observer_of, origin, problem::Problem},
};

/// The scopes and keys that middleware around this one has claimed for a request.
#[derive(Default)]
struct Held(Vec<(String, IdempotencyKey)>);

impl Settings {
    /// The request with its key. `None` where it passes through.
    pub(super) async fn keyed(
        &self,
        request: &mut ServiceRequest,
    ) -> Result<Option<KeyedRequest>, Error> {
        if !self.enabled || !self.methods.contains(request.method()) {
            return Ok(None);
        }
        let key = match key::from_headers(request.headers(), self.header.as_str())? {
            Some(key) => key,
            None if self.required => return Err(Problem::key_required(self.header.as_str()).into()),
            None => return Ok(None),
        };
        let observer = observer_of(request.request());
        observer.received();
        let scope = (self.scope)(request)?;
        if self.is_held(request, &scope, &key) {
            return Ok(None);
        }
        let body = self.read_body(request).await?;
        let (fingerprint, body) = self.describe(request, body).await?;
        let source_ip = origin::source_ip(request.request(), &self.trusted_proxies);
        request.extensions_mut().insert(key.clone());
        coding::narrow(request.headers_mut());
        observer.key(&key);
        observer.route(request.match_pattern());
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

    /// Whether another one around this one has the key already: it would be found in progress. Else it is noted.
    fn is_held(&self, request: &ServiceRequest, scope: &str, key: &IdempotencyKey) -> bool {
        let mut extensions = request.extensions_mut();
        if extensions.get::<Held>().is_none() {
            extensions.insert(Held::default());
        }
        let Some(Held(held)) = extensions.get_mut::<Held>() else {
            return false;
        };
        if held
            .iter()
            .any(|(known, taken)| known == scope && taken == key)
        {
            self.nested.call_once(|| {
                log::warn!(
                    "an Idempotency middleware is within another one of the same scope: the outer one does its work"
                );
            });
            return true;
        }
        held.push((scope.to_owned(), key.clone()));
        false
    }

    /// What the request says, and its body for the record.
    async fn describe(
        &self,
        request: &ServiceRequest,
        body: Bytes,
    ) -> Result<(Fingerprint, Option<Json>), Problem> {
        /// From here on it would keep the other connections of its thread waiting.
        const LARGE: usize = 64 * 1024;
        let size = body.len();
        let method = request.method().to_string();
        let path = request.uri().path().to_owned();
        let query = request.uri().query().unwrap_or_default().to_owned();
        let content_type = text(request.headers(), &header::CONTENT_TYPE).unwrap_or_default();
        let coding = text(request.headers(), &header::CONTENT_ENCODING).unwrap_or_default();
        let (redaction, most) = (self.redaction.clone(), self.max_body_bytes);
        let is_coded = !coding.is_empty();
        let read = move || {
            // Compressed anew it has other bytes. What cannot be undone, or is too large then, counts as it is.
            let (body, coding) = match coding::undo(&coding, &body, most) {
                Some(plain) => (plain, ""),
                None => (body.as_ref().into(), &*coding),
            };
            let fingerprint =
                fingerprint::encoded(&method, &path, &query, &content_type, &body, coding);
            (fingerprint, to_keep(&body, &content_type, &redaction))
        };
        match size {
            ..LARGE if !is_coded => Ok(read()),
            _ => web::block(read).await.map_err(Problem::internal),
        }
    }
}

/// A body as the JSON that is kept: what it is, the members of a form, or a string. `None` where it is no text.
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
    media_type::is(content_type, media_type::FORM)
        .then(|| Form::parse(body).ok()?.to_json().ok())
        .flatten()
}
