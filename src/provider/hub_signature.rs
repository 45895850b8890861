//! `X-Hub-Signature-256`, as WebSub has given it to many: HMAC-SHA256 over the raw body, in hex after `sha256=`.
//! Sources: Meta's "Webhooks: Getting Started", "Validating Payloads"; GitHub's "Validating webhook deliveries".

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::{
    diagnosis::{Diagnosis, MatchingChange, SignatureForm},
    refusal::SignatureError,
};
use crate::{json::Value, secret::Secret};

/// The header that carries the signature.
pub const HEADER: &str = "X-Hub-Signature-256";

/// What the signature is, in a line.
pub const ABOUT: &str = "sha256= and the HMAC-SHA256 of the body";

const PREFIX: &str = "sha256=";

/// How many bytes a signature has.
const LENGTH: usize = 32;

/// Checks a body, byte for byte as it came, with any of the secrets. Gives the place of the one that made the signature,
/// from 0.
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

/// Signs a body.
pub fn sign(secret: &Secret, body: &[u8]) -> String {
    format!(
        "{PREFIX}{}",
        hex::encode(mac(secret, body).finalize().into_bytes())
    )
}

/// A body that may have been the signed one, with how it differs from the one that came.
pub(super) type Variant = (&'static str, Vec<u8>);

/// Looks for why a signature does not fit. Where `thorough`, the bodies that `variants` makes are tried too.
pub(super) fn diagnose(
    secrets: &[Secret],
    signature: Option<&str>,
    body: &[u8],
    variants: fn(&[u8]) -> Vec<Variant>,
    thorough: bool,
) -> Diagnosis {
    let digits = signature.map(|text| text.strip_prefix(PREFIX));
    let decoded = digits.map(|digits| digits.map(hex::decode));
    let form = match &decoded {
        None => SignatureForm::Missing,
        Some(None) => SignatureForm::Malformed("sha256= and hexadecimal digits"),
        Some(Some(Err(_))) => SignatureForm::Malformed("hexadecimal after sha256="),
        Some(Some(Ok(bytes))) => SignatureForm::of_length(bytes.len(), LENGTH),
    };
    let bytes = decoded.flatten().and_then(Result::ok).unwrap_or_default();
    let made = |secret: &Secret| fitting(std::slice::from_ref(secret), &bytes, body).is_some();
    let tried = secrets.iter().map(|secret| thorough && made(secret));
    let mut diagnosis = Diagnosis {
        header: HEADER,
        signature: form,
        secrets: tried.collect(),
        ..Diagnosis::default()
    };
    if thorough && form == SignatureForm::Good && !diagnosis.secrets.contains(&true) {
        let variants = variants(body).into_iter();
        for (change, body) in variants.filter(|(_, variant)| variant != body) {
            if let Some(secret) = fitting(secrets, &bytes, &body) {
                diagnosis.fits = Some(MatchingChange {
                    change: change.to_owned(),
                    url: None,
                    secret,
                    advice: "look what rewrites the body on its way: it must arrive byte for byte"
                        .to_owned(),
                });
                break;
            }
            diagnosis.tried.push(change.to_owned());
        }
    }
    diagnosis
}

/// What a proxy, a log or an editor may have made of a body, undone.
pub(super) fn variants(body: &[u8]) -> Vec<Variant> {
    let mut variants = vec![
        (
            "the body without white space at its ends",
            body.trim_ascii().to_vec(),
        ),
        (
            "the body with a new line at its end",
            [body, b"\n"].concat(),
        ),
    ];
    if let Ok(value) = Value::parse(body) {
        variants.push(("the body as compact JSON", value.to_string().into_bytes()));
    }
    variants
}

/// The place of the secret that made a signature over a body.
fn fitting(secrets: &[Secret], signature: &[u8], body: &[u8]) -> Option<usize> {
    secrets
        .iter()
        .position(|secret| mac(secret, body).verify_slice(signature).is_ok())
}

fn mac(secret: &Secret, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes())
        .expect("HMAC takes a key of any length");
    mac.update(body);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_tried_in_other_forms_only_where_that_is_asked_for_and_the_signature_is_one() {
        let secrets = [Secret::new("a"), Secret::new("b")];
        let signature = sign(&secrets[1], b"{\"a\": 1}\n");
        let sent = Some(signature.as_str());
        let body = b"{\"a\": 1}";
        let found = diagnose(&secrets, sent, body, variants, true);
        assert_eq!(found.header, HEADER);
        assert_eq!(found.secrets, [false, false]);
        assert_eq!(found.fits.map(|fit| fit.secret), Some(1));

        let brief = diagnose(&secrets, sent, body, variants, false);
        assert_eq!((brief.fits, brief.tried.len()), (None, 0));
        let short = diagnose(&secrets, Some("sha256=00"), body, variants, true);
        assert_eq!((short.fits, short.tried.len()), (None, 0));
        let right = diagnose(&secrets, sent, b"{\"a\": 1}\n", variants, true);
        assert_eq!(right.secrets, [false, true]);
        assert_eq!((right.fits, right.tried.len()), (None, 0));
    }
}
