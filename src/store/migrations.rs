//! Brings a database's schema up to date. There are two sets of migrations: what every receiver needs, and the shop.
//!
//! They are noted in a table of their own. Diesel's is for the migrations of whoever shares the database.

use diesel::{
    QueryableByName, RunQueryDsl as _,
    backend::Backend,
    connection::SimpleConnection as _,
    migration::{Migration, MigrationSource},
    sql_query,
    sql_types::{Bool, Text},
};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

use super::{Checked, Conn, StoreError, on_each};

/// Migrations that belong together, for both databases under the same names.
struct Set {
    name: &'static str,
    #[cfg(feature = "sqlite")]
    sqlite: EmbeddedMigrations,
    #[cfg(feature = "postgres")]
    postgres: EmbeddedMigrations,
    /// The tables and views that its migrations make.
    makes: &'static [&'static str],
}

/// In the order in which they are made.
static SETS: &[Set] = &[
    Set {
        name: "core",
        #[cfg(feature = "sqlite")]
        sqlite: embed_migrations!("migrations/core/sqlite"),
        #[cfg(feature = "postgres")]
        postgres: embed_migrations!("migrations/core/postgres"),
        makes: &[
            "webhook_idempotency",
            "webhook_event",
            // In SQLite alone, and nobody else's anywhere.
            "webhook_claim",
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
    #[cfg(feature = "shop")]
    Set {
        name: "shop",
        #[cfg(feature = "sqlite")]
        sqlite: embed_migrations!("migrations/shop/sqlite"),
        #[cfg(feature = "postgres")]
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
#[cfg(feature = "postgres")]
const LOCK: i64 = 0x686f_6f6b;

/// Brings a database up to date, all of it or nothing.
///
/// # Errors
/// [`StoreError::NameTaken`] where others have a table of a name that is needed, [`StoreError::EarlierLayout`] where the
/// database is of a layout from before these migrations; else why one of them could not be made.
pub fn bring_up(conn: &mut Conn<'_>) -> Result<(), StoreError> {
    bring_up_sets(conn, SETS)
}

fn bring_up_sets(conn: &mut Conn<'_>, sets: &[Set]) -> Result<(), StoreError> {
    if has_all(conn, sets)? {
        return Ok(());
    }
    // Two processes that start on one database: the second waits here and then finds nothing to do.
    match conn {
        #[cfg(feature = "sqlite")]
        Conn::Sqlite(c) => c.batch_execute("BEGIN IMMEDIATE"),
        #[cfg(feature = "postgres")]
        Conn::Postgres(c) => {
            c.batch_execute(&format!("BEGIN; SELECT pg_advisory_xact_lock({LOCK})"))
        }
    }?;
    let outcome = make_pending(conn, sets);
    let end = if outcome.is_ok() {
        "COMMIT"
    } else {
        "ROLLBACK"
    };
    let ended = on_each!(conn, |c| c.batch_execute(end));
    outcome?;
    Ok(ended?)
}

fn make_pending(conn: &mut Conn<'_>, sets: &[Set]) -> Result<(), StoreError> {
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
    for set in sets {
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
    has_all(conn, SETS)
}

fn has_all(conn: &mut Conn<'_>, sets: &[Set]) -> Result<bool, StoreError> {
    let Some(applied) = applied(conn)? else {
        return Ok(false);
    };
    Ok(names(sets)?.iter().all(|name| applied.contains(name)))
}

/// The migrations of this program, each as `set/version`: the same for both databases.
#[cfg(feature = "server")]
pub fn known() -> Result<Vec<String>, StoreError> {
    names(SETS)
}

fn names(sets: &[Set]) -> Result<Vec<String>, StoreError> {
    let mut all = Vec::new();
    for set in sets {
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
        #[cfg(feature = "sqlite")]
        let mut versions = versions::<Checked>(&self.sqlite)?;
        #[cfg(not(feature = "sqlite"))]
        let mut versions = versions::<Checked>(&self.postgres)?;
        versions.sort_unstable();
        Ok(versions)
    }

    /// Makes one of its migrations, and notes it.
    fn make(&self, conn: &mut Conn<'_>, version: &str) -> Result<(), StoreError> {
        match conn {
            #[cfg(feature = "sqlite")]
            Conn::Sqlite(c) => find::<diesel::sqlite::Sqlite>(&self.sqlite, version)?.run(&mut **c),
            #[cfg(feature = "postgres")]
            Conn::Postgres(c) => find::<diesel::pg::Pg>(&self.postgres, version)?.run(&mut **c),
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
        #[cfg(feature = "sqlite")]
        Conn::Sqlite(_) => format!(
            "SELECT name FROM sqlite_schema
             WHERE type IN ('table', 'view') AND lower(name) IN ('{names}') ORDER BY name"
        ),
        #[cfg(feature = "postgres")]
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
        #[cfg(feature = "sqlite")]
        Conn::Sqlite(_) => "SELECT count(*) > 0 AS yes FROM sqlite_schema WHERE name = $1",
        // A look at the rows themselves: PostgreSQL remembers that there was none, while it waits for the lock too.
        #[cfg(feature = "postgres")]
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

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;
    use diesel::{Connection as _, SqliteConnection};
    use std::collections::BTreeSet;

    fn in_memory() -> SqliteConnection {
        SqliteConnection::establish(":memory:").unwrap()
    }

    /// The core's migrations alone, as a build without the shop has them.
    fn core() -> &'static [Set] {
        &SETS[..1]
    }

    #[test]
    fn without_the_shop_an_own_table_of_its_names_is_no_collision() {
        let mut conn = in_memory();
        conn.batch_execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT)")
            .unwrap();
        let mut conn = Conn::Sqlite(&mut conn);
        bring_up_sets(&mut conn, core()).unwrap();
        assert!(has_table(&mut conn, "webhook_event").unwrap());
        assert!(!has_table(&mut conn, "order_items").unwrap());
        assert!(has_all(&mut conn, core()).unwrap());
        let own = "INSERT INTO orders (note) VALUES ('mine')";
        on_each!(&mut conn, |c| c.batch_execute(own)).unwrap();
    }

    #[cfg(feature = "shop")]
    #[test]
    fn a_database_gets_the_shop_when_it_is_first_opened_with_it_or_says_which_names_are_taken() {
        let (mut free, mut taken) = (in_memory(), in_memory());
        taken
            .batch_execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
            .unwrap();
        for conn in [&mut free, &mut taken] {
            bring_up_sets(&mut Conn::Sqlite(conn), core()).unwrap();
        }
        bring_up(&mut Conn::Sqlite(&mut free)).unwrap();
        assert!(is_current(&mut Conn::Sqlite(&mut free)).unwrap());
        let refused = bring_up(&mut Conn::Sqlite(&mut taken));
        assert!(matches!(refused, Err(StoreError::NameTaken(names)) if names == "orders"));
        let mut taken = Conn::Sqlite(&mut taken);
        assert!(!has_table(&mut taken, "retailers").unwrap(), "half done");
        assert!(has_all(&mut taken, core()).unwrap());
    }

    #[test]
    fn the_names_that_are_needed_are_those_that_are_made() {
        let mut conn = in_memory();
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
