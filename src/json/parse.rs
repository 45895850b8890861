//! Reads documents.

use json_event_parser::{JsonEvent, JsonSyntaxError, SliceJsonParser};
use std::{borrow::Cow, str::FromStr};

use super::{Number, Value};

/// How deep a document may be nested: it is walked with the stack, and databases refuse more as well.
pub const MAX_DEPTH: usize = 127;

/// Why bytes are no document.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// No JSON.
    #[error("{} at line {} column {}", .0.message(), .0.location().start.line + 1, .0.location().start.column + 1)]
    Syntax(#[source] JsonSyntaxError),
    /// It begins with a byte order mark (RFC 8259, section 8.1).
    #[error("a byte order mark before it")]
    ByteOrderMark,
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH}")]
    TooDeep,
}

impl Value {
    /// Reads a document.
    ///
    /// # Errors
    /// Where it is none, or nested too deep.
    pub fn parse(bytes: &[u8]) -> Result<Self, Invalid> {
        let mut around = Vec::new();
        let mut document = None;
        let mut events = Events::of(bytes)?;
        while let Some(event) = events.next()? {
            let complete = match event {
                JsonEvent::StartArray => {
                    around.push(Open::array());
                    continue;
                }
                JsonEvent::StartObject => {
                    around.push(Open::object());
                    continue;
                }
                JsonEvent::ObjectKey(name) => {
                    if let Some(open) = around.last_mut() {
                        open.name = name.into_owned();
                    }
                    continue;
                }
                JsonEvent::EndArray | JsonEvent::EndObject => match around.pop() {
                    Some(open) => open.value,
                    None => continue,
                },
                JsonEvent::String(text) => Self::String(text.into_owned()),
                JsonEvent::Number(text) => Self::Number(number(text)),
                JsonEvent::Boolean(value) => Self::Bool(value),
                JsonEvent::Null | JsonEvent::Eof => Self::Null,
            };
            match around.last_mut() {
                Some(open) => open.take(complete),
                None => document = Some(complete),
            }
        }
        // The parser lets nothing but one whole document pass.
        Ok(document.unwrap_or(Self::Null))
    }
}

impl FromStr for Value {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text.as_bytes())
    }
}

/// Whether bytes are a document that [`Value::parse`] reads, without keeping it.
///
/// # Errors
/// Where they are none.
pub fn check(bytes: &[u8]) -> Result<(), Invalid> {
    let mut events = Events::of(bytes)?;
    while events.next()?.is_some() {}
    Ok(())
}

fn number(text: Cow<'_, str>) -> Number {
    Number(text.into_owned().into_boxed_str())
}

/// A list or an object that is not read to its end, with the name of the member that comes next.
struct Open {
    value: Value,
    name: String,
}

impl Open {
    fn array() -> Self {
        let (value, name) = (Value::Array(Vec::new()), String::new());
        Self { value, name }
    }

    fn object() -> Self {
        let (value, name) = (Value::Object(Vec::new()), String::new());
        Self { value, name }
    }

    fn take(&mut self, inner: Value) {
        match &mut self.value {
            Value::Array(items) => items.push(inner),
            Value::Object(members) => members.push((std::mem::take(&mut self.name), inner)),
            _ => {}
        }
    }
}

/// What a document is made of, in its order, no deeper than allowed.
struct Events<'a> {
    parser: SliceJsonParser<'a>,
    depth: usize,
}

impl<'a> Events<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self, Invalid> {
        if bytes.starts_with(b"\xef\xbb\xbf") {
            return Err(Invalid::ByteOrderMark);
        }
        Ok(Self {
            parser: SliceJsonParser::new(bytes),
            depth: 0,
        })
    }

    fn next(&mut self) -> Result<Option<JsonEvent<'a>>, Invalid> {
        let event = self.parser.parse_next().map_err(Invalid::Syntax)?;
        match event {
            JsonEvent::Eof => return Ok(None),
            JsonEvent::StartArray | JsonEvent::StartObject if self.depth == MAX_DEPTH => {
                return Err(Invalid::TooDeep);
            }
            JsonEvent::StartArray | JsonEvent::StartObject => self.depth += 1,
            JsonEvent::EndArray | JsonEvent::EndObject => self.depth -= 1,
            _ => {}
        }
        Ok(Some(event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_serde_json_takes_is_taken_and_nothing_else() {
        for text in [
            "",
            " ",
            "{",
            "}",
            "[1,]",
            "{\"a\":1,}",
            "{a:1}",
            "'a'",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "1e+",
            "-",
            "--1",
            "0x1",
            "NaN",
            "Infinity",
            "nul",
            "nulll",
            "truefalse",
            "1 2",
            "[1] x",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\ud800\"",
            "\"\\udc00\"",
            "\"\\ud800\\u0041\"",
            "\"a\nb\"",
            "\"a\0\"",
            "\"",
            "\u{feff}{}",
            "[1}",
            "{\"a\"}",
            "{\"a\":}",
            "{1:2}",
            "//x\n1",
            "[1]/**/",
            ",",
            ":",
            "\u{b}1",
            "\u{a0}1",
            "{\"a\":1 \"b\":2}",
            "[1 2]",
            "{,}",
            "[,]",
            "\"\\",
        ] {
            assert!(
                serde_json::from_str::<serde_json::Value>(text).is_err(),
                "{text}"
            );
            assert!(Value::parse(text.as_bytes()).is_err(), "{text}");
            assert!(check(text.as_bytes()).is_err(), "{text}");
        }
        for text in [
            "null",
            " true ",
            "[]",
            "{}",
            "\t\r\n[ 1 , 2.50e+3 ]\n",
            "\"\\/\\u00e9\\ud83c\\udf55\"",
            "-0",
            "0.0",
            "1E-7",
            "{\"\":\"\"}",
        ] {
            let expected: serde_json::Value = serde_json::from_str(text).unwrap();
            let value = Value::parse(text.as_bytes()).unwrap().to_string();
            assert_eq!(
                serde_json::from_str::<serde_json::Value>(&value).unwrap(),
                expected
            );
            assert!(check(text.as_bytes()).is_ok(), "{text}");
        }
        for bytes in [&b"\"\xff\""[..], b"\xff", b"[1]\xff", b"{\"\xc3\":1}"] {
            assert!(Value::parse(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_document_is_read_to_the_depth_that_databases_take() {
        let nested =
            |open: &str, close: &str, depth| open.repeat(depth) + "1" + &close.repeat(depth);
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let deepest = nested(open, close, MAX_DEPTH);
            assert_eq!(
                Value::parse(deepest.as_bytes()).unwrap().to_string(),
                deepest
            );
            assert!(serde_json::from_str::<serde_json::Value>(&deepest).is_ok());
            for depth in [MAX_DEPTH + 1, 1_000_000] {
                let deeper = nested(open, close, depth);
                assert!(matches!(
                    Value::parse(deeper.as_bytes()),
                    Err(Invalid::TooDeep)
                ));
                assert!(serde_json::from_str::<serde_json::Value>(&deeper).is_err());
            }
        }
    }
}
