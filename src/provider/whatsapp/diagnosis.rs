//! Why a signature of Meta's does not fit.

use super::signature::{PREFIX, fitting};
use crate::{
    json::Value,
    provider::{
        Provider,
        diagnosis::{Diagnosis, Fit, SignatureForm},
    },
    secret::Secret,
};

const LENGTH: usize = 32;

/// Looks at a request. Small changes of the body are tried where `thorough`; else it is not even read, and the secrets
/// are taken for what the refusal said.
pub fn diagnose(
    secrets: &[Secret],
    signature: Option<&str>,
    body: &[u8],
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
    let mut diagnosis = Diagnosis {
        provider: Provider::WhatsApp,
        signature: form,
        secrets: secrets
            .iter()
            .map(|secret| thorough && made(secret))
            .collect(),
        body_hash: None,
        named: None,
        tried: Vec::new(),
        fits: None,
    };
    if thorough && form == SignatureForm::Good && !diagnosis.secrets.contains(&true) {
        for (change, body) in variants(body) {
            if let Some(secret) = fitting(secrets, &bytes, &body) {
                diagnosis.fits = Some(Fit {
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

/// What a proxy, a log or an editor may have made of the body, undone.
fn variants(body: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
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
    if let Ok(value) = Value::parse(body) {
        variants.push(("the body as compact JSON", value.to_string().into_bytes()));
    }
    variants.retain(|(_, variant)| variant != body);
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
    use super::{super::signature::sign, *};

    fn secrets() -> [Secret; 2] {
        [Secret::new("new"), Secret::new("old")]
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
            let diagnosis = diagnose(&secrets(), Some(&signature), arrived.as_bytes(), true);
            let fit = diagnosis.fits.expect(change);
            assert!(fit.change.contains(change), "{fit:?}");
            assert_eq!(fit.secret, 1);
        }
        let compact = sign(&secrets()[0], b"{\"a\":1}");
        let diagnosis = diagnose(&secrets(), Some(&compact), b"{ \"a\": 1 }", true);
        assert!(diagnosis.fits.unwrap().change.contains("compact"));
        let stranger = diagnose(&secrets()[..1], Some(&signature), b"{}", true);
        assert_eq!(
            (stranger.fits.clone(), &*stranger.secrets),
            (None, &[false][..])
        );
        assert!(
            stranger.reason().contains("did not make"),
            "{}",
            stranger.reason()
        );
        let good = diagnose(&secrets(), Some(&signature), signed.as_bytes(), true);
        assert_eq!(good.secrets, [false, true]);
        assert!(good.verifies());
    }

    #[test]
    fn the_form_of_a_signature_is_told() {
        let of = |signature| diagnose(&secrets(), signature, b"", true).signature;
        assert_eq!(of(None), SignatureForm::Missing);
        assert!(matches!(of(Some("sha1=00")), SignatureForm::Malformed(_)));
        assert!(matches!(of(Some("sha256=zz")), SignatureForm::Malformed(_)));
        assert_eq!(
            of(Some("sha256=00")),
            SignatureForm::Length { is: 1, should: 32 }
        );
    }
}
