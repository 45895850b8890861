//! `/health/ready` tells the truth, quickly, and to nobody more than it must; `/health/live` stays out of it.

use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep};

use crate::support::{
    app::App,
    database::{Engine, on_both},
    requests::Reply,
};

/// What an answer may take, with the slack of a machine that is busy with other things.
const QUICK: Duration = Duration::from_secs(4);

on_both! {
    it_is_ready_and_says_what_was_checked
    a_pending_migration_is_told_until_it_is_made
    a_database_that_a_newer_version_has_taken_further_is_ready
    many_probes_at_once_are_answered_alike
}

async fn probe(app: &App) -> Reply {
    let begun = Instant::now();
    let ready = app.get("/health/ready").await;
    assert!(begun.elapsed() < QUICK, "{:?}: {ready:?}", begun.elapsed());
    let live = app.get("/health/live").await;
    assert_eq!(live.status, 200, "{live:?}");
    ready
}

/// Asks until the answer has that status.
async fn until(app: &App, status: u16) -> Reply {
    let begun = Instant::now();
    loop {
        let ready = probe(app).await;
        if ready.status == status {
            return ready;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{ready:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// The reason of a refusal, whose form is that of all errors.
fn reason(reply: &Reply) -> String {
    assert_eq!(
        (reply.status, &*reply.error_code()),
        (503, "STORE_UNAVAILABLE")
    );
    let content_type = reply.content_type.as_deref();
    assert_eq!(content_type, Some("application/problem+json"));
    assert_eq!(reply.retry_after.as_deref(), Some("1"));
    let reason = reply.json()["detail"]
        .as_str()
        .expect("a detail")
        .to_owned();
    for secret in ["/", "127.0.0.1", "postgres", "test_", ".db"] {
        assert!(!reason.contains(secret), "{reason}");
    }
    reason
}

async fn it_is_ready_and_says_what_was_checked(engine: Engine) {
    let app = App::new(engine).await;
    let ready = probe(&app).await;
    let disk = match engine {
        Engine::Sqlite => "ok",
        Engine::Postgres => "unknown",
    };
    let checks = json!({"database": "ok", "migrations": "ok", "writer": "ok", "disk": disk, "redis": "unknown"});
    assert_eq!(ready.status, 200, "{ready:?}");
    assert_eq!(ready.json(), json!({"status": "ok", "checks": checks}));
}

/// As where an older backup is brought back under a service that runs.
async fn a_pending_migration_is_told_until_it_is_made(engine: Engine) {
    let app = App::new(engine).await;
    assert_eq!(probe(&app).await.status, 200);
    app.database.execute(
        "CREATE TABLE kept AS SELECT set_name, version FROM hookonce_migration WHERE set_name = 'shop';
         DELETE FROM hookonce_migration WHERE set_name = 'shop'",
    );
    let refused = until(&app, 503).await;
    assert_eq!(
        reason(&refused),
        "the schema lacks a migration of this version"
    );
    app.database.execute(
        "INSERT INTO hookonce_migration (set_name, version) SELECT set_name, version FROM kept",
    );
    // What was amiss is looked at each time.
    assert_eq!(probe(&app).await.status, 200);
}

async fn a_database_that_a_newer_version_has_taken_further_is_ready(engine: Engine) {
    let app = App::new(engine).await;
    app.database.execute(
        "INSERT INTO hookonce_migration (set_name, version) VALUES ('core', '99991231235959')",
    );
    assert_eq!(probe(&app).await.status, 200);
}

async fn many_probes_at_once_are_answered_alike(engine: Engine) {
    let app = App::new(engine).await;
    let probes = (0..50).map(|_| probe(&app));
    for ready in futures_util::future::join_all(probes).await {
        assert_eq!(ready.status, 200, "{ready:?}");
    }
}

#[actix_web::test]
async fn a_writer_that_is_stuck_is_told_in_time_and_what_can_be_read_is_not_blamed() {
    // The writer itself waits for longer than a probe does.
    let app = App::with(Engine::Sqlite, |config| {
        config.request_timeout = Duration::from_secs(20);
    })
    .await;
    let lock = app.database.lock();
    let begun = Instant::now();
    let refused = probe(&app).await;
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    let told = reason(&refused);
    assert!(told.starts_with("the database does not take"), "{told}");
    // However many come while it is stuck.
    let probes = (0..20).map(|_| probe(&app));
    for refused in futures_util::future::join_all(probes).await {
        reason(&refused);
    }
    lock.release();
    until(&app, 200).await;
}

#[actix_web::test]
async fn a_server_that_is_away_is_told_in_time_and_no_longer_than_it_is_away() {
    let app = App::new(Engine::Postgres).await;
    assert_eq!(probe(&app).await.status, 200);
    let name = app.database.url.rsplit('/').next().unwrap().to_owned();
    app.database.alone(&format!(
        "ALTER DATABASE {name} ALLOW_CONNECTIONS false;
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    ));
    for _ in 0..4 {
        let told = reason(&probe(&app).await);
        assert!(told.contains("the database"), "{told}");
    }
    app.database
        .alone(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"));
    until(&app, 200).await;
}

#[actix_web::test]
async fn a_server_that_only_reads_is_not_ready() {
    let app = App::new(Engine::Postgres).await;
    assert_eq!(probe(&app).await.status, 200);
    let name = app.database.url.rsplit('/').next().unwrap().to_owned();
    app.database.alone(&format!(
        "ALTER DATABASE {name} SET default_transaction_read_only = on;
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    ));
    let begun = Instant::now();
    loop {
        let refused = until(&app, 503).await;
        if reason(&refused) == "the database can only be read" {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{refused:?}");
    }
}

#[actix_web::test]
async fn a_disk_that_is_almost_full_is_told() {
    let app = App::with(Engine::Sqlite, |config| {
        config.ready_min_disk_bytes = u64::MAX;
    })
    .await;
    assert_eq!(reason(&probe(&app).await), "the disk is almost full");
    let app = App::with(Engine::Postgres, |config| {
        config.ready_min_disk_bytes = u64::MAX;
    })
    .await;
    assert_eq!(probe(&app).await.status, 200);
}

#[actix_web::test]
async fn a_file_that_was_taken_away_is_told() {
    let app = App::new(Engine::Sqlite).await;
    assert_eq!(probe(&app).await.status, 200);
    let path = app.database.url.trim_start_matches("sqlite://").to_owned();
    std::fs::rename(&path, format!("{path}.away")).expect("a file to move");
    let told = reason(&probe(&app).await);
    assert!(told.contains("the database file is not there"), "{told}");
}

#[actix_web::test]
async fn memory_has_no_disk() {
    let app = App::with(Engine::Sqlite, |config| {
        config.database_url = "sqlite://:memory:".parse().unwrap();
        config.ready_min_disk_bytes = u64::MAX;
    })
    .await;
    let ready: Value = probe(&app).await.json();
    assert_eq!(ready["checks"]["disk"], "unknown", "{ready}");
}
