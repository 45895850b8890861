//! Commands beside a database: how they connect to it and how they end, and what those that only read leave alone.

use futures_util::{StreamExt as _, stream};
use rand::RngExt as _;
use std::{fs, os::unix::process::ExitStatusExt as _, path::Path, time::Duration};
use tokio::time::sleep;

use crate::support::{
    database::{Database, Engine, on_both},
    process::{CATALOGUE, Program},
    servers::PostgresServer,
};

const NOBODY: &str = "0192f0c1-2d3e-7abc-8def-0123456789ab";

on_both! {
    a_command_that_only_reads_does_not_migrate
    a_command_that_only_reads_makes_no_tables
}

/// A handshake with a password needs OpenSSL, which must not be torn down under it.
#[actix_web::test]
async fn commands_that_log_in_with_a_password_end_well_every_time() {
    let server = PostgresServer::start_asking("shop", &[]).await;
    let program = &Program::new(&Database::of_role(&server, "shop", "secret"));
    program.must(&["migrate"]).await;
    let commands: [&[&str]; 5] = [
        &["retailer", "list"],
        &["stats"],
        &["token", "list"],
        &["cleanup"],
        &["migrate"],
    ];
    let runs = (0..60).map(async |run| {
        // The first of them fails the most often where this is broken.
        let args = commands[if run < 30 { 0 } else { run % commands.len() }];
        (args, program.run(args).await)
    });
    let finished: Vec<_> = stream::iter(runs).buffer_unordered(4).collect().await;
    for (args, finished) in finished {
        let is_done = finished.code == Some(0)
            // One clean-up goes on at a time.
            || args == ["cleanup"] && finished.stderr.contains("a clean-up is running already");
        assert!(is_done, "{args:?}: {finished:?}");
        assert!(!finished.stderr.contains("nonce"), "{finished:?}");
    }
}

#[actix_web::test]
async fn a_service_that_is_stopped_while_it_starts_ends_well() {
    let server = PostgresServer::start_asking("shop", &[]).await;
    let program = &Program::new(&Database::of_role(&server, "shop", "secret"));
    program.must(&["migrate"]).await;
    let runs = (0..40).map(async |_| {
        let mut service = program.spawn();
        let moment = rand::rng().random_range(0..50);
        sleep(Duration::from_millis(moment)).await;
        service.signal("TERM");
        let status = service.exit(Duration::from_secs(30)).await;
        // 15: it had not begun to listen for signals yet.
        let is_well = status.success() || status.signal() == Some(15);
        assert!(is_well, "{status} after {moment} ms:\n{}", service.log());
    });
    stream::iter(runs).buffer_unordered(4).collect::<()>().await;
}

#[actix_web::test]
async fn a_command_makes_one_connection() {
    let settings = [("log_connections", "on")];
    let server = PostgresServer::start_with(&settings).await;
    let program = Program::new(&Database::of_role(&server, "shop", "secret"));
    program.must(&["migrate"]).await;
    for args in [
        &["migrate"][..],
        &["retailer", "list"],
        &["stats"],
        &["token", "list"],
        &["token", "create", "--name", "pos", "--scope", "admin"],
        &["cleanup"],
    ] {
        let made = || {
            server
                .log()
                .matches("connection authorized: user=shop")
                .count()
        };
        let before = made();
        program.must(args).await;
        assert_eq!(made() - before, 1, "{args:?}");
    }
}

#[actix_web::test]
async fn a_command_that_needs_a_database_does_not_make_one() {
    let catalogue = ["catalog", "import", CATALOGUE, "--retailer", NOBODY];
    for args in [
        &["stats"][..],
        &["stats", "--json"],
        &["retailer", "list"],
        &["token", "list"],
        &["token", "revoke", NOBODY],
        &[
            "token",
            "create",
            "--name",
            "n",
            "--scope",
            "admin",
            "--retailer",
            NOBODY,
        ],
        &["cleanup"],
        &catalogue,
    ] {
        let program = Program::bare();
        let finished = program.run(args).await;
        assert_eq!(finished.code, Some(1), "{args:?}: {finished:?}");
        assert_eq!(finished.stdout, "", "{args:?}");
        let named = "there is no database at sqlite://hookonce.db";
        assert!(finished.stderr.contains(named), "{args:?}: {finished:?}");
        let left = fs::read_dir(program.folder.path())
            .expect("a folder")
            .count();
        assert_eq!(left, 0, "{args:?}");
    }
    let memory = Program::bare().set("DATABASE_URL", "sqlite://:memory:");
    assert_eq!(memory.run(&["stats"]).await.code, Some(1));
}

async fn a_command_that_only_reads_does_not_migrate(engine: Engine) {
    let database = Database::new(engine);
    let program = Program::new(&database);
    program.must(&["migrate"]).await;
    let count = "SELECT count(*) AS n FROM hookonce_migration";
    let all = database.count(count);
    database.execute(
        "DELETE FROM hookonce_migration
         WHERE version = (SELECT max(version) FROM hookonce_migration)",
    );
    for args in [&["stats"][..], &["retailer", "list"], &["token", "list"]] {
        let finished = program.run(args).await;
        assert_eq!(finished.code, Some(1), "{args:?}: {finished:?}");
        assert!(finished.stderr.contains("hookonce migrate"), "{finished:?}");
        assert_eq!(database.count(count), all - 1, "{args:?}");
    }
}

async fn a_command_that_only_reads_makes_no_tables(engine: Engine) {
    let database = Database::new(engine);
    let tables = match engine {
        Engine::Sqlite => {
            // Empty, as a file that something else has made.
            fs::write(database.url.trim_start_matches("sqlite://"), "").expect("a file");
            "SELECT count(*) AS n FROM sqlite_master"
        }
        Engine::Postgres => "SELECT count(*) AS n FROM pg_tables WHERE schemaname = 'public'",
    };
    let finished = Program::new(&database).run(&["stats"]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("hookonce migrate"), "{finished:?}");
    assert_eq!(database.count(tables), 0);
}

/// It must see what is in the log alone, and leave file and log as they are.
#[actix_web::test]
async fn a_command_that_only_reads_sees_what_a_service_has_just_written() {
    let database = Database::new(Engine::Sqlite);
    let program = Program::new(&database);
    let _service = program.serve().await;
    let id = program.open_shop().await;
    let before = modified(&database);
    let listed = program.must(&["retailer", "list"]).await;
    assert!(listed.contains(&id), "{listed}");
    assert_eq!(modified(&database), before);
}

fn modified(database: &Database) -> std::time::SystemTime {
    let path = Path::new(database.url.trim_start_matches("sqlite://"));
    let modified = fs::metadata(path).and_then(|file| file.modified());
    modified.expect("the file")
}
