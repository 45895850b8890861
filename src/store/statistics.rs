//! How much there is and what was counted. The records themselves are never scanned: triggers count them in the very
//! transactions that change them.

use diesel::{
    prelude::*,
    sql_query,
    sql_types::{BigInt, Bool, Text},
};
use std::{collections::BTreeMap, iter::Sum, ops::AddAssign};

use super::{
    Conn, StoreError,
    idempotency::RecordStatus,
    on_each,
    schema::{statistics_snapshots as snapshots, traffic_hours as hours},
    types::{Id, Moment, Timestamp, Uuid},
};

/// Records of one kind and one retailer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordCounts {
    /// In progress.
    pub in_progress: i64,
    /// Answered.
    pub completed: i64,
    /// Failed.
    pub failed: i64,
    /// Those of them that are past their time.
    pub expired: i64,
    /// How often they were replayed.
    pub replays: i64,
}

impl RecordCounts {
    /// All of them.
    pub fn total(&self) -> i64 {
        self.in_progress + self.completed + self.failed
    }

    /// Those that are not past their time.
    pub fn active(&self) -> i64 {
        self.total() - self.expired
    }

    fn of(&mut self, status: RecordStatus) -> &mut i64 {
        match status {
            RecordStatus::InProgress => &mut self.in_progress,
            RecordStatus::Completed => &mut self.completed,
            RecordStatus::Failed => &mut self.failed,
        }
    }
}

impl AddAssign for RecordCounts {
    fn add_assign(&mut self, other: Self) {
        self.in_progress += other.in_progress;
        self.completed += other.completed;
        self.failed += other.failed;
        self.expired += other.expired;
        self.replays += other.replays;
    }
}

impl Sum for RecordCounts {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, one| {
            sum += one;
            sum
        })
    }
}

/// Records by their kind and their retailer, if they have one.
pub type Records = BTreeMap<(String, Option<Uuid>), RecordCounts>;

/// Stands for no retailer, where a column must hold something.
const NOBODY: Uuid = Uuid(uuid::Uuid::nil());

/// Counts the records as of `now`, without a look at more of them than expire within one minute or are in progress. To
/// be true it must see the database at one moment: see [`super::Store::snapshot`].
pub fn records(conn: &mut Conn<'_>, now: Timestamp) -> Result<Records, StoreError> {
    let mut records = Records::new();
    for row in settled(conn)? {
        let counts = records.entry((row.webhook_type, owner(row.retailer_id)));
        let counts = counts.or_default();
        *counts.of(row.status) += row.records;
        counts.replays += row.replays;
    }
    for row in expired(conn, now)? {
        let counts = records.entry((row.webhook_type, owner(row.retailer_id)));
        counts.or_default().expired += row.records;
    }
    for row in in_progress(conn, now)? {
        let counts = records.entry((row.webhook_type, owner(row.retailer_id)));
        let counts = counts.or_default();
        counts.in_progress += row.records;
        counts.expired += if row.expired { row.records } else { 0 };
    }
    records.retain(|_, counts| *counts != RecordCounts::default());
    Ok(records)
}

fn owner(retailer: Uuid) -> Option<Uuid> {
    (retailer != NOBODY).then_some(retailer)
}

#[derive(QueryableByName)]
struct Settled {
    #[diesel(sql_type = Text)]
    webhook_type: String,
    #[diesel(sql_type = Id)]
    retailer_id: Uuid,
    #[diesel(sql_type = Text)]
    status: RecordStatus,
    #[diesel(sql_type = BigInt)]
    records: i64,
    #[diesel(sql_type = BigInt)]
    replays: i64,
}

fn settled(conn: &mut Conn<'_>) -> Result<Vec<Settled>, StoreError> {
    let query = sql_query(
        "SELECT webhook_type, retailer_id, status, CAST(sum(records) AS BIGINT) AS records,
             CAST(sum(replays) AS BIGINT) AS replays
         FROM record_totals GROUP BY webhook_type, retailer_id, status",
    );
    Ok(on_each!(conn, |c| query.load(c))?)
}

#[derive(QueryableByName)]
struct Expired {
    #[diesel(sql_type = Text)]
    webhook_type: String,
    #[diesel(sql_type = Id)]
    retailer_id: Uuid,
    #[diesel(sql_type = BigInt)]
    records: i64,
}

/// Of the minutes that are over the sums are known; of the one that goes on the records are looked at.
fn expired(conn: &mut Conn<'_>, now: Timestamp) -> Result<Vec<Expired>, StoreError> {
    let query = sql_query(
        "SELECT webhook_type, retailer_id, CAST(sum(records) AS BIGINT) AS records FROM (
             SELECT webhook_type, retailer_id, records FROM record_expiries WHERE minute < $1
             UNION ALL
             SELECT webhook_type, coalesce(retailer_id, $2), 1
             FROM webhook_idempotency WHERE expires_at >= $3 AND expires_at <= $4 AND status <> 'in_progress'
         ) AS expired GROUP BY webhook_type, retailer_id",
    )
    .bind::<Moment, _>(now.minute())
    .bind::<Id, _>(NOBODY)
    .bind::<Moment, _>(now.minute())
    .bind::<Moment, _>(now);
    Ok(on_each!(conn, |c| query.load(c))?)
}

#[derive(QueryableByName)]
struct InProgress {
    #[diesel(sql_type = Text)]
    webhook_type: String,
    #[diesel(sql_type = Id)]
    retailer_id: Uuid,
    #[diesel(sql_type = Bool)]
    expired: bool,
    #[diesel(sql_type = BigInt)]
    records: i64,
}

/// Few at any time. What is at work does not expire.
fn in_progress(conn: &mut Conn<'_>, now: Timestamp) -> Result<Vec<InProgress>, StoreError> {
    let query = sql_query(
        "SELECT webhook_type, coalesce(retailer_id, $1) AS retailer_id,
             expires_at <= $2 AND lease_expires_at <= $3 AS expired, count(*) AS records
         FROM webhook_idempotency WHERE status = 'in_progress' GROUP BY 1, 2, 3",
    )
    .bind::<Id, _>(NOBODY)
    .bind::<Moment, _>(now)
    .bind::<Moment, _>(now);
    Ok(on_each!(conn, |c| query.load(c))?)
}

/// Adds up, at most `most` at a time, what each connection has counted for itself, and forgets counts of nothing. Gives how
/// many rows were folded.
pub fn fold_counts(conn: &mut Conn<'_>, most: i64) -> Result<i64, StoreError> {
    let Conn::Postgres(_) = conn else {
        // SQLite's one writer has one slot.
        return forget_zeroes(conn, most);
    };
    let mut folded = 0;
    // What a request is counting in is left for the next time.
    for (table, key, sums) in [
        (
            "record_totals",
            "webhook_type, retailer_id, status",
            &["records", "replays"][..],
        ),
        (
            "record_expiries",
            "minute, webhook_type, retailer_id",
            &["records"][..],
        ),
    ] {
        let added: Vec<_> = sums.iter().map(|sum| format!("sum({sum})")).collect();
        let set: Vec<_> = sums
            .iter()
            .map(|sum| format!("{sum} = t.{sum} + excluded.{sum}"))
            .collect();
        let fold = sql_query(format!(
            "WITH folded AS (
                 DELETE FROM {table} WHERE ctid = ANY (ARRAY(
                     SELECT ctid FROM {table} WHERE slot <> 0 LIMIT $1 FOR UPDATE SKIP LOCKED
                 )) RETURNING *
             ), added AS (
                 INSERT INTO {table} AS t ({key}, slot, {columns})
                 SELECT {key}, 0, {added} FROM folded GROUP BY {key}
                 ON CONFLICT ({key}, slot) DO UPDATE SET {set}
             )
             SELECT count(*) AS records FROM folded",
            columns = sums.join(", "),
            added = added.join(", "),
            set = set.join(", "),
        ))
        .bind::<BigInt, _>(most);
        let count: Count = on_each!(conn, |c| fold.get_result(c))?;
        folded += count.records;
    }
    Ok(folded + forget_zeroes(conn, most)?)
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    records: i64,
}

fn forget_zeroes(conn: &mut Conn<'_>, most: i64) -> Result<i64, StoreError> {
    let forget = sql_query(match conn {
        Conn::Sqlite(_) => {
            "DELETE FROM record_expiries WHERE (minute, webhook_type, retailer_id, slot) IN (
                 SELECT minute, webhook_type, retailer_id, slot FROM record_expiries WHERE records = 0 LIMIT $1)"
        }
        Conn::Postgres(_) => {
            "DELETE FROM record_expiries WHERE ctid = ANY (ARRAY(
                 SELECT ctid FROM record_expiries WHERE slot = 0 AND records = 0 LIMIT $1 FOR UPDATE SKIP LOCKED))"
        }
    })
    .bind::<BigInt, _>(most);
    Ok(on_each!(conn, |c| forget.execute(c))? as i64)
}

/// How large things are, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// The whole database.
    pub store: i64,
    /// The records with their indexes; of SQLite, whose file does not tell, all that is in use.
    pub records: i64,
}

/// How large the database is.
pub fn size(conn: &mut Conn<'_>) -> Result<Size, StoreError> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        store: i64,
        #[diesel(sql_type = BigInt)]
        records: i64,
    }
    let query = sql_query(match conn {
        Conn::Sqlite(_) => {
            "SELECT page_count * page_size AS store, (page_count - freelist_count) * page_size AS records
             FROM pragma_page_count, pragma_page_size, pragma_freelist_count"
        }
        Conn::Postgres(_) => {
            "SELECT pg_database_size(current_database()) AS store,
                 pg_total_relation_size('webhook_idempotency') AS records"
        }
    });
    let row: Row = on_each!(conn, |c| query.get_result(c))?;
    Ok(Size {
        store: row.store,
        records: row.records,
    })
}

/// What came, and what came of it: a request is received and one of the following seven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, QueryableByName)]
pub struct Counts {
    /// All of them.
    #[diesel(sql_type = BigInt)]
    pub received: i64,
    /// Acted on.
    #[diesel(sql_type = BigInt)]
    pub first: i64,
    /// Answered as before.
    #[diesel(sql_type = BigInt)]
    pub replayed: i64,
    /// The key stood for another request.
    #[diesel(sql_type = BigInt)]
    pub mismatched: i64,
    /// The first with the key was still going on.
    #[diesel(sql_type = BigInt)]
    pub in_progress_rejected: i64,
    /// Not signed by whom it should.
    #[diesel(sql_type = BigInt)]
    pub signature_rejected: i64,
    /// Not to be read.
    #[diesel(sql_type = BigInt)]
    pub malformed: i64,
    /// Something broke or was away.
    #[diesel(sql_type = BigInt)]
    pub failed: i64,
    /// Events that were known before.
    #[diesel(sql_type = BigInt)]
    pub duplicate_events: i64,
    /// Events that were known with another content.
    #[diesel(sql_type = BigInt)]
    pub conflicts: i64,
    /// Orders made.
    #[diesel(sql_type = BigInt)]
    pub orders: i64,
}

impl Counts {
    /// What came of all that was received.
    pub fn answered(&self) -> i64 {
        self.first
            + self.replayed
            + self.mismatched
            + self.in_progress_rejected
            + self.signature_rejected
            + self.malformed
            + self.failed
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.received += other.received;
        self.first += other.first;
        self.replayed += other.replayed;
        self.mismatched += other.mismatched;
        self.in_progress_rejected += other.in_progress_rejected;
        self.signature_rejected += other.signature_rejected;
        self.malformed += other.malformed;
        self.failed += other.failed;
        self.duplicate_events += other.duplicate_events;
        self.conflicts += other.conflicts;
        self.orders += other.orders;
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, one| {
            sum += one;
            sum
        })
    }
}

/// What a process has counted in an hour.
#[derive(Clone, Debug, PartialEq)]
pub struct TrafficHour {
    /// This row alone.
    pub id: Uuid,
    /// When the hour began.
    pub hour: Timestamp,
    /// The process.
    pub instance: Uuid,
    /// What came.
    pub counts: Counts,
    /// How long first answers took: HdrHistogram's V2 form, in microseconds, as the other two; empty for nothing.
    pub first_latency: Vec<u8>,
    /// How long replays took.
    pub replayed_latency: Vec<u8>,
    /// How long look-ups of keys took.
    pub lookup_latency: Vec<u8>,
}

/// As it is stored.
#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = hours, check_for_backend(diesel::sqlite::Sqlite, diesel::pg::Pg))]
struct HourRow {
    id: Uuid,
    hour: Timestamp,
    instance: Uuid,
    received: i64,
    first: i64,
    replayed: i64,
    duplicate_events: i64,
    conflicts: i64,
    mismatched: i64,
    in_progress_rejected: i64,
    signature_rejected: i64,
    malformed: i64,
    failed: i64,
    orders: i64,
    first_latency: Vec<u8>,
    replayed_latency: Vec<u8>,
    lookup_latency: Vec<u8>,
}

impl From<&TrafficHour> for HourRow {
    fn from(hour: &TrafficHour) -> Self {
        let counts = hour.counts;
        Self {
            id: hour.id,
            hour: hour.hour,
            instance: hour.instance,
            received: counts.received,
            first: counts.first,
            replayed: counts.replayed,
            duplicate_events: counts.duplicate_events,
            conflicts: counts.conflicts,
            mismatched: counts.mismatched,
            in_progress_rejected: counts.in_progress_rejected,
            signature_rejected: counts.signature_rejected,
            malformed: counts.malformed,
            failed: counts.failed,
            orders: counts.orders,
            first_latency: hour.first_latency.clone(),
            replayed_latency: hour.replayed_latency.clone(),
            lookup_latency: hour.lookup_latency.clone(),
        }
    }
}

impl From<HourRow> for TrafficHour {
    fn from(row: HourRow) -> Self {
        Self {
            id: row.id,
            hour: row.hour,
            instance: row.instance,
            counts: Counts {
                received: row.received,
                first: row.first,
                replayed: row.replayed,
                mismatched: row.mismatched,
                in_progress_rejected: row.in_progress_rejected,
                signature_rejected: row.signature_rejected,
                malformed: row.malformed,
                failed: row.failed,
                duplicate_events: row.duplicate_events,
                conflicts: row.conflicts,
                orders: row.orders,
            },
            first_latency: row.first_latency,
            replayed_latency: row.replayed_latency,
            lookup_latency: row.lookup_latency,
        }
    }
}

/// Writes an hour down as it stands, in place of how it stood before.
pub fn put_hour(conn: &mut Conn<'_>, hour: &TrafficHour) -> Result<(), StoreError> {
    let row = HourRow::from(hour);
    on_each!(conn, |c| diesel::insert_into(hours::table)
        .values(&row)
        .on_conflict(hours::id)
        .do_update()
        .set(&row)
        .execute(c))?;
    Ok(())
}

/// The hours from `from` on, but for the rows with these ids, the oldest first.
pub fn hours_from(
    conn: &mut Conn<'_>,
    from: Timestamp,
    without: &[Uuid],
) -> Result<Vec<TrafficHour>, StoreError> {
    let rows: Vec<HourRow> = on_each!(conn, |c| hours::table
        .filter(hours::hour.ge(from))
        .filter(hours::id.ne_all(without))
        .order(hours::hour)
        .select(HourRow::as_select())
        .load(c))?;
    Ok(rows.into_iter().map(TrafficHour::from).collect())
}

/// All that came before `until`.
pub fn counts_before(conn: &mut Conn<'_>, until: Timestamp) -> Result<Counts, StoreError> {
    // A sum of nothing is NULL, and PostgreSQL's is a number of any size.
    let sums = COUNTED.map(|name| format!("CAST(coalesce(sum({name}), 0) AS BIGINT) AS {name}"));
    let query = format!(
        "SELECT {} FROM traffic_hours WHERE hour < $1",
        sums.join(", ")
    );
    let query = sql_query(query).bind::<Moment, _>(until);
    Ok(on_each!(conn, |c| query.get_result(c))?)
}

const COUNTED: [&str; 11] = [
    "received",
    "first",
    "replayed",
    "mismatched",
    "in_progress_rejected",
    "signature_rejected",
    "malformed",
    "failed",
    "duplicate_events",
    "conflicts",
    "orders",
];

/// Adds the hours before `until` up in one row, without their histograms.
pub fn fold_hours(conn: &mut Conn<'_>, until: Timestamp) -> Result<(), StoreError> {
    let counts = counts_before(conn, until)?;
    on_each!(conn, |c| diesel::delete(
        hours::table.filter(hours::hour.lt(until))
    )
    .execute(c))?;
    let sum = TrafficHour {
        id: NOBODY,
        hour: Timestamp::beginning(),
        instance: NOBODY,
        counts,
        first_latency: Vec::new(),
        replayed_latency: Vec::new(),
        lookup_latency: Vec::new(),
    };
    put_hour(conn, &sum)
}

/// Notes that something came for a retailer, and for how long nothing did before.
pub fn note_activity(conn: &mut Conn<'_>, retailer: Uuid, at: Timestamp) -> Result<(), StoreError> {
    // One statement, so that two instances which note it at once lose nothing.
    let note = sql_query(
        "INSERT INTO retailer_activity AS a (retailer_id, last_at_s, week, longest_s, longest_before_s)
         VALUES ($1, $2, $3, 0, 0)
         ON CONFLICT (retailer_id) DO UPDATE SET
             longest_before_s = CASE excluded.week - a.week
                 WHEN 0 THEN a.longest_before_s WHEN 1 THEN a.longest_s ELSE 0 END,
             longest_s = CASE WHEN excluded.week = a.week AND a.longest_s > excluded.last_at_s - a.last_at_s
                 THEN a.longest_s ELSE excluded.last_at_s - a.last_at_s END,
             week = excluded.week,
             last_at_s = excluded.last_at_s
         WHERE excluded.last_at_s > a.last_at_s",
    )
    .bind::<Id, _>(retailer)
    .bind::<BigInt, _>(at.seconds())
    .bind::<BigInt, _>(at.seconds() / WEEK_S);
    on_each!(conn, |c| note.execute(c))?;
    Ok(())
}

const WEEK_S: i64 = 7 * 24 * 60 * 60;

/// A retailer for which nothing has come for longer than usual.
#[derive(Clone, Debug, PartialEq, QueryableByName)]
pub struct Silent {
    /// The retailer.
    #[diesel(sql_type = Id)]
    pub retailer_id: Uuid,
    /// Seconds for which nothing has come.
    #[diesel(sql_type = BigInt)]
    pub silent_s: i64,
    /// The longest silence of this week and the last, in seconds.
    #[diesel(sql_type = BigInt)]
    pub usual_s: i64,
}

/// The retailers for which nothing has come for longer than `least_s` seconds and half as long again as their longest
/// silence of this week and the last, the longest silent first; at most `most`. After four weeks they are taken to be
/// gone.
pub fn silent_retailers(
    conn: &mut Conn<'_>,
    least_s: i64,
    now: Timestamp,
    most: i64,
) -> Result<Vec<Silent>, StoreError> {
    let query = sql_query(
        "SELECT retailer_id, silent_s, usual_s FROM (
             SELECT retailer_id, $1 - last_at_s AS silent_s,
                 CASE WHEN longest_s > longest_before_s THEN longest_s ELSE longest_before_s END AS usual_s
             FROM retailer_activity WHERE last_at_s > $2 AND last_at_s < $3
         ) AS silences WHERE silent_s * 2 > usual_s * 3 ORDER BY silent_s DESC LIMIT $4",
    )
    .bind::<BigInt, _>(now.seconds())
    .bind::<BigInt, _>(now.seconds() - 4 * WEEK_S)
    .bind::<BigInt, _>(now.seconds().saturating_sub(least_s))
    .bind::<BigInt, _>(most);
    Ok(on_each!(conn, |c| query.load(c))?)
}

/// How much there was in an hour.
#[derive(Clone, Debug, PartialEq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = snapshots, check_for_backend(diesel::sqlite::Sqlite, diesel::pg::Pg))]
pub struct Snapshot {
    /// When the hour began.
    pub hour: Timestamp,
    /// When it was taken.
    pub taken_at: Timestamp,
    /// Records that were not past their time.
    pub active: i64,
    /// Records that were.
    pub expired: i64,
    /// Records in progress.
    pub in_progress: i64,
    /// Records with an answer.
    pub completed: i64,
    /// Records of what failed.
    pub failed: i64,
    /// All records.
    pub total: i64,
    /// The size of the database.
    pub size_bytes: i64,
}

impl Snapshot {
    /// Of what there is at `now`.
    pub fn of(records: RecordCounts, size: Size, now: Timestamp) -> Self {
        Self {
            hour: now.hour(),
            taken_at: now,
            active: records.active(),
            expired: records.expired,
            in_progress: records.in_progress,
            completed: records.completed,
            failed: records.failed,
            total: records.total(),
            size_bytes: size.store,
        }
    }
}

/// Keeps a snapshot, in place of an earlier one of its hour.
pub fn put_snapshot(conn: &mut Conn<'_>, snapshot: &Snapshot) -> Result<(), StoreError> {
    on_each!(conn, |c| diesel::insert_into(snapshots::table)
        .values(snapshot)
        .on_conflict(snapshots::hour)
        .do_update()
        .set(snapshot)
        .execute(c))?;
    Ok(())
}

/// The snapshots from `from` on, the oldest first.
pub fn snapshots_from(conn: &mut Conn<'_>, from: Timestamp) -> Result<Vec<Snapshot>, StoreError> {
    Ok(on_each!(conn, |c| snapshots::table
        .filter(snapshots::hour.ge(from))
        .order(snapshots::hour)
        .select(Snapshot::as_select())
        .load(c))?)
}

/// Forgets the snapshots from before `until`.
pub fn forget_snapshots(conn: &mut Conn<'_>, until: Timestamp) -> Result<(), StoreError> {
    on_each!(conn, |c| diesel::delete(
        snapshots::table.filter(snapshots::hour.lt(until))
    )
    .execute(c))?;
    Ok(())
}
