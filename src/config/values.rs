//! Values that variables of several concerns have: numbers, times, switches. Each says what is allowed where a text is none.

use std::{ops::RangeInclusive, str::FromStr, time::Duration};

const LEAST: Duration = Duration::from_millis(100);
const HOUR: Duration = Duration::from_secs(60 * 60);

pub(super) fn parsed<T: FromStr>(text: &str, allowed: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("allowed is {allowed}"))
}

pub(super) fn positive<T: FromStr + PartialOrd + From<u8>>(text: &str) -> Result<T, String> {
    const ALLOWED: &str = "a whole number of at least 1";
    parsed(text, ALLOWED).and_then(|number: T| {
        (number >= T::from(1))
            .then_some(number)
            .ok_or_else(|| format!("allowed is {ALLOWED}"))
    })
}

pub(super) fn whole(text: &str) -> Result<u64, String> {
    parsed(text, "a whole number")
}

pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("allowed is on or off".to_owned()),
    }
}

/// How long something is kept.
pub(super) fn retention(text: &str) -> Result<Duration, String> {
    const TEN_YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
    duration(
        text,
        LEAST..=TEN_YEARS,
        "30s, 24h or 30d, of at least 100ms and at most 10 years",
    )
}

/// How long something is waited for.
pub(super) fn patience(text: &str) -> Result<Duration, String> {
    duration(
        text,
        LEAST..=HOUR,
        "500ms, 10s or 2m, of at least 100ms and at most 1h",
    )
}

pub(super) fn duration(
    text: &str,
    between: RangeInclusive<Duration>,
    allowed: &str,
) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(span) if between.contains(&span) => Ok(span),
        _ => Err(format!("allowed is a time, as in {allowed}")),
    }
}

pub(super) fn pieces(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|piece| !piece.is_empty())
}
