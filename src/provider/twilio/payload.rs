//! What Twilio's messaging webhooks tell: forms for messages and status callbacks, JSON for Studio and Event Streams.
//! Source: Twilio's "Messaging Webhooks" and "Track the Message Status" documentation.

use super::{Twilio, twiml};
use crate::{
    identity::PhoneNumber,
    json::Value,
    provider::{
        event::{Address, CartLine, Content, Event, Sender, StatusChange},
        form::Form,
        interface::{Delivery, ReplyForm},
        json,
        refusal::Malformed,
        value::{digest, first_user_id, sha256_hex, text, usable_id, without_nul},
        whatsapp::cart::cart_lines,
    },
};

/// The kind of what a customer wrote.
pub(super) const MESSAGE: &str = "twilio_message";

/// The kind of how far a message of ours has come.
pub(super) const STATUS: &str = "twilio_status";

/// The kind of anything else.
pub(super) const EVENT: &str = "twilio_event";

/// Members of an inbound message that hold JSON in a text; any of them may carry a cart.
const JSON_MEMBERS: [&str; 3] = ["InteractiveData", "ChannelMetadata", "FlowData"];

/// Parameters that Twilio adds when it sends something again: they say nothing about what is sent.
const REPEAT_PARAMETERS: [&str; 3] = ["ErrorCode", "ErrorUrl", "RetryCount"];

/// Parameters by which a form says that it is about a message.
const MESSAGE_PARAMETERS: [&str; 5] = [
    "MessageSid",
    "SmsSid",
    "SmsMessageSid",
    "MessageStatus",
    "Body",
];

/// Parameters that name what an event of Conversations is about, the nearest first.
const CONVERSATION_SIDS: [&str; 4] = [
    "MessageSid",
    "ParticipantSid",
    "ConversationSid",
    "ChannelSid",
];

/// Reads a form: an inbound message, a status callback (`MessageStatus` and no `Body`), or whatever else Twilio sends.
///
/// # Errors
/// Where it is empty or not UTF-8, or is about a message and its `MessageSid` is no message id.
pub fn parse_form(form: &Form<'_>) -> Result<Delivery, Malformed> {
    let params = form.to_json()?;
    if !is_about_message(&params) {
        return other_form(params);
    }
    let is_status = params.get("MessageStatus").is_some() && params.get("Body").is_none();
    if is_status {
        status_callback(params)
    } else {
        inbound_message(params)
    }
}

/// Reads a form that came to the address of status callbacks.
///
/// # Errors
/// As [`parse_form`], and where it is about a message and has no `MessageStatus`.
pub fn parse_status(form: &Form<'_>) -> Result<Delivery, Malformed> {
    let params = form.to_json()?;
    match is_about_message(&params) {
        true => status_callback(params),
        false => other_form(params),
    }
}

/// Whether a form is a status callback.
pub(super) fn is_status(body: &[u8]) -> bool {
    let delivery = Form::parse(body).and_then(|form| parse_form(&form));
    delivery.is_ok_and(|delivery| delivery.webhook_type == STATUS)
}

/// Whether a form is a message or a status of one. Conversations names its own messages by the same parameter.
fn is_about_message(params: &Value) -> bool {
    let has = |name: &&str| params.get(name).is_some();
    let is_of_conversation = has(&"EventType") && !has(&"MessageStatus");
    !is_of_conversation && MESSAGE_PARAMETERS.iter().any(has)
}

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

fn inbound_message(params: Value) -> Result<Delivery, Malformed> {
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

fn form_digest(params: &Value) -> String {
    let mut params = params.clone();
    if let Value::Object(members) = &mut params {
        members.retain(|(name, _)| !REPEAT_PARAMETERS.contains(&name.as_str()));
        // The signature does not tell in which order the values of one parameter came.
        for values in members
            .iter_mut()
            .filter_map(|(_, value)| value.as_array_mut())
        {
            values.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
        }
    }
    digest(&params)
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

fn status_callback(params: Value) -> Result<Delivery, Malformed> {
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

/// A form that is no message: kept and no more.
fn other_form(params: Value) -> Result<Delivery, Malformed> {
    if matches!(&params, Value::Object(members) if members.is_empty()) {
        return Err(Malformed("the form is empty".to_owned()));
    }
    let digest = form_digest(&params);
    let call = word(&params, "CallSid");
    let (id, kind) = if let Some(event) = word(&params, "EventType") {
        (conversation_event(&params, event, &digest), event)
    } else if let Some(call) = call {
        // A call is asked about again and again, in one status.
        let status = word(&params, "CallStatus").unwrap_or("call");
        (format!("{call}:{status}:{}", short(&digest)), "call")
    } else if let (Some(sid), Some(_)) = (word(&params, "Sid"), word(&params, "Level")) {
        (sid.to_owned(), "debugger")
    } else {
        (digest.clone(), "form")
    };
    let event = Event {
        id: id.clone(),
        kind: kind.to_owned(),
        digest,
        payload: params.clone(),
        ours: number_of_form(&params),
        content: Content::Other,
    };
    Ok(Delivery {
        provider: &Twilio,
        webhook_type: EVENT,
        // A call that is answered nothing at all is an error at Twilio; what it is answered here ends it.
        reply_form: match call {
            Some(_) => ReplyForm::Document(&twiml::FORM),
            None => ReplyForm::Empty,
        },
        derived_key: id,
        events: vec![event],
        body: params,
    })
}

/// The number of ours that a call, or a conversation with somebody outside, names.
fn number_of_form(params: &Value) -> Option<Address> {
    let name = match (params.get("CallSid"), param(params, "Direction")) {
        (Some(_), Some("inbound")) => "To",
        (Some(_), _) => "From",
        (None, _) => "MessagingBinding.ProxyAddress",
    };
    our_number(param(params, name)?)
}

/// The identity of an event of Conversations: something is added or removed once, and anything else may happen again.
fn conversation_event(params: &Value, event: &str, digest: &str) -> String {
    let sid = CONVERSATION_SIDS.iter().find_map(|name| word(params, name));
    let is_once = event.ends_with("Added") || event.ends_with("Removed");
    match sid {
        Some(sid) if is_once => format!("{event}:{sid}"),
        Some(sid) => format!("{event}:{sid}:{}", short(digest)),
        None => format!("{event}:{}", short(digest)),
    }
}

/// Enough of a digest to tell the events of one thing apart.
fn short(digest: &str) -> &str {
    &digest[..16]
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

/// A parameter that is given once, and can be part of an id.
fn word<'a>(params: &'a Value, name: &str) -> Option<&'a str> {
    param(params, name).filter(|text| is_word(text))
}

fn is_word(text: &str) -> bool {
    (1..=40).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// A parameter that is given once.
fn param<'a>(params: &'a Value, name: &str) -> Option<&'a str> {
    params.get(name)?.as_str()
}

/// An address without the channel before it: `whatsapp:+1…` is `+1…`.
fn bare_address(address: &str) -> &str {
    address.rsplit(':').next().unwrap_or(address)
}

/// The number of ours that an address is. None: it is a short code, a page, or the like.
fn our_number(address: &str) -> Option<Address> {
    bare_address(address).parse().ok().map(Address::Phone)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SID: &str = "SM0123456789abcdef0123456789abcdef";

    fn parse(body: &str) -> Result<Delivery, Malformed> {
        parse_form(&Form::parse(body.as_bytes()).unwrap())
    }

    fn content(rest: &str) -> Content {
        parse(&format!("MessageSid={SID}&{rest}"))
            .unwrap()
            .events
            .remove(0)
            .content
    }

    #[test]
    fn only_a_message_id_is_taken_for_one() {
        for sid in [
            "",
            "SM",
            "XX0123456789abcdef0123456789abcdef",
            "SM0123456789abcdef0123456789abcde",
            "SM0123456789abcdef0123456789abcdefa",
            "SM0123456789abcdef0123456789abcdeg",
            "sm0123456789abcdef0123456789abcdef",
            "SM0123456789abcdef0123456789abcde%00",
        ] {
            // Another good id beside it is never taken in its place.
            let body = format!("MessageSid={sid}&SmsSid={SID}&Body=2+cola");
            assert!(parse(&body).is_err(), "{sid}");
        }
        assert!(parse(&format!("SmsSid={SID}&Body=2+cola")).is_err());
        assert!(parse(&format!("MessageSid={SID}&MessageSid=MM{SID}&Body=x")).is_err());
        assert!(parse(&format!("MessageSid={}&Body=x", SID.replace("SM", "MM"))).is_ok());
    }

    #[test]
    fn a_status_without_a_body_is_a_callback_whose_every_state_counts() {
        let sent = parse(&format!("MessageSid={SID}&MessageStatus=sent")).unwrap();
        let read = parse(&format!("MessageSid={SID}&MessageStatus=read")).unwrap();
        assert_eq!(sent.reply_form, ReplyForm::Empty);
        assert_eq!(sent.derived_key, format!("{SID}:sent"));
        assert_ne!(sent.events[0].id, read.events[0].id);
        let inbound = parse(&format!("MessageSid={SID}&MessageStatus=received&Body=")).unwrap();
        assert_eq!(inbound.reply_form, ReplyForm::Document(&twiml::FORM));
    }

    #[test]
    fn a_form_that_is_no_message_is_known_by_what_it_is_about() {
        let event = |body: &str| parse(body).unwrap().events.remove(0);
        let conversation =
            "EventType=onMessageAdded&ConversationSid=CH1&MessageSid=IM1&Body=2+cola";
        let added = event(conversation);
        assert_eq!(
            (&*added.id, &*added.kind),
            ("onMessageAdded:IM1", "onMessageAdded")
        );
        assert_eq!(added.content, Content::Other);
        let repeated = event(&format!("{conversation}&RetryCount=1"));
        assert_eq!((repeated.id, repeated.digest), (added.id, added.digest));
        let updated = |body: &str| {
            event(&format!(
                "EventType=onMessageUpdated&MessageSid=IM1&Body={body}"
            ))
            .id
        };
        assert_eq!(updated("a"), updated("a"));
        assert_ne!(updated("a"), updated("b"));
        assert!(updated("a").starts_with("onMessageUpdated:IM1:"));
        let debugger = event("Sid=NO1&Level=ERROR&Payload=%7B%7D");
        assert_eq!((&*debugger.id, &*debugger.kind), ("NO1", "debugger"));
        let call = |status: &str| parse(&format!("CallSid=CA1&CallStatus={status}")).unwrap();
        assert_eq!(
            call("ringing").reply_form,
            ReplyForm::Document(&twiml::FORM)
        );
        assert!(call("ringing").events[0].id.starts_with("CA1:ringing:"));
        assert_ne!(call("ringing").derived_key, call("completed").derived_key);
        let other = event("a=1&b=2");
        assert_eq!(
            (&*other.id, &*other.kind),
            (&*event("b=2&a=1").digest, "form")
        );
        assert!(parse("").is_err());
        // Names that are no names are not trusted with an id.
        assert_eq!(event("EventType=%00%00&x=1").kind, "form");
    }

    #[test]
    fn what_is_no_message_is_kept_at_the_address_of_statuses_too() {
        let parse = |body: &[u8]| parse_status(&Form::parse(body).unwrap());
        assert_eq!(
            parse(b"CallSid=CA1&CallStatus=completed").unwrap().events[0].kind,
            "call"
        );
        assert!(parse(format!("MessageSid={SID}").as_bytes()).is_err());
        assert!(parse(b"MessageStatus=sent").is_err());
    }

    #[test]
    fn a_text_is_read_from_the_body_and_media_is_not() {
        let Content::Text { from, text } = content(
            "Body=2+colas&From=whatsapp%3A%2B14155550100&To=whatsapp%3A%2B14155238886&ProfileName=Zo%C3%AB&NumMedia=0",
        ) else {
            panic!("no text")
        };
        assert_eq!(
            (from.name.as_deref(), text.as_str()),
            (Some("Zoë"), "2 colas")
        );
        for other in [
            "Body=2+colas&NumMedia=1",
            "Body=2+colas&MessageType=image",
            "Body=2+colas&ButtonPayload=x",
            "Body=2+colas&ListId=x",
            "Body=&Latitude=1.5",
            "NumMedia=0",
        ] {
            assert_eq!(content(other), Content::Message, "{other}");
        }
    }

    #[test]
    fn a_sender_is_known_by_number_by_user_id_by_both_or_by_neither() {
        const ID: &str = "US.13491208655302741918";
        let sender = |rest: &str| {
            let Content::Text { from, .. } = content(&format!("Body=1+cola&{rest}")) else {
                panic!("no text")
            };
            let user_id = from.user_id.map(|id| id.to_string());
            (from.phone.map(|phone| phone.to_string()), user_id)
        };
        let phone = || Some("+14155550100".to_owned());
        let id = || Some(ID.to_owned());
        let number = "From=whatsapp%3A%2B14155550100";
        assert_eq!(sender(number), (phone(), None));
        assert_eq!(sender("From=%2B14155550100"), (phone(), None));
        assert_eq!(sender(&format!("From=whatsapp%3A{ID}")), (None, id()));
        let both = [
            format!("{number}&ExternalUserId={ID}"),
            format!("From=whatsapp%3A{ID}&WaId=14155550100"),
            format!("{number}&ExternalUserId={ID}&ParentExternalUserId=US.ENT.118157992128"),
            format!("{number}&ExternalUserId=&ParentExternalUserId={ID}"),
        ];
        for both in both {
            assert_eq!(sender(&both), (phone(), id()), "{both}");
        }
        for neither in [
            "From=MYBANK",
            "From=12345678",
            "From=US.123",
            "From=messenger%3A14155550100",
            "From=",
            "X=1",
            "From=whatsapp%3A&ExternalUserId=MYBANK&WaId=",
        ] {
            assert_eq!(sender(neither), (None, None), "{neither}");
        }
    }

    #[test]
    fn the_number_of_ours_is_written_to_or_written_from() {
        let ours = |rest: &str| {
            let event = parse(&format!("MessageSid={SID}&{rest}"))
                .unwrap()
                .events
                .remove(0);
            event.ours.map(|address| address.as_str().to_owned())
        };
        let numbers = "To=whatsapp%3A%2B14155238886&From=whatsapp%3A%2B14155550100";
        for inbound in [
            "Body=2+cola",
            "NumMedia=1&Body=",
            "ButtonPayload=x&Body=x",
            "MessageType=x",
        ] {
            let ours = ours(&format!("{inbound}&{numbers}"));
            assert_eq!(ours.as_deref(), Some("+14155238886"), "{inbound}");
        }
        let status = ours(&format!("MessageStatus=read&{numbers}"));
        assert_eq!(status.as_deref(), Some("+14155550100"));
        for nobody in [
            "Body=x&To=MYSHOP",
            "Body=x&To=messenger%3A1234567890",
            "Body=x",
            "MessageStatus=sent",
        ] {
            assert_eq!(ours(nobody), None, "{nobody}");
        }
        let cloud_event = |kind: &str| {
            let data = r#"{"from":"whatsapp:+14155238886","to":"whatsapp:+14155550100"}"#;
            let body = format!(r#"{{"specversion":"1.0","id":"E","type":"{kind}","data":{data}}}"#);
            let event = parse_json(body.as_bytes()).unwrap().events.remove(0);
            event.ours.map(|address| address.as_str().to_owned())
        };
        let sent = cloud_event("com.twilio.messaging.message.sent");
        assert_eq!(sent.as_deref(), Some("+14155238886"));
        let received = cloud_event("com.twilio.messaging.inbound-message.received");
        assert_eq!(received.as_deref(), Some("+14155550100"));
        assert_eq!(cloud_event("com.twilio.studio.flow.step.ended"), None);
    }

    #[test]
    fn what_a_signature_does_not_tell_apart_is_one_message() {
        let digest = |rest: &str| {
            let body = format!("MessageSid={SID}&Body=2+cola{rest}");
            parse(&body).unwrap().events.remove(0).digest
        };
        let plain = digest("");
        assert_eq!(digest("&Body=2+cola"), plain);
        assert_eq!(
            digest("&ErrorCode=11200&ErrorUrl=https%3A%2F%2Fa.example"),
            plain
        );
        assert_eq!(digest("&X=1&X=2"), digest("&X=2&X=1"));
        assert_ne!(digest("&X=1"), plain);
    }

    #[test]
    fn cloud_events_are_told_one_by_one_and_anything_else_by_its_bytes() {
        let body = br#"[{"specversion":"1.0","id":"EZ1","type":"t"},{"specversion":"1.0","id":"EZ2"},{"no":"id"}]"#;
        let events = parse_json(body).unwrap().events;
        let ids: Vec<_> = events.iter().map(|e| e.id.as_str()).collect();
        assert_eq!(&ids[..2], ["EZ1", "EZ2"]);
        assert!(
            parse_json(br#"[{"specversion":"1.0","id":"a"},{"id":"b"}]"#)
                .unwrap()
                .events[1]
                .id
                != "b"
        );
        assert_eq!(ids[2].len(), 64);
        let studio = parse_json(b"{\"flow\": 1}").unwrap();
        assert_eq!(studio.events.len(), 1);
        assert_eq!(studio.events[0].id, sha256_hex(b"{\"flow\": 1}"));
        assert!(parse_json(b"{").is_err());
        assert!(parse_json(&[b"[".repeat(100_000), b"]".repeat(100_000)].concat()).is_err());
    }
}
