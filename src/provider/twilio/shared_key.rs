//! Shared keys, which Twilio signs with instead of the auth token where a webhook rule of the account says so. Only key and
//! hash differ; what is signed is the same.
//! Source: Twilio's "Sign webhooks with shared keys" documentation, a public beta.

use std::fmt;

use crate::{
    provider::{diagnosis::NamedKey, setting::NamedSecret},
    secret::Secret,
};

/// The header that names key and algorithm: `key=NAME,algorithm=HMAC_SHA256`. It is signed by nobody.
pub const HEADER: &str = "X-Twilio-Webhooks-Signature-Settings";

/// The variable that shared keys are configured by.
pub const VARIABLE: &str = "TWILIO_SHARED_KEYS";

/// What a request says it was signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignedWith {
    /// A key that is configured.
    Known(String),
    /// A key that is not.
    Unknown(String),
    /// An algorithm that is not known here.
    Algorithm(String),
}

impl fmt::Display for SignedWith {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(name) => write!(f, "the shared key {name}"),
            Self::Unknown(name) => write!(f, "no shared key named {name} is configured"),
            Self::Algorithm(name) => {
                write!(
                    f,
                    "the algorithm {name} is neither HMAC_SHA256 nor HMAC_SHA1"
                )
            }
        }
    }
}

impl SignedWith {
    /// What is said of it where it is the reason of a refusal.
    pub(super) fn told(&self) -> NamedKey {
        let advice = match self {
            Self::Known(_) => None,
            Self::Algorithm(_) => {
                Some("choose HMAC_SHA256 in the webhook setting at Twilio".to_owned())
            }
            Self::Unknown(name) => Some(format!(
                "add {name}:SECRET to {VARIABLE}, with the secret that Twilio showed when the key was made"
            )),
        };
        NamedKey {
            about: self.to_string(),
            advice,
        }
    }
}

/// The secrets that may have made a signature.
#[derive(Clone, Debug)]
pub struct Keys<'a> {
    /// The auth tokens, then the shared keys.
    pub secrets: Vec<&'a Secret>,
    /// What the request names.
    pub named: Option<SignedWith>,
}

impl<'a> Keys<'a> {
    /// All auth tokens, and the shared keys that the `header` names. Where it names none, all shared keys: a proxy may have
    /// dropped the header, and only Twilio knows the keys.
    pub fn of(tokens: &'a [Secret], shared: &'a [NamedSecret], header: Option<&str>) -> Self {
        let setting = |wanted: &str| {
            let mut pairs = header?.split(',').filter_map(|pair| pair.split_once('='));
            let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted))?;
            Some(value.trim()).filter(|value| !value.is_empty())
        };
        let (name, algorithm) = (setting("key"), setting("algorithm"));
        let fitting = shared
            .iter()
            .filter(|key| name.is_none_or(|name| key.name == name));
        let fitting: Vec<_> = fitting.map(|key| &key.secret).collect();
        let is_known = |algorithm: &&str| {
            ["HMAC_SHA256", "HMAC_SHA1"]
                .iter()
                .any(|known| known.eq_ignore_ascii_case(algorithm))
        };
        let named = match (name, algorithm.filter(|algorithm| !is_known(algorithm))) {
            (_, Some(algorithm)) => Some(SignedWith::Algorithm(shown(algorithm))),
            (Some(name), None) if fitting.is_empty() => Some(SignedWith::Unknown(shown(name))),
            (Some(name), None) => Some(SignedWith::Known(shown(name))),
            (None, None) => None,
        };
        Self {
            secrets: tokens.iter().chain(fitting).collect(),
            named,
        }
    }
}

/// As it may stand in a log: anybody can write the header.
fn shown(text: &str) -> String {
    const MOST: usize = 64;
    text.chars()
        .take(MOST)
        .flat_map(char::escape_debug)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(header: Option<&str>) -> (Vec<String>, Option<SignedWith>) {
        let tokens = [Secret::new("token")];
        let shared: Vec<NamedSecret> = ["one:first", "two:of:colons", "one:second"]
            .map(|text| text.parse().unwrap())
            .into();
        let keys = Keys::of(&tokens, &shared, header);
        let secrets = keys.secrets.iter().map(|secret| secret.expose().to_owned());
        (secrets.collect(), keys.named)
    }

    #[test]
    fn a_key_is_found_by_its_name_and_two_of_one_name_are_both_tried() {
        let one = SignedWith::Known("one".to_owned());
        assert_eq!(
            keys(Some("key=one,algorithm=HMAC_SHA256")),
            (
                vec!["token".into(), "first".into(), "second".into()],
                Some(one)
            )
        );
        let two = SignedWith::Known("two".to_owned());
        assert_eq!(
            keys(Some(" algorithm=hmac_sha256 , Key = two ")),
            (vec!["token".into(), "of:colons".into()], Some(two))
        );
    }

    #[test]
    fn what_is_not_configured_is_named() {
        let unknown = SignedWith::Unknown("th\\nree".to_owned());
        assert_eq!(
            keys(Some("key=th\nree")),
            (vec!["token".into()], Some(unknown))
        );
        let (_, named) = keys(Some(&format!("key={}", "x".repeat(9_000))));
        assert!(named.unwrap().to_string().len() < 200);
        let (_, named) = keys(Some("key=one,algorithm=HMAC_MD5"));
        assert_eq!(named, Some(SignedWith::Algorithm("HMAC_MD5".to_owned())));
    }

    #[test]
    fn without_a_name_every_key_may_have_signed() {
        for header in [
            None,
            Some(""),
            Some("key=,algorithm=HMAC_SHA256"),
            Some("nonsense"),
        ] {
            let (secrets, named) = keys(header);
            assert_eq!((secrets.len(), named), (4, None), "{header:?}");
        }
    }
}
