//! What a request says, in one hash, so that a key used for something else is noticed.

use sha2::{Digest as _, Sha256};
use std::fmt;

use super::multipart;
use crate::{json::Value, media_type, store::types::Digest};

/// SHA-256 of a request. Shows itself as 64 hexadecimal digits in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(Digest);

impl Fingerprint {
    /// As it is stored.
    pub fn digest(self) -> Digest {
        self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// SHA-256 over method, path, query, content type (without its parameters) and body, each with its length before it.
/// A JSON body is canonicalised first, so that white space and the order of members do not count; of a multipart body
/// its parts count, whatever boundary is between them.
pub fn fingerprint(
    method: &str,
    path: &str,
    query: &str,
    content_type: &str,
    body: &[u8],
) -> Fingerprint {
    encoded(method, path, query, content_type, body, "")
}

/// The same of a body that was read already, without reading it again.
pub fn fingerprint_of_json(
    method: &str,
    path: &str,
    query: &str,
    content_type: &str,
    document: &Value,
) -> Fingerprint {
    let canonical = document.canonical();
    of_bytes(method, path, query, content_type, canonical.as_bytes(), "")
}

/// The same of a body in a content coding that could not be undone: the coding counts too, and the body as it was sent.
pub fn encoded(
    method: &str,
    path: &str,
    query: &str,
    content_type: &str,
    body: &[u8],
    coding: &str,
) -> Fingerprint {
    if coding.is_empty() {
        if media_type::is_json(content_type)
            && let Ok(document) = Value::parse(body)
        {
            return fingerprint_of_json(method, path, query, content_type, &document);
        }
        if let Some(parts) = multipart::parts(content_type, body) {
            let parts = digest(parts).to_string();
            return of_bytes(method, path, query, content_type, parts.as_bytes(), "");
        }
    }
    of_bytes(method, path, query, content_type, body, coding)
}

fn of_bytes(
    method: &str,
    path: &str,
    query: &str,
    content_type: &str,
    body: &[u8],
    coding: &str,
) -> Fingerprint {
    let essence = media_type::essence(content_type).to_ascii_lowercase();
    let parts = [method, path, query, &essence].map(str::as_bytes);
    let coding = Some(coding.as_bytes()).filter(|coding| !coding.is_empty());
    Fingerprint(digest(parts.into_iter().chain([body]).chain(coding)))
}

/// SHA-256 over parts, each with its length before it.
pub fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Digest {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    Digest::from(<[u8; 32]>::from(hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(content_type: &str, body: &str) -> Fingerprint {
        fingerprint("POST", "/p", "", content_type, body.as_bytes())
    }

    #[test]
    fn white_space_and_order_of_members_do_not_count_in_json() {
        let a = of("application/json", r#"{"a":1,"b":[1,{"d":"é","c":2}]}"#);
        let b = of(
            "application/json; charset=utf-8",
            "{ \"b\": [1, {\"c\":2,\"d\":\"\\u00e9\"}],\n\"a\" : 1 }",
        );
        assert_eq!(a, b);
    }

    #[test]
    fn numbers_count_as_written() {
        assert_ne!(
            of("application/json", "[1.0]"),
            of("application/json", "[1.00]")
        );
        assert_ne!(
            of("application/json", "[9007199254740993]"),
            of("application/json", "[9007199254740992]")
        );
    }

    #[test]
    fn members_of_one_name_are_told_apart_and_no_name_is_taken_for_more_than_a_name() {
        let json = |body| of("application/json", body);
        assert_ne!(json(r#"{"a":1,"a":2}"#), json(r#"{"a":9,"a":2}"#));
        assert_ne!(json(r#"{"a":1,"a":2}"#), json(r#"{"a":2}"#));
        assert_ne!(json(r#"{"a":1,"a":2}"#), json(r#"{"a":2,"a":1}"#));
        assert_eq!(
            json(r#"{"a":1,"b":3,"a":2}"#),
            json(r#"{"b":3,"a":1,"a":2}"#)
        );
        assert_ne!(json(r#"{"$serde_json::private::Number":"1"}"#), json("1"));
        assert_ne!(json("1e5"), json("1e+5"));
    }

    #[test]
    fn any_other_body_counts_byte_for_byte() {
        let form = "application/x-www-form-urlencoded";
        assert_ne!(of(form, "a=1&b=2"), of(form, "b=2&a=1"));
        assert_ne!(
            of("text/plain", "{\"a\":1}"),
            of("text/plain", "{ \"a\":1}")
        );
        assert_ne!(of("text/plain", "{}"), of("application/json", "{}"));
    }

    #[test]
    fn the_boundary_of_a_multipart_body_does_not_count_and_its_parts_do() {
        let multipart = |boundary: &str, rest: &str| {
            let body = rest.replace("--B", &format!("--{boundary}"));
            let content_type = format!("multipart/form-data; boundary=\"{boundary}\"");
            fingerprint("POST", "/p", "", &content_type, body.as_bytes())
        };
        let part = |text: &str| {
            format!("--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n{text}\r\n")
        };
        let one = part("1") + "--B--\r\n";
        assert_eq!(multipart("x", &one), multipart("yy-1", &one));
        for other in [
            part("2") + "--B--\r\n",
            part("1") + &part("1") + "--B--\r\n",
            part("1"),
        ] {
            assert_ne!(multipart("x", &one), multipart("x", &other), "{other}");
        }
        let form = |coding| encoded("POST", "/p", "", "multipart/form-data", b"x", coding);
        assert_ne!(form("br"), form(""));
    }

    #[test]
    fn a_byte_cannot_move_from_one_part_to_the_next() {
        let a = fingerprint("POST", "/p", "q", "text/plain", b"");
        let b = fingerprint("POST", "/pq", "", "text/plain", b"");
        assert_ne!(a, b);
    }

    #[test]
    fn the_coding_of_a_body_counts_and_none_is_no_coding() {
        let of = |coding| encoded("POST", "/p", "", "text/plain", b"a", coding);
        assert_eq!(of(""), fingerprint("POST", "/p", "", "text/plain", b"a"));
        assert_ne!(of("gzip"), of(""));
        assert_ne!(of("gzip"), of("br"));
    }
}
