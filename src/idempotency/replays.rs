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
        self.remember([(record, (1, at))]);
    }

    /// Writes what was counted to the records.
    ///
    /// # Errors
    /// Where the database does not store them. The counts are kept for the next time, except those that it may have stored.
    pub async fn flush(&self, store: &Store) -> Result<(), StoreError> {
        let replays = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if replays.is_empty() {
            return Ok(());
        }
        // Sorted, so that two instances lock rows in the same order.
        let mut replays: Vec<_> = replays.into_iter().collect();
        replays.sort_unstable_by_key(|(id, _)| *id);
        let counted = replays.clone();
        let writing = store.write(move |conn| {
            replays
                .into_iter()
                .try_for_each(|(id, (times, at))| rows::count_replays(conn, id, times, at))
        });
        let outcome = writing.await;
        if outcome.as_ref().is_err_and(|error| !error.may_be_done()) {
            self.remember(counted);
        }
        outcome
    }

    fn remember(&self, counted: impl IntoIterator<Item = (Uuid, (i64, Timestamp))>) {
        let mut replays = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (record, (times, at)) in counted {
            if replays.len() < Self::MOST || replays.contains_key(&record) {
                let (sum, last) = replays.entry(record).or_insert((0, at));
                *sum += times;
                *last = at.max(*last);
            }
        }
    }
}
