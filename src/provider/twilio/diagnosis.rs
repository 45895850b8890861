//! Why a signature of Twilio's does not fit.

use base64::Engine as _;

use super::{
    shared_key::Keys,
    signature::{
        BASE64, BODY_HASH, HEADER, SHA1_LENGTH, SHA256_LENGTH, body_hashes, fitting, signed_params,
    },
};
use crate::{
    provider::{
        diagnosis::{
            BodyHash, BodyHashState, Diagnosis, MatchingChange, OtherUrl, SignatureForm, shown_url,
        },
        form::Form,
        request::Request,
    },
    secret::Secret,
};
use sha2::{Digest as _, Sha256};

/// Looks at a request, and at the URLs that may have been called instead; see
/// [`Provider::diagnose`](crate::provider::Provider::diagnose).
pub(super) fn diagnose(
    keys: Keys<'_>,
    request: &Request<'_>,
    others: &[OtherUrl],
    thorough: bool,
) -> Diagnosis {
    let signature = request.header(HEADER);
    let decoded = signature.map(|text| BASE64.decode(text));
    let form = match &decoded {
        None => SignatureForm::Missing,
        Some(Err(_)) => SignatureForm::Malformed("base64"),
        Some(Ok(bytes)) if bytes.len() == SHA256_LENGTH => SignatureForm::Good,
        Some(Ok(bytes)) => SignatureForm::of_length(bytes.len(), SHA1_LENGTH),
    };
    // A form's parameters are signed; anything else by its hash in the URL.
    let body: Option<&Form<'_>> = request.is_form().then(|| request.form().ok()).flatten();
    let params = body.filter(|_| thorough).map(signed_params);
    let params = params.unwrap_or_default();
    let signed = Signed {
        bytes: decoded.and_then(Result::ok).unwrap_or_default(),
        params: &params,
        keys: &keys.secrets,
    };
    let made = |secret: &&Secret| signed.fits(&[*secret], request.url);
    let secrets = keys.secrets.iter();
    let secrets = secrets.map(|secret| (thorough || body.is_none()) && made(secret));
    let mut diagnosis = Diagnosis {
        header: HEADER,
        signature: form,
        secrets: secrets.collect(),
        body_hash: match body {
            Some(_) => None,
            None => Some(body_hash(request.url, request.body)),
        },
        named: keys.named.as_ref().map(|named| named.told()),
        ..Diagnosis::default()
    };
    if thorough && form == SignatureForm::Good && !diagnosis.secrets.contains(&true) {
        signed.try_changes(&mut diagnosis, request.url, others);
    }
    diagnosis
}

/// What a signature may be over.
struct Signed<'a> {
    /// The signature.
    bytes: Vec<u8>,
    params: &'a [u8],
    keys: &'a [&'a Secret],
}

impl Signed<'_> {
    fn fits(&self, keys: &[&Secret], url: &str) -> bool {
        fitting(keys, &self.bytes, url, self.params).is_some()
    }

    /// Tries small changes until one fits.
    fn try_changes(&self, diagnosis: &mut Diagnosis, url: &str, others: &[OtherUrl]) {
        for other in variants(url, others) {
            if let Some(secret) = fitting(self.keys, &self.bytes, &other.url, self.params) {
                diagnosis.fits = Some(fit(&other, secret));
                return;
            }
            diagnosis.tried.push(other.change);
        }
        if self.params.is_empty() {
            return;
        }
        let alone = OtherUrl {
            change: "the URL without the parameters of the body".to_owned(),
            url: url.to_owned(),
            advice: "the URL is as it was signed: look what changes the body or its content type on its way"
                .to_owned(),
        };
        match fitting(self.keys, &self.bytes, url, b"") {
            Some(secret) => diagnosis.fits = Some(fit(&alone, secret)),
            None => diagnosis.tried.push(alone.change),
        }
    }
}

fn fit(other: &OtherUrl, secret: usize) -> MatchingChange {
    MatchingChange {
        change: other.change.clone(),
        url: Some(shown_url(&other.url, &[BODY_HASH])),
        secret,
        advice: other.advice.clone(),
    }
}

fn body_hash(url: &str, body: &[u8]) -> BodyHash {
    let state = match body_hashes(url)[..] {
        [hash] => match hex::decode(hash) {
            Ok(hash) if hash.len() != 32 => BodyHashState::Malformed,
            Ok(hash) if hash == Sha256::digest(body).as_slice() => BodyHashState::Fits,
            Ok(_) => BodyHashState::Differs,
            Err(_) => BodyHashState::Malformed,
        },
        _ => BodyHashState::Absent,
    };
    BodyHash {
        parameter: BODY_HASH,
        state,
    }
}

/// The URLs that are worth a try: the tried one and the others, each with another scheme, slash or query.
fn variants(url: &str, others: &[OtherUrl]) -> Vec<OtherUrl> {
    let itself = OtherUrl {
        change: String::new(),
        url: url.to_owned(),
        advice: String::new(),
    };
    let mut variants: Vec<OtherUrl> = Vec::new();
    for base in std::iter::once(&itself).chain(others) {
        let schemed: Vec<_> = std::iter::once(base.clone())
            .chain(other_scheme(base))
            .collect();
        for base in schemed {
            variants.extend(other_slash(&base));
            variants.extend(without_query(&base));
            variants.push(base);
        }
    }
    // The nearest first: one change before two.
    variants.sort_by_key(|variant| variant.change.matches(", ").count());
    let mut seen = vec![url.to_owned()];
    variants.retain(|variant| {
        let is_new = !seen.contains(&variant.url);
        seen.push(variant.url.clone());
        is_new
    });
    variants
}

fn changed(base: &OtherUrl, change: &str, url: String, advice: &str) -> OtherUrl {
    let joined = |first: &str, second: &str, by: &str| match first.is_empty() {
        true => second.to_owned(),
        false => format!("{first}{by}{second}"),
    };
    OtherUrl {
        change: joined(&base.change, change, ", "),
        url,
        advice: joined(&base.advice, advice, "; "),
    }
}

fn other_scheme(base: &OtherUrl) -> Option<OtherUrl> {
    let (scheme, rest) = base.url.split_once("://")?;
    let (other, change) = match scheme {
        "http" => ("https", "https instead of http"),
        _ => ("http", "http instead of https"),
    };
    let advice = format!(
        "set PUBLIC_BASE_URL to the {other} URL that the sender calls, or list the proxy in TRUSTED_PROXIES and have \
         it send X-Forwarded-Proto: {other}"
    );
    Some(changed(base, change, format!("{other}://{rest}"), &advice))
}

fn other_slash(base: &OtherUrl) -> Option<OtherUrl> {
    let (path, query) = match base.url.find('?') {
        Some(at) => base.url.split_at(at),
        None => (&*base.url, ""),
    };
    let (path, change) = match path.strip_suffix('/') {
        Some(without) => (without.to_owned(), "no slash at the end of the path"),
        None => (format!("{path}/"), "a slash at the end of the path"),
    };
    let advice = "have the proxy pass the path on as it came, and enter the URL at Twilio as it is served here";
    Some(changed(base, change, format!("{path}{query}"), advice))
}

fn without_query(base: &OtherUrl) -> Option<OtherUrl> {
    let (path, _) = base.url.split_once('?')?;
    let advice = "look what adds a query to the URL on its way";
    Some(changed(base, "no query", path.to_owned(), advice))
}

#[cfg(test)]
mod tests {
    use super::{
        super::signature::{sign_form, sign_json},
        *,
    };
    use crate::media_type::{FORM, JSON};
    use std::time::SystemTime;

    const URL: &str = "http://a.example/p?x=1";

    fn secrets() -> [Secret; 2] {
        [Secret::new("new"), Secret::new("old")]
    }

    /// The diagnosis of a signature over a body of this content type.
    fn look(
        content_type: &str,
        signature: Option<&str>,
        url: &str,
        others: &[OtherUrl],
        body: &[u8],
    ) -> Diagnosis {
        let mut headers = vec![("Content-Type", content_type.to_owned())];
        headers.extend(signature.map(|signature| (HEADER, signature.to_owned())));
        let request = Request::new(url, &headers, body, SystemTime::UNIX_EPOCH);
        let secrets = secrets();
        diagnose(Keys::of(&secrets, &[], None), &request, others, true)
    }

    fn diagnosed(signed_url: &str, url: &str, others: &[OtherUrl]) -> Diagnosis {
        let form = Form::parse(b"A=1").unwrap();
        let signature = sign_form(&secrets()[1], signed_url, &form);
        look(FORM, Some(&signature), url, others, b"A=1")
    }

    #[test]
    fn the_url_that_was_signed_is_found_among_its_neighbours() {
        let cases = [
            ("https://a.example/p?x=1", "https instead of http"),
            ("http://a.example/p/?x=1", "a slash at the end of the path"),
            ("http://a.example/p", "no query"),
            ("https://a.example/p", "https instead of http, no query"),
            (
                "https://b.example/p?x=1",
                "the other, https instead of http",
            ),
        ];
        let other = OtherUrl {
            change: "the other".to_owned(),
            url: "http://b.example/p?x=1".to_owned(),
            advice: "take it".to_owned(),
        };
        for (signed, change) in cases {
            let diagnosis = diagnosed(signed, URL, std::slice::from_ref(&other));
            let fit = diagnosis.fits.as_ref().expect(change);
            assert_eq!((&*fit.change, fit.secret), (change, 1));
            assert_eq!(diagnosis.secrets, [false, false]);
            assert!(!diagnosis.verifies());
        }
        let stranger = diagnosed("https://c.example/p?x=1", URL, &[]);
        assert_eq!(stranger.fits, None);
        assert!((5..=32).contains(&stranger.tried.len()), "{stranger:?}");
    }

    #[test]
    fn a_signature_that_fits_names_its_secret() {
        let diagnosis = diagnosed(URL, URL, &[]);
        assert_eq!(diagnosis.secrets, [false, true]);
        assert!(diagnosis.verifies() && diagnosis.tried.is_empty());
    }

    #[test]
    fn a_body_that_was_changed_is_told_from_a_url_that_was() {
        let [token, _] = secrets();
        let (url, signature) = sign_json(&token, "https://a.example/p", b"{}");
        let look =
            |url: &str, body: &[u8]| super::tests::look(JSON, Some(&signature), url, &[], body);
        let state = |diagnosis: &Diagnosis| diagnosis.body_hash.map(|hash| hash.state);
        assert!(look(&url, b"{}").verifies());
        let changed = look(&url, b"{ }");
        assert_eq!(state(&changed), Some(BodyHashState::Differs));
        assert_eq!(changed.secrets, [true, false]);
        assert!(!changed.verifies());
        assert!(
            changed.advice().contains("body on its way"),
            "{}",
            changed.advice()
        );
        let cut = look("https://a.example/p", b"{}");
        assert_eq!(state(&cut), Some(BodyHashState::Absent));
        let alone = sign_form(&token, "https://a.example/p", &Form::parse(b"").unwrap());
        let url = "https://a.example/p";
        let diagnosis = super::tests::look(FORM, Some(&alone), url, &[], b"A=1");
        assert!(
            diagnosis
                .fits
                .unwrap()
                .change
                .contains("without the parameters")
        );
    }

    #[test]
    fn the_form_of_a_signature_is_told() {
        let of = |signature| look(FORM, signature, URL, &[], b"A=1").signature;
        assert_eq!(of(None), SignatureForm::Missing);
        assert_eq!(of(Some("!")), SignatureForm::Malformed("base64"));
        assert_eq!(
            of(Some("AAAA")),
            SignatureForm::Length { is: 3, should: 20 }
        );
    }

    #[test]
    fn what_the_url_says_of_the_body_is_told() {
        let of = |query: &str| body_hash(&format!("https://a.example/p{query}"), b"x").state;
        let right = crate::provider::value::sha256_hex(b"x");
        assert_eq!(of(""), BodyHashState::Absent);
        assert_eq!(of("?bodySHA256=00"), BodyHashState::Malformed);
        assert_eq!(of("?bodySHA256=zz"), BodyHashState::Malformed);
        assert_eq!(
            of(&format!("?bodySHA256={}", "0".repeat(64))),
            BodyHashState::Differs
        );
        assert_eq!(of(&format!("?bodySHA256={right}")), BodyHashState::Fits);
        assert_eq!(
            of(&format!("?bodySHA256={right}&bodySHA256={right}")),
            BodyHashState::Absent
        );
    }
}
