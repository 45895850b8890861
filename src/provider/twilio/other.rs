//! Twilio's forms that are about no message: Conversations, calls, the debugger, and whatever else.

use super::{
    Twilio,
    kinds::EVENT,
    params::{form_digest, our_number, param, word},
    twiml,
};
use crate::{
    json::Value,
    provider::{
        event::{Address, Content, Event},
        interface::{Delivery, ReplyForm},
        refusal::Malformed,
    },
};

/// Parameters that name what an event of Conversations is about, the nearest first.
const CONVERSATION_SIDS: [&str; 4] = [
    "MessageSid",
    "ParticipantSid",
    "ConversationSid",
    "ChannelSid",
];

/// A form that is no message: kept and no more.
pub(super) fn other_form(params: Value) -> Result<Delivery, Malformed> {
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
        // Twilio treats a call without an answer as an error. This answer ends the call.
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
