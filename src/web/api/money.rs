//! Amounts of money as the API shows them.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{shop::money::Currency, store::StoreError};

/// An amount of money.
#[derive(Debug, Serialize, ToSchema)]
pub struct Money {
    /// Decimal.
    #[schema(example = "17.00")]
    amount: String,
    /// ISO 4217 code.
    #[schema(example = "USD")]
    currency: String,
}

impl Money {
    /// An amount in minor units of a currency that was stored.
    ///
    /// # Errors
    /// Where it is none.
    pub fn of(minor: i64, currency: &str) -> Result<Self, StoreError> {
        Ok(Self {
            amount: decimal(minor, currency)?,
            currency: currency.to_owned(),
        })
    }
}

/// Minor units of a currency that was stored, as a decimal text.
///
/// # Errors
/// Where it is none.
pub fn decimal(minor: i64, currency: &str) -> Result<String, StoreError> {
    Ok(Currency::stored(currency)?.decimal(minor))
}
