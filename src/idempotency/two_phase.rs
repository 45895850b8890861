//! For work that reaches outside the database and so cannot join its transaction: one transaction claims the key,
//! another stores the answer, and a lease between them tells work that goes on from work that died. Knows no HTTP.
//!
//! | the process dies | what is left | the same request again |
//! | --- | --- | --- |
//! | before the claim is committed | nothing | is the first |
//! | between the claim and the completion | a lease that nobody renews | is told to wait; once the lease has run out, does the work again |
//! | after the completion is committed | the answer | gets that answer |
//!
//! A lease is renewed for as long as the work goes on, so work that lives is not overtaken, however long it takes. Work
//! that was held up for longer than its lease and comes back finds its token gone and changes nothing. Leases are read
//! off the clocks of the machines: a clock that is set forward, or runs ahead of another's, by more than two thirds of
//! the lease can make work that lives look dead; one that is set back keeps the key of the dead for as much longer.

use std::time::Duration;
use tokio::{
    runtime::Handle,
    task::{AbortHandle, JoinHandle},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    Answered, Cache, Claim, KeyedRequest, Lease, Lifetimes, LookupTimer, Settlement, StoredReply,
};
use crate::store::{Conn, Store, StoreError, idempotency as rows, types::Timestamp};

/// Claims keys, keeps them while the work is done, and stores its answers.
#[derive(Clone)]
pub struct TwoPhase {
    /// How long an answer is replayed, and how long a dead worker's key is kept from others.
    pub lifetimes: Lifetimes,
    /// How long the database is waited for.
    pub timeout: Duration,
    /// Who is told how long keys are looked up for.
    pub lookups: LookupTimer,
    /// The caches, which are asked before the database.
    pub cache: Cache,
    store: Store,
    runtime: Option<Handle>,
}

/// The result of asking for a key.
pub enum Begun {
    /// The caller does the work.
    Acquired(Box<Running>),
    /// It was done: the answer.
    Replay(Answered),
}

/// A request that the caller does. Its lease is renewed until this is dropped. If it is dropped before it is completed or
/// given back, its key comes free when the lease runs out.
pub struct Running {
    driver: TwoPhase,
    lease: Lease,
    request: KeyedRequest,
    _heartbeat: Heartbeat,
}

/// Whether the answer was stored.
pub enum CompletionResult {
    /// It is stored.
    Stored,
    /// Another had taken the work over and has answered: that answer stands.
    Overtaken(Answered),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum TwoPhaseError {
    /// The key stands for another request.
    #[error("the idempotency key was used for another request")]
    KeyMismatch,
    /// Another is doing the work.
    #[error("the first request with this key is still in progress")]
    InProgress {
        /// After which it is worth asking again.
        retry_after: Duration,
    },
    /// The database did not give the key; the work was not begun.
    #[error("the key could not be claimed")]
    NotClaimed(#[source] WriteError),
    /// The work was done, and the database did not take its answer.
    #[error("the work was done, but its answer could not be stored")]
    NotStored {
        /// Why.
        source: WriteError,
        /// After which the key comes free at the latest.
        lease: Duration,
    },
}

/// Why the database did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// It took longer than it may.
    #[error("the database did not finish in time")]
    Timeout,
    /// It refused, or is away.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl WriteError {
    /// Whether the same may succeed a little later.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Timeout => true,
            Self::Store(error) => error.is_unavailable(),
        }
    }
}

impl TwoPhase {
    /// Over a store. Leases are renewed on the runtime that this is called in, if any, so that work which blocks a
    /// thread of another one does not lose its key.
    pub fn new(store: Store, lifetimes: Lifetimes, timeout: Duration) -> Self {
        Self {
            lifetimes,
            timeout,
            lookups: LookupTimer::default(),
            cache: Cache::default(),
            store,
            runtime: Handle::try_current().ok(),
        }
    }

    /// Claims the key of `request` and commits that, or gives the answer that stands under it.
    ///
    /// # Errors
    /// Where the caller is not to do the work: see [`TwoPhaseError`].
    pub async fn begin(&self, request: KeyedRequest) -> Result<Begun, TwoPhaseError> {
        let now = Timestamp::now();
        if let Some(answered) = self.cache.find(request.lookup(), &self.lookups, now).await {
            return Ok(Begun::Replay(answered));
        }
        let (lifetimes, lookups) = (self.lifetimes, self.lookups.clone());
        let mut claiming = self.write(move |conn| {
            let claim = super::claim(conn, &request, lifetimes, &lookups, Timestamp::now())?;
            Ok((claim, request))
        });
        let deadline = Instant::now() + self.timeout;
        let (claim, request) = match by(deadline, &mut claiming).await {
            Ok(claimed) => claimed,
            Err(error) => {
                if matches!(error, WriteError::Timeout) {
                    self.clone().give_back(claiming);
                }
                return Err(TwoPhaseError::NotClaimed(error));
            }
        };
        match claim {
            Claim::Acquired(lease) => {
                self.cache.forget(&request.scope, &request.key);
                Ok(Begun::Acquired(Box::new(self.clone().run(lease, request))))
            }
            Claim::Replay(answered) => {
                self.cache.keep(request.lookup(), &answered, now);
                Ok(Begun::Replay(answered))
            }
            Claim::Mismatch => Err(TwoPhaseError::KeyMismatch),
            Claim::InProgress { retry_after } => Err(self.in_progress(retry_after)),
        }
    }

    fn run(self, lease: Lease, mut request: KeyedRequest) -> Running {
        // The record has the body. Keeping it here while the work goes on would only cost memory.
        request.body = None;
        let runtime = self.runtime.clone().unwrap_or_else(Handle::current);
        let heartbeat = runtime.spawn(self.clone().keep_alive(lease));
        Running {
            driver: self,
            lease,
            request,
            _heartbeat: Heartbeat(heartbeat.abort_handle()),
        }
    }

    /// Renews the lease regularly, until another has taken the request over.
    async fn keep_alive(self, lease: Lease) {
        const SHORTEST: Duration = Duration::from_millis(1);
        let length = self.lifetimes.lease;
        let pause = (length / 3).max(SHORTEST);
        loop {
            sleep(pause).await;
            let renewal = self
                .store
                .write(move |conn| super::renew(conn, lease, length, Timestamp::now()));
            match timeout(pause, renewal).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => return,
                Ok(Err::<_, StoreError>(error)) => {
                    log::warn!("a lease could not be renewed: {error}");
                }
                Err(_elapsed) => log::warn!("a lease could not be renewed in time"),
            }
        }
    }

    /// If the clock of the lease's owner is ahead, the remaining time seems longer than it is.
    fn in_progress(&self, retry_after: Duration) -> TwoPhaseError {
        let retry_after = retry_after.min(self.lifetimes.lease);
        TwoPhaseError::InProgress { retry_after }
    }

    /// Gives a key back that is claimed when nobody waits for it any more.
    fn give_back(self, claiming: JoinHandle<Result<(Claim, KeyedRequest), StoreError>>) {
        tokio::spawn(async move {
            if let Ok(Ok((Claim::Acquired(lease), request))) = claiming.await {
                let late = self.run(lease, request);
                late.release("the key was claimed too late").await;
            }
        });
    }

    /// Writes in a task of its own, so that what has begun goes on when nobody waits for it any more.
    fn write<T, F>(&self, work: F) -> JoinHandle<Result<T, StoreError>>
    where
        F: FnOnce(&mut Conn<'_>) -> Result<T, StoreError> + Clone + Send + 'static,
        T: Send + 'static,
    {
        let store = self.store.clone();
        tokio::spawn(async move { store.write(work).await })
    }
}

impl Running {
    /// Stores the answer, trying again for as long as the database may be waited for: the work is done, and without
    /// its answer it would be done again.
    ///
    /// # Errors
    /// Where it is not stored, or another has taken the request over and has not answered yet.
    pub async fn complete(self, reply: StoredReply) -> Result<CompletionResult, TwoPhaseError> {
        const PAUSE: Duration = Duration::from_millis(200);
        let deadline = Instant::now() + self.driver.timeout;
        let now = Timestamp::now();
        let claim = loop {
            match self.store_reply(&reply, deadline).await {
                Ok(claim) => break claim,
                Err(error) if error.is_unavailable() && Instant::now() + PAUSE < deadline => {
                    sleep(PAUSE).await;
                }
                Err(source) => {
                    let lease = self.driver.lifetimes.lease;
                    return Err(TwoPhaseError::NotStored { source, lease });
                }
            }
        };
        match claim {
            Claim::Acquired(lease) => {
                self.keep(&lease.answered(reply), now);
                Ok(CompletionResult::Stored)
            }
            Claim::Replay(answered) => {
                self.keep(&answered, now);
                Ok(CompletionResult::Overtaken(answered))
            }
            Claim::Mismatch => Err(TwoPhaseError::KeyMismatch),
            Claim::InProgress { retry_after } => Err(self.driver.in_progress(retry_after)),
        }
    }

    fn keep(&self, answered: &Answered, now: Timestamp) {
        let (cache, wanted) = (&self.driver.cache, self.request.lookup());
        cache.keep(wanted, answered, now);
    }

    /// Stores the answer, or says who has the key now.
    async fn store_reply(
        &self,
        reply: &StoredReply,
        deadline: Instant,
    ) -> Result<Claim, WriteError> {
        let (lease, request, reply) = (self.lease, self.request.clone(), reply.clone());
        let mut storing = self.driver.write(move |conn| {
            let settlement = Settlement {
                reply: &reply,
                retailer: None,
                order: None,
                events: None,
                body: None,
            };
            if super::complete(conn, lease, settlement)? {
                return Ok(Claim::Acquired(lease));
            }
            match rows::find(conn, &request.scope, request.key.as_str())? {
                Some(record) => super::claim::compare(&record, &request, Timestamp::now()),
                None => Ok(Claim::InProgress {
                    retry_after: Duration::ZERO,
                }),
            }
        });
        by(deadline, &mut storing).await
    }

    /// Gives the key back for the same request, with what went wrong for the operator. Where the database does not
    /// take that, the key comes free when its lease runs out.
    pub async fn release(self, error: &str) {
        self.end(error, super::release).await;
    }

    /// Gives the key back for any request: nothing was done. Else as [`release`](Self::release).
    pub async fn withdraw(self, error: &str) {
        self.end(error, super::withdraw).await;
    }

    async fn end(
        self,
        error: &str,
        end: fn(&mut Conn<'_>, Lease, &str) -> Result<bool, StoreError>,
    ) {
        let lease = self.lease;
        // PostgreSQL's texts hold no NUL.
        let error = error.replace('\0', "\u{fffd}");
        let mut releasing = self.driver.write(move |conn| end(conn, lease, &error));
        let deadline = Instant::now() + self.driver.timeout;
        if let Err(error) = by(deadline, &mut releasing).await {
            log::error!("a key could not be given back before its lease runs out: {error}");
        }
    }
}

/// Stops renewing with its value.
struct Heartbeat(AbortHandle);

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn by<T>(
    deadline: Instant,
    writing: &mut JoinHandle<Result<T, StoreError>>,
) -> Result<T, WriteError> {
    match timeout_at(deadline, writing).await {
        Ok(Ok(outcome)) => Ok(outcome?),
        Ok(Err(_died)) => Err(StoreError::Closed.into()),
        Err(_elapsed) => Err(WriteError::Timeout),
    }
}
