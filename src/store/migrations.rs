//! Brings a database's schema up to date. There are two sets of migrations: what every receiver needs, and the shop.
//!
//! They are noted in a table of their own. Diesel's is for the migrations of whoever shares the database.

use diesel::{
    QueryableByName, RunQueryDsl as _,
    backend::Backend,
    connection::SimpleConnection as _,
    migration::{Migration, MigrationSource},
    pg::Pg,
    sql_query,
    sql_types::{Bool, Text},
    sqlite::Sqlite,
};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

use super::{Conn, StoreError, on_each};

/// Migrations that belong together, for both databases under the same names.
struct Set {
    name: &'static str,
    sqlite: EmbeddedMigrations,
    postgres: EmbeddedMigrations,
    /// The tables and views that its first migration makes.
    makes: &'static [&'static str],
}

/// In the order in which they are made.
static SETS: [Set; 2] = [
    Set {
        name: "core",
        sqlite: embed_migrations!("migrations/core/sqlite"),
        postgres: embed_migrations!("migrations/core/postgres"),
        makes: &[
            "webhook_idempotency",
            "webhook_event",
            "message_status",
            "api_clients",
            "api_tokens",
            "job_lease",
            "cleanup_runs",
            "record_totals",
            "record_expiries",
            "traffic_hours",
            "retailer_activity",
            "statistics_snapshots",
            "alerts",
            "installation",
            "write_probe",
            "v_deliveries",
            "v_events",
            "v_message_statuses",
            "v_clients",
            "v_tokens",
            "v_cleanup_runs",
            "v_job_leases",
            "v_record_totals",
            "v_record_expiries",
            "v_traffic_hours",
            "v_snapshots",
            "v_alerts",
        ],
    },
    Set {
        name: "shop",
        sqlite: embed_migrations!("migrations/shop/sqlite"),
        postgres: embed_migrations!("migrations/shop/postgres"),
        makes: &[
            "retailers",
            "products",
            "orders",
            "order_items",
            "payments",
            "refunds",
            "ledger_entries",
            "bookings",
            "message_amendments",
            "v_retailers",
            "v_products",
            "v_orders",
            "v_order_items",
            "v_ledger",
            "v_payments",
            "v_refunds",
            "v_bookings",
            "v_message_amendments",
        ],
    },
];

/// Any fixed number: instances that start together migrate one after another.
const LOCK: i64 = 0x686f_6f6b;

/// Brings a database up to date, all of it or nothing.
///
/// # Errors
/// [`StoreError::NameTaken`] where others have a table of a name that is needed, [`StoreError::EarlierLayout`] where the
/// database is of a layout from before these migrations; else why one of them could not be made.
pub fn bring_up(conn: &mut Conn<'_>) -> Result<(), StoreError> {
    if is_current(conn)? {
        return Ok(());
    }
    // Two processes that start on one database: the second waits here and then finds nothing to do.
    match conn {
        Conn::Sqlite(c) => c.batch_execute("BEGIN IMMEDIATE"),
        Conn::Postgres(c) => {
            c.batch_execute(&format!("BEGIN; SELECT pg_advisory_xact_lock({LOCK})"))
        }
    }?;
    let outcome = make_pending(conn);
    let end = if outcome.is_ok() {
        "COMMIT"
    } else {
        "ROLLBACK"
    };
    let ended = on_each!(conn, |c| c.batch_execute(end));
    outcome?;
    Ok(ended?)
}

fn make_pending(conn: &mut Conn<'_>) -> Result<(), StoreError> {
    let applied = applied(conn)?;
    if applied.is_none() {
        refuse_earlier_layout(conn)?;
        on_each!(conn, |c| c.batch_execute(
            "CREATE TABLE hookonce_migration (
                set_name TEXT NOT NULL,
                version  TEXT NOT NULL,
                PRIMARY KEY (set_name, version)
            )"
        ))?;
    }
    let applied = applied.unwrap_or_default();
    for set in &SETS {
        let is_begun = |name: &String| name.split('/').next() == Some(set.name);
        if !applied.iter().any(is_begun) {
            refuse_taken_names(conn, set)?;
        }
        let versions = set.versions()?;
        for version in versions {
            if !applied.contains(&named(set, &version)) {
                set.make(conn, &version)?;
            }
        }
    }
    Ok(())
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
    let Some(applied) = applied(conn)? else {
        return Ok(false);
    };
    Ok(known()?.iter().all(|name| applied.contains(name)))
}

/// The migrations of this program, each as `set/version`: the same for both databases.
pub fn known() -> Result<Vec<String>, StoreError> {
    let mut all = Vec::new();
    for set in &SETS {
        let versions = set.versions()?;
        all.extend(versions.iter().map(|version| named(set, version)));
    }
    Ok(all)
}

/// What reads the names of the migrations that a database has, as `name`.
pub const APPLIED: &str = "SELECT set_name || '/' || version AS name FROM hookonce_migration";

/// The migrations that the database has; none where it was never brought up.
fn applied(conn: &mut Conn<'_>) -> Result<Option<Vec<String>>, StoreError> {
    if !has_table(conn, "hookonce_migration")? {
        return Ok(None);
    }
    let rows: Vec<Name> = on_each!(conn, |c| sql_query(APPLIED).load(c))?;
    Ok(Some(rows.into_iter().map(|row| row.name).collect()))
}

fn named(set: &Set, version: &str) -> String {
    format!("{}/{version}", set.name)
}

impl Set {
    /// In their order.
    fn versions(&self) -> Result<Vec<String>, StoreError> {
        let mut versions = versions::<Sqlite>(&self.sqlite)?;
        versions.sort_unstable();
        Ok(versions)
    }

    /// Makes one of its migrations, and notes it.
    fn make(&self, conn: &mut Conn<'_>, version: &str) -> Result<(), StoreError> {
        match conn {
            Conn::Sqlite(c) => find::<Sqlite>(&self.sqlite, version)?.run(&mut **c),
            Conn::Postgres(c) => find::<Pg>(&self.postgres, version)?.run(&mut **c),
        }
        .map_err(StoreError::Migration)?;
        let note = sql_query("INSERT INTO hookonce_migration (set_name, version) VALUES ($1, $2)")
            .bind::<Text, _>(self.name)
            .bind::<Text, _>(version);
        on_each!(conn, |c| note.execute(c))?;
        Ok(())
    }
}

fn versions<DB: Backend>(source: &EmbeddedMigrations) -> Result<Vec<String>, StoreError>
where
    EmbeddedMigrations: MigrationSource<DB>,
{
    let migrations = source.migrations().map_err(StoreError::Migration)?;
    Ok(migrations
        .iter()
        .map(|migration| migration.name().version().to_string())
        .collect())
}

fn find<DB: Backend>(
    source: &EmbeddedMigrations,
    version: &str,
) -> Result<Box<dyn Migration<DB>>, StoreError>
where
    EmbeddedMigrations: MigrationSource<DB>,
{
    let mut migrations = source
        .migrations()
        .map_err(StoreError::Migration)?
        .into_iter();
    let found = migrations.find(|migration| migration.name().version().to_string() == version);
    found.ok_or_else(|| StoreError::Migration(format!("{version} is not there").into()))
}

/// Before anything is made: a table of somebody else's is never taken for ours.
fn refuse_taken_names(conn: &mut Conn<'_>, set: &Set) -> Result<(), StoreError> {
    let names = set.makes.join("', '");
    let query = sql_query(match conn {
        Conn::Sqlite(_) => format!(
            "SELECT name FROM sqlite_schema
             WHERE type IN ('table', 'view') AND lower(name) IN ('{names}') ORDER BY name"
        ),
        Conn::Postgres(_) => format!(
            "SELECT CAST(relname AS TEXT) AS name FROM pg_class
             JOIN pg_namespace s ON s.oid = relnamespace
             WHERE s.nspname = current_schema() AND relname IN ('{names}') ORDER BY relname"
        ),
    });
    let taken: Vec<Name> = on_each!(conn, |c| query.load(c))?;
    match taken.is_empty() {
        true => Ok(()),
        false => {
            let names: Vec<_> = taken.into_iter().map(|row| row.name).collect();
            Err(StoreError::NameTaken(names.join(", ")))
        }
    }
}

/// Once the tables had another layout, and were noted where Diesel notes its own.
fn refuse_earlier_layout(conn: &mut Conn<'_>) -> Result<(), StoreError> {
    const FIRST: &str = "SELECT count(*) > 0 AS yes FROM __diesel_schema_migrations
        WHERE version = '20261121000003'";
    let has_both =
        has_table(conn, "__diesel_schema_migrations")? && has_table(conn, "webhook_idempotency")?;
    if !has_both {
        return Ok(());
    }
    let found: Answer = on_each!(conn, |c| sql_query(FIRST).get_result(c))?;
    match found.yes {
        true => Err(StoreError::EarlierLayout),
        false => Ok(()),
    }
}

/// Whether there is such a table, of ours: where ours are made.
fn has_table(conn: &mut Conn<'_>, name: &str) -> Result<bool, StoreError> {
    let query = sql_query(match conn {
        Conn::Sqlite(_) => "SELECT count(*) > 0 AS yes FROM sqlite_schema WHERE name = $1",
        // A look at the rows themselves: PostgreSQL remembers that there was none, while it waits for the lock too.
        Conn::Postgres(_) => {
            "SELECT count(*) > 0 AS yes FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
             WHERE s.nspname = current_schema() AND c.relname = $1"
        }
    })
    .bind::<Text, _>(name);
    let found: Answer = on_each!(conn, |c| query.get_result(c))?;
    Ok(found.yes)
}

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = Bool)]
    yes: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use diesel::{Connection as _, SqliteConnection};
    use std::collections::BTreeSet;

    #[test]
    fn the_names_that_are_needed_are_those_that_are_made() {
        let mut conn = SqliteConnection::establish(":memory:").unwrap();
        let mut conn = Conn::Sqlite(&mut conn);
        bring_up(&mut conn).unwrap();
        let all = sql_query(
            "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name <> 'hookonce_migration'",
        );
        let made: Vec<Name> = on_each!(&mut conn, |c| all.load(c)).unwrap();
        let made: BTreeSet<_> = made.iter().map(|row| row.name.as_str()).collect();
        let needed = SETS.iter().flat_map(|set| set.makes);
        assert_eq!(made, needed.copied().collect());
    }
}
