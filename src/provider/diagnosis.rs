//! Why a signature does not fit, for the operator alone: never for whoever sent the request. What is found holds no
//! secret, no signature that would fit, and nothing of a body.

/// What can be said of a request and its signature.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// The header that carries signatures.
    pub header: &'static str,
    /// The variable that secrets are usually in.
    pub variable: &'static str,
    /// The header's form.
    pub signature: SignatureForm,
    /// Whether each secret made the signature, in the order in which they are configured.
    pub secrets: Vec<bool>,
    /// Whether a signed URL covers the body, where it is to.
    pub body_hash: Option<BodyHash>,
    /// What the request says it was signed with, where it says so.
    pub named: Option<NamedKey>,
    /// What else is to be looked at where nothing was found.
    pub otherwise: String,
    /// Small changes to the request that were tried, by what they are.
    pub tried: Vec<String>,
    /// The first of them that the signature fits.
    pub fits: Option<MatchingChange>,
}

/// An address that the sender may have called instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherUrl {
    /// How it differs: "the URL of the Host header".
    pub change: String,
    /// The whole of it.
    pub url: String,
    /// What to do where it is the one.
    pub advice: String,
}

/// What a request says it was signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedKey {
    /// In a phrase, bounded and free of what a terminal might obey: anybody can write the header.
    pub about: String,
    /// What to do about one that is not known here. `None` where it is.
    pub advice: Option<String>,
}

/// The form of a signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignatureForm {
    /// There is no header.
    #[default]
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

/// What a parameter of the URL says of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyHash {
    /// The parameter.
    pub parameter: &'static str,
    /// What it says.
    pub state: BodyHashState,
}

/// What a hash in the URL says of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyHashState {
    /// Nothing: there is none, or there are several.
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
pub struct MatchingChange {
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
        let is_covered = |hash: BodyHash| hash.state == BodyHashState::Fits;
        self.body_hash.is_none_or(is_covered) && self.secrets.contains(&true)
    }

    /// What is wrong, in one phrase.
    pub fn reason(&self) -> String {
        if self.verifies() {
            return "the signature fits".to_owned();
        }
        match (self.signature, self.body_hash.and_then(BodyHash::reason)) {
            (SignatureForm::Missing, _) => format!("there is no {} header", self.header),
            (SignatureForm::Malformed(what), _) => format!("the signature is not {what}"),
            (SignatureForm::Length { is, should }, _) => {
                format!("the signature has {is} bytes instead of {should}")
            }
            (SignatureForm::Good, Some(reason)) => reason,
            (SignatureForm::Good, None) => match (&self.fits, &self.named, self.secrets.len()) {
                (Some(fit), ..) => format!("the signature fits {}", fit.change),
                (None, Some(named), _) if named.advice.is_some() => named.about.clone(),
                (None, _, 0) => "no secret is configured".to_owned(),
                (None, _, 1) => "the secret did not make the signature".to_owned(),
                (None, _, count) => format!("none of the {count} secrets made the signature"),
            },
        }
    }

    /// What to do about it.
    pub fn advice(&self) -> String {
        if let Some(at) = self.secrets.iter().position(|fits| *fits)
            && self.verifies()
        {
            return match (at, &self.named) {
                (0, _) | (_, Some(_)) => "nothing: the request would be taken".to_owned(),
                _ => format!(
                    "the request would be taken; when nothing is signed with the first secret, \
                     the provider still uses secret {} of {}",
                    at + 1,
                    self.variable
                ),
            };
        }
        if let Some(fit) = &self.fits {
            return fit.advice.clone();
        }
        let named = self.named.as_ref().and_then(|named| named.advice.as_ref());
        match (self.signature, named, self.body_hash.map(|hash| hash.state)) {
            (SignatureForm::Good, Some(advice), _) => advice.clone(),
            (SignatureForm::Missing, ..) => {
                "look whether a proxy removes the header; else it is not the provider that sends".to_owned()
            }
            (SignatureForm::Malformed(_) | SignatureForm::Length { .. }, ..) => {
                "look whether a proxy changes the header; else it is not the provider that sends".to_owned()
            }
            (.., Some(BodyHashState::Absent | BodyHashState::Malformed)) => {
                "look whether a proxy changes the query, or says another content type than the sender".to_owned()
            }
            (.., Some(BodyHashState::Differs)) if self.secrets.contains(&true) => {
                "the URL is as it was signed: look what changes the body on its way".to_owned()
            }
            _ => self.otherwise.clone(),
        }
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
    /// What is wrong with it.
    fn reason(self) -> Option<String> {
        let parameter = self.parameter;
        Some(match self.state {
            BodyHashState::Absent => format!("the URL does not have one {parameter}"),
            BodyHashState::Malformed => format!("the URL's {parameter} is no SHA-256"),
            BodyHashState::Differs => format!("the body is not the one of the URL's {parameter}"),
            BodyHashState::Fits => return None,
        })
    }
}

impl BodyHashState {
    /// In one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Malformed => "malformed",
            Self::Differs => "differs",
            Self::Fits => "fits",
        }
    }
}

/// A URL as it may be shown: without credentials, and without the values of its query but for those of `shown_parameters`, for
/// whoever builds the URL may have put a password of their own there.
pub fn shown_url(url: &str, shown_parameters: &[&str]) -> String {
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
            Some((name, _)) if !shown_parameters.contains(&name) => {
                shown += name;
                shown += "=…";
            }
            _ => shown += pair,
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
            assert_eq!(shown_url(url, &["bodySHA256"]), shown);
        }
        assert!(shown_url(&format!("https://a/{}", "é".repeat(9_999)), &[]).len() < 600);
    }

    #[test]
    fn each_finding_has_a_reason_and_advice_of_its_own() {
        let hash = |state| {
            Some(BodyHash {
                parameter: "bodySHA256",
                state,
            })
        };
        let diagnosis = |signature, secrets: &[bool], body_hash| Diagnosis {
            header: "X-Signature",
            signature,
            secrets: secrets.to_vec(),
            body_hash,
            otherwise: "look at the secret".to_owned(),
            ..Diagnosis::default()
        };
        use BodyHashState::{Absent, Differs, Fits, Malformed};
        use SignatureForm::{Good, Length, Missing};
        let cases = [
            (
                diagnosis(Missing, &[false], None),
                "there is no X-Signature header",
                "removes the header",
            ),
            (
                diagnosis(SignatureForm::Malformed("Base64"), &[false], None),
                "the signature is not Base64",
                "changes the header",
            ),
            (
                diagnosis(Length { is: 3, should: 20 }, &[false], None),
                "the signature has 3 bytes instead of 20",
                "changes the header",
            ),
            (
                diagnosis(Good, &[false], hash(Absent)),
                "the URL does not have one bodySHA256",
                "changes the query",
            ),
            (
                diagnosis(Good, &[true], hash(Malformed)),
                "the URL's bodySHA256 is no SHA-256",
                "changes the query",
            ),
            (
                diagnosis(Good, &[true], hash(Differs)),
                "the body is not the one of the URL's bodySHA256",
                "the URL is as it was signed",
            ),
            (
                diagnosis(Good, &[false], hash(Differs)),
                "the body is not the one of the URL's bodySHA256",
                "look at the secret",
            ),
            (
                diagnosis(Good, &[], None),
                "no secret is configured",
                "look at the secret",
            ),
            (
                diagnosis(Good, &[false, false], hash(Fits)),
                "none of the 2 secrets made the signature",
                "look at the secret",
            ),
            (
                diagnosis(Good, &[true], hash(Fits)),
                "the signature fits",
                "nothing: ",
            ),
        ];
        for (diagnosis, reason, advice) in cases {
            assert_eq!(diagnosis.reason(), reason);
            let given = diagnosis.advice();
            assert!(given.contains(advice), "{reason}: {given}");
        }
    }
}
