//! `X-Hub-Signature-256` over the raw body, and the token of the verification handshake.
//! Source: Meta's "Webhooks: Getting Started", "Validating Payloads" and "Verification Requests".

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::{provider::SignatureError, secret::Secret};

/// The header that carries the signature.
pub const HEADER: &str = "X-Hub-Signature-256";

/// The parameter of a verification request that carries the token.
pub const VERIFY_TOKEN: &str = "hub.verify_token";

pub(super) const PREFIX: &str = "sha256=";

/// Checks a body, byte for byte as it came, with any of the app secrets. Gives the place of the one that made the
/// signature, from 0.
///
/// # Errors
/// Where there is no signature, or none of the secrets made it.
pub fn verify(
    secrets: &[Secret],
    signature: Option<&str>,
    body: &[u8],
) -> Result<usize, SignatureError> {
    let signature = signature.ok_or(SignatureError::Missing)?;
    let signature = signature
        .strip_prefix(PREFIX)
        .and_then(|digits| hex::decode(digits).ok())
        .ok_or(SignatureError::Invalid)?;
    fitting(secrets, &signature, body).ok_or(SignatureError::Invalid)
}

/// The place of the secret that made a signature over a body.
pub(super) fn fitting(secrets: &[Secret], signature: &[u8], body: &[u8]) -> Option<usize> {
    secrets
        .iter()
        .position(|secret| mac(secret, body).verify_slice(signature).is_ok())
}

/// Signs a body as Meta does.
pub fn sign(secret: &Secret, body: &[u8]) -> String {
    format!(
        "{PREFIX}{}",
        hex::encode(mac(secret, body).finalize().into_bytes())
    )
}

/// Whether the token of a verification request is ours, told in constant time.
pub fn verify_token_matches(ours: &Secret, theirs: &str) -> bool {
    // Hashed first, so that not even the length shows.
    let (ours, theirs) = (Sha256::digest(ours.expose()), Sha256::digest(theirs));
    ours.as_slice().ct_eq(theirs.as_slice()).into()
}

fn mac(secret: &Secret, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes())
        .expect("HMAC takes a key of any length");
    mac.update(body);
    mac
}
