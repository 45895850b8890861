//! An answer as it is kept: every byte of it comes back, whatever its body is.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use std::collections::BTreeMap;

use crate::{
    json::Value,
    media_type,
    store::{
        StoreError,
        idempotency::{BodyEncoding, Record},
        types::{Json, Timestamp, Uuid},
    },
};

/// An answer as it is kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoredReply {
    /// HTTP status.
    pub status: i16,
    /// Content type; none without a body.
    pub content_type: Option<String>,
    /// Other headers that are replayed, by name.
    pub headers: BTreeMap<String, String>,
    /// Body.
    pub body: Bytes,
}

/// What a completed record says.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// The record.
    pub record: Uuid,
    /// What was answered.
    pub reply: StoredReply,
    /// Until when that is replayed.
    pub expires_at: Timestamp,
}

impl Answered {
    /// How many bytes its texts have.
    pub(super) fn size(&self) -> usize {
        let reply = &self.reply;
        let headers = reply.headers.iter();
        let headers: usize = headers.map(|(name, value)| name.len() + value.len()).sum();
        reply.body.len() + reply.content_type.as_ref().map_or(0, String::len) + headers
    }
}

impl StoredReply {
    /// The largest body that is kept; a larger reply fails its request instead of being cut.
    pub const MAX_BYTES: usize = 1024 * 1024;

    /// The body as the JSON that is kept, which an operator can read where it is text. `None` where there is none.
    pub(super) fn body_to_json(&self) -> Option<(Json, BodyEncoding)> {
        if self.body.is_empty() {
            return None;
        }
        let Ok(text) = std::str::from_utf8(&self.body) else {
            let encoded = Value::from(BASE64.encode(&self.body));
            return Some((Json::of(&encoded), BodyEncoding::Base64));
        };
        let is_json = self
            .content_type
            .as_deref()
            .is_some_and(media_type::is_json);
        match is_json.then(|| Json::parse(text.to_owned())) {
            Some(Ok(json)) => Some((json, BodyEncoding::Json)),
            _ => Some((Json::of(&Value::from(text)), BodyEncoding::Text)),
        }
    }

    /// The other headers as the JSON that is kept. `None` where there is none.
    pub(super) fn headers_to_json(&self) -> Option<Json> {
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| (name.clone(), Value::from(value.as_str())));
        (!self.headers.is_empty()).then(|| Json::of(&Value::Object(headers.collect())))
    }

    /// The answer that a record keeps.
    ///
    /// # Errors
    /// Where it keeps none.
    pub fn from_record(record: &Record) -> Result<Self, StoreError> {
        let body = match &record.response_body {
            Some(json) => decode(json, encoding(record))?,
            None => Bytes::new(),
        };
        let headers = match &record.response_headers {
            Some(json) => serde_json::from_str(json.as_str()).map_err(StoreError::unreadable)?,
            None => BTreeMap::new(),
        };
        let status = record.response_status.ok_or("it has no status");
        Ok(Self {
            status: status.map_err(StoreError::unreadable)?,
            content_type: record.response_content_type.clone(),
            headers,
            body,
        })
    }
}

/// The first records did not say how they hold their body: JSON as it is, any other as text.
fn encoding(record: &Record) -> BodyEncoding {
    record.response_encoding.unwrap_or_else(|| {
        match record
            .response_content_type
            .as_deref()
            .is_some_and(media_type::is_json)
        {
            true => BodyEncoding::Json,
            false => BodyEncoding::Text,
        }
    })
}

fn decode(json: &Json, encoding: BodyEncoding) -> Result<Bytes, StoreError> {
    let text = || serde_json::from_str::<String>(json.as_str()).map_err(StoreError::unreadable);
    Ok(match encoding {
        BodyEncoding::Json => json.as_str().to_owned().into(),
        BodyEncoding::Text => text()?.into(),
        BodyEncoding::Base64 => BASE64
            .decode(text()?)
            .map_err(StoreError::unreadable)?
            .into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(content_type: &str, body: &'static [u8]) -> (BodyEncoding, Bytes) {
        let reply = StoredReply {
            content_type: Some(content_type.to_owned()),
            body: Bytes::from_static(body),
            ..StoredReply::default()
        };
        let (json, encoding) = reply.body_to_json().unwrap();
        (encoding, decode(&json, encoding).unwrap())
    }

    #[test]
    fn every_body_comes_back_byte_for_byte() {
        let cases: [(&str, &[u8], BodyEncoding); 6] = [
            (
                "application/json",
                b"{ \"b\" : 1.0, \"a\":2 }",
                BodyEncoding::Json,
            ),
            ("application/json", b"{ no json", BodyEncoding::Text),
            ("application/json", b"\"\\ud800\"", BodyEncoding::Text),
            ("text/xml", "<é/>\0".as_bytes(), BodyEncoding::Text),
            ("text/plain", b"{\"a\":1}", BodyEncoding::Text),
            ("image/png", b"\x89PNG\xff\0", BodyEncoding::Base64),
        ];
        for (content_type, body, encoding) in cases {
            let (by, back) = kept(content_type, body);
            assert_eq!(&back[..], body);
            assert_eq!(by, encoding, "{body:?}");
        }
        assert_eq!(StoredReply::default().body_to_json(), None);
    }

    #[test]
    fn the_size_of_an_answer_is_that_of_all_its_texts() {
        let answered = |content_type: Option<&str>, headers: &[(&str, &str)]| Answered {
            record: Uuid::random(),
            expires_at: Timestamp::now(),
            reply: StoredReply {
                content_type: content_type.map(str::to_owned),
                headers: headers
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect(),
                body: Bytes::from_static(b"1234567"),
                ..StoredReply::default()
            },
        };
        assert_eq!(answered(None, &[]).size(), 7);
        assert_eq!(
            answered(Some("a/b"), &[("ab", "cde"), ("f", "")]).size(),
            7 + 3 + 5 + 1
        );
    }
}
