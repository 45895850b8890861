//! What should worry an operator: rules over what was observed, without a clock or a database of their own.

use std::time::Duration;

use super::traffic::Recent;
use crate::{
    schedule::Schedule,
    store::{
        Conn, Failing, StoreError,
        cleanup::{self, CleanupRun},
        statistics::{self as rows, RecordCounts, SilentRetailer, Size},
        types::{Timestamp, text_enum},
    },
};

text_enum! {
    /// What is the matter.
    AlertName {
        /// Nothing can be written, or could not a moment ago.
        WritesFailing => "writes_failing",
        /// The last clean-up failed, or the one that was due has not come.
        CleanupFailing => "cleanup_failing",
        /// The records take more room than they should.
        TableLarge => "table_large",
        /// Keys are looked up slowly.
        LookupsSlow => "lookups_slow",
        /// Many signatures are refused.
        SignatureFailures => "signature_failures",
        /// Nothing has come for a retailer for longer than usual.
        RetailerSilent => "retailer_silent",
        /// Messages were written to a number that no retailer has.
        UnknownRetailer => "unknown_retailer",
    }
}

/// The limits beyond which an alert fires.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How much room the records may take, in bytes.
    pub table_bytes: u64,
    /// How long 95 of a hundred look-ups may take.
    pub lookup: Duration,
    /// How many signatures may be refused in a minute.
    pub signature_failures: u64,
    /// For how long nothing may come for a retailer, however long its usual silences are.
    pub silence: Duration,
}

/// What the database says.
#[derive(Clone, Debug)]
pub struct Observed {
    /// How many records there are.
    pub records: RecordCounts,
    /// How large things are.
    pub size: Size,
    /// The last clean-up that ended.
    pub last_run: Option<CleanupRun>,
    /// The retailers that are silent.
    pub silent: Vec<SilentRetailer>,
}

/// How many retailers, or numbers of none, are named.
const NAMED: usize = 5;

impl Observed {
    /// Looks at the database. To be true it must see it at one moment.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn look(conn: &mut Conn<'_>, limits: Limits, now: Timestamp) -> Result<Self, StoreError> {
        let silence = i64::try_from(limits.silence.as_secs()).unwrap_or(i64::MAX);
        Ok(Self {
            records: rows::records(conn, now)?.into_values().sum(),
            size: rows::size(conn)?,
            last_run: cleanup::last_ended(conn)?,
            // One more than is named tells that there are more.
            silent: rows::silent_retailers(conn, silence, now, NAMED as i64 + 1)?,
        })
    }
}

/// An alert that fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Which.
    pub name: AlertName,
    /// What is the matter, in a sentence.
    pub detail: String,
}

/// When a clean-up that was due must have ended.
const GRACE: Duration = Duration::from_secs(10 * 60);

/// The fewest look-ups that say something about their 95th percentile.
const ENOUGH_LOOKUPS: u64 = 20;

/// The alert that fires where writes fail, whatever the database says or does not say.
pub fn writes_failing(failing: Option<&Failing>) -> Option<Alert> {
    failing.map(|failing| Alert {
        name: AlertName::WritesFailing,
        detail: format!(
            "{}, since {}, and no webhook is acknowledged that needs one; {}: {}",
            failing.trouble.reason(),
            failing.since,
            failing.trouble.advice(),
            failing.cause
        ),
    })
}

/// The alerts that follow from what was observed. `up_since` is when this process began: what was due before is not missed by it.
pub fn firing(
    observed: &Observed,
    recent: &Recent,
    limits: Limits,
    schedule: &Schedule,
    up_since: Timestamp,
    now: Timestamp,
) -> Vec<Alert> {
    let details = [
        (
            AlertName::CleanupFailing,
            cleanup_failing(observed.last_run.as_ref(), schedule, up_since, now),
        ),
        (AlertName::TableLarge, table_large(observed.size, limits)),
        (AlertName::LookupsSlow, lookups_slow(recent, limits)),
        (
            AlertName::SignatureFailures,
            signature_failures(recent, limits),
        ),
        (AlertName::RetailerSilent, retailer_silent(&observed.silent)),
        (AlertName::UnknownRetailer, unknown_retailer(recent)),
    ];
    let firing = details.into_iter();
    firing
        .filter_map(|(name, detail)| {
            Some(Alert {
                name,
                detail: detail?,
            })
        })
        .collect()
}

fn cleanup_failing(
    last: Option<&CleanupRun>,
    schedule: &Schedule,
    up_since: Timestamp,
    now: Timestamp,
) -> Option<String> {
    if let Some(run) = last
        && run.is_failure()
        && let Some(error) = &run.error
    {
        return Some(format!(
            "the clean-up of {} failed: {error}",
            run.started_at
        ));
    }
    let due = schedule.latest(now.before(GRACE))?;
    let is_missed = due > up_since && last.is_none_or(|run| run.started_at < due);
    is_missed.then(|| format!("the clean-up that was due at {due} has not ended"))
}

fn table_large(size: Size, limits: Limits) -> Option<String> {
    let is_large = u64::try_from(size.records).is_ok_and(|bytes| bytes > limits.table_bytes);
    is_large.then(|| {
        let most = limits.table_bytes;
        format!("the records take {} bytes, more than {most}", size.records)
    })
}

fn lookups_slow(recent: &Recent, limits: Limits) -> Option<String> {
    let p95 = recent.lookups.percentiles().p95?;
    let most = limits.lookup.as_secs_f64() * 1e3;
    let is_slow = p95 > most && recent.lookups.count() >= ENOUGH_LOOKUPS;
    is_slow.then(|| {
        format!("of the look-ups of the last minutes 5 in a hundred took {p95} ms or longer, more than {most}")
    })
}

fn signature_failures(recent: &Recent, limits: Limits) -> Option<String> {
    let (found, most) = (recent.signatures_rejected, limits.signature_failures);
    (found > most).then(|| {
        format!("{found} signatures were refused in one of the last minutes, more than {most}")
    })
}

fn retailer_silent(silent: &[SilentRetailer]) -> Option<String> {
    if silent.is_empty() {
        return None;
    }
    let span = |seconds: i64| {
        let seconds = Duration::from_secs(seconds.unsigned_abs());
        humantime::format_duration(seconds).to_string()
    };
    let named = silent.iter().take(NAMED).map(|one| {
        format!(
            "{} (for {}, longest so far {})",
            one.retailer_id,
            span(one.silent_s),
            span(one.usual_s)
        )
    });
    let named: Vec<_> = named.collect();
    let more = if silent.len() > NAMED {
        " and others"
    } else {
        ""
    };
    Some(format!("nothing has come for {}{more}", named.join(", ")))
}

fn unknown_retailer(recent: &Recent) -> Option<String> {
    let numbers = &recent.unknown_retailers;
    if numbers.is_empty() {
        return None;
    }
    let named: Vec<_> = numbers.iter().take(NAMED).map(String::as_str).collect();
    let more = if numbers.len() > NAMED {
        " and others"
    } else {
        ""
    };
    Some(format!(
        "messages of the last hour were written to numbers that no retailer has, and nothing became of them: {}{more}",
        named.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{cleanup::Trigger, types::Uuid};

    const LIMITS: Limits = Limits {
        table_bytes: 1_000,
        lookup: Duration::from_millis(100),
        signature_failures: 3,
        silence: Duration::from_secs(60),
    };

    fn at(text: &str) -> Timestamp {
        let at = chrono::DateTime::parse_from_rfc3339(&format!("2026-11-24T{text}Z")).unwrap();
        at.to_utc().into()
    }

    fn calm() -> (Observed, Recent) {
        let observed = Observed {
            records: RecordCounts::default(),
            size: Size::default(),
            last_run: None,
            silent: Vec::new(),
        };
        let recent = Recent {
            lookups: super::super::Latencies::default(),
            signatures_rejected: 0,
            unknown_retailers: Vec::new(),
        };
        (observed, recent)
    }

    fn names(observed: &Observed, recent: &Recent, up_since: &str, now: &str) -> Vec<AlertName> {
        let hourly = Schedule::hourly();
        let firing = firing(observed, recent, LIMITS, &hourly, at(up_since), at(now));
        firing.into_iter().map(|alert| alert.name).collect()
    }

    fn run(started_at: &str, error: Option<&str>) -> CleanupRun {
        CleanupRun {
            id: Uuid::in_order(),
            instance: Uuid::random(),
            trigger: Trigger::Schedule,
            tick: None,
            started_at: at(started_at),
            finished_at: Some(at(started_at)),
            deleted_records: 0,
            deleted_events: 0,
            released: 0,
            remaining: None,
            error: error.map(str::to_owned),
        }
    }

    #[test]
    fn a_clean_up_is_missed_when_its_time_is_long_past() {
        let (mut observed, recent) = calm();
        // Up since 10:20: what was due at 10:00 is nobody's fault, what was due at 11:00 is.
        assert_eq!(names(&observed, &recent, "10:20:00", "10:59:00"), []);
        assert_eq!(names(&observed, &recent, "10:20:00", "11:09:59"), []);
        let missed = [AlertName::CleanupFailing];
        assert_eq!(names(&observed, &recent, "10:20:00", "11:10:00"), missed);
        observed.last_run = Some(run("10:30:00", None));
        assert_eq!(names(&observed, &recent, "10:20:00", "11:10:00"), missed);
        observed.last_run = Some(run("11:00:00", None));
        assert_eq!(names(&observed, &recent, "10:20:00", "11:59:00"), []);
    }

    #[test]
    fn a_clean_up_that_failed_is_told_and_one_that_was_stopped_is_not() {
        let (mut observed, recent) = calm();
        observed.last_run = Some(run("11:00:00", Some("the disk is full")));
        assert_eq!(
            names(&observed, &recent, "10:20:00", "11:01:00"),
            [AlertName::CleanupFailing]
        );
        observed.last_run = Some(run("11:00:00", Some(cleanup::STOPPED)));
        assert_eq!(names(&observed, &recent, "10:20:00", "11:01:00"), []);
    }

    #[test]
    fn each_limit_is_the_last_value_that_is_fine() {
        let (mut observed, mut recent) = calm();
        observed.size.records = 1_000;
        recent.signatures_rejected = 3;
        assert_eq!(names(&observed, &recent, "10:00:00", "10:01:00"), []);
        observed.size.records = 1_001;
        recent.signatures_rejected = 4;
        let both = [AlertName::TableLarge, AlertName::SignatureFailures];
        assert_eq!(names(&observed, &recent, "10:00:00", "10:01:00"), both);
    }

    #[test]
    fn numbers_that_no_retailer_has_are_named_up_to_a_few() {
        let (observed, mut recent) = calm();
        recent.unknown_retailers = vec!["+14155550108".to_owned()];
        let one = [AlertName::UnknownRetailer];
        assert_eq!(names(&observed, &recent, "10:00:00", "10:01:00"), one);
        let told = unknown_retailer(&recent).unwrap();
        assert!(told.ends_with("of them: +14155550108"), "{told}");
        recent.unknown_retailers = (0..=NAMED).map(|n| format!("+{n}")).collect();
        let told = unknown_retailer(&recent).unwrap();
        assert!(told.ends_with("+3, +4 and others"), "{told}");
    }

    #[test]
    fn slow_look_ups_are_told_where_there_are_enough_of_them() {
        let (observed, mut recent) = calm();
        for _ in 0..ENOUGH_LOOKUPS - 1 {
            recent.lookups.record(Duration::from_millis(200));
        }
        assert_eq!(names(&observed, &recent, "10:00:00", "10:01:00"), []);
        recent.lookups.record(Duration::from_millis(200));
        assert_eq!(
            names(&observed, &recent, "10:00:00", "10:01:00"),
            [AlertName::LookupsSlow]
        );
        for _ in 0..100 * ENOUGH_LOOKUPS {
            recent.lookups.record(Duration::from_millis(1));
        }
        assert_eq!(names(&observed, &recent, "10:00:00", "10:01:00"), []);
    }

    #[test]
    fn silent_retailers_are_named_up_to_a_few() {
        let silent = |count: usize| {
            let one = |_| SilentRetailer {
                retailer_id: Uuid::random(),
                silent_s: 7_200,
                usual_s: 600,
            };
            (0..count).map(one).collect::<Vec<_>>()
        };
        assert_eq!(retailer_silent(&[]), None);
        let one = retailer_silent(&silent(1)).unwrap();
        assert!(one.contains("for 2h, longest so far 10m"), "{one}");
        let many = retailer_silent(&silent(NAMED + 1)).unwrap();
        assert!(many.ends_with(" and others"), "{many}");
    }
}
