//! PostgreSQL: a pool of connections, used from threads that may block.

use diesel::{
    PgConnection,
    connection::SimpleConnection,
    r2d2::{ConnectionManager, CustomizeConnection, Pool},
};
use prometheus::Histogram;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::Semaphore;

use super::{
    Conn, StoreError, StoreOptions, blocking,
    cached::Fixed,
    guarded, in_transaction,
    load::{self, Load, PoolLoad},
    migrations,
};

/// A PostgreSQL server.
#[derive(Clone)]
pub struct Postgres {
    pool: Pool<ConnectionManager<PgConnection>>,
    // A permit before a thread: waiting requests cost a queue entry, not a blocked thread.
    permits: Arc<Semaphore>,
    /// How many wait for a permit.
    waiting: Arc<AtomicUsize>,
    batch_sizes: Histogram,
}

impl Postgres {
    pub(super) fn open(url: &str, options: &StoreOptions) -> Result<Self, StoreError> {
        migrations::postgres(url)?;
        let pool = Pool::builder()
            .max_size(options.connections)
            .connection_timeout(options.timeout)
            .connection_customizer(Box::new(Session {
                timeout: options.timeout,
            }))
            .build(ConnectionManager::new(url))?;
        Ok(Self {
            pool,
            permits: Arc::new(Semaphore::new(options.connections as usize)),
            waiting: Arc::default(),
            batch_sizes: load::batch_sizes(),
        })
    }

    pub(super) fn load(&self) -> Load {
        Load {
            queue: self.waiting.load(Ordering::Relaxed),
            pool: Some(PoolLoad::of(&self.pool)),
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
        self.batch_sizes.observe(1.0);
        self.with(move |c| {
            c.batch_execute("BEGIN").map_err(StoreError::from)?;
            let outcome = guarded(work, &mut Conn::Postgres(c));
            let ended = match outcome {
                // COMMIT alone would not tell that a statement has failed and the transaction was lost with it.
                Ok(_) => c.batch_execute("SAVEPOINT whole; COMMIT"),
                Err(_) => c.batch_execute("ROLLBACK"),
            };
            match (outcome, ended) {
                (Ok(value), Ok(())) => Ok(value),
                (Ok(_), Err(error)) => {
                    // Fails where the connection is gone, and the transaction with it.
                    let _ = c.batch_execute("ROLLBACK");
                    Err(StoreError::Commit(error.to_string()).into())
                }
                (Err(error), _) => Err(error),
            }
        })
        .await
    }

    pub(super) async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&mut Conn<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.with(move |c| guarded(work, &mut Conn::Postgres(c)))
            .await
    }

    pub(super) async fn snapshot<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&mut Conn<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        const BEGIN: Fixed = Fixed("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
        self.read(|conn| in_transaction(conn, BEGIN, work)).await
    }

    async fn with<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&mut PgConnection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let waiting = Waiting::new(&self.waiting);
        let permit = self.permits.clone().acquire_owned().await;
        drop(waiting);
        let permit = permit.map_err(|_closed| StoreError::Closed)?;
        let pool = self.pool.clone();
        blocking(move || {
            let mut conn = pool.get().map_err(StoreError::from)?;
            let outcome = work(&mut conn);
            // The connection is back in the pool before the permit is.
            drop(conn);
            drop(permit);
            outcome
        })
        .await
    }
}

/// Counts itself while it lives: who waits may be dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bounds what one statement or lock may cost, on every connection.
#[derive(Debug)]
struct Session {
    timeout: Duration,
}

impl CustomizeConnection<PgConnection, diesel::r2d2::Error> for Session {
    fn on_acquire(&self, c: &mut PgConnection) -> Result<(), diesel::r2d2::Error> {
        let ms = self.timeout.as_millis();
        c.batch_execute(&format!(
            "SET statement_timeout = {ms};
             SET lock_timeout = {ms};
             SET idle_in_transaction_session_timeout = {ms};
             SET TIME ZONE 'UTC';"
        ))
        .map_err(diesel::r2d2::Error::QueryError)
    }
}
