//! Times that come again.

use chrono::{DateTime, SubsecRound as _, Utc};
use croner::{
    Cron,
    parser::{CronParser, Seconds},
};
use std::{fmt, str::FromStr};

use crate::store::types::Timestamp;

/// Times that come again, in UTC: a cron pattern of five fields, or of six with seconds.
#[derive(Clone)]
pub struct Schedule {
    text: String,
    cron: Cron,
}

impl Schedule {
    /// At the beginning of every hour.
    pub fn hourly() -> Self {
        let pattern = "0 * * * *";
        Self {
            text: pattern.to_owned(),
            cron: Cron::from_str(pattern).expect("a cron pattern"),
        }
    }

    /// The latest of its times that is not after `now`.
    pub fn latest(&self, now: Timestamp) -> Option<Timestamp> {
        let at = self.cron.find_previous_occurrence(&second(now), true);
        at.ok().map(Into::into)
    }

    /// The first of its times after `now`.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let at = self.cron.find_next_occurrence(&second(now), false);
        at.ok().map(Into::into)
    }

    /// The pattern with seconds, as the scheduler wants it.
    pub fn with_seconds(&self) -> String {
        match self.text.split_whitespace().count() {
            5 => format!("0 {}", self.text),
            _ => self.text.clone(),
        }
    }
}

/// The second that it is: a pattern fits the whole of it.
fn second(now: Timestamp) -> DateTime<Utc> {
    DateTime::from(now).trunc_subsecs(0)
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const ALLOWED: &str =
            "allowed is a cron pattern of five fields, or of six with seconds, as in 0 * * * *";
        if !matches!(text.split_whitespace().count(), 5 | 6) {
            return Err(ALLOWED.to_owned());
        }
        // As the scheduler reads it.
        let parser = CronParser::builder()
            .seconds(Seconds::Optional)
            .dom_and_dow(true)
            .build();
        let cron = parser.parse(text);
        let cron = cron.map_err(|error| format!("{ALLOWED}: {error}"))?;
        let schedule = Self {
            text: text.to_owned(),
            cron,
        };
        match schedule.next(DateTime::<Utc>::UNIX_EPOCH.into()) {
            Some(_) => Ok(schedule),
            None => Err(format!("{ALLOWED}: this time never comes")),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let at = DateTime::parse_from_rfc3339(text).unwrap();
        at.to_utc().into()
    }

    fn around(pattern: &str, now: &str) -> (String, String) {
        let schedule: Schedule = pattern.parse().unwrap();
        let text = |at: Option<Timestamp>| at.unwrap().to_string();
        (text(schedule.latest(at(now))), text(schedule.next(at(now))))
    }

    #[test]
    fn all_that_look_within_one_period_see_the_same_time() {
        let hour = (
            "2026-11-24T10:00:00.000000Z".to_owned(),
            "2026-11-24T11:00:00.000000Z".to_owned(),
        );
        for now in ["10:00:00Z", "10:00:00.7Z", "10:59:59.999999Z"] {
            assert_eq!(around("0 * * * *", &format!("2026-11-24T{now}")), hour);
        }
    }

    #[test]
    fn six_fields_begin_with_seconds() {
        let around = around("*/2 * * * * *", "2026-11-24T10:00:03.999999Z");
        assert_eq!(around.0, "2026-11-24T10:00:02.000000Z");
        assert_eq!(around.1, "2026-11-24T10:00:04.000000Z");
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_what_is_allowed() {
        for text in [
            "",
            "hourly",
            "0 * * *",
            "60 * * * *",
            "0 0 0 1 1 * 2030",
            "0 0 30 2 *",
        ] {
            let error = text.parse::<Schedule>().unwrap_err();
            assert!(error.contains("allowed"), "{text}: {error}");
        }
    }
}
