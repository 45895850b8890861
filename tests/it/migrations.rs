//! One schema in two trees of migrations, with the same names and the same tables, there and back.

use diesel::{Connection as _, PgConnection, SqliteConnection, backend::Backend};
use diesel_migrations::{FileBasedMigrations, MigrationHarness};
use futures_util::future::join_all;
use hookonce::store::{Store, StoreOptions};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    time::Duration,
};

use crate::support::{
    database::{Database, Engine, on_both},
    process::Program,
};

on_both! {
    what_goes_up_comes_down_and_goes_up_again
    the_promised_columns_are_there
    the_promised_indexes_are_there
    a_key_is_unique_in_its_scope
    migrating_twice_is_migrating_once
    four_instances_that_start_at_once_all_come_up
    stores_that_open_at_once_all_come_up
}

#[test]
fn both_trees_have_the_same_dated_names() {
    let sqlite = names(Engine::Sqlite);
    assert_eq!(sqlite, names(Engine::Postgres));
    assert!(!sqlite.is_empty());
    for name in &sqlite {
        let date = name.split('_').next().unwrap_or_default();
        let digits: Vec<usize> = date.split('-').map(str::len).collect();
        assert_eq!(digits, [4, 2, 2, 6], "{name} begins with no date");
        for script in ["up.sql", "down.sql"] {
            for engine in [Engine::Sqlite, Engine::Postgres] {
                let path = tree(engine).join(name).join(script);
                assert!(path.is_file(), "{} is missing", path.display());
            }
        }
    }
}

async fn what_goes_up_comes_down_and_goes_up_again(engine: Engine) {
    let database = Database::new(engine);
    let nothing = schema(&database, engine);
    migrate(&database, engine, Direction::Up);
    let first = schema(&database, engine);
    assert!(first.len() > nothing.len());
    migrate(&database, engine, Direction::Down);
    let left: Vec<_> = schema(&database, engine)
        .into_iter()
        .filter(|line| !line.contains("__diesel_schema_migrations"))
        .collect();
    assert_eq!(left, nothing.into_iter().collect::<Vec<_>>());
    migrate(&database, engine, Direction::Up);
    assert_eq!(schema(&database, engine), first);
}

async fn the_promised_columns_are_there(engine: Engine) {
    let database = migrated(engine);
    let columns = columns(&database, engine);
    let tables: BTreeSet<_> = columns.keys().map(String::as_str).collect();
    for table in [
        "retailers",
        "products",
        "orders",
        "order_items",
        "ledger_entries",
        "payments",
        "refunds",
        "bookings",
        "api_clients",
        "api_tokens",
        "webhook_event",
        "webhook_idempotency",
    ] {
        assert!(tables.contains(table), "{table} is missing");
    }
    let promised = "id scope idempotency_key webhook_type method path fingerprint status \
        request_body response_status response_content_type response_body error_message owner_token \
        lease_expires_at source_ip retailer_id order_id replay_count created_at last_accessed_at \
        expires_at response_headers response_encoding events";
    let promised: BTreeSet<_> = promised.split_whitespace().map(str::to_owned).collect();
    assert_eq!(columns["webhook_idempotency"], promised);
}

/// The tables and columns of one engine are those of the other.
#[actix_web::test]
async fn both_trees_make_the_same_tables_and_columns() {
    let of = |engine| columns(&migrated(engine), engine);
    assert_eq!(of(Engine::Sqlite), of(Engine::Postgres));
}

async fn the_promised_indexes_are_there(engine: Engine) {
    let database = migrated(engine);
    let indexes: Vec<String> = texts(&database, &index_query(engine));
    for columns in [
        "(idempotency_key, expires_at)",
        "(expires_at)",
        "(webhook_type, created_at)",
        "(created_at)",
    ] {
        assert!(
            indexes.iter().any(|index| index.contains(columns)),
            "no index for {columns} among {indexes:#?}"
        );
    }
}

async fn a_key_is_unique_in_its_scope(engine: Engine) {
    let database = migrated(engine);
    for (scope, key) in [("a", "k"), ("a", "l"), ("b", "k")] {
        database.execute(&record(scope, key));
    }
    let again = format!(
        "{} ON CONFLICT (scope, idempotency_key) DO NOTHING",
        record("a", "k")
    );
    database.execute(&again);
    let rows = database.count("SELECT count(*) AS n FROM webhook_idempotency");
    assert_eq!(rows, 3);
}

async fn migrating_twice_is_migrating_once(engine: Engine) {
    let database = Database::new(engine);
    let program = Program::new(&database);
    program.must(&["migrate"]).await;
    let first = schema(&database, engine);
    program.must(&["migrate"]).await;
    assert_eq!(schema(&database, engine), first);
    let done = database.count("SELECT count(*) AS n FROM __diesel_schema_migrations");
    assert_eq!(done, names(engine).len() as i64);
}

async fn four_instances_that_start_at_once_all_come_up(engine: Engine) {
    let database = Database::new(engine);
    let program = Program::new(&database);
    let mut servers: Vec<_> = (0..4).map(|_| program.spawn()).collect();
    join_all(servers.iter_mut().map(|server| server.listening())).await;
    let done = database.count("SELECT count(*) AS n FROM __diesel_schema_migrations");
    assert_eq!(done, names(engine).len() as i64);
}

async fn stores_that_open_at_once_all_come_up(engine: Engine) {
    // Several times, since they must meet at a moment that is short.
    for _ in 0..5 {
        let database = Database::new(engine);
        let url = database.parsed();
        let options = StoreOptions {
            connections: 2,
            write_batch: 16,
            timeout: Duration::from_secs(10),
        };
        for opened in join_all((0..8).map(|_| Store::open(&url, &options))).await {
            opened.expect("the database opens").close().await;
        }
    }
}

fn tree(engine: Engine) -> PathBuf {
    let name = match engine {
        Engine::Sqlite => "sqlite",
        Engine::Postgres => "postgres",
    };
    [env!("CARGO_MANIFEST_DIR"), "migrations", name]
        .iter()
        .collect()
}

fn names(engine: Engine) -> BTreeSet<String> {
    let entries = fs::read_dir(tree(engine)).expect("the migrations");
    entries
        .map(|entry| entry.expect("a migration").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

#[derive(Clone, Copy)]
enum Direction {
    Up,
    Down,
}

fn migrated(engine: Engine) -> Database {
    let database = Database::new(engine);
    migrate(&database, engine, Direction::Up);
    database
}

fn migrate(database: &Database, engine: Engine, direction: Direction) {
    let files = FileBasedMigrations::from_path(tree(engine)).expect("the migrations");
    match engine {
        Engine::Sqlite => {
            let path = database.url.trim_start_matches("sqlite://");
            go(SqliteConnection::establish(path), files, direction);
        }
        Engine::Postgres => go(PgConnection::establish(&database.url), files, direction),
    }
}

fn go<C, DB>(conn: diesel::ConnectionResult<C>, files: FileBasedMigrations, direction: Direction)
where
    C: MigrationHarness<DB>,
    DB: Backend,
{
    let mut conn = conn.expect("a connection");
    let done = match direction {
        Direction::Up => conn.run_pending_migrations(files),
        Direction::Down => conn.revert_all_migrations(files),
    };
    assert!(!done.expect("migrations that run").is_empty());
}

/// Everything that the engine knows of its tables and indexes, a line for each.
fn schema(database: &Database, engine: Engine) -> BTreeSet<String> {
    let sql = match engine {
        Engine::Sqlite => "SELECT name || ': ' || coalesce(sql, '') AS t FROM sqlite_master",
        Engine::Postgres => {
            "SELECT table_name || '.' || column_name || ': ' || data_type || ' ' || is_nullable
                 || ' ' || coalesce(column_default, '') AS t
             FROM information_schema.columns WHERE table_schema = 'public'
             UNION SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
             UNION SELECT conrelid::regclass::text || ' ' || pg_get_constraintdef(oid)
             FROM pg_constraint WHERE connamespace = 'public'::regnamespace"
        }
    };
    texts(database, sql).into_iter().collect()
}

/// The columns of each table.
fn columns(database: &Database, engine: Engine) -> BTreeMap<String, BTreeSet<String>> {
    let sql = match engine {
        Engine::Sqlite => {
            "SELECT m.name || '.' || c.name AS t FROM sqlite_master m, pragma_table_info(m.name) c
             WHERE m.type = 'table'"
        }
        Engine::Postgres => {
            "SELECT table_name || '.' || column_name AS t FROM information_schema.columns
             WHERE table_schema = 'public'"
        }
    };
    let mut columns = BTreeMap::<_, BTreeSet<_>>::new();
    for line in texts(database, sql) {
        let (table, column) = line.split_once('.').expect("a table and a column");
        if !table.starts_with("__diesel") && !table.starts_with("sqlite_") {
            let table = columns.entry(table.to_owned()).or_default();
            table.insert(column.to_owned());
        }
    }
    columns
}

/// The definitions of the indexes of `webhook_idempotency`, which end with their columns.
fn index_query(engine: Engine) -> String {
    match engine {
        Engine::Sqlite => {
            "SELECT sql AS t FROM sqlite_master WHERE type = 'index'
             AND tbl_name = 'webhook_idempotency' AND sql IS NOT NULL"
        }
        Engine::Postgres => {
            "SELECT indexdef AS t FROM pg_indexes WHERE tablename = 'webhook_idempotency'"
        }
    }
    .to_owned()
}

fn record(scope: &str, key: &str) -> String {
    let id = uuid::Uuid::new_v4();
    let now = "2026-11-21T12:00:00.000000Z";
    format!(
        "INSERT INTO webhook_idempotency (id, scope, idempotency_key, webhook_type, method, path, \
         fingerprint, status, owner_token, lease_expires_at, created_at, last_accessed_at, expires_at) \
         VALUES ('{id}', '{scope}', '{key}', 't', 'POST', '/', 'f', 'completed', '{id}', '{now}', \
         '{now}', '{now}', '{now}')"
    )
}

fn texts(database: &Database, sql: &str) -> Vec<String> {
    database.texts(sql).into_iter().flatten().collect()
}
