//! What kind of failure an error of the database is. Diesel has a kind of its own for some; the others are told by the
//! words of SQLite (`sqlite3_errstr`), of libpq, and of a PostgreSQL server that speaks English: see
//! [`Session`](super::postgres::Session) for one that does not.

use diesel::result::{DatabaseErrorKind, Error as QueryError};
use std::error::Error;

use super::{StoreError, types::text_enum};

text_enum! {
    /// Why writes cannot be made durable, whatever they are.
    Trouble {
        /// The disk, or a quota, is full.
        Full => "full",
        /// The database, or its file system, can only be read.
        ReadOnly => "read_only",
        /// The disk fails.
        Disk => "disk",
        /// The file is gone, was replaced, or is damaged.
        File => "file",
        /// The server cannot be reached.
        Away => "away",
        /// The server gives its reason in another language than English.
        Untold => "untold",
    }
}

/// What a server said in another language than English.
#[derive(Debug, thiserror::Error)]
#[error("it says, not in English: {message}")]
pub struct ForeignMessage {
    message: String,
    /// Whether it took so long as a lock is waited for.
    waited: bool,
}

#[cfg(feature = "postgres")]
impl ForeignMessage {
    /// An error without a kind, whose message is in another language.
    pub(super) fn of(error: &(dyn Error + 'static), waited: bool) -> Option<Self> {
        causes(error).find_map(|cause| match cause.downcast_ref() {
            Some(QueryError::DatabaseError(DatabaseErrorKind::Unknown, about)) => Some(Self {
                message: about.message().to_owned(),
                waited,
            }),
            _ => None,
        })
    }
}

impl Trouble {
    /// What is the matter, for whoever asks: names no host, no path and no secret.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Full => "writes fail: the database's disk is full",
            Self::ReadOnly => "writes fail: the database can only be read",
            Self::Disk => "writes fail: the database's disk does not take them",
            Self::File => "writes fail: the database file is not what it was",
            Self::Away => "writes fail: the database cannot be reached",
            Self::Untold => "writes fail: the database refuses them",
        }
    }

    /// What an operator is to do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Full => "make room on the database's disk",
            Self::ReadOnly => {
                "see whether the server is a standby, and whether the file and its file system may be written to"
            }
            Self::Disk => {
                "see the system's log for the disk, whether it may be written to, and how large files may become"
            }
            Self::File => "stop the service, then put the file back as it was or restore a backup",
            Self::Away => "see whether the server runs, and whether it can be reached from here",
            Self::Untold => "see the server's log, and set its lc_messages to C",
        }
    }

    /// What kept `error` from being no error, where it is one of these: the database's own error may be the cause of
    /// another.
    pub(super) fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        causes(error).find_map(|cause| match cause.downcast_ref() {
            Some(QueryError::DatabaseError(kind, about)) => match kind {
                DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand => {
                    Some(Self::Away)
                }
                DatabaseErrorKind::ReadOnlyTransaction => Some(Self::ReadOnly),
                _ => Self::in_words(about.message()),
            },
            Some(_) => None,
            None => Self::of_other(cause),
        })
    }

    /// Of an error that is not Diesel's.
    fn of_other(cause: &(dyn Error + 'static)) -> Option<Self> {
        if let Some(foreign) = cause.downcast_ref::<ForeignMessage>() {
            // What took as long as it may is taken for a lock.
            return (!foreign.waited).then_some(Self::Untold);
        }
        match cause.downcast_ref()? {
            StoreError::Connect(_) | StoreError::Pool(_) => Some(Self::Away),
            StoreError::File(_) => Some(Self::File),
            StoreError::Commit(words) | StoreError::Lost(words) => Self::in_words(words),
            _ => None,
        }
    }

    fn in_words(message: &str) -> Option<Self> {
        const WORDS: [(&str, Trouble); 15] = [
            ("database or disk is full", Trouble::Full),
            ("No space left on device", Trouble::Full),
            ("Disk quota exceeded", Trouble::Full),
            ("could not extend file", Trouble::Full),
            ("attempt to write a readonly database", Trouble::ReadOnly),
            ("Read-only file system", Trouble::ReadOnly),
            ("disk I/O error", Trouble::Disk),
            ("Input/output error", Trouble::Disk),
            ("unable to open database file", Trouble::Disk),
            ("database disk image is malformed", Trouble::File),
            ("file is not a database", Trouble::File),
            ("terminating connection", Trouble::Away),
            ("server closed the connection", Trouble::Away),
            ("no connection to the server", Trouble::Away),
            ("the database system is", Trouble::Away),
        ];
        let mut words = WORDS.iter();
        words
            .find(|(words, _)| message.contains(words))
            .map(|&(_, trouble)| trouble)
    }
}

/// Whether nothing was wrong but that others ran at the same time: nothing is done, and the same, done again at once, will
/// most likely succeed.
#[cfg(feature = "postgres")]
pub(super) fn is_collision(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| match cause.downcast_ref() {
        Some(QueryError::DatabaseError(kind, about)) => {
            matches!(kind, DatabaseErrorKind::SerializationFailure)
                || about.message().contains("deadlock detected")
                || about.message().contains("could not serialize access")
        }
        Some(_) => false,
        // It may have been one.
        None => cause
            .downcast_ref::<ForeignMessage>()
            .is_some_and(|foreign| !foreign.waited),
    })
}

/// Whether a message that Diesel has no kind for says that the database is busy or away.
pub(super) fn is_passing(message: &str) -> bool {
    const BUSY: [&str; 8] = [
        "database is locked",
        "database table is locked",
        "due to lock timeout",
        "due to statement timeout",
        "deadlock detected",
        "could not serialize access",
        "out of shared memory",
        "out of memory",
    ];
    Trouble::in_words(message).is_some() || BUSY.iter().any(|words| message.contains(words))
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(kind: DatabaseErrorKind, message: &str) -> StoreError {
        QueryError::DatabaseError(kind, Box::new(message.to_owned())).into()
    }

    #[test]
    fn what_keeps_all_writes_from_being_durable_is_told_from_what_keeps_one() {
        let unknown = DatabaseErrorKind::Unknown;
        let full = r#"could not extend file "base/1/2": No space left on device"#;
        for (error, trouble) in [
            (query(unknown, full), Some(Trouble::Full)),
            (query(unknown, "disk I/O error"), Some(Trouble::Disk)),
            (
                query(DatabaseErrorKind::ReadOnlyTransaction, "nur lesend"),
                Some(Trouble::ReadOnly),
            ),
            (
                query(DatabaseErrorKind::ClosedConnection, "weg"),
                Some(Trouble::Away),
            ),
            (StoreError::Commit(full.to_owned()), Some(Trouble::Full)),
            (query(unknown, "database is locked"), None),
            (
                query(unknown, "canceling statement due to lock timeout"),
                None,
            ),
            (query(unknown, "deadlock detected"), None),
            (query(unknown, "division by zero"), None),
        ] {
            assert_eq!(Trouble::of(&error), trouble, "{error:?}");
            let is_fault = error.to_string().contains("division");
            assert!(is_fault || error.is_unavailable() || trouble.is_none());
        }
    }

    #[test]
    fn each_trouble_has_a_reason_and_advice_of_its_own() {
        let all = [
            Trouble::Full,
            Trouble::ReadOnly,
            Trouble::Disk,
            Trouble::File,
            Trouble::Away,
            Trouble::Untold,
        ];
        for told in [Trouble::reason, Trouble::advice] {
            let different: std::collections::BTreeSet<_> = all.map(told).into();
            assert_eq!(different.len(), all.len());
            assert!(different.iter().all(|text| text.len() > 20));
        }
    }

    #[test]
    fn a_store_that_cannot_be_reached_is_away() {
        let away = diesel::ConnectionError::BadConnection("refused".to_owned());
        assert_eq!(Trouble::of(&StoreError::Connect(away)), Some(Trouble::Away));
    }

    #[test]
    #[cfg(feature = "postgres")]
    fn only_what_others_got_in_the_way_of_is_a_collision() {
        let unknown = DatabaseErrorKind::Unknown;
        for (error, is) in [
            (query(unknown, "deadlock detected"), true),
            (query(unknown, "could not serialize access due to …"), true),
            (query(DatabaseErrorKind::SerializationFailure, "x"), true),
            (query(DatabaseErrorKind::UniqueViolation, "x"), false),
            (query(unknown, "division by zero"), false),
            (StoreError::Closed, false),
        ] {
            assert_eq!(is_collision(&error), is, "{error:?}");
        }
    }
}
