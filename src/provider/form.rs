//! `application/x-www-form-urlencoded`, byte-exact: a signature is over the decoded bytes, whatever they are.

use percent_encoding::percent_decode;
use std::{borrow::Cow, collections::HashMap};

use super::refusal::Malformed;
use crate::json::Value;

/// Name and value, decoded.
type Pair<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// The parameters of a form, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form<'a> {
    pairs: Vec<Pair<'a>>,
}

impl<'a> Form<'a> {
    /// The most parameters a form may have. Providers send some dozens; this bounds the memory that a stranger can
    /// claim before the signature is known.
    pub const MOST: usize = 1_000;

    /// Splits and decodes a body.
    ///
    /// # Errors
    /// Where it has more than [`Form::MOST`] parameters.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let pieces = || body.split(|&b| b == b'&').filter(|piece| !piece.is_empty());
        if pieces().nth(Self::MOST).is_some() {
            return Err(Malformed(format!("more than {} parameters", Self::MOST)));
        }
        let pair = |piece: &'a [u8]| {
            let equals = piece.iter().position(|&b| b == b'=').unwrap_or(piece.len());
            let value = piece.get(equals + 1..).unwrap_or_default();
            (decode(&piece[..equals]), decode(value))
        };
        Ok(Self {
            pairs: pieces().map(pair).collect(),
        })
    }

    /// Name and value of each parameter, in their order.
    pub fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.pairs.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The form as a JSON object: a text for a parameter with one value, an array for one with several.
    ///
    /// # Errors
    /// Where a name or a value is not UTF-8.
    pub fn to_json(&self) -> Result<Value, Malformed> {
        let mut members: Vec<(String, Value)> = Vec::new();
        let mut places = HashMap::new();
        for (name, value) in self.pairs() {
            let (name, value) = (utf8(name)?, Value::from(utf8(value)?));
            let place = *places.entry(name).or_insert(members.len());
            match members.get_mut(place).map(|(_, known)| known) {
                None => members.push((name.to_owned(), value)),
                // More of the same says nothing more: Twilio signs a pair once however often it is sent.
                Some(Value::Array(values)) if values.contains(&value) => {}
                Some(first) if *first == value => {}
                Some(Value::Array(values)) => values.push(value),
                Some(first) => {
                    let one = std::mem::replace(first, Value::Null);
                    *first = Value::Array(vec![one, value]);
                }
            }
        }
        Ok(Value::Object(members))
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|_| Malformed("the form is not UTF-8".to_owned()))
}

fn decode(bytes: &[u8]) -> Cow<'_, [u8]> {
    if bytes.contains(&b'+') {
        let spaced: Vec<u8> = bytes
            .iter()
            .map(|&b| if b == b'+' { b' ' } else { b })
            .collect();
        Cow::Owned(percent_decode(&spaced).collect())
    } else {
        percent_decode(bytes).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_decoded_byte_for_byte() {
        let form = Form::parse(b"a=1+2%2B3&&b&=c&d=%FF%zz&a=").unwrap();
        let pairs: Vec<_> = form.pairs().collect();
        assert_eq!(
            pairs,
            [
                (&b"a"[..], &b"1 2+3"[..]),
                (b"b", b""),
                (b"", b"c"),
                (b"d", b"\xff%zz"),
                (b"a", b"")
            ]
        );
        assert!(form.to_json().is_err());
    }

    #[test]
    fn a_parameter_with_several_values_becomes_an_array() {
        let form = Form::parse(b"a=1&b=2&a=3&a=1&b=2").unwrap();
        assert_eq!(
            form.to_json().unwrap().to_string(),
            r#"{"a":["1","3"],"b":"2"}"#
        );
    }

    #[test]
    fn a_form_of_too_many_parameters_is_refused() {
        assert!(Form::parse(&b"a&".repeat(1_000)).is_ok());
        assert!(Form::parse(&b"a&".repeat(1_001)).is_err());
    }

    #[test]
    fn a_name_with_several_values_has_each_of_them_once() {
        let form = Form::parse(b"a=1&a=2&a=1&a=3&b=4&b=4").unwrap();
        let json = form.to_json().unwrap().to_string();
        assert_eq!(json, r#"{"a":["1","2","3"],"b":"4"}"#);
    }
}
