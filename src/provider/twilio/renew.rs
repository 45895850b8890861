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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_has_one_new_id_and_all_else_as_it_was() {
        let body = b"MessageSid=SM1&SmsSid=SM1&Body=a+b%26c";
        let renewed = form(body).unwrap();
        let pairs = Form::parse(&renewed).unwrap().to_json().unwrap();
        let text = |name: &str| pairs.get(name).and_then(Value::as_str).unwrap().to_owned();
        assert_eq!(text("Body"), "a b&c");
        assert_eq!(text("MessageSid"), text("SmsSid"));
        assert_eq!(text("MessageSid").len(), 34);
        assert_ne!(form(body).unwrap(), renewed);
    }

    #[test]
    fn a_document_has_new_ids_and_all_else_as_it_was() {
        let of = |body: &[u8]| Value::parse(&json(body).unwrap()).unwrap();
        let id = |value: &Value| value["id"].as_str().unwrap().to_owned();
        let array = of(br#"[{"id":"a","x":1},{"id":"b"}]"#);
        let ids = [id(&array[0]), id(&array[1])];
        assert_ne!(ids[0], ids[1]);
        assert!(ids.iter().all(|id| id.len() == 36), "{ids:?}");
        assert_eq!(array[0]["x"].to_string(), "1");

        let object = of(br#"{"id":"a","x":1}"#);
        assert_eq!(id(&object).len(), 36);
        assert_eq!(object["x"].to_string(), "1");
        assert_eq!(object.to_string().matches("\"id\"").count(), 1);
        assert!(json(b"{").is_err());
    }
}
