//! Brings a database's schema up to date.

use diesel::{
    PgConnection, QueryableByName, RunQueryDsl, SqliteConnection,
    backend::Backend,
    migration::{Migration, MigrationSource},
    pg::Pg,
    sqlite::Sqlite,
};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::{Conn, StoreError, on_each};

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// Any fixed number: instances that start together migrate one after another.
const LOCK: i64 = 0x686f_6f6b;

/// Brings a SQLite database up to date.
pub fn sqlite(conn: &mut SqliteConnection) -> Result<(), StoreError> {
    // Two processes that start on one file: the second waits here and then finds nothing to do.
    conn.exclusive_transaction(|c| {
        c.run_pending_migrations(SQLITE)
            .map(drop)
            .map_err(StoreError::Migration)
    })
}

/// Brings a PostgreSQL database up to date.
pub fn postgres(conn: &mut PgConnection) -> Result<(), StoreError> {
    diesel::sql_query(format!("SELECT pg_advisory_lock({LOCK})")).execute(conn)?;
    let outcome = conn.run_pending_migrations(POSTGRES).map(drop);
    diesel::sql_query(format!("SELECT pg_advisory_unlock({LOCK})")).execute(conn)?;
    outcome.map_err(StoreError::Migration)
}

/// For who only reads.
///
/// # Errors
/// [`StoreError::NotCurrent`] where the database lacks a migration of this program.
pub fn needs_current(conn: &mut Conn<'_>) -> Result<(), StoreError> {
    match is_current(conn)? {
        true => Ok(()),
        false => Err(StoreError::NotCurrent),
    }
}

/// Whether the database has every migration of this program. One that a newer program has taken further has them too.
pub fn is_current(conn: &mut Conn<'_>) -> Result<bool, StoreError> {
    #[derive(QueryableByName)]
    struct Applied {
        #[diesel(sql_type = diesel::sql_types::Text)]
        version: String,
    }
    let needed = match conn {
        Conn::Sqlite(_) => sqlite_versions()?,
        Conn::Postgres(_) => postgres_versions()?,
    };
    // Diesel's own harness would create the table where it is not there, and a look must not write.
    if !has_any(conn)? {
        return Ok(false);
    }
    let query = diesel::sql_query("SELECT version FROM __diesel_schema_migrations");
    let applied: Vec<Applied> = on_each!(conn, |c| query.load(c))?;
    let is_applied = |version: &String| applied.iter().any(|row| row.version == *version);
    Ok(needed.iter().all(is_applied))
}

/// The migrations of this program for SQLite, by their versions.
pub fn sqlite_versions() -> Result<Vec<String>, StoreError> {
    versions::<Sqlite>(&SQLITE)
}

/// The same for PostgreSQL.
pub fn postgres_versions() -> Result<Vec<String>, StoreError> {
    versions::<Pg>(&POSTGRES)
}

/// Whether migrations were ever made there.
fn has_any(conn: &mut Conn<'_>) -> Result<bool, StoreError> {
    #[derive(QueryableByName)]
    struct Found {
        #[diesel(sql_type = diesel::sql_types::Bool)]
        is_there: bool,
    }
    let query = diesel::sql_query(match conn {
        Conn::Sqlite(_) => {
            "SELECT count(*) > 0 AS is_there FROM sqlite_master WHERE name = '__diesel_schema_migrations'"
        }
        Conn::Postgres(_) => {
            "SELECT to_regclass('__diesel_schema_migrations') IS NOT NULL AS is_there"
        }
    });
    let found: Found = on_each!(conn, |c| query.get_result(c))?;
    Ok(found.is_there)
}

fn versions<DB: Backend>(source: &impl MigrationSource<DB>) -> Result<Vec<String>, StoreError> {
    let migrations = source.migrations().map_err(StoreError::Migration)?;
    let versions = migrations
        .iter()
        .map(|migration| migration.name().version().to_string());
    Ok(versions.collect())
}
