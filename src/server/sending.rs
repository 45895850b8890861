//! An answer on its way to somebody who may read it slowly, or not at all.

use std::time::{Duration, Instant};

use super::limits::Limits;

/// How far an answer is.
#[derive(Debug, Default)]
pub struct Sending {
    /// Nothing will be added to it.
    pub complete: bool,
    /// Bytes that the system has taken.
    sent: u64,
    /// For how long in all the system would take no more.
    stalled: Duration,
    /// Since when it takes no more.
    stalled_since: Option<Instant>,
}

impl Sending {
    /// The system took so many bytes.
    pub fn sent(&mut self, count: usize, now: Instant) {
        self.sent += count as u64;
        if let Some(since) = self.stalled_since.take() {
            self.stalled += now.saturating_duration_since(since);
        }
    }

    /// The system takes no more.
    pub fn stalls(&mut self, now: Instant) {
        self.stalled_since.get_or_insert(now);
    }

    /// Whether the system takes no more.
    pub fn is_stalled(&self) -> bool {
        self.stalled_since.is_some()
    }

    /// Whether nothing was read for too long, or too little in all.
    pub fn is_late(&self, limits: &Limits, now: Instant) -> bool {
        let Some(since) = self.stalled_since else {
            return false;
        };
        let stall = now.saturating_duration_since(since);
        let earned = Duration::from_secs(self.sent) / Limits::LEAST_RATE as u32;
        stall > limits.timeout || self.stalled + stall > limits.timeout + earned
    }
}
