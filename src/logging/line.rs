//! A record as a line, of text or of JSON.

use log::{
    Record,
    kv::{Error as KvError, Key, Source, Value, VisitSource},
};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::{fmt::Write as _, io};

use crate::printable::{is_unprintable, printable, printable_json};

/// Fields of a record, in their order. One that is null, or an empty list, is left out.
#[derive(Clone, Debug)]
pub struct Fields(Vec<(&'static str, serde_json::Value)>);

impl<const N: usize> From<[(&'static str, serde_json::Value); N]> for Fields {
    fn from(fields: [(&'static str, serde_json::Value); N]) -> Self {
        let is_said = |value: &serde_json::Value| match value {
            serde_json::Value::Null => false,
            serde_json::Value::Array(values) => !values.is_empty(),
            _ => true,
        };
        let fields = fields.into_iter().filter(|(_, value)| is_said(value));
        Self(fields.collect())
    }
}

impl Fields {
    /// These, and others after them.
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }
}

impl Source for Fields {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn VisitSource<'kvs>) -> Result<(), KvError> {
        let mut fields = self.0.iter();
        fields.try_for_each(|(name, value)| {
            visitor.visit_pair(Key::from_str(name), Value::from_serde(value))
        })
    }
}

/// A record as one object.
pub(super) fn json(timestamp: &str, record: &Record<'_>) -> io::Result<String> {
    let line = serde_json::to_string(&Line { timestamp, record })?;
    Ok(printable_json(line))
}

struct Line<'a> {
    timestamp: &'a str,
    record: &'a Record<'a>,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut line = serializer.serialize_map(None)?;
        line.serialize_entry("timestamp", self.timestamp)?;
        line.serialize_entry("level", self.record.level().as_str())?;
        line.serialize_entry("target", self.record.target())?;
        line.serialize_entry("message", &self.record.args().to_string())?;
        let mut members = Members {
            line: &mut line,
            failure: None,
        };
        // An error is a member's, kept below.
        let _ = self.record.key_values().visit(&mut members);
        match members.failure {
            Some(failure) => Err(failure),
            None => line.end(),
        }
    }
}

/// Writes fields as members.
struct Members<'a, M: SerializeMap> {
    line: &'a mut M,
    failure: Option<M::Error>,
}

impl<'kvs, M: SerializeMap> VisitSource<'kvs> for Members<'_, M> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), KvError> {
        let taken = ["timestamp", "level", "target", "message"].contains(&key.as_str());
        let name = match taken {
            true => format!("{key}_"),
            false => key.to_string(),
        };
        self.line.serialize_entry(&name, &value).map_err(|failure| {
            self.failure = Some(failure);
            KvError::msg("a member")
        })
    }
}

/// A record's message with its fields.
pub(super) fn text(record: &Record<'_>) -> String {
    let mut line = printable(&record.args().to_string());
    // A value that cannot be written ends the line, which is still one.
    let _ = record.key_values().visit(&mut Words(&mut line));
    line
}

/// Writes fields as ` name=value`.
struct Words<'a>(&'a mut String);

impl<'kvs> VisitSource<'kvs> for Words<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), KvError> {
        let value = serde_json::to_value(&value).map_err(KvError::boxed)?;
        let name = printable(key.as_str());
        write!(self.0, " {name}={}", shown(&value)).map_err(KvError::from)
    }
}

/// A value that is one word as it is, and any other so that its end can be seen.
fn shown(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) if is_word(text) => text.clone(),
        serde_json::Value::String(text) => format!("{text:?}"),
        serde_json::Value::Array(values) => {
            let word = |value: &serde_json::Value| {
                let text = value.as_str()?;
                (is_word(text) && !text.contains(',')).then(|| text.to_owned())
            };
            let words: Option<Vec<_>> = values.iter().map(word).collect();
            words.map_or_else(|| printable(&value.to_string()), |words| words.join(","))
        }
        other => printable(&other.to_string()),
    }
}

fn is_word(text: &str) -> bool {
    let in_word = |c: char| !c.is_whitespace() && !is_unprintable(c) && !"\"\\".contains(c);
    !text.is_empty() && text.chars().all(in_word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::{Level, kv::Source};

    /// What a terminal or a reader of lines may take for something else: new lines, an escape sequence, a C1 control,
    /// line separators, a mark that turns the direction, DEL.
    const EVIL: &str = "a\r\nb\u{1b}[2J\u{9b}2J\u{85}\u{2028}\u{202e}\u{7f}\t\"q\" \\";

    fn with<T>(message: &str, fields: &dyn Source, read: impl FnOnce(&Record<'_>) -> T) -> T {
        read(
            &Record::builder()
                .level(Level::Warn)
                .target("t")
                .args(format_args!("{message}"))
                .key_values(&fields)
                .build(),
        )
    }

    fn is_harmless(line: &str) -> bool {
        !line.chars().any(|c| c.is_control() || is_unprintable(c))
    }

    #[test]
    fn nothing_in_a_record_breaks_its_line() {
        let fields = [("key", Value::from(EVIL)), ("k\ny", Value::from(1))];
        let line = with(EVIL, &fields, text);
        assert!(is_harmless(&line), "{line:?}");
        let line = with(EVIL, &fields, |record| json("now", record).unwrap());
        assert!(is_harmless(&line), "{line:?}");
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&read["message"], &read["key"]),
            (&EVIL.into(), &EVIL.into())
        );
        assert_eq!(read["k\ny"], 1);
    }

    #[test]
    fn a_value_is_quoted_where_its_end_could_not_be_seen() {
        let ids = ["a", "b"];
        let odd = ["a,b", "c d"];
        let fields = [
            ("a", Value::from("x:1.y-z=")),
            ("b", Value::from("")),
            ("c", Value::from("x y=1")),
            ("d", Value::from(1.5)),
            ("e", Value::from_serde(&ids)),
            ("f", Value::from_serde(&odd)),
        ];
        let line = with("m", &fields, text);
        assert_eq!(
            line,
            r#"m a=x:1.y-z= b="" c="x y=1" d=1.5 e=a,b f=["a,b","c d"]"#
        );
    }

    #[test]
    fn a_line_of_json_has_the_fields_as_members_and_none_in_the_place_of_another() {
        let ids = ["a", "b"];
        let fields = [
            ("level", Value::from("forged")),
            ("ids", Value::from_serde(&ids)),
            ("ms", Value::from(1.5)),
        ];
        let line = with("m", &fields, |record| json("now", record).unwrap());
        assert_eq!(
            line,
            r#"{"timestamp":"now","level":"WARN","target":"t","message":"m","level_":"forged","ids":["a","b"],"ms":1.5}"#
        );
    }
}
