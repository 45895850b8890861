//! Work that is done once for its key, with its answer, within one transaction: whatever is killed when, both are there or
//! neither is.

use std::{borrow::Cow, error::Error, time::Duration};

use super::{
    Answered, Claim, Fingerprint, IdempotencyKey, InvalidKey, KeyedRequest, Lifetimes, LookupTimer,
    Settlement, StoredReply, claim, complete,
};
use crate::store::{Conn, StoreError, types::Timestamp};

/// A key in its scope: a client or a kind of work. The same key in two scopes is two keys.
#[derive(Clone, Debug)]
pub struct Key {
    scope: Cow<'static, str>,
    key: IdempotencyKey,
    lifetimes: Lifetimes,
}

impl Key {
    /// A key of 1 to 128 characters of `A-Z a-z 0-9 - _ . :`, whose answer is kept for a day.
    ///
    /// # Errors
    /// Where the key is not of that form.
    pub fn new(scope: impl Into<Cow<'static, str>>, key: &str) -> Result<Self, InvalidKey> {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        const LEASE: Duration = Duration::from_secs(30);
        Ok(Self {
            scope: scope.into(),
            key: key.parse()?,
            lifetimes: Lifetimes {
                ttl: DAY,
                lease: LEASE,
            },
        })
    }

    /// Keeps the answer for as long as this.
    #[must_use]
    pub fn kept_for(mut self, ttl: Duration) -> Self {
        self.lifetimes.ttl = ttl;
        self
    }
}

/// The result of work that is to be done once.
#[derive(Clone, Debug, PartialEq)]
pub enum Once {
    /// It was done now: its answer.
    Done(StoredReply),
    /// It was done before: the answer that it had then.
    Replayed(StoredReply),
}

impl Once {
    /// The answer.
    pub fn reply(&self) -> &StoredReply {
        match self {
            Self::Done(reply) | Self::Replayed(reply) => reply,
        }
    }
}

/// Why nothing was done, and nothing is left of what was begun.
#[derive(Debug, thiserror::Error)]
pub enum OnceError {
    /// The key stands for something else.
    #[error("the idempotency key was used for another request")]
    Mismatch,
    /// Somebody has begun with it, in a way that takes more than one transaction.
    #[error("the first request with this key is still in progress")]
    InProgress {
        /// When it is worth coming again.
        retry_after: Duration,
    },
    /// The answer is larger than what is kept.
    #[error("the reply is too large to be stored")]
    ReplyTooLarge,
    /// The work itself failed.
    #[error("the work failed")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
    /// The database failed or refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OnceError {
    /// Wraps the error of work that failed.
    pub fn failed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed(error.into())
    }
}

impl From<diesel::result::Error> for OnceError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Does `work` unless its key has an answer already, and keeps its answer. To be called within a transaction, of the
/// store or of one's own; with the end of that both become durable, or neither.
///
/// `fingerprint` is what was asked for: another one under the same key is refused. Of two that come at once, the second
/// waits for the first, and gets its answer.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use diesel::{Connection as _, RunQueryDsl as _, SqliteConnection, sql_query};
/// use hookonce::{
///     idempotency::{Key, Once, StoredReply, fingerprint, once},
///     store::Conn,
/// };
///
/// /// Charges once, however often it is asked to.
/// fn charge(conn: &mut SqliteConnection, key: &str, body: &[u8]) -> Result<Once, Box<dyn std::error::Error>> {
///     let key = Key::new("charges", key)?;
///     let asked = fingerprint("POST", "/charges", "", "application/json", body);
///     let done = conn.immediate_transaction(|conn| {
///         once(&mut Conn::from(conn), &key, asked, |conn| {
///             sql_query("INSERT INTO charges (amount) VALUES (500)").execute(conn.sqlite()?)?;
///             Ok(StoredReply { status: 201, ..StoredReply::default() })
///         })
///     });
///     Ok(done?)
/// }
/// # }
/// ```
///
/// # Errors
/// See [`OnceError`]; of what `work` has written nothing is left.
pub fn once(
    conn: &mut Conn<'_>,
    key: &Key,
    fingerprint: Fingerprint,
    work: impl FnOnce(&mut Conn<'_>) -> Result<StoredReply, OnceError>,
) -> Result<Once, OnceError> {
    let request = KeyedRequest::new(key.scope.clone(), key.key.clone(), "own", fingerprint);
    let work = |conn: &mut Conn<'_>| {
        let reply = work(conn)?;
        match reply.body.len() > StoredReply::MAX_BYTES {
            true => Err(OnceError::ReplyTooLarge),
            false => Ok(reply),
        }
    };
    let keyed = Keyed {
        request: &request,
        lifetimes: key.lifetimes,
        lookups: &LookupTimer::default(),
        now: Timestamp::now(),
    };
    // In a savepoint: if the work fails and the caller goes on with the transaction, the claim is not kept.
    conn.savepoint(
        |conn| match keyed.transact(conn, work, StoredReply::settlement)? {
            Transacted::Done { value, .. } => Ok(Once::Done(value)),
            Transacted::Replayed(answered) => Ok(Once::Replayed(answered.reply)),
            Transacted::Mismatch => Err(OnceError::Mismatch),
            Transacted::InProgress { retry_after } => Err(OnceError::InProgress { retry_after }),
        },
    )
}

/// A request, and what its key is claimed with.
pub struct Keyed<'a> {
    /// The request.
    pub request: &'a KeyedRequest,
    /// How long things stand.
    pub lifetimes: Lifetimes,
    /// Who is told how long the key was looked up for.
    pub lookups: &'a LookupTimer,
    /// When it came.
    pub now: Timestamp,
}

/// The result of a request.
pub enum Transacted<T> {
    /// It was done.
    Done {
        /// Its result.
        value: T,
        /// What its record says now.
        answered: Answered,
    },
    /// It was done before.
    Replayed(Answered),
    /// The key stands for another request: nothing of what was done is to be kept.
    Mismatch,
    /// Somebody is doing it.
    InProgress {
        /// When it is worth coming again.
        retry_after: Duration,
    },
}

impl Keyed<'_> {
    /// Claims the key, does `work`, and completes the record with what `conclude` makes of it.
    ///
    /// # Errors
    /// `work`'s own, or the database's: then the transaction is to be undone.
    pub fn transact<T, E: From<StoreError>>(
        &self,
        conn: &mut Conn<'_>,
        work: impl FnOnce(&mut Conn<'_>) -> Result<T, E>,
        conclude: impl for<'t> FnOnce(&'t T) -> Settlement<'t>,
    ) -> Result<Transacted<T>, E> {
        let lease = match claim(conn, self.request, self.lifetimes, self.lookups, self.now)? {
            Claim::Acquired(lease) => lease,
            Claim::Replay(answered) => return Ok(Transacted::Replayed(answered)),
            Claim::Mismatch => return Ok(Transacted::Mismatch),
            Claim::InProgress { retry_after } => {
                return Ok(Transacted::InProgress { retry_after });
            }
        };
        let value = work(conn)?;
        let settlement = conclude(&value);
        let answered = lease.answered(settlement.reply.clone());
        if !complete(conn, lease, settlement)? {
            // Cannot be: the claim is of this transaction. If it were, all of it must go.
            return Ok(Transacted::Mismatch);
        }
        Ok(Transacted::Done { value, answered })
    }
}

impl StoredReply {
    /// What a request comes to that is about nothing of the shop's.
    #[doc(hidden)]
    pub fn settlement(&self) -> Settlement<'_> {
        Settlement {
            reply: self,
            retailer: None,
            order: None,
            events: None,
            body: None,
        }
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;
    use crate::{idempotency::fingerprint, store::Store};

    #[tokio::test]
    async fn an_answer_as_large_as_may_be_is_kept_and_a_larger_one_is_not() {
        let url = "sqlite://:memory:".parse().unwrap();
        let store = Store::open(&url, &Default::default()).await.unwrap();
        let ask = async |key: &'static str, bytes: usize| {
            let asked = fingerprint("POST", "/", "", "text/plain", key.as_bytes());
            let work = move |conn: &mut Conn<'_>| {
                let key = Key::new("test", key).map_err(OnceError::failed)?;
                let body = vec![b'a'; bytes].into();
                once(conn, &key, asked, |_| {
                    Ok(StoredReply {
                        body,
                        ..StoredReply::default()
                    })
                })
            };
            store.write(work).await
        };
        let most = StoredReply::MAX_BYTES;
        let done = ask("most", most).await.unwrap();
        assert!(matches!(&done, Once::Done(reply) if reply.body.len() == most));
        assert_eq!(
            ask("most", 1).await.unwrap(),
            Once::Replayed(done.reply().clone())
        );
        let refused = ask("more", most + 1).await;
        assert!(matches!(refused, Err(OnceError::ReplyTooLarge)));
        // Nothing is left of what was begun.
        assert!(matches!(ask("more", 1).await, Ok(Once::Done(_))));
    }
}
