//! One door to the database, whichever it is. Alone knows SQL; knows nothing of HTTP, providers or the business.

#[cfg(feature = "server")]
#[doc(hidden)]
pub mod alerts;
#[cfg(feature = "shop")]
#[doc(hidden)]
pub mod amendments;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod backup;
#[cfg(feature = "shop")]
#[doc(hidden)]
pub mod bookings;
mod cached;
mod claims;
#[doc(hidden)]
pub mod cleanup;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod clients;
mod conn;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod deliveries;
mod error;
#[doc(hidden)]
pub mod events;
mod fault;
mod health;
#[doc(hidden)]
pub mod idempotency;
#[doc(hidden)]
pub mod installation;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod job_lease;
#[cfg(feature = "shop")]
#[doc(hidden)]
pub mod ledger;
mod load;
#[cfg(feature = "shop")]
#[doc(hidden)]
pub mod message_status;
mod migrations;
#[cfg(feature = "shop")]
#[doc(hidden)]
pub mod orders;
pub(crate) mod outcome;
#[cfg(feature = "shop")]
#[doc(hidden)]
pub mod payments;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "shop")]
#[doc(hidden)]
pub mod products;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod readiness;
#[cfg(feature = "shop")]
#[doc(hidden)]
pub mod retailers;
mod schema;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod statistics;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod totals;
mod trouble;
pub mod types;
mod url;
mod write_probe;

use conn::Checked;
pub use conn::Conn;
pub(crate) use conn::on_each;
pub use error::StoreError;
#[doc(hidden)]
pub use fault::FileFault;
#[doc(hidden)]
pub use health::{Failing, Health, Listener};
#[doc(hidden)]
pub use load::{Load, PoolLoad, WriteLoad};
#[cfg(feature = "postgres")]
pub use postgres::PgConn;
#[cfg(feature = "postgres")]
#[doc(hidden)]
pub use postgres::Session;
#[doc(hidden)]
pub use trouble::{ForeignMessage, Trouble};
pub use url::{DatabaseUrl, SchemaName};

use cached::Fixed;
#[cfg(feature = "postgres")]
use postgres::Access;
use std::{error::Error, panic::AssertUnwindSafe, time::Duration};

use crate::causes::panic_message;

/// The database: cheap to clone, closed with the last clone.
#[derive(Clone)]
pub enum Store {
    /// An embedded file, or memory.
    #[cfg(feature = "sqlite")]
    Sqlite(sqlite::Sqlite),
    /// A server, shared with other instances.
    #[cfg(feature = "postgres")]
    Postgres(postgres::Postgres),
}

/// The most rows of one statement: PostgreSQL takes 65,535 values. SQLite is given row after row, for it keeps the
/// prepared statement of a single row, and nothing is saved there by doing many at once.
#[cfg(feature = "postgres")]
const MANY: usize = 500;

/// How to use the database.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Connections to PostgreSQL, or readers of SQLite.
    pub connections: u32,
    /// The most writes that SQLite's writer gathers into one transaction; 1 gives each its own.
    pub write_batch: usize,
    /// How long a statement, a lock or a free connection is waited for.
    pub timeout: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            connections: 8,
            write_batch: 256,
            timeout: Duration::from_secs(10),
        }
    }
}

impl Store {
    /// Opens the database and brings its schema up to date.
    ///
    /// # Errors
    /// Where it cannot be reached or migrated.
    pub async fn open(url: &DatabaseUrl, options: &StoreOptions) -> Result<Self, StoreError> {
        let (url, options) = (url.clone(), options.clone());
        blocking(move || match url {
            #[cfg(feature = "sqlite")]
            DatabaseUrl::Sqlite { path } => sqlite::Sqlite::open(path, &options).map(Self::Sqlite),
            #[cfg(feature = "postgres")]
            DatabaseUrl::Postgres { url, schema } => {
                postgres::Postgres::open(&url, schema, &options, Access::Write).map(Self::Postgres)
            }
            #[allow(unreachable_patterns)] // Where the build has both.
            other => Err(other.not_built()),
        })
        .await
    }

    /// Opens a database that is there, and brings its schema up to date.
    ///
    /// # Errors
    /// As [`Store::open`], and [`StoreError::Missing`] where there is none.
    #[doc(hidden)]
    pub async fn open_existing(
        url: &DatabaseUrl,
        options: &StoreOptions,
    ) -> Result<Self, StoreError> {
        if is_missing(url) {
            return Err(StoreError::Missing(url.to_string()));
        }
        Self::open(url, options).await
    }

    /// Opens a database that is there to read it, whatever else happens there: makes and changes nothing, and takes no
    /// writes.
    ///
    /// # Errors
    /// [`StoreError::Missing`] where there is none, [`StoreError::NotCurrent`] where its schema is older than this
    /// program; else where it cannot be reached.
    #[doc(hidden)]
    pub async fn open_to_read(
        url: &DatabaseUrl,
        options: &StoreOptions,
    ) -> Result<Self, StoreError> {
        let (url, options) = (url.clone(), options.clone());
        if is_missing(&url) {
            return Err(StoreError::Missing(url.to_string()));
        }
        blocking(move || match url {
            #[cfg(feature = "sqlite")]
            DatabaseUrl::Sqlite { path } => {
                let path = path.unwrap_or_default();
                sqlite::Sqlite::open_to_read(path, &options).map(Self::Sqlite)
            }
            #[cfg(feature = "postgres")]
            DatabaseUrl::Postgres { url, schema } => {
                postgres::Postgres::open(&url, schema, &options, Access::Read).map(Self::Postgres)
            }
            #[allow(unreachable_patterns)] // Where the build has both.
            other => Err(other.not_built()),
        })
        .await
    }

    /// What the database is called.
    pub fn engine(&self) -> &'static str {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => "sqlite",
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => "postgresql",
        }
    }

    /// Whether it gathers writes that wait into one transaction by itself.
    #[doc(hidden)]
    pub fn gathers(&self) -> bool {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => true,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => false,
        }
    }

    /// Does `work` in a transaction: all of it is committed before this answers `Ok`, and nothing of it
    /// where it answers `Err`. Work given to SQLite shares a transaction with other work, each in a
    /// savepoint of its own; on PostgreSQL it is done again, a few times, where it collided with other work. Work that
    /// has begun is finished, even where nobody waits for it any more.
    ///
    /// # Errors
    /// `work`'s own, or the store's where the database did not do it. A panic in `work` is an error like another.
    pub async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&mut Conn<'_>) -> Result<T, E> + Clone + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Error + Send + 'static,
    {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(sqlite) => noted(sqlite, sqlite.write(1, work).await),
            #[cfg(feature = "postgres")]
            Self::Postgres(postgres) => postgres.write(1, postgres::BEGIN, work).await,
        }
    }

    /// Does the `work` of `count` requests in one transaction, as [`Store::write`] does that of one; but on PostgreSQL with
    /// little patience for the locks of others, for which all of them would wait: see [`StoreError::is_blocked`].
    ///
    /// # Errors
    /// As [`Store::write`].
    #[doc(hidden)]
    pub async fn write_together<T, E, F>(&self, count: usize, work: F) -> Result<T, E>
    where
        F: FnOnce(&mut Conn<'_>) -> Result<T, E> + Clone + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Error + Send + 'static,
    {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(sqlite) => noted(sqlite, sqlite.write(count, work).await),
            #[cfg(feature = "postgres")]
            Self::Postgres(postgres) => postgres.write(count, postgres::BEGIN_BRIEFLY, work).await,
        }
    }

    /// Does `work` as [`Store::write`] does, but gives way to it: with SQLite it runs in a transaction of its own, when
    /// no other write waits or after a tenth of a second, so that nobody waits for more than one. `work` is told whether
    /// others write. Where nobody does, SQLite may lose it with the machine's power until the next [`Store::write`] is
    /// done, as if it had not been.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub async fn write_in_background<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&mut Conn<'_>, WriteLoad) -> Result<T, E> + Clone + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Error + Send + 'static,
    {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(sqlite) => noted(sqlite, sqlite.write_in_background(work).await),
            // It locks rows there, and not the database.
            #[cfg(feature = "postgres")]
            Self::Postgres(postgres) => {
                postgres
                    .write(1, postgres::BEGIN, |conn: &mut Conn<'_>| {
                        work(conn, WriteLoad::Idle)
                    })
                    .await
            }
        }
    }

    /// Does `work` that changes nothing.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&mut Conn<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Error + Send + 'static,
    {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(sqlite) => noted(sqlite, sqlite.read(work).await),
            #[cfg(feature = "postgres")]
            Self::Postgres(postgres) => postgres.read(work).await,
        }
    }

    /// Does `work` that changes nothing, and sees the database as it is at one moment, however many queries it makes.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub async fn snapshot<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&mut Conn<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Error + Send + 'static,
    {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(sqlite) => noted(sqlite, sqlite.snapshot(work).await),
            #[cfg(feature = "postgres")]
            Self::Postgres(postgres) => postgres.snapshot(work).await,
        }
    }

    /// How its recent writes went.
    #[doc(hidden)]
    pub fn health(&self) -> &Health {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(sqlite) => sqlite.health(),
            #[cfg(feature = "postgres")]
            Self::Postgres(postgres) => postgres.health(),
        }
    }

    /// Where writes fail, tries whether they do so still: where no request comes, nothing else would tell.
    ///
    /// # Errors
    /// As [`Store::write`].
    #[doc(hidden)]
    pub async fn try_again(&self) -> Result<(), StoreError> {
        match self.health().failing() {
            Some(failing) if !failing.outweighs() => {}
            _ => return Ok(()),
        }
        self.write(write_probe::large).await?;
        self.health().found_room();
        Ok(())
    }

    /// How busy it is now.
    #[doc(hidden)]
    pub fn load(&self) -> Load {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(sqlite) => sqlite.load(),
            #[cfg(feature = "postgres")]
            Self::Postgres(postgres) => postgres.load(),
        }
    }

    /// How many bytes are free where a SQLite file is that is as it should be. None for memory and for a server, whose disk is not seen from
    /// here. Blocks.
    ///
    /// # Errors
    /// Where the file is gone, is another or is damaged, or its file system does not tell.
    #[doc(hidden)]
    pub fn free_disk(&self) -> Result<Option<u64>, FileFault> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(sqlite) => sqlite.free_disk(),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => Ok(None),
        }
    }

    /// Finishes the work that was taken, then takes no more. Of a SQLite file that nobody else has open no log is left.
    pub async fn close(&self) {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(sqlite) => sqlite.close().await,
            #[cfg(feature = "postgres")]
            Self::Postgres(postgres) => postgres.close().await,
        }
    }
}

/// The result of work with SQLite, whose errors may tell that the file is damaged.
#[cfg(feature = "sqlite")]
fn noted<T, E: Error + 'static>(sqlite: &sqlite::Sqlite, outcome: Result<T, E>) -> Result<T, E> {
    outcome.inspect_err(|error| sqlite.note(error))
}

/// Whether there is surely no database. Of one that is on a server the server tells.
fn is_missing(url: &DatabaseUrl) -> bool {
    match url {
        DatabaseUrl::Sqlite { path } => !path.as_ref().is_some_and(|path| path.exists()),
        DatabaseUrl::Postgres { .. } => false,
    }
}

/// Does `work` that changes nothing in a transaction that begins so.
fn in_transaction<T, E, F>(conn: &mut Conn<'_>, begin: Fixed, work: F) -> Result<T, E>
where
    F: FnOnce(&mut Conn<'_>) -> Result<T, E>,
    E: From<StoreError>,
{
    conn.execute(begin)?;
    let outcome = guarded(work, conn);
    // There is nothing to commit, and this ends it whatever has become of it.
    conn.execute(Fixed("ROLLBACK"))?;
    outcome
}

/// Runs `work` with the connection; a panic becomes an error, so that the transaction around it ends as for one.
fn guarded<T, E, F>(work: F, conn: &mut Conn<'_>) -> Result<T, E>
where
    F: FnOnce(&mut Conn<'_>) -> Result<T, E>,
    E: From<StoreError>,
{
    std::panic::catch_unwind(AssertUnwindSafe(|| work(conn)))
        .unwrap_or_else(|panic| Err(StoreError::Panicked(panic_message(&*panic)).into()))
}

/// Moves to a thread that may block.
pub(crate) async fn blocking<T, E, F>(work: F) -> Result<T, E>
where
    F: FnOnce() -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(join) => Err(match join.try_into_panic() {
            Ok(panic) => StoreError::Panicked(panic_message(&*panic)).into(),
            Err(_cancelled) => StoreError::Closed.into(),
        }),
    }
}
