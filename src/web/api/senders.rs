//! Who sends requests: the providers, and the clients of the API. Named in filters and lists.

use serde_json::Value;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};

use super::parameters;
use crate::{
    provider::{self, SCOPE_PREFIX},
    store::deliveries::DeliverySource,
};

/// The name of the clients.
const CLIENTS: &str = "api";

/// The names of all.
pub fn names() -> impl Iterator<Item = &'static str> {
    provider::names().chain([CLIENTS])
}

/// Who sent what is kept under a key of this scope. A provider that is not built in any more keeps its name.
pub fn of_scope(scope: &str) -> &str {
    scope.strip_prefix(SCOPE_PREFIX).unwrap_or(CLIENTS)
}

/// The one of this name.
///
/// # Errors
/// Which there are.
pub fn parse(text: &str) -> Result<DeliverySource, String> {
    let name = parameters::name(text, names())?;
    Ok(match provider::find(name) {
        Some(provider) => DeliverySource::Provider {
            scope: provider.scope(),
            kinds: provider.webhook_types(),
        },
        None => DeliverySource::Clients,
    })
}

/// Who sent a request, in the description.
#[derive(Debug)]
pub struct DeliveryProvider;

impl PartialSchema for DeliveryProvider {
    fn schema() -> RefOr<Schema> {
        one_of_names("Who sent a request.")
    }
}

impl ToSchema for DeliveryProvider {}

/// Where an order came from, in the description.
#[derive(Debug)]
pub struct OrderSource;

impl PartialSchema for OrderSource {
    fn schema() -> RefOr<Schema> {
        one_of_names("Where an order came from.")
    }
}

impl ToSchema for OrderSource {}

fn one_of_names(about: &str) -> RefOr<Schema> {
    let names = names().map(Value::from);
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(about))
        .enum_values(Some(names));
    RefOr::T(schema.into())
}
