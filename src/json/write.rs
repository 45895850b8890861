//! Writes documents without white space.

use std::fmt::{self, Write as _};

use super::Value;

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => value.fmt(f),
            Self::Number(number) => f.write_str(number.as_str()),
            Self::String(text) => write_text(f, text),
            Self::Array(items) => {
                f.write_char('[')?;
                for (place, item) in items.iter().enumerate() {
                    comma(f, place)?;
                    item.fmt(f)?;
                }
                f.write_char(']')
            }
            Self::Object(members) => {
                f.write_char('{')?;
                for (place, (name, value)) in members.iter().enumerate() {
                    comma(f, place)?;
                    write_text(f, name)?;
                    f.write_char(':')?;
                    value.fmt(f)?;
                }
                f.write_char('}')
            }
        }
    }
}

/// Writes a document with the members of its objects sorted, without a copy of it.
pub struct Canonical<'a>(pub &'a Value);

impl fmt::Display for Canonical<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Array(items) => {
                f.write_char('[')?;
                for (place, item) in items.iter().enumerate() {
                    comma(f, place)?;
                    Canonical(item).fmt(f)?;
                }
                f.write_char(']')
            }
            Value::Object(members) => {
                let mut sorted: Vec<_> = members.iter().collect();
                sorted.sort_by(|(one, _), (other, _)| one.cmp(other));
                f.write_char('{')?;
                for (place, (name, value)) in sorted.into_iter().enumerate() {
                    comma(f, place)?;
                    write_text(f, name)?;
                    f.write_char(':')?;
                    Canonical(value).fmt(f)?;
                }
                f.write_char('}')
            }
            single => single.fmt(f),
        }
    }
}

fn comma(f: &mut fmt::Formatter<'_>, place: usize) -> fmt::Result {
    match place {
        0 => Ok(()),
        _ => f.write_char(','),
    }
}

/// Escapes what must be escaped (RFC 8259, section 7), and nothing else.
fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    let mut written = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0x08 => "\\b",
            0x0c => "\\f",
            0..=0x1f => "",
            _ => continue,
        };
        f.write_str(&text[written..at])?;
        match escape {
            "" => write!(f, "\\u{byte:04x}")?,
            escape => f.write_str(escape)?,
        }
        written = at + 1;
    }
    f.write_str(&text[written..])?;
    f.write_char('"')
}
