//! One schema in two sets of migrations, each for both databases: with the same names and the same tables, there and back,
//! beside whatever else is in the database.

use diesel::{
    Connection as _, PgConnection, SqliteConnection,
    backend::Backend,
    connection::{BoxableConnection, SimpleConnection as _},
    migration::MigrationSource,
};
use diesel_migrations::{FileBasedMigrations, MigrationHarness as _};
use futures_util::future::join_all;
use hookonce::store::{Store, StoreOptions};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    time::Duration,
};

use crate::support::{
    database::{Database, Engine, HASH, on_both},
    process::{Program, Server, client},
    requests::{Call, new_sid, told},
    shop::{items, payment},
};

/// In the order in which they are made.
const SETS: [&str; 2] = ["core", "shop"];

on_both! {
    what_goes_up_comes_down_and_goes_up_again
    the_promised_columns_are_there
    the_promised_indexes_are_there
    no_index_begins_as_another_does
    the_core_knows_nothing_of_the_shop
    a_key_is_unique_in_its_scope
    migrating_twice_is_migrating_once
    four_instances_that_start_at_once_all_come_up
    stores_that_open_at_once_all_come_up
    a_table_of_somebody_elses_is_named_and_nothing_is_changed
    what_fails_half_way_leaves_nothing
    the_layout_of_before_is_refused_and_left_as_it_is
    migrations_of_the_users_own_live_beside
    what_is_there_stays_whatever_the_layout
    the_views_show_what_the_api_shows
}

#[test]
fn both_databases_have_the_same_dated_names() {
    for set in SETS {
        let sqlite = names(set, Engine::Sqlite);
        assert_eq!(sqlite, names(set, Engine::Postgres));
        assert!(!sqlite.is_empty());
        for name in &sqlite {
            let date = name.split('_').next().unwrap_or_default();
            let digits: Vec<usize> = date.split('-').map(str::len).collect();
            assert_eq!(digits, [4, 2, 2, 6], "{name} begins with no date");
            for script in ["up.sql", "down.sql"] {
                for engine in [Engine::Sqlite, Engine::Postgres] {
                    let path = tree(set, engine).join(name).join(script);
                    assert!(path.is_file(), "{} is missing", path.display());
                }
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
    assert_eq!(schema(&database, engine), nothing);
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
        "v_orders",
        "v_deliveries",
        "v_events",
    ] {
        assert!(tables.contains(table), "{table} is missing");
    }
    let promised = "id scope idempotency_key webhook_type method path fingerprint status \
        request_body body_places response_status response_content_type response_body error_message owner_token \
        lease_expires_at source_ip retailer_id order_id replay_count created_at last_accessed_at \
        expires_at response_headers response_encoding events";
    let promised: BTreeSet<_> = promised.split_whitespace().map(str::to_owned).collect();
    assert_eq!(columns["webhook_idempotency"], promised);
}

/// The tables and columns of one engine are those of the other, but for the tree of claims.
#[actix_web::test]
async fn both_databases_get_the_same_tables_and_columns() {
    let of = |engine| columns(&migrated(engine), engine);
    let mut of_sqlite = of(Engine::Sqlite);
    let claims = of_sqlite.remove("webhook_claim").expect("SQLite's claims");
    assert_eq!(
        Vec::from_iter(claims),
        ["id", "kind", "owner", "row"].map(str::to_owned)
    );
    assert_eq!(of_sqlite, of(Engine::Postgres));
}

async fn the_promised_indexes_are_there(engine: Engine) {
    let database = migrated(engine);
    let indexes = indexes(&database, engine);
    let promised = ["expires_at", "webhook_type,created_at", "created_at"];
    let promised = promised.map(|columns| format!("webhook_idempotency({columns})"));
    // A key is also looked up without a scope.
    let of_keys = match engine {
        Engine::Sqlite => "webhook_claim(id,kind,owner)",
        Engine::Postgres => "webhook_idempotency(idempotency_key,scope)",
    };
    for index in promised.iter().map(String::as_str).chain([of_keys]) {
        assert!(indexes.contains(index), "no {index} among {indexes:#?}");
    }
}

/// What an index finds, one that goes on where it ends finds too. Partial ones are not looked at.
async fn no_index_begins_as_another_does(engine: Engine) {
    let indexes = indexes(&migrated(engine), engine);
    for one in &indexes {
        let begin = one.trim_end_matches(')');
        let longer = indexes
            .iter()
            .find(|other| other.starts_with(&format!("{begin},")));
        assert_eq!(longer, None, "{one} is served by it");
    }
}

async fn the_core_knows_nothing_of_the_shop(engine: Engine) {
    let database = Database::new(engine);
    go_all(&database, engine, "core", Direction::Up);
    // Foreign keys to what is not there could not be made, or would be refused here.
    database.execute(&record("a", "k"));
    let references = match engine {
        Engine::Sqlite => {
            "SELECT m.name || ' ' || f.\"table\" AS t FROM sqlite_schema m, pragma_foreign_key_list(m.name) f"
        }
        Engine::Postgres => {
            "SELECT conrelid::regclass || ' ' || confrelid::regclass AS t FROM pg_constraint
             WHERE contype = 'f' AND connamespace = 'public'::regnamespace"
        }
    };
    assert_eq!(texts(&database, references), ["api_tokens api_clients"]);
}

async fn a_key_is_unique_in_its_scope(engine: Engine) {
    let database = migrated(engine);
    for (scope, key) in [("a", "k"), ("a", "l"), ("b", "k")] {
        database.execute(&record(scope, key));
    }
    let again = format!("{} ON CONFLICT DO NOTHING", record("a", "k"));
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
    assert_eq!(database.count(DONE), all_names(engine));
}

/// How many migrations were made.
const DONE: &str = "SELECT count(*) AS n FROM hookonce_migration";

async fn four_instances_that_start_at_once_all_come_up(engine: Engine) {
    let database = Database::new(engine);
    let program = Program::new(&database);
    let mut servers: Vec<_> = (0..4).map(|_| program.spawn()).collect();
    join_all(servers.iter_mut().map(|server| server.listening())).await;
    assert_eq!(database.count(DONE), all_names(engine));
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

async fn a_table_of_somebody_elses_is_named_and_nothing_is_changed(engine: Engine) {
    let database = Database::new(engine);
    // Of the core, which is looked at first, and of the shop.
    let names = ["webhook_idempotency", "alerts", "orders"];
    for name in names {
        database.execute(&format!("CREATE TABLE {name} (mine INTEGER)"));
    }
    for name in ["alerts, webhook_idempotency", "orders"] {
        let before = schema(&database, engine);
        let refused = Program::new(&database).run(&["migrate"]).await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        let told = format!("are not hookonce's: {name}. Nothing was changed");
        assert!(refused.stderr.contains(&told), "{refused:?}");
        assert!(refused.stderr.contains("DATABASE_SCHEMA"), "{refused:?}");
        assert_eq!(schema(&database, engine), before);
        for own in name.split(", ").filter(|own| *own != "orders") {
            database.execute(&format!("DROP TABLE {own}"));
        }
    }
    let left: Vec<_> = texts(&database, tables(engine));
    assert_eq!(left, ["orders"], "not even the core is half there");
    database.execute("DROP TABLE orders");
    Program::new(&database).must(&["migrate"]).await;
}

async fn what_fails_half_way_leaves_nothing(engine: Engine) {
    let database = Database::new(engine);
    // Of a name that the shop, which comes last, gives to an index.
    database.execute("CREATE TABLE mine (x INTEGER); CREATE INDEX orders_of_phone ON mine (x)");
    let before = schema(&database, engine);
    let refused = Program::new(&database).run(&["migrate"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("orders_of_phone"), "{refused:?}");
    assert_eq!(schema(&database, engine), before);
    database.execute("DROP TABLE mine");
    Program::new(&database).must(&["migrate"]).await;
}

async fn the_layout_of_before_is_refused_and_left_as_it_is(engine: Engine) {
    let database = Database::new(engine);
    database.execute(
        "CREATE TABLE __diesel_schema_migrations (version VARCHAR(50) PRIMARY KEY NOT NULL,
             run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP);
         INSERT INTO __diesel_schema_migrations (version) VALUES ('20261121000003');
         CREATE TABLE webhook_idempotency (id TEXT)",
    );
    let before = schema(&database, engine);
    for command in ["migrate", "serve"] {
        let refused = Program::new(&database).run(&[command]).await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        let told = "Start with a new database";
        assert!(refused.stderr.contains(told), "{refused:?}");
    }
    assert_eq!(schema(&database, engine), before);
}

async fn migrations_of_the_users_own_live_beside(engine: Engine) {
    let database = Database::new(engine);
    let folder = tempfile::tempdir().expect("a folder");
    let add = |version: &str, sql: &str| {
        let path = folder.path().join(version);
        fs::create_dir(&path).expect("a folder");
        fs::write(path.join("up.sql"), sql).expect("a file");
        fs::write(path.join("down.sql"), "SELECT 1").expect("a file");
    };
    let migrate_own = || {
        let files = FileBasedMigrations::from_path(folder.path()).expect("the migrations");
        let (url, path) = (&database.url, database.url.trim_start_matches("sqlite://"));
        let done = match engine {
            Engine::Sqlite => {
                let mut conn = SqliteConnection::establish(path).expect("a connection");
                conn.run_pending_migrations(files).map(|done| done.len())
            }
            Engine::Postgres => {
                let mut conn = PgConnection::establish(url).expect("a connection");
                conn.run_pending_migrations(files).map(|done| done.len())
            }
        };
        done.expect("the user's own migrations")
    };
    add(
        "2026-01-01-000001_own",
        "CREATE TABLE charges (amount INTEGER)",
    );
    assert_eq!(migrate_own(), 1);
    let program = Program::new(&database);
    program.must(&["migrate"]).await;
    add(
        "2026-01-02-000001_own",
        "ALTER TABLE charges ADD COLUMN note TEXT",
    );
    assert_eq!(migrate_own(), 1);
    program.must(&["migrate"]).await;
    program.must(&["check"]).await;
    assert_eq!(migrate_own(), 0);
    assert_eq!(database.count(DONE), all_names(engine));
}

/// There and back with what a shop has, by the real program: each order with its items, payments and keys.
async fn what_is_there_stays_whatever_the_layout(engine: Engine) {
    let database = Database::new(engine);
    let program = Program::new(&database);
    let retailer = program.open_shop().await;
    let token = program
        .must(&[
            "token",
            "create",
            "--name",
            "t",
            "--scope",
            "orders:write,payments:write",
            "--retailer",
            &retailer,
        ])
        .await;
    let mut server = program.serve().await;
    let message = Call::twilio_text(&new_sid(), "2 pizza and 1 cola");
    let first = message.send(&client(), &server.url).await;
    let first = first.expect("an answer");
    assert_eq!(told(&first), (200, Some("false")), "{first:?}");
    let post = async |server: &Server, path: &str, key: &str, body: &serde_json::Value| {
        let request = client().post(format!("{}/api/v1/{path}", server.url));
        let request = request
            .bearer_auth(token.trim())
            .header("Idempotency-Key", key);
        let answer = request
            .header("Content-Type", "application/json")
            .body(body.to_string())
            .send()
            .await
            .expect("an answer");
        let replayed = answer.headers().get("Idempotent-Replayed").cloned();
        assert_eq!(answer.status(), 201, "{path}");
        (
            replayed.expect("said"),
            answer.text().await.expect("a body"),
        )
    };
    let order = items(&[("COLA", 3)]);
    let (_, ordered) = post(&server, "orders", "an-order", &order).await;
    let made: serde_json::Value = serde_json::from_str(&ordered).expect("JSON");
    let payment = payment(made["data"]["id"].as_str().expect("an id"), "1.00");
    let (_, paid) = post(&server, "payments", "a-payment", &payment).await;
    server.signal("TERM");
    server.exit(Duration::from_secs(10)).await;

    let kept = contents(&database);
    go_back(&database, engine);
    assert_eq!(contents(&database), kept);
    program.must(&["migrate"]).await;
    assert_eq!(contents(&database), kept);
    program.must(&["check"]).await;

    let server = program.serve().await;
    let replayed = (200, Some("true"));
    for call in [message.clone(), message.clone().key("another")] {
        let again = call.send(&client(), &server.url).await.expect("an answer");
        assert_eq!((told(&again), &again.body), (replayed, &first.body));
    }
    for (path, key, body, answer) in [
        ("orders", "an-order", &order, &ordered),
        ("payments", "a-payment", &payment, &paid),
    ] {
        let (replayed, again) = post(&server, path, key, body).await;
        assert_eq!((replayed.as_bytes(), &again), (&b"true"[..], answer));
    }
    // And when all but the order is forgotten.
    database.execute("DELETE FROM webhook_event");
    database.execute("DELETE FROM webhook_idempotency");
    let again = message
        .send(&client(), &server.url)
        .await
        .expect("an answer");
    assert_eq!((told(&again), &again.body), (replayed, &first.body));
    assert_eq!(database.count("SELECT count(*) AS n FROM orders"), 2);
}

async fn the_views_show_what_the_api_shows(engine: Engine) {
    let database = Database::new(engine);
    let program = Program::new(&database);
    program.open_shop().await;
    let server = program.serve().await;
    let call = Call::twilio_text(&new_sid(), "2 pizza and 1 cola");
    let reply = call.send(&client(), &server.url).await.expect("an answer");
    assert_eq!(told(&reply), (200, Some("false")), "{reply:?}");
    let one = |sql: &str| texts(&database, sql).remove(0);
    let order = one("SELECT CAST(id AS TEXT) AS t FROM v_orders");
    assert!(uuid::Uuid::try_parse(&order).is_ok(), "{order}");
    for (column, view) in [
        ("order_id", "v_deliveries"),
        ("order_id", "v_events"),
        ("order_id", "v_order_items"),
        ("order_id", "v_ledger"),
    ] {
        let sql = format!("SELECT CAST({column} AS TEXT) AS t FROM {view}");
        assert_eq!(one(&sql), order, "{view}");
    }
    let hash = one("SELECT fingerprint AS t FROM v_deliveries");
    assert_eq!((hash.len(), hash.to_lowercase()), (64, hash.clone()));
    let created = one(match engine {
        Engine::Sqlite => "SELECT created_at AS t FROM v_orders",
        Engine::Postgres => {
            "SELECT to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS t FROM v_orders"
        }
    });
    let created = chrono::DateTime::parse_from_rfc3339(&created).expect("a time");
    let age = chrono::Utc::now().signed_duration_since(created);
    assert!((0..60).contains(&age.num_seconds()), "{created}");
    // What is nothing is nothing there too.
    database.execute("UPDATE webhook_idempotency SET order_id = NULL");
    let none = "SELECT CAST(order_id AS TEXT) AS t FROM v_deliveries";
    assert_eq!(database.texts(none), [None]);
}

#[actix_web::test]
async fn in_a_schema_of_its_own_it_is_beside_whatever_has_its_names() {
    let database = Database::new(Engine::Postgres);
    database.execute("CREATE TABLE orders (mine INTEGER); INSERT INTO orders VALUES (7)");
    let programs = ["hooks", "others"].map(|schema| {
        let program = Program::new(&database).set("DATABASE_SCHEMA", schema);
        (schema, program)
    });
    let (_, unmade) = &programs[0];
    let refused = unmade.run(&["stats"]).await;
    assert!(refused.stderr.contains("hookonce migrate"), "{refused:?}");
    for (orders, (schema, program)) in programs.iter().enumerate() {
        program.open_shop().await;
        let server = program.serve().await;
        for _ in 0..=orders {
            let call = Call::twilio_text(&new_sid(), "2 pizza and 1 cola");
            let reply = call.send(&client(), &server.url).await.expect("an answer");
            assert_eq!(told(&reply), (200, Some("false")), "{schema}: {reply:?}");
        }
        program.must(&["check"]).await;
        program.must(&["cleanup"]).await;
        let made = format!("SELECT count(*) AS n FROM {schema}.orders");
        assert_eq!(database.count(&made), orders as i64 + 1, "{schema}");
    }
    assert_eq!(
        texts(&database, tables(Engine::Postgres)),
        ["orders"],
        "in public"
    );
    // One of them is backed up, and brought back into another database.
    let (_, program) = &programs[1];
    program.must(&["backup", "backup.dump"]).await;
    let dump = program.folder.path().join("backup.dump");
    let dump = dump.to_str().expect("a path");
    let refused = program.run(&["restore", dump]).await;
    assert!(refused.stderr.contains("not empty"), "{refused:?}");
    let another = Database::new(Engine::Postgres);
    another.execute("CREATE TABLE orders (theirs INTEGER)");
    let brought = Program::new(&another).set("DATABASE_SCHEMA", "others");
    brought.must(&["restore", dump]).await;
    brought.must(&["check"]).await;
    assert_eq!(another.count("SELECT count(*) AS n FROM others.orders"), 2);
}

fn tree(set: &str, engine: Engine) -> PathBuf {
    let name = match engine {
        Engine::Sqlite => "sqlite",
        Engine::Postgres => "postgres",
    };
    [env!("CARGO_MANIFEST_DIR"), "migrations", set, name]
        .iter()
        .collect()
}

fn names(set: &str, engine: Engine) -> BTreeSet<String> {
    let entries = fs::read_dir(tree(set, engine)).expect("the migrations");
    entries
        .map(|entry| entry.expect("a migration").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

/// How many there are of both sets.
fn all_names(engine: Engine) -> i64 {
    SETS.map(|set| names(set, engine).len() as i64).iter().sum()
}

#[derive(Clone, Copy)]
enum Direction {
    Up,
    Down,
    /// Down to the first.
    Back,
}

fn migrated(engine: Engine) -> Database {
    let database = Database::new(engine);
    migrate(&database, engine, Direction::Up);
    database
}

fn migrate(database: &Database, engine: Engine, direction: Direction) {
    let mut sets = SETS;
    if !matches!(direction, Direction::Up) {
        sets.reverse();
    }
    for set in sets {
        go_all(database, engine, set, direction);
    }
}

/// Takes back all but the first migration of each set, as a program of before would have left it.
fn go_back(database: &Database, engine: Engine) {
    for set in ["shop", "core"] {
        let files = FileBasedMigrations::from_path(tree(set, engine)).expect("the migrations");
        match engine {
            Engine::Sqlite => {
                let path = database.url.trim_start_matches("sqlite://");
                let mut conn = SqliteConnection::establish(path).expect("a connection");
                conn.batch_execute("PRAGMA foreign_keys = OFF")
                    .expect("off");
                go(&mut conn, files, Direction::Back);
            }
            Engine::Postgres => {
                let mut conn = PgConnection::establish(&database.url).expect("a connection");
                go(&mut conn, files, Direction::Back);
            }
        }
        database.execute(&format!(
            "DELETE FROM hookonce_migration WHERE set_name = '{set}'
             AND version <> (SELECT min(version) FROM hookonce_migration WHERE set_name = '{set}')"
        ));
    }
}

/// All that a shop would miss, as the views show it.
fn contents(database: &Database) -> Vec<Vec<String>> {
    let what = [
        (
            "v_orders",
            "id || order_number || coalesce(message_id, '') || paid_minor",
        ),
        ("v_order_items", "order_id || position || sku || quantity"),
        ("v_ledger", "id || order_id || kind || amount_minor"),
        ("v_payments", "id || order_id || amount_minor"),
        (
            "v_deliveries",
            "id || scope || idempotency_key || status || fingerprint || coalesce(CAST(request_body AS TEXT), '')",
        ),
        (
            "v_events",
            "provider || event_id || outcome || order_id || digest || payload || reply",
        ),
        ("v_record_totals", "webhook_type || status || records"),
    ];
    let read = |(view, columns)| {
        texts(
            database,
            &format!("SELECT '' || {columns} AS t FROM {view} ORDER BY 1"),
        )
    };
    what.map(read).into()
}

fn go_all(database: &Database, engine: Engine, set: &str, direction: Direction) {
    let files = FileBasedMigrations::from_path(tree(set, engine)).expect("the migrations");
    match engine {
        Engine::Sqlite => {
            let path = database.url.trim_start_matches("sqlite://");
            let mut conn = SqliteConnection::establish(path).expect("a connection");
            go(&mut conn, files, direction);
        }
        Engine::Postgres => {
            let mut conn = PgConnection::establish(&database.url).expect("a connection");
            go(&mut conn, files, direction);
        }
    }
}

fn go<DB: Backend>(
    conn: &mut dyn BoxableConnection<DB>,
    files: FileBasedMigrations,
    direction: Direction,
) {
    let migrations = MigrationSource::<DB>::migrations(&files);
    let mut migrations = migrations.expect("the migrations");
    migrations.sort_by_key(|migration| migration.name().version().to_string());
    match direction {
        Direction::Up => {}
        Direction::Down => migrations.reverse(),
        Direction::Back => {
            migrations.reverse();
            migrations.pop();
        }
    }
    for migration in migrations {
        let done = match direction {
            Direction::Up => migration.run(conn),
            Direction::Down | Direction::Back => migration.revert(conn),
        };
        done.expect("a migration that runs");
    }
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
             FROM pg_constraint WHERE connamespace = 'public'::regnamespace
             UNION SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        }
    };
    texts(database, sql).into_iter().collect()
}

/// The names of all tables and views.
fn tables(engine: Engine) -> &'static str {
    match engine {
        Engine::Sqlite => "SELECT name AS t FROM sqlite_schema WHERE type IN ('table', 'view')",
        Engine::Postgres => {
            "SELECT CAST(relname AS TEXT) AS t FROM pg_class
             WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')"
        }
    }
}

/// The columns of each table and view.
fn columns(database: &Database, engine: Engine) -> BTreeMap<String, BTreeSet<String>> {
    let sql = match engine {
        Engine::Sqlite => {
            "SELECT m.name || '.' || c.name AS t FROM sqlite_master m, pragma_table_info(m.name) c
             WHERE m.type IN ('table', 'view')"
        }
        Engine::Postgres => {
            "SELECT table_name || '.' || column_name AS t FROM information_schema.columns
             WHERE table_schema = 'public'"
        }
    };
    let mut columns = BTreeMap::<_, BTreeSet<_>>::new();
    for line in texts(database, sql) {
        let (table, column) = line.split_once('.').expect("a table and a column");
        // SQLite's rows have numbers, named or not.
        if !table.starts_with("sqlite_") && column != "rowid" {
            let table = columns.entry(table.to_owned()).or_default();
            table.insert(column.to_owned());
        }
    }
    columns
}

/// The indexes that are of whole tables, each as `table(column,column)`.
fn indexes(database: &Database, engine: Engine) -> BTreeSet<String> {
    let sql = match engine {
        Engine::Sqlite => {
            "SELECT m.name || '(' || (SELECT group_concat(name) FROM pragma_index_info(i.name)) || ')' AS t
             FROM sqlite_schema m, pragma_index_list(m.name) i WHERE m.type = 'table' AND i.partial = 0"
        }
        Engine::Postgres => {
            "SELECT i.indrelid::regclass || '(' || (SELECT string_agg(a.attname, ',' ORDER BY k.place)
                 FROM unnest(i.indkey) WITH ORDINALITY k (column_number, place)
                 JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.column_number) || ')' AS t
             FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
             WHERE c.relnamespace = 'public'::regnamespace AND i.indpred IS NULL"
        }
    };
    texts(database, sql).into_iter().collect()
}

fn record(scope: &str, key: &str) -> String {
    let id = uuid::Uuid::new_v4();
    let now = "2026-11-21T12:00:00.000000Z";
    format!(
        "INSERT INTO webhook_idempotency (id, scope, idempotency_key, webhook_type, method, path, \
         fingerprint, status, owner_token, lease_expires_at, created_at, last_accessed_at, expires_at) \
         VALUES ('{id}', '{scope}', '{key}', 't', 'POST', '/', {HASH}, 'completed', '{id}', '{now}', \
         '{now}', '{now}', '{now}')"
    )
}

fn texts(database: &Database, sql: &str) -> Vec<String> {
    database.texts(sql).into_iter().flatten().collect()
}
