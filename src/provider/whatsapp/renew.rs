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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_and_status_has_a_new_id_and_all_else_is_as_it_was() {
        let body = br#"{"entry":[{"id":"1","changes":[{"value":{"messages":[{"id":"wamid.A","from":"1"}]}},
            {"value":{"statuses":[{"id":"wamid.B"},{"id":"wamid.C"}]}},{"field":"other"}]}]}"#;
        let renewed = Value::parse(&json(body).unwrap()).unwrap();
        let changes = &renewed["entry"][0]["changes"];
        let message = &changes[0]["value"]["messages"][0];
        let statuses = &changes[1]["value"]["statuses"];
        let ids = [&message["id"], &statuses[0]["id"], &statuses[1]["id"]];
        let mut ids = ids.map(|id| id.as_str().unwrap().to_owned());
        assert!(
            ids.iter()
                .all(|id| id.starts_with("wamid.") && id.len() > 20)
        );
        ids.sort();
        assert!(ids[0] != ids[1] && ids[1] != ids[2]);
        assert_eq!(message["from"].as_str(), Some("1"));
        assert_eq!(renewed["entry"][0]["id"].as_str(), Some("1"));
        assert!(json(b"no JSON").is_err());
    }
}
