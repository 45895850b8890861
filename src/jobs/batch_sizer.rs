//! How many rows a batch of a clean-up takes.

use std::time::Duration;

use crate::store::WriteLoad;

/// How many rows are done at a time. A request that comes in the middle of a batch waits for its end. So while others
/// write, a batch should take no longer than a request does anyway.
#[derive(Clone, Copy)]
pub(super) struct BatchSizer {
    /// How many rows fit into a batch while others write.
    rows: i64,
    most: i64,
}

impl BatchSizer {
    /// What a batch may take while others write.
    const BATCH: Duration = Duration::from_millis(3);
    /// How many times as long a batch may take while nobody else writes.
    const IDLE: i64 = 16;
    /// The time between two, in which another process can begin.
    pub const PAUSE: Duration = Duration::from_millis(1);

    pub fn new(most: u32) -> Self {
        let most = i64::from(most);
        // How long a row takes is not known yet.
        let rows = (most / 16).max(1);
        Self { rows, most }
    }

    pub fn rows(&self, demand: WriteLoad) -> i64 {
        match demand {
            WriteLoad::Idle => (Self::IDLE * self.rows).min(self.most),
            WriteLoad::Busy => self.rows,
        }
    }

    /// Learns from how long a batch of so many rows took.
    pub fn learn(&mut self, rows: i64, took: Duration) {
        let fitting = rows as f64 * Self::BATCH.as_secs_f64() / took.as_secs_f64().max(1e-6);
        // At most twice as many as before, because one quick batch says little.
        self.rows = (fitting as i64).clamp(1, self.most).min(2 * self.rows);
    }
}
