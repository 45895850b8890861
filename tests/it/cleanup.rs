//! The clean-up: takes away what has expired and nothing else, batch by batch, one process at a time.

use futures_util::future::join_all;
use hookonce::{
    idempotency::Cache,
    jobs::cleanup::{Cleanup, Failure, Refused, Report, Settings},
    store::{
        cleanup::Trigger,
        types::{Timestamp, Uuid},
    },
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tokio::time::{Instant, sleep};

use crate::support::{
    app::App,
    database::{Database, Engine, HASH, on_both},
    process::{self, Program, Server},
    requests::{Call, Reply, new_sid},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// For something that happens by itself, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);
/// So many that one transaction for each takes longer than what is done meanwhile.
const MANY: i64 = 30_000;

on_both! {
    it_deletes_exactly_what_has_expired
    it_releases_the_keys_of_the_dead
    stopped_in_the_middle_it_keeps_what_it_did_and_the_next_goes_on
    a_run_that_lost_its_lease_does_nothing_more
    a_second_run_is_told_that_one_is_running
    a_tick_is_taken_once
    a_run_whose_process_dies_is_taken_over
    it_runs_on_start
    it_runs_on_schedule
    a_shutdown_in_the_middle_is_quick_and_leaves_a_whole_state
    killed_in_the_middle_the_next_run_finishes
    requests_go_on_while_another_process_cleans_up
    one_that_fails_says_so_and_the_next_works
    an_event_outlives_its_record_and_an_order_its_event
    the_route_answers_with_the_report
    the_route_goes_on_when_its_client_is_gone
    only_so_many_runs_are_remembered
}

async fn it_deletes_exactly_what_has_expired(engine: Engine) {
    let app = App::new(engine).await;
    let now = at("2026-01-31T00:00:00.000000Z");
    let (past, then, future) = (
        "2026-01-30T23:59:59.999999Z",
        "2026-01-31T00:00:00.000000Z",
        "2026-01-31T00:00:00.000001Z",
    );
    for (key, status, lease, expires) in [
        ("expired", "completed", past, past),
        ("expires-now", "completed", past, then),
        ("expired-failed", "failed", past, past),
        ("expired-dead", "in_progress", past, past),
        ("expired-dies-now", "in_progress", then, past),
        ("live-expired-but-at-work", "in_progress", future, past),
        ("live", "completed", past, future),
        ("live-failed", "failed", past, future),
        ("live-at-work", "in_progress", future, future),
    ] {
        record(&app.database, key, status, lease, expires);
    }
    let old = "2026-01-01T00:00:00.000000Z";
    let young = "2026-01-01T00:00:00.000001Z";
    event(&app.database, "old", None, old);
    event(&app.database, "live-young", None, young);
    event(&app.database, "live-ordered", Some(Uuid::random()), old);
    let order = app.send(&Call::twilio_text(&new_sid(), "1 cola")).await;
    assert_eq!(order.status, 200);

    let report = clean(&app, 2, now).await;
    assert!(report.failure.is_none(), "{report:?}");
    assert_eq!(report.run.deleted_records, 5);
    assert_eq!(report.run.deleted_events, 1);
    assert_eq!(report.run.released, 0);
    assert_eq!(report.run.remaining, Some(1), "the one at work");
    let keys = "SELECT idempotency_key AS t FROM webhook_idempotency WHERE scope = 'test'";
    assert_eq!(
        texts(&app.database, keys),
        set("live live-at-work live-expired-but-at-work live-failed")
    );
    let events = "SELECT event_id AS t FROM webhook_event WHERE provider = 'test'";
    assert_eq!(texts(&app.database, events), set("live-ordered live-young"));
    // And the order with its record and its event.
    assert_eq!((app.orders(), app.records(), app.events()), (1, 5, 3));
}

async fn it_releases_the_keys_of_the_dead(engine: Engine) {
    let app = App::new(engine).await;
    let now = at("2026-01-31T00:00:00.000000Z");
    let (past, future) = ("2026-01-30T00:00:00.000000Z", "2026-02-01T00:00:00.000000Z");
    for key in ["dead-1", "dead-2", "dead-3"] {
        record(&app.database, key, "in_progress", past, future);
    }
    record(&app.database, "at-work", "in_progress", future, future);
    record(&app.database, "done", "completed", past, future);
    let report = clean(&app, 2, now).await;
    assert_eq!(report.run.released, 3);
    assert_eq!(report.run.deleted_records, 0);
    let of = |status| {
        format!("SELECT idempotency_key AS t FROM webhook_idempotency WHERE status = '{status}'")
    };
    assert_eq!(
        texts(&app.database, &of("failed")),
        set("dead-1 dead-2 dead-3")
    );
    assert_eq!(texts(&app.database, &of("in_progress")), set("at-work"));
    assert_eq!(texts(&app.database, &of("completed")), set("done"));
    let told = "SELECT error_message AS t FROM webhook_idempotency WHERE status = 'failed'";
    for message in texts(&app.database, told) {
        assert!(message.contains("is gone"), "{message}");
    }
}

async fn stopped_in_the_middle_it_keeps_what_it_did_and_the_next_goes_on(engine: Engine) {
    let app = App::new(engine).await;
    expired_records(&app.database, MANY);
    let cleanup = cleanup(&app, 1);
    let running = cleanup.run(Trigger::Command, None, Timestamp::now());
    let stopping = async {
        until("a few are gone", || app.records() < MANY - 5).await;
        cleanup.stop();
    };
    let (report, ()) = tokio::join!(running, stopping);
    let report = report.expect("it began");
    assert!(
        matches!(report.failure, Some(Failure::Stopped)),
        "{report:?}"
    );
    let left = app.records();
    assert_eq!(
        report.run.deleted_records,
        MANY - left,
        "counted as deleted"
    );
    assert!(left > 0, "it had not come to its end");
    let told = "SELECT error AS t FROM cleanup_runs WHERE finished_at IS NOT NULL";
    assert!(one(&app.database, told).contains("stopped"));

    let rest = clean(&app, 1_000, Timestamp::now()).await;
    assert_eq!(rest.run.deleted_records, left);
    assert_eq!(app.records(), 0);
}

async fn a_run_that_lost_its_lease_does_nothing_more(engine: Engine) {
    let app = App::new(engine).await;
    expired_records(&app.database, MANY);
    let cleanup = cleanup(&app, 1);
    let another = Uuid::random();
    let running = cleanup.run(Trigger::Command, None, Timestamp::now());
    let taking = async {
        until("a few are gone", || app.records() < MANY - 5).await;
        app.database
            .execute(&format!("UPDATE job_lease SET holder = '{another}'"));
        app.records()
    };
    let (report, left) = tokio::join!(running, taking);
    let report = report.expect("it began");
    assert!(
        matches!(report.failure, Some(Failure::TakenOver)),
        "{report:?}"
    );
    let gone = left - app.records();
    // Of batches of one record, the one that was under way.
    assert!(gone <= 1, "{gone} were deleted without a lease");
    let holder = "SELECT CAST(holder AS TEXT) AS t FROM v_job_leases";
    assert_eq!(
        one(&app.database, holder),
        another.to_string(),
        "not given back"
    );
}

async fn a_second_run_is_told_that_one_is_running(engine: Engine) {
    let app = App::new(engine).await;
    expired_records(&app.database, MANY);
    let program = Program::new(&app.database);
    let token = token(&program, &["--scope", "admin"]).await;
    let cleanup = cleanup(&app, 1);
    let running = cleanup.run(Trigger::Command, None, Timestamp::now());
    let others = async {
        until("one is running", || is_held(&app.database)).await;
        let here = cleanup.run(Trigger::Command, None, Timestamp::now()).await;
        assert!(matches!(here, Err(Refused::Running { .. })), "{here:?}");
        let asked = post(&app.url, &token).await;
        assert_eq!(
            (asked.status, &*asked.error_code()),
            (409, "REQUEST_PROCESSING")
        );
        assert!(asked.retry_after.is_some(), "{asked:?}");
        let command = program.run(&["cleanup"]).await;
        assert_eq!(command.code, Some(1), "{command:?}");
        assert!(command.stderr.contains("running already"), "{command:?}");
        assert_eq!(command.stdout, "");
        assert!(is_held(&app.database), "the first still runs");
        cleanup.stop();
    };
    let (report, ()) = tokio::join!(running, others);
    assert!(matches!(
        report,
        Ok(Report {
            failure: Some(Failure::Stopped),
            ..
        })
    ));
    assert_eq!(
        post(&app.url, &token).await.status,
        200,
        "once it has ended"
    );
}

async fn a_tick_is_taken_once(engine: Engine) {
    let app = App::new(engine).await;
    let (first, second) = (cleanup(&app, 10), cleanup(&app, 10));
    let tick = |minute| at(&format!("2026-01-31T00:{minute:02}:00.000000Z"));
    let run = async |cleanup: &Cleanup, minute| {
        let tick = Some(tick(minute));
        cleanup.run(Trigger::Schedule, tick, Timestamp::now()).await
    };
    assert!(run(&first, 1).await.is_ok());
    assert!(matches!(run(&second, 1).await, Err(Refused::Done)));
    // By a clock that is behind.
    assert!(matches!(run(&second, 0).await, Err(Refused::Done)));
    assert!(run(&second, 2).await.is_ok());
    assert!(matches!(run(&first, 2).await, Err(Refused::Done)));
    // Without a tick whenever wanted.
    assert!(clean(&app, 10, Timestamp::now()).await.failure.is_none());
    assert!(matches!(run(&first, 2).await, Err(Refused::Done)));
    let ticks = "SELECT count(tick) AS n FROM cleanup_runs";
    assert_eq!(app.database.count(ticks), 2);
}

async fn a_run_whose_process_dies_is_taken_over(engine: Engine) {
    let app = App::new(engine).await;
    expired_records(&app.database, 10);
    // As it stands a moment after a process was killed.
    let ends = Timestamp::now().after(Duration::from_secs(2));
    app.database.execute(&format!(
        "INSERT INTO job_lease (name, holder, expires_at) VALUES ('cleanup', '{}', '{ends}')",
        Uuid::random()
    ));
    let tick = Some(at("2026-01-31T00:00:00.000000Z"));
    let begun = Timestamp::now();
    cleanup(&app, 10)
        .run_or_watch(Trigger::Schedule, tick)
        .await;
    assert!(
        Timestamp::now() >= ends,
        "not before the lease ran out: {begun}"
    );
    assert_eq!(app.records(), 0);
    let trigger = "SELECT trigger AS t FROM cleanup_runs";
    assert_eq!(texts(&app.database, trigger), set("takeover"));
    assert!(!is_held(&app.database));
}

async fn it_runs_on_start(engine: Engine) {
    let database = Database::new(engine);
    let program = Program::new(&database).set("CLEANUP_ON_START", "false");
    program.must(&["migrate"]).await;
    expired_records(&database, 10);
    let mut quiet = program.serve().await;
    quiet.signal("TERM");
    quiet.exit(PATIENCE).await;
    assert_eq!(count(&database, "cleanup_runs"), 0);
    assert_eq!(count(&database, "webhook_idempotency"), 10);

    let mut server = program.set("CLEANUP_ON_START", "true").serve().await;
    let line = server.logged("cleanup completed").await;
    assert!(line.contains("10 records and 0 events deleted"), "{line}");
    assert_eq!(count(&database, "webhook_idempotency"), 0);
    let triggers = texts(&database, "SELECT trigger AS t FROM cleanup_runs");
    assert!(triggers.contains("start"), "{triggers:?}");
}

async fn it_runs_on_schedule(engine: Engine) {
    let app = App::with(engine, |config| {
        config.cleanup_schedule = "* * * * * *".parse().expect("a schedule");
    })
    .await;
    let runs = "SELECT count(*) AS n FROM cleanup_runs WHERE trigger = 'schedule'";
    until("it ran twice", || app.database.count(runs) >= 2).await;
    expired_records(&app.database, 10);
    until("what expired is gone", || app.records() == 0).await;
    let ticks = "SELECT CAST(tick AS TEXT) AS t FROM v_cleanup_runs WHERE trigger = 'schedule'";
    for tick in app.database.texts(ticks) {
        let tick = tick.expect("a tick");
        let whole = !tick.contains('.') || tick.contains(".000000Z");
        assert!(whole, "{tick} is not the scheduled time");
    }
}

async fn a_shutdown_in_the_middle_is_quick_and_leaves_a_whole_state(engine: Engine) {
    let database = Database::new(engine);
    let program = Program::new(&database).set("CLEANUP_BATCH", "1");
    program.must(&["migrate"]).await;
    expired_records(&database, MANY);
    let mut server = program.serve().await;
    until("a few are gone", || records(&database) < MANY - 5).await;
    server.signal("TERM");
    let begun = Instant::now();
    let status = server.exit(PATIENCE).await;
    assert!(status.success(), "{status}");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    let left = records(&database);
    assert!(left > 0, "it had not come to its end");
    assert_eq!(deleted(&database), MANY - left, "{}", server.log());
    let told = "SELECT error AS t FROM cleanup_runs WHERE finished_at IS NOT NULL";
    assert!(one(&database, told).contains("stopped"));
    assert!(!is_held(&database), "the next need not wait");
}

async fn killed_in_the_middle_the_next_run_finishes(engine: Engine) {
    let database = Database::new(engine);
    let program = Program::new(&database).set("CLEANUP_BATCH", "1");
    program.must(&["migrate"]).await;
    expired_records(&database, MANY);
    let mut server = program.serve().await;
    until("a few are gone", || records(&database) < MANY - 5).await;
    server.kill();
    // PostgreSQL may still be at what the killed process had asked for last.
    until("every batch is whole", || {
        records(&database) == MANY - deleted(&database)
    })
    .await;
    let left = records(&database);
    assert!(left > 0, "it had not come to its end");
    assert!(is_held(&database), "nobody gave the lease back");
    let refused = program.run(&["cleanup"]).await;
    assert!(refused.stderr.contains("running already"), "{refused:?}");

    // Half a minute later.
    database.execute("UPDATE job_lease SET expires_at = '2026-01-01T00:00:00.000000Z'");
    let next = program.set("CLEANUP_BATCH", "1000");
    let report = json(&next.must(&["cleanup"]).await);
    assert_eq!(report["deleted_records"], left);
    assert_eq!(records(&database), 0);
    let told = "SELECT error AS t FROM cleanup_runs WHERE trigger = 'start'";
    assert!(one(&database, told).contains("gone"));
}

async fn requests_go_on_while_another_process_cleans_up(engine: Engine) {
    let database = Database::new(engine);
    let program = Program::new(&database).set("CLEANUP_ON_START", "false");
    program.open_shop().await;
    expired_records(&database, MANY);
    let server = program.serve().await;
    let client = process::client();
    let done = AtomicBool::new(false);
    let sender = async || {
        let mut answered = 0;
        while !done.load(Ordering::SeqCst) {
            let call = Call::twilio_text(&new_sid(), "2 pizza and 1 cola");
            let reply = call.send(&client, &server.url).await.expect("an answer");
            assert_eq!(reply.status, 200, "{reply:?}");
            answered += 1;
        }
        answered
    };
    let cleaning = async {
        let printed = program.must(&["cleanup"]).await;
        done.store(true, Ordering::SeqCst);
        json(&printed)
    };
    let (report, answered) = tokio::join!(cleaning, join_all((0..4).map(|_| sender())));
    assert_eq!(report["deleted_records"], MANY);
    assert_eq!(report["trigger"], "command");
    assert_eq!(report["error"], Value::Null);
    let answered: i64 = answered.iter().sum();
    assert!(answered > 0, "none came meanwhile");
    assert_eq!(records(&database), answered);
    assert_eq!(count(&database, "orders"), answered);
}

async fn one_that_fails_says_so_and_the_next_works(engine: Engine) {
    let app = App::new(engine).await;
    let program = Program::new(&app.database);
    let token = token(&program, &["--scope", "admin"]).await;
    expired_records(&app.database, 10);
    app.database
        .execute("ALTER TABLE webhook_event RENAME TO put_away");
    let asked = post(&app.url, &token).await;
    assert_eq!((asked.status, &*asked.error_code()), (500, "INTERNAL"));
    assert!(!asked.body.contains("webhook_event"), "{asked:?}");
    let told = "SELECT error AS t FROM cleanup_runs WHERE trigger = 'request'";
    assert!(one(&app.database, told).contains("webhook_event"));
    let command = program.run(&["cleanup"]).await;
    assert_eq!(command.code, Some(1), "{command:?}");
    assert!(command.stderr.contains("cleanup failed"), "{command:?}");
    let error = json(&command.stdout)["error"].clone();
    assert!(error.as_str().expect("an error").contains("webhook_event"));
    assert!(!is_held(&app.database));

    app.database
        .execute("ALTER TABLE put_away RENAME TO webhook_event");
    let report = json(&program.must(&["cleanup"]).await);
    assert_eq!(report["error"], Value::Null);
    assert_eq!(app.records(), 0);
}

async fn an_event_outlives_its_record_and_an_order_its_event(engine: Engine) {
    let app = App::new(engine).await;
    let call = Call::twilio_text(&new_sid(), "2 pizza and 1 cola");
    let first = app.send(&call).await;
    assert_eq!(first.status, 200);
    let later = Timestamp::now().after(365 * DAY);
    let report = clean(&app, 10, later).await;
    assert_eq!(report.run.deleted_records, 1);
    assert_eq!((app.records(), app.events()), (0, 1), "its event is kept");
    let again = app.send(&call).await;
    assert_eq!(again.essence(), first.essence());
    assert_eq!(app.orders(), 1);

    app.database.execute("DELETE FROM webhook_event");
    assert_eq!(clean(&app, 10, later).await.run.deleted_records, 1);
    let again = app.send(&call.clone().key("another")).await;
    assert_eq!(again.essence(), first.essence());
    assert_eq!((app.orders(), app.ledger_entries()), (1, 1));
}

async fn the_route_answers_with_the_report(engine: Engine) {
    let app = App::new(engine).await;
    let program = Program::new(&app.database);
    let admin = token(&program, &["--scope", "admin"]).await;
    expired_records(&app.database, 3);
    let reply = post(&app.url, &admin).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let report = &reply.json()["data"];
    let shown = "deleted_events deleted_records duration_ms error finished_at id instance released \
                 remaining started_at trigger";
    let names: BTreeSet<_> = report.as_object().unwrap().keys().cloned().collect();
    assert_eq!(names, set(shown));
    assert_eq!(report["deleted_records"], 3);
    assert_eq!(report["remaining"], 0);
    assert_eq!(report["trigger"], "request");

    let retailer = app
        .database
        .texts("SELECT CAST(id AS TEXT) AS t FROM v_retailers");
    let retailer = retailer[0].clone().expect("a retailer");
    let bound = token(&program, &["--scope", "admin", "--retailer", &retailer]).await;
    let lesser = token(&program, &["--scope", "stats:read,orders:write"]).await;
    for token in [bound, lesser] {
        let refused = post(&app.url, &token).await;
        assert_eq!(
            (refused.status, &*refused.error_code()),
            (403, "SCOPE_MISSING")
        );
    }
    assert_eq!(count(&app.database, "cleanup_runs"), 1);
}

async fn the_route_goes_on_when_its_client_is_gone(engine: Engine) {
    const FEW: i64 = 300;
    let app = App::with(engine, |config| config.cleanup_batch = 1).await;
    let token = token(&Program::new(&app.database), &["--scope", "admin"]).await;
    expired_records(&app.database, FEW);
    {
        let mut asking = std::pin::pin!(post(&app.url, &token));
        let begun = until("it has begun", || app.records() < FEW);
        tokio::select! {
            reply = &mut asking => panic!("it ended at once: {reply:?}"),
            () = begun => {}
        }
    }
    until("all are gone", || app.records() == 0).await;
    let ended =
        "SELECT count(*) AS n FROM cleanup_runs WHERE finished_at IS NOT NULL AND error IS NULL";
    until("it has ended well", || app.database.count(ended) == 1).await;
}

async fn only_so_many_runs_are_remembered(engine: Engine) {
    let app = App::new(engine).await;
    let first = "'00000000-0000-7000-8000-000000000000'";
    let numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1005)";
    let (id, time) = match engine {
        Engine::Sqlite => (
            "unhex(printf('00000000000070008000%012d', i))",
            "'2026-01-01T00:00:00.000000Z'",
        ),
        Engine::Postgres => (
            "CAST('00000000-0000-7000-8000-' || lpad(CAST(i AS TEXT), 12, '0') AS UUID)",
            "TIMESTAMPTZ '2026-01-01T00:00:00Z'",
        ),
    };
    app.database.execute(&format!(
        "{numbers} INSERT INTO cleanup_runs (id, instance, trigger, started_at, finished_at)
         SELECT {id}, {first}, 'schedule', {time}, {time} FROM n"
    ));
    let report = clean(&app, 10, Timestamp::now()).await;
    assert_eq!(count(&app.database, "cleanup_runs"), 1_000);
    let latest = "SELECT CAST(id AS TEXT) AS t FROM v_cleanup_runs ORDER BY id DESC LIMIT 1";
    assert_eq!(one(&app.database, latest), report.run.id.to_string());
}

#[actix_web::test]
async fn of_three_instances_one_runs_each_tick_and_another_goes_on_when_it_is_killed() {
    let database = Database::new(Engine::Postgres);
    let program = Program::new(&database)
        .set("CLEANUP_ON_START", "false")
        .set("CLEANUP_SCHEDULE", "*/2 * * * * *");
    let mut servers: Vec<Server> = (0..3).map(|_| program.spawn()).collect();
    join_all(servers.iter_mut().map(|server| server.listening())).await;
    let ticks = || {
        let ticks = "SELECT CAST(tick AS TEXT) AS t FROM v_cleanup_runs ORDER BY tick";
        database.texts(ticks)
    };
    until("four ticks are done", || ticks().len() >= 4).await;
    let latest =
        "SELECT CAST(instance AS TEXT) AS t FROM v_cleanup_runs ORDER BY tick DESC LIMIT 1";
    let runner = one(&database, latest);
    let is_runner = |server: &Server| server.log().contains(&format!("instance {runner}"));
    let runner_at = servers
        .iter()
        .position(is_runner)
        .expect("one of the three");
    servers[runner_at].kill();
    let of_others = format!(
        "SELECT count(*) AS n FROM cleanup_runs WHERE instance <> '{runner}' AND started_at > '{}'",
        Timestamp::now()
    );
    until("the others go on", || database.count(&of_others) >= 3).await;
    let runs = count(&database, "cleanup_runs");
    let distinct: BTreeSet<_> = ticks().into_iter().collect();
    assert!(
        distinct.len() as i64 >= runs - 1,
        "one that came meanwhile aside"
    );
    for server in servers {
        let log = server.log();
        assert!(!log.contains("cleanup failed"), "{log}");
    }
}

#[actix_web::test]
async fn sqlites_file_shrinks_to_what_lives_and_a_reserve() {
    let database = Database::new(Engine::Sqlite);
    let program = Program::new(&database);
    program.must(&["migrate"]).await;
    expired_records(&database, MANY);
    let pages = "SELECT page_count AS n FROM pragma_page_count";
    let before = database.count(pages);
    program.must(&["cleanup"]).await;
    let free = "SELECT freelist_count AS n FROM pragma_freelist_count";
    let (after, free) = (database.count(pages), database.count(free));
    assert!(after < before / 10, "{before} pages, then {after}");
    assert_eq!(free, after / 10, "of {after} pages are kept in reserve");
}

#[actix_web::test]
async fn a_file_that_cannot_shrink_is_cleaned_up_all_the_same() {
    let database = Database::new(Engine::Sqlite);
    database.execute("PRAGMA auto_vacuum = NONE; CREATE TABLE before_us (x INTEGER)");
    let program = Program::new(&database).set("RUST_LOG", "debug");
    program.must(&["migrate"]).await;
    expired_records(&database, 100);
    let cleaned = program.run(&["cleanup"]).await;
    assert_eq!(cleaned.code, Some(0), "{cleaned:?}");
    assert!(cleaned.stderr.contains("keeps its size"), "{cleaned:?}");
    assert_eq!(records(&database), 0);
}

#[actix_web::test]
async fn a_bad_schedule_stops_the_start() {
    for (name, value) in [
        ("CLEANUP_SCHEDULE", "every hour"),
        ("CLEANUP_SCHEDULE", "99 * * * *"),
        ("CLEANUP_BATCH", "0"),
        ("CLEANUP_ON_START", "on"),
        ("EVENT_RETENTION", "30"),
    ] {
        let finished = Program::bare().set(name, value).run(&["serve"]).await;
        assert_eq!(finished.code, Some(2), "{finished:?}");
        for part in [name, value, "allowed"] {
            assert!(finished.stderr.contains(part), "{finished:?}");
        }
    }
}

#[actix_web::test]
async fn a_retention_shorter_than_what_meta_sends_again_is_warned_of() {
    let database = Database::new(Engine::Sqlite);
    let program = Program::new(&database);
    let long = program.serve().await;
    assert!(!long.log().contains("EVENT_RETENTION"), "{}", long.log());
    drop(long);
    let mut short = program.set("EVENT_RETENTION", "7d").serve().await;
    let line = short.logged("EVENT_RETENTION").await;
    assert!(line.contains("WARN") && line.contains("7days"), "{line}");
}

fn cleanup(app: &App, batch: u32) -> Cleanup {
    let settings = Settings {
        batch,
        event_retention: 30 * DAY,
    };
    Cleanup::new(
        app.store.clone(),
        settings,
        Uuid::random(),
        Cache::default(),
    )
}

/// Cleans up what has expired by `now`.
async fn clean(app: &App, batch: u32, now: Timestamp) -> Report {
    let cleanup = cleanup(app, batch);
    let report = cleanup.run(Trigger::Command, None, now).await;
    report.expect("no other runs")
}

fn at(text: &str) -> Timestamp {
    let at = chrono::DateTime::parse_from_rfc3339(text).expect("a time");
    at.to_utc().into()
}

fn record(database: &Database, key: &str, status: &str, lease: &str, expires: &str) {
    let id = Uuid::random();
    database.execute(&format!(
        "INSERT INTO webhook_idempotency (id, scope, idempotency_key, webhook_type, method, path, fingerprint, status,
             owner_token, lease_expires_at, created_at, last_accessed_at, expires_at)
         VALUES ('{id}', 'test', '{key}', 't', 'POST', '/', {HASH}, '{status}', '{id}', '{lease}', '{lease}', '{lease}',
             '{expires}')"
    ));
}

fn event(database: &Database, id: &str, order: Option<Uuid>, created: &str) {
    let order = order.map_or("NULL".to_owned(), |id| format!("'{id}'"));
    database.execute(&format!(
        "INSERT INTO webhook_event (provider, event_id, kind, digest, delivery_fingerprint, outcome, order_id, payload,
             created_at)
         VALUES ('test', '{id}', 'message', {HASH}, {HASH}, 'ignored', {order}, '{{}}', '{created}')"
    ));
}

/// Adds records that expired long ago.
fn expired_records(database: &Database, count: i64) {
    let (id, time) = match database.url.starts_with("sqlite") {
        true => (
            "unhex(printf('00000000000070008000%012d', i))",
            "'2026-01-01T00:00:00.000000Z'",
        ),
        false => (
            "CAST('00000000-0000-7000-8000-' || lpad(CAST(i AS TEXT), 12, '0') AS UUID)",
            "TIMESTAMPTZ '2026-01-01T00:00:00Z'",
        ),
    };
    database.execute(&format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
         INSERT INTO webhook_idempotency (id, scope, idempotency_key, webhook_type, method, path, fingerprint, status,
             request_body, owner_token, lease_expires_at, created_at, last_accessed_at, expires_at)
         SELECT {id}, 'test', 'expired-' || i, 't', 'POST', '/', {HASH}, 'completed', '{{\"text\":\"2 pizzas and 1 cola\"}}',
             {id}, {time}, {time}, {time}, {time} FROM n"
    ));
}

fn count(database: &Database, table: &str) -> i64 {
    database.count(&format!("SELECT count(*) AS n FROM {table}"))
}

fn records(database: &Database) -> i64 {
    count(database, "webhook_idempotency")
}

/// What the runs say that they have deleted.
fn deleted(database: &Database) -> i64 {
    database.count("SELECT CAST(sum(deleted_records) AS BIGINT) AS n FROM cleanup_runs")
}

fn is_held(database: &Database) -> bool {
    database.count("SELECT count(holder) AS n FROM job_lease") > 0
}

fn texts(database: &Database, sql: &str) -> BTreeSet<String> {
    database.texts(sql).into_iter().flatten().collect()
}

fn one(database: &Database, sql: &str) -> String {
    let texts = database.texts(sql);
    assert_eq!(texts.len(), 1, "{sql}: {texts:?}");
    texts[0].clone().expect("a text")
}

fn set(words: &str) -> BTreeSet<String> {
    words.split_whitespace().map(str::to_owned).collect()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("no JSON: {text}"))
}

/// A new client's token.
async fn token(program: &Program, args: &[&str]) -> String {
    let args = [&["token", "create", "--name", "operator"], args].concat();
    program.must(&args).await.trim().to_owned()
}

async fn post(url: &str, token: &str) -> Reply {
    let request = process::client().post(format!("{url}/api/v1/admin/cleanup"));
    let response = request.bearer_auth(token).send().await;
    Reply::of(response.expect("an answer"))
        .await
        .expect("a body")
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not in time");
        sleep(Duration::from_millis(10)).await;
    }
}
