//! The parameters of a query: each known, each once, each what it must be.

use std::collections::BTreeMap;

use crate::{
    commerce::error::FieldError,
    store::types::{Timestamp, Uuid},
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

/// Which part of a list is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// The last row of the page before.
    pub after: Option<Uuid>,
    /// How many rows.
    pub limit: usize,
}

impl Part {
    const USUAL: usize = 50;
    const MOST: usize = 100;

    /// Reads `limit` and `cursor`.
    pub fn take(parameters: &mut Parameters) -> Self {
        let limit = parameters.take("limit", |text| {
            let limit = text.parse().ok().filter(|n| (1..=Self::MOST).contains(n));
            limit.ok_or_else(|| format!("must be a whole number from 1 to {}", Self::MOST))
        });
        Self {
            after: parameters.take("cursor", cursor),
            limit: limit.unwrap_or(Self::USUAL),
        }
    }

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
        Some(id(last).0.simple().to_string())
    }
}

fn cursor(text: &str) -> Result<Uuid, String> {
    let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let is_ours = text.len() == 32 && text.bytes().all(is_hex);
    let id = is_ours.then(|| text.parse().ok()).flatten();
    id.map(Uuid)
        .ok_or_else(|| "must be the next_cursor of a page".to_owned())
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
pub fn word<T: Copy + std::fmt::Display>(text: &str, all: &[T]) -> Result<T, String> {
    let found = all.iter().find(|word| word.to_string() == text);
    found.copied().ok_or_else(|| {
        let words: Vec<_> = all.iter().map(ToString::to_string).collect();
        format!("must be one of {}", words.join(", "))
    })
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
