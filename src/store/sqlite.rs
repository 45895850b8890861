//! SQLite: one writer thread that gathers waiting writes into one transaction, a thread that moves the log, and a pool
//! of readers.
//!
//! A commit with `synchronous=FULL` costs an `fsync`, and SQLite takes one writer at a time. So the writer takes
//! whatever waits for it, runs each job in a savepoint of its own, commits once, and only then answers: under load
//! many requests share one `fsync`, and none is answered before it is on disk.

use diesel::{
    Connection as _, SqliteConnection,
    connection::SimpleConnection,
    r2d2::{ConnectionManager, CustomizeConnection, Pool},
};
use prometheus::Histogram;
use std::{
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, mpsc, oneshot};

use self::{
    checkpoints::{LIMIT, Log},
    job::{Job, Message, Pending},
    writer::Writer,
};
use super::{
    Conn, Demand, StoreError, StoreOptions, blocking,
    cached::Fixed,
    guarded, in_transaction,
    load::{self, Load, PoolLoad},
    migrations,
};

mod checkpoints;
mod job;
mod writer;

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
        let log = match &readers {
            Some(_) => Some(Log::open(url, options, jobs.downgrade())?),
            None => None,
        };
        let batch_sizes = load::batch_sizes();
        let limit = options.write_batch.max(1);
        let sizes = batch_sizes.clone();
        let writer = Writer::new(conn, queue, limit, options.timeout, log, sizes);
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
        let work = move |conn: &mut Conn<'_>, _demand| work(conn);
        self.ask(work, Message::Job).await
    }

    pub(super) async fn write_in_background<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&mut Conn<'_>, Demand) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.ask(work, Message::Background).await
    }

    async fn ask<T, E, F>(&self, work: F, how: fn(Box<dyn Job>) -> Message) -> Result<T, E>
    where
        F: FnOnce(&mut Conn<'_>, Demand) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Pending::new(work, reply));
        self.jobs
            .send(how(job))
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
    conn.batch_execute(&format!(
        "PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = ON;
         PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -65536;
         PRAGMA wal_autocheckpoint = {};",
        LIMIT
    ))?;
    migrations::sqlite(&mut conn)?;
    // From here on the writer itself waits for other processes.
    conn.batch_execute("PRAGMA busy_timeout = 0")?;
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
