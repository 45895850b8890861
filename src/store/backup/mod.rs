//! Backups of the whole database, and bringing them back: a SQLite file by SQLite's own online backup, a PostgreSQL
//! database by PostgreSQL's own programs. Also what can be said about whether a database is sound.

mod part;
mod postgres;
mod restore;
mod sqlite;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    process::ExitStatus,
};

use self::postgres::Server;
use super::{DatabaseUrl, FileFault, StoreError, blocking};

/// Where a backup goes.
#[derive(Clone, Debug)]
pub enum Target {
    /// A file, in place of one of its name once all of it is there.
    File(PathBuf),
    /// Standard output.
    Output,
}

/// Where a backup comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// Standard input.
    Input,
}

/// Why there is no backup, or nothing was restored. Whatever was there before is there still.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It is gone with its process.
    #[error("a database in memory cannot be backed up or restored")]
    InMemory,
    /// There is none.
    #[error("there is no database at {}", .0.display())]
    NoDatabase(PathBuf),
    /// The backup is to go where the database is, or comes from there.
    #[error("{} is the database itself", .0.display())]
    Itself(PathBuf),
    /// It is a folder, or another thing that no file can take the place of.
    #[error("{} is no file", .0.display())]
    NoFile(PathBuf),
    /// Two at once would spoil each other's file.
    #[error("another process is writing {}", .0.display())]
    Busy(PathBuf),
    /// A server would go on writing to the file that is replaced.
    #[error("{} is in use: stop whatever has it open first", .0.display())]
    InUse(PathBuf),
    /// It is no backup, or not of this program.
    #[error("{0} is no backup of hookonce's: {1}")]
    Foreign(String, String),
    /// What is stored in it does not hold together.
    #[error("{0} is damaged: {1}")]
    Damaged(String, Findings),
    /// A newer version has made it.
    #[error("{0} is of a newer version of hookonce: it has the migration {1}")]
    Newer(String, String),
    /// A PostgreSQL database is never replaced.
    #[error(
        "the database is not empty: make a new one, restore into it, then set DATABASE_URL to it"
    )]
    NotEmpty,
    /// PostgreSQL's own programs do it.
    #[error(
        "{0} is not installed: it comes with PostgreSQL's client programs (Debian: postgresql-client); or run it where it is"
    )]
    NoProgram(&'static str),
    /// They say themselves why.
    #[error("{0} failed: {1}")]
    Program(&'static str, ExitStatus),
    /// A file cannot be read or written.
    #[error("{}: {what}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// SQLite refuses.
    #[error("SQLite refuses")]
    Sqlite(#[from] rusqlite::Error),
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<FileFault> for BackupError {
    fn from(fault: FileFault) -> Self {
        Self::Store(fault.into())
    }
}

/// What is wrong with a database, the first of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings(pub Vec<String>);

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

/// What a check has to say.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What was looked at.
    pub about: String,
    /// What is wrong with it; nothing where it is sound.
    pub findings: Findings,
}

/// A database that was brought back.
#[derive(Clone, Debug)]
pub struct Restored {
    /// Where the database is that was there before.
    pub kept: Option<PathBuf>,
}

/// Makes a backup of all that is committed when it begins, while whatever serves goes on. Gives how many bytes it has.
///
/// # Errors
/// Where none was made; an earlier one of its name is left as it was.
pub async fn backup(url: &DatabaseUrl, target: Target) -> Result<u64, BackupError> {
    let url = url.clone();
    blocking(move || match url {
        DatabaseUrl::Sqlite { path: None } => Err(BackupError::InMemory),
        DatabaseUrl::Sqlite { path: Some(path) } => sqlite::backup(&path, &target),
        DatabaseUrl::Postgres { url, schema } => Server { url, schema }.backup(&target),
    })
    .await
}

/// Brings a backup back, after it was checked, and up to date. A SQLite file takes the place of the one that is there,
/// which is kept; a PostgreSQL database must be empty.
///
/// # Errors
/// Where nothing was restored: while the file is in use, or where the backup is not sound.
pub async fn restore(url: &DatabaseUrl, source: Source) -> Result<Restored, BackupError> {
    let url = url.clone();
    blocking(move || match url {
        DatabaseUrl::Sqlite { path: None } => Err(BackupError::InMemory),
        DatabaseUrl::Sqlite { path: Some(path) } => restore::restore(&path, &source),
        DatabaseUrl::Postgres { url, schema } => Server { url, schema }.restore(&source),
    })
    .await
}

/// Reads all of the database, and tells what is wrong with it. Changes nothing, and may be done while it is served.
///
/// # Errors
/// Where it cannot be looked at.
pub async fn check(url: &DatabaseUrl) -> Result<Checked, BackupError> {
    let url = url.clone();
    blocking(move || match url {
        DatabaseUrl::Sqlite { path: None } => Err(BackupError::InMemory),
        DatabaseUrl::Sqlite { path: Some(path) } => sqlite::check(&path),
        DatabaseUrl::Postgres { url, schema } => Server { url, schema }.check(),
    })
    .await
}

/// What went wrong with a file.
fn at(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> BackupError {
    move |source| BackupError::File {
        path: path.to_owned(),
        what,
        source,
    }
}

/// The applied migrations that this program does not know, and whether it knows some that were not applied.
fn unknown_migrations(applied: &[String], known: &[String]) -> Option<String> {
    let newest = applied.iter().filter(|version| !known.contains(version));
    newest.max().cloned()
}
