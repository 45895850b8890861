//! The file of a SQLite database: made for its owner alone, and held against what lies at its path. What is written to a
//! file that has lost its name is lost with the process, and nobody may be told that it is kept.

use diesel::{
    Connection as _, QueryResult, QueryableByName, RunQueryDsl as _, SqliteConnection,
    connection::SimpleConnection as _, sql_query, sql_types::BigInt,
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use std::{
    error::Error,
    ffi::OsString,
    fs::{self, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::known_stamp;
use crate::{
    causes::with_causes,
    store::{FileFault, StoreError, fault::is_damage},
};

/// What a new database can be done with, and by whom: its owner reads and writes it. SQLite gives its log the same.
pub(in crate::store) const MODE: u32 = 0o600;

/// What an interrupted restore leaves beside the database, from when on it cannot be undone.
pub(in crate::store) const RESTORED: &str = ".restored";

/// A file that is about to be opened.
pub(super) struct Prepared {
    /// What SQLite is to open: always this file, and never a new one.
    pub url: String,
    path: PathBuf,
    /// Where its links lead.
    real: PathBuf,
    identity: Identity,
}

/// The file that is open.
pub(super) struct DatabaseFile {
    /// As it was asked for.
    path: PathBuf,
    identity: Identity,
    /// The log and its index.
    beside: Vec<(PathBuf, Identity)>,
    /// `None` where it is not in the file itself yet.
    stamp: Option<i32>,
    /// What the file was when the stamp was last seen in it.
    looked: Mutex<Option<Change>>,
    damaged: AtomicBool,
}

/// Device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity(u64, u64);

/// What differs once somebody has written to a file: its size, and when, in seconds and nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change(u64, i64, i64);

impl Prepared {
    /// Makes the file where there is none.
    pub fn new(path: PathBuf) -> Result<Self, FileFault> {
        // Never opens what is there: to close it again would give up the locks that this process has on it.
        let mut options = OpenOptions::new();
        let options = options.write(true).create_new(true).mode(MODE);
        let made = options.open(&path).map(drop);
        match (Self::existing(path), made) {
            (Err(FileFault::Unusable(_)), Err(why)) => Err(FileFault::Unusable(why)),
            (prepared, _) => prepared,
        }
    }

    /// Of a file that must be there.
    pub fn existing(path: PathBuf) -> Result<Self, FileFault> {
        let real = fs::canonicalize(&path).map_err(FileFault::Unusable)?;
        if fs::symlink_metadata(beside(&real, RESTORED)).is_ok() {
            return Err(FileFault::HalfRestored);
        }
        let (identity, _) = look(&path)?;
        Ok(Self {
            url: uri(&real, "mode=rw")?,
            path,
            real,
            identity,
        })
    }

    /// To be called once SQLite has opened it, and its log with it. Fails where it was replaced meanwhile.
    pub fn opened(self, stamp: i32) -> Result<DatabaseFile, FileFault> {
        let beside = ["-wal", "-shm"].map(|end| beside(&self.real, end));
        let beside = beside.into_iter().filter_map(|name| {
            let (identity, _) = look(&name).ok()?;
            Some((name, identity))
        });
        let (_, change) = look(&self.path)?;
        let is_stamped = self.has_stamp(stamp);
        let file = DatabaseFile {
            beside: beside.collect(),
            path: self.path,
            identity: self.identity,
            // Another process may have kept the log from being moved.
            stamp: is_stamped.then_some(stamp),
            looked: Mutex::new(Some(change)),
            damaged: AtomicBool::new(false),
        };
        file.look()?;
        Ok(file)
    }

    /// Whether the file itself has this number, whatever its log says.
    pub fn has_stamp(&self, stamp: i32) -> bool {
        read_head(&self.path).is_ok_and(|head| head.stamp == stamp)
    }

    /// The path of its log.
    pub fn log(&self) -> PathBuf {
        beside(&self.real, "-wal")
    }
}

impl DatabaseFile {
    /// Whether the file is where it was, and nobody but SQLite has written to it.
    pub fn is_ours(&self) -> Result<(), FileFault> {
        let change = self.look()?;
        let Some(stamp) = self.stamp else {
            return Ok(());
        };
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if *looked != Some(change) {
            // The log was moved into it, or another file was copied over it, or it was cut.
            let shrank = looked.is_some_and(|before| change.0 < before.0);
            match read_head(&self.path) {
                // What is shorter than it says while it grows is not whole yet. SQLite lets it shrink to what it says.
                Ok(head) if head.stamp == stamp && !(shrank && head.is_cut(change.0)) => {
                    *looked = Some(change);
                }
                Ok(_other) => return Err(FileFault::Overwritten),
                Err(error) if is_damage(&error.to_string()) => return Err(FileFault::Overwritten),
                // Where too many files are open, say. The next look will tell.
                Err(error) => log::debug!("the database file could not be looked into: {error}"),
            }
        }
        Ok(())
    }

    /// The same, and whether its log is where it was: what is written is written there first.
    pub fn check(&self) -> Result<(), FileFault> {
        self.is_ours()?;
        for (name, identity) in &self.beside {
            if look(name).map(|(found, _)| found).ok() != Some(*identity) {
                return Err(FileFault::Replaced("its log was taken away"));
            }
        }
        Ok(())
    }

    fn look(&self) -> Result<Change, FileFault> {
        let (identity, change) = look(&self.path)?;
        match identity == self.identity {
            true => Ok(change),
            false => Err(FileFault::Replaced("another has taken its place")),
        }
    }

    /// Notes whether an error tells of damage.
    pub fn note(&self, error: &(dyn Error + 'static)) {
        if tells_of_damage(error) && !self.damaged.swap(true, Ordering::Relaxed) {
            log::error!(
                "the database is damaged ({}): run hookonce check, then stop the service and restore a backup",
                with_causes(error)
            );
        }
    }

    /// How many bytes are free beside it.
    pub fn free_disk(&self) -> Result<u64, FileFault> {
        self.check()?;
        if self.damaged.load(Ordering::Relaxed) {
            return Err(FileFault::Damaged);
        }
        let disk = rustix::fs::statvfs(&self.path);
        let disk = disk.map_err(|unknown| FileFault::Unusable(unknown.into()))?;
        // What is left to those who are not root.
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

fn look(path: &Path) -> Result<(Identity, Change), FileFault> {
    let found = fs::metadata(path).map_err(FileFault::Gone)?;
    Ok((
        Identity(found.dev(), found.ino()),
        Change(found.size(), found.mtime(), found.mtime_nsec()),
    ))
}

/// A name that begins with that of a file.
pub(in crate::store) fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(end);
    name.into()
}

/// A path as SQLite takes it with a parameter.
fn uri(path: &Path, parameter: &str) -> Result<String, FileFault> {
    const SPECIAL: &AsciiSet = &CONTROLS.add(b'%').add(b'?').add(b'#');
    let path = path.to_str().ok_or_else(|| {
        FileFault::Unusable(io::Error::new(
            io::ErrorKind::InvalidInput,
            "its path is no UTF-8",
        ))
    })?;
    let path = utf8_percent_encode(path, SPECIAL);
    Ok(format!("file:{path}?{parameter}"))
}

/// What the first page of a database says, as it is in the file itself, whatever the log says.
struct Head {
    /// The number that tells a file from its copies (`user_version`).
    stamp: i32,
    /// Bytes of a page.
    page: i64,
    /// Whether it tells of more pages than there are.
    is_short: bool,
}

impl Head {
    /// Reads no schema, which may be cut. The size of a page is the one that was read with the number.
    fn read(conn: &mut SqliteConnection, is_short: bool) -> QueryResult<Self> {
        #[derive(QueryableByName)]
        struct Page {
            #[diesel(sql_type = BigInt)]
            page_size: i64,
        }
        let stamp = known_stamp(conn)?;
        let page: Page = sql_query("PRAGMA page_size").get_result(conn)?;
        Ok(Self {
            stamp,
            page: page.page_size,
            is_short,
        })
    }

    /// Whether a file of so many bytes lacks some.
    fn is_cut(&self, size: u64) -> bool {
        self.is_short || !size.is_multiple_of(self.page.unsigned_abs())
    }
}

/// SQLite opens and closes the file, so that the locks of this process stay.
fn read_head(path: &Path) -> Result<Head, Box<dyn Error>> {
    let path = fs::canonicalize(path)?;
    let mut conn = SqliteConnection::establish(&uri(&path, "mode=ro&immutable=1")?)?;
    match Head::read(&mut conn, false) {
        // To SQLite a file with too few pages is damaged, but not to those who say that they know what they do.
        Err(error) if is_damage(&error.to_string()) => {
            conn.batch_execute("PRAGMA writable_schema = ON")?;
            Ok(Head::read(&mut conn, true)?)
        }
        settled => Ok(settled?),
    }
}

/// A number for a file that has none, or is a new copy.
pub(in crate::store) fn new_stamp() -> i32 {
    rand::random_range(1..=i32::MAX)
}

fn tells_of_damage(error: &(dyn Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |&error| error.source());
    causes.any(|cause| match cause.downcast_ref::<StoreError>() {
        Some(StoreError::Commit(text) | StoreError::Lost(text)) => is_damage(text),
        _ => match cause.downcast_ref() {
            Some(diesel::result::Error::DatabaseError(_, about)) => is_damage(about.message()),
            _ => false,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> SqliteConnection {
        SqliteConnection::establish(&uri(path, "mode=rwc").unwrap()).unwrap()
    }

    #[test]
    fn a_file_that_has_not_all_its_pages_tells_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a#b?c%.db");
        let mut conn = open(&path);
        conn.batch_execute(
            "PRAGMA user_version = 7; CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(100000));",
        )
        .unwrap();
        drop(conn);
        let head = || read_head(&path).map(|head| (head.stamp, head.is_short));
        assert_eq!(head().unwrap(), (7, false));
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(8192).unwrap();
        assert_eq!(head().unwrap(), (7, true));
        file.set_len(0).unwrap();
        assert_eq!(head().unwrap(), (0, false));
        fs::write(&path, [7; 10_000]).unwrap();
        let error = head().unwrap_err();
        assert!(is_damage(&error.to_string()), "{error}");
    }

    #[test]
    fn a_file_that_was_cut_short_is_not_the_one_that_was_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let prepared = Prepared::new(path.clone()).unwrap();
        let mut conn = open(&path);
        let grow = "INSERT INTO t VALUES (zeroblob(100000))";
        conn.batch_execute(
            "PRAGMA auto_vacuum = FULL; PRAGMA user_version = 7; CREATE TABLE t (x)",
        )
        .unwrap();
        let file = prepared.opened(7).unwrap();
        let long = || OpenOptions::new().write(true).open(&path).unwrap();
        let size = || fs::metadata(&path).unwrap().len();
        conn.batch_execute(grow).unwrap();
        // While it grows its first page is there before the last.
        let whole = size();
        long().set_len(whole - 4096).unwrap();
        assert!(file.check().is_ok(), "it grew");
        long().set_len(whole).unwrap();
        assert!(file.check().is_ok(), "it grew on");
        conn.batch_execute("DELETE FROM t").unwrap();
        assert!(size() < whole);
        assert!(file.check().is_ok(), "SQLite gave space back");
        conn.batch_execute(grow).unwrap();
        assert!(file.check().is_ok());
        for size in [whole - 1, whole - 1024, whole - 4096, 8192, 4096, 100] {
            long().set_len(size).unwrap();
            for _ in 0..2 {
                assert!(
                    matches!(file.check(), Err(FileFault::Overwritten)),
                    "{size} bytes"
                );
            }
        }
    }

    #[test]
    fn a_file_is_the_one_that_was_opened_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let prepared = Prepared::new(path.clone()).unwrap();
        let mut conn = open(&path);
        conn.batch_execute("PRAGMA user_version = 7; CREATE TABLE t (x)")
            .unwrap();
        let file = prepared.opened(7).unwrap();
        assert!(file.check().is_ok());
        conn.batch_execute("INSERT INTO t VALUES (1)").unwrap();
        assert!(file.check().is_ok(), "SQLite wrote to it");
        conn.batch_execute("PRAGMA user_version = 8").unwrap();
        assert!(matches!(file.check(), Err(FileFault::Overwritten)));
        fs::rename(&path, folder.path().join("away")).unwrap();
        assert!(matches!(file.check(), Err(FileFault::Gone(_))));
        fs::write(&path, "").unwrap();
        assert!(matches!(file.check(), Err(FileFault::Replaced(_))));
    }
}
