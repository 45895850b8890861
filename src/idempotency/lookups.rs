//! Measures how long keys are looked up for.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{statistics::Traffic, store::types::Timestamp};

/// Who is told how long look-ups take; nobody by default. Cheap to clone.
#[derive(Clone, Default)]
pub struct Lookups(Option<Arc<Traffic>>);

impl Lookups {
    /// Tells `traffic`.
    pub fn counted_by(traffic: Arc<Traffic>) -> Self {
        Self(Some(traffic))
    }

    /// Looks up, and tells how long it took.
    pub fn timed<T>(&self, now: Timestamp, look_up: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let found = look_up();
        self.took(begun.elapsed(), now);
        found
    }

    /// Tells how long a look-up took.
    pub fn took(&self, took: Duration, now: Timestamp) {
        if let Some(traffic) = &self.0 {
            traffic.looked_up(took, now);
        }
    }
}
