//! A document without parts that are kept elsewhere, and where they belong.

use super::Value;

/// Where a part belongs: the number of the member or the item, level by level. A name would not do, for it may come twice.
pub type Place = Vec<u32>;

/// A document without some of its parts, and their places. `null` stands for each.
///
/// The parts come in the order in which they are in the document. One that is `None`, or not found, stays where it is.
pub fn cut(document: &Value, parts: &[Option<&Value>]) -> (Value, Vec<Option<Place>>) {
    let wanted = parts.iter().enumerate();
    let mut search = Search {
        parts: wanted
            .filter_map(|(at, part)| part.map(|part| (at, part)))
            .collect(),
        next: 0,
        path: Vec::new(),
        places: vec![None; parts.len()],
    };
    let rest = search.rest(document);
    (rest, search.places)
}

/// Puts a part back to its place. Where there is no such place, nothing is done.
pub fn put_back(rest: &mut Value, place: &[u32], part: Value) {
    let mut at = rest;
    for &number in place {
        let number = number as usize;
        let found = match at {
            Value::Object(members) => members.get_mut(number).map(|(_, value)| value),
            Value::Array(items) => items.get_mut(number),
            _ => None,
        };
        let Some(found) = found else { return };
        at = found;
    }
    *at = part;
}

struct Search<'a> {
    /// Each with its number.
    parts: Vec<(usize, &'a Value)>,
    /// The first of them that may be found yet.
    next: usize,
    path: Place,
    places: Vec<Option<Place>>,
}

impl Search<'_> {
    fn rest(&mut self, value: &Value) -> Value {
        if self.finds(value) {
            return Value::Null;
        }
        match value {
            Value::Object(members) => {
                let members = members.iter().zip(0..);
                let rest = |((name, value), number): (&(String, Value), u32)| {
                    (name.clone(), self.below(number, value))
                };
                Value::Object(members.map(rest).collect())
            }
            Value::Array(items) => {
                let items = items.iter().zip(0..);
                Value::Array(
                    items
                        .map(|(value, number)| self.below(number, value))
                        .collect(),
                )
            }
            value => value.clone(),
        }
    }

    fn below(&mut self, number: u32, value: &Value) -> Value {
        self.path.push(number);
        let rest = self.rest(value);
        self.path.pop();
        rest
    }

    /// Whether this is a part; then its place is noted.
    fn finds(&mut self, value: &Value) -> bool {
        /// One that is not in the document must not hide those behind it, nor many of them cost much.
        const AHEAD: usize = 4;
        let mut ahead = self.parts.iter().skip(self.next).take(AHEAD);
        let Some(found) = ahead.position(|(_, part)| *part == value) else {
            return false;
        };
        self.next += found;
        let (number, _) = self.parts[self.next];
        self.places[number] = Some(self.path.clone());
        self.next += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left, where the parts were, and the whole again.
    fn parted(document: &str, parts: &[&str]) -> (String, Vec<Option<Place>>, String) {
        let document: Value = document.parse().unwrap();
        let parts: Vec<Option<Value>> = parts.iter().map(|part| part.parse().ok()).collect();
        let wanted: Vec<_> = parts.iter().map(Option::as_ref).collect();
        let (rest, places) = cut(&document, &wanted);
        let mut whole = rest.clone();
        for (place, part) in places.iter().zip(parts) {
            if let Some(place) = place {
                put_back(&mut whole, place, part.unwrap());
            }
        }
        (rest.to_string(), places, whole.to_string())
    }

    #[test]
    fn what_is_cut_is_put_back_as_it_was() {
        let twice = r#"{"a":[{"n":1.10},{"n":2}],"b":"x","a":[{"n":1.10}]}"#;
        let (rest, places, whole) =
            parted(twice, &[r#"{"n":1.10}"#, r#"{"n":2}"#, r#"{"n":1.10}"#]);
        assert_eq!(rest, r#"{"a":[null,null],"b":"x","a":[null]}"#);
        let expected = [vec![0, 0], vec![0, 1], vec![2, 0]];
        assert_eq!(places, expected.map(Some));
        assert_eq!(whole, twice);
        let all = r#"{"a":1}"#;
        assert_eq!(
            parted(all, &[all]),
            ("null".into(), vec![Some(vec![])], all.into())
        );
    }

    #[test]
    fn what_is_not_there_or_not_wanted_stays() {
        let document = r#"[{"n":1},{"n":2},{"n":3}]"#;
        let (rest, places, whole) = parted(document, &[r#"{"n":9}"#, "no JSON", r#"{"n":3}"#]);
        assert_eq!(rest, r#"[{"n":1},{"n":2},null]"#);
        assert_eq!(places, [None, None, Some(vec![2])]);
        assert_eq!(whole, document);
        let mut rest: Value = "[1]".parse().unwrap();
        put_back(&mut rest, &[0, 3], Value::Null);
        put_back(&mut rest, &[7], Value::Null);
        assert_eq!(rest.to_string(), "[1]");
    }
}
