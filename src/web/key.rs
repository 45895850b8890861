//! The idempotency key that a header names.

use actix_web::http::header::HeaderMap;

use super::problem::{ErrorCode, Problem};
use crate::idempotency::{IdempotencyKey, InvalidKey};

/// The name that the IETF draft gives to the header.
const STANDARD: &str = "Idempotency-Key";

/// The header's standard name.
pub const CUSTOMARY: &str = "X-Idempotency-Key";

/// The key in the configured header or in `Idempotency-Key`, if any.
///
/// # Errors
/// Where it is no key, or where there are two that differ.
pub fn from_headers(
    headers: &HeaderMap,
    configured: &str,
) -> Result<Option<IdempotencyKey>, Problem> {
    let names = [configured, STANDARD];
    let values = names.iter().flat_map(|name| headers.get_all(*name));
    let mut keys = values.map(|value| {
        let text = value.to_str().map_err(|_not_ascii| InvalidKey)?;
        text.trim().parse::<IdempotencyKey>()
    });
    let Some(first) = keys.next().transpose()? else {
        return Ok(None);
    };
    for other in keys {
        if other? != first {
            return Err(Problem::new(
                ErrorCode::IdempotencyKeyInvalid,
                "two idempotency keys that differ",
            ));
        }
    }
    Ok(Some(first))
}
