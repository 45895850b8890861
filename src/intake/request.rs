//! Acts on a client's request exactly once: one transaction claims the key, does the work and stores the reply.

use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

use super::{Answer, Intake, IntakeError};
use crate::{
    idempotency::{
        self, Claim, Conclusion, Keyed, KeyedRequest, Lifetimes, StoredReply, Transacted,
    },
    store::{
        Conn, StoreError,
        types::{Timestamp, Uuid},
    },
};

/// What a client asked for is done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Response {
    /// What is answered, now and whenever the request comes again.
    pub reply: StoredReply,
    /// Whose business it turned out to be.
    pub retailer_id: Option<Uuid>,
    /// The order that it is about.
    pub order_id: Option<Uuid>,
}

/// What a client asked for is not done.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// It cannot be done: an answer like any other, now and whenever the request comes again.
    #[error("the request was refused")]
    Refused(StoredReply),
    /// The database did not do it: the next request tries again.
    #[error(transparent)]
    Failed(#[from] StoreError),
}

impl Intake {
    /// Does `work`, or gives the answer that its key got before. Without a request there is no key, and the work is
    /// done each time. Where the work is not done, nothing is left of it. An answer is replayed for `ttl`.
    ///
    /// # Errors
    /// Where nothing was done: see [`IntakeError`].
    pub async fn perform<F>(
        &self,
        request: Option<KeyedRequest>,
        ttl: Duration,
        now: Timestamp,
        deadline: Instant,
        work: F,
    ) -> Result<Answer, IntakeError>
    where
        F: FnOnce(&mut Conn<'_>) -> Result<Response, Rejection> + Clone + Send + 'static,
    {
        let lifetimes = Lifetimes {
            ttl,
            ..self.settings.lifetimes
        };
        if let Some(request) = &request
            && let Some(answered) = self.cache.find(request.wanted(), &self.lookups, now).await
        {
            return Ok(self.replay(answered, now));
        }
        let (keyed, lookups) = (request.clone(), self.lookups.clone());
        let writing = self.store.write(move |conn| {
            let work = |conn: &mut Conn<'_>| answered(conn, work);
            let Some(request) = &keyed else {
                return Ok((work(conn)?, None));
            };
            let keyed = Keyed {
                request,
                lifetimes,
                lookups: &lookups,
                now,
            };
            match keyed.transact(conn, work, Response::conclusion)? {
                Transacted::Done { value, answered } => Ok((value, Some((answered, false)))),
                Transacted::Replayed(answered) => Ok((Response::default(), Some((answered, true)))),
                Transacted::Mismatch => Err(IntakeError::KeyMismatch),
                Transacted::InProgress { retry_after } => {
                    Err(IntakeError::InProgress { retry_after })
                }
            }
        });
        let outcome = match tokio::time::timeout_at(deadline, writing).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(IntakeError::Timeout),
        };
        if let (Err(error), Some(request)) = (&outcome, &request)
            && error.is_failure()
        {
            self.record_failure(Arc::new(request.clone()), error, lifetimes, now)
                .await;
        }
        let (done, kept) = outcome?;
        if let (Some((answered, is_replay)), Some(request)) = (kept, request) {
            self.cache.keep(request.wanted(), &answered, now);
            if is_replay {
                return Ok(self.replay(answered, now));
            }
        }
        Ok(Answer {
            reply: done.reply,
            replayed: false,
            events: Vec::new(),
            retailers: done.retailer_id.into_iter().collect(),
        })
    }

    /// Checks that the key does not stand for another request, without claiming it.
    ///
    /// # Errors
    /// [`IntakeError::KeyMismatch`] where it does; or the database's own.
    pub async fn check_key(
        &self,
        request: KeyedRequest,
        now: Timestamp,
    ) -> Result<(), IntakeError> {
        let looking = move |conn: &mut Conn<'_>| idempotency::look(conn, &request, now);
        match self.store.read(looking).await? {
            Some(Claim::Mismatch) => Err(IntakeError::KeyMismatch),
            _ => Ok(()),
        }
    }
}

/// What `work` comes to. It runs in a savepoint, so that the answer to what was refused can be kept without what it had
/// written.
fn answered<F>(conn: &mut Conn<'_>, work: F) -> Result<Response, IntakeError>
where
    F: FnOnce(&mut Conn<'_>) -> Result<Response, Rejection>,
{
    let done = match conn.savepoint(work) {
        Ok(done) => done,
        Err(Rejection::Refused(reply)) => Response {
            reply,
            ..Response::default()
        },
        Err(Rejection::Failed(error)) => return Err(error.into()),
    };
    match done.reply.body.len() > StoredReply::MAX_BYTES {
        true => Err(IntakeError::ReplyTooLarge),
        false => Ok(done),
    }
}

impl Response {
    fn conclusion(&self) -> Conclusion<'_> {
        Conclusion {
            retailer: self.retailer_id,
            order: self.order_id,
            ..self.reply.conclusion()
        }
    }
}
