//! How much time the statistics look back.

#[cfg(test)]
mod tests;

use std::{str::FromStr, time::Duration};

use crate::store::types::Timestamp;

pub(super) const HOUR: Duration = Duration::from_secs(60 * 60);

/// How far back the series and the latencies reach: whole hours, from 1 to 720.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window(u32);

impl Window {
    /// The longest, 30 days.
    pub const MOST: Self = Self(720);

    /// The beginning of its first hour; its last is that of `now`.
    pub fn begins(self, now: Timestamp) -> Timestamp {
        now.hour().before(HOUR * (self.0 - 1))
    }

    pub fn hours(self, now: Timestamp) -> impl Iterator<Item = Timestamp> {
        let begins = self.begins(now);
        (0..self.0).map(move |hour| begins.after(HOUR * hour))
    }
}

impl Default for Window {
    fn default() -> Self {
        Self(24)
    }
}

impl FromStr for Window {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const ALLOWED: &str = "must be whole hours from 1h to 720h";
        let digits = text.strip_suffix('h').ok_or(ALLOWED)?;
        let is_number = digits.bytes().all(|b| b.is_ascii_digit());
        let hours = digits.parse().ok().filter(|_| is_number).ok_or(ALLOWED)?;
        (1..=Self::MOST.0)
            .contains(&hours)
            .then_some(Self(hours))
            .ok_or(ALLOWED)
    }
}
