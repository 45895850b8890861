//! One connection, as those see it who serve it and those who may end it.

use futures_util::future::AbortHandle;
use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use super::{activity::Activity, connections::Connections, reason::Reason};

/// One connection.
#[derive(Debug)]
pub struct Connection {
    /// The place in the order of all that came.
    pub(super) id: u64,
    /// Whose it is; none where all come from there.
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

/// A connection among all. Each request has it as data of its connection. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) connection: Arc<Connection>,
    pub(super) connections: Arc<Connections>,
}

impl Handle {
    /// Notes that it has sent something genuine. Those that have not are the first that make room for others.
    pub fn prove(&self) {
        if !self.connection.is_proven.swap(true, Ordering::Relaxed) {
            self.connections.prove(&self.connection);
        }
    }

    pub(super) fn activity(&self) -> MutexGuard<'_, Activity> {
        self.connection.activity()
    }

    pub(super) fn end(&self, reason: Reason) {
        self.connections.end(&self.connection, reason);
    }
}
