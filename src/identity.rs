//! By what people are known: phone numbers and business-scoped user ids, which cannot hold a wrong value.

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

    /// A number that is told with or without its `+`.
    ///
    /// # Errors
    /// Where it is none.
    pub fn of_digits(digits: &str) -> Result<Self, InvalidPhoneNumber> {
        match digits.starts_with('+') {
            true => digits.parse(),
            false => format!("+{digits}").parse(),
        }
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

/// A business-scoped user id, by which WhatsApp tells one business who a user is, whose number may be hidden: a country's
/// two letters, a dot, and at most 128 letters, digits and dots. Of Meta's page "Business-scoped user IDs".
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UserId(String);

/// Why a text is no business-scoped user id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a user id is two letters, a dot, and letters and digits, as in US.13491208655302741918")]
pub struct InvalidUserId;

impl UserId {
    /// As the provider tells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserId {
    type Err = InvalidUserId;

    fn from_str(text: &str) -> Result<Self, InvalidUserId> {
        let (country, rest) = text.split_once('.').ok_or(InvalidUserId)?;
        let valid = country.len() == 2
            && country.bytes().all(|b| b.is_ascii_uppercase())
            && (1..=128).contains(&rest.len())
            && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
        valid.then(|| Self(text.to_owned())).ok_or(InvalidUserId)
    }
}

impl fmt::Display for UserId {
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
            "US.13491208655302741918",
            "MYBANK",
        ] {
            assert!(text.parse::<PhoneNumber>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_number_may_be_told_without_its_plus() {
        for text in ["14155238886", "+14155238886"] {
            let number = PhoneNumber::of_digits(text).map(|number| number.to_string());
            assert_eq!(number.as_deref(), Ok("+14155238886"));
        }
        for text in [
            "",
            "+",
            "++14155238886",
            "MYBANK",
            "US.13491208655302741918",
        ] {
            assert!(PhoneNumber::of_digits(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_user_id_is_told_from_numbers_and_names() {
        for text in [
            "US.13491208655302741918",
            "HK.ENT.11815799212886844830",
            "BR.a1",
        ] {
            assert!(text.parse::<UserId>().is_ok(), "{text}");
        }
        let long = format!("US.{}", "1".repeat(129));
        for text in [
            "",
            "US.",
            "US",
            ".1",
            "us.1",
            "USA.1",
            "US.1 2",
            "US.1\0",
            "+14155238886",
            "14155238886",
            "MYBANK",
            &long,
        ] {
            assert!(text.parse::<UserId>().is_err(), "{text}");
        }
    }
}
