//! What GitHub tells: one event in each delivery, its name and identity in headers.
//! Source: GitHub's "Webhook events and payloads" and "Best practices for using webhooks".

use sha2::{Digest as _, Sha256};

use super::GitHub;
use crate::{
    json::Value,
    media_type,
    provider::{
        event::{Content, Event},
        interface::{Delivery, ReplyForm},
        json,
        refusal::{Malformed, Refusal},
        request::Request,
        value::{digest, sha256_hex, text},
    },
};

/// The header that names the event. It is signed by nobody.
pub(super) const EVENT: &str = "X-GitHub-Event";

/// The header that tells deliveries apart: the same when one is sent again. It is signed by nobody.
pub(super) const DELIVERY: &str = "X-GitHub-Delivery";

/// The kind of all deliveries.
pub(super) const TYPE: &str = "github";

/// Reads a delivery, as JSON or as a form that holds it.
///
/// # Errors
/// Where it is neither, or a header is missing.
pub(super) fn parse(request: &Request<'_>) -> Result<Delivery, Refusal> {
    let body = if media_type::is(request.content_type(), media_type::JSON) {
        json::parse(request.body)?
    } else if request.is_form() {
        json::parse(of_form(request)?)?
    } else {
        return Err(Refusal::MediaType(
            "GitHub sends application/json or application/x-www-form-urlencoded",
        ));
    };
    if !body.is_object() {
        return Err(Malformed("not a JSON object".to_owned()).into());
    }
    let id = header(request, DELIVERY, is_id)?;
    let event = event(id, header(request, EVENT, is_event)?, &body);
    Ok(Delivery {
        provider: &GitHub,
        webhook_type: TYPE,
        reply_form: ReplyForm::Report,
        derived_key: id.to_owned(),
        body,
        events: vec![event],
    })
}

fn event(id: &str, name: &str, body: &Value) -> Event {
    let kind = match text(body, "action") {
        Some(action) => format!("{name}.{action}"),
        None => name.to_owned(),
    };
    Event {
        id: id.to_owned(),
        // The id is not signed, so the digest of the first delivery guards it against another content.
        digest: sha256_hex(format!("{name}\n{}", digest(body)).as_bytes()),
        kind,
        payload: body.clone(),
        ours: None,
        content: Content::Other,
    }
}

/// The document in a form.
fn of_form<'a>(request: &'a Request<'_>) -> Result<&'a [u8], Malformed> {
    let pairs = request.form()?.pairs();
    let mut payloads = pairs.filter(|(name, _)| *name == b"payload");
    match (payloads.next(), payloads.next()) {
        (Some((_, payload)), None) => Ok(payload),
        _ => Err(Malformed("the form does not have one payload".to_owned())),
    }
}

/// A header that a delivery must have.
fn header<'a>(
    request: &Request<'a>,
    name: &str,
    is_one: fn(&str) -> bool,
) -> Result<&'a str, Malformed> {
    let value = request.header(name).filter(|value| is_one(value));
    value.ok_or_else(|| Malformed(format!("{name} is missing, or not what GitHub writes")))
}

/// Whether a text is a delivery's id: a GUID, or what has taken its place.
fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Whether a text is the name of an event.
pub(super) fn is_event(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// An id for a delivery that was recorded without one: the same each time.
pub(super) fn id_of(body: &[u8]) -> String {
    let hash = Sha256::digest(body);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    let id = uuid::Builder::from_random_bytes(bytes);
    id.into_uuid().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::interface::Provider as _;
    use std::time::SystemTime;

    const ID: &str = "72d3162e-cc78-11e3-81ab-4c9367dc0958";

    fn parsed(
        content_type: &str,
        headers: &[(&'static str, &str)],
        body: &str,
    ) -> Result<Delivery, Refusal> {
        let headers = headers
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        let mut headers: Vec<_> = headers.collect();
        headers.push(("Content-Type", content_type.to_owned()));
        let request = Request::new("", &headers, body.as_bytes(), SystemTime::now());
        GitHub.parse(&request, &GitHub.routes()[0])
    }

    fn told(name: &str, body: &str) -> Event {
        let headers = [(EVENT, name), (DELIVERY, ID)];
        parsed(media_type::JSON, &headers, body)
            .unwrap()
            .events
            .remove(0)
    }

    #[test]
    fn an_event_is_known_by_its_delivery_and_of_the_kind_that_header_and_action_tell() {
        let opened = told("issues", r#"{"action":"opened","issue":{"number":7}}"#);
        assert_eq!((&*opened.id, &*opened.kind), (ID, "issues.opened"));
        assert_eq!(opened.content, Content::Other);
        assert_eq!(
            told("ping", r#"{"zen":"Keep it logically awesome."}"#).kind,
            "ping"
        );
        assert_eq!(told("push", r#"{"action":7}"#).kind, "push");
    }

    #[test]
    fn the_same_id_with_another_content_has_another_digest() {
        let first = told("issues", r#"{"action":"opened","issue":{"number":7}}"#);
        let same = told(
            "issues",
            r#"{ "issue": {"number": 7}, "action": "opened" }"#,
        );
        assert_eq!(first.digest, same.digest);
        for other in [
            told("issues", r#"{"action":"opened","issue":{"number":8}}"#),
            told(
                "pull_request",
                r#"{"action":"opened","issue":{"number":7}}"#,
            ),
        ] {
            assert_eq!(other.id, first.id);
            assert_ne!(other.digest, first.digest);
        }
    }

    #[test]
    fn a_form_says_the_same_as_the_json_in_it() {
        let headers = [(EVENT, "push"), (DELIVERY, ID)];
        let json = r#"{"ref":"refs/heads/main","note":"a & b + c"}"#;
        let form: String = url::form_urlencoded::byte_serialize(json.as_bytes()).collect();
        let of_json = parsed("application/json; charset=utf-8", &headers, json).unwrap();
        let of_form = parsed(media_type::FORM, &headers, &format!("payload={form}")).unwrap();
        assert_eq!(of_form, of_json);
        for body in [
            "",
            "pay=1",
            "payload={}&payload={}",
            "payload=%ff",
            "payload=[]",
        ] {
            let refused = parsed(media_type::FORM, &headers, body);
            assert!(matches!(refused, Err(Refusal::Malformed(_))), "{body}");
        }
        let xml = parsed("text/xml", &headers, json);
        assert!(matches!(xml, Err(Refusal::MediaType(_))));
    }

    #[test]
    fn without_its_headers_a_delivery_is_not_taken_for_another() {
        let long = "a".repeat(65);
        for headers in [
            &[][..],
            &[(EVENT, "push")],
            &[(DELIVERY, ID)],
            &[(EVENT, "push"), (DELIVERY, "")],
            &[(EVENT, "push"), (DELIVERY, &long)],
            &[(EVENT, "push"), (DELIVERY, "a\u{0}b")],
            &[(EVENT, "pu sh"), (DELIVERY, ID)],
        ] {
            let refused = parsed(media_type::JSON, headers, "{}");
            assert!(matches!(refused, Err(Refusal::Malformed(_))), "{headers:?}");
        }
    }
}
