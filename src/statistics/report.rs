//! The statistics as they are shown, over HTTP and by the command alike.

use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};
use utoipa::ToSchema;

use super::{
    alerts::{Alert, AlertName},
    hours::{Hours, LatencyReport, SeriesReport},
    window::Window,
};

use crate::{
    schedule::Schedule,
    store::{
        Conn, StoreError, alerts as firing,
        cleanup::{self, CleanupRun},
        retailers,
        statistics::{self as rows, Counts, RecordCounts, Records, TrafficHour},
        types::{Timestamp, Uuid},
    },
};

/// For how long an alert is believed that nobody has seen since.
const BELIEVED: Duration = Duration::from_secs(60);

/// The statistics.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Statistics)]
pub struct Report {
    /// When all of this was so.
    #[schema(format = DateTime)]
    pub generated_at: String,
    /// The database.
    pub store: StoreReport,
    /// The idempotency records.
    pub keys: KeysReport,
    /// The same by their kind.
    pub by_type: Vec<TypeReport>,
    /// The same by their retailer.
    pub by_retailer: Vec<RetailerReport>,
    /// What came since the first start.
    pub traffic: TrafficReport,
    /// How long it took, within the window.
    pub latency_ms: LatencyReport,
    /// The clean-up.
    pub cleanup: CleanupReport,
    /// What should worry an operator.
    pub alerts: Vec<AlertReport>,
    /// What came hour by hour, within the window, the oldest first.
    pub series: Vec<SeriesReport>,
}

/// The database.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StoreStatistics)]
pub struct StoreReport {
    /// `sqlite` or `postgresql`.
    #[schema(example = "sqlite")]
    pub engine: &'static str,
    /// How large it is.
    pub size_bytes: i64,
    /// What SQLite's log takes of the disk beside it; null in memory and with PostgreSQL.
    #[schema(required)]
    pub log_bytes: Option<i64>,
}

/// Idempotency records: `total` is `active` and `expired`, and also `in_progress`, `completed` and `failed`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KeyStatistics)]
pub struct KeysReport {
    /// Not past their time.
    pub active: i64,
    /// Past their time, and to be deleted by the next clean-up.
    pub expired: i64,
    /// Being worked on.
    pub in_progress: i64,
    /// Answered.
    pub completed: i64,
    /// Failed, and kept for the operator.
    pub failed: i64,
    /// All.
    pub total: i64,
}

/// Records of a kind or a retailer.
#[derive(Debug, Serialize, ToSchema)]
pub struct Groups {
    /// Not past their time.
    pub active: i64,
    /// Past their time.
    pub expired: i64,
    /// All.
    pub total: i64,
    /// How often these were replayed.
    pub replays: i64,
}

/// Records of a kind.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TypeStatistics)]
pub struct TypeReport {
    /// The kind.
    #[schema(example = "twilio_message")]
    pub webhook_type: String,
    /// How many.
    #[serde(flatten)]
    pub records: Groups,
}

/// Records of a retailer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RetailerStatistics)]
pub struct RetailerReport {
    /// The retailer; null for what belongs to none.
    #[schema(required)]
    pub retailer_id: Option<uuid::Uuid>,
    /// What it is called.
    #[schema(required)]
    pub name: Option<String>,
    /// How many.
    #[serde(flatten)]
    pub records: Groups,
}

/// What came: webhooks, and of clients with a good token every POST that makes something and whatever else carries a key.
/// `received` is the sum of `first`, `replayed`, `mismatched`, `in_progress_rejected`, `signature_rejected`, `malformed`
/// and `failed`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TrafficStatistics)]
pub struct TrafficReport {
    /// All.
    pub received: i64,
    /// Acted on, and answered for the first time.
    pub first: i64,
    /// Answered as the first time.
    pub replayed: i64,
    /// Events that were known before.
    pub duplicate_events: i64,
    /// Events that were known with another content.
    pub conflicts: i64,
    /// Edits of messages that made an order.
    pub edits_noted: i64,
    /// Revokes of messages that made an order.
    pub revokes_noted: i64,
    /// Messages to numbers that no retailer has, of which nothing became.
    pub unknown_retailers: i64,
    /// Refused: the key stands for another request.
    pub mismatched: i64,
    /// Refused: the first request with the key was still going on.
    pub in_progress_rejected: i64,
    /// Refused: not signed by whom it should.
    pub signature_rejected: i64,
    /// Refused: not to be read, or without a key that it needs.
    pub malformed: i64,
    /// Something broke or was away, or the sender went away before it was answered.
    pub failed: i64,
    /// Which part of what was answered was replayed, from 0 to 1.
    pub replay_rate: f64,
}

/// The clean-up.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CleanupStatistics)]
pub struct CleanupReport {
    /// When it is done, in UTC.
    #[schema(example = "0 * * * *")]
    pub schedule: String,
    /// When the last that ended began.
    #[schema(required, format = DateTime)]
    pub last_run_at: Option<String>,
    /// How long it took.
    #[schema(required)]
    pub last_duration_ms: Option<u64>,
    /// How many records it deleted.
    #[schema(required)]
    pub last_deleted: Option<i64>,
    /// What went wrong with it.
    #[schema(required)]
    pub last_error: Option<String>,
    /// When the next is due.
    #[schema(required, format = DateTime)]
    pub next_run_at: Option<String>,
    /// How many records all of them have deleted.
    pub deleted_total: i64,
}

/// An alert.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AlertStatistics)]
pub struct AlertReport {
    /// Which.
    #[schema(example = "table_large")]
    pub name: &'static str,
    /// Whether it fires.
    pub firing: bool,
    /// Since when.
    #[schema(required, format = DateTime)]
    pub since: Option<String>,
    /// What is the matter.
    #[schema(required)]
    pub detail: Option<String>,
}

/// Puts the statistics together as of `now`. `ours` are the rows of this process as they stand, in place of what the
/// database holds of them. To be true it must see the database at one moment.
///
/// # Errors
/// Where the database cannot be read.
pub fn report(
    conn: &mut Conn<'_>,
    engine: &'static str,
    schedule: &Schedule,
    ours: &[TrafficHour],
    window: Window,
    now: Timestamp,
) -> Result<Report, StoreError> {
    let (records, size) = (rows::records(conn, now)?, rows::size(conn)?);
    let all: RecordCounts = records.values().copied().sum();
    let traffic = Hours::read(conn, ours, window.begins(now))?;
    let snapshots = rows::snapshots_from(conn, window.begins(now))?;
    Ok(Report {
        generated_at: now.to_string(),
        store: StoreReport {
            engine,
            size_bytes: size.store,
            log_bytes: size.log,
        },
        keys: KeysReport::of(all),
        by_type: by_type(&records),
        by_retailer: by_retailer(conn, &records)?,
        latency_ms: traffic.latencies()?,
        series: traffic.series(window, now, &snapshots),
        traffic: TrafficReport::of(traffic.all),
        cleanup: CleanupReport::read(conn, schedule, now)?,
        alerts: alerts(conn, now)?,
    })
}

impl Report {
    /// Tells of an alert that fires in this process since then, where the database does not tell of it yet.
    pub fn add(&mut self, alert: Alert, since: Timestamp) {
        let name = alert.name.as_str();
        let mut reports = self.alerts.iter_mut();
        if let Some(report) = reports.find(|report| report.name == name && !report.firing) {
            report.firing = true;
            report.since = Some(since.to_string());
            report.detail = Some(alert.detail);
        }
    }
}

impl KeysReport {
    fn of(counts: RecordCounts) -> Self {
        Self {
            active: counts.active(),
            expired: counts.expired,
            in_progress: counts.in_progress,
            completed: counts.completed,
            failed: counts.failed,
            total: counts.total(),
        }
    }
}

impl From<RecordCounts> for Groups {
    fn from(counts: RecordCounts) -> Self {
        Self {
            active: counts.active(),
            expired: counts.expired,
            total: counts.total(),
            replays: counts.replays,
        }
    }
}

fn by_type(records: &Records) -> Vec<TypeReport> {
    let mut by_type: BTreeMap<&str, RecordCounts> = BTreeMap::new();
    for ((webhook_type, _), counts) in records {
        *by_type.entry(webhook_type).or_default() += *counts;
    }
    let reports = by_type
        .into_iter()
        .map(|(webhook_type, counts)| TypeReport {
            webhook_type: webhook_type.to_owned(),
            records: counts.into(),
        });
    reports.collect()
}

fn by_retailer(conn: &mut Conn<'_>, records: &Records) -> Result<Vec<RetailerReport>, StoreError> {
    let mut by_retailer: BTreeMap<Option<Uuid>, RecordCounts> = BTreeMap::new();
    for ((_, retailer), counts) in records {
        *by_retailer.entry(*retailer).or_default() += *counts;
    }
    let retailers = retailers::list(conn)?;
    let mut names: BTreeMap<Uuid, String> = retailers
        .into_iter()
        .map(|one| (one.id, one.name))
        .collect();
    let reports = by_retailer
        .into_iter()
        .map(|(retailer, counts)| RetailerReport {
            retailer_id: retailer.map(|id| id.0),
            name: retailer.and_then(|id| names.remove(&id)),
            records: counts.into(),
        });
    Ok(reports.collect())
}

impl TrafficReport {
    fn of(counts: Counts) -> Self {
        let answered = counts.first + counts.replayed;
        Self {
            received: counts.received,
            first: counts.first,
            replayed: counts.replayed,
            duplicate_events: counts.duplicate_events,
            conflicts: counts.conflicts,
            edits_noted: counts.edits_noted,
            revokes_noted: counts.revokes_noted,
            unknown_retailers: counts.unknown_retailers,
            mismatched: counts.mismatched,
            in_progress_rejected: counts.in_progress_rejected,
            signature_rejected: counts.signature_rejected,
            malformed: counts.malformed,
            failed: counts.failed,
            replay_rate: counts.replayed as f64 / answered.max(1) as f64,
        }
    }
}

impl CleanupReport {
    fn read(conn: &mut Conn<'_>, schedule: &Schedule, now: Timestamp) -> Result<Self, StoreError> {
        let last = cleanup::last_ended(conn)?;
        Ok(Self {
            schedule: schedule.to_string(),
            last_run_at: last.as_ref().map(|run| run.started_at.to_string()),
            last_duration_ms: last
                .as_ref()
                .and_then(CleanupRun::duration)
                .map(|span| span.as_millis() as u64),
            last_deleted: last.as_ref().map(|run| run.deleted_records),
            last_error: last.and_then(|run| run.error),
            next_run_at: schedule.next(now).map(|at| at.to_string()),
            deleted_total: cleanup::deleted_total(conn)?,
        })
    }
}

fn alerts(conn: &mut Conn<'_>, now: Timestamp) -> Result<Vec<AlertReport>, StoreError> {
    let seen = firing::seen_after(conn, now.before(BELIEVED))?;
    let reports = AlertName::ALL.iter().map(|name| {
        // The first has been firing the longest.
        let seen = seen.iter().find(|alert| alert.name == name.as_str());
        AlertReport {
            name: name.as_str(),
            firing: seen.is_some(),
            since: seen.map(|alert| alert.since.to_string()),
            detail: seen.map(|alert| alert.detail.clone()),
        }
    });
    Ok(reports.collect())
}
