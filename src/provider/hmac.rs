//! A provider that is described instead of written: it signs with an HMAC in a header, and tells one event in each delivery.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac as Code, KeyInit as _, Mac as _};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use std::time::{Duration, UNIX_EPOCH};
use subtle::ConstantTimeEq as _;

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
    /// Whoever signs with HMAC-SHA256 in this header. `name` tells its events and keys from those of others: small letters
    /// and digits, and never another once something is stored of it.
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
            // A provider lives as long as its program, of which it has a few.
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

    /// An event is known by this header. Where nobody signs it, the content guards it: the same id with another body is a
    /// conflict.
    #[must_use]
    pub fn id_header(mut self, header: &'static str) -> Self {
        self.id = Place::Header(header);
        self
    }

    /// An event is known by what a JSON pointer (RFC 6901) leads to in the body. Without this and
    /// [`id_header`](Self::id_header) it is known by its content.
    #[must_use]
    pub fn id_member(mut self, pointer: &'static str) -> Self {
        self.id = Place::Member(pointer);
        self
    }

    /// What an event is, is in this header.
    #[must_use]
    pub fn kind_header(mut self, header: &'static str) -> Self {
        self.kind = Some(Place::Header(header));
        self
    }

    /// What an event is, a JSON pointer leads to.
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

    /// Signs a body as sent at a time, in seconds since 1970, with the first secret: for tests of one's own. None without a
    /// secret.
    pub fn sign(&self, timestamp: u64, body: &[u8]) -> Option<String> {
        let secret = self.secrets.first()?;
        let mac = self.mac(secret, &self.signed(&timestamp.to_string(), body));
        let written = match self.is_base64 {
            true => BASE64.encode(mac),
            false => hex::encode(mac),
        };
        Some(format!("{}{written}", self.prefix))
    }

    /// The bytes that are signed.
    fn signed(&self, timestamp: &str, body: &[u8]) -> Vec<u8> {
        let Some((_, parts)) = &self.timestamp else {
            return body.to_vec();
        };
        let part = |part: &Part| match part {
            Part::Timestamp => timestamp.as_bytes().to_vec(),
            Part::Body => body.to_vec(),
            Part::Text(text) => text.clone().into_bytes(),
        };
        parts.iter().flat_map(part).collect()
    }

    fn mac(&self, secret: &Secret, signed: &[u8]) -> Vec<u8> {
        macro_rules! mac {
            ($hash:ty) => {{
                let mut mac = Code::<$hash>::new_from_slice(secret.expose().as_bytes())
                    .expect("HMAC takes a key of any length");
                mac.update(signed);
                mac.finalize().into_bytes().to_vec()
            }};
        }
        match self.algorithm {
            Algorithm::Sha1 => mac!(Sha1),
            Algorithm::Sha256 => mac!(Sha256),
            Algorithm::Sha512 => mac!(Sha512),
        }
    }

    /// The time of the signature, where there is to be one, if it is near enough.
    fn time<'a>(&self, request: &Request<'a>) -> Result<&'a str, SignatureError> {
        let Some((header, _)) = &self.timestamp else {
            return Ok("");
        };
        let text = request.header(header).ok_or(SignatureError::Missing)?;
        let seconds: u64 = text.parse().map_err(|_no_number| SignatureError::Invalid)?;
        let signed_at = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        let signed_at = signed_at.ok_or(SignatureError::Invalid)?;
        let off = match request.received_at.duration_since(signed_at) {
            Ok(late) => late,
            Err(early) => early.duration(),
        };
        match off <= self.tolerance {
            true => Ok(text),
            false => Err(SignatureError::Invalid),
        }
    }

    fn decoded(&self, signature: &str) -> Option<Vec<u8>> {
        let written = signature.strip_prefix(self.prefix)?;
        match self.is_base64 {
            true => BASE64.decode(written).ok(),
            false => hex::decode(written).ok(),
        }
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

/// The parts of a text with `{timestamp}` and `{body}` in it.
fn parts(template: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = template;
    while !rest.is_empty() {
        let (part, length) = if rest.starts_with("{timestamp}") {
            (Part::Timestamp, "{timestamp}".len())
        } else if rest.starts_with("{body}") {
            (Part::Body, "{body}".len())
        } else {
            // At least one character, which may be a brace that begins nothing.
            let first = rest.chars().next().map_or(1, char::len_utf8);
            let length = rest[first..].find('{').map_or(rest.len(), |at| first + at);
            (Part::Text(rest[..length].to_owned()), length)
        };
        parts.push(part);
        rest = &rest[length..];
    }
    parts
}

/// Compared in constant time: how long it takes says nothing of what is right.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::request::Headers;
    use std::time::SystemTime;

    const ROUTE: Route = Route::UNDESCRIBED;

    fn verified(
        hmac: &Hmac,
        headers: &[(&'static str, &str)],
        body: &[u8],
        now: u64,
    ) -> Result<Option<SignedBy>, Refusal> {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        let at = UNIX_EPOCH + Duration::from_secs(now);
        hmac.verify(
            &Request::new("", &headers as &dyn Headers, body, at),
            &Settings::default(),
        )
    }

    /// RFC 4231, test case 2.
    #[test]
    fn the_published_vector_is_verified() {
        let body = b"what do ya want for nothing?";
        let hex = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let hmac = Hmac::sha256("test", "S").secret("Jefe");
        assert!(verified(&hmac, &[("S", hex)], body, 0).is_ok());
        let long = "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737";
        assert!(
            verified(
                &Hmac::sha512("test", "S").secret("Jefe"),
                &[("S", long)],
                body,
                0
            )
            .is_ok()
        );
        // RFC 2202, test case 2.
        let short = "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79";
        assert!(
            verified(
                &Hmac::sha1("test", "S").secret("Jefe"),
                &[("S", short)],
                body,
                0
            )
            .is_ok()
        );
        let other = hmac.clone().prefix("v1=").base64();
        let signature = other.sign(0, body).unwrap();
        assert!(signature.starts_with("v1="));
        assert!(verified(&other, &[("S", &signature)], body, 0).is_ok());
    }

    #[test]
    fn a_wrong_signature_is_refused_and_a_second_secret_taken() {
        let hmac = Hmac::sha256("test", "S").secret("old").secret("new");
        let by_new = Hmac::sha256("test", "S")
            .secret("new")
            .sign(0, b"x")
            .unwrap();
        let at = verified(&hmac, &[("s", &by_new)], b"x", 0)
            .unwrap()
            .unwrap();
        assert_eq!((at.at, at.count), (1, 2));
        for (signature, body) in [
            ("", &b"x"[..]),
            ("zz", b"x"),
            (&by_new[2..], b"x"),
            (&by_new, b"y"),
        ] {
            let refused = verified(&hmac, &[("S", signature)], body, 0);
            assert_eq!(refused, Err(Refusal::Signature(SignatureError::Invalid)));
        }
        let unsigned = verified(&hmac, &[], b"x", 0);
        assert_eq!(unsigned, Err(Refusal::Signature(SignatureError::Missing)));
        let without = verified(&Hmac::sha256("test", "S"), &[("S", &by_new)], b"x", 0);
        assert_eq!(without, Err(Refusal::NotConfigured("test")));
    }

    #[test]
    fn a_signature_is_taken_near_its_time_alone() {
        let hmac = Hmac::sha256("test", "S")
            .timestamp("T", "v0:{timestamp}:{body}{")
            .secret("s");
        let signature = hmac.sign(1_000, b"{}").unwrap();
        let at = |now| verified(&hmac, &[("S", &signature), ("T", "1000")], b"{}", now);
        for now in [700, 1_000, 1_300] {
            assert!(at(now).is_ok(), "{now}");
        }
        for now in [699, 1_301] {
            assert!(at(now).is_err(), "{now}");
        }
        for time in ["1001", "", "-1", "99999999999999999999", "1e3"] {
            assert!(verified(&hmac, &[("S", &signature), ("T", time)], b"{}", 1_000).is_err());
        }
        assert!(verified(&hmac, &[("S", &signature)], b"{}", 1_000).is_err());
    }

    #[test]
    fn an_event_is_known_by_what_is_said_to_name_it() {
        let read = |hmac: Hmac, body: &str| {
            let hmac: &'static Hmac = Box::leak(Box::new(hmac));
            let headers = vec![
                ("Content-Type", "application/json".to_owned()),
                ("Id", "of the header".to_owned()),
            ];
            let request = Request::new("", &headers, body.as_bytes(), SystemTime::now());
            let delivery = hmac.parse(&request, &ROUTE)?;
            let event = &delivery.events[0];
            Ok::<_, Refusal>((
                event.id.clone(),
                event.kind.clone(),
                delivery.derived_key.clone(),
            ))
        };
        let hmac = || Hmac::sha256("test", "S");
        let by_member = hmac().id_member("/a~1b/1/id").kind_member("/kind");
        let body = r#"{"a/b": [0, {"id": 17}], "kind": "paid"}"#;
        assert_eq!(
            read(by_member.clone(), body),
            Ok(("17".into(), "paid".into(), "17".into()))
        );
        assert!(read(by_member.clone(), "{}").is_err());
        assert!(read(by_member, "no json").is_err());
        let (id, kind, key) = read(hmac().id_header("id"), "{}").unwrap();
        assert_eq!((&*id, &*kind, key.len()), ("of the header", "test", 64));
        let (id, _, key) = read(hmac(), "{}").unwrap();
        assert_eq!((id.len(), id == key), (64, true));
    }
}
