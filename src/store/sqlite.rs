//! SQLite: one writer thread that gathers waiting writes into one transaction, a thread that moves the log, and a pool
//! of readers.
//!
//! A commit with `synchronous=FULL` costs an `fsync`, and SQLite takes one writer at a time. So the writer takes
//! whatever waits for it, runs each job in a savepoint of its own, commits once, and only then answers: under load
//! many requests share one `fsync`, and none is answered before it is on disk.

use diesel::{
    Connection as _, ConnectionError, QueryResult, QueryableByName, RunQueryDsl as _,
    SqliteConnection,
    connection::SimpleConnection,
    r2d2::{ConnectionManager, CustomizeConnection, Pool},
    sql_query,
    sql_types::Integer,
};
use std::{
    error::Error,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, mpsc, oneshot};

use self::{
    checkpoints::{KEPT_BYTES, LIMIT, Log},
    file::{DatabaseFile, Prepared},
    job::{Job, Message, Pending},
    writer::Writer,
};
use super::{
    Conn, FileFault, Health, StoreError, StoreOptions, WriteLoad, blocking,
    cached::Fixed,
    guarded, in_transaction,
    load::{Load, PoolLoad},
    migrations,
};
use crate::{causes::with_causes, memory};

mod checkpoints;
pub(super) mod file;
mod job;
mod reading;
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
    threads: Threads,
    health: Health,
}

/// The threads that have a connection each, until they are waited for.
type Threads = Arc<Mutex<Vec<JoinHandle<()>>>>;

#[derive(Clone)]
struct Readers {
    /// None when it is closed.
    pool: Arc<Mutex<Option<ReaderPool>>>,
    permits: Arc<Semaphore>,
    count: u32,
}

type ReaderPool = Pool<ConnectionManager<SqliteConnection>>;

impl Sqlite {
    pub(super) fn open(path: Option<PathBuf>, options: &StoreOptions) -> Result<Self, StoreError> {
        match path {
            Some(path) => Self::open_file(path, options),
            None => Self::start(connect(":memory:", options)?, options, None, |_| Ok(None)),
        }
    }

    fn open_file(path: PathBuf, options: &StoreOptions) -> Result<Self, StoreError> {
        let prepared = Prepared::new(path)?;
        let (url, log) = (prepared.url.clone(), prepared.log());
        let mut conn = connect(&url, options)?;
        let stamp = stamp(&mut conn, &prepared)?;
        let file = Arc::new(prepared.opened(stamp)?);
        let readers = Readers::open(&url, options, &file)?;
        let begin = |jobs: &mpsc::Sender<Message>| {
            Log::open(&url, log, options, jobs.downgrade(), &file).map(Some)
        };
        let store = Self::start(conn, options, Some(&file), begin)?;
        Ok(Self {
            readers: Some(readers),
            ..store
        })
    }

    /// Starts the writer, and whatever moves its log.
    fn start(
        mut conn: SqliteConnection,
        options: &StoreOptions,
        file: Option<&Arc<DatabaseFile>>,
        log: impl FnOnce(&mpsc::Sender<Message>) -> Result<Option<(Log, JoinHandle<()>)>, StoreError>,
    ) -> Result<Self, StoreError> {
        // From here on the writer itself waits for other processes.
        conn.batch_execute("PRAGMA busy_timeout = 0")?;
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (log, mover) = log(&jobs)?.unzip();
        let health = Health::default();
        let writer = Writer::new(conn, queue, options, log, file.cloned(), health.clone());
        let writer = spawn("sqlite-writer", move || writer.run())?;
        Ok(Self {
            jobs,
            readers: None,
            file: file.cloned(),
            threads: Arc::new(Mutex::new(
                [Some(writer), mover].into_iter().flatten().collect(),
            )),
            health,
        })
    }

    pub(super) fn free_disk(&self) -> Result<Option<u64>, FileFault> {
        self.file
            .as_deref()
            .map(DatabaseFile::free_disk)
            .transpose()
    }

    /// Notes whether an error tells that the file is damaged.
    pub(super) fn note(&self, error: &(dyn Error + 'static)) {
        if let Some(file) = &self.file {
            file.note(error);
        }
    }

    pub(super) fn load(&self) -> Load {
        Load {
            queue: self.jobs.max_capacity() - self.jobs.capacity(),
            pool: self
                .readers
                .as_ref()
                .and_then(|readers| Some(PoolLoad::of(&readers.pool()?))),
        }
    }

    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    /// Does the `work` of `count` requests.
    pub(super) async fn write<T, E, F>(&self, count: usize, work: F) -> Result<T, E>
    where
        F: FnOnce(&mut Conn<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Error + Send + 'static,
    {
        let work = move |conn: &mut Conn<'_>, _demand| work(conn);
        self.ask(count, work, Message::Job).await
    }

    pub(super) async fn write_in_background<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&mut Conn<'_>, WriteLoad) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Error + Send + 'static,
    {
        self.ask(1, work, Message::Background).await
    }

    async fn ask<T, E, F>(
        &self,
        count: usize,
        work: F,
        how: fn(Box<dyn Job>) -> Message,
    ) -> Result<T, E>
    where
        F: FnOnce(&mut Conn<'_>, WriteLoad) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Error + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Pending::new(count, work, reply));
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
        E: From<StoreError> + Error + Send + 'static,
    {
        let (Some(readers), Some(file)) = (self.readers.clone(), self.file.clone()) else {
            return self.write(1, work).await;
        };
        let permit = readers.permits.clone().acquire_owned().await;
        let permit = permit.map_err(|_closed| StoreError::Closed)?;
        blocking(move || {
            file.is_ours().map_err(StoreError::from)?;
            let pool = readers.pool().ok_or(StoreError::Closed)?;
            let mut conn = pool.get().map_err(StoreError::from)?;
            let outcome = guarded(work, &mut Conn::Sqlite(&mut conn));
            drop(conn);
            drop(pool);
            drop(permit);
            outcome
        })
        .await
    }

    pub(super) async fn snapshot<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&mut Conn<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Error + Send + 'static,
    {
        if self.readers.is_none() {
            return self.write(1, work).await;
        }
        self.read(|conn| in_transaction(conn, Fixed("BEGIN"), work))
            .await
    }

    /// Whoever closes a file last moves all of its log into it, and removes the log.
    pub(super) async fn close(&self) {
        // An error says that the writer is gone already.
        let _ = self.jobs.send(Message::Stop).await;
        self.jobs.closed().await;
        let pool = match &self.readers {
            Some(readers) => readers.close().await,
            None => None,
        };
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let closing = blocking(move || {
            for thread in threads {
                // An error says that it panicked, which was told.
                let _ = thread.join();
            }
            drop(pool);
            Ok::<_, StoreError>(())
        });
        if let Err(error) = closing.await {
            log::error!("SQLite's file could not be closed: {}", with_causes(&error));
        }
    }
}

impl Readers {
    fn open(
        url: &str,
        options: &StoreOptions,
        file: &Arc<DatabaseFile>,
    ) -> Result<Self, StoreError> {
        let pool = Pool::builder()
            .max_size(options.connections)
            .min_idle(Some(1))
            .connection_timeout(options.timeout)
            .test_on_check_out(false)
            .connection_customizer(Box::new(ReadOnly(Arc::clone(file))))
            .build(ConnectionManager::new(url))?;
        Ok(Self {
            pool: Arc::new(Mutex::new(Some(pool))),
            permits: Arc::new(Semaphore::new(options.connections as usize)),
            count: options.connections,
        })
    }

    fn pool(&self) -> Option<ReaderPool> {
        let pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        pool.clone()
    }

    /// Waits for the reads that have begun, lets none begin, and gives the connections, to be dropped where it may take
    /// its time.
    async fn close(&self) -> Option<ReaderPool> {
        // An error says that they are closed already.
        let _all = self.permits.acquire_many(self.count).await;
        self.permits.close();
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        pool.take()
    }
}

/// Opens the writer's connection and brings the schema up to date.
fn connect(url: &str, options: &StoreOptions) -> Result<SqliteConnection, StoreError> {
    let mut conn = SqliteConnection::establish(url)?;
    conn.batch_execute(&busy_timeout(options))?;
    // Before the first table, or it has no effect: lets a clean-up give space back without rewriting the file.
    conn.batch_execute("PRAGMA auto_vacuum = INCREMENTAL")?;
    use_log(&mut conn, options)?;
    let cache_kibibytes = memory::at_most(16 * 1024 * 1024, 8) / 1024;
    conn.batch_execute(&format!(
        "PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = OFF;
         PRAGMA cache_size = -{cache_kibibytes};
         PRAGMA wal_autocheckpoint = {LIMIT};
         PRAGMA journal_size_limit = {KEPT_BYTES};"
    ))?;
    // Before foreign keys are looked at, for a migration may put a table in the place of another; and before what is
    // sorted is kept in the memory, for it may sort all that there is.
    migrations::bring_up(&mut Conn::Sqlite(&mut conn))?;
    conn.batch_execute("PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY;")?;
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

/// The number that tells this file from its copies; 0 where it has none.
fn known_stamp(conn: &mut SqliteConnection) -> QueryResult<i32> {
    #[derive(QueryableByName)]
    struct Stamp {
        #[diesel(sql_type = Integer)]
        user_version: i32,
    }
    let found: Stamp = sql_query("PRAGMA user_version").get_result(conn)?;
    Ok(found.user_version)
}

/// The same, given to it where it has none.
fn stamp(conn: &mut SqliteConnection, file: &Prepared) -> Result<i32, StoreError> {
    let mut stamp = known_stamp(conn)?;
    if stamp == 0 {
        stamp = conn.exclusive_transaction(|conn| match known_stamp(conn)? {
            0 => {
                let stamp = file::new_stamp();
                conn.batch_execute(&format!("PRAGMA user_version = {stamp}"))?;
                Ok::<_, StoreError>(stamp)
            }
            // Another process was first.
            known => Ok(known),
        })?;
    }
    // It is to be in the file itself. Where it is, a log that a kill has left is moved later: that takes its time.
    if !file.has_stamp(stamp) {
        conn.batch_execute("PRAGMA wal_checkpoint(PASSIVE)")?;
    }
    Ok(stamp)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
    thread.map_err(|_no_thread| StoreError::Closed)
}

fn busy_timeout(options: &StoreOptions) -> String {
    format!("PRAGMA busy_timeout = {}", options.timeout.as_millis())
}

/// SQLite forgets these between connections.
struct ReadOnly(Arc<DatabaseFile>);

impl fmt::Debug for ReadOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReadOnly")
    }
}

impl CustomizeConnection<SqliteConnection, diesel::r2d2::Error> for ReadOnly {
    fn on_acquire(&self, c: &mut SqliteConnection) -> Result<(), diesel::r2d2::Error> {
        // A connection is opened when it is needed, and by then there may be another file.
        self.0.is_ours().map_err(|fault| {
            let bad = ConnectionError::BadConnection(fault.to_string());
            diesel::r2d2::Error::ConnectionError(bad)
        })?;
        c.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA query_only = ON;")
            .map_err(diesel::r2d2::Error::QueryError)
    }
}
