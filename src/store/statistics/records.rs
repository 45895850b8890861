//! How many records there are. They are never scanned: triggers count them in the very transactions that change them.

use diesel::{
    prelude::*,
    sql_query,
    sql_types::{BigInt, Bool, Text},
};
use std::{collections::BTreeMap, iter::Sum, ops::AddAssign};

use super::NOBODY;
use crate::store::{
    Conn, StoreError,
    idempotency::RecordStatus,
    on_each,
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

/// Counts the records as of `now`, without a look at more of them than expire within one minute or are in progress. To
/// be true it must see the database at one moment: see [`crate::store::Store::snapshot`].
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
struct RecordTotal {
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

fn settled(conn: &mut Conn<'_>) -> Result<Vec<RecordTotal>, StoreError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_count_is_added_to_its_own() {
        let counts = |by: i64| RecordCounts {
            in_progress: by,
            completed: 10 * by,
            failed: 100 * by,
            expired: 1000 * by,
            replays: 10_000 * by,
        };
        assert_eq!(
            [counts(1), counts(2), counts(4)]
                .into_iter()
                .sum::<RecordCounts>(),
            counts(7)
        );
        assert_eq!((counts(2).total(), counts(2).active()), (222, 222 - 2000));
    }
}
