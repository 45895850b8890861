//! An amount of money as a request has it, read against the currency that it must be in.

use super::{
    error::FieldError,
    money::{Currency, MoneyError},
};

/// An amount of money as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amount {
    /// Decimal, as in `45.00`.
    pub amount: String,
    /// ISO 4217 code.
    pub currency: String,
}

impl Amount {
    /// The amount in minor units of `currency`, more than zero. `field` is the pointer of the member that holds it.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn minor_units(&self, field: &str, currency: Currency) -> Result<i64, Vec<FieldError>> {
        self.read(field, currency, 1)
    }

    /// The same where it may be zero, as a price may.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn minor_units_or_zero(
        &self,
        field: &str,
        currency: Currency,
    ) -> Result<i64, Vec<FieldError>> {
        self.read(field, currency, 0)
    }

    fn read(&self, field: &str, currency: Currency, least: i64) -> Result<i64, Vec<FieldError>> {
        let written_in: Result<Currency, _> = self.currency.parse();
        let mut errors = Vec::new();
        match &written_in {
            Err(error) => errors.push(money_error("/currency", error)),
            Ok(other) if *other != currency => errors.push(FieldError::new(
                "/currency",
                "foreign_currency",
                format!("must be {currency} here"),
            )),
            Ok(_) => {}
        }
        match written_in.unwrap_or(currency).minor_units(&self.amount) {
            Err(error) => errors.push(money_error(field, &error)),
            Ok(0) if least > 0 => {
                errors.push(FieldError::new(field, "zero", "must be more than zero"))
            }
            Ok(minor) if errors.is_empty() => return Ok(minor),
            Ok(_) => {}
        }
        Err(errors)
    }
}

/// What is wrong with a currency or an amount, at `field`.
pub fn money_error(field: &str, error: &MoneyError) -> FieldError {
    let code = match error {
        MoneyError::UnknownCurrency(_) => "unknown_currency",
        MoneyError::NotANumber(_) => "not_a_number",
        MoneyError::TooPrecise(..) => "too_many_decimals",
        MoneyError::Negative => "negative",
        MoneyError::TooLarge => "too_large",
    };
    FieldError::new(field, code, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(amount: &str, currency: &str) -> Result<i64, Vec<String>> {
        let amount = Amount {
            amount: amount.to_owned(),
            currency: currency.to_owned(),
        };
        let errors = |errors: Vec<FieldError>| {
            let name = |e: FieldError| format!("{} {}", e.field, e.code);
            errors.into_iter().map(name).collect()
        };
        amount
            .minor_units("/amount", "USD".parse().unwrap())
            .map_err(errors)
    }

    #[test]
    fn an_amount_must_be_positive_and_in_the_right_currency() {
        assert_eq!(read("45.00", "USD"), Ok(4500));
        assert_eq!(read("0.00", "USD"), Err(vec!["/amount zero".into()]));
        assert_eq!(
            read("45.00", "EUR"),
            Err(vec!["/currency foreign_currency".into()])
        );
    }

    #[test]
    fn all_that_is_wrong_is_told() {
        assert_eq!(
            read("1.5", "JPY"),
            Err(vec![
                "/currency foreign_currency".into(),
                "/amount too_many_decimals".into()
            ])
        );
        assert_eq!(
            read("-1", "XXX"),
            Err(vec![
                "/currency unknown_currency".into(),
                "/amount negative".into()
            ])
        );
    }
}
