//! An answer's form in Redis.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::BTreeMap, str::FromStr as _};

use super::{CachedAnswer, Lookup};
use crate::{
    idempotency::reply::{Answered, StoredReply},
    store::types::{Timestamp, Uuid},
};

/// The version that is written. A changed form gets a new number, and code that knows only this one cannot read it.
const VERSION: u32 = 1;

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// The form in Redis: JSON, which an operator can read. It names the request that it answers, so that an answer stored
/// under a wrong Redis key is not used.
#[derive(Deserialize, Serialize)]
struct Form<'a> {
    version: u32,
    scope: Cow<'a, str>,
    key: Cow<'a, str>,
    fingerprint: Cow<'a, str>,
    record: uuid::Uuid,
    /// Microseconds since 1970, as `kept_at`.
    expires_at: i64,
    kept_at: i64,
    status: i16,
    content_type: Option<Cow<'a, str>>,
    headers: Cow<'a, BTreeMap<String, String>>,
    body: Body<'a>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Body<'a> {
    Text(Cow<'a, str>),
    Base64(String),
}

/// Writes an answer for Redis.
pub(super) fn encode(wanted: Lookup<'_>, kept: &CachedAnswer) -> serde_json::Result<Vec<u8>> {
    let answered = &kept.answered;
    let reply = &answered.reply;
    serde_json::to_vec(&Form {
        version: VERSION,
        scope: wanted.scope.into(),
        key: wanted.key.as_str().into(),
        fingerprint: wanted.fingerprint.to_string().into(),
        record: answered.record.0,
        expires_at: answered.expires_at.microseconds(),
        kept_at: kept.at.microseconds(),
        status: reply.status,
        content_type: reply.content_type.as_deref().map(Cow::Borrowed),
        headers: Cow::Borrowed(&reply.headers),
        body: match std::str::from_utf8(&reply.body) {
            Ok(text) => Body::Text(text.into()),
            Err(_binary) => Body::Base64(BASE64.encode(&reply.body)),
        },
    })
}

/// Reads what Redis holds. `None` if that is not an answer of this version to this very request.
pub(super) fn decode(wanted: Lookup<'_>, bytes: &[u8]) -> Option<CachedAnswer> {
    let Versioned { version } = serde_json::from_slice(bytes).ok()?;
    if version != VERSION {
        return None;
    }
    let form: Form<'_> = serde_json::from_slice(bytes).ok()?;
    let is_wanted = form.scope == wanted.scope
        && form.key == wanted.key.as_str()
        && form.fingerprint == wanted.fingerprint.to_string();
    if !is_wanted || !can_be_sent(&form) {
        return None;
    }
    let answered = Answered {
        record: Uuid(form.record),
        expires_at: Timestamp::from_microseconds(form.expires_at)?,
        reply: StoredReply {
            status: form.status,
            content_type: form.content_type.map(Cow::into_owned),
            headers: form.headers.into_owned(),
            body: match form.body {
                Body::Text(text) => Bytes::from(text.into_owned()),
                Body::Base64(text) => BASE64.decode(text).ok()?.into(),
            },
        },
    };
    Some(CachedAnswer {
        answered,
        at: Timestamp::from_microseconds(form.kept_at)?,
    })
}

/// Whether what is written there makes a response: the database's own records always do.
fn can_be_sent(form: &Form<'_>) -> bool {
    let is_value = |text: &str| HeaderValue::from_str(text).is_ok();
    let mut headers = form.headers.iter();
    StatusCode::from_u16(form.status.cast_unsigned()).is_ok()
        && form.content_type.as_deref().is_none_or(is_value)
        && headers.all(|(name, value)| HeaderName::from_str(name).is_ok() && is_value(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::idempotency::{
        fingerprint::{Fingerprint, fingerprint},
        key::IdempotencyKey,
    };

    fn request(key: &str, body: &[u8]) -> (IdempotencyKey, Fingerprint) {
        let fingerprint = fingerprint("POST", "/p", "", "text/plain", body);
        (key.parse().unwrap(), fingerprint)
    }

    fn kept(body: &'static [u8]) -> CachedAnswer {
        let answered = Answered {
            record: Uuid::random(),
            reply: StoredReply {
                status: 201,
                content_type: Some("application/json".to_owned()),
                headers: BTreeMap::from([("Location".to_owned(), "/x".to_owned())]),
                body: Bytes::from_static(body),
            },
            expires_at: Timestamp::now(),
        };
        CachedAnswer {
            answered,
            at: Timestamp::now(),
        }
    }

    #[test]
    fn an_answer_comes_back_byte_for_byte() {
        let (key, fingerprint) = request("k", b"1");
        let wanted = Lookup {
            scope: "s",
            key: &key,
            fingerprint: &fingerprint,
        };
        for body in [
            &b""[..],
            b"{ \"a\" : 1.0 }",
            "\u{e9}\0\"\\".as_bytes(),
            b"\x89\xff",
        ] {
            let kept = kept(body);
            let bytes = encode(wanted, &kept).unwrap();
            assert_eq!(decode(wanted, &bytes), Some(kept));
        }
    }

    #[test]
    fn what_answers_another_request_or_cannot_be_read_is_nothing() {
        let (key, fingerprint) = request("k", b"1");
        let wanted = Lookup {
            scope: "s",
            key: &key,
            fingerprint: &fingerprint,
        };
        let written = encode(wanted, &kept(b"yes")).unwrap();
        let text = String::from_utf8(written.clone()).unwrap();
        let (other_key, other_fingerprint) = request("l", b"2");
        for other in [
            Lookup {
                scope: "t",
                ..wanted
            },
            Lookup {
                key: &other_key,
                ..wanted
            },
            Lookup {
                fingerprint: &other_fingerprint,
                ..wanted
            },
        ] {
            assert_eq!(decode(other, &written), None);
        }
        let rubbish = [
            String::new(),
            "null".to_owned(),
            "\0\u{1}".to_owned(),
            "[".repeat(100_000),
            text[..text.len() - 1].to_owned(),
            text.replace("\"version\":1", "\"version\":2"),
            text.replace("\"version\":1", "\"version\":\"1\""),
            text.replace("\"status\":201", "\"status\":0"),
            text.replace("\"status\":201", "\"status\":70000"),
            text.replace("Location", "Lo cation"),
            text.replace("/x", "/x\\r\\nSet-Cookie: y"),
            text.replace("\"text\":", "\"base64\":").replace("yes", "~"),
        ];
        for rubbish in rubbish {
            assert_eq!(decode(wanted, rubbish.as_bytes()), None, "{rubbish:.80}");
        }
    }
}
