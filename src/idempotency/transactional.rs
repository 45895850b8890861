//! Does what a request with a key asks for exactly once: one transaction claims the key, does the work and stores the reply.
//! Asks the caches first, and notes for the operator what failed.

use std::{sync::Arc, time::Duration};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};

use super::{
    Answered, Cache, Claim, Keyed, KeyedRequest, Lease, Lifetimes, LookupTimer, ReplayTally,
    RequestError, Settlement, StoredReply, Transacted,
    admission::{Admission, Ticket},
    look,
};
use crate::{
    causes::with_causes,
    store::{
        Conn, Store, StoreError,
        types::{Timestamp, Uuid},
    },
};

/// See [`Transactional::looks`].
const LOOKS: usize = 2;

/// The keys of a database, with the caches in front of it.
#[derive(Clone)]
pub struct Transactional {
    store: Store,
    /// How long an answer is replayed by default, and an unfinished request keeps its key.
    pub lifetimes: Lifetimes,
    /// Who is told how long keys are looked up for.
    pub lookups: LookupTimer,
    /// What is asked for answers before the database.
    pub cache: Cache,
    /// Who may wait for the database; everybody by default.
    pub admission: Admission,
    /// How many may look for their answers in the database though they may not wait for it.
    looks: Arc<Semaphore>,
    /// The replays that wait to be written to their records.
    pub replays: Arc<ReplayTally>,
}

/// The result of the work of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Response {
    /// What is answered, now and whenever the request comes again.
    pub reply: StoredReply,
    /// Whose business it turned out to be.
    pub retailer_id: Option<Uuid>,
    /// The order that it is about.
    pub order_id: Option<Uuid>,
}

/// Why the work of a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// It cannot be done: an answer like any other, now and whenever the request comes again.
    #[error("the request was refused")]
    Refused(StoredReply),
    /// The database did not do it: the next request tries again.
    #[error(transparent)]
    Failed(#[from] StoreError),
}

/// What becomes of a request before anything is done for it.
pub enum Entry {
    /// It was answered before.
    Known(StoredReply),
    /// It may wait for the database.
    Waits(Arc<Ticket>),
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Performed {
    /// What is sent back.
    pub reply: StoredReply,
    /// Whether it was answered before, and nothing was done.
    pub replayed: bool,
    /// Whose business it was: none where it was replayed.
    pub retailer_id: Option<Uuid>,
}

impl Transactional {
    /// Over a database.
    pub fn new(store: Store, lifetimes: Lifetimes, lookups: LookupTimer, cache: Cache) -> Self {
        Self {
            store,
            lifetimes,
            lookups,
            cache,
            admission: Admission::default(),
            looks: Arc::new(Semaphore::new(LOOKS)),
            replays: Arc::default(),
        }
    }

    /// Does `work`, or gives the answer that its key got before. Without a request there is no key, and the work is
    /// done each time. Where the work is not done, nothing is left of it. An answer is replayed for `ttl`.
    ///
    /// # Errors
    /// Where nothing was done: see [`RequestError`].
    pub async fn perform<F>(
        &self,
        request: Option<KeyedRequest>,
        ttl: Duration,
        now: Timestamp,
        deadline: Instant,
        work: F,
    ) -> Result<Performed, RequestError>
    where
        F: FnOnce(&mut Conn<'_>) -> Result<Response, Rejection> + Clone + Send + 'static,
    {
        let ticket = match self.enter(request.as_ref(), now).await? {
            Entry::Known(reply) => return Ok(Performed::replay(reply)),
            Entry::Waits(ticket) => ticket,
        };
        let lifetimes = Lifetimes {
            ttl,
            ..self.lifetimes
        };
        let request = request.map(Arc::new);
        let (keyed, lookups) = (request.clone(), self.lookups.clone());
        let writing = self.store.write(move |conn| {
            ticket.begin();
            match &keyed {
                Some(request) => transact(conn, request, lifetimes, &lookups, now, work),
                None => Ok((respond(conn, work)?, None)),
            }
        });
        let outcome = match timeout_at(deadline, writing).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(RequestError::Timeout),
        };
        if let (Err(error), Some(request)) = (&outcome, &request) {
            self.record_failure(request, error, lifetimes, now).await;
        }
        let (response, known) = outcome?;
        if let (Some((answered, is_replay)), Some(request)) = (known, request) {
            self.cache.keep(request.lookup(), &answered, now);
            if is_replay {
                return Ok(Performed::replay(self.replay(answered, now)));
            }
        }
        Ok(Performed {
            reply: response.reply,
            replayed: false,
            retailer_id: response.retailer_id,
        })
    }

    /// Checks that the key does not stand for another request, without claiming it.
    ///
    /// # Errors
    /// [`RequestError::KeyMismatch`] where it does; or the database's own.
    pub async fn check_key(
        &self,
        request: KeyedRequest,
        now: Timestamp,
    ) -> Result<(), RequestError> {
        let looking = move |conn: &mut Conn<'_>| look(conn, &request, now);
        match self.store.read(looking).await? {
            Some(Claim::Mismatch) => Err(RequestError::KeyMismatch),
            _ => Ok(()),
        }
    }

    /// The answer that a key has in the caches, or a place among those that wait for the database.
    ///
    /// # Errors
    /// [`RequestError::Overloaded`] where there is no place, and the database has no answer either.
    pub async fn enter(
        &self,
        request: Option<&KeyedRequest>,
        now: Timestamp,
    ) -> Result<Entry, RequestError> {
        if let Some(request) = request
            && let lookup = request.lookup()
            && let Some(answered) = self.cache.find(lookup, &self.lookups, now).await
        {
            return Ok(Entry::Known(self.replay(answered, now)));
        }
        if let Ok(ticket) = self.admission.enter() {
            return Ok(Entry::Waits(ticket));
        }
        let request = request.ok_or(RequestError::Overloaded)?;
        let known = self.find_stored(request, now).await;
        known.map(Entry::Known).ok_or(RequestError::Overloaded)
    }

    /// The answer that the database has, for whoever may not wait for its writer. Few may look at once: to find that nothing
    /// is known is to cost next to nothing.
    async fn find_stored(&self, request: &KeyedRequest, now: Timestamp) -> Option<StoredReply> {
        const PATIENCE: Duration = Duration::from_millis(100);
        let permit = self.looks.clone().try_acquire_owned().ok()?;
        let (scope, key) = (request.scope.clone(), request.key.clone());
        let wanted = KeyedRequest::new(scope, key, request.webhook_type, request.fingerprint);
        let looking = move |conn: &mut Conn<'_>| {
            let _permit = permit;
            look(conn, &wanted, now)
        };
        match timeout(PATIENCE, self.store.read(looking))
            .await
            .ok()?
            .ok()??
        {
            Claim::Replay(answered) => {
                self.cache.keep(request.lookup(), &answered, now);
                Some(self.replay(answered, now))
            }
            _ => None,
        }
    }

    /// Counts a replay, and gives its reply.
    pub fn replay(&self, answered: Answered, now: Timestamp) -> StoredReply {
        self.replays.note(answered.record, now);
        answered.reply
    }

    /// Gives the key of a request back, with why it failed: the same request may do it again.
    ///
    /// # Errors
    /// Where the database refuses.
    pub async fn release(&self, lease: Lease, error: &RequestError) -> Result<(), StoreError> {
        let message = with_causes(error);
        let releasing = move |conn: &mut Conn<'_>| super::release(conn, lease, &message);
        self.store.write(releasing).await.map(drop)
    }

    /// Writes down for the operator that a request failed, if its work did. Whoever sent it is not kept waiting for that.
    pub async fn record_failure(
        &self,
        request: &Arc<KeyedRequest>,
        error: &RequestError,
        lifetimes: Lifetimes,
        now: Timestamp,
    ) {
        const PATIENCE: Duration = Duration::from_secs(2);
        if !error.is_failure() {
            return;
        }
        let (request, message) = (request.clone(), with_causes(error));
        let writing = self
            .store
            .write(move |conn| super::record_failure(conn, &request, lifetimes, &message, now));
        match timeout(PATIENCE, writing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => log::error!(
                "a failed request could not be recorded: {}",
                with_causes(&error)
            ),
            Err(_elapsed) => log::error!("a failed request could not be recorded in time"),
        }
    }
}

/// The result of a request, and what its record says now, with whether that is a replay.
type Outcome = (Response, Option<(Answered, bool)>);

fn transact(
    conn: &mut Conn<'_>,
    request: &KeyedRequest,
    lifetimes: Lifetimes,
    lookups: &LookupTimer,
    now: Timestamp,
    work: impl FnOnce(&mut Conn<'_>) -> Result<Response, Rejection>,
) -> Result<Outcome, RequestError> {
    let keyed = Keyed {
        request,
        lifetimes,
        lookups,
        now,
    };
    match keyed.transact(conn, |conn| respond(conn, work), Response::settlement)? {
        Transacted::Done { value, answered } => Ok((value, Some((answered, false)))),
        Transacted::Replayed(answered) => Ok((Response::default(), Some((answered, true)))),
        Transacted::Mismatch => Err(RequestError::KeyMismatch),
        Transacted::InProgress { retry_after } => Err(RequestError::InProgress { retry_after }),
    }
}

/// What `work` comes to. It runs in a savepoint, so that a refusal can be stored without what the work had written.
fn respond(
    conn: &mut Conn<'_>,
    work: impl FnOnce(&mut Conn<'_>) -> Result<Response, Rejection>,
) -> Result<Response, RequestError> {
    let response = match conn.savepoint(work) {
        Ok(response) => response,
        Err(Rejection::Refused(reply)) => Response {
            reply,
            ..Response::default()
        },
        Err(Rejection::Failed(error)) => return Err(error.into()),
    };
    match response.reply.body.len() > StoredReply::MAX_BYTES {
        true => Err(RequestError::ReplyTooLarge),
        false => Ok(response),
    }
}

impl Response {
    fn settlement(&self) -> Settlement<'_> {
        Settlement {
            retailer: self.retailer_id,
            order: self.order_id,
            ..self.reply.settlement()
        }
    }
}

impl Performed {
    fn replay(reply: StoredReply) -> Self {
        Self {
            reply,
            replayed: true,
            retailer_id: None,
        }
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reply_may_be_as_large_as_what_is_kept_and_no_larger() {
        let url = "sqlite://:memory:".parse().unwrap();
        let store = Store::open(&url, &Default::default()).await.unwrap();
        let minute = Duration::from_secs(60);
        let lifetimes = Lifetimes {
            ttl: minute,
            lease: minute,
        };
        let keys = Transactional::new(store, lifetimes, LookupTimer::default(), Cache::default());
        for (more, is_kept) in [(0, true), (1, false)] {
            let work = move |_: &mut Conn<'_>| {
                let body = vec![b'a'; StoredReply::MAX_BYTES + more].into();
                let reply = StoredReply {
                    body,
                    ..StoredReply::default()
                };
                Ok(Response {
                    reply,
                    ..Response::default()
                })
            };
            let deadline = Instant::now() + minute;
            let done = keys.perform(None, minute, Timestamp::now(), deadline, work);
            match done.await {
                Ok(_) => assert!(is_kept),
                Err(error) => assert!(!is_kept && matches!(error, RequestError::ReplyTooLarge)),
            }
        }
    }
}
