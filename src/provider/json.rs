//! Parses JSON as providers send it.

use std::borrow::Cow;

use super::refusal::Malformed;
use crate::json::{Bounds, Value};

/// Whether a document says what it says without being mended.
pub fn is_sound(body: &[u8]) -> bool {
    matches!(mend_surrogates(body), Cow::Borrowed(_))
}

/// Parses a document. Half of a surrogate pair, as left by whoever cuts a text within an emoji, becomes U+FFFD instead
/// of costing the whole document.
///
/// # Errors
/// Where it is no JSON, or holds more than any provider sends.
pub(super) fn parse(body: &[u8]) -> Result<Value, Malformed> {
    let bounded = Bounds::DELIVERY.check(body);
    bounded.map_err(|error| Malformed(format!("not read: {error}")))?;
    Value::parse(body)
        .or_else(|error| match mend_surrogates(body) {
            Cow::Owned(mended) => Value::parse(&mended),
            Cow::Borrowed(_) => Err(error),
        })
        .map_err(|error| Malformed(format!("not JSON: {error}")))
}

/// Replaces each `\uD800` to `\uDFFF` that is not half of a pair.
fn mend_surrogates(body: &[u8]) -> Cow<'_, [u8]> {
    let mut mended = Cow::Borrowed(body);
    let mut at = 0;
    while at < body.len() {
        match (escape(body, at), escape(body, at + 6)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => at += 12,
            (Some(0xD800..=0xDFFF), _) => {
                mended.to_mut()[at + 2..at + 6].copy_from_slice(b"fffd");
                at += 6;
            }
            // An escaped backslash is not the beginning of another escape.
            _ if body[at] == b'\\' => at += 2,
            _ => at += 1,
        }
    }
    mended
}

/// The code unit of a `\uXXXX` that begins at `at`.
fn escape(body: &[u8], at: usize) -> Option<u16> {
    let digits = body.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_surrogate_pair_is_mended_and_whole_ones_are_kept() {
        let text =
            |json: &str| parse(json.as_bytes()).map(|value| value.as_str().unwrap().to_owned());
        assert_eq!(text(r#""a\ud83d""#).unwrap(), "a\u{fffd}");
        assert_eq!(
            text(r#""\udc00\ud83d\ude00\ud83dx""#).unwrap(),
            "\u{fffd}😀\u{fffd}x"
        );
        assert_eq!(text(r#""\\ud83d \ud83d""#).unwrap(), "\\ud83d \u{fffd}");
        assert!(text(r#""\ud83d"#).is_err());
        assert!(text(r#""\uzzzz""#).is_err());
    }
}
