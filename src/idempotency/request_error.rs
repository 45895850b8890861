//! Why a request was not acted on.

use std::{error::Error, time::Duration};

use super::InvalidKey;
use crate::store::StoreError;

/// Why a request was not acted on.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The key stands for another request.
    #[error("the idempotency key was used for another request")]
    KeyMismatch,
    /// The key's first request is still being done.
    #[error("the first request with this key is still in progress")]
    InProgress {
        /// When it is worth coming again.
        retry_after: Duration,
    },
    /// No key could be derived from the delivery.
    #[error(transparent)]
    Key(#[from] InvalidKey),
    /// More wait for the database than it gets done in time. Nothing was begun.
    #[error("more requests wait than are done in time")]
    Overloaded,
    /// The reply is larger than what is kept.
    #[error("the reply is too large to be stored")]
    ReplyTooLarge,
    /// It took longer than it may. What has begun is still finished, and the next request gets its answer.
    #[error("the database did not finish in time")]
    Timeout,
    /// A handler failed.
    #[error("an event could not be acted on")]
    Handler(#[source] Box<dyn Error + Send + Sync>),
    /// The database failed or refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RequestError {
    /// Whether the work itself failed, rather than the database being away or the request being refused.
    pub fn is_failure(&self) -> bool {
        self.is_about_work() || matches!(self, Self::ReplyTooLarge)
    }

    /// Whether it may be about one of several events, and the others can be acted on without it.
    pub fn is_about_work(&self) -> bool {
        match self {
            Self::Store(error) => !error.is_unavailable(),
            Self::Handler(_) => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_is_away_is_no_failure_of_the_work() {
        let of_work = |error: RequestError| (error.is_about_work(), error.is_failure());
        assert_eq!(of_work(RequestError::Handler("bad".into())), (true, true));
        assert_eq!(of_work(StoreError::unreadable("bad").into()), (true, true));
        assert_eq!(of_work(RequestError::ReplyTooLarge), (false, true));
        assert_eq!(of_work(StoreError::Closed.into()), (false, false));
        assert_eq!(of_work(RequestError::Timeout), (false, false));
        assert_eq!(of_work(RequestError::KeyMismatch), (false, false));
    }
}
