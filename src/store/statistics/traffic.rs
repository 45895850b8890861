//! What was received and with which results, hour by hour and process by process.

use diesel::{prelude::*, sql_query, sql_types::BigInt};
use std::{iter::Sum, ops::AddAssign};

use super::NOBODY;
use crate::store::{
    Conn, StoreError, on_each,
    schema::traffic_hours as hours,
    types::{Moment, Timestamp, Uuid},
};

/// What was received, and with which result: a request is received and one of the following seven.
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
    /// Edits noted on orders.
    #[diesel(sql_type = BigInt)]
    pub edits_noted: i64,
    /// Revokes noted on orders.
    #[diesel(sql_type = BigInt)]
    pub revokes_noted: i64,
    /// Messages to numbers that no retailer has.
    #[diesel(sql_type = BigInt)]
    pub unknown_retailers: i64,
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
        self.edits_noted += other.edits_noted;
        self.revokes_noted += other.revokes_noted;
        self.unknown_retailers += other.unknown_retailers;
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
#[diesel(table_name = hours, check_for_backend(crate::store::Checked))]
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
    edits_noted: i64,
    revokes_noted: i64,
    unknown_retailers: i64,
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
            edits_noted: counts.edits_noted,
            revokes_noted: counts.revokes_noted,
            unknown_retailers: counts.unknown_retailers,
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
                edits_noted: row.edits_noted,
                revokes_noted: row.revokes_noted,
                unknown_retailers: row.unknown_retailers,
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

const COUNTED: [&str; 14] = [
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
    "edits_noted",
    "revokes_noted",
    "unknown_retailers",
];

/// Adds the hours before `until` up in one row, without their histograms.
pub fn fold_hours(conn: &mut Conn<'_>, until: Timestamp) -> Result<(), StoreError> {
    // What is deleted is what is added up, whoever writes meanwhile.
    let old: Vec<HourRow> = on_each!(conn, |c| diesel::delete(
        hours::table.filter(hours::hour.lt(until))
    )
    .returning(HourRow::as_returning())
    .get_results(c))?;
    let counts = old
        .into_iter()
        .map(|row| TrafficHour::from(row).counts)
        .sum();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_count_is_added_to_its_own() {
        let counts = |by: i64| Counts {
            received: by,
            first: 2 * by,
            replayed: 3 * by,
            mismatched: 4 * by,
            in_progress_rejected: 5 * by,
            signature_rejected: 6 * by,
            malformed: 7 * by,
            failed: 8 * by,
            duplicate_events: 9 * by,
            conflicts: 10 * by,
            orders: 11 * by,
            edits_noted: 12 * by,
            revokes_noted: 13 * by,
            unknown_retailers: 14 * by,
        };
        assert_eq!(
            [counts(1), counts(3)].into_iter().sum::<Counts>(),
            counts(4)
        );
    }
}
