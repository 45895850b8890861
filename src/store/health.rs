//! What the writes of this process have met of late: a probe of its own sees only what a probe meets.

use prometheus::{IntCounterVec, Opts};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Trouble, types::Timestamp};

/// For how long a write that failed for want of room outweighs all that are committed: one may find room where another
/// does not.
const OUTWEIGHS: Duration = Duration::from_secs(10);

/// For how long an alert tells of a failure, so that whoever looks now and then sees it too.
const LATELY: Duration = Duration::from_secs(60);

/// What writes have met. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Health(Arc<Inner>);

struct Inner {
    is_failing: AtomicBool,
    last: Mutex<Option<Failing>>,
    failures: IntCounterVec,
}

/// Writes that fail, whatever they are.
#[derive(Clone, Debug)]
pub struct Failing {
    /// Since when none is known to have been made durable.
    pub since: Timestamp,
    /// Why the last of them failed.
    pub trouble: Trouble,
    /// What the database said to it. For the log and the operator.
    pub cause: String,
    last: Instant,
    is_over: bool,
}

impl Failing {
    /// Whether the last that failed outweighs whatever is committed now.
    pub(super) fn outweighs(&self) -> bool {
        self.needed_room() && self.last.elapsed() < OUTWEIGHS
    }

    /// Whether another that needs less may be committed all the same.
    fn needed_room(&self) -> bool {
        match self.trouble {
            Trouble::ReadOnly | Trouble::File | Trouble::Away => false,
            Trouble::Full | Trouble::Disk | Trouble::Untold => true,
        }
    }
}

impl Default for Health {
    fn default() -> Self {
        let about =
            "Writes that could not be made durable, by what was the matter with the database.";
        let opts = Opts::new("hookonce_write_failures_total", about);
        let failures = IntCounterVec::new(opts, &["reason"]).expect("the options of a counter");
        for trouble in Trouble::ALL {
            failures.with_label_values(&[trouble.as_str()]);
        }
        Self(Arc::new(Inner {
            is_failing: AtomicBool::new(false),
            last: Mutex::default(),
            failures,
        }))
    }
}

impl Health {
    /// Whether writes fail: the last one did, and none is known to have been made durable since.
    pub fn is_failing(&self) -> bool {
        self.0.is_failing.load(Ordering::Relaxed)
    }

    /// The writes that fail.
    pub fn failing(&self) -> Option<Failing> {
        self.last().clone().filter(|last| !last.is_over)
    }

    /// The writes that fail, or did a moment ago.
    pub fn failing_lately(&self) -> Option<Failing> {
        let last = self.last().clone();
        last.filter(|last| !last.is_over || last.last.elapsed() < LATELY)
    }

    /// How many have failed, by what was the matter; for Prometheus.
    pub fn failures(&self) -> IntCounterVec {
        self.0.failures.clone()
    }

    /// Notes a write that could not be made durable.
    pub(super) fn failed(&self, trouble: Trouble, cause: String) {
        self.0.failures.with_label_values(&[trouble.as_str()]).inc();
        let mut last = self.last();
        let since = match &*last {
            Some(last) if !last.is_over => last.since,
            _ => {
                log::error!("{}; {}: {cause}", trouble.reason(), trouble.advice());
                Timestamp::now()
            }
        };
        *last = Some(Failing {
            since,
            trouble,
            cause,
            last: Instant::now(),
            is_over: false,
        });
        self.0.is_failing.store(true, Ordering::Relaxed);
    }

    /// Notes a write that was made durable. To be called while writes fail; otherwise it says nothing new.
    pub(super) fn committed(&self) {
        self.end_if(|last| !last.needed_room());
    }

    /// Notes a write that was made durable though it needed more room than others do.
    pub(super) fn found_room(&self) {
        self.end_if(|last| !last.outweighs());
    }

    fn end_if(&self, is_over: impl FnOnce(&Failing) -> bool) {
        let mut last = self.last();
        let Some(last) = last.as_mut().filter(|last| !last.is_over) else {
            return;
        };
        if is_over(last) {
            log::info!("writes are made durable again");
            last.is_over = true;
            self.0.is_failing.store(false, Ordering::Relaxed);
        }
    }

    fn last(&self) -> MutexGuard<'_, Option<Failing>> {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_is_committed_does_not_hide_that_there_was_no_room_for_another() {
        let health = Health::default();
        health.committed();
        assert!(!health.is_failing() && health.failing_lately().is_none());
        health.failed(Trouble::Full, "no room".to_owned());
        health.found_room();
        let failing = health.failing().expect("too soon");
        assert_eq!(
            (failing.trouble, &*failing.cause),
            (Trouble::Full, "no room")
        );
        health.last().as_mut().expect("a failure").last -= OUTWEIGHS;
        health.committed();
        assert!(health.is_failing(), "it was a small one");
        health.found_room();
        assert!(!health.is_failing() && health.failing().is_none());
        assert!(health.failing_lately().is_some(), "it was a moment ago");
    }

    #[test]
    fn one_write_proves_that_a_server_is_back_and_since_tells_of_the_first_that_failed() {
        let health = Health::default();
        health.failed(Trouble::Away, "gone".to_owned());
        let since = health.failing().expect("a failure").since;
        health.failed(Trouble::ReadOnly, "a standby".to_owned());
        assert_eq!(health.failing().expect("another").since, since);
        health.committed();
        assert!(!health.is_failing());
        assert_eq!(health.failures().with_label_values(&["away"]).get(), 1);
    }
}
