//! The texts that a body may hold. Each has its form once; a doc comment ends the sentence "must be …" in errors.

use serde::Deserialize;
use serde_json::Value;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Type, schema::Schema},
};

use crate::{identity::PhoneNumber, shop::money::Currency};

/// a line of 1 to 200 characters, not blank
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[schema(
    min_length = 1,
    max_length = 200,
    pattern = r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$"
)]
pub struct Line(pub String);

/// a text of 1 to 4,000 characters, none of them NUL
// PostgreSQL has no texts with NUL.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[schema(min_length = 1, max_length = 4000, pattern = r"^[^\x00]*$")]
pub struct Text(pub String);

/// a decimal amount that is not negative, as in 45.00
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[schema(pattern = r"^[0-9]{1,15}(\.[0-9]{1,4})?$", example = "45.00")]
pub struct AmountText(pub String);

/// One of the currencies that things can be sold in.
#[derive(Clone, Debug, Deserialize)]
pub struct CurrencyCode(pub String);

impl PartialSchema for CurrencyCode {
    fn schema() -> RefOr<Schema> {
        let codes = Currency::all().map(|currency| Value::from(currency.code()));
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("an ISO 4217 code, as in USD"))
            .enum_values(Some(codes))
            .examples([Value::from("USD")])
            .into()
    }
}

impl ToSchema for CurrencyCode {}

/// a phone number with its country, as in +14155550100
#[derive(Clone, Debug, ToSchema)]
#[schema(value_type = String, pattern = r"^\+[1-9][0-9]{6,14}$", example = "+14155550100")]
pub struct Phone(pub PhoneNumber);

impl<'de> Deserialize<'de> for Phone {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = String::deserialize(deserializer)?.parse();
        number.map(Self).map_err(serde::de::Error::custom)
    }
}

/// a time of the day, as in 10:00
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[schema(pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$", example = "10:00")]
pub struct TimeOfDay(pub String);

/// a whole number from 1 to 9,999
#[derive(Clone, Debug, ToSchema)]
#[schema(minimum = 1, maximum = 9999, example = 2)]
pub struct Quantity(pub u32);

impl<'de> Deserialize<'de> for Quantity {
    /// Takes 2.0 for 2, as JSON Schema does, with however many digits: the schema has held them all against what may be.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(deserializer)?;
        let is_whole = |number: &f64| number.fract() == 0.0 && (1.0..=9999.0).contains(number);
        let whole = number.as_f64().filter(is_whole);
        whole
            .map(|number| Self(number as u32))
            .ok_or_else(|| serde::de::Error::custom("not a whole number from 1 to 9,999"))
    }
}
