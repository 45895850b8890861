//! What can be the matter with the file of a SQLite database.

use std::io;

/// Why the file is not what it was.
#[derive(Debug, thiserror::Error)]
pub enum FileFault {
    /// It cannot be made, or looked at.
    #[error("the database file cannot be opened")]
    Unusable(#[source] io::Error),
    /// It is gone.
    #[error("the database file is not there")]
    Gone(#[source] io::Error),
    /// Another has taken its place, or its log was taken away.
    #[error("the database file was replaced: {0}")]
    Replaced(&'static str),
    /// Another was written over it.
    #[error("another file was written over the database, or it was cut short")]
    Overwritten,
    /// It holds what no database holds.
    #[error("the database is damaged")]
    Damaged,
    /// A restore has put one file away, and not yet another in its place.
    #[error("a restore was interrupted: run hookonce restore again")]
    HalfRestored,
}

impl FileFault {
    /// What is wrong and what to do about it, for an HTTP answer: names no path.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unusable(_) => "the database file cannot be opened",
            Self::Gone(_) | Self::Replaced(_) | Self::Overwritten => {
                "the database file is not there, or is another one: stop the service, then put the file back as it was or \
                 run hookonce restore"
            }
            Self::Damaged => {
                "the database is damaged: run hookonce check, then stop the service and restore a backup"
            }
            Self::HalfRestored => "a restore was interrupted: run hookonce restore again",
        }
    }
}

/// The words of SQLite for a file that it cannot read.
const DAMAGE: [&str; 2] = ["database disk image is malformed", "file is not a database"];

/// Whether SQLite says so in these words.
pub(super) fn is_damage(message: &str) -> bool {
    DAMAGE.iter().any(|words| message.contains(words))
}
