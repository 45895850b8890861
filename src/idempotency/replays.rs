//! Counts replays in memory, so that a replay never waits for a write.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::store::{
    Store, StoreError,
    idempotency::{self as rows, Replays},
    types::{Timestamp, Uuid},
};

/// Replays since the last flush, by record. The counts are for the operator: those of the last moments before a
/// crash are lost.
#[derive(Debug, Default)]
pub struct ReplayTally(Mutex<HashMap<Uuid, (i64, Timestamp)>>);

impl ReplayTally {
    /// How many records are remembered between two flushes: bounds the memory.
    const MOST: usize = 100_000;
    /// How many records one transaction changes.
    const AT_ONCE: usize = 500;

    /// Counts one replay.
    pub fn note(&self, record: Uuid, at: Timestamp) {
        self.remember(&[Replays {
            id: record,
            times: 1,
            at,
        }]);
    }

    /// Writes what was counted to the records, some at a time: requests are let in between.
    ///
    /// # Errors
    /// Where the database does not store them. The counts are kept for the next time, except those that it may have stored.
    pub async fn flush(&self, store: &Store) -> Result<(), StoreError> {
        let replays = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let replays = replays.into_iter();
        let mut replays: Vec<_> = replays
            .map(|(id, (times, at))| Replays { id, times, at })
            .collect();
        // Neighbours in the tree are changed together.
        replays.sort_unstable_by_key(|it| it.id);
        let mut left = &*replays;
        while !left.is_empty() {
            let (part, others) = left.split_at(left.len().min(Self::AT_ONCE));
            let part = part.to_vec();
            let written = store
                .write(move |conn| rows::count_replays(conn, &part))
                .await;
            if let Err(error) = written {
                self.remember(if error.may_be_done() { others } else { left });
                return Err(error);
            }
            left = others;
        }
        Ok(())
    }

    fn remember(&self, counted: &[Replays]) {
        let mut replays = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for &Replays { id, times, at } in counted {
            if replays.len() < Self::MOST || replays.contains_key(&id) {
                let (sum, last) = replays.entry(id).or_insert((0, at));
                *sum += times;
                *last = at.max(*last);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(feature = "sqlite")]
    use diesel::connection::SimpleConnection as _;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::beginning().after(std::time::Duration::from_secs(seconds))
    }

    fn counted(tally: &ReplayTally) -> Vec<(i64, Timestamp)> {
        tally.0.lock().unwrap().values().copied().collect()
    }

    #[test]
    fn a_record_is_counted_with_its_last_time_and_of_very_many_the_first() {
        let tally = ReplayTally::default();
        let record = Uuid::random();
        for time in [2, 3, 1] {
            tally.note(record, at(time));
        }
        assert_eq!(counted(&tally), [(3, at(3))]);
        let others = (0..ReplayTally::MOST).map(|_| Replays {
            id: Uuid::random(),
            times: 1,
            at: at(1),
        });
        tally.remember(&others.collect::<Vec<_>>());
        assert_eq!(counted(&tally).len(), ReplayTally::MOST);
        tally.note(record, at(4));
        assert_eq!(counted(&tally).into_iter().max(), Some((4, at(4))));
    }

    #[tokio::test]
    #[cfg(feature = "sqlite")]
    async fn what_was_not_stored_is_stored_the_next_time() {
        let url = "sqlite://:memory:".parse().unwrap();
        let store = Store::open(&url, &Default::default()).await.unwrap();
        let rename = async |statement: &'static str| {
            let renamed = store
                .write(move |conn| Ok::<_, StoreError>(conn.sqlite()?.batch_execute(statement)?));
            renamed.await.unwrap();
        };
        let tally = ReplayTally::default();
        // More than one transaction's.
        for _ in 0..=ReplayTally::AT_ONCE {
            tally.note(Uuid::random(), at(1));
        }
        rename("ALTER TABLE webhook_idempotency RENAME TO elsewhere").await;
        tally.flush(&store).await.unwrap_err();
        assert_eq!(counted(&tally).len(), ReplayTally::AT_ONCE + 1);
        rename("ALTER TABLE elsewhere RENAME TO webhook_idempotency").await;
        tally.flush(&store).await.unwrap();
        assert_eq!(counted(&tally), []);
    }
}
