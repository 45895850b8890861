//! What Meta does to a body before it signs it.

use crate::provider::hub_signature::{self, Variant};

/// What a proxy, a log or an editor may have made of a body, undone.
pub(super) fn variants(body: &[u8]) -> Vec<Variant> {
    let mut variants = hub_signature::variants(body);
    if let Ok(text) = std::str::from_utf8(body) {
        // Meta escapes what is not ASCII, and each slash.
        variants.push((
            "the body with its characters escaped as Meta does",
            escaped(text, false).into_bytes(),
        ));
        variants.push((
            "the body with its characters and slashes escaped as Meta does",
            escaped(text, true).into_bytes(),
        ));
    }
    variants
}

fn escaped(text: &str, slashes: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut after_backslash = false;
    for c in text.chars() {
        match c {
            '/' if slashes && !after_backslash => escaped.push_str("\\/"),
            c if c.is_ascii() => escaped.push(c),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    escaped.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
        after_backslash = c == '\\' && !after_backslash;
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        provider::{
            diagnosis::{Diagnosis, SignatureForm},
            hub_signature::sign,
        },
        secret::Secret,
    };

    fn secrets() -> [Secret; 2] {
        [Secret::new("new"), Secret::new("old")]
    }

    fn diagnose(secrets: &[Secret], signature: Option<&str>, body: &[u8]) -> Diagnosis {
        hub_signature::diagnose(secrets, signature, body, variants, true)
    }

    #[test]
    fn a_body_that_was_rewritten_is_told_from_a_secret_that_is_wrong() {
        let signed = r#"{"a":"\u00e9 \ud83d\ude00","b":"https:\/\/x"}"#;
        let signature = sign(&secrets()[1], signed.as_bytes());
        for (arrived, change) in [
            (format!("{signed}\n"), "white space"),
            (r#"{"a":"é 😀","b":"https:\/\/x"}"#.to_owned(), "escaped"),
            (r#"{"a":"é 😀","b":"https://x"}"#.to_owned(), "slashes"),
        ] {
            let diagnosis = diagnose(&secrets(), Some(&signature), arrived.as_bytes());
            let fit = diagnosis.fits.expect(change);
            assert!(fit.change.contains(change), "{fit:?}");
            assert_eq!(fit.secret, 1);
        }
        let compact = sign(&secrets()[0], b"{\"a\":1}");
        let diagnosis = diagnose(&secrets(), Some(&compact), b"{ \"a\": 1 }");
        assert!(diagnosis.fits.unwrap().change.contains("compact"));
        let stranger = diagnose(&secrets()[..1], Some(&signature), b"{}");
        assert_eq!(
            (stranger.fits.clone(), &*stranger.secrets),
            (None, &[false][..])
        );
        assert!(
            stranger.reason().contains("did not make"),
            "{}",
            stranger.reason()
        );
        let good = diagnose(&secrets(), Some(&signature), signed.as_bytes());
        assert_eq!(good.secrets, [false, true]);
        assert!(good.verifies());
    }

    #[test]
    fn the_form_of_a_signature_is_told() {
        let of = |signature| diagnose(&secrets(), signature, b"").signature;
        assert_eq!(of(None), SignatureForm::Missing);
        assert!(matches!(of(Some("sha1=00")), SignatureForm::Malformed(_)));
        assert!(matches!(of(Some("sha256=zz")), SignatureForm::Malformed(_)));
        assert_eq!(
            of(Some("sha256=00")),
            SignatureForm::Length { is: 1, should: 32 }
        );
    }

    #[test]
    fn slashes_are_escaped_once() {
        assert_eq!(escaped("a/é", true), "a\\/\\u00e9");
        assert_eq!(escaped("\\/", true), "\\/");
        assert_eq!(escaped("\\\\/", true), "\\\\\\/");
        assert_eq!(escaped("a/é", false), "a/\\u00e9");
    }
}
