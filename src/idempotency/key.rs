//! The idempotency key, which cannot hold a wrong value.

use std::{fmt, str::FromStr};

/// A key: 1 to 128 characters of `A-Z a-z 0-9 - _ . :`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an idempotency key is 1 to 128 characters of A-Z a-z 0-9 - _ . :")]
pub struct InvalidKey;

impl IdempotencyKey {
    /// The most characters a key has.
    pub const MAX_LEN: usize = 128;

    /// The key without quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdempotencyKey {
    type Err = InvalidKey;

    /// Takes the bare form, and the quoted one of the IETF draft `Idempotency-Key` header (a structured string).
    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let bare = text
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .unwrap_or(text);
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
        if (1..=Self::MAX_LEN).contains(&bare.len()) && bare.bytes().all(allowed) {
            Ok(Self(bare.to_owned()))
        } else {
            Err(InvalidKey)
        }
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quoted_and_the_bare_form_are_one_key() {
        let bare: IdempotencyKey = "order-1.a:b_C".parse().unwrap();
        assert_eq!("\"order-1.a:b_C\"".parse(), Ok(bare));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let long = "k".repeat(129);
        let bad = [
            "",
            " ",
            "\"\"",
            "\"",
            "\"a",
            "a\"",
            "\"\"a\"\"",
            "a b",
            "a\r\nX: y",
            "a\tb",
            "é",
            "a,b",
            "a/b",
            &long,
        ];
        for text in bad {
            assert_eq!(text.parse::<IdempotencyKey>(), Err(InvalidKey), "{text:?}");
        }
        assert!("k".repeat(128).parse::<IdempotencyKey>().is_ok());
    }
}
