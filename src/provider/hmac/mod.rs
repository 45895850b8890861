//! A provider that is described instead of written: it signs with an HMAC in a header, and tells one event in each delivery.

mod signature;
#[cfg(test)]
mod tests;

use std::time::Duration;

use self::signature::{is_same, parts};

use super::{
    event::{Content, Event},
    interface::{Delivery, Provider, ReplyForm, SignedBy},
    json,
    refusal::{Malformed, Refusal, SignatureError},
    request::Request,
    route::Route,
    setting::Settings,
    value::{as_written, sha256_hex, usable_id, without_nul},
};
use crate::{idempotency::IdempotencyKey, json::Value, media_type, secret::Secret};

/// A provider that signs with an HMAC.
///
/// ```
/// use hookonce::provider::Hmac;
///
/// // X-Signature: sha256=<hex of the HMAC-SHA256 of the body>
/// let shop = Hmac::sha256("shop", "X-Signature").prefix("sha256=").secret("hunter2").id_member("/id");
/// // Signature: <base64 of the HMAC-SHA256 of time, a dot and the body>, not older than five minutes
/// let bank = Hmac::sha256("bank", "Signature")
///     .base64()
///     .timestamp("Timestamp", "{timestamp}.{body}")
///     .secret("hunter3")
///     .id_header("Event-Id");
/// ```
#[derive(Clone, Debug)]
pub struct Hmac {
    name: &'static str,
    scope: &'static str,
    algorithm: Algorithm,
    header: &'static str,
    prefix: &'static str,
    is_base64: bool,
    secrets: Vec<Secret>,
    timestamp: Option<(&'static str, Vec<Part>)>,
    tolerance: Duration,
    id: Place,
    kind: Option<Place>,
    sends_again_for: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Algorithm {
    Sha1,
    Sha256,
    Sha512,
}

/// Where a text is.
#[derive(Clone, Copy, Debug)]
enum Place {
    Header(&'static str),
    /// A JSON pointer into the body.
    Member(&'static str),
    /// The hash of what was signed.
    Content,
}

/// A part of what is signed.
#[derive(Clone, Debug)]
enum Part {
    Timestamp,
    Body,
    Text(String),
}

/// For how long a signature with a time is taken, by our clock, on both sides.
const TOLERANCE: Duration = Duration::from_secs(5 * 60);

impl Hmac {
    /// A provider that signs with HMAC-SHA256 in this header. `name`, of small letters and digits, keeps its events and keys
    /// apart from those of others. Never change it once something is stored.
    pub fn sha256(name: &'static str, header: &'static str) -> Self {
        Self::new(name, header, Algorithm::Sha256)
    }

    /// The same with HMAC-SHA512.
    pub fn sha512(name: &'static str, header: &'static str) -> Self {
        Self::new(name, header, Algorithm::Sha512)
    }

    /// The same with HMAC-SHA1, where nothing better is to be had.
    pub fn sha1(name: &'static str, header: &'static str) -> Self {
        Self::new(name, header, Algorithm::Sha1)
    }

    fn new(name: &'static str, header: &'static str, algorithm: Algorithm) -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            name,
            // Leaked: a program has a few providers, which live as long as it does.
            scope: Box::leak(format!("{}{name}", super::SCOPE_PREFIX).into_boxed_str()),
            algorithm,
            header,
            prefix: "",
            is_base64: false,
            secrets: Vec::new(),
            timestamp: None,
            tolerance: TOLERANCE,
            id: Place::Content,
            kind: None,
            sends_again_for: 3 * DAY,
        }
    }

    /// What stands before the signature in its header: `sha256=`.
    #[must_use]
    pub fn prefix(mut self, prefix: &'static str) -> Self {
        self.prefix = prefix;
        self
    }

    /// The signature is written in base64, and not in hexadecimal digits.
    #[must_use]
    pub fn base64(mut self) -> Self {
        self.is_base64 = true;
        self
    }

    /// A secret that may have made a signature. Several, while one is being rotated.
    #[must_use]
    pub fn secret(mut self, secret: impl Into<String>) -> Self {
        self.secrets.push(Secret::new(secret));
        self
    }

    /// The header with the time of the signature, in seconds since 1970, and what is signed: a text with `{timestamp}` and
    /// `{body}` in it. What is more than five minutes off our clock is refused.
    #[must_use]
    pub fn timestamp(mut self, header: &'static str, signed: &str) -> Self {
        self.timestamp = Some((header, parts(signed)));
        self
    }

    /// How far the time of a signature may be off our clock.
    #[must_use]
    pub fn tolerance(mut self, tolerance: Duration) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// The header that holds an event's id. Such a header is usually not signed, so the content guards it: the same id with
    /// another body is a conflict.
    #[must_use]
    pub fn id_header(mut self, header: &'static str) -> Self {
        self.id = Place::Header(header);
        self
    }

    /// A JSON pointer (RFC 6901) to an event's id in the body. Without this and [`id_header`](Self::id_header) the id is the
    /// hash of what was signed.
    #[must_use]
    pub fn id_member(mut self, pointer: &'static str) -> Self {
        self.id = Place::Member(pointer);
        self
    }

    /// The header that holds an event's kind.
    #[must_use]
    pub fn kind_header(mut self, header: &'static str) -> Self {
        self.kind = Some(Place::Header(header));
        self
    }

    /// A JSON pointer to an event's kind in the body.
    #[must_use]
    pub fn kind_member(mut self, pointer: &'static str) -> Self {
        self.kind = Some(Place::Member(pointer));
        self
    }

    /// For how long the same may come again, as far as is known.
    #[must_use]
    pub fn sends_again_for(mut self, span: Duration) -> Self {
        self.sends_again_for = span;
        self
    }
}

impl Provider for Hmac {
    fn name(&self) -> &'static str {
        self.name
    }

    fn scope(&self) -> &'static str {
        self.scope
    }

    fn verify(
        &self,
        request: &Request<'_>,
        _settings: &Settings,
    ) -> Result<Option<SignedBy>, Refusal> {
        if self.secrets.is_empty() {
            return Err(Refusal::NotConfigured(self.name));
        }
        let signature = request.header(self.header);
        let signature = signature.ok_or(SignatureError::Missing)?;
        let signature = self.decoded(signature).ok_or(SignatureError::Invalid)?;
        let signed = self.signed(self.time(request)?, request.body);
        let fits = |secret: &Secret| is_same(&self.mac(secret, &signed), &signature);
        let at = self.secrets.iter().position(fits);
        let at = at.ok_or(SignatureError::Invalid)?;
        let count = self.secrets.len();
        Ok(Some(SignedBy { at, count }))
    }

    fn parse(&'static self, request: &Request<'_>, _route: &Route) -> Result<Delivery, Refusal> {
        let body = match media_type::is_json(request.content_type()) {
            true => json::parse(request.body)?,
            false => Value::from(text_of(request.body)?),
        };
        let digest = sha256_hex(request.body);
        let text = |place: Place| match place {
            Place::Header(name) => request.header(name).map(str::to_owned),
            Place::Member(pointer) => member(&body, pointer),
            Place::Content => Some(digest.clone()),
        };
        let id = text(self.id).filter(|id| usable_id(id));
        let id = id.ok_or_else(|| Malformed("the event has no id".to_owned()))?;
        let kind = match self.kind {
            None => self.name.to_owned(),
            Some(place) => text(place)
                .ok_or_else(|| Malformed("it does not say what the event is".to_owned()))?,
        };
        let derived_key = match id.parse::<IdempotencyKey>() {
            Ok(_) => id.clone(),
            Err(_no_key) => sha256_hex(id.as_bytes()),
        };
        Ok(Delivery {
            provider: self,
            webhook_type: self.name,
            reply_form: ReplyForm::Report,
            derived_key,
            events: vec![Event {
                id,
                kind,
                digest,
                payload: body.clone(),
                ours: None,
                content: Content::Other,
            }],
            body,
        })
    }

    fn sends_again_for(&self) -> Duration {
        self.sends_again_for
    }
}

fn text_of(body: &[u8]) -> Result<String, Malformed> {
    let text = std::str::from_utf8(body);
    let text = text.map_err(|_binary| Malformed("neither JSON nor text".to_owned()))?;
    Ok(without_nul(text))
}

/// The text or the number that a JSON pointer leads to.
fn member(body: &Value, pointer: &str) -> Option<String> {
    let mut value = body;
    for name in pointer.split('/').skip(1) {
        let name = name.replace("~1", "/").replace("~0", "~");
        value = match value {
            Value::Array(elements) => elements.get(name.parse::<usize>().ok()?)?,
            _ => value.get(&name)?,
        };
    }
    as_written(Some(value))
}
