//! One connection: what it is doing, and why it is ended.

use futures_util::future::AbortHandle;
use std::{
    net::IpAddr,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use super::{activity::Activity, reason::Reason};

/// One connection.
#[derive(Debug)]
pub struct Connection {
    /// The place in the order of all that came.
    pub(super) id: u64,
    /// The client's address; `None` where all clients share one, as behind a proxy.
    pub(super) network: Option<IpAddr>,
    activity: Mutex<Activity>,
    ended: OnceLock<Reason>,
    is_proven: AtomicBool,
    abort: AbortHandle,
}

impl Connection {
    pub(super) fn new(id: u64, network: Option<IpAddr>, abort: AbortHandle) -> Self {
        Self {
            id,
            network,
            activity: Mutex::new(Activity::new(Instant::now())),
            ended: OnceLock::new(),
            is_proven: AtomicBool::new(false),
            abort,
        }
    }

    pub(super) fn activity(&self) -> MutexGuard<'_, Activity> {
        self.activity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that it has sent something genuine. False where that was known.
    pub(super) fn prove(&self) -> bool {
        !self.is_proven.swap(true, Ordering::Relaxed)
    }

    /// Why it is being ended, if it is.
    pub(super) fn ended(&self) -> Option<Reason> {
        self.ended.get().copied()
    }

    /// Ends it, whatever it is doing. False where it was being ended already.
    pub(super) fn end(&self, reason: Reason) -> bool {
        let is_first = self.ended.set(reason).is_ok();
        self.abort.abort();
        is_first
    }
}
