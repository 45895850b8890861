//! How much there was, hour by hour.

use diesel::prelude::*;

use super::{RecordCounts, Size};
use crate::store::{
    Conn, StoreError, on_each, schema::statistics_snapshots as snapshots, types::Timestamp,
};

/// How much there was in an hour.
#[derive(Clone, Debug, PartialEq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = snapshots, check_for_backend(crate::store::Checked))]
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
