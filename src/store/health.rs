//! How the recent writes of this process went: whether they fail, since when, and why. A probe would see only its own small
//! writes.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Trouble, types::Timestamp};

/// For how long a write that failed because the disk was full counts for more than commits since: a smaller write may still
/// find room.
const OUTWEIGHS: Duration = Duration::from_secs(10);

/// For how long an alert tells of a failure, so that whoever looks now and then sees it too.
const LATELY: Duration = Duration::from_secs(60);

/// How writes went. Cheap to clone; clones share their state.
#[derive(Clone)]
pub struct Health(Arc<Inner>);

struct Inner {
    is_failing: AtomicBool,
    last: Mutex<Option<Failing>>,
    listener: RwLock<Option<Arc<dyn Listener>>>,
}

/// Is told of each write of this process, in the thread that does it: keep it short.
pub trait Listener: Send + Sync {
    /// So many writes shared a transaction.
    fn gathered(&self, writes: usize);

    /// A write could not be made durable.
    fn failed(&self, trouble: Trouble);
}

/// Writes that fail, whatever they are.
#[derive(Clone, Debug)]
pub struct Failing {
    /// Since when none is known to have been made durable.
    pub since: Timestamp,
    /// Why the last of them failed.
    pub trouble: Trouble,
    /// The database's error message. For the log and the operator.
    pub cause: String,
    last: Instant,
    is_over: bool,
}

impl Failing {
    /// Whether the last failure counts for more than what is committed now.
    pub(super) fn outweighs(&self) -> bool {
        self.needed_room() && self.last.elapsed() < OUTWEIGHS
    }

    /// Whether a write that needs less room may still be committed.
    fn needed_room(&self) -> bool {
        match self.trouble {
            Trouble::ReadOnly | Trouble::File | Trouble::Away => false,
            Trouble::Full | Trouble::Disk | Trouble::Untold => true,
        }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self(Arc::new(Inner {
            is_failing: AtomicBool::new(false),
            last: Mutex::default(),
            listener: RwLock::default(),
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

    /// Tells `listener` how each write went from now on, instead of the listener before it.
    pub fn listen(&self, listener: Arc<dyn Listener>) {
        let place = self.0.listener.write();
        *place.unwrap_or_else(PoisonError::into_inner) = Some(listener);
    }

    fn tell(&self, what: impl FnOnce(&dyn Listener)) {
        let listener = self.0.listener.read();
        let listener = listener.unwrap_or_else(PoisonError::into_inner);
        if let Some(listener) = &*listener {
            what(&**listener);
        }
    }

    /// Notes that so many writes shared a transaction.
    pub(super) fn gathered(&self, writes: usize) {
        self.tell(|listener| listener.gathered(writes));
    }

    /// Notes a write that could not be made durable.
    pub(super) fn failed(&self, trouble: Trouble, cause: String) {
        self.tell(|listener| listener.failed(trouble));
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
        let told = Arc::new(Told::default());
        health.listen(told.clone());
        health.failed(Trouble::Away, "gone".to_owned());
        let since = health.failing().expect("a failure").since;
        health.failed(Trouble::ReadOnly, "a standby".to_owned());
        assert_eq!(health.failing().expect("another").since, since);
        health.committed();
        assert!(!health.is_failing());
        health.gathered(7);
        let told = told.0.lock().expect("what was told");
        assert_eq!(*told, ["away", "read_only", "7"]);
    }

    #[derive(Default)]
    struct Told(Mutex<Vec<String>>);

    impl Listener for Told {
        fn gathered(&self, writes: usize) {
            self.0.lock().expect("the list").push(writes.to_string());
        }

        fn failed(&self, trouble: Trouble) {
            let mut told = self.0.lock().expect("the list");
            told.push(trouble.as_str().to_owned());
        }
    }
}
