//! Counts replays in memory, so that a replay never waits for a write.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::store::{
    Store, StoreError, idempotency as rows,
    types::{Timestamp, Uuid},
};

/// Replays since the last flush, by record. The counts are for the operator: those of the last moments before a
/// crash are lost.
#[derive(Debug, Default)]
pub struct ReplayTally(Mutex<HashMap<Uuid, (i64, Timestamp)>>);

impl ReplayTally {
    /// How many records are remembered between two flushes: bounds the memory.
    const MOST: usize = 100_000;

    /// Counts one replay.
    pub fn note(&self, record: Uuid, at: Timestamp) {
        let mut replays = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if replays.len() < Self::MOST || replays.contains_key(&record) {
            let (times, last) = replays.entry(record).or_insert((0, at));
            *times += 1;
            *last = at.max(*last);
        }
    }

    /// Writes what was counted to the records.
    ///
    /// # Errors
    /// Where the database does not take it; the counts are dropped.
    pub async fn flush(&self, store: &Store) -> Result<(), StoreError> {
        let replays = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if replays.is_empty() {
            return Ok(());
        }
        // Sorted, so that two instances lock rows in the same order.
        let mut replays: Vec<_> = replays.into_iter().collect();
        replays.sort_unstable_by_key(|(id, _)| *id);
        store
            .write(move |conn| {
                replays
                    .into_iter()
                    .try_for_each(|(id, (times, at))| rows::count_replays(conn, id, times, at))
            })
            .await
    }
}
