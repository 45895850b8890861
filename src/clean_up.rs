//! Deletes what has expired, for a program that uses the crate: the service has its own, which also keeps statistics.

use std::time::Duration;

use crate::store::{Conn, Store, StoreError, cleanup, types::Timestamp};

/// What was deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CleanedUp {
    /// Keys with their answers.
    pub records: i64,
    /// Events: their like is new again.
    pub events: i64,
    /// Keys that nobody came to complete, given back.
    pub released: i64,
}

/// Deletes keys whose answers have expired, and events that came longer ago than `events_kept`, in small transactions that
/// give way to requests. To be called every hour or so, by one process or by several. Keep events for longer than the
/// provider sends again: see [`Provider::sends_again_for`](crate::provider::Provider::sends_again_for).
///
/// # Errors
/// Where the database refuses; what was deleted stays deleted.
pub async fn clean_up(store: &Store, events_kept: Duration) -> Result<CleanedUp, StoreError> {
    const ABANDONED: &str = "whoever was doing it is gone";
    let now = Timestamp::now();
    let until = now.before(events_kept);
    Ok(CleanedUp {
        records: in_batches(store, move |conn| cleanup::delete_records(conn, now, BATCH)).await?,
        events: in_batches(store, move |conn| {
            cleanup::delete_events(conn, until, BATCH)
        })
        .await?,
        released: in_batches(store, move |conn| {
            cleanup::release_leases(conn, ABANDONED, now, BATCH)
        })
        .await?,
    })
}

/// The most rows of a transaction.
const BATCH: i64 = 500;

async fn in_batches<W>(store: &Store, work: W) -> Result<i64, StoreError>
where
    W: FnOnce(&mut Conn<'_>) -> Result<i64, StoreError> + Copy + Send + 'static,
{
    let mut all = 0;
    loop {
        let done = store.write_in_background(move |conn, _demand| work(conn));
        let done = done.await?;
        all += done;
        if done < BATCH {
            return Ok(all);
        }
    }
}
