//! Keeps the values of members with certain names out of what is stored for the operator. Knows no database.

use std::{borrow::Cow, collections::BTreeSet, str::FromStr, sync::Arc};

use crate::json::{Bounds, Value};

/// The names of members whose values are not to be read by anybody. Cheap to clone; by default there are none.
///
/// Masks a document for storing alone: what is verified, fingerprinted, acted on and replayed is the original.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redaction(Arc<BTreeSet<String>>);

/// A text that cannot be meant as the name of a member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "names of members with commas between them, as in phone,name, without spaces, quotes, ; or * in them"
)]
pub struct InvalidName;

impl Redaction {
    /// What a masked value becomes, whatever its type was.
    pub const MASK: &str = "[redacted]";

    /// Whether nothing is masked.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the values of members with this name are masked. Case does not count.
    pub fn covers(&self, member: &str) -> bool {
        !self.is_empty() && self.0.contains(&member.to_lowercase())
    }

    /// The document as it may be stored: masked at any depth, also in texts that are JSON themselves.
    pub fn of<'a>(&self, document: &'a Value) -> Cow<'a, Value> {
        if self.is_empty() {
            return Cow::Borrowed(document);
        }
        let mut masked = document.clone();
        self.mask(&mut masked, 0);
        Cow::Owned(masked)
    }

    /// Masks a value in place, which is in so many texts. Gives whether there was anything to mask.
    fn mask(&self, value: &mut Value, texts: u8) -> bool {
        let mut found = false;
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    found |= self.mask_member(name, value, texts);
                }
            }
            Value::Array(values) => {
                for value in values {
                    found |= self.mask(value, texts);
                }
            }
            Value::String(text) => found = self.mask_text(text, texts),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
        found
    }

    fn mask_member(&self, name: &str, value: &mut Value, texts: u8) -> bool {
        if !self.covers(name) {
            return self.mask(value, texts);
        }
        *value = Self::MASK.into();
        true
    }

    /// Twilio passes documents on in the texts of a form.
    fn mask_text(&self, text: &mut String, texts: u8) -> bool {
        /// Each may hold as many values in one another as a document may: bounds the stack.
        const MOST: u8 = 4;
        if !text.trim_start().starts_with(['{', '[']) {
            return false;
        }
        if texts == MOST || Bounds::DELIVERY.check(text.as_bytes()).is_err() {
            *text = Self::MASK.to_owned();
            return true;
        }
        let Ok(mut document) = text.parse() else {
            return false;
        };
        let found = self.mask(&mut document, texts + 1);
        if found {
            *text = document.to_string();
        }
        found
    }
}

impl FromStr for Redaction {
    type Err = InvalidName;

    /// Takes names with commas between them. What looks like another way to separate or to match them is refused, for
    /// it would mask nothing.
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let pieces = text.split(',').map(str::trim);
        let name = |piece: &str| {
            let odd = |c: char| c.is_whitespace() || c.is_control() || ";*\"'`|{}".contains(c);
            match piece.contains(odd) {
                true => Err(InvalidName),
                false => Ok(piece.to_lowercase()),
            }
        };
        let names = pieces.filter(|piece| !piece.is_empty()).map(name);
        Ok(Self(Arc::new(names.collect::<Result<_, _>>()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn masked(names: &str, document: serde_json::Value) -> serde_json::Value {
        serde_json::from_str(&masked_text(names, &document.to_string())).unwrap()
    }

    fn masked_text(names: &str, document: &str) -> String {
        let redaction: Redaction = names.parse().unwrap();
        redaction.of(&document.parse().unwrap()).to_string()
    }

    #[test]
    fn what_is_not_masked_stays_as_written() {
        let kept = r#"{"n":1.10,"id":12345678901234567890123,"huge":1e400,"name":"[redacted]","name":"[redacted]"}"#;
        let document = kept
            .replacen("\"[redacted]\"", "1", 1)
            .replacen("[redacted]", "Ana", 1);
        assert_eq!(masked_text("name", &document), kept);
        let in_text = r#"{"a":"{\"b\":1.10,\"name\":1}"}"#;
        let expected = r#"{"a":"{\"b\":1.10,\"name\":\"[redacted]\"}"}"#;
        assert_eq!(masked_text("name", in_text), expected);
    }

    #[test]
    fn a_value_of_any_type_is_masked_at_any_depth() {
        let document = json!({
            "phone": "+1", "note": "phone",
            "a": [{"phone": 7, "b": [[{"phone": {"phone": [1]}, "c": null}]]}],
            "x": {"phone": null, "y": {"phone": [true], "name": 1.50}},
        });
        let expected = json!({
            "phone": "[redacted]", "note": "phone",
            "a": [{"phone": "[redacted]", "b": [[{"phone": "[redacted]", "c": null}]]}],
            "x": {"phone": "[redacted]", "y": {"phone": "[redacted]", "name": 1.50}},
        });
        assert_eq!(masked("phone", document), expected);
    }

    #[test]
    fn names_are_compared_whole_and_without_case() {
        let document = json!({"Body": 1, "BODY": 2, "bodies": 3, "ÉTÉ": 4, "": 5});
        let expected = json!({"Body": "[redacted]", "BODY": "[redacted]", "bodies": 3, "ÉTÉ": "[redacted]", "": 5});
        assert_eq!(masked(" bodY , été,", document), expected);
    }

    #[test]
    fn a_document_within_a_text_is_masked_and_other_texts_are_kept_as_they_are() {
        let document = json!({
            "ChannelMetadata": "{\"data\": {\"name\": \"Ana\", \"n\": [1.0]}}",
            "Listed": " [{\"x\": \"[{\\\"name\\\": 1}]\"}]",
            "Other": "{ \"n\" : 1 }",
            "Broken": "{\"name\": ",
            "Text": "name: Ana",
        });
        let expected = json!({
            "ChannelMetadata": "{\"data\":{\"name\":\"[redacted]\",\"n\":[1.0]}}",
            "Listed": "[{\"x\":\"[{\\\"name\\\":\\\"[redacted]\\\"}]\"}]",
            "Other": "{ \"n\" : 1 }",
            "Broken": "{\"name\": ",
            "Text": "name: Ana",
        });
        assert_eq!(masked("name", document), expected);
    }

    #[test]
    fn a_text_in_more_texts_than_anybody_means_is_masked_as_a_whole() {
        let within = |texts: usize| {
            (0..texts).fold(json!({"name": "Ana"}), |inner, _| {
                json!([inner.to_string()])
            })
        };
        for (texts, kept) in [(4, true), (5, false), (12, false)] {
            let masked = masked("name", within(texts)).to_string();
            assert!(!masked.contains("Ana") && masked.contains("[redacted]"));
            assert_eq!(masked.contains("name"), kept, "{masked}");
        }
    }

    #[test]
    fn without_names_nothing_is_masked_or_copied() {
        for names in ["", " ", ",", " , ,"] {
            let redaction: Redaction = names.parse().unwrap();
            assert_eq!(redaction, Redaction::default());
            assert!(matches!(redaction.of(&Value::Null), Cow::Borrowed(_)));
        }
    }

    #[test]
    fn what_cannot_be_meant_as_a_name_is_refused() {
        for names in [
            "phone name",
            "phone;name",
            "phone*",
            "a,\"b\"",
            "'a'",
            "a|b",
            "{a}",
            "a\tb",
        ] {
            assert_eq!(names.parse::<Redaction>(), Err(InvalidName), "{names}");
        }
        assert!(
            "customer[phone],a.b,x-y_z:1,$id,@type"
                .parse::<Redaction>()
                .is_ok()
        );
    }
}
