//! Reads members of what providers send into values that can be stored.

use super::event::MAX_ID_LEN;
use crate::{identity::UserId, json::Value};

/// SHA-256 in lower-case hex.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    hex::encode(Sha256::digest(bytes))
}

/// SHA-256 of a document, whatever the order of its members.
pub(super) fn digest(value: &Value) -> String {
    sha256_hex(value.canonical().as_bytes())
}

/// A text member without NUL, which PostgreSQL cannot keep.
pub(super) fn text(value: &Value, member: &str) -> Option<String> {
    value.get(member)?.as_str().map(without_nul)
}

pub(super) fn without_nul(text: &str) -> String {
    text.replace('\0', "")
}

/// An id that can be kept and looked up.
pub(super) fn usable_id(id: &str) -> bool {
    (1..=MAX_ID_LEN).contains(&id.len()) && !id.contains('\0')
}

/// The first of these that is a user id.
pub(super) fn first_user_id(texts: impl Iterator<Item = impl AsRef<str>>) -> Option<UserId> {
    texts
        .into_iter()
        .find_map(|text| text.as_ref().parse().ok())
}

/// A number or a text, as written.
pub(super) fn as_written(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::Number(number) => Some(number.as_str().to_owned()),
        Value::String(text) => Some(without_nul(text)),
        _ => None,
    }
}

/// A text member that is there and not empty.
pub(super) fn told(value: &Value, member: &str) -> Option<String> {
    text(value, member).filter(|text| !text.is_empty())
}

/// The elements of a member; none where it is no array.
pub(super) fn list<'a>(value: &'a Value, member: &str) -> impl Iterator<Item = &'a Value> {
    value
        .get(member)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}
