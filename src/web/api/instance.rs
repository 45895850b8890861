//! Shows documents to the validator of schemas as they are written: no number is rounded before it is held against one.
//!
//! The validator gathers all that is wrong before it tells any of it. So once enough was found it is shown nothing more, and
//! what it finds then is marked.

use jsonschema::{
    JsonType,
    json::{Array, Json, JsonNumber, Node, NodeIdentity, Object, cmp, unique},
};
use std::{
    borrow::Cow,
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::json::{Number, Value};

/// What documents are to the validator.
pub struct Instance;

/// How much may be found wrong with a document before no more of it is shown.
pub struct ErrorLimit {
    found: AtomicUsize,
    most: usize,
}

/// A value, until the limit of its document is reached.
#[derive(Clone, Copy)]
pub struct View<'a> {
    value: &'a Value,
    limit: &'a ErrorLimit,
}

/// Part of what stands at an error, for the validator alone: whether the error was found once the limit was reached, where
/// what is not shown is missed.
const BELATED: serde_json::Value = serde_json::Value::Bool(true);

/// The limit of names, each a document of its own to the validator.
static WITH_NAMES: ErrorLimit = ErrorLimit::new(usize::MAX);

impl ErrorLimit {
    /// Ends with so many errors.
    pub const fn new(most: usize) -> Self {
        Self {
            found: AtomicUsize::new(0),
            most,
        }
    }

    /// Whether there may be more errors than were found.
    pub fn has_ended(&self) -> bool {
        self.found.load(Ordering::Relaxed) >= self.most
    }

    /// How many errors were found, with those that were found too late.
    #[cfg(test)]
    pub fn found(&self) -> usize {
        self.found.load(Ordering::Relaxed)
    }
}

/// Whether an error stands for what was not shown.
pub fn is_belated(instance: &serde_json::Value) -> bool {
    *instance == BELATED
}

impl<'a> View<'a> {
    /// All of a document.
    pub fn new(value: &'a Value, limit: &'a ErrorLimit) -> Self {
        Self { value, limit }
    }

    fn part(self, value: &'a Value) -> Self {
        Self { value, ..self }
    }
}

impl Json for Instance {
    type Node<'a> = View<'a>;
    type PreparedKey = String;
    // A look-up goes through all members, as a pass over them does.
    const KEYS_PER_LOOKUP: usize = 1 << 20;
    type StringBuffer = ();

    fn prepare_key(key: &str) -> String {
        key.to_owned()
    }

    fn with_string_node<T>(_: &mut (), text: &str, f: impl FnOnce(View<'_>) -> T) -> T {
        f(View::new(&Value::from(text), &WITH_NAMES))
    }
}

impl<'a> Node<'a, Instance> for View<'a> {
    type Object = Members<'a>;
    type Array = Items<'a>;
    type Number = &'a Number;

    fn as_object(&self) -> Option<Members<'a>> {
        match self.value {
            Value::Object(members) => Some(Members {
                members,
                view: *self,
            }),
            _ => None,
        }
    }

    fn as_array(&self) -> Option<Items<'a>> {
        let items = Value::as_array(self.value)?;
        Some(Items { items, view: *self })
    }

    fn as_string(&self) -> Option<Cow<'a, str>> {
        Value::as_str(self.value).map(Cow::Borrowed)
    }

    fn as_number(&self) -> Option<&'a Number> {
        match self.value {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }

    fn as_boolean(&self) -> Option<bool> {
        match self.value {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    fn json_type(&self) -> JsonType {
        match self.value {
            Value::Null => JsonType::Null,
            Value::Bool(_) => JsonType::Boolean,
            Value::Number(_) => JsonType::Number,
            Value::String(_) => JsonType::String,
            Value::Array(_) => JsonType::Array,
            Value::Object(_) => JsonType::Object,
        }
    }

    fn equals_value(&self, expected: &serde_json::Value) -> bool {
        cmp::equal(&converted(self.value), expected)
    }

    /// Called for each error, and for nothing else. No message shows the value, and a copy of it might be large.
    fn to_value(&self) -> Cow<'a, serde_json::Value> {
        let before = self.limit.found.fetch_add(1, Ordering::Relaxed);
        Cow::Owned(match before < self.limit.most {
            true => serde_json::Value::Null,
            false => BELATED,
        })
    }

    fn identity(&self) -> Option<NodeIdentity> {
        let address = std::ptr::from_ref::<Value>(self.value) as usize;
        Some(NodeIdentity::new(address))
    }
}

/// The members of an object.
pub struct Members<'a> {
    members: &'a [(String, Value)],
    view: View<'a>,
}

impl<'a> Object<'a, Instance> for Members<'a> {
    type Node = View<'a>;
    type MemberName = &'a str;
    type MembersIter = MembersIter<'a>;

    fn len(&self) -> usize {
        self.members.len()
    }

    fn get(&self, key: &String) -> Option<View<'a>> {
        let mut members = self.members.iter().rev();
        let value = members.find_map(|(name, value)| (name == key).then_some(value));
        value.map(|value| self.view.part(value))
    }

    fn members(&self) -> MembersIter<'a> {
        MembersIter {
            members: self.members.iter(),
            view: self.view,
        }
    }
}

/// The members of an object, in their order, until the limit is reached.
pub struct MembersIter<'a> {
    members: std::slice::Iter<'a, (String, Value)>,
    view: View<'a>,
}

impl<'a> Iterator for MembersIter<'a> {
    type Item = (&'a str, View<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.view.limit.has_ended() {
            return None;
        }
        let (name, value) = self.members.next()?;
        Some((name.as_str(), self.view.part(value)))
    }
}

/// The items of an array.
pub struct Items<'a> {
    items: &'a [Value],
    view: View<'a>,
}

impl<'a> Array<'a, Instance> for Items<'a> {
    type Node = View<'a>;
    type ElementsIter = ItemsIter<'a>;

    fn len(&self) -> usize {
        self.items.len()
    }

    fn elements(&self) -> ItemsIter<'a> {
        ItemsIter {
            items: self.items.iter(),
            view: self.view,
        }
    }

    fn is_unique(&self) -> bool {
        let items: Vec<_> = self.items.iter().map(converted).collect();
        unique::is_unique(&items)
    }
}

/// The items of an array, until the limit is reached.
pub struct ItemsIter<'a> {
    items: std::slice::Iter<'a, Value>,
    view: View<'a>,
}

impl<'a> Iterator for ItemsIter<'a> {
    type Item = View<'a>;

    fn next(&mut self) -> Option<View<'a>> {
        if self.view.limit.has_ended() {
            return None;
        }
        self.items.next().map(|item| self.view.part(item))
    }
}

impl JsonNumber for &Number {
    fn as_u64(&self) -> Option<u64> {
        Number::as_str(self).parse().ok()
    }

    fn as_i64(&self) -> Option<i64> {
        Number::as_str(self).parse().ok()
    }

    /// `None` where it is beyond all floats: the validator then goes by its sign.
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
