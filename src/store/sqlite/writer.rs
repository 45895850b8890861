//! The thread that writes: requests first, many in one transaction; work in the background when no request waits.

use diesel::{
    QueryableByName, RunQueryDsl as _, SqliteConnection, result::Error as QueryError, sql_query,
    sql_types::BigInt,
};
use std::{
    collections::VecDeque,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tokio::sync::mpsc::{self, error::TryRecvError};

use super::{
    checkpoints::Log,
    file::DatabaseFile,
    job::{Job, Message},
};
use crate::{
    causes::with_causes,
    store::{FileFault, Health, StoreError, StoreOptions, Trouble, WriteLoad, cached::Fixed},
};

/// How long work in the background waits for its turn where requests never cease.
const TURN: Duration = Duration::from_millis(100);
/// How long after a write of another process or a request more of them are expected.
const BUSY: Duration = Duration::from_millis(250);

pub(super) struct Writer {
    conn: SqliteConnection,
    queue: mpsc::Receiver<Message>,
    /// The most requests in a transaction.
    limit: usize,
    /// How long another process may hold the database.
    timeout: Duration,
    /// None in memory.
    log: Option<Log>,
    /// None in memory.
    file: Option<Arc<DatabaseFile>>,
    background: VecDeque<Box<dyn Job>>,
    /// When the first of them was put there, or the last one was done.
    background_since: Instant,
    stopping: bool,
    others: OtherWriters,
    syncs: bool,
    health: Health,
    /// How many rows this connection had changed when the transaction began; known while writes fail.
    changes: Option<i64>,
}

/// What is done next.
enum Next {
    Requests(Box<dyn Job>),
    Background(Box<dyn Job>),
    End,
}

struct Batch {
    jobs: Vec<Box<dyn Job>>,
    committed: Result<(), StoreError>,
}

impl Writer {
    /// `health`: is told how many requests shared a transaction, and their outcomes.
    pub(super) fn new(
        conn: SqliteConnection,
        queue: mpsc::Receiver<Message>,
        options: &StoreOptions,
        log: Option<Log>,
        file: Option<Arc<DatabaseFile>>,
        health: Health,
    ) -> Self {
        Self {
            conn,
            queue,
            limit: options.write_batch.max(1),
            timeout: options.timeout,
            log,
            file,
            background: VecDeque::new(),
            background_since: Instant::now(),
            stopping: false,
            others: OtherWriters::unknown(),
            syncs: true,
            health,
            changes: None,
        }
    }

    pub(super) fn run(mut self) {
        loop {
            let (batch, in_background) = match self.next() {
                Next::Requests(first) => (self.gather(first), false),
                Next::Background(job) => (self.give_a_turn(job), true),
                Next::End => break,
            };
            for job in batch.jobs {
                job.answer(batch.committed.as_ref().copied());
            }
            if let Some(log) = &mut self.log
                && let Err(error) = log.grew(&mut self.conn, in_background)
            {
                log::warn!("SQLite's log cannot be measured: {}", with_causes(&error));
            }
        }
        if let Err(StoreError::File(FileFault::Overwritten)) = self.check_file() {
            // To close it would move the log into a file that it is not of.
            std::mem::forget(self.conn);
        }
    }

    /// Waits for something to do.
    fn next(&mut self) -> Next {
        loop {
            let has_turn = self.background_has_turn();
            if self.stopping {
                return self
                    .background
                    .pop_front()
                    .map_or(Next::End, Next::Background);
            }
            if has_turn
                && self.background_since.elapsed() >= TURN
                && let Some(job) = self.background.pop_front()
            {
                return Next::Background(job);
            }
            let message = if has_turn {
                self.queue.try_recv()
            } else {
                self.queue.blocking_recv().ok_or(TryRecvError::Disconnected)
            };
            match message {
                // Nobody waits any more, and nothing was begun: the sender will come again.
                Ok(Message::Job(job)) if job.is_abandoned() => {}
                Ok(Message::Job(job)) => return Next::Requests(job),
                Ok(other) => self.take(other),
                Err(TryRecvError::Empty) => {
                    if let Some(job) = self.background.pop_front() {
                        return Next::Background(job);
                    }
                }
                // Nobody is left who could wait.
                Err(TryRecvError::Disconnected) => return Next::End,
            }
        }
    }

    /// Whether work in the background may be done once no request waits.
    fn background_has_turn(&mut self) -> bool {
        self.background.retain(|job| !job.is_abandoned());
        if self.background.is_empty() {
            return false;
        }
        let Some(log) = &mut self.log else {
            return true;
        };
        match log.is_too_long(&mut self.conn) {
            Ok(is_too_long) => !is_too_long,
            Err(error) => {
                log::warn!("SQLite's log cannot be measured: {}", with_causes(&error));
                true
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Background(job) => {
                if self.background.is_empty() {
                    self.background_since = Instant::now();
                }
                self.background.push_back(job);
            }
            Message::Stop => self.stopping = true,
            Message::Job(_) | Message::LogMoved => {}
        }
    }

    /// Runs `first` and all requests that wait behind it in one transaction, and commits it. Where the transaction
    /// cannot even begin, all that waits is told so at once instead of waiting for the lock one after another.
    fn gather(&mut self, first: Box<dyn Job>) -> Batch {
        let mut jobs = Vec::new();
        let mut next = Some(first);
        let mut outcome = self.begin(true);
        while let Some(mut job) = next.take() {
            if !job.is_abandoned() {
                let is_first = jobs.is_empty();
                outcome = outcome.and_then(|()| self.run_job(&mut *job, WriteLoad::Busy, is_first));
                jobs.push(job);
            }
            while next.is_none() && jobs.len() < self.limit && !self.stopping {
                match self.queue.try_recv() {
                    Ok(Message::Job(job)) => next = Some(job),
                    Ok(other) => self.take(other),
                    Err(_empty) => break,
                }
            }
        }
        self.others.last_request = Instant::now();
        let requests: usize = jobs.iter().map(|job| job.count()).sum();
        self.health.gathered(requests);
        self.commit(jobs, outcome)
    }

    /// Runs work in the background in a transaction of its own: no request shares its commit, or waits for two of them.
    fn give_a_turn(&mut self, mut job: Box<dyn Job>) -> Batch {
        let demand = self.others.demand(&mut self.conn);
        let outcome = demand.and_then(|demand| {
            self.begin(demand == WriteLoad::Busy)?;
            self.run_job(&mut *job, demand, true)
        });
        let batch = self.commit(vec![job], outcome);
        self.background_since = Instant::now();
        batch
    }

    /// Does a job in the transaction that was begun, and leaves nothing of one that fails. An error says that the
    /// transaction is lost. The first job of a transaction needs no savepoint, in which SQLite copies each page that is changed.
    fn run_job(
        &mut self,
        job: &mut dyn Job,
        demand: WriteLoad,
        is_first: bool,
    ) -> Result<(), StoreError> {
        if is_first {
            if job.run(&mut self.conn, demand) {
                return Ok(());
            }
            self.execute("ROLLBACK")?;
            return self.begin(self.syncs);
        }
        self.execute("SAVEPOINT job")?;
        if !job.run(&mut self.conn, demand) {
            self.execute("ROLLBACK TO job")?;
        }
        self.execute("RELEASE job")
    }

    /// Begins a transaction. `sync`: whether its commit is to be on disk before it is answered. One that is not is on
    /// disk with the next that is, for the log is synced as a whole and read in order. Lost with the power it leaves
    /// the state before it, as whole as that after it; the log is synced before any of it is moved.
    fn begin(&mut self, sync: bool) -> Result<(), StoreError> {
        self.check_file()?;
        if sync != self.syncs {
            self.execute(match sync {
                true => "PRAGMA synchronous = FULL",
                false => "PRAGMA synchronous = NORMAL",
            })?;
            self.syncs = sync;
        }
        /// SQLite's own waiting grows to a tenth of a second, in which another process can begin many times.
        const PAUSE: Duration = Duration::from_micros(500);
        let deadline = Instant::now() + self.timeout;
        loop {
            match self.execute("BEGIN IMMEDIATE") {
                Err(error) if is_locked(&error) && Instant::now() < deadline => {
                    thread::sleep(PAUSE);
                }
                settled => {
                    self.changes = self.count_changes();
                    return settled;
                }
            }
        }
    }

    /// How many rows this connection has changed, where it matters. `None` where that cannot be told, as where there is
    /// no transaction.
    fn count_changes(&mut self) -> Option<i64> {
        #[derive(QueryableByName)]
        struct Changes {
            #[diesel(sql_type = BigInt)]
            changes: i64,
        }
        if !self.health.is_failing() {
            return None;
        }
        let counted = sql_query("SELECT total_changes() AS changes").get_result(&mut self.conn);
        counted.ok().map(|row: Changes| row.changes)
    }

    fn commit(&mut self, jobs: Vec<Box<dyn Job>>, outcome: Result<(), StoreError>) -> Batch {
        let before = self.changes.take();
        let has_written = before.is_some() && self.count_changes() != before;
        let committed = outcome.and_then(|()| self.execute("COMMIT"));
        // A commit into a file that was moved or deleted is not kept.
        let committed = committed.and_then(|()| self.check_file());
        self.note(&jobs, &committed, has_written);
        if let Err(error) = &committed {
            if let Some(file) = &self.file {
                file.note(error);
            }
            log::error!(
                "SQLite lost a transaction of {} writes: {}",
                jobs.len(),
                with_causes(error)
            );
            // Fails where SQLite has rolled back by itself.
            let _ = self.execute("ROLLBACK");
        }
        Batch { jobs, committed }
    }

    fn check_file(&self) -> Result<(), StoreError> {
        match &self.file {
            Some(file) => Ok(file.check()?),
            None => Ok(()),
        }
    }

    /// Notes whether writes are made durable.
    fn note(&self, jobs: &[Box<dyn Job>], committed: &Result<(), StoreError>, has_written: bool) {
        let mut is_well = has_written;
        let of_jobs = jobs.iter().filter_map(|job| job.trouble());
        let of_all = committed.as_ref().err().and_then(|error| {
            is_well = false;
            Some((Trouble::of(error)?, with_causes(error)))
        });
        for (trouble, cause) in of_jobs.chain(of_all) {
            is_well = false;
            self.health.failed(trouble, cause);
        }
        if is_well {
            self.health.committed();
        }
    }

    fn execute(&mut self, statement: &'static str) -> Result<(), StoreError> {
        Fixed(statement).execute(&mut self.conn)?;
        Ok(())
    }
}

/// Who else writes: requests here, and other processes.
struct OtherWriters {
    last_request: Instant,
    last_process: Instant,
    /// Changes with every commit of another connection.
    version: Option<i64>,
}

#[derive(QueryableByName)]
struct DataVersion {
    #[diesel(sql_type = BigInt)]
    data_version: i64,
}

impl OtherWriters {
    /// Takes it that others write, until a while has passed without a write of theirs.
    fn unknown() -> Self {
        Self {
            last_request: Instant::now(),
            last_process: Instant::now(),
            version: None,
        }
    }

    fn demand(&mut self, conn: &mut SqliteConnection) -> Result<WriteLoad, StoreError> {
        let found: DataVersion = sql_query("PRAGMA data_version").get_result(conn)?;
        if self.version.replace(found.data_version) != Some(found.data_version) {
            self.last_process = Instant::now();
        }
        let last = self.last_request.max(self.last_process);
        Ok(match last.elapsed() < BUSY {
            true => WriteLoad::Busy,
            false => WriteLoad::Idle,
        })
    }
}

/// Whether somebody else is writing.
fn is_locked(error: &StoreError) -> bool {
    match error {
        StoreError::Query(QueryError::DatabaseError(_, about)) => {
            about.message() == "database is locked"
        }
        _ => false,
    }
}
