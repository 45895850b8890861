//! What Twilio tells of messages: those of customers, and how far ours have come.

use super::{
    Twilio,
    kinds::{MESSAGE, STATUS},
    params::{bare_address, form_digest, is_word, our_number, param},
    twiml,
};
use crate::{
    identity::PhoneNumber,
    json::Value,
    provider::{
        event::{CartLine, Content, Event, Sender, StatusChange},
        interface::{Delivery, ReplyForm},
        refusal::Malformed,
        value::{first_user_id, sha256_hex, without_nul},
        whatsapp::cart::cart_lines,
    },
};

/// Members of an inbound message that hold JSON in a text; any of them may carry a cart.
const JSON_MEMBERS: [&str; 3] = ["InteractiveData", "ChannelMetadata", "FlowData"];

pub(super) fn inbound_message(params: Value) -> Result<Delivery, Malformed> {
    let sid = message_sid(&params)?.to_owned();
    let event = Event {
        id: sid.clone(),
        kind: without_nul(param(&params, "MessageType").unwrap_or("message")),
        digest: form_digest(&params),
        payload: params.clone(),
        ours: param(&params, "To").and_then(our_number),
        content: message_content(&params),
    };
    Ok(Delivery {
        provider: &Twilio,
        webhook_type: MESSAGE,
        reply_form: ReplyForm::Document(&twiml::FORM),
        derived_key: sid,
        body: params,
        events: vec![event],
    })
}

fn message_content(params: &Value) -> Content {
    let from = sender(params);
    match param(params, "MessageType") {
        Some("order") => match cart(params) {
            Some(lines) => Content::Cart {
                from,
                lines,
                note: param(params, "Body")
                    .filter(|body| !body.is_empty())
                    .map(without_nul),
            },
            None => Content::Message,
        },
        Some("text") => text_content(params, from),
        // SMS, and senders that do not tell the type.
        None if !has_attachment(params) => text_content(params, from),
        _ => Content::Message,
    }
}

/// Who wrote. `From` holds a number, WhatsApp's user id, or, of an SMS, a name or a short code, which is neither.
fn sender(params: &Value) -> Sender {
    let from = param(params, "From");
    let number = from.and_then(|from| bare_address(from).parse().ok());
    let of_whatsapp = || PhoneNumber::of_digits(param(params, "WaId")?).ok();
    let user_ids = [
        param(params, "ExternalUserId"),
        from.and_then(|from| from.strip_prefix("whatsapp:")),
        // That of a group of businesses, where theirs alone is told.
        param(params, "ParentExternalUserId"),
    ];
    Sender {
        phone: number.or_else(of_whatsapp),
        user_id: first_user_id(user_ids.into_iter().flatten()),
        name: param(params, "ProfileName").map(without_nul),
    }
}

fn text_content(params: &Value, from: Sender) -> Content {
    match param(params, "Body") {
        Some(body) => Content::Text {
            from,
            text: without_nul(body),
        },
        None => Content::Message,
    }
}

fn has_attachment(params: &Value) -> bool {
    const SIGNS: [&str; 4] = ["ButtonText", "ButtonPayload", "ListId", "Latitude"];
    let media = param(params, "NumMedia").is_some_and(|count| count != "0");
    media || SIGNS.iter().any(|name| params.get(name).is_some())
}

/// The cart of a catalogue. Twilio documents no fields for it; this takes Meta's own object wherever it is passed on.
fn cart(params: &Value) -> Option<Vec<CartLine>> {
    JSON_MEMBERS.iter().find_map(|member| {
        let document: Value = param(params, member)?.parse().ok()?;
        let order = document.get("order").unwrap_or(&document);
        order.get("product_items").map(cart_lines)
    })
}

pub(super) fn status_callback(params: Value) -> Result<Delivery, Malformed> {
    let sid = message_sid(&params)?.to_owned();
    let status = param(&params, "MessageStatus")
        .filter(|status| is_word(status))
        .ok_or_else(|| Malformed("MessageStatus is missing or no word".to_owned()))?
        .to_owned();
    // Every state of a message is an event of its own.
    let id = format!("{sid}:{status}");
    let event = Event {
        digest: sha256_hex(id.as_bytes()),
        kind: "status".to_owned(),
        payload: params.clone(),
        // The message is ours.
        ours: param(&params, "From").and_then(our_number),
        content: Content::Status(StatusChange {
            message_id: sid,
            rank: rank(&status),
            status,
            error_code: param(&params, "ErrorCode").map(without_nul),
        }),
        id: id.clone(),
    };
    Ok(Delivery {
        provider: &Twilio,
        webhook_type: STATUS,
        reply_form: ReplyForm::Empty,
        derived_key: id,
        body: params,
        events: vec![event],
    })
}

/// How far a step is: see [`StatusChange::rank`]. Of Twilio's documentation of message statuses.
fn rank(status: &str) -> i32 {
    match status {
        "accepted" | "scheduled" | "queued" => 10,
        "sending" => 20,
        "sent" => 30,
        "failed" | "undelivered" | "canceled" => 40,
        "delivered" => 50,
        "read" => 60,
        _ => 0,
    }
}

/// `SM` or `MM` and 32 hex digits; never another parameter in its place.
fn message_sid(params: &Value) -> Result<&str, Malformed> {
    let valid = |sid: &&str| {
        sid.strip_prefix("SM")
            .or_else(|| sid.strip_prefix("MM"))
            .is_some_and(|rest| rest.len() == 32 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    param(params, "MessageSid")
        .filter(valid)
        .ok_or_else(|| Malformed("MessageSid is not SM or MM and 32 hex digits".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::form::Form;

    #[test]
    fn the_steps_of_a_message_are_in_the_order_in_which_they_come() {
        let order = [
            &["unheard of"][..],
            &["accepted", "scheduled", "queued"],
            &["sending"],
            &["sent"],
            &["failed", "undelivered", "canceled"],
            &["delivered"],
            &["read"],
        ];
        for pair in order.windows(2) {
            for (earlier, later) in pair[0].iter().zip(pair[1].iter().cycle()) {
                assert!(rank(earlier) < rank(later), "{earlier} {later}");
            }
            assert!(pair[1].iter().all(|step| rank(step) == rank(pair[1][0])));
        }
    }

    #[test]
    fn what_stands_beside_a_cart_is_its_note_unless_there_is_nothing() {
        let note = |body: &str| {
            let form = format!(
                "MessageSid=SM{:032}&From=whatsapp%3A%2B15550001&To=whatsapp%3A%2B15550002&MessageType=order\
                 &InteractiveData=%7B%22product_items%22%3A%5B%7B%22product_retailer_id%22%3A%22P1%22%2C%22quantity%22%3A1%7D%5D%7D&Body={body}",
                1
            );
            let params = Form::parse(form.as_bytes()).unwrap().to_json().unwrap();
            match message_content(&params) {
                Content::Cart { note, .. } => note,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(note(""), None);
        assert_eq!(note("soon").as_deref(), Some("soon"));
    }
}
