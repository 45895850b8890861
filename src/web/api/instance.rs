//! Shows documents to the validator of schemas as they are written: no number is rounded before it is held against one.

use jsonschema::{
    JsonType,
    json::{Array, Json, JsonNumber, Node, NodeIdentity, Object, cmp, unique},
};
use std::borrow::Cow;

use crate::json::{Number, Value};

/// What documents are to the validator.
pub struct Instance;

type Members = [(String, Value)];

impl Json for Instance {
    type Node<'a> = &'a Value;
    type PreparedKey = String;
    // A look-up goes through all members, as a pass over them does.
    const KEYS_PER_LOOKUP: usize = 1 << 20;
    type StringBuffer = ();

    fn prepare_key(key: &str) -> String {
        key.to_owned()
    }

    fn with_string_node<T>(_: &mut (), text: &str, f: impl FnOnce(&Value) -> T) -> T {
        f(&Value::from(text))
    }
}

impl<'a> Node<'a, Instance> for &'a Value {
    type Object = &'a Members;
    type Array = &'a [Value];
    type Number = &'a Number;

    fn as_object(&self) -> Option<&'a Members> {
        match self {
            Value::Object(members) => Some(members),
            _ => None,
        }
    }

    fn as_array(&self) -> Option<&'a [Value]> {
        Value::as_array(self)
    }

    fn as_string(&self) -> Option<Cow<'a, str>> {
        Value::as_str(self).map(Cow::Borrowed)
    }

    fn as_number(&self) -> Option<&'a Number> {
        match self {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }

    fn as_boolean(&self) -> Option<bool> {
        match self {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    fn json_type(&self) -> JsonType {
        match self {
            Value::Null => JsonType::Null,
            Value::Bool(_) => JsonType::Boolean,
            Value::Number(_) => JsonType::Number,
            Value::String(_) => JsonType::String,
            Value::Array(_) => JsonType::Array,
            Value::Object(_) => JsonType::Object,
        }
    }

    fn equals_value(&self, expected: &serde_json::Value) -> bool {
        cmp::equal(&converted(self), expected)
    }

    /// For errors, which do not show it: each would hold a copy of all that it is about.
    fn to_value(&self) -> Cow<'a, serde_json::Value> {
        Cow::Owned(match self {
            Value::Array(_) | Value::Object(_) => serde_json::Value::Null,
            single => converted(single),
        })
    }

    fn identity(&self) -> Option<NodeIdentity> {
        Some(NodeIdentity::new(std::ptr::from_ref::<Value>(self) as usize))
    }
}

impl<'a> Object<'a, Instance> for &'a Members {
    type Node = &'a Value;
    type MemberName = &'a str;
    type MembersIter = MembersIter<'a>;

    fn len(&self) -> usize {
        <[_]>::len(self)
    }

    fn get(&self, key: &String) -> Option<&'a Value> {
        let mut members = self.iter().rev();
        members.find_map(|(name, value)| (name == key).then_some(value))
    }

    fn members(&self) -> MembersIter<'a> {
        MembersIter(self.iter())
    }
}

/// The members of an object, in their order.
pub struct MembersIter<'a>(std::slice::Iter<'a, (String, Value)>);

impl<'a> Iterator for MembersIter<'a> {
    type Item = (&'a str, &'a Value);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(name, value)| (name.as_str(), value))
    }
}

impl<'a> Array<'a, Instance> for &'a [Value] {
    type Node = &'a Value;
    type ElementsIter = std::slice::Iter<'a, Value>;

    fn len(&self) -> usize {
        <[_]>::len(self)
    }

    fn elements(&self) -> std::slice::Iter<'a, Value> {
        self.iter()
    }

    fn is_unique(&self) -> bool {
        let items: Vec<_> = self.iter().map(converted).collect();
        unique::is_unique(&items)
    }
}

impl JsonNumber for &Number {
    fn as_u64(&self) -> Option<u64> {
        Number::as_str(self).parse().ok()
    }

    fn as_i64(&self) -> Option<i64> {
        Number::as_str(self).parse().ok()
    }

    /// None where it is beyond all floats: the validator then goes by its sign.
    fn as_f64(&self) -> Option<f64> {
        let float: f64 = Number::as_str(self).parse().ok()?;
        float.is_finite().then_some(float)
    }

    fn as_str(&self) -> Cow<'_, str> {
        Number::as_str(self).into()
    }

    fn to_number(&self) -> Cow<'_, serde_json::Number> {
        let whole = self.as_i64().map(serde_json::Number::from);
        let whole = whole.or_else(|| self.as_u64().map(serde_json::Number::from));
        let number = whole.or_else(|| serde_json::Number::from_f64(self.as_f64()?));
        Cow::Owned(number.unwrap_or_else(|| i64::MAX.into()))
    }

    fn is_integer(&self) -> bool {
        self.is_whole()
    }
}

/// The document as `serde_json` has it, its numbers rounded.
fn converted(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Number(number) => serde_json::Value::Number(number.to_number().into_owned()),
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => items.iter().map(converted).collect(),
        Value::Object(members) => {
            let members = members.iter();
            let members = members.map(|(name, value)| (name.clone(), converted(value)));
            serde_json::Value::Object(members.collect())
        }
    }
}
