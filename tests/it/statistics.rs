//! The statistics: that they add up, whoever counts, whatever is killed, and however the records came to be what they are.

use hookonce::{
    schedule::Schedule,
    statistics::{self, Report, Window},
    store::{
        Store, StoreError,
        statistics::{self as rows, Counts, Records, TrafficHour},
        types::{Timestamp, Uuid},
    },
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

use crate::support::{
    app::App,
    database::{Database, Engine, HASH, on_both},
    process::{self, Program, Server},
    records::{FUTURE, PAST},
    requests::{Call, Reply, Then, new_sid, new_wamid, raw, whatsapp_text},
    shop::{Client, Service, items, new_key},
    wait::until,
};

on_both! {
    the_figures_add_up_against_a_known_mix
    a_batch_and_an_overlapping_one_count_their_events
    the_command_and_the_route_tell_the_same
    counts_survive_a_restart
    counts_survive_a_kill_but_for_the_last_seconds
    records_are_counted_whatever_changes_them
    what_expires_is_counted_to_the_moment
    a_sender_that_goes_away_is_counted_as_failed
    the_clean_up_takes_a_snapshot_and_adds_up_all_that_it_deletes
    old_hours_are_added_up_and_not_lost
    hours_that_a_process_holds_take_the_place_of_what_it_wrote
    a_bad_window_and_a_bound_token_are_refused
    a_retailer_is_silent_when_it_is_so_for_longer_than_usual
    alerts_are_told_and_end
    messages_to_numbers_of_nobody_are_counted_and_told
}

/// A client that may read the statistics.
async fn reader(service: &Service) -> Client {
    service.client(None, "stats:read").await
}

async fn stats(client: &Client) -> Value {
    client.get("/api/v1/stats").await.must(200).json()
}

fn number(value: &Value) -> i64 {
    value
        .as_i64()
        .unwrap_or_else(|| panic!("no number: {value}"))
}

/// The members that are numbers, but for rates.
fn numbers(value: &Value) -> BTreeMap<String, i64> {
    let members = value.as_object().expect("an object").iter();
    let members = members.filter(|(name, _)| *name != "replay_rate");
    members
        .map(|(name, value)| (name.clone(), number(value)))
        .collect()
}

/// What came is what came of it.
#[track_caller]
fn check_sums(statistics: &Value) {
    let traffic = numbers(&statistics["traffic"]);
    let parts = [
        "first",
        "replayed",
        "mismatched",
        "in_progress_rejected",
        "signature_rejected",
        "malformed",
        "failed",
    ];
    let sum: i64 = parts.iter().map(|part| traffic[*part]).sum();
    assert_eq!(traffic["received"], sum, "{traffic:?}");
    let keys = numbers(&statistics["keys"]);
    assert_eq!(keys["total"], keys["active"] + keys["expired"], "{keys:?}");
    assert_eq!(
        keys["total"],
        keys["in_progress"] + keys["completed"] + keys["failed"],
        "{keys:?}"
    );
    for groups in ["by_type", "by_retailer"] {
        for name in ["active", "expired", "total"] {
            let groups = statistics[groups].as_array().expect("groups").iter();
            let sum: i64 = groups.map(|group| number(&group[name])).sum();
            assert_eq!(sum, keys[name], "{name}");
        }
    }
    let series = statistics["series"].as_array().expect("a series").iter();
    let received: i64 = series.map(|hour| number(&hour["received"])).sum();
    assert_eq!(received, traffic["received"]);
}

async fn the_figures_add_up_against_a_known_mix(engine: Engine) {
    let service = Service::new(engine).await;
    let (app, pos) = (&service.app, service.pos().await);
    let text = |sid: &str, text: &str| Call::twilio_text(sid, text);
    let (first, second) = (new_sid(), new_sid());
    // Three are new, two of them orders; one comes again three times, once under another key.
    for call in [
        text(&first, "2 pizzas"),
        text(&second, "1 cola"),
        text(&new_sid(), "hello there"),
        text(&first, "2 pizzas"),
        text(&first, "2 pizzas"),
        text(&first, "2 pizzas").key("another"),
    ] {
        assert_eq!(app.send(&call).await.status, 200);
    }
    // The key of a header stands for another message; the message with another text is a conflict.
    assert_eq!(
        app.send(&text(&new_sid(), "1 cola").key("another"))
            .await
            .status,
        409
    );
    assert_eq!(app.send(&text(&second, "9 colas")).await.status, 200);
    let forged = text(&new_sid(), "1 cola").instead("X-Twilio-Signature", "AAAA");
    assert_eq!(app.send(&forged).await.status, 401);
    assert_eq!(
        app.send(&text(&new_sid(), "1 cola").without("X-Twilio-Signature"))
            .await
            .status,
        401
    );
    let malformed = Call::twilio(&[("MessageSid", "SM1"), ("Body", "x")]);
    assert_eq!(app.send(&malformed).await.status, 400);
    // A client's: an order, the same again, another under its key, one without a key, one that is refused for good.
    let (key, order) = (new_key(), items(&[("PIZZA-MARG", 1)]));
    pos.post_keyed("/api/v1/orders", &key, &order)
        .await
        .must(201);
    pos.post_keyed("/api/v1/orders", &key, &order)
        .await
        .must(201);
    pos.post_keyed("/api/v1/orders", &key, &items(&[("COLA-330", 1)]))
        .await
        .must(409);
    let keyless = pos.telling("POST", "/api/v1/orders", &order);
    assert_eq!(keyless.send().await.unwrap().status(), 400);
    pos.post("/api/v1/orders", &items(&[("NOTHING", 1)]))
        .await
        .must(400);
    // None of these is counted: they are of nobody that is known, or change nothing.
    pos.get("/api/v1/orders").await.must(200);
    let stranger = Client {
        token: "hk_0".to_owned(),
        ..pos.clone()
    };
    stranger.post("/api/v1/orders", &order).await.must(401);

    let found = stats(&reader(&service).await).await;
    check_sums(&found);
    let wanted = json!({
        "received": 16, "first": 6, "replayed": 4, "mismatched": 2, "in_progress_rejected": 0,
        "signature_rejected": 2, "malformed": 2, "failed": 0, "duplicate_events": 1, "conflicts": 1,
        "unknown_retailers": 0, "edits_noted": 0, "revokes_noted": 0,
    });
    assert_eq!(numbers(&found["traffic"]), numbers(&wanted), "{found:#}");
    assert_eq!(found["traffic"]["replay_rate"], json!(0.4));
    let orders = found["series"].as_array().unwrap().iter();
    let orders: i64 = orders.map(|hour| number(&hour["orders"])).sum();
    assert_eq!(orders, app.orders());
    assert_eq!(number(&found["keys"]["total"]), app.records());
    for name in ["first", "replayed", "lookup"] {
        let latency = &found["latency_ms"][name];
        assert!(
            latency["p50"].as_f64() <= latency["max"].as_f64(),
            "{latency}"
        );
        assert!(latency["max"].as_f64() > Some(0.0), "{name}: {latency}");
    }
    let of_kitchen = found["by_retailer"].as_array().unwrap().iter();
    let of_kitchen = of_kitchen.filter(|group| group["retailer_id"] == json!(service.kitchen));
    let named: Vec<_> = of_kitchen.map(|group| &group["name"]).collect();
    assert_eq!(named, [&json!("Test Kitchen")]);
    // Replays are written to their records soon after.
    let replays = |found: &Value| {
        let groups = found["by_type"].as_array().unwrap().iter();
        groups.map(|group| number(&group["replays"])).sum::<i64>()
    };
    let reader = reader(&service).await;
    until("three replays of records", async || {
        replays(&stats(&reader).await) == 3
    })
    .await;
}

async fn a_batch_and_an_overlapping_one_count_their_events(engine: Engine) {
    let service = Service::new(engine).await;
    let ids: Vec<_> = (0..4).map(|_| new_wamid()).collect();
    let text = |id: &String| whatsapp_text(id, "1 cola");
    let first = Call::whatsapp_messages(json!([text(&ids[0]), text(&ids[1]), text(&ids[2])]));
    let second = Call::whatsapp_messages(json!([text(&ids[1]), text(&ids[2]), text(&ids[3])]));
    for call in [&first, &second, &first] {
        assert_eq!(service.app.send(call).await.status, 200);
    }
    let found = stats(&reader(&service).await).await;
    check_sums(&found);
    let traffic = &found["traffic"];
    assert_eq!(
        (number(&traffic["first"]), number(&traffic["replayed"])),
        (2, 1)
    );
    assert_eq!(number(&traffic["duplicate_events"]), 2);
    let series = found["series"].as_array().unwrap();
    assert_eq!(
        series
            .iter()
            .map(|hour| number(&hour["orders"]))
            .sum::<i64>(),
        4
    );
}

/// A service of its own process, with a shop and a token for its statistics.
struct Counted {
    program: Program,
    server: Server,
    token: String,
    http: reqwest::Client,
    database: Database,
}

impl Counted {
    async fn new(engine: Engine) -> Self {
        let database = Database::new(engine);
        let program = Program::new(&database).set("CLEANUP_ON_START", "false");
        program.open_shop().await;
        let args = ["token", "create", "--name", "ops", "--scope", "stats:read"];
        let token = program.must(&args).await.trim().to_owned();
        Self {
            server: program.serve().await,
            token,
            http: process::client(),
            program,
            database,
        }
    }

    async fn stats_of(&self, server: &Server) -> Value {
        let request = self.http.get(format!("{}/api/v1/stats", server.url));
        let answer = request
            .bearer_auth(&self.token)
            .send()
            .await
            .expect("an answer");
        let answer = Reply::of(answer).await.expect("a body");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    async fn stats(&self) -> Value {
        self.stats_of(&self.server).await
    }

    async fn send(&self, call: &Call) -> Reply {
        call.send(&self.http, &self.server.url)
            .await
            .expect("an answer")
    }

    /// So many orders, each sent twice, with a forgery for each.
    async fn send_mix(&self, times: usize) {
        for _ in 0..times {
            let order = Call::twilio_text(&new_sid(), "1 cola");
            assert_eq!(self.send(&order).await.status, 200);
            assert_eq!(self.send(&order).await.status, 200);
            let forged = order.instead("X-Twilio-Signature", "AAAA");
            assert_eq!(self.send(&forged).await.status, 401);
        }
    }

    /// Waits until all that came so far is written down.
    async fn written(&self, received: i64) {
        let sum = "SELECT CAST(coalesce(sum(received), 0) AS BIGINT) AS n FROM traffic_hours";
        until("the counts are written down", async || {
            self.database.count(sum) == received
        })
        .await;
    }
}

/// Without what differs from moment to moment.
fn lasting(mut statistics: Value) -> Value {
    let all = statistics.as_object_mut().unwrap();
    for name in ["success", "generated_at", "store"] {
        all.remove(name);
    }
    statistics
}

async fn the_command_and_the_route_tell_the_same(engine: Engine) {
    let counted = Counted::new(engine).await;
    counted.send_mix(2).await;
    counted.written(6).await;
    // Replays are written down apart.
    let replayed = "SELECT CAST(sum(replay_count) AS BIGINT) AS n FROM webhook_idempotency";
    until("the replays are", async || {
        counted.database.count(replayed) == 2
    })
    .await;
    let told = counted.program.must(&["stats", "--json"]).await;
    let told: Value = serde_json::from_str(&told).expect("JSON, and nothing else");
    check_sums(&told);
    assert_eq!(lasting(told), lasting(counted.stats().await));
    let shown = counted.program.must(&["stats", "--window", "1h"]).await;
    for words in [
        "Keys",
        "Traffic",
        "received",
        "twilio_message",
        "table_large",
        "Test Kitchen",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
}

async fn counts_survive_a_restart(engine: Engine) {
    let mut counted = Counted::new(engine).await;
    counted.send_mix(3).await;
    // At once: what is not written down yet is written at the end.
    counted.server.signal("TERM");
    assert!(counted.server.exit(Duration::from_secs(30)).await.success());
    counted.server = counted.program.serve().await;
    counted.send_mix(1).await;
    let found = counted.stats().await;
    check_sums(&found);
    let traffic = &found["traffic"];
    assert_eq!(
        (number(&traffic["received"]), number(&traffic["first"])),
        (12, 4)
    );
    assert_eq!(number(&traffic["signature_rejected"]), 4);
}

async fn counts_survive_a_kill_but_for_the_last_seconds(engine: Engine) {
    let mut counted = Counted::new(engine).await;
    counted.send_mix(2).await;
    counted.written(6).await;
    counted.send_mix(2).await;
    counted.server.kill();
    counted.server = counted.program.serve().await;
    let found = counted.stats().await;
    // What came last may be lost, but what came is still what came of it, and no record is counted wrongly.
    check_sums(&found);
    let received = number(&found["traffic"]["received"]);
    assert!((6..=12).contains(&received), "{received}");
    assert_eq!(number(&found["keys"]["completed"]), 4);
}

/// Three instances on one PostgreSQL: each tells the sums of all, in the end.
#[actix_web::test]
async fn instances_add_up() {
    let counted = Counted::new(Engine::Postgres).await;
    let others = [counted.program.serve().await, counted.program.serve().await];
    let orders: Vec<_> = (0..5)
        .map(|_| Call::twilio_text(&new_sid(), "1 cola"))
        .collect();
    for order in &orders {
        for server in others.iter().chain([&counted.server]) {
            let answer = order.send(&counted.http, &server.url).await.unwrap();
            assert_eq!(answer.status, 200);
        }
    }
    for server in others.iter().chain([&counted.server]) {
        until("all that came is told", async || {
            let found = counted.stats_of(server).await;
            check_sums(&found);
            let traffic = &found["traffic"];
            let told = (number(&traffic["first"]), number(&traffic["replayed"]));
            told == (5, 10)
        })
        .await;
    }
}

/// The records as the statistics have them.
async fn counted(store: &Store, now: Timestamp) -> Records {
    let counted = store.snapshot(move |conn| rows::records(conn, now)).await;
    counted.expect("counts")
}

/// The same, by a look at each record: kind, retailer, status, how many, how often replayed.
fn scanned(database: &Database) -> Vec<String> {
    let rows = database.texts(
        "SELECT webhook_type || ' ' || coalesce(CAST(retailer_id AS TEXT), '-') || ' ' || status || ' '
             || CAST(count(*) AS TEXT) || ' ' || CAST(sum(replay_count) AS TEXT) AS t
         FROM v_deliveries GROUP BY webhook_type, retailer_id, status ORDER BY 1",
    );
    rows.into_iter().flatten().collect()
}

/// The same by the rows that the triggers keep; those in progress are not among them.
fn kept(database: &Database) -> Vec<String> {
    let rows = database.texts(
        "SELECT webhook_type || ' ' || replace(CAST(retailer_id AS TEXT), '00000000-0000-0000-0000-' || '000000000000', '-')
             || ' ' || status || ' ' || CAST(sum(records) AS TEXT) || ' ' || CAST(sum(replays) AS TEXT) AS t
         FROM v_record_totals GROUP BY webhook_type, retailer_id, status HAVING sum(records) <> 0 ORDER BY 1",
    );
    rows.into_iter().flatten().collect()
}

#[track_caller]
fn check_counts(database: &Database, after: &str) {
    let settled: Vec<_> = scanned(database)
        .into_iter()
        .filter(|row| !row.contains(" in_progress "))
        .collect();
    assert_eq!(kept(database), settled, "after {after}");
    let by_expiry = database.count(
        "SELECT count(*) AS n FROM (
             SELECT sum(records) AS kept FROM record_expiries HAVING sum(records)
                 <> (SELECT count(*) FROM webhook_idempotency WHERE status <> 'in_progress')
         ) AS wrong",
    );
    assert_eq!(by_expiry, 0, "by expiry, after {after}");
}

async fn records_are_counted_whatever_changes_them(engine: Engine) {
    let app = App::new(engine).await;
    let retailer = app
        .database
        .texts("SELECT CAST(id AS TEXT) AS t FROM v_retailers");
    let retailer = retailer[0].clone().unwrap();
    for (count, status) in [(3, "completed"), (2, "failed"), (4, "in_progress")] {
        for _ in 0..count {
            insert(&app.database, status, FUTURE);
        }
    }
    check_counts(&app.database, "inserts");
    let one = |status: &str| {
        format!(
            "id = (SELECT id FROM webhook_idempotency WHERE status = '{status}' ORDER BY idempotency_key LIMIT 1)"
        )
    };
    for change in [
        format!(
            "UPDATE webhook_idempotency SET status = 'completed' WHERE {}",
            one("in_progress")
        ),
        format!(
            "UPDATE webhook_idempotency SET status = 'failed' WHERE {}",
            one("in_progress")
        ),
        format!(
            "UPDATE webhook_idempotency SET status = 'in_progress' WHERE {}",
            one("failed")
        ),
        format!(
            "UPDATE webhook_idempotency SET replay_count = replay_count + 7 WHERE {}",
            one("completed")
        ),
        format!(
            "UPDATE webhook_idempotency SET retailer_id = '{retailer}' WHERE {}",
            one("completed")
        ),
        format!(
            "UPDATE webhook_idempotency SET webhook_type = 'other' WHERE {}",
            one("completed")
        ),
        format!(
            "UPDATE webhook_idempotency SET expires_at = {PAST} WHERE {}",
            one("completed")
        ),
        format!(
            "UPDATE webhook_idempotency SET status = 'failed', replay_count = 1, expires_at = {PAST} WHERE {}",
            one("completed")
        ),
        format!(
            "UPDATE webhook_idempotency SET lease_expires_at = {PAST}, last_accessed_at = {PAST}"
        ),
        "UPDATE webhook_idempotency SET replay_count = replay_count + 1".to_owned(),
        format!(
            "UPDATE webhook_idempotency SET status = 'completed', replay_count = replay_count + 3 WHERE {}",
            one("completed")
        ),
        format!(
            "DELETE FROM webhook_idempotency WHERE {}",
            one("in_progress")
        ),
        format!("DELETE FROM webhook_idempotency WHERE expires_at = {PAST}"),
    ] {
        app.database.execute(&change);
        check_counts(&app.database, &change);
    }
    for text in ["1 cola", "hello"] {
        let call = Call::twilio_text(&new_sid(), text);
        app.send(&call).await;
        app.send(&call).await;
    }
    check_counts(&app.database, "deliveries");
    // Adding up what connections counted apart changes no sum.
    let folding = app.store.write(|conn| rows::fold_counts(conn, 1_000));
    let folded: Result<i64, StoreError> = folding.await;
    folded.expect("folded");
    check_counts(&app.database, "folding");
    app.database.execute("DELETE FROM webhook_idempotency");
    check_counts(&app.database, "deleting all");
    assert_eq!(counted(&app.store, Timestamp::now()).await, Records::new());
}

fn insert(database: &Database, status: &str, expires_at: &str) {
    let id = uuid::Uuid::now_v7();
    database.execute(&format!(
        "INSERT INTO webhook_idempotency (id, scope, idempotency_key, webhook_type, method, path, fingerprint, status,
             owner_token, lease_expires_at, created_at, last_accessed_at, expires_at)
         VALUES ('{id}', 'test', 'key-{id}', 'test', 'POST', '/', {HASH}, '{status}', '{id}', {expires_at}, {PAST}, {PAST},
             {expires_at})"
    ));
}

async fn what_expires_is_counted_to_the_moment(engine: Engine) {
    let app = App::new(engine).await;
    for (status, expires_at) in [
        ("completed", "'2026-01-31T11:58:59.999999Z'"),
        ("failed", "'2026-01-31T12:00:00.000000Z'"),
        ("completed", "'2026-01-31T12:00:30.500000Z'"),
        ("completed", "'2026-01-31T12:00:30.500001Z'"),
        ("in_progress", "'2026-01-31T12:00:30.500000Z'"),
        ("in_progress", "'2026-01-31T12:00:30.500001Z'"),
        ("completed", "'2026-01-31T12:01:00.000000Z'"),
    ] {
        insert(&app.database, status, expires_at);
    }
    for (now, expired) in [
        ("2026-01-31T11:58:59.999998Z", 0),
        ("2026-01-31T11:58:59.999999Z", 1),
        ("2026-01-31T12:00:00.000000Z", 2),
        ("2026-01-31T12:00:30.499999Z", 2),
        ("2026-01-31T12:00:30.500000Z", 4),
        ("2026-01-31T12:00:30.500001Z", 6),
        ("2026-01-31T12:00:59.999999Z", 6),
        ("2026-01-31T12:01:00.000000Z", 7),
        ("2026-02-01T00:00:00.000000Z", 7),
    ] {
        let counts = counted(&app.store, at(now)).await;
        let counts = counts[&("test".to_owned(), None)];
        assert_eq!((counts.expired, counts.total()), (expired, 7), "at {now}");
        assert_eq!(counts.active(), 7 - expired);
    }
}

fn at(text: &str) -> Timestamp {
    let at = chrono::DateTime::parse_from_rfc3339(text).expect("a time");
    at.to_utc().into()
}

async fn a_sender_that_goes_away_is_counted_as_failed(engine: Engine) {
    let service = Service::with(engine, |config| {
        config.request_timeout = Duration::from_secs(20)
    })
    .await;
    let lock = service.database().lock();
    let call = Call::twilio_text(&new_sid(), "1 cola");
    // The body is whole, the database is held up, and whoever sent it leaves.
    raw(&service.app.url, call.to_bytes(), Then::HangUp).await;
    lock.release();
    let reader = reader(&service).await;
    until("it is counted", async || {
        let found = stats(&reader).await;
        check_sums(&found);
        number(&found["traffic"]["failed"]) == 1
    })
    .await;
    assert_eq!(service.app.send(&call).await.status, 200);
    assert_eq!(service.app.orders(), 1);
}

async fn the_clean_up_takes_a_snapshot_and_adds_up_all_that_it_deletes(engine: Engine) {
    let service = Service::new(engine).await;
    let reader = reader(&service).await;
    let admin = service.client(None, "admin").await;
    let mut deleted = 0;
    for round in 1..=3 {
        for _ in 0..round {
            insert(service.database(), "completed", PAST);
        }
        insert(service.database(), "completed", FUTURE);
        let before = stats(&reader).await;
        assert_eq!(number(&before["keys"]["expired"]), round);
        admin
            .post("/api/v1/admin/cleanup", &json!({}))
            .await
            .must(200);
        deleted += round;
        let after = stats(&reader).await;
        check_sums(&after);
        let cleanup = &after["cleanup"];
        assert_eq!(number(&cleanup["last_deleted"]), round);
        assert_eq!(number(&cleanup["deleted_total"]), deleted);
        assert_eq!(cleanup["last_error"], Value::Null);
        assert_eq!(cleanup["schedule"], "0 0 1 1 *");
        assert!(
            cleanup["last_run_at"].as_str() < cleanup["next_run_at"].as_str(),
            "{cleanup}"
        );
        let last = after["series"].as_array().unwrap().last().unwrap();
        assert_eq!(number(&last["keys"]), round, "{last}");
        assert!(number(&last["size_bytes"]) > 0, "{last}");
    }
}

fn hour(id: Uuid, hour: Timestamp, first: i64) -> TrafficHour {
    TrafficHour {
        id,
        hour,
        instance: Uuid::random(),
        counts: Counts {
            received: first,
            first,
            ..Counts::default()
        },
        first_latency: Vec::new(),
        replayed_latency: Vec::new(),
        lookup_latency: Vec::new(),
    }
}

async fn report(store: &Store, ours: Vec<TrafficHour>, window: &str, now: Timestamp) -> Report {
    let window: Window = window.parse().expect("a window");
    let (engine, schedule) = (store.engine(), Schedule::hourly());
    let looking =
        store.snapshot(move |conn| statistics::report(conn, engine, &schedule, &ours, window, now));
    looking.await.expect("statistics")
}

async fn old_hours_are_added_up_and_not_lost(engine: Engine) {
    let app = App::new(engine).await;
    let now = at("2026-03-31T12:30:00.000000Z");
    let ages = [0, 1, 23, 24, 719, 720, 744, 745, 5_000];
    let hours = ages.map(|age| now.hour().before(Duration::from_secs(3600) * age));
    let writing = app.store.write(move |conn| {
        let mut hours = hours.into_iter();
        hours.try_for_each(|at| rows::put_hour(conn, &hour(Uuid::random(), at, 1)))
    });
    let written: Result<(), StoreError> = writing.await;
    written.expect("written");
    for folded in [false, true, true] {
        if folded {
            let until = now.hour().before(Duration::from_secs(3600 * 744));
            let folding = app.store.write(move |conn| rows::fold_hours(conn, until));
            let done: Result<(), StoreError> = folding.await;
            done.expect("folded");
        }
        for (window, inside) in [("1h", 1), ("24h", 3), ("25h", 4), ("720h", 5)] {
            let report = report(&app.store, Vec::new(), window, now).await;
            assert_eq!(report.traffic.received, 9, "{window}");
            let series = report.series.iter().map(|hour| hour.received);
            assert_eq!(series.sum::<i64>(), inside, "{window}");
        }
    }
    assert_eq!(
        app.database
            .count("SELECT count(*) AS n FROM traffic_hours WHERE received = 2"),
        1
    );
}

async fn hours_that_a_process_holds_take_the_place_of_what_it_wrote(engine: Engine) {
    let app = App::new(engine).await;
    let now = at("2026-03-31T12:30:00.000000Z");
    let (mine, theirs) = (Uuid::random(), Uuid::random());
    let writing = app.store.write(move |conn| {
        rows::put_hour(conn, &hour(theirs, now.hour(), 10))?;
        rows::put_hour(conn, &hour(mine, now.hour(), 1))?;
        // Twice, as where the first answer was lost.
        rows::put_hour(conn, &hour(mine, now.hour(), 2))
    });
    let written: Result<(), StoreError> = writing.await;
    written.expect("written");
    let written = report(&app.store, Vec::new(), "24h", now).await;
    assert_eq!(written.traffic.received, 12);
    let older = now.hour().before(Duration::from_secs(3600 * 1_000));
    let held = vec![hour(mine, now.hour(), 5), hour(Uuid::random(), older, 100)];
    let held = report(&app.store, held, "24h", now).await;
    assert_eq!(held.traffic.received, 115);
    assert_eq!(
        held.series.iter().map(|hour| hour.received).sum::<i64>(),
        15
    );
}

async fn a_bad_window_and_a_bound_token_are_refused(engine: Engine) {
    let service = Service::new(engine).await;
    let reader = reader(&service).await;
    for window in ["0h", "721h", "24", "1d", "-1h", ""] {
        let answer = reader.get(&format!("/api/v1/stats?window={window}")).await;
        assert_eq!(answer.must(400).errors(), ["window invalid"]);
    }
    let answer = reader.get("/api/v1/stats?since=1h").await.must(400);
    assert_eq!(answer.errors(), ["since unknown_parameter"]);
    let longest = reader
        .get("/api/v1/stats?window=720h")
        .await
        .must(200)
        .json();
    assert_eq!(longest["series"].as_array().map(Vec::len), Some(720));
    let bound = service.client(Some(&service.kitchen), "stats:read").await;
    assert_eq!(
        bound.get("/api/v1/stats").await.must(403).error_code(),
        "SCOPE_MISSING"
    );
}

async fn a_retailer_is_silent_when_it_is_so_for_longer_than_usual(engine: Engine) {
    const HOUR: i64 = 3600;
    let app = App::new(engine).await;
    let retailer = Uuid::random();
    // Monday at noon, three hours later, and two hours after that.
    let begun = at("2026-03-30T12:00:00.000000Z");
    let later = move |hours: i64| begun.after(Duration::from_secs((hours * HOUR).unsigned_abs()));
    for hours in [0, 3, 5, 4] {
        let noting = app
            .store
            .write(move |conn| rows::note_activity(conn, retailer, later(hours)));
        let noted: Result<(), StoreError> = noting.await;
        noted.expect("noted");
    }
    // The longest silence so far is three hours, so that four and a half are too long; or whatever is asked for.
    for (hours, least, silent) in [(9, 1, false), (10, 1, true), (10, 6, false), (12, 6, true)] {
        let looking = app
            .store
            .read(move |conn| rows::silent_retailers(conn, least * HOUR, later(hours), 10));
        let found = looking.await.expect("retailers");
        let found: Vec<_> = found
            .iter()
            .map(|one| (one.retailer_id, one.usual_s))
            .collect();
        let wanted = if silent {
            vec![(retailer, 3 * HOUR)]
        } else {
            Vec::new()
        };
        assert_eq!(found, wanted, "after {hours} hours, at least {least}");
    }
    // Two weeks on, nobody remembers the three hours; four weeks on, it is gone.
    let weeks = move |weeks: i64| later(weeks * 7 * 24);
    for at in [weeks(1), weeks(2), weeks(2).after(Duration::from_secs(60))] {
        let noting = app
            .store
            .write(move |conn| rows::note_activity(conn, retailer, at));
        let noted: Result<(), StoreError> = noting.await;
        noted.expect("noted");
    }
    let usual = app
        .database
        .count("SELECT longest_before_s AS n FROM retailer_activity");
    assert_eq!(usual, 7 * 24 * HOUR - 5 * HOUR);
    let gone = app
        .store
        .read(move |conn| rows::silent_retailers(conn, HOUR, weeks(7), 10));
    assert_eq!(gone.await.expect("retailers"), []);
}

async fn alerts_are_told_and_end(engine: Engine) {
    let service = Service::with(engine, |config| {
        config.alert_signature_failures = 2;
        config.alert_table_bytes = 1;
        config.alert_silence = Duration::from_millis(100);
    })
    .await;
    let reader = reader(&service).await;
    let firing = async || {
        let found = stats(&reader).await;
        let alerts = found["alerts"].as_array().unwrap().clone();
        let firing = alerts.iter().filter(|alert| alert["firing"] == json!(true));
        let firing: Vec<_> = firing
            .map(|alert| alert["name"].as_str().unwrap().to_owned())
            .collect();
        (firing, alerts)
    };
    until("the size is told", async || {
        firing().await.0 == ["table_large"]
    })
    .await;
    assert_eq!(
        service
            .app
            .send(&Call::twilio_text(&new_sid(), "1 cola"))
            .await
            .status,
        200
    );
    for _ in 0..3 {
        let forged = Call::twilio_text(&new_sid(), "x").instead("X-Twilio-Signature", "AAAA");
        assert_eq!(service.app.send(&forged).await.status, 401);
    }
    let three = ["table_large", "signature_failures", "retailer_silent"];
    until("all three are told", async || firing().await.0 == three).await;
    let (_, alerts) = firing().await;
    assert_eq!(alerts.len(), 7);
    for alert in alerts {
        let fires = alert["firing"] == json!(true);
        assert_eq!(alert["since"].is_string(), fires, "{alert}");
        assert_eq!(alert["detail"].is_string(), fires, "{alert}");
    }
    let metrics = service.app.get("/metrics").await.body;
    assert!(
        metrics.contains("hookonce_alert_firing{name=\"table_large\"} 1"),
        "{metrics}"
    );
    assert!(
        metrics.contains("hookonce_alert_firing{name=\"lookups_slow\"} 0"),
        "{metrics}"
    );
    // What nobody sees any more is not believed.
    service.app.stop().await;
    service
        .database()
        .execute(&format!("UPDATE alerts SET seen_at = {PAST}"));
    let after = report(&service.app.store, Vec::new(), "24h", Timestamp::now()).await;
    assert!(after.alerts.iter().all(|alert| !alert.firing));
}

async fn messages_to_numbers_of_nobody_are_counted_and_told(engine: Engine) {
    let service = Service::new(engine).await;
    let app = &service.app;
    let to = |number: &str| {
        let (sid, to) = (new_sid(), format!("whatsapp:{number}"));
        Call::twilio(&[("MessageSid", &*sid), ("To", &*to), ("Body", "2 pizzas")])
    };
    let lost = to("+14155550191");
    let picture = Call::twilio(&[
        ("MessageSid", &*new_sid()),
        ("To", "whatsapp:+14155550191"),
        ("MessageType", "image"),
        ("NumMedia", "1"),
    ]);
    for call in [
        &lost,
        &lost,
        &to("+14155550191"),
        &picture,
        &Call::twilio_text(&new_sid(), "2 pizzas"),
    ] {
        assert_eq!(app.send(call).await.status, 200);
    }
    // As in Meta's batches: two to one number, and one to a number that nobody should print as it is.
    let batch = |number: &str, ids: &[&str]| {
        let messages: Vec<_> = ids.iter().map(|id| whatsapp_text(id, "1 cola")).collect();
        let value = json!({"metadata": {"phone_number_id": number}, "messages": messages});
        let entry = json!({"id": "1", "changes": [{"field": "messages", "value": value}]});
        Call::whatsapp(json!({"object": "whatsapp_business_account", "entry": [entry]}).to_string())
    };
    let odd = format!("7\n\u{1b}[31m{}", "9".repeat(5_000));
    for call in [
        batch("700000000000001", &["wamid.A", "wamid.B"]),
        batch(&odd, &["wamid.C"]),
    ] {
        assert_eq!(app.send(&call).await.status, 200);
    }
    let reader = reader(&service).await;
    let found = stats(&reader).await;
    check_sums(&found);
    assert_eq!(
        number(&found["traffic"]["unknown_retailers"]),
        6,
        "{found:#}"
    );
    let hours = found["series"].as_array().unwrap().iter();
    let by_hour: i64 = hours.map(|hour| number(&hour["unknown_retailers"])).sum();
    assert_eq!(by_hour, 6);
    let mut detail = String::new();
    until("it is told", async || {
        let found = stats(&reader).await;
        let alerts = found["alerts"].as_array().unwrap().iter();
        let mut firing =
            alerts.filter(|alert| alert["name"] == "unknown_retailer" && alert["firing"] == true);
        let alert = firing.next();
        detail = alert.map_or(String::new(), |alert| {
            alert["detail"].as_str().unwrap().to_owned()
        });
        !detail.is_empty()
    })
    .await;
    assert!(
        detail.contains("+14155550191") && detail.contains("700000000000001"),
        "{detail}"
    );
    assert!(
        detail.len() < 400 && !detail.contains(char::is_control),
        "{detail:?}"
    );
}
