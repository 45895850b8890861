//! SQLite: one writer thread that gathers waiting writes into one transaction, and a pool of readers.
//!
//! A commit with `synchronous=FULL` costs an `fsync`, and SQLite takes one writer at a time. So the writer takes
//! whatever waits for it, runs each job in a savepoint of its own, commits once, and only then answers: under load
//! many requests share one `fsync`, and none is answered before it is on disk.

use diesel::{
    Connection as _, RunQueryDsl as _, SqliteConnection,
    connection::SimpleConnection,
    r2d2::{ConnectionManager, CustomizeConnection, Pool},
};
use prometheus::Histogram;
use std::{
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::{
    Conn, StoreError, StoreOptions, blocking,
    cached::Fixed,
    guarded, in_transaction,
    load::{self, Load, PoolLoad},
    migrations,
};

/// How many jobs may wait for the writer; more wait in their own requests.
const QUEUE: usize = 1024;

/// A SQLite database.
#[derive(Clone)]
pub struct Sqlite {
    jobs: mpsc::Sender<Message>,
    /// None for a database in memory, which only the writer's connection sees.
    readers: Option<Readers>,
    /// None for a database in memory.
    file: Option<Arc<DatabaseFile>>,
    batch_sizes: Histogram,
}

/// The file, and what tells it from another of its name.
struct DatabaseFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl DatabaseFile {
    fn identity(path: &Path) -> io::Result<(u64, u64)> {
        let file = std::fs::metadata(path)?;
        Ok((file.dev(), file.ino()))
    }
}

#[derive(Clone)]
struct Readers {
    pool: Pool<ConnectionManager<SqliteConnection>>,
    permits: Arc<Semaphore>,
}

impl Sqlite {
    pub(super) fn open(path: Option<PathBuf>, options: &StoreOptions) -> Result<Self, StoreError> {
        let url = match &path {
            Some(path) => path.to_string_lossy().into_owned(),
            None => ":memory:".to_owned(),
        };
        let conn = connect(&url, options)?;
        let readers = match &path {
            Some(_) => Some(Readers::open(&url, options)?),
            None => None,
        };
        let (jobs, queue) = mpsc::channel(QUEUE);
        let checkpoints = match &readers {
            Some(_) => Some(Checkpointer::start(url, options)?),
            None => None,
        };
        let batch_sizes = load::batch_sizes();
        let writer = Writer {
            conn,
            batch_sizes: batch_sizes.clone(),
            queue,
            limit: options.write_batch.max(1),
            checkpoints,
        };
        spawn("sqlite-writer", move || writer.run())?;
        Ok(Self {
            jobs,
            readers,
            batch_sizes,
            file: match path {
                Some(path) => {
                    let identity = DatabaseFile::identity(&path);
                    let identity = identity.map_err(|gone| StoreError::Unreadable(gone.into()))?;
                    Some(Arc::new(DatabaseFile { path, identity }))
                }
                None => None,
            },
        })
    }

    pub(super) fn free_disk(&self) -> io::Result<Option<u64>> {
        let measure = |file: &DatabaseFile| {
            // Without its name the open file can still be written to, and is lost with the process.
            if DatabaseFile::identity(&file.path)? != file.identity {
                return Err(io::Error::other("another file has taken its place"));
            }
            let disk = rustix::fs::statvfs(&file.path)?;
            // What is left to those who are not root.
            Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
        };
        self.file.as_deref().map(measure).transpose()
    }

    pub(super) fn load(&self) -> Load {
        Load {
            queue: self.jobs.max_capacity() - self.jobs.capacity(),
            pool: self
                .readers
                .as_ref()
                .map(|readers| PoolLoad::of(&readers.pool)),
        }
    }

    pub(super) fn batch_sizes(&self) -> Histogram {
        self.batch_sizes.clone()
    }

    pub(super) async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&mut Conn<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Pending {
            work: Some(work),
            outcome: None,
            reply,
        };
        self.jobs
            .send(Message::Job(Box::new(job)))
            .await
            .map_err(|_closed| StoreError::Closed)?;
        answer
            .await
            .unwrap_or_else(|_dropped| Err(StoreError::Closed.into()))
    }

    pub(super) async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&mut Conn<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let Some(Readers { pool, permits }) = self.readers.clone() else {
            return self.write(work).await;
        };
        let permit = permits.acquire_owned().await;
        let permit = permit.map_err(|_closed| StoreError::Closed)?;
        blocking(move || {
            let mut conn = pool.get().map_err(StoreError::from)?;
            let outcome = guarded(work, &mut Conn::Sqlite(&mut conn));
            drop(conn);
            drop(permit);
            outcome
        })
        .await
    }

    pub(super) async fn snapshot<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&mut Conn<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        if self.readers.is_none() {
            return self.write(work).await;
        }
        self.read(|conn| in_transaction(conn, Fixed("BEGIN"), work))
            .await
    }

    pub(super) async fn close(&self) {
        // An error says that the writer is gone already.
        let _ = self.jobs.send(Message::Stop).await;
        self.jobs.closed().await;
    }
}

impl Readers {
    fn open(url: &str, options: &StoreOptions) -> Result<Self, StoreError> {
        let pool = Pool::builder()
            .max_size(options.connections)
            .min_idle(Some(1))
            .connection_timeout(options.timeout)
            .test_on_check_out(false)
            .connection_customizer(Box::new(ReadOnly))
            .build(ConnectionManager::new(url))?;
        Ok(Self {
            pool,
            permits: Arc::new(Semaphore::new(options.connections as usize)),
        })
    }
}

/// Opens the writer's connection and brings the schema up to date.
fn connect(url: &str, options: &StoreOptions) -> Result<SqliteConnection, StoreError> {
    let mut conn = SqliteConnection::establish(url)?;
    conn.batch_execute(&busy_timeout(options))?;
    // Before the first table, or it has no effect: lets a clean-up give space back without rewriting the file.
    conn.batch_execute("PRAGMA auto_vacuum = INCREMENTAL")?;
    use_log(&mut conn, options)?;
    conn.batch_execute(
        "PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = ON;
         PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -65536;
         PRAGMA wal_autocheckpoint = 32768;",
    )?;
    migrations::sqlite(&mut conn)?;
    Ok(conn)
}

/// Turns the write-ahead log on. SQLite's own time-out does not cover this: where several processes open a new file at
/// once, all but one are told at once that it is locked.
fn use_log(conn: &mut SqliteConnection, options: &StoreOptions) -> Result<(), StoreError> {
    const PAUSE: Duration = Duration::from_millis(20);
    let deadline = Instant::now() + options.timeout;
    loop {
        match conn
            .batch_execute("PRAGMA journal_mode = WAL")
            .map_err(StoreError::from)
        {
            Err(error) if error.is_unavailable() && Instant::now() < deadline => {
                thread::sleep(PAUSE)
            }
            settled => return settled,
        }
    }
}

/// Moves what was committed from the write-ahead log into the database file, beside the writer. The writer does it too
/// where the log has grown long, for only then can the log begin anew; most of it is done by then.
struct Checkpointer {
    conn: SqliteConnection,
    due: Receiver<()>,
}

impl Checkpointer {
    /// How long commits are gathered, for a page that changes often need be moved only once.
    const PAUSE: Duration = Duration::from_millis(500);

    /// Starts the thread, which ends when what it gives back is dropped.
    fn start(url: String, options: &StoreOptions) -> Result<SyncSender<()>, StoreError> {
        let mut conn = SqliteConnection::establish(&url)?;
        conn.batch_execute(&busy_timeout(options))?;
        let (sender, due) = sync_channel(1);
        let checkpointer = Self { conn, due };
        spawn("sqlite-checkpoint", move || checkpointer.run())?;
        Ok(sender)
    }

    fn run(mut self) {
        while self.due.recv().is_ok() {
            thread::sleep(Self::PAUSE);
            let moved = self.conn.batch_execute("PRAGMA wal_checkpoint(PASSIVE)");
            if let Err(error) = moved {
                log::warn!("SQLite's log could not be moved into its file: {error}");
            }
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
    thread.map(drop).map_err(|_no_thread| StoreError::Closed)
}

fn busy_timeout(options: &StoreOptions) -> String {
    format!("PRAGMA busy_timeout = {}", options.timeout.as_millis())
}

/// SQLite forgets these between connections.
#[derive(Debug)]
struct ReadOnly;

impl CustomizeConnection<SqliteConnection, diesel::r2d2::Error> for ReadOnly {
    fn on_acquire(&self, c: &mut SqliteConnection) -> Result<(), diesel::r2d2::Error> {
        c.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA query_only = ON;")
            .map_err(diesel::r2d2::Error::QueryError)
    }
}

enum Message {
    Job(Box<dyn Job>),
    Stop,
}

/// A write that waits for the writer, whatever it gives back.
trait Job: Send {
    /// Whether nobody waits for it any more.
    fn is_abandoned(&self) -> bool;
    /// Does the work in a savepoint. An error says that the transaction around it is lost.
    fn run(&mut self, conn: &mut SqliteConnection) -> Result<(), StoreError>;
    /// Tells whoever asked, now that it is known whether the transaction was committed.
    fn answer(self: Box<Self>, committed: Result<(), &StoreError>);
}

struct Pending<T, E, F> {
    work: Option<F>,
    outcome: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<T, E, F> Job for Pending<T, E, F>
where
    F: FnOnce(&mut Conn<'_>) -> Result<T, E> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn run(&mut self, conn: &mut SqliteConnection) -> Result<(), StoreError> {
        let Some(work) = self.work.take() else {
            return Ok(());
        };
        Fixed("SAVEPOINT job").execute(conn)?;
        let outcome = guarded(work, &mut Conn::Sqlite(conn));
        if outcome.is_err() {
            Fixed("ROLLBACK TO job").execute(conn)?;
        }
        Fixed("RELEASE job").execute(conn)?;
        self.outcome = Some(outcome);
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), &StoreError>) {
        let answer = match (self.outcome, committed) {
            (Some(Err(error)), _) => Err(error),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (_, Err(error)) => Err(StoreError::Commit(describe(error)).into()),
            (None, Ok(())) => Err(StoreError::Closed.into()),
        };
        // An error says that nobody waits any more.
        let _ = self.reply.send(answer);
    }
}

struct Writer {
    conn: SqliteConnection,
    queue: mpsc::Receiver<Message>,
    limit: usize,
    checkpoints: Option<SyncSender<()>>,
    batch_sizes: Histogram,
}

impl Writer {
    fn run(mut self) {
        while let Some(Message::Job(first)) = self.queue.blocking_recv() {
            // Nobody waits any more, and nothing was begun: the sender will come again.
            if first.is_abandoned() {
                continue;
            }
            let (batch, stop) = self.gather(first);
            self.batch_sizes.observe(batch.jobs.len() as f64);
            for job in batch.jobs {
                job.answer(batch.committed.as_ref().copied());
            }
            if let Some(checkpoints) = &self.checkpoints {
                // An error says that one is due already.
                let _ = checkpoints.try_send(());
            }
            if stop {
                return;
            }
        }
    }

    /// Runs `first` and all that waits behind it in one transaction, and commits it. Where the transaction cannot
    /// even begin, all that waits is told so at once instead of waiting for the lock one after another.
    fn gather(&mut self, first: Box<dyn Job>) -> (Batch, bool) {
        let mut jobs = Vec::new();
        let mut stop = false;
        let mut next = Some(first);
        let mut outcome = self.execute("BEGIN IMMEDIATE");
        while let Some(mut job) = next.take() {
            if !job.is_abandoned() {
                outcome = outcome.and_then(|()| job.run(&mut self.conn));
                jobs.push(job);
            }
            if jobs.len() < self.limit {
                match self.queue.try_recv() {
                    Ok(Message::Job(job)) => next = Some(job),
                    Ok(Message::Stop) => stop = true,
                    Err(_empty) => {}
                }
            }
        }
        let committed = outcome.and_then(|()| self.execute("COMMIT"));
        if let Err(error) = &committed {
            log::error!(
                "SQLite lost a transaction of {} writes: {}",
                jobs.len(),
                describe(error)
            );
            // Fails where SQLite has rolled back by itself.
            let _ = self.execute("ROLLBACK");
        }
        (Batch { jobs, committed }, stop)
    }

    fn execute(&mut self, statement: &'static str) -> Result<(), StoreError> {
        Fixed(statement).execute(&mut self.conn)?;
        Ok(())
    }
}

struct Batch {
    jobs: Vec<Box<dyn Job>>,
    committed: Result<(), StoreError>,
}

/// An error with its cause, for it must be told to several.
fn describe(error: &StoreError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
