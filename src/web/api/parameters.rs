//! The parameters of a query: each known, each once, each what it must be.

use std::collections::BTreeMap;

use crate::{
    shop::error::FieldError,
    store::{
        deliveries::Position,
        types::{Timestamp, Uuid},
    },
    web::problem::Problem,
};

/// The parameters of a query that were not read yet, and what is wrong with those that were.
pub struct Parameters {
    unread: BTreeMap<String, String>,
    errors: Vec<FieldError>,
}

impl Parameters {
    /// All parameters of a query.
    pub fn of(query: &str) -> Self {
        let mut parameters = Self {
            unread: BTreeMap::new(),
            errors: Vec::new(),
        };
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let earlier = parameters
                .unread
                .insert(name.to_string(), value.into_owned());
            if earlier.is_some() {
                parameters.refuse(&name, "repeated", "may be given once");
            }
        }
        parameters
    }

    /// Reads a parameter; `parse` says what it must be where it is not.
    pub fn take<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(&self.unread.remove(name)?) {
            Ok(value) => Some(value),
            Err(message) => {
                self.refuse(name, "invalid", &message);
                None
            }
        }
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// All that was wrong: a parameter that nobody reads would be a filter that does not filter.
    pub fn finish(mut self) -> Result<(), Problem> {
        for name in std::mem::take(&mut self.unread).into_keys() {
            self.refuse(&name, "unknown_parameter", "is not known here");
        }
        match self.errors.is_empty() {
            true => Ok(()),
            false => Err(Problem::invalid(self.errors)),
        }
    }

    fn refuse(&mut self, name: &str, code: &'static str, message: &str) {
        self.errors.push(FieldError::new(name, code, message));
    }
}

/// A place in a list, as a text that means nothing to clients.
pub trait Cursor: Sized {
    /// Reads what [`Cursor::write`] has written. `None`: it has not.
    fn read(text: &str) -> Option<Self>;

    /// Its text.
    fn write(&self) -> String;
}

impl Cursor for Uuid {
    fn read(text: &str) -> Option<Self> {
        let is_ours = text.len() == 32 && is_hex(text);
        is_ours.then(|| text.parse().ok()).flatten().map(Self)
    }

    fn write(&self) -> String {
        self.0.simple().to_string()
    }
}

impl Cursor for Position {
    /// Microseconds since 1970, and the id.
    fn read(text: &str) -> Option<Self> {
        let (time, id) = text.split_at_checked(16)?;
        // Up to the year 11103: later times there are none.
        let is_ours = matches!(time.as_bytes(), [b'0', b'0'..=b'3', ..]) && is_hex(time);
        let micros = i64::from_str_radix(time, 16).ok().filter(|_| is_ours)?;
        Some(Self {
            created_at: chrono::DateTime::from_timestamp_micros(micros)?.into(),
            id: Uuid::read(id)?,
        })
    }

    fn write(&self) -> String {
        let at: chrono::DateTime<chrono::Utc> = self.created_at.into();
        // No record is older than 1970.
        let micros = at.timestamp_micros().max(0);
        format!("{micros:016x}{}", self.id.write())
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Which part of a list is asked for.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest<C = Uuid> {
    /// Where the page before ended.
    pub after: Option<C>,
    /// How many rows.
    pub limit: usize,
}

impl<C: Cursor> PageRequest<C> {
    const USUAL: usize = 50;
    const MOST: usize = 100;

    /// Reads `limit` and `cursor`.
    pub fn take(parameters: &mut Parameters) -> Self {
        let limit = parameters.take("limit", |text| {
            let limit = text.parse().ok().filter(|n| (1..=Self::MOST).contains(n));
            limit.ok_or_else(|| format!("must be a whole number from 1 to {}", Self::MOST))
        });
        Self {
            after: parameters.take("cursor", |text| {
                let ours = C::read(text);
                ours.ok_or_else(|| "must be the next_cursor of a page".to_owned())
            }),
            limit: limit.unwrap_or(Self::USUAL),
        }
    }
}

impl PageRequest {
    /// How many rows to fetch: one more than asked for tells whether there is another page.
    pub fn fetch(self) -> i64 {
        i64::try_from(self.limit)
            .unwrap_or(i64::MAX)
            .saturating_add(1)
    }

    /// Cuts rows to the page, and gives the cursor of the next, if there is one.
    pub fn cut<T>(self, rows: &mut Vec<T>, id: impl Fn(&T) -> Uuid) -> Option<String> {
        let more = rows.len() > self.limit;
        rows.truncate(self.limit);
        let last = rows.last().filter(|_| more)?;
        Some(id(last).write())
    }
}

/// A UUID.
///
/// # Errors
/// What it must be.
pub fn uuid(text: &str) -> Result<Uuid, String> {
    text.parse()
        .map(Uuid)
        .map_err(|_no_uuid| "must be a UUID".to_owned())
}

/// An instant.
///
/// # Errors
/// What it must be.
pub fn instant(text: &str) -> Result<Timestamp, String> {
    let parsed = chrono::DateTime::parse_from_rfc3339(text);
    parsed
        .map(|at| at.to_utc().into())
        .map_err(|_no_time| "must be a time such as 2026-12-01T10:00:00Z".to_owned())
}

/// One of several words.
///
/// # Errors
/// Which they are.
pub fn word<T: Clone + std::fmt::Display>(text: &str, all: &[T]) -> Result<T, String> {
    let found = all.iter().find(|word| word.to_string() == text);
    found.cloned().ok_or_else(|| {
        let words: Vec<_> = all.iter().map(ToString::to_string).collect();
        format!("must be one of {}", words.join(", "))
    })
}

/// One of several names.
///
/// # Errors
/// Which they are.
pub fn name(text: &str, all: impl Iterator<Item = &'static str>) -> Result<&'static str, String> {
    let all: Vec<_> = all.collect();
    word(text, &all)
}

/// Any text that could be stored.
///
/// # Errors
/// What it must not be.
pub fn text(text: &str) -> Result<String, String> {
    match text.contains('\0') {
        // PostgreSQL has no such texts.
        true => Err("must not hold a NUL character".to_owned()),
        false => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_back_from_its_text_and_nothing_else_is_one() {
        let last: chrono::DateTime<chrono::Utc> = "9999-12-31T23:59:59.999999Z".parse().unwrap();
        for created_at in [
            Timestamp::now(),
            last.into(),
            chrono::DateTime::UNIX_EPOCH.into(),
        ] {
            let place = Position {
                created_at,
                id: Uuid::in_order(),
            };
            let text = place.write();
            assert_eq!(text.len(), 48);
            assert_eq!(Position::read(&text), Some(place));
            let beyond = format!("1{}", &text[1..]);
            let others = [
                &text[1..],
                &text[..47],
                &text[16..],
                &text.to_uppercase(),
                &format!("{text}0"),
                &format!("+{}", &text[1..]),
                &format!("{}é", &text[..46]),
                &format!("{}é{}", &text[..15], &text[17..]),
                &beyond,
                "",
            ];
            for other in others {
                assert_eq!(Position::read(other), None, "{other}");
            }
        }
    }
}
