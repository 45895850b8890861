//! Why the database did not do what was asked, and what that means for whoever asked.

use diesel::result::{DatabaseErrorKind, Error as QueryError};
use std::error::Error;

use super::{FileFault, ForeignMessage, fault::is_damage, trouble::is_passing};
use crate::causes::with_causes;

/// Why the database did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A query was refused.
    #[error("the database refused the query")]
    Query(#[from] QueryError),
    /// The database cannot be reached.
    #[error("the database cannot be reached")]
    Connect(#[from] diesel::ConnectionError),
    /// The database cannot be reached, or has no connection free.
    #[error("no database connection came free")]
    Pool(#[from] diesel::r2d2::PoolError),
    /// The database's file is not what it was.
    #[error(transparent)]
    File(#[from] FileFault),
    /// A server refused it in another language than English, so that the reason is not known: it may be passing.
    #[error("the database refused it")]
    ForeignMessage(#[from] ForeignMessage),
    /// This build has no such database; the feature that brings it.
    #[error("hookonce was built without its feature `{0}`")]
    NotBuilt(&'static str),
    /// There is no database where one must be; what it is called.
    #[error("there is no database at {0}")]
    Missing(String),
    /// The schema is not that of this program, and whoever only reads does not change it.
    #[error("the database lacks a migration of this version: run hookonce migrate")]
    NotCurrent,
    /// Somebody else's tables have names that are needed.
    #[error(
        "the database has tables of these names that are not hookonce's: {0}. Nothing was changed. Give hookonce a schema of \
         its own (DATABASE_SCHEMA, on PostgreSQL) or a database of its own"
    )]
    NameTaken(String),
    /// The tables are of a layout that no release has had.
    #[error(
        "the database has the layout of a hookonce from before its first release, which is not brought up to date. Nothing \
         was changed. Start with a new database; what is to be kept, export with the version that made it"
    )]
    EarlierLayout,
    /// The schema could not be brought up to date.
    #[error("the schema could not be brought up to date")]
    Migration(#[source] Box<dyn Error + Send + Sync>),
    /// A row holds what it should not.
    #[error("a stored value cannot be read")]
    Unreadable(#[source] Box<dyn Error + Send + Sync>),
    /// The work was done, but the transaction around it could not be committed.
    #[error("the transaction could not be committed: {0}")]
    Commit(String),
    /// The transaction that the work shared was lost with the database.
    #[error("the transaction was lost: {0}")]
    Lost(String),
    /// The work panicked; its message.
    #[error("the work panicked: {0}")]
    Panicked(String),
    /// The store is shutting down, or its thread died.
    #[error("the store takes no more work")]
    Closed,
}

impl StoreError {
    /// What is stored cannot be read, or what is to be stored not written, as what it is.
    pub fn unreadable(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unreadable(error.into())
    }

    /// Whether the database was away, rather than the query at fault: the same may succeed a little later.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Connect(_)
            | Self::Pool(_)
            | Self::File(_)
            | Self::Commit(_)
            | Self::Lost(_)
            | Self::ForeignMessage(_)
            | Self::Closed => true,
            Self::Query(QueryError::DatabaseError(kind, about)) => match kind {
                DatabaseErrorKind::ClosedConnection
                | DatabaseErrorKind::UnableToSendCommand
                | DatabaseErrorKind::SerializationFailure
                | DatabaseErrorKind::ReadOnlyTransaction => true,
                _ => {
                    let message = about.message();
                    // A file that is damaged is a database that is away, until somebody has brought it back.
                    is_passing(message) || is_damage(message)
                }
            },
            Self::Query(QueryError::BrokenTransactionManager) => true,
            Self::Query(_) | Self::NotBuilt(_) | Self::Missing(_) | Self::NotCurrent => false,
            Self::NameTaken(_) | Self::EarlierLayout | Self::Migration(_) => false,
            Self::Unreadable(_) | Self::Panicked(_) => false,
        }
    }

    /// Whether it may be committed in spite of the error: a connection that is lost during the commit does not tell.
    pub fn may_be_done(&self) -> bool {
        matches!(self, Self::Commit(_) | Self::Closed)
    }

    /// Whether it waited for a lock that others held for too long, or may have: others need not wait for it.
    pub fn is_blocked(&self) -> bool {
        match self {
            Self::Query(QueryError::DatabaseError(_, about)) => {
                about.message().contains("due to lock timeout")
            }
            Self::ForeignMessage(_) => true,
            _ => false,
        }
    }

    /// The same for another whose work shared the transaction.
    pub fn for_another(&self) -> Self {
        match self {
            Self::Closed => Self::Closed,
            error if error.may_be_done() => Self::Commit(with_causes(error)),
            error => Self::Lost(with_causes(error)),
        }
    }

    /// Whether a value that must be unique belongs to another row.
    pub fn is_taken(&self) -> bool {
        matches!(
            self,
            Self::Query(QueryError::DatabaseError(
                DatabaseErrorKind::UniqueViolation,
                _
            ))
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(kind: DatabaseErrorKind, message: &str) -> StoreError {
        StoreError::Query(QueryError::DatabaseError(
            kind,
            Box::new(message.to_owned()),
        ))
    }

    #[test]
    fn only_what_failed_while_it_was_committed_may_be_done() {
        assert!(StoreError::Commit("lost".to_owned()).may_be_done());
        assert!(StoreError::Closed.may_be_done());
        assert!(!StoreError::Lost("with another's".to_owned()).may_be_done());
        assert!(!refused(DatabaseErrorKind::UniqueViolation, "taken").may_be_done());
    }

    #[test]
    fn whoever_shared_a_transaction_hears_whether_theirs_may_be_done() {
        let commit = StoreError::Commit("lost".to_owned()).for_another();
        assert!(matches!(commit, StoreError::Commit(_)), "{commit:?}");
        let query = refused(DatabaseErrorKind::UniqueViolation, "taken").for_another();
        assert!(
            matches!(&query, StoreError::Lost(why) if why.contains("taken")),
            "{query:?}"
        );
        assert!(matches!(
            StoreError::Closed.for_another(),
            StoreError::Closed
        ));
    }

    #[test]
    fn a_value_that_is_taken_is_told_from_other_refusals() {
        assert!(refused(DatabaseErrorKind::UniqueViolation, "x").is_taken());
        assert!(!refused(DatabaseErrorKind::ForeignKeyViolation, "x").is_taken());
        assert!(!StoreError::Closed.is_taken());
    }

    #[test]
    fn a_lock_that_was_waited_for_too_long_is_told() {
        let of = |message| refused(DatabaseErrorKind::Unknown, message).is_blocked();
        assert!(of("canceling statement due to lock timeout"));
        assert!(!of("canceling statement due to statement timeout"));
        assert!(!StoreError::Closed.is_blocked());
    }
}
