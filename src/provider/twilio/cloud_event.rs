//! Twilio's JSON: CloudEvents of Event Streams, and documents of Studio.

use super::{
    Twilio,
    kinds::EVENT,
    params::{our_number, param},
};
use crate::{
    json::Value,
    provider::{
        event::{Address, Content, Event},
        interface::{Delivery, ReplyForm},
        json,
        refusal::Malformed,
        value::{digest, sha256_hex, text, usable_id},
    },
};

/// Reads a JSON body: CloudEvents one by one, anything else as one event known by the hash of its bytes.
///
/// # Errors
/// Where it is no JSON.
pub fn parse_json(body: &[u8]) -> Result<Delivery, Malformed> {
    let value = json::parse(body)?;
    let hash = sha256_hex(body);
    let events = match &value {
        Value::Array(items) if items.iter().any(is_cloud_event) => {
            items.iter().map(cloud_event).collect()
        }
        single if is_cloud_event(single) => vec![cloud_event(single)],
        other => vec![stored(hash.clone(), "json", other)],
    };
    Ok(Delivery {
        provider: &Twilio,
        webhook_type: EVENT,
        reply_form: ReplyForm::Empty,
        derived_key: hash,
        body: value,
        events,
    })
}

fn is_cloud_event(value: &Value) -> bool {
    value.get("specversion").is_some() && value.get("id").is_some_and(Value::is_string)
}

fn cloud_event(value: &Value) -> Event {
    let kind = text(value, "type").unwrap_or_else(|| "json".to_owned());
    match value.get("id").and_then(Value::as_str) {
        Some(id) if usable_id(id) && is_cloud_event(value) => Event {
            ours: number_of_cloud_event(&kind, &value["data"]),
            ..stored(id.to_owned(), &kind, value)
        },
        _ => stored(digest(value), &kind, value),
    }
}

/// The number of ours that one of Twilio's events about messages names.
fn number_of_cloud_event(kind: &str, data: &Value) -> Option<Address> {
    let member = match kind
        .strip_prefix("com.twilio.messaging.")?
        .split_once('.')?
    {
        ("inbound-message", _) => "to",
        ("message", _) => "from",
        _ => return None,
    };
    our_number(param(data, member)?)
}

fn stored(id: String, kind: &str, value: &Value) -> Event {
    Event {
        id,
        kind: kind.to_owned(),
        digest: digest(value),
        payload: value.clone(),
        ours: None,
        content: Content::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_without_a_cloud_event_is_one_event_known_by_its_bytes() {
        let of = |body: &[u8]| parse_json(body).unwrap().events;
        let plain = br#"[{"a":1},{"a":2}]"#;
        let events = of(plain);
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].id, sha256_hex(plain));
        let event = r#"{"specversion":"1.0","id":"E1","type":"t","source":"/s"}"#;
        let mixed = of(format!("[{event},{{\"a\":2}}]").as_bytes());
        assert_eq!(mixed.len(), 2);
        assert_eq!(mixed[0].id, "E1");
    }
}
