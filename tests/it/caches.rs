//! The copies of answers in front of the database: in memory, and in a Redis that may do whatever it likes.

use hookonce::{config::Config, idempotency::cache::RedisUrl};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::time::sleep;

use crate::support::{
    api::{Client, order},
    app::{App, Instance},
    database::{Database, Engine, on_both},
    process::{self, Program},
    requests::{Call, Reply, mismatch, new_sid, refused, told},
    servers::RedisServer,
    shop::{Service, items, new_key},
    wait::until,
};

on_both!(
    a_repeat_is_answered_from_memory
    a_known_key_of_another_request_is_refused_as_ever
    the_keys_of_one_client_are_not_those_of_another
    an_answer_in_memory_ends_with_its_record
    after_a_clean_up_that_an_operator_asks_for_no_copy_is_believed
    what_failed_is_not_remembered
    an_answer_is_not_kept_under_a_key_that_stands_for_another_request
    the_memory_has_its_bound
    instances_share_answers_through_redis
    what_redis_cannot_tell_the_database_does_and_redis_learns_it
    databases_that_share_a_redis_know_nothing_of_each_other
    a_redis_that_stops_is_noticed_without_any_request
    without_redis_requests_go_on_and_it_is_used_again_when_it_is_back
    a_redis_that_never_answers_keeps_nobody_waiting
    a_redis_that_is_full_is_left_alone_until_it_is_not
);

const MEMORY: u64 = 1024 * 1024;

fn memory(config: &mut Config) {
    config.cache_bytes = MEMORY;
}

fn only(redis: &RedisServer) -> impl FnOnce(&mut Config) + use<> {
    let url: RedisUrl = redis.url().parse().expect("an address");
    |config| config.redis_url = Some(url)
}

fn an_order() -> Call {
    Call::twilio_text(&new_sid(), "2 pizza and 1 cola")
}

/// Takes away all by which the database would know what was sent.
fn forget_all(database: &Database) {
    database.execute(
        "DELETE FROM webhook_idempotency; DELETE FROM webhook_event;
         DELETE FROM ledger_entries; DELETE FROM order_items; DELETE FROM orders",
    );
}

async fn get(url: &str, path: &str) -> Reply {
    let response = process::client().get(format!("{url}{path}")).send().await;
    Reply::of(response.expect("an answer"))
        .await
        .expect("a body")
}

/// What Redis holds but for when it was put there; null where it is none of ours.
fn answer_in(value: &str) -> Value {
    let mut answer: Value = serde_json::from_str(value).unwrap_or_default();
    if let Some(members) = answer.as_object_mut() {
        members.remove("kept_at");
    }
    answer
}

/// How often a cache was looked into with a result.
async fn lookups(url: &str, cache: &str, result: &str) -> u64 {
    let name = format!("hookonce_cache_lookups_total{{cache=\"{cache}\",result=\"{result}\"}} ");
    let metrics = get(url, "/metrics").await.body;
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.map_or(0, |count| count.parse().expect("a number"))
}

async fn is_ready(url: &str, status: &str, redis: &str) -> bool {
    let ready = get(url, "/health/ready").await;
    assert_eq!(ready.status, 200, "{ready:?}");
    ready.json()["status"] == status && ready.json()["checks"]["redis"] == redis
}

async fn until_ready(url: &str, status: &str, redis: &str) {
    until("Redis is what it should be", async || {
        is_ready(url, status, redis).await
    })
    .await;
}

async fn a_repeat_is_answered_from_memory(engine: Engine) {
    let app = App::with(engine, memory).await;
    for call in [an_order(), an_order().key("a-key-of-its-own")] {
        let first = app.send(&call).await;
        assert_eq!(told(&first), (200, Some("false")));
        forget_all(&app.database);
        let again = app.send(&call).await;
        assert_eq!(told(&again), (200, Some("true")));
        assert_eq!(again.essence(), first.essence());
        assert_eq!(app.orders(), 0, "it was not the database that knew");
    }
    assert_eq!(lookups(&app.url, "memory", "hit").await, 2);
    assert_eq!(lookups(&app.url, "memory", "miss").await, 2);
}

async fn a_known_key_of_another_request_is_refused_as_ever(engine: Engine) {
    let app = App::with(engine, memory).await;
    let call = an_order().key("mine");
    let first = app.send(&call).await;
    let other = an_order().key("mine");
    for _ in 0..2 {
        assert_eq!(refused(&app.send(&other).await), mismatch());
    }
    let again = app.send(&call).await;
    assert_eq!(told(&again), (200, Some("true")));
    assert_eq!(again.essence(), first.essence());
    assert_eq!(app.orders(), 1);
}

async fn the_keys_of_one_client_are_not_those_of_another(engine: Engine) {
    let app = App::with(engine, memory).await;
    let clients = [Client::new(&app).await, Client::new(&app).await];
    let mut numbers = Vec::new();
    for _ in 0..2 {
        for client in &clients {
            let made = client.post("/api/v1/orders", "one", &order(1)).await;
            assert_eq!(made.status, 201, "{made:?}");
            numbers.push(made.json()["data"]["order_number"].clone());
        }
    }
    assert_ne!(numbers[0], numbers[1]);
    assert_eq!(numbers[..2], numbers[2..]);
    assert_eq!(app.orders(), 2);
}

async fn an_answer_in_memory_ends_with_its_record(engine: Engine) {
    let app = App::with(engine, |config| {
        memory(config);
        config.idempotency_ttl_orders = Duration::from_millis(500);
    })
    .await;
    let client = Client::new(&app).await;
    let wanted = order(1);
    let create = || client.post("/api/v1/orders", "brief", &wanted);
    assert_eq!(told(&create().await), (201, Some("false")));
    sleep(Duration::from_millis(600)).await;
    let anew = create().await;
    assert_eq!(told(&anew), (201, Some("false")));
    assert_eq!(app.orders(), 2);
}

async fn after_a_clean_up_that_an_operator_asks_for_no_copy_is_believed(engine: Engine) {
    let redis = RedisServer::start().await;
    let of_redis = only(&redis);
    let in_memory = Service::with(engine, memory).await;
    let in_redis = Service::with(engine, of_redis).await;
    until_ready(&in_redis.app.url, "ok", "ok").await;
    for service in [in_memory, in_redis] {
        let pos = service.pos().await;
        let (key, order) = (new_key(), items(&[("COLA", 1)]));
        let is_replayed = async || {
            let made = pos.post_keyed("/api/v1/orders", &key, &order).await;
            made.must(201).header("idempotent-replayed") == Some("true")
        };
        assert!(!is_replayed().await);
        if service.app.get("/health/ready").await.json()["checks"]["redis"] == "ok" {
            kept(&redis).await;
        }
        let forget = "DELETE FROM webhook_idempotency";
        service.database().execute(forget);
        assert!(is_replayed().await, "the database is not asked");
        let admin = service.client(None, "admin").await;
        let cleaning = admin.post("/api/v1/admin/cleanup", &Value::Null);
        cleaning.await.must(200);
        assert!(!is_replayed().await);
        // What is kept since is believed.
        until("it is kept", async || {
            service.database().execute(forget);
            is_replayed().await
        })
        .await;
    }
}

async fn an_answer_is_not_kept_under_a_key_that_stands_for_another_request(engine: Engine) {
    let app = App::with(engine, memory).await;
    // Somebody has used the id of a message that is still to come as the key of another.
    let message = Call::twilio_text(&new_sid(), "1 cola");
    let sid = form_value(&message, "MessageSid");
    assert_eq!(
        told(&app.send(&an_order().key(&sid)).await),
        (200, Some("false"))
    );
    // By the id alone it is a message like any other, the second time too.
    assert_eq!(told(&app.send(&message).await), (200, Some("false")));
    assert_eq!(told(&app.send(&message).await), (200, Some("true")));
    // The key still stands for the first.
    assert_eq!(app.send(&message.clone().key(&sid)).await.status, 409);
    assert_eq!(app.orders(), 2);
}

/// A parameter of a form.
fn form_value(call: &Call, name: &str) -> String {
    let mut pairs = url::form_urlencoded::parse(&call.body);
    let pair = pairs.find(|(known, _)| known == name);
    pair.expect("a parameter").1.into_owned()
}

async fn what_failed_is_not_remembered(engine: Engine) {
    let app = App::with(engine, memory).await;
    let call = an_order();
    app.database
        .break_writes("INSERT ON orders", "out of order");
    assert_eq!(app.send(&call).await.status, 500);
    app.database.mend("orders");
    assert_eq!(told(&app.send(&call).await), (200, Some("false")));
    assert_eq!(told(&app.send(&call).await), (200, Some("true")));
    assert_eq!(app.orders(), 1);
}

async fn the_memory_has_its_bound(engine: Engine) {
    const BOUND: u64 = 50_000;
    let app = App::with(engine, |config| config.cache_bytes = BOUND).await;
    let calls: Vec<_> = (0..200).map(|_| an_order()).collect();
    for call in &calls {
        assert_eq!(told(&app.send(call).await), (200, Some("false")));
    }
    let size = async || -> f64 {
        let metrics = get(&app.url, "/metrics").await.body;
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("hookonce_cache_size_bytes "));
        line.expect("the size").parse().expect("a number")
    };
    // It is tidied up now and then, with whatever comes.
    until("it is within its bound", async || {
        app.send(&calls[199]).await;
        let size = size().await;
        0.0 < size && size <= BOUND as f64
    })
    .await;
    let hits = lookups(&app.url, "memory", "hit").await;
    for call in &calls {
        assert_eq!(told(&app.send(call).await), (200, Some("true")));
    }
    assert!(lookups(&app.url, "memory", "hit").await < hits + 200);
    assert_eq!(app.orders(), 200);
}

/// Two instances with one Redis, and nothing in their memory.
async fn two(engine: Engine, redis: &RedisServer) -> (App, Instance) {
    let app = App::with(engine, only(redis)).await;
    let other = app.another(only(redis)).await;
    until_ready(&app.url, "ok", "ok").await;
    until_ready(&other.url, "ok", "ok").await;
    (app, other)
}

/// The one answer that Redis keeps, by its key.
async fn kept(redis: &RedisServer) -> String {
    let mut found = String::new();
    until("Redis has the answer", async || {
        let keys = redis.command(&["KEYS", "hookonce:*"]).unwrap_or_default();
        let key = keys.lines().find(|key| !key.ends_with(":probe"));
        found = key.unwrap_or_default().to_owned();
        !found.is_empty()
    })
    .await;
    found
}

async fn instances_share_answers_through_redis(engine: Engine) {
    let redis = RedisServer::start().await;
    let (app, other) = two(engine, &redis).await;
    let call = an_order();
    let first = app.send(&call).await;
    let key = kept(&redis).await;
    let ttl = redis.command(&["TTL", &key]).expect("a time");
    let ttl: u64 = ttl.parse().expect("seconds");
    assert!((86_000..=86_400).contains(&ttl), "{ttl} seconds of a day");
    forget_all(&app.database);
    let again = call.send(&app.client, &other.url).await.expect("an answer");
    assert_eq!(told(&again), (200, Some("true")));
    assert_eq!(again.essence(), first.essence());
    assert_eq!(app.orders(), 0, "it was not the database that knew");
    assert_eq!(lookups(&other.url, "redis", "hit").await, 1);
}

async fn what_redis_cannot_tell_the_database_does_and_redis_learns_it(engine: Engine) {
    let redis = RedisServer::start().await;
    let (app, other) = two(engine, &redis).await;
    let call = an_order();
    let first = app.send(&call).await;
    let key = kept(&redis).await;
    let good = redis.command(&["GET", &key]).expect("the answer");
    let newer = good.replace("\"version\":1", "\"version\":2");
    let of_another = good.replace("\"key\":\"SM", "\"key\":\"MS");
    let rubbish: [&[&str]; 7] = [
        &["FLUSHALL"],
        &["SET", &key, "rubbish"],
        &["SET", &key, ""],
        &["SET", &key, &good[..good.len() / 2]],
        &["SET", &key, &newer],
        &["SET", &key, &of_another],
        &[
            "EVAL",
            "redis.call('DEL', KEYS[1]); return redis.call('LPUSH', KEYS[1], 'a')",
            "1",
            &key,
        ],
    ];
    for command in rubbish {
        redis.command(command);
        let again = call.send(&app.client, &other.url).await.expect("an answer");
        assert_eq!(told(&again), (200, Some("true")), "{command:?}");
        assert_eq!(again.essence(), first.essence());
        until("Redis has the answer again", async || {
            let there = redis.command(&["GET", &key]);
            there.is_some_and(|there| answer_in(&there) == answer_in(&good))
        })
        .await;
    }
    assert_eq!(lookups(&other.url, "redis", "hit").await, 0);
    assert!(is_ready(&other.url, "ok", "ok").await);
    assert_eq!(app.orders(), 1);
}

async fn a_redis_that_stops_is_noticed_without_any_request(engine: Engine) {
    let mut redis = RedisServer::start().await;
    let app = App::with(engine, only(&redis)).await;
    until_ready(&app.url, "ok", "ok").await;
    redis.stop().await;
    until_ready(&app.url, "degraded", "failed").await;
    redis.start_again().await;
    until_ready(&app.url, "ok", "ok").await;
    redis.freeze();
    until_ready(&app.url, "degraded", "failed").await;
    redis.thaw();
    until_ready(&app.url, "ok", "ok").await;
}

async fn databases_that_share_a_redis_know_nothing_of_each_other(engine: Engine) {
    let redis = RedisServer::start().await;
    let apps = [
        App::with(engine, only(&redis)).await,
        App::with(engine, only(&redis)).await,
    ];
    let call = an_order();
    for app in &apps {
        until_ready(&app.url, "ok", "ok").await;
        assert_eq!(told(&app.send(&call).await), (200, Some("false")));
        kept(&redis).await;
        assert_eq!(app.orders(), 1);
    }
}

async fn without_redis_requests_go_on_and_it_is_used_again_when_it_is_back(engine: Engine) {
    let mut redis = RedisServer::start().await;
    let database = Database::new(engine);
    let program = Program::new(&database)
        .set("CACHE_BYTES", "0")
        .set("REDIS_URL", &redis.url().replace("//", "//:hunter2@"));
    redis.command(&["CONFIG", "SET", "requirepass", "hunter2"]);
    program.open_shop().await;
    let mut server = program.serve().await;
    let client = process::client();
    let call = an_order();
    let send = async || call.send(&client, &server.url).await.expect("an answer");
    until_ready(&server.url, "ok", "ok").await;
    assert_eq!(told(&send().await), (200, Some("false")));
    redis.stop().await;
    for _ in 0..20 {
        assert_eq!(told(&send().await), (200, Some("true")));
    }
    until_ready(&server.url, "degraded", "failed").await;
    redis.start_again().await;
    // What a command has set is gone with the process.
    redis.command(&["CONFIG", "SET", "requirepass", "hunter2"]);
    until_ready(&server.url, "ok", "ok").await;
    until("Redis answers", async || {
        assert_eq!(told(&send().await), (200, Some("true")));
        lookups(&server.url, "redis", "hit").await > 0
    })
    .await;
    server.logged("Redis works again").await;
    let log = server.log();
    for told_once in ["Redis does not work", "Redis works again"] {
        assert_eq!(log.matches(told_once).count(), 1, "{told_once}: {log}");
    }
    assert!(!log.contains("hunter2"), "{log}");
    let orders = database.count("SELECT count(*) AS n FROM orders");
    assert_eq!(orders, 1);
}

#[actix_web::test]
async fn a_service_starts_without_its_redis() {
    let mut redis = RedisServer::start().await;
    redis.stop().await;
    let database = Database::new(Engine::Sqlite);
    let program = Program::new(&database).set("REDIS_URL", &redis.url());
    program.open_shop().await;
    let mut server = program.serve().await;
    server.logged("Redis does not work").await;
    assert!(is_ready(&server.url, "degraded", "failed").await);
    let call = an_order();
    let first = call.send(&process::client(), &server.url).await;
    assert_eq!(told(&first.expect("an answer")), (200, Some("false")));
    redis.start_again().await;
    until_ready(&server.url, "ok", "ok").await;
}

async fn a_redis_that_never_answers_keeps_nobody_waiting(engine: Engine) {
    const MANY: usize = 30;
    let redis = RedisServer::start().await;
    let (app, _other) = two(engine, &redis).await;
    redis.freeze();
    let begun = Instant::now();
    for _ in 0..MANY {
        assert_eq!(told(&app.send(&an_order()).await), (200, Some("false")));
    }
    let took = begun.elapsed();
    until_ready(&app.url, "degraded", "failed").await;
    // Asked each time, it would have been waited for longer than that, however quick the rest is.
    assert!(lookups(&app.url, "redis", "failed").await <= 3);
    assert!(lookups(&app.url, "redis", "skipped").await >= MANY as u64 - 3);
    println!("{MANY} orders took {took:?}");
    redis.thaw();
    until_ready(&app.url, "ok", "ok").await;
    assert_eq!(app.orders(), MANY as i64);
}

async fn a_redis_that_is_full_is_left_alone_until_it_is_not(engine: Engine) {
    let redis = RedisServer::start_with(&["--maxmemory-policy", "noeviction"]).await;
    let (app, _other) = two(engine, &redis).await;
    // It has more than that already, so it takes nothing more.
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    for _ in 0..10 {
        let call = an_order();
        assert_eq!(told(&app.send(&call).await), (200, Some("false")));
        assert_eq!(told(&app.send(&call).await), (200, Some("true")));
    }
    until_ready(&app.url, "degraded", "failed").await;
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    until_ready(&app.url, "ok", "ok").await;
    assert_eq!(app.orders(), 10);
}

#[actix_web::test]
async fn an_address_that_is_none_is_refused_at_the_start() {
    let program = Program::bare().set("REDIS_URL", "http://:hunter2@cache.example");
    let finished = program.run(&["serve"]).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    let said = &finished.stderr;
    assert!(
        said.contains("REDIS_URL") && said.contains("rediss://"),
        "{said}"
    );
    assert!(!said.contains("hunter2"), "{said}");
}

#[actix_web::test]
async fn what_is_configured_says_whether_there_is_a_redis() {
    let redis = RedisServer::start().await;
    let with = App::with(Engine::Sqlite, only(&redis)).await;
    let without = App::new(Engine::Sqlite).await;
    for (app, is_there) in [(&with, true), (&without, false)] {
        let configured = app.get("/api/v1/whatsapp/test").await.json();
        assert_eq!(configured["redis"], json!(is_there));
    }
}
