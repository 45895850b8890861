//! JSON documents as they are written: numbers keep their text, members their order, and none is lost to another of its
//! name. `serde_json::Value` keeps neither without a feature that changes it for the whole program. Knows nothing else.

mod bounds;
mod cut;
mod parse;
mod write;

#[doc(hidden)]
pub use bounds::{Bounds, LimitExceeded};
#[doc(hidden)]
pub use cut::{Place, cut, put_back};
#[doc(hidden)]
pub use parse::check;
pub use parse::{Invalid, MAX_DEPTH};

use std::{collections::BTreeSet, ops::Index};

/// A document, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as written.
    Number(Number),
    /// A text.
    String(String),
    /// A list.
    Array(Vec<Value>),
    /// Members in their order. A name may come twice: the last is the one that [`Value::get`] gives.
    Object(Vec<(String, Value)>),
}

/// The text of a number, such as `7.990` or `1e400`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number(Box<str>);

impl Number {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it has no fraction, told from its digits: `2.0` and `20e-1` are whole, `1.00000000000000000001` is not.
    pub fn is_whole(&self) -> bool {
        let text = self.0.trim_start_matches('-');
        let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let digits = whole.bytes().chain(fraction.bytes());
        let Some(zeros) = digits.rev().position(|digit| digit != b'0') else {
            return true;
        };
        // One that is too long to be read is far beyond any number of digits.
        let exponent = exponent.parse().unwrap_or(match exponent.starts_with('-') {
            true => i64::MIN,
            false => i64::MAX,
        });
        let decimals = i64::try_from(fraction.len()).unwrap_or(i64::MAX);
        let zeros = i64::try_from(zeros).unwrap_or(i64::MAX);
        zeros.saturating_add(exponent) >= decimals
    }
}

static NULL: Value = Value::Null;

impl Value {
    /// The member with this name, the last of several; none also where this is no object.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else {
            return None;
        };
        let mut members = members.iter().rev();
        members.find_map(|(other, value)| (other == name).then_some(value))
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Self> {
        let Self::Object(members) = self else {
            return None;
        };
        let mut members = members.iter_mut().rev();
        members.find_map(|(other, value)| (other == name).then_some(value))
    }

    /// The text, where it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The items, where it is a list.
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The same, to be changed.
    pub fn as_array_mut(&mut self) -> Option<&mut [Self]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// Whether it is a text.
    pub fn is_string(&self) -> bool {
        matches!(self, Self::String(_))
    }

    /// Whether it has members.
    pub fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    /// An object of these members, in their order.
    pub fn object<const N: usize>(members: [(&str, Self); N]) -> Self {
        let members = members.into_iter();
        Self::Object(
            members
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        )
    }

    /// Its canonical text: members sorted by name, no white space, numbers as written. Members of one name stay in
    /// their order, so a document with two is told from one with the last alone.
    pub fn canonical(&self) -> String {
        write::Canonical(self).to_string()
    }

    /// The JSON Pointer (RFC 6901) of the first member that comes a second time in its object.
    pub fn duplicate(&self) -> Option<String> {
        let within = |name: &str, value: &Self| {
            let rest = value.duplicate()?;
            Some(format!("/{}{rest}", escaped(name)))
        };
        match self {
            Self::Object(members) => {
                let mut names = BTreeSet::new();
                members
                    .iter()
                    .find_map(|(name, value)| match names.insert(name.as_str()) {
                        true => within(name, value),
                        false => Some(format!("/{}", escaped(name))),
                    })
            }
            Self::Array(items) => {
                let mut items = items.iter().enumerate();
                items.find_map(|(place, item)| within(&place.to_string(), item))
            }
            _ => None,
        }
    }
}

/// The name of a member within a JSON Pointer. A name that nobody would read to its end is cut.
pub fn escaped(name: &str) -> String {
    const MOST: usize = 200;
    let (name, rest) = match name.char_indices().nth(MOST) {
        Some((end, _)) => (&name[..end], "…"),
        None => (name, ""),
    };
    let name = name.replace('~', "~0").replace('/', "~1");
    format!("{name}{rest}")
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl<T: Into<Value>> FromIterator<T> for Value {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self::Array(items.into_iter().map(Into::into).collect())
    }
}

/// `null` where there is no such member.
impl Index<&str> for Value {
    type Output = Self;

    fn index(&self, name: &str) -> &Self {
        self.get(name).unwrap_or(&NULL)
    }
}

/// `null` where there is no such item.
impl Index<usize> for Value {
    type Output = Self;

    fn index(&self, place: usize) -> &Self {
        let items = self.as_array().unwrap_or_default();
        items.get(place).unwrap_or(&NULL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Value {
        text.parse().unwrap()
    }

    #[test]
    fn numbers_names_and_their_order_come_back_as_written() {
        for text in [
            r#"{"b":1.10,"a":[1e400,-0,1E5,20e-1,12345678901234567890123],"b":null,"":{}}"#,
            r#"{"$serde_json::private::Number":"1"}"#,
            r#"["\"\\\b\f\n\r\t\u0000\u001f","é🍕\u007f",true,false,[]]"#
                .replace("\u{7f}", "")
                .as_str(),
            "7.990",
            "\"\"",
        ] {
            assert_eq!(of(text).to_string(), of(&of(text).to_string()).to_string());
        }
        let text = r#"{"b":1.10,"a":[1e400,-0,1E5],"b":null,"$serde_json::private::Number":"1"}"#;
        assert_eq!(of(text).to_string(), text);
    }

    #[test]
    fn texts_are_written_as_serde_json_writes_them() {
        for text in ["\"\\\u{8}\u{c}\n\r\t\0\u{1f}\u{7f}/é🍕\u{2028}", "", "x"] {
            let expected = serde_json::to_string(text).unwrap();
            assert_eq!(Value::from(text).to_string(), expected);
            assert_eq!(of(&expected), Value::from(text));
        }
    }

    #[test]
    fn the_last_of_several_members_counts_and_all_are_told_apart() {
        let value = of(r#"{"a":1,"a":{"b":2}}"#);
        assert_eq!(value["a"]["b"], of("2"));
        assert_eq!((&value["b"], &value[0]), (&Value::Null, &Value::Null));
        let canonical = |text: &str| of(text).canonical();
        assert_eq!(
            canonical(r#"{"b":1,"a":{"d":1,"c":2}}"#),
            r#"{"a":{"c":2,"d":1},"b":1}"#
        );
        assert_ne!(canonical(r#"{"a":1,"a":2}"#), canonical(r#"{"a":9,"a":2}"#));
        assert_ne!(canonical(r#"{"a":1,"a":2}"#), canonical(r#"{"a":2}"#));
    }

    #[test]
    fn a_member_that_comes_twice_is_found_at_any_depth() {
        for (text, pointer) in [
            (r#"{"a":1,"b":{"a":1}}"#, None),
            (r#"{"a":1,"a":1}"#, Some("/a")),
            (r#"[0,{"x":[{"a/b":1,"\u0061/b":2}]}]"#, Some("/1/x/0/a~1b")),
            (r#"[{"":{"~":1,"~":2}}]"#, Some("/0//~0")),
        ] {
            assert_eq!(of(text).duplicate().as_deref(), pointer, "{text}");
        }
    }

    #[test]
    fn a_number_is_whole_by_its_digits() {
        for whole in [
            "0",
            "-0",
            "0e5",
            "0.000e-9",
            "2.0",
            "20e-1",
            "0.2e1",
            "1E400",
            "1e99999999999999999999",
        ] {
            assert!(Number(whole.into()).is_whole(), "{whole}");
        }
        for broken in [
            "1.5",
            "0.1e-400",
            "1e-99999999999999999999",
            "1.00000000000000000000001",
            "25e-1",
        ] {
            assert!(!Number(broken.into()).is_whole(), "{broken}");
        }
    }
}
