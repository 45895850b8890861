//! What Meta's Cloud API tells of WhatsApp: batches of messages and statuses.
//! Source: Meta's "Webhooks" reference for the WhatsApp Business Platform.

use super::{WhatsApp, cart::cart_lines, sender, status::status_event};
use crate::{
    identity::PhoneNumber,
    json::Value,
    provider::{
        event::{Address, Amendment, Content, Event, MessageChange},
        interface::{Delivery, ReplyForm},
        json,
        refusal::Malformed,
        value::{digest, list, sha256_hex, text, told, usable_id},
    },
};

/// The `object` of a delivery that is about WhatsApp.
const OBJECT: &str = "whatsapp_business_account";

/// The kind of all deliveries.
pub(super) const TYPE: &str = "whatsapp";

/// The only field whose changes hold messages to us and statuses of our messages. Others look alike and must not be acted
/// on: past messages (`history`), those that another app answers (`standby`), our own (`smb_message_echoes`).
const MESSAGES: &str = "messages";

/// The members that hold messages, statuses and other changes.
pub(super) const AROUND_EVENTS: &[&str] = &["entry", "changes", "value", "messages", "statuses"];

/// Reads a delivery item by item, leniently: an item that is not understood becomes an event that is only stored, and does
/// not affect the other items.
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
    Ok(Delivery {
        provider: &WhatsApp,
        webhook_type: TYPE,
        reply_form: ReplyForm::Report,
        derived_key: sha256_hex(body),
        body: value,
        events,
    })
}

/// Each change, with its entry.
fn changes(body: &Value) -> impl Iterator<Item = (&Value, &Value)> {
    list(body, "entry").flat_map(|entry| list(entry, "changes").map(move |change| (entry, change)))
}

fn change_events(entry: &Value, change: &Value) -> Vec<Event> {
    let ours = our_number(change);
    let mut events = match change["field"].as_str() {
        Some(MESSAGES) => items(&change["value"]),
        _ => Vec::new(),
    };
    if events.is_empty() {
        let kind = text(change, "field").unwrap_or_else(|| "change".to_owned());
        // Account and time are part of its identity: the same change may happen again another day.
        let [id, time, change] = [&entry["id"], &entry["time"], change].map(Value::clone);
        let told = Value::object([("id", id), ("time", time), ("change", change)]);
        events.push(other(&kind, &told));
    }
    for event in &mut events {
        event.ours.clone_from(&ours);
    }
    events
}

/// The messages and statuses of a change.
fn items(value: &Value) -> Vec<Event> {
    let messages = list(value, "messages").map(|message| message_event(value, message));
    let statuses = list(value, "statuses").map(|status| {
        let event = status_event(status);
        event.unwrap_or_else(|| other("status", status))
    });
    messages.chain(statuses).collect()
}

/// The number of ours that a change names: by its id where it is about messages; by itself where it is about the number.
fn our_number(change: &Value) -> Option<Address> {
    let value = &change["value"];
    let metadata = &value["metadata"];
    if let Some(id) = told(metadata, "phone_number_id") {
        return Some(Address::PhoneNumberId(id));
    }
    let about = |field: &str, member| {
        let is_about = change["field"].as_str() == Some(field);
        is_about.then(|| text(value, member)).flatten()
    };
    [
        text(metadata, "display_phone_number"),
        text(value, "display_phone_number"),
        about("account_update", "phone_number"),
    ]
    .into_iter()
    .flatten()
    .find_map(|number| PhoneNumber::of_digits(&number).ok())
    .map(Address::Phone)
}

fn message_event(value: &Value, message: &Value) -> Event {
    let kind = text(message, "type").unwrap_or_else(|| "message".to_owned());
    let Some(id) = message["id"].as_str().filter(|id| usable_id(id)) else {
        return Event {
            content: Content::Message,
            ..other(&kind, message)
        };
    };
    let to = text(&value["metadata"], "phone_number_id").unwrap_or_default();
    // The envelope may differ from one batch to the next; the message and the number written to may not.
    let digest = sha256_hex(format!("{to}\n{}", digest(message)).as_bytes());
    Event {
        id: id.to_owned(),
        content: message_content(&kind, value, message),
        kind,
        digest,
        payload: message.clone(),
        ours: None,
    }
}

fn message_content(kind: &str, value: &Value, message: &Value) -> Content {
    let from = sender::sender(value, message);
    match kind {
        "text" => match text(&message["text"], "body") {
            Some(text) => Content::Text { from, text },
            None => Content::Message,
        },
        "order" => Content::Cart {
            from,
            lines: cart_lines(&message["order"]["product_items"]),
            note: told(&message["order"], "text"),
        },
        "edit" | "revoke" => match amendment(kind, message) {
            Some(amendment) => Content::Amended(amendment),
            None => Content::Message,
        },
        _ => Content::Message,
    }
}

/// What a customer changed of a message. Of Meta's references for "edit" and "revoke" messages.
fn amendment(kind: &str, message: &Value) -> Option<Amendment> {
    let message_id = told(&message[kind], "original_message_id").filter(|id| usable_id(id))?;
    let change = match kind {
        "edit" => MessageChange::Edited {
            text_at: text_of_edit(&message["edit"]["message"]),
        },
        _ => MessageChange::Revoked,
    };
    Some(Amendment {
        message_id,
        change,
        at_s: message["timestamp"]
            .as_str()
            .and_then(|text| text.parse().ok()),
    })
}

/// Where the text of an edited message is: its body, or the caption of what it shows.
fn text_of_edit(edited: &Value) -> Vec<String> {
    let path = match text(edited, "type") {
        Some(kind) if kind != "text" => [kind, "caption".to_owned()],
        _ => ["text".to_owned(), "body".to_owned()],
    };
    let around = ["edit", "message"].map(str::to_owned);
    around.into_iter().chain(path).collect()
}

/// An event known by its content alone.
fn other(kind: &str, value: &Value) -> Event {
    let digest = digest(value);
    Event {
        id: digest.clone(),
        kind: kind.to_owned(),
        digest,
        payload: value.clone(),
        ours: None,
        content: Content::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn whatever_names_a_number_of_ours_is_about_it() {
        let ours = |field: &str, value: serde_json::Value| {
            let change = json!({"field": field, "value": value});
            let body = json!({"object": OBJECT, "entry": [{"id": "1", "changes": [change]}]});
            let events = parse(body.to_string().as_bytes()).unwrap().events;
            let ours = events.into_iter().map(|event| event.ours);
            ours.map(|ours| ours.map(|address| address.as_str().to_owned()))
                .collect::<Vec<_>>()
        };
        let metadata = json!({"display_phone_number": "14155238886", "phone_number_id": "7"});
        let all = json!({
            "metadata": metadata,
            "messages": [{"id": "wamid.A", "type": "image"}, {"id": "wamid.B", "type": "revoke"}, {"id": 7}],
            "statuses": [{"id": "wamid.C", "status": "read"}, {}],
        });
        assert_eq!(ours("messages", all.clone()), vec![Some("7".to_owned()); 5]);
        assert_eq!(ours("standby", all), [Some("7".to_owned())]);
        let number = Some("+14155238886".to_owned());
        for metadata in [
            json!({"display_phone_number": "14155238886"}),
            json!({"display_phone_number": "+14155238886", "phone_number_id": ""}),
        ] {
            assert_eq!(
                ours("messages", json!({"metadata": metadata})),
                vec![number.clone(); 1]
            );
        }
        let quality = json!({"display_phone_number": "14155238886", "event": "FLAGGED"});
        assert_eq!(
            ours("phone_number_quality_update", quality),
            vec![number.clone(); 1]
        );
        let account = json!({"phone_number": "14155238886", "event": "VERIFIED_ACCOUNT"});
        assert_eq!(ours("account_update", account.clone()), [number]);
        assert_eq!(ours("something_else", account), [None]);
        assert_eq!(
            ours(
                "message_template_status_update",
                json!({"event": "APPROVED"})
            ),
            [None]
        );
    }

    #[test]
    fn a_change_of_another_field_is_one_event_whatever_is_in_it() {
        let value = json!({
            "metadata": {"phone_number_id": "1"},
            "messages": [{"id": "wamid.A", "type": "text", "from": "14155550100", "text": {"body": "2 cola"}}],
            "statuses": [{"id": "wamid.C", "status": "read"}],
        });
        for field in [
            json!("history"),
            json!("standby"),
            json!("smb_message_echoes"),
            json!("calls"),
            json!("MESSAGES"),
            json!(7),
            json!(null),
        ] {
            let change = json!({"field": field, "value": value});
            let body = json!({"object": OBJECT, "entry": [{"changes": [change]}]});
            let events = parse(body.to_string().as_bytes()).unwrap().events;
            assert_eq!(events.len(), 1, "{field}");
            let event = &events[0];
            assert_eq!(event.kind, field.as_str().unwrap_or("change"));
            assert_eq!(event.content, Content::Other);
            assert_eq!(
                event.payload["change"]["value"].to_string(),
                value.to_string()
            );
        }
        assert_eq!(batch(value).events.len(), 2);
    }

    #[test]
    fn an_edit_and_a_revoke_name_the_message_that_they_are_about() {
        let amended = |message: serde_json::Value| {
            batch(json!({"messages": [message]}))
                .events
                .remove(0)
                .content
        };
        let edit = |edited: serde_json::Value| {
            let edit = json!({"original_message_id": "wamid.A", "message": edited, "more": [1]});
            amended(
                json!({"id": "wamid.E", "type": "edit", "timestamp": "1795000000", "edit": edit}),
            )
        };
        let expected = |change, at_s| {
            Content::Amended(Amendment {
                message_id: "wamid.A".to_owned(),
                change,
                at_s,
            })
        };
        let edited = |path: [&str; 2]| {
            let text_at = ["edit", "message"]
                .iter()
                .chain(&path)
                .map(ToString::to_string);
            expected(
                MessageChange::Edited {
                    text_at: text_at.collect(),
                },
                Some(1_795_000_000),
            )
        };
        let text = json!({"type": "text", "text": {"body": "3 cola"}, "context": {"id": "M0"}});
        assert_eq!(edit(text), edited(["text", "body"]));
        let image = json!({"type": "image", "image": {"caption": "3 cola", "id": "1"}});
        assert_eq!(edit(image), edited(["image", "caption"]));
        assert_eq!(edit(json!(null)), edited(["text", "body"]));
        let revoke = json!({"id": "wamid.R", "type": "revoke", "revoke": {"original_message_id": "wamid.A"}});
        assert_eq!(amended(revoke), expected(MessageChange::Revoked, None));
        for nothing in [
            json!({"id": "wamid.R", "type": "revoke"}),
            json!({"id": "wamid.R", "type": "revoke", "revoke": {"original_message_id": ""}}),
            json!({"id": "wamid.R", "type": "edit", "edit": {"original_message_id": "x".repeat(300)}}),
            json!({"id": "wamid.R", "type": "edit", "edit": ["wamid.A"]}),
        ] {
            assert_eq!(amended(nothing.clone()), Content::Message, "{nothing}");
        }
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
        assert!(events[1..7].iter().all(|e| e.content == Content::Message));
        assert_eq!(events[7].id, "wamid.C:read");
        assert!(events.iter().all(|e| usable_id(&e.id)));
    }

    #[test]
    fn a_cart_keeps_its_numbers_as_written() {
        let body = r#"{"object":"whatsapp_business_account","entry":[{"changes":[{"field":"messages","value":{"messages":[
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
