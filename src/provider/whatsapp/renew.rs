//! Gives a delivery other message ids, so that it tells new events.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use crate::{json::Value, provider::refusal::Malformed};

/// The delivery with a new id for each of its messages and statuses.
///
/// # Errors
/// Where it is no JSON.
pub fn json(body: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut value = Value::parse(body).map_err(|error| Malformed(error.to_string()))?;
    for change in list(&mut value, "entry").flat_map(|entry| list(entry, "changes")) {
        let Some(value) = change.get_mut("value") else {
            continue;
        };
        for member in ["messages", "statuses"] {
            list(value, member)
                .filter_map(|item| item.get_mut("id"))
                .for_each(|id| *id = new_id());
        }
    }
    Ok(value.to_string().into_bytes())
}

fn new_id() -> Value {
    let id = BASE64.encode(uuid::Uuid::new_v4().as_bytes());
    Value::from(format!("wamid.{id}"))
}

fn list<'a>(value: &'a mut Value, member: &str) -> impl Iterator<Item = &'a mut Value> + use<'a> {
    value
        .get_mut(member)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
}
