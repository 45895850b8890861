//! Meta's WhatsApp Cloud API: batches of messages and statuses.
//! Source: Meta's "Webhooks" reference for the WhatsApp Business Platform.

pub mod diagnosis;
pub mod renew;
pub mod signature;

use std::collections::BTreeSet;

use super::{
    Address, Content, Delivery, Event, Malformed, Provider, ReplyForm, Sender, StatusChange,
    as_written, cart_lines, digest, json, sha256_hex, text, usable_id, without_nul,
};
use crate::json::Value;

/// The `object` of a delivery that is about WhatsApp.
const OBJECT: &str = "whatsapp_business_account";

/// The members that hold messages, statuses and other changes.
pub(super) const AROUND_EVENTS: &[&str] = &["entry", "changes", "value", "messages", "statuses"];

/// Reads a delivery item by item. Parses leniently: what is not understood is an event that is stored and no more,
/// and never costs its neighbours anything.
///
/// # Errors
/// Where the body is no JSON object.
pub fn parse(body: &[u8]) -> Result<Delivery, Malformed> {
    let value = json::parse(body)?;
    if !value.is_object() {
        return Err(Malformed("not a JSON object".to_owned()));
    }
    let events = match value.get("object").and_then(Value::as_str) {
        Some(OBJECT) => changes(&value)
            .flat_map(|(entry, change)| change_events(entry, change))
            .collect(),
        _ => Vec::new(),
    };
    let number = |(_, change): (_, &Value)| text(&change["value"]["metadata"], "phone_number_id");
    let numbers: BTreeSet<_> = changes(&value).filter_map(number).collect();
    Ok(Delivery {
        provider: Provider::WhatsApp,
        webhook_type: "whatsapp",
        reply_form: ReplyForm::Report,
        derived_key: sha256_hex(body),
        is_of_one_number: numbers.len() <= 1,
        body: value,
        events,
    })
}

/// Each change, with its entry.
fn changes(body: &Value) -> impl Iterator<Item = (&Value, &Value)> {
    list(body, "entry").flat_map(|entry| list(entry, "changes").map(move |change| (entry, change)))
}

fn change_events(entry: &Value, change: &Value) -> Vec<Event> {
    let value = &change["value"];
    let messages = list(value, "messages").map(|message| message_event(value, message));
    let statuses = list(value, "statuses").map(status_event);
    let events: Vec<_> = messages.chain(statuses).collect();
    if events.is_empty() {
        let kind = text(change, "field").unwrap_or_else(|| "change".to_owned());
        // Whose account and when belong to it: the same change may come again another day.
        let [id, time, change] = [&entry["id"], &entry["time"], change].map(Value::clone);
        let told = Value::object([("id", id), ("time", time), ("change", change)]);
        vec![other(&kind, &told)]
    } else {
        events
    }
}

fn message_event(value: &Value, message: &Value) -> Event {
    let kind = text(message, "type").unwrap_or_else(|| "message".to_owned());
    let Some(id) = message["id"].as_str().filter(|id| usable_id(id)) else {
        return other(&kind, message);
    };
    let to = text(&value["metadata"], "phone_number_id").unwrap_or_default();
    // The envelope may differ from one batch to the next; the message and the number written to may not.
    let digest = sha256_hex(format!("{to}\n{}", digest(message)).as_bytes());
    Event {
        id: id.to_owned(),
        content: message_content(&kind, Address::PhoneNumberId(to), value, message),
        kind,
        digest,
        payload: message.clone(),
    }
}

fn message_content(kind: &str, to: Address, value: &Value, message: &Value) -> Content {
    let from = sender(value, message);
    match kind {
        "text" => match text(&message["text"], "body") {
            Some(text) => Content::Text { to, from, text },
            None => Content::Other,
        },
        "order" => Content::Cart {
            to,
            from,
            lines: cart_lines(&message["order"]["product_items"]),
            note: text(&message["order"], "text").filter(|note| !note.is_empty()),
        },
        _ => Content::Other,
    }
}

/// Who wrote: a number, or only a business-scoped user id, and the name of the contact with the same.
fn sender(value: &Value, message: &Value) -> Sender {
    let number = text(message, "from");
    let user_id = text(message, "from_user_id");
    let is_sender = |contact: &&Value| {
        let same = |member: &str, ours: &Option<String>| {
            ours.is_some() && contact[member].as_str() == ours.as_deref()
        };
        same("wa_id", &number) || same("user_id", &user_id)
    };
    let contact = list(value, "contacts").find(is_sender);
    Sender {
        name: contact.and_then(|contact| text(&contact["profile"], "name")),
        phone: number.map(|digits| format!("+{}", digits.trim_start_matches('+'))),
        user_id,
    }
}

fn status_event(status: &Value) -> Event {
    let message_id = status["id"].as_str().map(without_nul);
    let step = text(status, "status");
    let (Some(message_id), Some(step)) = (message_id, step) else {
        return other("status", status);
    };
    // Every state of a message is an event of its own; two that differ in their errors alone are one.
    let id = format!("{message_id}:{step}");
    if !usable_id(&id) {
        return other("status", status);
    }
    Event {
        digest: sha256_hex(id.as_bytes()),
        id,
        kind: "status".to_owned(),
        payload: status.clone(),
        content: Content::Status(StatusChange {
            message_id,
            status: step,
            error_code: as_written(status["errors"][0].get("code")),
        }),
    }
}

/// An event known by its content alone.
fn other(kind: &str, value: &Value) -> Event {
    let digest = digest(value);
    Event {
        id: digest.clone(),
        kind: kind.to_owned(),
        digest,
        payload: value.clone(),
        content: Content::Other,
    }
}

fn list<'a>(value: &'a Value, member: &str) -> impl Iterator<Item = &'a Value> {
    value
        .get(member)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_delivery_is_of_one_number_unless_its_changes_name_several() {
        let change = |number: Option<&str>| match number {
            Some(id) => json!({"value": {"metadata": {"phone_number_id": id}, "statuses": []}}),
            None => json!({"field": "account_update", "value": {"event": "VERIFIED_ACCOUNT"}}),
        };
        let is_of_one_number = |entries: &[&[Option<&str>]]| {
            let changes = |numbers: &&[Option<&str>]| {
                let changes: Vec<_> = numbers.iter().copied().map(change).collect();
                json!({"changes": changes})
            };
            let entries: Vec<_> = entries.iter().map(changes).collect();
            let body = json!({"object": OBJECT, "entry": entries});
            parse(body.to_string().as_bytes()).unwrap().is_of_one_number
        };
        assert!(is_of_one_number(&[]));
        assert!(is_of_one_number(&[
            &[None],
            &[Some("1"), None, Some("1")],
            &[Some("1")]
        ]));
        assert!(!is_of_one_number(&[&[Some("1"), Some("2")]]));
        assert!(!is_of_one_number(&[&[Some("1")], &[None, Some("2")]]));
    }

    fn batch(value: serde_json::Value) -> Delivery {
        let body = json!({"object": OBJECT, "entry": [{"changes": [{"field": "messages", "value": value}]}]});
        parse(body.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_bad_item_is_stored_and_costs_its_neighbours_nothing() {
        let events = batch(json!({
            "metadata": {"phone_number_id": "1"},
            "messages": [
                {"id": "wamid.A", "type": "text", "from": "1", "text": {"body": "2 cola"}},
                {"type": "text", "text": {"body": "no id"}},
                {"id": 7}, null, "text", {"id": "wamid.B", "type": "text", "text": 3},
                {"id": "x".repeat(300), "type": "text", "text": {"body": "2 cola"}},
            ],
            "statuses": [{"id": "wamid.C", "status": "read"}, {"status": "read"}, []],
        }))
        .events;
        assert_eq!(events.len(), 10);
        assert!(matches!(events[0].content, Content::Text { .. }));
        assert!(events[1..7].iter().all(|e| e.content == Content::Other));
        assert_eq!(events[7].id, "wamid.C:read");
        assert!(events.iter().all(|e| usable_id(&e.id)));
    }

    #[test]
    fn a_cart_keeps_its_numbers_as_written() {
        let body = r#"{"object":"whatsapp_business_account","entry":[{"changes":[{"value":{"messages":[
            {"id":"wamid.A","type":"order","order":{"text":"","product_items":[
                {"product_retailer_id":"P","quantity":2,"item_price":7.990,"currency":"USD"}]}}]}}]}]}"#;
        let events = parse(body.as_bytes()).unwrap().events;
        let Content::Cart { lines, note, .. } = &events[0].content else {
            panic!()
        };
        assert_eq!(lines[0].price.as_deref(), Some("7.990"));
        assert_eq!((lines[0].quantity.as_str(), note), ("2", &None));
    }

    #[test]
    fn the_same_message_in_another_envelope_is_the_same() {
        let message =
            json!({"id": "wamid.A", "type": "text", "from": "1", "text": {"body": "2 cola"}});
        let one = batch(json!({"metadata": {"phone_number_id": "1"}, "messages": [message]}));
        let two = batch(
            json!({"metadata": {"phone_number_id": "1"}, "contacts": [], "messages": [{"id": 1}, message]}),
        );
        assert_eq!(one.events[0].digest, two.events[1].digest);
        let elsewhere = batch(json!({"metadata": {"phone_number_id": "2"}, "messages": [message]}));
        assert_ne!(one.events[0].digest, elsewhere.events[0].digest);
    }

    #[test]
    fn the_same_change_of_another_account_or_time_is_another_event() {
        let id = |account: &str, time: u32| {
            let change = json!({"field": "account_update", "value": {"event": "X"}});
            let entry = json!({"id": account, "time": time, "changes": [change]});
            let body = json!({"object": OBJECT, "entry": [entry]});
            parse(body.to_string().as_bytes())
                .unwrap()
                .events
                .remove(0)
                .id
        };
        assert_eq!(id("1", 1), id("1", 1));
        assert_ne!(id("1", 1), id("2", 1));
        assert_ne!(id("1", 1), id("1", 2));
    }

    #[test]
    fn what_is_not_about_whatsapp_tells_nothing() {
        assert_eq!(
            parse(br#"{"object":"page","entry":[{"changes":[{}]}]}"#)
                .unwrap()
                .events,
            []
        );
        for body in ["", "[]", "7", "{", "\"x\"", "\u{feff}{}"] {
            assert!(parse(body.as_bytes()).is_err(), "{body}");
        }
    }
}
