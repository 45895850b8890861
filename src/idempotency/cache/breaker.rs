//! A circuit breaker: after a few failures in a row nothing is sent to Redis, until a caller says that it works again.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// How many failures in a row open it. One alone may be a connection that was closed for its age.
const FAILURES: u32 = 3;

/// The kinds of operation. Each has its own count of failures: a full Redis still answers reads.
#[derive(Clone, Copy)]
pub(super) enum Act {
    Read = 0,
    Write = 1,
}

/// The breaker is open at first. Whoever closes it has checked that Redis works.
pub(super) struct Breaker {
    is_open: AtomicBool,
    failures: [AtomicU32; 2],
}

impl Breaker {
    pub fn open() -> Self {
        Self {
            is_open: AtomicBool::new(true),
            failures: Default::default(),
        }
    }

    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    pub fn succeeded(&self, act: Act) {
        self.failures[act as usize].store(0, Ordering::Relaxed);
    }

    /// `true`: this was the one that opened it.
    pub fn failed(&self, act: Act) -> bool {
        let before = self.failures[act as usize].fetch_add(1, Ordering::Relaxed);
        before + 1 >= FAILURES && self.trip()
    }

    /// Opens it. `true`: it was closed.
    pub fn trip(&self) -> bool {
        !self.is_open.swap(true, Ordering::Relaxed)
    }

    pub fn close(&self) {
        for failures in &self.failures {
            failures.store(0, Ordering::Relaxed);
        }
        self.is_open.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_once_after_failures_in_a_row_and_stays_so_until_it_is_closed() {
        let breaker = Breaker::open();
        breaker.close();
        assert!(!breaker.failed(Act::Read) && !breaker.failed(Act::Read));
        breaker.succeeded(Act::Read);
        assert!(!breaker.failed(Act::Read) && !breaker.failed(Act::Read));
        assert!(!breaker.is_open());
        assert!(breaker.failed(Act::Read), "the third in a row");
        assert!(breaker.is_open() && !breaker.failed(Act::Read), "only once");
        breaker.succeeded(Act::Read);
        assert!(breaker.is_open(), "an answer that was under way");
        breaker.close();
        assert!(!breaker.is_open() && !breaker.failed(Act::Read));
    }

    #[test]
    fn reads_that_work_do_not_hide_writes_that_do_not() {
        let breaker = Breaker::open();
        breaker.close();
        let opened = [(); 3].map(|()| {
            breaker.succeeded(Act::Read);
            breaker.failed(Act::Write)
        });
        assert_eq!(opened, [false, false, true]);
    }
}
