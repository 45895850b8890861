//! A connection to whichever database, and how a query is written once for both.

#[cfg(feature = "postgres")]
use diesel::PgConnection;
#[cfg(feature = "sqlite")]
use diesel::SqliteConnection;
use diesel::{RunQueryDsl as _, connection::SimpleConnection, result::Error as QueryError};
use std::error::Error;

#[cfg(feature = "postgres")]
use super::{PgConn, Session};
use super::{StoreError, cached::Fixed, guarded};

/// A borrowed connection, to whichever database. Only ever seen inside a transaction or a read.
pub enum Conn<'a> {
    /// SQLite's.
    #[cfg(feature = "sqlite")]
    Sqlite(&'a mut SqliteConnection),
    /// PostgreSQL's.
    #[cfg(feature = "postgres")]
    Postgres(PgConn<'a>),
}

/// The database that rows are held against where Diesel checks their columns. Each query is compiled for both anyway.
#[cfg(feature = "sqlite")]
pub(super) type Checked = diesel::sqlite::Sqlite;
#[cfg(not(feature = "sqlite"))]
pub(super) type Checked = diesel::pg::Pg;

/// Writes a query once; compiles it for each database.
///
/// A row that a unique key finds is fetched with `get_result`, not `first`: SQLite prepares a statement anew whenever a
/// bound `LIMIT` changes hands.
macro_rules! on_each {
    ($conn:expr, |$c:ident| $body:expr) => {
        match $conn {
            #[cfg(feature = "sqlite")]
            $crate::store::Conn::Sqlite($c) => {
                let $c: &mut diesel::SqliteConnection = $c;
                $body
            }
            #[cfg(feature = "postgres")]
            $crate::store::Conn::Postgres($c) => {
                let $c: &mut diesel::PgConnection = $c;
                $body
            }
        }
    };
}
pub(crate) use on_each;

#[cfg(feature = "sqlite")]
impl<'a> From<&'a mut SqliteConnection> for Conn<'a> {
    /// Of a transaction of one's own.
    fn from(conn: &'a mut SqliteConnection) -> Self {
        Self::Sqlite(conn)
    }
}

#[cfg(feature = "postgres")]
impl<'a> From<&'a mut PgConnection> for Conn<'a> {
    /// Of a transaction of one's own.
    fn from(conn: &'a mut PgConnection) -> Self {
        Self::Postgres(conn.into())
    }
}

#[cfg(feature = "postgres")]
impl<'a> From<&'a mut Session> for Conn<'a> {
    fn from(session: &'a mut Session) -> Self {
        Self::Postgres(session.into())
    }
}

impl SimpleConnection for Conn<'_> {
    fn batch_execute(&mut self, query: &str) -> diesel::QueryResult<()> {
        on_each!(self, |c| c.batch_execute(query))
    }
}

impl Conn<'_> {
    /// SQLite's connection, for statements of one's own.
    ///
    /// # Errors
    /// Where it is PostgreSQL's.
    #[cfg(feature = "sqlite")]
    pub fn sqlite(&mut self) -> Result<&mut SqliteConnection, QueryError> {
        match self {
            Self::Sqlite(conn) => Ok(conn),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => Err(other_database()),
        }
    }

    /// PostgreSQL's connection, for statements of one's own.
    ///
    /// # Errors
    /// Where it is SQLite's.
    #[cfg(feature = "postgres")]
    pub fn postgres(&mut self) -> Result<&mut PgConnection, QueryError> {
        match self {
            Self::Postgres(conn) => Ok(conn),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => Err(other_database()),
        }
    }

    /// Does `work` in a savepoint: where it fails or panics, nothing of it is kept, and the transaction around it goes on.
    ///
    /// # Errors
    /// `work`'s own, or the store's where the transaction is lost.
    pub fn savepoint<T, E, F>(&mut self, work: F) -> Result<T, E>
    where
        F: FnOnce(&mut Conn<'_>) -> Result<T, E>,
        E: From<StoreError> + Error + 'static,
    {
        self.execute(Fixed("SAVEPOINT part"))?;
        let outcome = guarded(work, self).map_err(|error| match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => error,
            #[cfg(feature = "postgres")]
            Self::Postgres(conn) => conn.understood(error),
        });
        if outcome.is_err() {
            self.execute(Fixed("ROLLBACK TO SAVEPOINT part"))?;
        }
        self.execute(Fixed("RELEASE SAVEPOINT part"))?;
        outcome
    }

    pub(super) fn execute(&mut self, statement: Fixed) -> Result<(), StoreError> {
        on_each!(self, |c| statement.execute(c))?;
        Ok(())
    }
}

#[cfg(all(feature = "sqlite", feature = "postgres"))]
fn other_database() -> QueryError {
    QueryError::QueryBuilderError("the connection is of the other database".into())
}
