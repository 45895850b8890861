//! Brings a database's schema up to date.

use diesel::{Connection as _, PgConnection, RunQueryDsl, SqliteConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::StoreError;

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

/// Brings a PostgreSQL database up to date, on a connection of its own: no time-out may cut a long migration short.
pub fn postgres(url: &str) -> Result<(), StoreError> {
    let conn = &mut PgConnection::establish(url)?;
    diesel::sql_query(format!("SELECT pg_advisory_lock({LOCK})")).execute(conn)?;
    let outcome = conn.run_pending_migrations(POSTGRES).map(drop);
    diesel::sql_query(format!("SELECT pg_advisory_unlock({LOCK})")).execute(conn)?;
    outcome.map_err(StoreError::Migration)
}
