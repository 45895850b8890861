//! Money: a decimal text in, minor units of an ISO 4217 currency kept, never a float.

use iso_currency::IntoEnumIterator as _;
use rust_decimal::Decimal;
use std::{fmt, str::FromStr};

use crate::store::StoreError;

/// An ISO 4217 currency that has minor units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Currency {
    code: iso_currency::Currency,
    /// How many decimals an amount has.
    exponent: u32,
}

/// Why a text is no currency, or no amount of one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// No ISO 4217 code in use.
    #[error("{0:?} is no ISO 4217 currency")]
    UnknownCurrency(String),
    /// Not a decimal number.
    #[error("{0:?} is no amount")]
    NotANumber(String),
    /// More decimals than the currency has.
    #[error("{0} has at most {1} decimals")]
    TooPrecise(&'static str, u32),
    /// Below zero.
    #[error("an amount is not negative")]
    Negative,
    /// More than can be kept.
    #[error("the amount is too large")]
    TooLarge,
}

impl Currency {
    /// All of them, by their codes.
    pub fn all() -> impl Iterator<Item = Self> {
        let mut codes: Vec<_> = iso_currency::Currency::iter().collect();
        codes.sort_by_key(|currency| currency.code());
        codes
            .into_iter()
            .filter_map(|currency| currency.code().parse().ok())
    }

    /// The three letters.
    pub fn code(self) -> &'static str {
        self.code.code()
    }

    /// Reads an amount such as `8.50`, exactly, into minor units.
    ///
    /// # Errors
    /// Where it is no decimal number, negative, too large, or has more decimals than the currency.
    pub fn minor_units(self, text: &str) -> Result<i64, MoneyError> {
        let amount = decimal(text).ok_or_else(|| MoneyError::NotANumber(text.to_owned()))?;
        if amount.is_sign_negative() && !amount.is_zero() {
            return Err(MoneyError::Negative);
        }
        if amount.normalize().scale() > self.exponent {
            return Err(MoneyError::TooPrecise(self.code(), self.exponent));
        }
        Decimal::from(10u64.pow(self.exponent))
            .checked_mul(amount)
            .and_then(|minor| i64::try_from(minor).ok())
            .ok_or(MoneyError::TooLarge)
    }

    /// Writes minor units as a decimal number: `17.00`.
    ///
    /// # Panics
    /// Beyond 28 digits, to which no sum of amounts comes.
    pub fn decimal(self, minor: impl Into<i128>) -> String {
        Decimal::from_i128_with_scale(minor.into(), self.exponent).to_string()
    }

    /// Writes minor units as people do: `17.00 USD`.
    pub fn show(self, minor: i64) -> String {
        format!("{} {}", self.decimal(minor), self.code())
    }

    /// The currency that a row names.
    ///
    /// # Errors
    /// Where it is none, which was checked when it was stored.
    pub fn stored(code: &str) -> Result<Self, StoreError> {
        code.parse()
            .map_err(|error: MoneyError| StoreError::Unreadable(error.into()))
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(code: &str) -> Result<Self, MoneyError> {
        let unknown = || MoneyError::UnknownCurrency(code.to_owned());
        let known = iso_currency::Currency::from_code(code).ok_or_else(unknown)?;
        // Gold, test codes and the like have no minor unit, and nothing is sold in them.
        let exponent = known.exponent().ok_or_else(unknown)?;
        Ok(Self {
            code: known,
            exponent: exponent.into(),
        })
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A decimal number from its text, exactly: `7.99`, `8`, `1e2`. `None` where it is no such number or too long to keep.
pub fn decimal(text: &str) -> Option<Decimal> {
    Decimal::from_str_exact(text)
        .or_else(|_| Decimal::from_scientific(text))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn currency(code: &str) -> Currency {
        code.parse().unwrap()
    }

    #[test]
    fn an_amount_is_read_exactly_whatever_its_currency() {
        assert_eq!(currency("USD").minor_units("7.99"), Ok(799));
        assert_eq!(currency("USD").minor_units("8"), Ok(800));
        assert_eq!(currency("USD").minor_units("8.500"), Ok(850));
        assert_eq!(currency("JPY").minor_units("1200"), Ok(1200));
        assert_eq!(currency("KWD").minor_units("1.250"), Ok(1250));
        assert_eq!(
            currency("USD").minor_units("92233720368547758.07"),
            Ok(i64::MAX)
        );
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        let usd = currency("USD");
        assert_eq!(usd.minor_units("-1"), Err(MoneyError::Negative));
        assert_eq!(
            usd.minor_units("1.999"),
            Err(MoneyError::TooPrecise("USD", 2))
        );
        assert_eq!(
            currency("JPY").minor_units("1.5"),
            Err(MoneyError::TooPrecise("JPY", 0))
        );
        assert_eq!(
            usd.minor_units("92233720368547758.08"),
            Err(MoneyError::TooLarge)
        );
        for text in ["", "x", "1,50", "$1", "NaN", "0x10", "1e400", " 1"] {
            assert!(
                matches!(usd.minor_units(text), Err(MoneyError::NotANumber(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn an_amount_is_shown_with_all_its_decimals() {
        assert_eq!(currency("USD").show(1700), "17.00 USD");
        assert_eq!(currency("JPY").show(1200), "1200 JPY");
        assert_eq!(currency("KWD").show(5), "0.005 KWD");
    }

    #[test]
    fn only_currencies_in_use_with_minor_units_are_taken() {
        for code in ["usd", "ABC", "", "XAU", "XXX"] {
            assert!(code.parse::<Currency>().is_err(), "{code}");
        }
    }
}
