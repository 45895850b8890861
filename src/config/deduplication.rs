//! How long keys, answers and events are known, and what is masked in what is kept.

use super::{
    Variable,
    values::{parsed, retention},
    variable::set,
};
use crate::redaction::{InvalidName, Redaction};

/// The variables, in the order of `.env.example`.
pub(super) const VARIABLES: &[Variable] = &[
    Variable::new("IDEMPOTENCY_ENABLED", |config, text| {
        set(
            &mut config.idempotency_enabled,
            parsed(text, "true or false"),
        )
    }),
    Variable::new("IDEMPOTENCY_HEADER", |config, text| {
        set(&mut config.idempotency_header, header_name(text))
    }),
    Variable::new("IDEMPOTENCY_TTL", |config, text| {
        set(&mut config.idempotency_ttl, retention(text))
    }),
    Variable::new("IDEMPOTENCY_TTL_ORDERS", |config, text| {
        set(&mut config.idempotency_ttl_orders, retention(text))
    }),
    Variable::new("IDEMPOTENCY_TTL_PAYMENTS", |config, text| {
        set(&mut config.idempotency_ttl_payments, retention(text))
    }),
    Variable::new("IDEMPOTENCY_TTL_REFUNDS", |config, text| {
        set(&mut config.idempotency_ttl_refunds, retention(text))
    }),
    Variable::new("IDEMPOTENCY_TTL_BOOKINGS", |config, text| {
        set(&mut config.idempotency_ttl_bookings, retention(text))
    }),
    Variable::new("IDEMPOTENCY_LEASE", |config, text| {
        set(&mut config.idempotency_lease, retention(text))
    }),
    Variable::new("REDACT_FIELDS", |config, text| {
        set(&mut config.redact_fields, redaction(text))
    }),
    Variable::new("EVENT_RETENTION", |config, text| {
        set(&mut config.event_retention, retention(text))
    }),
];

fn redaction(text: &str) -> Result<Redaction, String> {
    text.parse()
        .map_err(|error: InvalidName| format!("allowed are {error}"))
}

fn header_name(text: &str) -> Result<String, String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    text.bytes()
        .all(token)
        .then(|| text.to_owned())
        .ok_or_else(|| "allowed is the name of a header".to_owned())
}
