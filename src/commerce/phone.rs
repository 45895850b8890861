//! A phone number, which cannot hold a wrong value.

use std::{fmt, str::FromStr};

/// A number in E.164: `+` and 7 to 15 digits, the first not 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PhoneNumber(String);

/// Why a text is no phone number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a phone number is + and 7 to 15 digits, as in +14155238886")]
pub struct InvalidPhoneNumber;

impl PhoneNumber {
    /// With its `+`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PhoneNumber {
    type Err = InvalidPhoneNumber;

    fn from_str(text: &str) -> Result<Self, InvalidPhoneNumber> {
        let digits = text.strip_prefix('+').ok_or(InvalidPhoneNumber)?;
        let valid = (7..=15).contains(&digits.len())
            && digits.bytes().all(|b| b.is_ascii_digit())
            && !digits.starts_with('0');
        valid
            .then(|| Self(text.to_owned()))
            .ok_or(InvalidPhoneNumber)
    }
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_e164_is_a_phone_number() {
        assert!("+14155238886".parse::<PhoneNumber>().is_ok());
        for text in [
            "14155238886",
            "+0415523888",
            "+1415",
            "+1 415 523 8886",
            "+1415523888612345",
            "",
            "+",
        ] {
            assert!(text.parse::<PhoneNumber>().is_err(), "{text}");
        }
    }
}
