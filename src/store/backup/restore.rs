//! Bringing a SQLite file back in place of another.
//!
//! The backup is copied beside the database, checked there and brought up to date. Then the copy gets the name NAME.restored, from
//! when on a server refuses to start; the old files get second names (NAME.replaced-TIME); the old log goes away; the copy
//! takes the database's name. Whatever moment it is killed at, the database is the old one with its log, or the new one,
//! or it is said that a restore was interrupted, and the next one finishes.

use chrono::Utc;
use diesel::{Connection as _, SqliteConnection, connection::SimpleConnection as _};
use rustix::fs::{FlockOperation, Gid, Uid, fchown, fcntl_lock};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::{
    BackupError, Restored, Source, at,
    part::{PartialFile, is_same, real, sync_folder},
    sqlite::{parts, refuse_itself, seal, sound},
};
use crate::store::{
    Conn, StoreError, migrations,
    sqlite::file::{MODE, RESTORED, beside},
};

pub(super) fn restore(path: &Path, source: &Source) -> Result<Restored, BackupError> {
    let path = real(path)?;
    let old = ReplacedDatabase::lock(&path)?;
    let mut part = PartialFile::new(&path, ".restoring")?;
    let name = match source {
        Source::File(file) => {
            refuse_itself(&path, file)?;
            copy(file, &mut part)?;
            file.display().to_string()
        }
        Source::Input => {
            part.fill(&mut io::stdin().lock())?;
            "standard input".to_owned()
        }
    };
    make_ready(&part.path, &name)?;
    old.give_owner(&part.file)?;
    let restored = beside(&path, RESTORED);
    part.put(&restored)?;
    let kept = old.keep().inspect_err(|_untouched| {
        // Nothing has become of the old one yet.
        let _ = fs::remove_file(&restored);
    })?;
    old.remove_sides()?;
    fs::rename(&restored, &path).map_err(at(&path, "it cannot be put there"))?;
    sync_folder(&path)?;
    Ok(Restored { kept })
}

/// Copies a backup, with the log that may lie beside it: a file that was copied with its log while nothing was running is
/// a backup too.
fn copy(from: &Path, part: &mut PartialFile) -> Result<(), BackupError> {
    let open = |path: &Path| File::open(path).map_err(at(path, "it cannot be read"));
    if !real(from)?.exists() {
        return Err(BackupError::NoDatabase(from.to_owned()));
    }
    part.fill(&mut open(from)?)?;
    let log = beside(&real(from)?, "-wal");
    if log.exists() {
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(MODE);
        let path = beside(&part.path, "-wal");
        let copied = options
            .open(&path)
            .and_then(|mut to| io::copy(&mut File::open(&log)?, &mut to));
        copied.map_err(at(&path, "it cannot be written"))?;
    }
    Ok(())
}

/// Checks a copy and brings it up to date.
fn make_ready(path: &Path, name: &str) -> Result<(), BackupError> {
    let conn = super::sqlite::open(path)?;
    sound(&conn, name)?;
    drop(conn);
    let file = path
        .to_str()
        .ok_or_else(|| BackupError::NoFile(path.to_owned()))?;
    let mut conn = SqliteConnection::establish(file).map_err(StoreError::from)?;
    conn.batch_execute("PRAGMA foreign_keys = ON")
        .map_err(StoreError::from)?;
    migrations::bring_up(&mut Conn::Sqlite(&mut conn))?;
    // What was answered since the backup, and is kept in a cache, is no answer of this database's.
    conn.batch_execute("UPDATE installation SET id = lower(hex(randomblob(16)))")
        .map_err(StoreError::from)?;
    drop(conn);
    seal(path)
}

/// The database that is replaced, while nobody can open it.
struct ReplacedDatabase {
    path: PathBuf,
    file: File,
    /// Whether there was none.
    is_new: bool,
    /// The index of its log, which a server has open even where the file was taken away.
    index: Option<File>,
}

impl ReplacedDatabase {
    /// Fails where anybody has it open: each connection of SQLite's to a file with a log has a lock on it.
    fn lock(path: &Path) -> Result<Self, BackupError> {
        let failed = || at(path, "it cannot be opened");
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).mode(MODE);
        // An empty file holds the lock where there is none.
        let made = options.clone().create_new(true).open(path);
        let is_new = made.is_ok();
        let file = made
            .or_else(|_there| options.open(path))
            .map_err(failed())?;
        let index = beside(path, "-shm");
        let index = match OpenOptions::new().read(true).write(true).open(&index) {
            Ok(index) => Some(index),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(at(&index, "it cannot be opened")(error)),
        };
        let old = Self {
            path: path.to_owned(),
            file,
            is_new,
            index,
        };
        for held in [Some(&old.file), old.index.as_ref()].into_iter().flatten() {
            fcntl_lock(held, FlockOperation::NonBlockingLockExclusive)
                .map_err(|_held| BackupError::InUse(path.to_owned()))?;
        }
        Ok(old)
    }

    /// Gives a new file the owner and the mode of this one.
    fn give_owner(&self, new: &File) -> Result<(), BackupError> {
        let failed = || {
            at(
                &self.path,
                "its owner and mode cannot be given to another file",
            )
        };
        let (old, now) = (self.file.metadata(), new.metadata());
        let (old, now) = (old.map_err(failed())?, now.map_err(failed())?);
        if (old.uid(), old.gid()) != (now.uid(), now.gid()) {
            let (user, group) = (Uid::from_raw(old.uid()), Gid::from_raw(old.gid()));
            fchown(new, Some(user), Some(group)).map_err(|error| failed()(error.into()))?;
        }
        new.set_permissions(old.permissions()).map_err(failed())
    }

    /// Gives what is there a second name. `None` where there is nothing.
    fn keep(&self) -> Result<Option<PathBuf>, BackupError> {
        let time = Utc::now().format("%Y%m%dT%H%M%S%.3fZ");
        let kept = beside(&self.path, &format!(".replaced-{time}"));
        let mut all = parts(&self.path).into_iter().zip(parts(&kept));
        let is_empty = self.file.metadata().is_ok_and(|file| file.len() == 0);
        let (file, kept_file) = all.next().unwrap_or_default();
        if !is_empty {
            self.link(&file, &kept_file)?;
        }
        let mut has_sides = false;
        for (side, kept_side) in all.take(2).filter(|(side, _)| side.exists()) {
            fs::hard_link(&side, &kept_side)
                .or_else(|_no_links| fs::copy(&side, &kept_side).map(drop))
                .map_err(at(&kept_side, "it cannot be made"))?;
            has_sides = true;
        }
        sync_folder(&self.path)?;
        Ok((!is_empty || has_sides).then_some(kept))
    }

    /// Where a file can have no second name it is copied, from what is open: to open it again and close it would give up the lock.
    fn link(&self, file: &Path, kept: &Path) -> Result<(), BackupError> {
        let copy = |_no_links| {
            let mut options = OpenOptions::new();
            let options = options.write(true).create_new(true).mode(MODE);
            let mut to = options.open(kept)?;
            let mut from = &self.file;
            from.rewind()?;
            io::copy(&mut from, &mut to)?;
            to.sync_all()
        };
        fs::hard_link(file, kept)
            .or_else(copy)
            .map_err(at(kept, "it cannot be made"))
    }

    /// The log must never be taken for one of the new file's.
    fn remove_sides(&self) -> Result<(), BackupError> {
        let [_, sides @ ..] = parts(&self.path);
        for side in sides {
            match fs::remove_file(&side) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(at(&side, "it cannot be removed")(error));
                }
                _ => {}
            }
        }
        sync_folder(&self.path)
    }
}

impl Drop for ReplacedDatabase {
    /// An empty file is no database.
    fn drop(&mut self) {
        if self.is_new && is_same(&self.path, &self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}
