//! Gives a body other message ids, so that it tells new events.

use crate::{
    json::Value,
    provider::{form::Form, refusal::Malformed},
};

/// The form with a new id, the same under each of the id's names.
///
/// # Errors
/// Where it is too large to be a form.
pub fn form(body: &[u8]) -> Result<Vec<u8>, Malformed> {
    const IDS: [&[u8]; 3] = [b"MessageSid", b"SmsSid", b"SmsMessageSid"];
    let id = format!("SM{}", uuid::Uuid::new_v4().simple());
    let form = Form::parse(body)?;
    let encode = |bytes: &[u8]| -> String { url::form_urlencoded::byte_serialize(bytes).collect() };
    let pairs: Vec<_> = form
        .pairs()
        .map(|(name, value)| {
            let value = if IDS.contains(&name) {
                id.as_bytes()
            } else {
                value
            };
            format!("{}={}", encode(name), encode(value))
        })
        .collect();
    Ok(pairs.join("&").into_bytes())
}

/// The document with new ids for its CloudEvents, or made new as a whole.
///
/// # Errors
/// Where it is no JSON.
pub fn json(body: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut value = Value::parse(body).map_err(|error| Malformed(error.to_string()))?;
    let id = || Value::from(uuid::Uuid::new_v4().to_string());
    match &mut value {
        Value::Array(items) => items
            .iter_mut()
            .filter_map(|item| item.get_mut("id"))
            .for_each(|old| *old = id()),
        Value::Object(members) => {
            members.retain(|(name, _)| name != "id");
            members.push(("id".to_owned(), id()));
        }
        _ => {}
    }
    Ok(value.to_string().into_bytes())
}
