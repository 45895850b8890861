//! The URL under which providers call the service.

use std::{fmt, str::FromStr};

/// The URL that providers call, its scheme in small letters and without a slash at its end. Shows itself without the credentials it may hold.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// The very text that was configured but for the case of its scheme, for that is what providers sign.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PublicUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const ALLOWED: &str =
            "allowed is the URL that providers call, as in https://hooks.example.com";
        let url = url::Url::parse(text).map_err(|_| ALLOWED)?;
        // What the parser would forgive is signed as it is, and shown by looking for its parts.
        let rest = text.split_once("://").map_or("/", |(_, rest)| rest);
        let usable = matches!(url.scheme(), "http" | "https")
            && !rest.starts_with('/')
            && !text.contains(|c: char| c == '\\' || c.is_whitespace() || c.is_control())
            && !url.path().contains('@')
            && url.has_host()
            && url.query().is_none()
            && url.fragment().is_none();
        let (_, rest) = text.split_once("://").filter(|_| usable).ok_or(ALLOWED)?;
        Ok(Self(format!(
            "{}://{}",
            url.scheme(),
            rest.trim_end_matches('/')
        )))
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or_default();
        let end = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let host = authority.rsplit('@').next().unwrap_or_default();
        write!(f, "{scheme}://{host}{path}")
    }
}

impl fmt::Debug for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
