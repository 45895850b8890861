//! Acts on a client's request exactly once: one transaction claims the key, does the work and stores the reply.

use std::time::Duration;
use tokio::time::Instant;

use super::{Answer, Intake, IntakeError};
use crate::{
    idempotency::{self, Answered, Claim, Conclusion, KeyedRequest, Lookups, StoredReply, Terms},
    store::{
        Conn, StoreError,
        types::{Timestamp, Uuid},
    },
};

/// What a client asked for is done.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// What is answered, now and whenever the request comes again.
    pub reply: StoredReply,
    /// Whose business it turned out to be.
    pub retailer_id: Option<Uuid>,
    /// The order that it is about.
    pub order_id: Option<Uuid>,
}

/// What a client asked for is not done.
#[derive(Debug, thiserror::Error)]
pub enum Undone {
    /// It cannot be done: an answer like any other, now and whenever the request comes again.
    #[error("the request was refused")]
    Refused(StoredReply),
    /// The database did not do it: the next request tries again.
    #[error(transparent)]
    Failed(#[from] StoreError),
}

/// What the transaction did.
enum Outcome {
    Answered {
        done: Done,
        /// What the record of its key says now, where it has one.
        kept: Option<Answered>,
    },
    Replayed(Answered),
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
        F: FnOnce(&mut Conn<'_>) -> Result<Done, Undone> + Clone + Send + 'static,
    {
        let terms = Terms {
            ttl,
            ..self.settings.terms
        };
        if let Some(request) = &request
            && let Some(answered) = self.cache.find(request.wanted(), &self.lookups, now).await
        {
            return Ok(self.replay(answered, now));
        }
        let (keyed, lookups) = (request.clone(), self.lookups.clone());
        let writing = self
            .store
            .write(move |conn| transact(conn, keyed, terms, &lookups, now, work));
        let outcome = match tokio::time::timeout_at(deadline, writing).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(IntakeError::Timeout),
        };
        let outcome = match (outcome, request) {
            (Err(error), Some(request)) if error.is_failure() => {
                self.record_failure(request, &error, terms, now).await;
                return Err(error);
            }
            (outcome, request) => (outcome?, request),
        };
        let keep = |request: Option<KeyedRequest>, answered: &Answered| {
            if let Some(request) = request {
                self.cache.keep(request.wanted(), answered, now);
            }
        };
        Ok(match outcome {
            (Outcome::Replayed(answered), request) => {
                keep(request, &answered);
                self.replay(answered, now)
            }
            (Outcome::Answered { done, kept }, request) => {
                if let Some(answered) = kept {
                    keep(request, &answered);
                }
                Answer {
                    reply: done.reply,
                    replayed: false,
                    events: Vec::new(),
                    retailers: done.retailer_id.into_iter().collect(),
                }
            }
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

fn transact<F>(
    conn: &mut Conn<'_>,
    request: Option<KeyedRequest>,
    terms: Terms,
    lookups: &Lookups,
    now: Timestamp,
    work: F,
) -> Result<Outcome, IntakeError>
where
    F: FnOnce(&mut Conn<'_>) -> Result<Done, Undone>,
{
    let owned = match &request {
        None => None,
        Some(request) => match idempotency::claim(conn, request, terms, lookups, now)? {
            Claim::Ours(owned) => Some(owned),
            Claim::Replay(answered) => return Ok(Outcome::Replayed(answered)),
            Claim::Mismatch => return Err(IntakeError::KeyMismatch),
            Claim::InProgress { retry_after } => {
                return Err(IntakeError::InProgress { retry_after });
            }
        },
    };
    // In a savepoint, so that the answer to what was refused can be kept without what it had written.
    let done = match conn.savepoint(work) {
        Ok(done) => done,
        Err(Undone::Refused(reply)) => Done {
            reply,
            retailer_id: None,
            order_id: None,
        },
        Err(Undone::Failed(error)) => return Err(error.into()),
    };
    if done.reply.body.len() > StoredReply::MAX_BYTES {
        return Err(IntakeError::ReplyTooLarge);
    }
    let came_to = Conclusion {
        reply: &done.reply,
        retailer: done.retailer_id,
        order: done.order_id,
        events: None,
    };
    if let Some(owned) = owned
        && !idempotency::complete(conn, owned, came_to)?
    {
        // Cannot be: the claim is of this transaction. If it were, all of it must go.
        return Err(IntakeError::KeyMismatch);
    }
    Ok(Outcome::Answered {
        kept: owned.map(|owned| owned.answered(done.reply.clone())),
        done,
    })
}
