//! `X-Twilio-Signature`: base64 of HMAC-SHA1 over the public URL and the parameters; HMAC-SHA256 with a shared key.
//! Source: Twilio's "Webhooks security" documentation.

use base64::Engine as _;
pub(super) use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use std::{borrow::Borrow, collections::HashSet};
use subtle::ConstantTimeEq as _;

use crate::{
    provider::{form::Form, refusal::SignatureError},
    secret::Secret,
};

/// The header that carries the signature.
pub const HEADER: &str = "X-Twilio-Signature";

/// The query parameter that ties a JSON body to the signed URL.
pub(super) const BODY_HASH: &str = "bodySHA256";

/// Checks a form against the URL that Twilio called, with any of the secrets. Gives the place of the one that made the
/// signature, from 0.
///
/// # Errors
/// Where there is no signature, or none of the secrets made it.
pub fn verify_form<S: Borrow<Secret>>(
    secrets: &[S],
    signature: Option<&str>,
    url: &str,
    form: &Form<'_>,
) -> Result<usize, SignatureError> {
    verify(secrets, signature, url, &signed_params(form))
}

/// Checks a JSON body: the signed URL carries its SHA-256, without which the body is not covered at all.
///
/// # Errors
/// As [`verify_form`], and where the URL has no `bodySHA256` or another body's.
pub fn verify_json<S: Borrow<Secret>>(
    secrets: &[S],
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
    verify(secrets, signature, url, b"")
}

/// Signs a form as Twilio does.
pub fn sign_form(token: &Secret, url: &str, form: &Form<'_>) -> String {
    sha1(token, url, &signed_params(form))
}

/// Signs a JSON body as Twilio does: gives the URL with its `bodySHA256`, and the signature.
pub fn sign_json(token: &Secret, url: &str, body: &[u8]) -> (String, String) {
    let join = if url.contains('?') { '&' } else { '?' };
    let hash = hex::encode(Sha256::digest(body));
    let url = format!("{url}{join}{BODY_HASH}={hash}");
    let signature = sha1(token, &url, b"");
    (url, signature)
}

fn verify<S: Borrow<Secret>>(
    secrets: &[S],
    signature: Option<&str>,
    url: &str,
    params: &[u8],
) -> Result<usize, SignatureError> {
    let signature = signature.ok_or(SignatureError::Missing)?;
    let signature = BASE64
        .decode(signature)
        .map_err(|_| SignatureError::Invalid)?;
    fitting(secrets, &signature, url, params).ok_or(SignatureError::Invalid)
}

/// The place of the secret that made a signature over parameters and a URL in one of its spellings. The signature's length
/// tells which of the two algorithms made it.
pub(super) fn fitting<S: Borrow<Secret>>(
    secrets: &[S],
    signature: &[u8],
    url: &str,
    params: &[u8],
) -> Option<usize> {
    let urls = spellings(url);
    let fits = |secret: &Secret, url: &String| match signature.len() {
        SHA256_LENGTH => {
            let mac: Hmac<Sha256> = mac(secret, url, params);
            mac.verify_slice(signature).is_ok()
        }
        _ => {
            let mac: Hmac<Sha1> = mac(secret, url, params);
            mac.verify_slice(signature).is_ok()
        }
    };
    secrets
        .iter()
        .position(|secret| urls.iter().any(|url| fits(secret.borrow(), url)))
}

/// How many bytes a signature by HMAC-SHA1 has.
pub(super) const SHA1_LENGTH: usize = 20;

/// How many bytes a signature by HMAC-SHA256 has.
pub(super) const SHA256_LENGTH: usize = 32;

fn mac<M: KeyInit + Mac>(secret: &Secret, url: &str, params: &[u8]) -> M {
    let mut mac = <M as KeyInit>::new_from_slice(secret.expose().as_bytes())
        .expect("HMAC takes a key of any length");
    mac.update(url.as_bytes());
    mac.update(params);
    mac
}

fn sha1(token: &Secret, url: &str, params: &[u8]) -> String {
    let mac: Hmac<Sha1> = mac(token, url, params);
    BASE64.encode(mac.finalize().into_bytes())
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

/// The URL as it is, and the spellings of the same that Twilio is known to sign: with and without the standard port, with
/// an apostrophe escaped, and with what may be escaped in the query all plain or all escaped.
fn spellings(url: &str) -> Vec<String> {
    let mut urls = vec![url.to_owned()];
    if let Some((path, query)) = url.split_once('?') {
        let plain = plain(query);
        let escaped = escaped(&plain);
        urls.extend([plain, escaped].map(|query| format!("{path}?{query}")));
    }
    let ported: Vec<_> = urls.iter().filter_map(|url| other_port(url)).collect();
    urls.extend(ported);
    let escaped = urls.iter().map(|url| url.replace('\'', "%27"));
    let escaped: Vec<_> = escaped.collect();
    urls.extend(escaped);
    let mut seen = HashSet::new();
    urls.retain(|url| seen.insert(url.clone()));
    urls
}

/// A query with its escapes undone, but for those of characters that have a meaning in it.
fn plain(query: &str) -> String {
    let mut bytes = Vec::with_capacity(query.len());
    let mut rest = query.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escape = after.get(..2).filter(|_| first == b'%');
        let byte = escape.and_then(|digits| hex::decode(digits).ok()?.pop());
        match byte.filter(|byte| *byte > b' ' && *byte != 0x7f && !has_meaning(*byte)) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| query.to_owned())
}

/// A plain query with everything escaped that has no meaning in it and is more than a letter, a digit or one of `-._~`.
fn escaped(plain: &str) -> String {
    let mut escaped = String::with_capacity(plain.len());
    for byte in plain.bytes() {
        let stays = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || has_meaning(byte);
        match stays {
            true => escaped.push(byte.into()),
            false => escaped += &format!("%{byte:02X}"),
        }
    }
    escaped
}

/// Whether escaping a character of a query would make it another query.
fn has_meaning(byte: u8) -> bool {
    b"&=+%#".contains(&byte)
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
        // With two of them it would be open which one counts.
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
            ("https://u:@a.example/p", "https://u:@a.example:443/p"),
            ("https://u:@a.example:1/p", "https://u:@a.example/p"),
            ("https://[::1]:8080/p", "https://[::1]/p"),
            ("https://[::1]/p", "https://[::1]:443/p"),
        ];
        for (url, other) in cases {
            assert_eq!(other_port(url).as_deref(), Some(other));
        }
    }

    #[test]
    fn a_query_is_the_same_plain_and_escaped_but_for_what_has_a_meaning() {
        let secret = Secret::new("t");
        let form = Form::parse(b"A=1").unwrap();
        let fits = |signed: &str, wire: &str| {
            let [signed, wire] = [signed, wire].map(|query| format!("https://a.example/p?{query}"));
            let signature = sign_form(&secret, &signed, &form);
            verify_form(&[&secret], Some(&signature), &wire, &form).is_ok()
        };
        for (plain, escaped) in [
            ("city=Forli'", "city=Forli%27"),
            ("to=a@b.example", "to=a%40b.example"),
            ("x=(1):2/3?,4;é", "x=%281%29%3A2%2F3%3F%2C4%3B%C3%A9"),
            ("a=%26@", "a=%26%40"),
        ] {
            assert!(fits(plain, escaped), "{plain}");
            assert!(fits(escaped, plain), "{escaped}");
        }
        // An apostrophe alone.
        assert!(fits("x=%27@", "x='@"));
        for (signed, wire) in [
            ("a=1&b=2", "a=1%26b=2"),
            ("a=1", "a%3D1"),
            ("a=1+2", "a=1%2B2"),
            ("a=%2527", "a=%27"),
            ("a=1", "a=2"),
        ] {
            assert!(!fits(signed, wire), "{signed}");
            assert!(!fits(wire, signed), "{wire}");
        }
    }

    #[test]
    fn a_signature_by_sha256_is_as_good_as_one_by_sha1() {
        let secret = Secret::new("shared");
        let form = Form::parse(b"A=1").unwrap();
        let url = "https://a.example/p";
        let mac: Hmac<Sha256> = mac(&secret, url, &signed_params(&form));
        let signature = BASE64.encode(mac.finalize().into_bytes());
        let other = Secret::new("other");
        let verify = |secrets: &[&Secret], url| verify_form(secrets, Some(&signature), url, &form);
        assert_eq!(verify(&[&other, &secret], url), Ok(1));
        assert_eq!(verify(&[&other], url), Err(SignatureError::Invalid));
        assert_eq!(
            verify(&[&secret], "https://a.example/q"),
            Err(SignatureError::Invalid)
        );
    }

    #[test]
    fn what_is_signed_here_is_verified_here_with_any_of_the_tokens() {
        let (old, new) = (Secret::new("old"), Secret::new("new"));
        let form = Form::parse(b"B=2&A=1&A=&B=2").unwrap();
        let url = "https://a.example/p";
        let signature = sign_form(&old, url, &form);
        assert_eq!(
            verify_form(&[&new, &old], Some(&signature), url, &form),
            Ok(1)
        );
        assert_eq!(
            verify_form(&[&new], Some(&signature), url, &form),
            Err(SignatureError::Invalid)
        );
        assert_eq!(
            verify_form::<Secret>(&[], Some(&signature), url, &form),
            Err(SignatureError::Invalid)
        );
        assert_eq!(
            verify_form(&[&old], None, url, &form),
            Err(SignatureError::Missing)
        );
    }

    #[test]
    fn a_json_body_that_the_url_does_not_cover_is_refused() {
        let token = Secret::new("t");
        let (url, signature) = sign_json(&token, "https://a.example/p?x=1", b"{}");
        let tokens = [&token];
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

    #[test]
    fn what_stands_for_a_space_or_has_a_meaning_stays_escaped() {
        assert_eq!(plain("a%20b%7F%26%41%21"), "a%20b%7F%26A!");
    }
}
