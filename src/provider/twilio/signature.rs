//! `X-Twilio-Signature`: base64 of HMAC-SHA1 over the public URL and the parameters.
//! Source: Twilio's "Webhooks security" documentation.

use base64::Engine as _;
pub(super) use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::form::Form;
use crate::{provider::SignatureError, secret::Secret};

/// The header that carries the signature.
pub const HEADER: &str = "X-Twilio-Signature";

/// The query parameter that ties a JSON body to the signed URL.
const BODY_HASH: &str = "bodySHA256";

/// Checks a form against the URL that Twilio called, with any of the auth tokens. Gives the place of the one that made
/// the signature, from 0.
///
/// # Errors
/// Where there is no signature, or none of the tokens made it.
pub fn verify_form(
    tokens: &[Secret],
    signature: Option<&str>,
    url: &str,
    form: &Form<'_>,
) -> Result<usize, SignatureError> {
    verify(tokens, signature, url, &signed_params(form))
}

/// Checks a JSON body: the signed URL carries its SHA-256, without which the body is not covered at all.
///
/// # Errors
/// As [`verify_form`], and where the URL has no `bodySHA256` or another body's.
pub fn verify_json(
    tokens: &[Secret],
    signature: Option<&str>,
    url: &str,
    body: &[u8],
) -> Result<usize, SignatureError> {
    if signature.is_none() {
        return Err(SignatureError::Missing);
    }
    let expected = Sha256::digest(body);
    let claimed = body_hash(url).ok_or(SignatureError::Invalid)?;
    if !bool::from(claimed.as_slice().ct_eq(&expected)) {
        return Err(SignatureError::Invalid);
    }
    verify(tokens, signature, url, b"")
}

/// Signs a form as Twilio does.
pub fn sign_form(token: &Secret, url: &str, form: &Form<'_>) -> String {
    BASE64.encode(
        mac(token, url, &signed_params(form))
            .finalize()
            .into_bytes(),
    )
}

/// Signs a JSON body as Twilio does: gives the URL with its `bodySHA256`, and the signature.
pub fn sign_json(token: &Secret, url: &str, body: &[u8]) -> (String, String) {
    let join = if url.contains('?') { '&' } else { '?' };
    let hash = hex::encode(Sha256::digest(body));
    let url = format!("{url}{join}{BODY_HASH}={hash}");
    let signature = BASE64.encode(mac(token, &url, b"").finalize().into_bytes());
    (url, signature)
}

fn verify(
    tokens: &[Secret],
    signature: Option<&str>,
    url: &str,
    params: &[u8],
) -> Result<usize, SignatureError> {
    let signature = signature.ok_or(SignatureError::Missing)?;
    let signature = BASE64
        .decode(signature)
        .map_err(|_| SignatureError::Invalid)?;
    fitting(tokens, &signature, url, params).ok_or(SignatureError::Invalid)
}

/// The place of the token that made a signature over a URL, in one of its spellings, and parameters.
pub(super) fn fitting(
    tokens: &[Secret],
    signature: &[u8],
    url: &str,
    params: &[u8],
) -> Option<usize> {
    let urls = spellings(url);
    let fits =
        |token: &Secret, url: &String| mac(token, url, params).verify_slice(signature).is_ok();
    tokens
        .iter()
        .position(|token| urls.iter().any(|url| fits(token, url)))
}

fn mac(token: &Secret, url: &str, params: &[u8]) -> Hmac<Sha1> {
    let mut mac = Hmac::<Sha1>::new_from_slice(token.expose().as_bytes())
        .expect("HMAC takes a key of any length");
    mac.update(url.as_bytes());
    mac.update(params);
    mac
}

/// Names sorted, each followed by its distinct values, sorted: what Twilio's own libraries sign.
pub(super) fn signed_params(form: &Form<'_>) -> Vec<u8> {
    let mut pairs: Vec<_> = form.pairs().collect();
    pairs.sort_unstable();
    pairs.dedup();
    pairs
        .into_iter()
        .flat_map(|(name, value)| [name, value])
        .collect::<Vec<_>>()
        .concat()
}

/// The URL as it is, and the spellings of the same that Twilio is known to sign: with and without the standard
/// port, and with an apostrophe escaped.
fn spellings(url: &str) -> Vec<String> {
    let mut urls = vec![url.to_owned()];
    urls.extend(other_port(url));
    if url.contains('\'') {
        let escaped: Vec<_> = urls.iter().map(|url| url.replace('\'', "%27")).collect();
        urls.extend(escaped);
    }
    urls
}

/// Without its port where it has one, else with the standard one of its scheme.
fn other_port(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    // An IPv6 address has colons of its own, in brackets.
    let host_start = authority.rfind(['@', ']']).map_or(0, |at| at + 1);
    match authority[host_start..].rfind(':') {
        Some(colon) => {
            let host = &authority[..host_start + colon];
            Some(format!("{scheme}://{host}{path}"))
        }
        None => {
            let port = match scheme {
                "https" => 443,
                "http" => 80,
                _ => return None,
            };
            Some(format!("{scheme}://{authority}:{port}{path}"))
        }
    }
}

fn body_hash(url: &str) -> Option<Vec<u8>> {
    match body_hashes(url)[..] {
        [hash] => hex::decode(hash).ok(),
        // Two of them would leave open which one counts.
        _ => None,
    }
}

/// What the query says of the body, each time that it does.
pub(super) fn body_hashes(url: &str) -> Vec<&str> {
    let (_, query) = url.split_once('?').unwrap_or_default();
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .filter(|(name, _)| *name == BODY_HASH)
        .map(|(_, value)| value)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_put_in_or_taken_out_and_nothing_else_changes() {
        let cases = [
            ("https://a.example/p?q=%27", "https://a.example:443/p?q=%27"),
            ("http://a.example?x", "http://a.example:80?x"),
            ("https://a.example:8443/p", "https://a.example/p"),
            ("https://u:p@a.example/p", "https://u:p@a.example:443/p"),
            ("https://[::1]:8080/p", "https://[::1]/p"),
            ("https://[::1]/p", "https://[::1]:443/p"),
        ];
        for (url, other) in cases {
            assert_eq!(other_port(url).as_deref(), Some(other));
        }
    }

    #[test]
    fn what_is_signed_here_is_verified_here_with_any_of_the_tokens() {
        let (old, new) = (Secret::new("old"), Secret::new("new"));
        let form = Form::parse(b"B=2&A=1&A=&B=2").unwrap();
        let url = "https://a.example/p";
        let signature = sign_form(&old, url, &form);
        assert_eq!(
            verify_form(&[new.clone(), old.clone()], Some(&signature), url, &form),
            Ok(1)
        );
        assert_eq!(
            verify_form(std::slice::from_ref(&new), Some(&signature), url, &form),
            Err(SignatureError::Invalid)
        );
        assert_eq!(
            verify_form(&[], Some(&signature), url, &form),
            Err(SignatureError::Invalid)
        );
        assert_eq!(
            verify_form(&[old], None, url, &form),
            Err(SignatureError::Missing)
        );
    }

    #[test]
    fn a_json_body_that_the_url_does_not_cover_is_refused() {
        let token = Secret::new("t");
        let (url, signature) = sign_json(&token, "https://a.example/p?x=1", b"{}");
        let tokens = [token.clone()];
        assert_eq!(verify_json(&tokens, Some(&signature), &url, b"{}"), Ok(0));
        assert_eq!(
            verify_json(&tokens, Some(&signature), &url, b"{} "),
            Err(SignatureError::Invalid)
        );
        let bare = "https://a.example/p?x=1";
        let empty = Form::parse(b"").unwrap();
        let over_url_alone = sign_form(&token, bare, &empty);
        assert_eq!(
            verify_json(&tokens, Some(&over_url_alone), bare, b"{}"),
            Err(SignatureError::Invalid)
        );
    }
}
