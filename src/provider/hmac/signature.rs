//! The signature: what is signed, how, and until when it is taken.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac as Code, KeyInit as _, Mac as _};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use std::time::{Duration, UNIX_EPOCH};
use subtle::ConstantTimeEq as _;

use super::{Algorithm, Hmac, Part};
use crate::{
    provider::{refusal::SignatureError, request::Request},
    secret::Secret,
};

impl Hmac {
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
    pub(super) fn signed(&self, timestamp: &str, body: &[u8]) -> Vec<u8> {
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

    pub(super) fn mac(&self, secret: &Secret, signed: &[u8]) -> Vec<u8> {
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
    pub(super) fn time<'a>(&self, request: &Request<'a>) -> Result<&'a str, SignatureError> {
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

    pub(super) fn decoded(&self, signature: &str) -> Option<Vec<u8>> {
        let written = signature.strip_prefix(self.prefix)?;
        match self.is_base64 {
            true => BASE64.decode(written).ok(),
            false => hex::decode(written).ok(),
        }
    }
}

/// The parts of a text with `{timestamp}` and `{body}` in it.
pub(super) fn parts(template: &str) -> Vec<Part> {
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
pub(super) fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}
