//! Why a signature does not fit, for the operator alone: never for whoever sent the request. What is found holds no
//! secret, no signature that would fit, and nothing of a body.

use super::{
    Provider,
    twilio::shared_key::{self, Named},
};

/// What can be said of a request and its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// Whose request it is.
    pub provider: Provider,
    /// The header's form.
    pub signature: SignatureForm,
    /// Whether each secret made the signature, in the order in which they are configured.
    pub secrets: Vec<bool>,
    /// Whether a signed URL covers the body; of Twilio's JSON alone.
    pub body_hash: Option<BodyHash>,
    /// What a request of Twilio's says it was signed with, where it says so.
    pub named: Option<Named>,
    /// Small changes to the request that were tried, by what they are.
    pub tried: Vec<String>,
    /// The first of them that the signature fits.
    pub fits: Option<Fit>,
}

/// The form of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureForm {
    /// There is no header.
    Missing,
    /// It is not what the provider writes; what it is not.
    Malformed(&'static str),
    /// It has another length than the provider's, in bytes.
    Length {
        /// Its own.
        is: usize,
        /// The provider's.
        should: usize,
    },
    /// It is a signature, of whatever.
    Good,
}

/// What the URL says of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyHash {
    /// Nothing: it has no `bodySHA256`, or several.
    Absent,
    /// Something that is no SHA-256.
    Malformed,
    /// That the body is another.
    Differs,
    /// That it is this one.
    Fits,
}

/// A change with which the signature fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fit {
    /// What was changed.
    pub change: String,
    /// The URL with it, as it may be shown.
    pub url: Option<String>,
    /// Which secret made it, from 0.
    pub secret: usize,
    /// What to do about it.
    pub advice: String,
}

impl Diagnosis {
    /// Whether the request would be taken.
    pub fn verifies(&self) -> bool {
        let is_covered = matches!(self.body_hash, None | Some(BodyHash::Fits));
        is_covered && self.secrets.contains(&true)
    }

    /// What is wrong, in one phrase.
    pub fn reason(&self) -> String {
        if self.verifies() {
            return "the signature fits".to_owned();
        }
        let header = self.provider.signature_header();
        match (self.signature, self.body_hash) {
            (SignatureForm::Missing, _) => format!("there is no {header} header"),
            (SignatureForm::Malformed(what), _) => format!("the signature is not {what}"),
            (SignatureForm::Length { is, should }, _) => {
                format!("the signature has {is} bytes instead of {should}")
            }
            (_, Some(BodyHash::Absent)) => "the URL does not have one bodySHA256".to_owned(),
            (_, Some(BodyHash::Malformed)) => "the URL's bodySHA256 is no SHA-256".to_owned(),
            (_, Some(BodyHash::Differs)) => {
                "the body is not the one of the URL's bodySHA256".to_owned()
            }
            _ => match (&self.fits, self.unknown_name(), self.secrets.len()) {
                (Some(fit), ..) => format!("the signature fits {}", fit.change),
                (None, Some(named), _) => named.to_string(),
                (None, None, 0) => "no secret is configured".to_owned(),
                (None, None, 1) => "the secret did not make the signature".to_owned(),
                (None, None, count) => format!("none of the {count} secrets made the signature"),
            },
        }
    }

    /// What to do about it.
    pub fn advice(&self) -> String {
        let variable = self.provider.secret_variable();
        if let Some(at) = self.secrets.iter().position(|fits| *fits)
            && self.verifies()
        {
            return match (at, &self.named) {
                (0, _) | (_, Some(_)) => "nothing: the request would be taken".to_owned(),
                _ => format!(
                    "the request would be taken; when nothing is signed with the first secret, \
                     the provider still uses secret {} of {variable}",
                    at + 1
                ),
            };
        }
        if let Some(fit) = &self.fits {
            return fit.advice.clone();
        }
        if let (SignatureForm::Good, Some(named)) = (self.signature, self.unknown_name()) {
            return match named {
                Named::Algorithm(_) => {
                    "choose HMAC_SHA256 in the webhook setting at Twilio".to_owned()
                }
                Named::Known(name) | Named::Unknown(name) => format!(
                    "add {name}:SECRET to {}, with the secret that Twilio showed when the key was made",
                    shared_key::VARIABLE
                ),
            };
        }
        match (self.signature, self.body_hash, self.provider) {
            (SignatureForm::Missing, ..) => {
                "look whether a proxy removes the header; else it is not the provider that sends".to_owned()
            }
            (SignatureForm::Malformed(_) | SignatureForm::Length { .. }, ..) => {
                "look whether a proxy changes the header; else it is not the provider that sends".to_owned()
            }
            (_, Some(BodyHash::Absent | BodyHash::Malformed), _) => {
                "look whether a proxy changes the query, or says another content type than the sender".to_owned()
            }
            (_, Some(BodyHash::Differs), _) if self.secrets.contains(&true) => {
                "the URL is as it was signed: look what changes the body on its way".to_owned()
            }
            (.., Provider::Twilio) => format!(
                "compare {variable} with the auth token of the account that sends, and the URL with the one in \
                 Twilio's console; the path, the query and the body must arrive as they were sent"
            ),
            (.., Provider::WhatsApp) => format!(
                "compare {variable} with the app secret of the Meta app that sends; the body must arrive byte for byte"
            ),
        }
    }
}

impl Diagnosis {
    /// What the request names and nobody here knows.
    fn unknown_name(&self) -> Option<&Named> {
        let is_unknown = |named: &&Named| !matches!(named, Named::Known(_));
        self.named.as_ref().filter(is_unknown)
    }
}

impl SignatureForm {
    /// In a few words.
    pub fn describe(self) -> String {
        match self {
            Self::Missing => "missing".to_owned(),
            Self::Malformed(what) => format!("not {what}"),
            Self::Length { is, should } => format!("{is} bytes instead of {should}"),
            Self::Good => "well formed".to_owned(),
        }
    }

    /// Of a signature whose bytes were read.
    pub(super) fn of_length(is: usize, should: usize) -> Self {
        match is == should {
            true => Self::Good,
            false => Self::Length { is, should },
        }
    }
}

impl BodyHash {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Malformed => "malformed",
            Self::Differs => "differs",
            Self::Fits => "fits",
        }
    }
}

/// A URL as it may be shown: without credentials, and without the values of its query but for the body's hash, for
/// whoever builds the URL may have put a password of their own there.
pub fn shown_url(url: &str) -> String {
    const MOST: usize = 512;
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (before, query) = match rest.split_once('?') {
        Some((before, query)) => (before, Some(query)),
        None => (rest, None),
    };
    let end = before.find('/').unwrap_or(before.len());
    let (authority, path) = before.split_at(end);
    let host = authority.rsplit('@').next().unwrap_or_default();
    let mut shown = format!("{scheme}://{host}{path}");
    for (at, pair) in query.iter().flat_map(|query| query.split('&')).enumerate() {
        shown.push(if at == 0 { '?' } else { '&' });
        match pair.split_once('=') {
            Some(("bodySHA256", _)) | None => shown += pair,
            Some((name, _)) => {
                shown += name;
                shown += "=…";
            }
        }
    }
    if let Some((end, _)) = shown.char_indices().find(|(at, _)| *at >= MOST) {
        shown.truncate(end);
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_credentials_and_values() {
        let cases = [
            ("https://u:p@a.example/p", "https://a.example/p"),
            (
                "https://a.example/p?token=hunter2&bodySHA256=00ff&x",
                "https://a.example/p?token=…&bodySHA256=00ff&x",
            ),
            ("https://a.example?x=@/b", "https://a.example?x=…"),
        ];
        for (url, shown) in cases {
            assert_eq!(shown_url(url), shown);
        }
        assert!(shown_url(&format!("https://a/{}", "é".repeat(9_999))).len() < 600);
    }
}
