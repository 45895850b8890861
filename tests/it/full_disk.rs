//! What cannot be made durable is not acknowledged, and whoever asks is told so: by readiness, the metrics, the
//! statistics and the log.

use serde_json::Value;
use std::time::Duration;

use crate::support::{
    app::App,
    database::{Database, Engine, on_both},
    process::{self, Program},
    requests::{Call, Reply, new_sid, told},
    shop::Service,
    wait::until,
};

on_both! {
    a_disk_that_is_full_is_told_until_there_is_room_again
    a_failure_of_one_request_alone_is_nobody_elses
}

fn an_order() -> Call {
    Call::twilio_text(&new_sid(), "2 pizza and 1 cola")
}

/// Orders need room that is not there, whatever smaller things find.
fn fill(database: &Database, engine: Engine) {
    database.trigger(
        "INSERT ON orders",
        match engine {
            Engine::Sqlite => "SELECT RAISE(ABORT, 'database or disk is full')",
            Engine::Postgres => {
                "RAISE EXCEPTION 'could not extend file \"base/5/16384\": No space left on device'
                 USING ERRCODE = 'disk_full', HINT = 'Check free disk space.'"
            }
        },
    );
}

fn reason(reply: &Reply) -> String {
    assert_eq!(reply.status, 503, "{reply:?}");
    assert_eq!(reply.error_code(), "STORE_UNAVAILABLE");
    reply.json()["detail"]
        .as_str()
        .expect("a detail")
        .to_owned()
}

async fn a_disk_that_is_full_is_told_until_there_is_room_again(engine: Engine) {
    let service = Service::new(engine).await;
    let app = &service.app;
    assert_eq!(app.get("/health/ready").await.status, 200);
    fill(&app.database, engine);
    let order = an_order();
    reason(&app.send(&order).await);
    // Whatever else is written meanwhile.
    for _ in 0..3 {
        app.send(&Call::twilio_text(&new_sid(), "hello")).await;
        let ready = app.get("/health/ready").await;
        assert_eq!(reason(&ready), "writes fail: the database's disk is full");
    }
    let metrics = app.get("/metrics").await.body;
    assert!(metrics.contains("\nhookonce_writes_failing 1"), "{metrics}");
    let counted = "\nhookonce_write_failures_total{reason=\"full\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
    let admin = service.client(None, "admin").await;
    let stats = admin.get("/api/v1/stats").await.json();
    let alerts = stats["alerts"].as_array().expect("alerts");
    let alert = alerts
        .iter()
        .find(|alert| alert["name"] == "writes_failing");
    let alert = alert.expect("the alert");
    assert_eq!(alert["firing"], true, "{alert}");
    let detail = alert["detail"].as_str().expect("a detail");
    assert!(detail.contains("make room"), "{detail}");
    app.database.mend("orders");
    // With no webhook at all.
    until("ready again", async || {
        app.get("/health/ready").await.status == 200
    })
    .await;
    assert_eq!(told(&app.send(&order).await), (200, Some("false")));
    assert_eq!(app.orders(), 1);
}

async fn a_failure_of_one_request_alone_is_nobody_elses(engine: Engine) {
    let app = App::with(engine, |config| {
        config.request_timeout = Duration::from_secs(1);
    })
    .await;
    app.database
        .break_writes("INSERT ON orders", "out of order");
    assert_eq!(app.send(&an_order()).await.status, 500);
    assert_eq!(app.get("/health/ready").await.status, 200);
    app.database.mend("orders");
    if engine == Engine::Postgres {
        // Nor is a lock that somebody holds.
        let lock = app.database.lock();
        assert_eq!(app.send(&an_order()).await.status, 503);
        lock.release();
        assert_eq!(app.get("/health/ready").await.status, 200);
    }
}

/// No file may become larger than what is written to the log beside it, as on a disk that is full; SQLite says that its
/// disk fails.
#[actix_web::test]
async fn a_file_that_cannot_be_written_to_is_told_until_it_can() {
    let database = Database::new(Engine::Sqlite);
    let program = Program::new(&database).set("RUST_LOG", "info");
    program.open_shop().await;
    let mut server = program.after("trap '' XFSZ").serve().await;
    let (client, url) = (process::client(), server.url.clone());
    let send = async |call: &Call| call.send(&client, &url).await.expect("an answer");
    let get = async |path: &str| {
        let response = client.get(format!("{url}{path}")).send().await;
        Reply::of(response.expect("an answer"))
            .await
            .expect("a body")
    };
    assert_eq!(send(&an_order()).await.status, 200);
    assert_eq!(get("/health/ready").await.status, 200);
    server.limit_files("16384");
    let order = an_order();
    reason(&send(&order).await);
    let unready = reason(&get("/health/ready").await);
    assert!(unready.contains("the database"), "{unready}");
    server.logged("alert writes_failing: ").await;
    let metrics = get("/metrics").await.body;
    let fires = "hookonce_alert_firing{name=\"writes_failing\"} 1";
    assert!(metrics.contains(fires), "{metrics}");
    server.limit_files("unlimited");
    until("ready again", async || {
        get("/health/ready").await.status == 200
    })
    .await;
    assert_eq!(told(&send(&order).await), (200, Some("false")));
    let orders = database.count("SELECT count(*) AS n FROM orders");
    assert_eq!(orders, 2);
}

/// Nobody sends anything: what a write would meet is found out all the same.
#[actix_web::test]
async fn a_file_that_cannot_be_written_to_is_found_where_no_webhook_comes() {
    let database = Database::new(Engine::Sqlite);
    let program = Program::new(&database).after("trap '' XFSZ");
    let server = program.serve().await;
    server.limit_files("0");
    let client = process::client();
    let response = client.get(format!("{}/health/ready", server.url)).send();
    let ready = Reply::of(response.await.expect("an answer")).await;
    let ready: Value = ready.expect("a body").json();
    assert_eq!(ready["status"], 503, "{ready}");
}
