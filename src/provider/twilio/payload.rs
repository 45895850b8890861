//! Reads Twilio's forms: a customer's message, the status of one of ours, or something else.
//! Source: Twilio's "Messaging Webhooks" and "Track the Message Status" documentation.

use super::{
    kinds::STATUS,
    message::{inbound_message, status_callback},
    other::other_form,
};
use crate::{
    json::Value,
    provider::{form::Form, interface::Delivery, refusal::Malformed},
};

/// Parameters by which a form says that it is about a message.
const MESSAGE_PARAMETERS: [&str; 5] = [
    "MessageSid",
    "SmsSid",
    "SmsMessageSid",
    "MessageStatus",
    "Body",
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

#[cfg(test)]
mod tests {
    use super::{
        super::{cloud_event::parse_json, twiml},
        *,
    };
    use crate::provider::{event::Content, interface::ReplyForm, value::sha256_hex};

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
        // An event type that cannot be stored is none.
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

    #[test]
    fn a_status_is_told_from_a_message() {
        let sid = format!("SM{:032}", 1);
        assert!(is_status(
            format!("MessageSid={sid}&MessageStatus=sent").as_bytes()
        ));
        assert!(!is_status(format!("MessageSid={sid}&Body=hi").as_bytes()));
        assert!(!is_status(b"%"));
    }

    #[test]
    fn what_is_no_message_belongs_to_our_number() {
        let of = |body: &str| {
            let form = Form::parse(body.as_bytes()).unwrap();
            let delivery = parse_form(&form).unwrap();
            delivery.events[0]
                .ours
                .clone()
                .map(|ours| ours.as_str().to_owned())
        };
        let (ours, theirs) = ("%2B14155550100", "%2B14155550199");
        let expected = Some("+14155550100".to_owned());
        let call = "CallSid=CA1";
        assert_eq!(
            of(&format!("{call}&Direction=inbound&To={ours}&From={theirs}")),
            expected
        );
        assert_eq!(
            of(&format!(
                "{call}&Direction=outbound-api&To={theirs}&From={ours}"
            )),
            expected
        );
        let conversation = format!("EventType=onMessageAdded&MessagingBinding.ProxyAddress={ours}");
        assert_eq!(of(&conversation), expected);
        assert_eq!(of(&format!("EventType=onMessageAdded&To={ours}")), None);
    }
}
