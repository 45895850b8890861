//! A file that is made whole before anybody sees it: written beside its place, synced, and put there in one step.

use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Seek as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use super::{BackupError, at};
use crate::store::sqlite::file::{MODE, beside};

/// The file, empty at first and closed to all but its owner. Gone with the value, unless it was put in its place; what a
/// killed process leaves the next one takes over.
pub(super) struct PartialFile {
    /// Open for as long as the value lives, for it carries the lock.
    pub file: File,
    pub path: PathBuf,
}

impl PartialFile {
    /// Beside `place`, under its name with `end` behind it.
    pub fn new(place: &Path, end: &str) -> Result<Self, BackupError> {
        let path = beside(place, end);
        let failed = || at(&path, "it cannot be made");
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = options.mode(MODE).open(&path).map_err(failed())?;
        let is_ours = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
            // Whoever had the lock before may have put it in its place.
            && is_same(&path, &file);
        if !is_ours {
            return Err(BackupError::Busy(path));
        }
        file.set_permissions(Permissions::from_mode(MODE))
            .and_then(|()| file.set_len(0))
            .map_err(failed())?;
        let part = Self { file, path };
        part.remove_sides();
        Ok(part)
    }

    /// Fills it from the beginning.
    pub fn fill(&mut self, from: &mut impl io::Read) -> Result<(), BackupError> {
        let failed = at(&self.path, "it cannot be written");
        io::copy(from, &mut self.file).map(drop).map_err(failed)
    }

    /// Writes all of it to standard output.
    pub fn print(&mut self) -> Result<u64, BackupError> {
        let out = Path::new("standard output");
        self.file
            .rewind()
            .and_then(|()| {
                let mut out = io::stdout().lock();
                let bytes = io::copy(&mut self.file, &mut out)?;
                io::Write::flush(&mut out).map(|()| bytes)
            })
            .map_err(at(out, "it cannot be written"))
    }

    /// Puts it in its place, where it survives a power cut. Gives its size.
    pub fn put(self, place: &Path) -> Result<u64, BackupError> {
        let failed = || at(place, "it cannot be put there");
        self.file.sync_all().map_err(failed())?;
        let bytes = self.file.metadata().map_err(failed())?.len();
        fs::rename(&self.path, place).map_err(failed())?;
        sync_folder(place)?;
        Ok(bytes)
    }

    /// What SQLite may have left beside it.
    fn remove_sides(&self) {
        for end in ["-wal", "-shm", "-journal"] {
            // Most often there is none.
            let _ = fs::remove_file(beside(&self.path, end));
        }
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        // Once it is in its place nothing of this name is ours.
        if is_same(&self.path, &self.file) {
            self.remove_sides();
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether the file at a path is this one.
pub(super) fn is_same(path: &Path, file: &File) -> bool {
    let identity = |file: fs::Metadata| (file.dev(), file.ino());
    match (fs::metadata(path), file.metadata()) {
        (Ok(there), Ok(ours)) => identity(there) == identity(ours),
        _ => false,
    }
}

/// Has the names in the folder of `place` survive a power cut.
pub(super) fn sync_folder(place: &Path) -> Result<(), BackupError> {
    let folder = match place.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(at(folder, "it cannot be synced"))
}

/// Where a file is or will be, wherever its links lead.
pub(super) fn real(path: &Path) -> Result<PathBuf, BackupError> {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => Err(BackupError::NoFile(path.to_owned())),
        Ok(_) => fs::canonicalize(path).map_err(at(path, "it cannot be found")),
        Err(_) => Ok(path.to_owned()),
    }
}
