//! Measures how long keys are looked up for.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::store::types::Timestamp;

/// Whoever counts how long look-ups take.
pub trait CountsLookups: Send + Sync {
    /// Takes in one that ended at `now`.
    fn looked_up(&self, took: Duration, now: Timestamp);
}

/// Who is told how long look-ups take; nobody by default. Cheap to clone.
#[derive(Clone, Default)]
pub struct LookupTimer(Option<Arc<dyn CountsLookups>>);

impl LookupTimer {
    /// Tells `counter`.
    pub fn counted_by(counter: Arc<dyn CountsLookups>) -> Self {
        Self(Some(counter))
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
        if let Some(counter) = &self.0 {
            counter.looked_up(took, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Counter(Mutex<Vec<Timestamp>>);

    impl CountsLookups for Counter {
        fn looked_up(&self, _: Duration, now: Timestamp) {
            self.0.lock().unwrap().push(now);
        }
    }

    #[test]
    fn each_look_up_is_told_once() {
        let counter = Arc::new(Counter::default());
        let timer = LookupTimer::counted_by(counter.clone());
        let now = Timestamp::now();
        assert_eq!(timer.timed(now, || 7), 7);
        timer.took(Duration::ZERO, Timestamp::beginning());
        assert_eq!(*counter.0.lock().unwrap(), [now, Timestamp::beginning()]);
    }
}
