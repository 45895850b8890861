//! SQLite's write-ahead log: moved into the database file beside the writer, so that no commit stops for it.
//!
//! The log begins anew only once all of it has been moved, and while the writer goes on, a little is always left. So once
//! the log is long, it is moved again and again until little is left, and the writer moves the last bit itself. Where the
//! log grows faster than it can be moved, work in the background waits for it; requests never do, and SQLite's own limit
//! (`wal_autocheckpoint`) bounds what they write. What the log has taken of the disk it keeps, up to a bound
//! (`journal_size_limit`), and gives back when nothing is written for a while.

use diesel::{
    Connection as _, QueryableByName, RunQueryDsl as _, SqliteConnection,
    connection::SimpleConnection as _, sql_query, sql_types::BigInt,
};
use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

use super::{StoreOptions, busy_timeout, file::DatabaseFile, job::Message, spawn};
use crate::{causes::with_causes, store::StoreError};

/// The pages at which SQLite has the writer move the whole log, however long that takes: 64 MiB.
pub(super) const LIMIT: u32 = 16_384;
/// The pages at which the log is to begin anew: 8 MiB. All of a log is read at a start after a kill.
const LONG: i64 = 2_048;
/// What a log that begins anew may keep of the disk, in bytes: as much as it is ever to take. To cut it and have it grow
/// again would cost each commit a write of its own for where its pages are.
pub(super) const KEPT_BYTES: i64 = (LIMIT as i64 + MORE) * (4096 + 24);
/// The pages for which moving is not put off while work goes on in the background.
const MUCH: i64 = 2_048;
/// The bytes that a log may keep while nothing is written: giving fewer back is not worth the work.
const SMALL: u64 = 1024 * 1024;
/// The pages that the writer moves itself. It waits for the disk meanwhile: a few milliseconds for so few.
const LITTLE: i64 = 64;
/// The pages from which it moves more itself, for a start after a kill reads all of it: 16 MiB. Large commits leave more than a
/// little each time.
const VERY_LONG: i64 = 4_096;
/// What it moves then: the pages of some large commits.
const MORE: i64 = 1_024;
/// How often a long log is moved at a time until little is left. Each time takes less than the one before, unless a reader
/// keeps the log where it is.
const PASSES: usize = 8;
/// For how long the writer takes the log for as long as it was: to look costs as much as a statement.
const LOOK: Duration = Duration::from_millis(5);
/// How often the log is moved before work in the background goes on all the same. A reader that takes its time, a
/// backup for one, keeps the log from beginning anew.
const PATIENCE: u64 = 50;

/// What the writer knows of the log.
pub(super) struct Log {
    due: SyncSender<()>,
    urgent: SyncSender<()>,
    /// How often the log was moved.
    moves: Arc<AtomicU64>,
    /// How often it had been when work in the background began to wait for it.
    waits_since: Option<u64>,
    /// When the writer looked how long the log is.
    looked: Instant,
}

/// How long the log is, in pages.
#[derive(QueryableByName)]
struct Length {
    /// All of it.
    #[diesel(sql_type = BigInt)]
    log: i64,
    /// What has been moved.
    #[diesel(sql_type = BigInt)]
    checkpointed: i64,
}

impl Length {
    fn left(&self) -> i64 {
        self.log - self.checkpointed
    }

    /// Whether the writer is to move what is left, so that the log begins anew.
    fn is_to_end(&self) -> bool {
        match self.log {
            VERY_LONG.. => (1..=MORE).contains(&self.left()),
            LONG.. => (1..=LITTLE).contains(&self.left()),
            _ => false,
        }
    }
}

impl Log {
    /// Starts the thread that moves the log, which lies at `path`; it ends when what this gives back is dropped. The
    /// writer is told whenever the log was moved.
    pub(super) fn open(
        url: &str,
        path: PathBuf,
        options: &StoreOptions,
        writer: mpsc::WeakSender<Message>,
        file: &Arc<DatabaseFile>,
    ) -> Result<(Self, JoinHandle<()>), StoreError> {
        let mut conn = SqliteConnection::establish(url)?;
        file.is_ours()?;
        conn.batch_execute(&busy_timeout(options))?;
        // The first look may have to wait for others. Afterwards nothing waits: whoever waits here could hold up the writer.
        measure(&mut conn)?;
        conn.batch_execute("PRAGMA busy_timeout = 0")?;
        let (due, is_due) = sync_channel(1);
        let (urgent, is_urgent) = sync_channel(1);
        let moves = Arc::new(AtomicU64::new(0));
        let mover = Checkpointer {
            conn,
            due: is_due,
            urgent: is_urgent,
            moves: Arc::clone(&moves),
            writer,
            path,
            file: Arc::clone(file),
        };
        let thread = spawn("sqlite-checkpoint", move || mover.run())?;
        let log = Self {
            due,
            urgent,
            moves,
            waits_since: None,
            looked: Instant::now(),
        };
        Ok((log, thread))
    }

    /// To be called after each commit, with whether it was of work in the background.
    pub(super) fn grew(
        &mut self,
        conn: &mut SqliteConnection,
        in_background: bool,
    ) -> Result<(), StoreError> {
        if !in_background && self.looked.elapsed() < LOOK {
            self.wake(false);
            return Ok(());
        }
        self.looked = Instant::now();
        let length = measure(conn)?;
        if length.is_to_end() {
            move_all(conn)?;
        }
        if in_background {
            // Whatever comes next waits anew.
            self.waits_since = None;
        }
        self.wake(in_background && length.left() >= MUCH);
        Ok(())
    }

    /// Whether work in the background is to wait until more of the log was moved.
    pub(super) fn is_too_long(&mut self, conn: &mut SqliteConnection) -> Result<bool, StoreError> {
        let length = measure(conn)?;
        if length.log < LONG || length.left() <= LITTLE {
            self.waits_since = None;
            return Ok(false);
        }
        let moves = self.moves.load(Ordering::Acquire);
        let since = *self.waits_since.get_or_insert(moves);
        let wait = moves - since < PATIENCE;
        self.wake(wait);
        Ok(wait)
    }

    /// Has the log moved, soon or at once.
    fn wake(&self, at_once: bool) {
        // An error says that it has been told already.
        let _ = self.due.try_send(());
        if at_once {
            let _ = self.urgent.try_send(());
        }
    }
}

/// Moves what was committed from the log into the database file.
struct Checkpointer {
    conn: SqliteConnection,
    due: Receiver<()>,
    urgent: Receiver<()>,
    moves: Arc<AtomicU64>,
    writer: mpsc::WeakSender<Message>,
    /// The log.
    path: PathBuf,
    file: Arc<DatabaseFile>,
}

impl Checkpointer {
    /// How long commits are gathered, for a page that changes often need be moved only once.
    const PAUSE: Duration = Duration::from_millis(100);
    /// After so long without a commit what the log takes of the disk is given back.
    const IDLE: Duration = Duration::from_secs(2);

    fn run(mut self) {
        loop {
            match self.due.recv_timeout(Self::IDLE) {
                Ok(()) => self.carry_on(),
                Err(RecvTimeoutError::Timeout) => self.give_back(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn carry_on(&mut self) {
        // Either is a reason to go on; where the writer is gone the next wait says so too.
        let _ = self.urgent.recv_timeout(Self::PAUSE);
        let moved = self.file.check().map_err(StoreError::from);
        if let Err(error) = moved.and_then(|()| self.move_most()) {
            self.file.note(&error);
            log::warn!(
                "SQLite's log could not be moved into its file: {}",
                with_causes(&error)
            );
            thread::sleep(Self::PAUSE);
        }
        self.moves.fetch_add(1, Ordering::Release);
        if let Some(writer) = self.writer.upgrade() {
            // Where there is no room the writer is awake.
            let _ = writer.try_send(Message::LogMoved);
        }
    }

    /// Moves the log: a long one until so little is left that the writer moves the rest itself where it has to, even after another
    /// commit.
    fn move_most(&mut self) -> Result<(), StoreError> {
        for _ in 0..PASSES {
            move_all(&mut self.conn)?;
            let length = measure(&mut self.conn)?;
            if length.log < LONG || length.left() <= MORE / 2 {
                break;
            }
        }
        Ok(())
    }

    /// Empties a log that takes much of the disk. Where somebody still reads in it, or writes, that is tried again after
    /// another while.
    fn give_back(&mut self) {
        let is_large = fs::metadata(&self.path).is_ok_and(|log| log.len() > SMALL);
        if is_large
            && self.file.check().is_ok()
            && let Err(error) = self.conn.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)")
        {
            self.file.note(&error);
            log::debug!("SQLite's log keeps its size: {error}");
        }
    }
}

/// Moves as much of the log as nobody still needs where it is.
fn move_all(conn: &mut SqliteConnection) -> Result<(), StoreError> {
    Ok(conn.batch_execute("PRAGMA wal_checkpoint(PASSIVE)")?)
}

fn measure(conn: &mut SqliteConnection) -> Result<Length, StoreError> {
    Ok(sql_query("PRAGMA wal_checkpoint(NOOP)").get_result(conn)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_writer_moves_a_little_of_a_long_log_and_more_of_a_very_long_one() {
        let is_to_end = |log, left| {
            let checkpointed = log - left;
            Length { log, checkpointed }.is_to_end()
        };
        for (log, most) in [(LONG, LITTLE), (VERY_LONG - 1, LITTLE), (VERY_LONG, MORE)] {
            assert!(is_to_end(log, 1) && is_to_end(log, most), "{log}");
            // With nothing left the next commit begins it anew.
            assert!(!is_to_end(log, 0) && !is_to_end(log, most + 1), "{log}");
        }
        assert!(!is_to_end(LONG - 1, 1));
    }
}
