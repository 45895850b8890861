//! Who wrote a message: Meta tells a number, a business-scoped user id, or both, in the message or in its contact.

use crate::{
    identity::PhoneNumber,
    json::Value,
    provider::{
        event::Sender,
        value::{first_user_id, list, text, told},
    },
};

/// Who wrote, by all that the message and its contact tell: any of it may be missing or empty.
pub(super) fn sender(value: &Value, message: &Value) -> Sender {
    let contact = contact(value, message).unwrap_or(&Value::Null);
    let from = told(message, "from");
    let user_ids = [
        told(message, "from_user_id"),
        told(contact, "user_id"),
        from.clone(),
        // That of a group of businesses, where theirs alone is told.
        told(message, "from_parent_user_id"),
        told(contact, "parent_user_id"),
    ];
    let mut numbers = [from, told(contact, "wa_id")].into_iter().flatten();
    Sender {
        name: text(&contact["profile"], "name"),
        phone: numbers.find_map(|digits| PhoneNumber::of_digits(&digits).ok()),
        user_id: first_user_id(user_ids.iter().flatten()),
    }
}

/// The contact of a message's sender: the one with its number or user id. Else the only contact of an only message, unless
/// it is known to be somebody else.
fn contact<'a>(value: &'a Value, message: &Value) -> Option<&'a Value> {
    let pairs = [("wa_id", "from"), ("user_id", "from_user_id")];
    let compare = |contact: &Value, is: fn(&str, &str) -> bool| {
        pairs.iter().any(|&(theirs, ours)| {
            told(contact, theirs)
                .is_some_and(|theirs| told(message, ours).is_some_and(|ours| is(&theirs, &ours)))
        })
    };
    let same = list(value, "contacts").find(|contact| compare(contact, |a, b| a == b));
    same.or_else(|| {
        let mut contacts = list(value, "contacts");
        let is_only = list(value, "messages").count() == 1;
        let contact = contacts
            .next()
            .filter(|_| is_only && contacts.next().is_none());
        contact.filter(|contact| !compare(contact, |a, b| a != b))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn a_sender_is_known_by_all_that_is_told_of_it() {
        let sender = |contact: serde_json::Value, message: serde_json::Value| {
            let mut message = message;
            let text = json!({"id": "wamid.A", "type": "text", "text": {"body": "1 cola"}});
            message
                .as_object_mut()
                .unwrap()
                .extend(text.as_object().unwrap().clone());
            let value = json!({"contacts": [contact], "messages": [message]});
            let value = crate::json::Value::parse(value.to_string().as_bytes()).unwrap();
            let from = super::sender(&value, &value["messages"][0]);
            let user_id = from.user_id.map(|id| id.to_string());
            let phone = from.phone.map(|phone| phone.to_string());
            [phone, user_id, from.name].map(|told| told.unwrap_or_default())
        };
        let (phone, id) = ("+14155550100", "US.8354526747523280581");
        let profile = json!({"name": "Ana"});
        let contact = |wa_id: serde_json::Value, user_id: serde_json::Value| json!({"profile": profile, "wa_id": wa_id, "user_id": user_id});
        let message = |from: serde_json::Value, user_id: serde_json::Value| json!({"from": from, "from_user_id": user_id});
        let none = || serde_json::Value::Null;
        let (digits, empty) = (|| json!("14155550100"), || json!(""));
        for (contact, message) in [
            (contact(digits(), json!(id)), message(digits(), json!(id))),
            (contact(none(), json!(id)), message(digits(), json!(id))),
            (contact(empty(), json!(id)), message(digits(), empty())),
            (contact(digits(), json!(id)), message(none(), json!(id))),
            (contact(digits(), json!(id)), message(digits(), none())),
            (contact(digits(), none()), message(empty(), json!(id))),
            (contact(none(), json!(id)), message(digits(), none())),
        ] {
            let told = sender(contact.clone(), message.clone());
            assert_eq!(told, [phone, id, "Ana"], "{contact} {message}");
        }
        let only_id = sender(contact(empty(), json!(id)), message(empty(), json!(id)));
        assert_eq!(only_id, ["", id, "Ana"]);
        let id_as_number = sender(contact(none(), none()), message(json!(id), none()));
        assert_eq!(id_as_number, ["", id, "Ana"]);
        let only_number = sender(contact(digits(), none()), message(digits(), none()));
        assert_eq!(only_number, [phone, "", "Ana"]);
        // Somebody else's name and number are not taken for the sender's.
        let other = sender(
            contact(json!("14155550199"), none()),
            message(digits(), none()),
        );
        assert_eq!(other, [phone, "", ""]);
        let other = sender(contact(digits(), json!("US.1")), message(none(), json!(id)));
        assert_eq!(other, ["", id, ""]);
        // What is neither is neither.
        let neither = sender(
            contact(none(), none()),
            message(json!("MYBANK"), json!("7")),
        );
        assert_eq!(neither, ["", "", "Ana"]);
    }

    #[test]
    fn of_several_messages_none_has_a_contact_that_does_not_name_its_sender() {
        let named = |messages: serde_json::Value| {
            let contact = json!({"profile": {"name": "Ana"}});
            let value = json!({"contacts": [contact], "messages": messages});
            let value = crate::json::Value::parse(value.to_string().as_bytes()).unwrap();
            super::sender(&value, &value["messages"][0]).name
        };
        let message = json!({"id": "wamid.A", "from": "14155550100"});
        assert_eq!(named(json!([message])).as_deref(), Some("Ana"));
        assert_eq!(named(json!([message, message])), None);
    }
}
