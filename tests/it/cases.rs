//! How services like this one behave, case by case (`tests/vectors/idempotency_cases.json`), and that this one does
//! what is written there under `here`. A case is named after its id.

use actix_web::{HttpResponse, http::StatusCode};
use futures_util::future::join_all;
use hookonce::store::types::Timestamp;
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};

use crate::support::{
    api::{Client, booking, id, order, payment, refund},
    app::App,
    database::{Database, Engine, on_both},
    handlers::{Host, Work, call, charge, charges, example, send_and_vanish, sending, take_over},
    process::{self, Program, Server},
    records::{FUTURE, PAST, UNANSWERED, column, records, set, snapshot, statuses},
    requests::{
        self, Call, Reply, Then, mismatch, new_sid, new_wamid, problem, processing, refused, told,
        whatsapp_text,
    },
    wait::until,
};

/// Makes a test of each case for each engine, and the list of the cases.
macro_rules! cases {
    ($($case:ident)*) => {
        const CASES: &[&str] = &[$(stringify!($case)),*];
        on_both!($($case)*);
    };
}

cases! {
    case_first
    case_replay
    case_replay_bytes
    case_replay_headers
    case_missing_key
    case_bad_key
    case_two_key_headers
    case_quoted_and_raw
    case_mismatch_done
    case_mismatch_inflight
    case_mismatch_query
    case_mismatch_path_or_method
    case_mismatch_content_type
    case_json_respaced
    case_concurrent_same
    case_concurrent_first_two
    case_different_keys
    case_tenants
    case_cached_4xx
    case_not_cached_429
    case_5xx
    case_validation_before_claim
    case_panic
    case_client_gone
    case_crash_inflight
    case_crash_recover
    case_recover_race
    case_zombie
    case_zombie_side_effect
    case_expiry
    case_expiry_other_body
    case_lease_not_ttl
    case_store_down_claim
    case_store_down_complete
    case_two_instances
    case_restart
    case_big_response
    case_safe_methods
    case_partial_progress
    case_completer
    case_batch_overlap
    case_status_progress
    case_unsigned_id_changed
    case_unsigned_id_reused
    case_bad_signature_first
}

#[test]
fn every_case_has_its_test() {
    let vectors: Value =
        serde_json::from_str(include_str!("../vectors/idempotency_cases.json")).expect("JSON");
    let cases = vectors["cases"].as_array().expect("cases");
    let written: BTreeSet<_> = cases.iter().map(|case| case["id"].as_str()).collect();
    let tested: BTreeSet<_> = CASES
        .iter()
        .map(|case| case.strip_prefix("case_"))
        .collect();
    assert_eq!(tested, written);
    assert_eq!(CASES.len(), cases.len(), "each once");
}

const ORDERS: &str = "/api/v1/orders";
const PAYMENTS: &str = "/api/v1/payments";
const REFUNDS: &str = "/api/v1/refunds";
const BOOKINGS: &str = "/api/v1/bookings";
const MADE: (u16, Option<&str>) = (201, Some("false"));
const MADE_BEFORE: (u16, Option<&str>) = (201, Some("true"));
/// The largest body that is read by default.
const MOST_BYTES: usize = 3 * 1024 * 1024;

async fn service(engine: Engine) -> (App, Client) {
    let app = App::new(engine).await;
    let client = Client::new(&app).await;
    (app, client)
}

/// Orders, ledger entries and records.
fn rows(app: &App) -> (i64, i64, i64) {
    (app.orders(), app.ledger_entries(), app.records())
}

fn count(database: &Database, rows: &str) -> i64 {
    database.count(&format!("SELECT count(*) AS n FROM {rows}"))
}

#[track_caller]
fn assert_replays(reply: &Reply, first: &Reply) {
    assert_eq!(reply.replayed.as_deref(), Some("true"), "{reply:?}");
    assert_eq!(reply.essence(), first.essence());
    assert_eq!(reply.location, first.location);
}

/// That exactly one of them was the first, and that all others repeat it or were told to wait. Gives the first.
#[track_caller]
fn assert_ran_once(replies: &[Reply]) -> &Reply {
    let firsts: Vec<_> = replies.iter().filter(|it| told(it) == MADE).collect();
    assert_eq!(firsts.len(), 1, "{replies:?}");
    for reply in replies.iter().filter(|it| told(it) != MADE) {
        if reply.status == 201 {
            assert_replays(reply, firsts[0]);
        } else {
            assert_eq!(refused(reply), processing());
            assert!(reply.retry_after.is_some());
        }
    }
    firsts[0]
}

/// Takes the answer back, and leaves the key as a process does that died at work.
fn abandon(app: &App, lease_ends: &str) {
    set(
        &app.database,
        &format!("{UNANSWERED}, order_id = NULL, lease_expires_at = {lease_ends}"),
    );
    for table in ["ledger_entries", "order_items", "orders"] {
        app.database.execute(&format!("DELETE FROM {table}"));
    }
}

async fn case_first(engine: Engine) {
    let (app, client) = service(engine).await;
    let first = client.post(ORDERS, "K", &order(2)).await;
    assert_eq!(told(&first), MADE, "{first:?}");
    assert_eq!(first.content_type.as_deref(), Some("application/json"));
    let answer = first.json();
    assert_eq!(answer["success"], true);
    assert_eq!(answer["data"]["total"]["amount"], "3.50", "{answer}");
    let location = first.location.clone().expect("a location");
    assert_eq!(location, format!("{ORDERS}/{}", id(&first)));
    assert_eq!(client.get(&location).await.json()["data"], answer["data"]);
    assert_eq!(rows(&app), (1, 1, 1));
    assert_eq!(statuses(&app.database), ["completed"]);
}

async fn case_replay(engine: Engine) {
    let (app, client) = service(engine).await;
    let ordered = client.post(ORDERS, "order", &order(4)).await;
    let paying = payment(&id(&ordered), "5.00");
    let paid = client.post(PAYMENTS, "payment", &paying).await;
    let refunding = refund(&id(&paid), "2.00");
    let refunded = client.post(REFUNDS, "refund", &refunding).await;
    let booked = client.post(BOOKINGS, "booking", &booking("Zoë")).await;
    let made = [
        (ORDERS, "order", order(4), ordered),
        (PAYMENTS, "payment", paying, paid),
        (REFUNDS, "refund", refunding, refunded),
        (BOOKINGS, "booking", booking("Zoë"), booked),
    ];
    let tables = [
        "orders",
        "payments",
        "refunds",
        "bookings",
        "ledger_entries",
        "webhook_idempotency",
    ];
    let rows = || tables.map(|table| count(&app.database, table));
    let before = rows();
    assert_eq!(before, [1, 1, 1, 1, 3, 4]);
    for (path, key, body, first) in made {
        assert_eq!(told(&first), MADE, "{path}: {first:?}");
        for _ in 0..2 {
            let again = client.post(path, key, &body).await;
            assert_eq!(told(&again), MADE_BEFORE, "{path}");
            assert_replays(&again, &first);
        }
    }
    assert_eq!(rows(), before);
}

async fn case_replay_bytes(engine: Engine) {
    const BODIES: [(&str, u16, &[u8]); 5] = [
        (
            "application/json",
            200,
            "{ \"b\" : 1.00, \"a\":\"é🍕\" }".as_bytes(),
        ),
        ("application/octet-stream", 200, b"\x89PNG\xff\0\r\n"),
        ("text/plain", 200, b""),
        ("", 204, b""),
        ("", 304, b""),
    ];
    let (app, client) = service(engine).await;
    let first = client.post(ORDERS, "K", &order(1)).await;
    assert!(first.body.contains("Zoë 🍕"), "{first:?}");
    assert_replays(&client.post(ORDERS, "K", &order(1)).await, &first);
    let status = Call::twilio(&[("MessageSid", &new_sid()), ("MessageStatus", "sent")]);
    for replayed in ["false", "true"] {
        let reply = status.send_raw(&app.url).await;
        assert_eq!(told(&reply), (204, Some(replayed)));
        assert_eq!((reply.content_type, &*reply.body), (None, ""));
    }

    let database = Database::new(engine);
    let work = Work::new(|run, _| {
        let (content_type, status, body) = BODIES[run - 1];
        let mut response = HttpResponse::build(StatusCode::from_u16(status).expect("a status"));
        Ok(match content_type {
            "" => response.finish(),
            known => response.insert_header(("Content-Type", known)).body(body),
        })
    });
    let host = Host::new(&database, &work, |it| it).await;
    for (place, (content_type, status, body)) in BODIES.into_iter().enumerate() {
        let call = call(&format!("K{place}"));
        for replayed in ["false", "true"] {
            if content_type.is_empty() {
                let answer = requests::raw(&host.url, call.to_bytes(), Then::Listen).await;
                let reply = Reply::parse(&answer);
                assert_eq!(told(&reply), (status, Some(replayed)), "{answer}");
                assert_eq!((reply.content_type, &*reply.body), (None, ""));
                let head = answer.to_ascii_lowercase();
                let length = head.split("content-length: ").nth(1);
                assert!(
                    length.is_none_or(|rest| rest.starts_with("0\r\n")),
                    "{head}"
                );
                continue;
            }
            let response = host.raw(&call).await;
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(response.headers()["Idempotent-Replayed"], replayed);
            assert_eq!(response.headers()["Content-Type"], content_type);
            assert_eq!(response.bytes().await.unwrap(), body);
        }
    }
    assert_eq!(work.runs(), BODIES.len());
}

async fn case_replay_headers(engine: Engine) {
    const OF_ONE_ANSWER: [(&str, &str); 5] = [
        ("Set-Cookie", "session=1"),
        ("Date", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("Keep-Alive", "timeout=5"),
        ("WWW-Authenticate", "Bearer"),
        ("Proxy-Authenticate", "Basic"),
    ];
    let (app, client) = service(engine).await;
    let first = client.post(ORDERS, "K", &order(1)).await;
    assert!(first.location.is_some());
    assert_replays(&client.post(ORDERS, "K", &order(1)).await, &first);
    let stored = column(&app.database, "response_headers").remove(0);
    let stored: Value = serde_json::from_str(&stored.expect("headers")).expect("JSON");
    assert_eq!(stored, json!({"Location": first.location}));

    let database = Database::new(engine);
    let work = Work::new(|_, _| {
        let mut response = HttpResponse::Created();
        response.insert_header(("Content-Type", "text/plain; charset=utf-8"));
        response.insert_header(("Location", "/things/1"));
        for header in OF_ONE_ANSWER {
            response.insert_header(header);
        }
        Ok(response.force_close().body("done"))
    });
    let host = Host::new(&database, &work, |it| it).await;
    let (first, replay) = (host.raw(&call("K")).await, host.raw(&call("K")).await);
    for name in ["Content-Type", "Location"] {
        assert_eq!(replay.headers()[name], first.headers()[name], "{name}");
    }
    assert_eq!(first.headers()["Connection"], "close");
    assert_eq!(replay.headers().get("Connection"), None);
    for (name, value) in OF_ONE_ANSWER {
        assert_eq!(first.headers()[name], value, "{name}");
        let replayed = replay.headers().get(name);
        assert_ne!(
            replayed.map(|it| it.as_bytes()),
            Some(value.as_bytes()),
            "{name}"
        );
        assert!(replayed.is_none() || name == "Date", "{name}");
    }
    assert_eq!(
        column(&database, "response_headers"),
        [Some(r#"{"location":"/things/1"}"#.into())]
    );
    assert_eq!(work.runs(), 1);
}

async fn case_missing_key(engine: Engine) {
    let (app, client) = service(engine).await;
    for (path, body) in [
        (ORDERS, order(1)),
        (PAYMENTS, payment(&uuid::Uuid::new_v4().to_string(), "1.00")),
        (REFUNDS, refund(&uuid::Uuid::new_v4().to_string(), "1.00")),
        (BOOKINGS, booking("Ana")),
    ] {
        let reply = client.send(&client.call(path, &body)).await;
        assert_eq!(
            refused(&reply),
            problem(400, "IDEMPOTENCY_KEY_REQUIRED"),
            "{path}"
        );
        assert_eq!(reply.replayed, None);
    }
    assert_eq!(
        (rows(&app), count(&app.database, "bookings")),
        ((0, 0, 0), 0)
    );

    let sid = new_sid();
    let first = app.send(&Call::twilio_text(&sid, "2 cola")).await;
    assert_eq!(told(&first), (200, Some("false")));
    assert_replays(&app.send(&Call::twilio_text(&sid, "2 cola")).await, &first);
    assert_eq!(column(&app.database, "idempotency_key"), [Some(sid)]);
    assert_eq!(rows(&app), (1, 1, 1));
}

async fn case_bad_key(engine: Engine) {
    let (app, client) = service(engine).await;
    let ordering = client.call(ORDERS, &order(1));
    let text = Call::twilio_text(&new_sid(), "2 cola");
    let long = "k".repeat(129);
    let invalid = problem(400, "IDEMPOTENCY_KEY_INVALID");
    for key in [
        "", " ", "\"\"", "\"", "a b", "a\tb", "a/b", "a,b", "ключ", "é", &long,
    ] {
        for call in [&ordering, &text] {
            let reply = client.send(&call.clone().key(key)).await;
            assert_eq!(refused(&reply), invalid, "{key:?}");
            assert_eq!(reply.replayed, None);
        }
    }
    // HTTP itself has no such headers.
    for key in ["a\u{1}b", "a\u{7f}b", "a\0b"] {
        for call in [&ordering, &text] {
            let reply = call.clone().key(key).send_raw(&app.url).await;
            assert_eq!(reply.status, 400, "{key:?}: {reply:?}");
        }
    }
    assert_eq!((rows(&app), app.events()), ((0, 0, 0), 0));
    let longest = client.post(ORDERS, &"k".repeat(128), &order(1)).await;
    assert_eq!(told(&longest), MADE);
}

async fn case_two_key_headers(engine: Engine) {
    let (app, client) = service(engine).await;
    let ordering = client.call(ORDERS, &order(1));
    let text = Call::twilio_text(&new_sid(), "2 cola");
    for call in [&ordering, &text] {
        for differing in [
            call.clone().key("a").key("b"),
            call.clone().key("a").key("a").key("b"),
            call.clone().key("a").header("Idempotency-Key", "b"),
            call.clone().key("a").header("Idempotency-Key", ""),
        ] {
            let reply = client.send(&differing).await;
            assert_eq!(refused(&reply), problem(400, "IDEMPOTENCY_KEY_INVALID"));
        }
    }
    assert_eq!((rows(&app), app.events()), ((0, 0, 0), 0));
    let same = ordering
        .key("a")
        .key("\"a\"")
        .header("Idempotency-Key", "a");
    assert_eq!(told(&client.send(&same).await), MADE);
    assert_eq!(rows(&app), (1, 1, 1));
}

async fn case_quoted_and_raw(engine: Engine) {
    let (app, client) = service(engine).await;
    let ordering = client.call(ORDERS, &order(1));
    let first = client.send(&ordering.clone().key("K")).await;
    for (name, value) in [
        ("X-Idempotency-Key", "\"K\""),
        ("Idempotency-Key", "\"K\""),
        ("Idempotency-Key", "K"),
    ] {
        let again = client.send(&ordering.clone().header(name, value)).await;
        assert_eq!(told(&again), MADE_BEFORE, "{name}: {value}");
        assert_replays(&again, &first);
    }
    assert_eq!(rows(&app), (1, 1, 1));
}

async fn case_mismatch_done(engine: Engine) {
    let (app, client) = service(engine).await;
    let first = client.post(ORDERS, "K", &order(1)).await;
    let before = snapshot(&app.database);
    let other = client.post(ORDERS, "K", &order(2)).await;
    assert_eq!((refused(&other), other.replayed), (mismatch(), None));
    assert_eq!(snapshot(&app.database), before);
    assert_replays(&client.post(ORDERS, "K", &order(1)).await, &first);
    assert_eq!(rows(&app), (1, 1, 1));
}

async fn case_mismatch_inflight(engine: Engine) {
    let (app, client) = service(engine).await;
    client.post(ORDERS, "K", &order(1)).await;
    abandon(&app, FUTURE);
    let before = snapshot(&app.database);
    let other = client.post(ORDERS, "K", &order(2)).await;
    assert_eq!(refused(&other), mismatch());
    assert_eq!(snapshot(&app.database), before);
    assert_eq!(app.orders(), 0);

    let database = Database::new(engine);
    let work = Work::behind_a_gate();
    let host = Host::new(&database, &work, |it| it).await;
    let first = host.sending(&call("K"));
    work.has_run(1).await;
    let other = Call {
        body: b"{}".to_vec(),
        ..call("K")
    };
    assert_eq!(refused(&host.send(&other).await), mismatch());
    work.open();
    assert_eq!(told(&first.await.unwrap()), MADE);
    assert_eq!((work.runs(), records(&database)), (1, 1));
}

async fn case_mismatch_query(engine: Engine) {
    let (app, client) = service(engine).await;
    let at = |path| client.call(path, &order(1)).key("K");
    let first = client.send(&at("/api/v1/orders?x=1")).await;
    assert_eq!(told(&first), MADE);
    for path in [
        "/api/v1/orders?x=2",
        "/api/v1/orders",
        "/api/v1/orders?x=1&x=1",
    ] {
        assert_eq!(refused(&client.send(&at(path)).await), mismatch(), "{path}");
    }
    assert_replays(&client.send(&at("/api/v1/orders?x=1")).await, &first);
    assert_eq!(rows(&app), (1, 1, 1));
}

async fn case_mismatch_path_or_method(engine: Engine) {
    let (app, client) = service(engine).await;
    let first = client.post(ORDERS, "K", &order(1)).await;
    let body = order(1);
    let shop = first.json()["data"]["retailer_id"].clone();
    let products = format!(
        "/api/v1/retailers/{}/products",
        shop.as_str().expect("a shop")
    );
    for path in [PAYMENTS, REFUNDS, BOOKINGS, &products] {
        assert_eq!(
            refused(&client.post(path, "K", &body).await),
            mismatch(),
            "{path}"
        );
    }
    let location = first.location.clone().expect("a location");
    let confirming = json!({"status": "confirmed"});
    let patched = client.patch(&location, "K", &confirming).await;
    assert_eq!(refused(&patched), mismatch());
    let stands = client.get(&location).await.json();
    assert_eq!(stands["data"]["status"], "pending");
    assert_replays(&client.post(ORDERS, "K", &body).await, &first);
    // Nor the other way round.
    let patched = client.patch(&location, "P", &confirming).await;
    assert_eq!(told(&patched), (200, Some("false")));
    assert_eq!(refused(&client.post(ORDERS, "P", &body).await), mismatch());
    assert_eq!(
        (rows(&app), count(&app.database, "bookings")),
        ((1, 1, 2), 0)
    );
}

async fn case_mismatch_content_type(engine: Engine) {
    let (app, client) = service(engine).await;
    let ordering = client.call(ORDERS, &order(1)).key("K");
    let typed = |content_type| ordering.clone().instead("Content-Type", content_type);
    let first = client.send(&ordering).await;
    for content_type in [
        "text/plain",
        "application/cloudevents+json",
        "application/octet-stream",
    ] {
        let reply = client.send(&typed(content_type)).await;
        assert_eq!(refused(&reply), mismatch(), "{content_type}");
    }
    let none = client.send(&ordering.clone().without("Content-Type")).await;
    assert_eq!(refused(&none), mismatch());
    for content_type in ["application/json; charset=utf-8", "Application/JSON"] {
        assert_replays(&client.send(&typed(content_type)).await, &first);
    }
    assert_eq!(rows(&app), (1, 1, 1));
}

async fn case_json_respaced(engine: Engine) {
    let (app, client) = service(engine).await;
    let first = client.post(ORDERS, "K", &order(2)).await;
    let spaced = serde_json::to_string_pretty(&order(2)).unwrap();
    let reordered = r#"{"items":[{"quantity":2,"sku":"COLA"}],
        "customer":{"phone":"+14155550100","name":"Zo\u00eb 🍕"}}"#;
    for body in [&*spaced, reordered] {
        let respaced = Call {
            body: body.into(),
            ..client.call(ORDERS, &Value::Null)
        };
        assert_replays(&client.send(&respaced.key("K")).await, &first);
    }
    assert_eq!(rows(&app), (1, 1, 1));
}

async fn case_concurrent_same(engine: Engine) {
    let (app, client) = service(engine).await;
    // Claim, work and answer are one transaction: whoever comes meanwhile waits for it in the database.
    let same = order(1);
    let all = (0..20).map(|_| client.post(ORDERS, "K", &same));
    let replies = join_all(all).await;
    let first = assert_ran_once(&replies);
    assert_replays(&client.post(ORDERS, "K", &same).await, first);
    assert_eq!(rows(&app), (1, 1, 1));
    // What was begun elsewhere and has not ended is told at once.
    abandon(&app, FUTURE);
    let reply = client.post(ORDERS, "K", &same).await;
    assert_eq!(refused(&reply), processing());
    let seconds: u64 = reply.retry_after.expect("Retry-After").parse().unwrap();
    assert!(seconds >= 1);

    let text = Call::twilio_text(&new_sid(), "1 cola");
    let replies = join_all((0..20).map(|_| app.send(&text))).await;
    let new = replies.iter().filter(|it| told(it) == (200, Some("false")));
    assert_eq!(new.count(), 1, "{replies:?}");
    for reply in &replies {
        assert_eq!(reply.essence(), replies[0].essence());
    }
    assert_eq!(rows(&app), (1, 1, 2));

    // A handler behind the middleware runs between two transactions.
    let database = Database::new(engine);
    let work = Work::behind_a_gate();
    let host = Host::new(&database, &work, |it| it).await;
    let all: Vec<_> = (0..20).map(|_| host.sending(&call("K"))).collect();
    until("all but one are answered", async || {
        all.iter().filter(|one| one.is_finished()).count() == 19
    })
    .await;
    work.open();
    let replies: Vec<_> = join_all(all)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let first = assert_ran_once(&replies);
    let waiting = replies.iter().filter(|it| it.status == 409);
    assert_eq!(waiting.count(), 19);
    assert_replays(&host.send(&call("K")).await, first);
    assert_eq!((work.runs(), records(&database)), (1, 1));
}

async fn case_concurrent_first_two(engine: Engine) {
    let (app, client) = service(engine).await;
    for round in 1..=20 {
        let (key, body) = (format!("K{round}"), order(1));
        let (one, other) = tokio::join!(
            client.post(ORDERS, &key, &body),
            client.post(ORDERS, &key, &body)
        );
        assert_ran_once(&[one, other]);
        assert_eq!(rows(&app), (round, round, round));
    }

    let database = Database::new(engine);
    let work = Work::counting();
    let host = Host::new(&database, &work, |it| it).await;
    for round in 1..=20 {
        let call = call(&format!("K{round}"));
        let (one, other) = tokio::join!(host.send(&call), host.send(&call));
        assert_ran_once(&[one, other]);
        assert_eq!(work.runs(), round);
    }
}

async fn case_different_keys(engine: Engine) {
    let (app, client) = service(engine).await;
    let same = order(1);
    let keys: Vec<_> = (0..20).map(|place| format!("K{place}")).collect();
    let replies = join_all(keys.iter().map(|key| client.post(ORDERS, key, &same))).await;
    let made: BTreeSet<_> = replies.iter().map(id).collect();
    assert_eq!(made.len(), 20);
    assert!(replies.iter().all(|it| told(it) == MADE), "{replies:?}");
    assert_eq!(rows(&app), (20, 20, 20));

    // None of these can end before all have begun.
    let database = Database::new(engine);
    let work = Work::behind_a_gate();
    let host = Host::new(&database, &work, |it| it).await;
    let all: Vec<_> = keys.iter().map(|key| host.sending(&call(key))).collect();
    work.has_run(20).await;
    work.open();
    for reply in join_all(all).await {
        assert_eq!(told(&reply.unwrap()), MADE);
    }
}

async fn case_tenants(engine: Engine) {
    let (app, one) = service(engine).await;
    let [two, three] = [Client::new(&app).await, Client::new(&app).await];
    let first = one.post(ORDERS, "K", &order(1)).await;
    let second = two.post(ORDERS, "K", &order(1)).await;
    let third = three.post(ORDERS, "K", &order(3)).await;
    for reply in [&first, &second, &third] {
        assert_eq!(told(reply), MADE, "{reply:?}");
    }
    let made = BTreeSet::from([id(&first), id(&second), id(&third)]);
    assert_eq!(made.len(), 3);
    assert_replays(&one.post(ORDERS, "K", &order(1)).await, &first);
    assert_replays(&two.post(ORDERS, "K", &order(1)).await, &second);
    assert_eq!(rows(&app), (3, 3, 3));
    let scopes: BTreeSet<_> = column(&app.database, "scope").into_iter().collect();
    assert_eq!(scopes.len(), 3);
    // Nor can one ask after another's key.
    let [stranger, owner] = [Client::new(&app).await, one];
    let status = "/api/v1/orders/status/K";
    assert!(owner.get(status).await.body.contains(&id(&first)));
    assert!(!stranger.get(status).await.body.contains(&id(&first)));
}

async fn case_cached_4xx(engine: Engine) {
    let (app, client) = service(engine).await;
    let unknown_product = json!({
        "customer": {"name": "Ana"}, "items": [{"sku": "SODA", "quantity": 1}],
    });
    let unknown_order = payment(&uuid::Uuid::new_v4().to_string(), "1.00");
    let none = json!({"customer": {"name": "Ana"}, "items": []});
    let refusals = [
        (ORDERS, unknown_product, problem(400, "VALIDATION_FAILED")),
        (ORDERS, none, problem(400, "VALIDATION_FAILED")),
        (PAYMENTS, unknown_order, problem(404, "NOT_FOUND")),
    ];
    let mut firsts = Vec::new();
    for (place, (path, body, expected)) in refusals.iter().enumerate() {
        let first = client.post(path, &format!("K{place}"), body).await;
        assert_eq!(&refused(&first), expected, "{first:?}");
        assert_eq!(first.replayed.as_deref(), Some("false"));
        firsts.push(first);
    }
    // What was missing is there now; the answer stands.
    app.database
        .execute("UPDATE products SET sku = 'SODA' WHERE sku = 'TEA'");
    for (place, (path, body, _)) in refusals.iter().enumerate() {
        let again = client.post(path, &format!("K{place}"), body).await;
        assert_replays(&again, &firsts[place]);
    }
    assert_eq!(rows(&app), (0, 0, 3));
    assert_eq!(statuses(&app.database), ["completed"; 3]);

    let database = Database::new(engine);
    let work = Work::new(|run, _| match run {
        1 => Ok(HttpResponse::UnprocessableEntity().body("no")),
        _ => Ok(HttpResponse::NotFound().finish()),
    });
    let host = Host::new(&database, &work, |it| it).await;
    for (key, status) in [("a", 422), ("b", 404)] {
        let first = host.send(&call(key)).await;
        assert_eq!(told(&first), (status, Some("false")));
        assert_replays(&host.send(&call(key)).await, &first);
    }
    assert_eq!(work.runs(), 2);
}

async fn case_not_cached_429(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::new(|run, body| {
        let asked: u16 = String::from_utf8_lossy(&body).parse().expect("a status");
        // Every second run does it.
        Ok(match run % 2 {
            1 => HttpResponse::build(StatusCode::from_u16(asked).unwrap()).body("not now"),
            _ => HttpResponse::Created().json(run),
        })
    });
    let host = Host::new(&database, &work, |it| it).await;
    for (place, status) in [429, 401, 403, 408, 425].into_iter().enumerate() {
        let call = Call {
            body: status.to_string().into(),
            ..call(&format!("K{status}"))
        };
        let reply = host.send(&call).await;
        assert_eq!(
            (told(&reply), &*reply.body),
            ((status, Some("false")), "not now")
        );
        assert_eq!(statuses(&database)[place], "failed");
        let first = host.send(&call).await;
        assert_eq!(told(&first), MADE);
        assert_eq!(statuses(&database)[place], "completed");
        assert_replays(&host.send(&call).await, &first);
        assert_eq!(work.runs(), 2 * (place + 1));
    }
}

async fn case_5xx(engine: Engine) {
    let (app, client) = service(engine).await;
    app.database
        .break_writes("INSERT ON ledger_entries", "inner detail");
    for _ in 0..2 {
        let reply = client.post(ORDERS, "K", &order(1)).await;
        assert_eq!(refused(&reply), problem(500, "INTERNAL"));
        assert!(!reply.body.contains("inner detail"), "{reply:?}");
        assert_eq!((app.orders(), app.ledger_entries()), (0, 0));
        assert_eq!(statuses(&app.database), ["failed"]);
    }
    app.database.mend("ledger_entries");
    let first = client.post(ORDERS, "K", &order(1)).await;
    assert_eq!(told(&first), MADE);
    assert_replays(&client.post(ORDERS, "K", &order(1)).await, &first);
    assert_eq!(rows(&app), (1, 1, 1));

    let database = Database::new(engine);
    let work = Work::new(|run, _| {
        Ok(match run {
            1 => HttpResponse::InternalServerError().body("broken"),
            2 => HttpResponse::ServiceUnavailable().finish(),
            run => HttpResponse::Created().json(run),
        })
    });
    let host = Host::new(&database, &work, |it| it).await;
    for status in [500, 503, 201] {
        let reply = host.send(&call("K")).await;
        assert_eq!(told(&reply), (status, Some("false")));
    }
    assert_eq!(told(&host.send(&call("K")).await), MADE_BEFORE);
    assert_eq!(work.runs(), 3);
}

async fn case_validation_before_claim(engine: Engine) {
    let (app, client) = service(engine).await;
    let reader = Client::with_scopes(&app, "orders:read").await;
    let good = client.call(ORDERS, &order(1)).key("K");
    let with_body = |body: Vec<u8>| Call {
        body,
        ..good.clone()
    };
    let refusals = [
        (good.clone().without("Authorization"), 401, "TOKEN_MISSING"),
        (
            good.clone().instead("Authorization", "Bearer hk_no"),
            401,
            "TOKEN_INVALID",
        ),
        (
            reader.call(ORDERS, &order(1)).key("K"),
            403,
            "SCOPE_MISSING",
        ),
        (with_body(vec![b' '; MOST_BYTES + 1]), 413, "BODY_TOO_LARGE"),
        (with_body(b"{".to_vec()), 400, "BODY_MALFORMED"),
        (
            good.clone().instead("Content-Type", "text/plain"),
            415,
            "CONTENT_TYPE_UNSUPPORTED",
        ),
    ];
    for (call, status, code) in &refusals {
        let reply = client.send(call).await;
        assert_eq!(refused(&reply), problem(*status, code));
        assert_eq!(rows(&app), (0, 0, 0), "{code}");
    }
    let first = client.send(&good).await;
    assert_eq!(told(&first), MADE);
    assert_eq!(rows(&app), (1, 1, 1));

    // The same where the key is claimed in the middleware.
    let location = first.location.expect("a location");
    for body in ["{", "", "\"status\": \"confirmed\""] {
        let body = body.as_bytes().to_vec();
        let malformed = client.request("PATCH", &location, "P", Some(body)).await;
        assert_eq!(refused(&malformed), problem(400, "BODY_MALFORMED"));
    }
    let refused_to = reader
        .patch(&location, "P", &json!({"status": "confirmed"}))
        .await;
    assert_eq!(refused(&refused_to), problem(403, "SCOPE_MISSING"));
    let untyped = client.request("PATCH", &location, "P", None).await;
    assert_eq!(refused(&untyped), problem(415, "CONTENT_TYPE_UNSUPPORTED"));
    let patched = client
        .patch(&location, "P", &json!({"status": "confirmed"}))
        .await;
    assert_eq!(told(&patched), (200, Some("false")), "{patched:?}");

    let text = Call::twilio_text(&new_sid(), "2 cola").key("T");
    let forged = text.clone().instead("X-Twilio-Signature", "Zm9yZ2Vk");
    assert_eq!(
        refused(&app.send(&forged).await),
        problem(401, "SIGNATURE_INVALID")
    );
    assert_eq!(told(&app.send(&text).await), (200, Some("false")));
    assert_eq!(app.orders(), 2);
}

async fn case_panic(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::new(|run, _| match run {
        1 => panic!("the first run of this test breaks, and must"),
        run => Ok(HttpResponse::Created().json(run)),
    });
    let host = Host::new(&database, &work, |it| it).await;
    let reply = host.send(&call("K")).await;
    assert_eq!(refused(&reply), problem(500, "INTERNAL"));
    assert_eq!(statuses(&database), ["failed"]);
    let first = host.send(&call("K")).await;
    assert_eq!((told(&first), &*first.body), (MADE, "2"));
    assert_replays(&host.send(&call("K")).await, &first);
    assert_eq!((work.runs(), records(&database)), (2, 1));
}

async fn case_client_gone(engine: Engine) {
    let (app, client) = service(engine).await;
    let ordering = client.call(ORDERS, &order(1)).key("K");
    let lock = app.database.lock();
    // Its client gives up while it waits for the lock, if it has come so far.
    let impatient = client.try_send(&ordering);
    let gone = tokio::time::timeout(Duration::from_millis(500), impatient).await;
    assert!(gone.is_err(), "{gone:?}");
    lock.release();
    let reply = client.send(&ordering).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_replays(&client.send(&ordering).await, &reply);
    assert_eq!(rows(&app), (1, 1, 1));

    let database = Database::new(engine);
    let work = Work::behind_a_gate();
    let host = Host::new(&database, &work, |it| it).await;
    send_and_vanish(&host, &call("K"), &work, async || work.has_run(1).await).await;
    assert_eq!(refused(&host.send(&call("K")).await), processing());
    work.open();
    until("it is stored", async || {
        statuses(&database) == ["completed"]
    })
    .await;
    let replay = host.send(&call("K")).await;
    assert_eq!((told(&replay), &*replay.body), (MADE_BEFORE, "1"));
    assert_eq!(work.runs(), 1);
}

/// The program with its shop, a process of it, and a client.
async fn own_process(database: &Database) -> (Program, Server, Client) {
    let program = Program::new(database);
    let shop = program.open_shop().await;
    let server = program.serve().await;
    let client = Client::of(&program, &shop, &server.url).await;
    (program, server, client)
}

/// The example, the first of its two processes killed while it charged; the charge.
async fn killed_example(database: &Database) -> (Program, Server) {
    let (program, [mut first, second]) = example(database).await;
    let lost = sending(&first, &charge("K"));
    until("it is claimed", async || {
        statuses(database) == ["in_progress"]
    })
    .await;
    first.kill();
    assert!(lost.await.unwrap().is_err());
    assert_eq!(charges(&program), [""; 0]);
    (program, second)
}

async fn case_crash_inflight(engine: Engine) {
    let database = Database::new(engine);
    let (_program, second) = killed_example(&database).await;
    let reply = charge("K").send(&process::client(), &second.url).await;
    let reply = reply.unwrap();
    assert_eq!(refused(&reply), processing());
    let seconds: u64 = reply.retry_after.expect("Retry-After").parse().unwrap();
    assert!((1..=2).contains(&seconds), "{seconds}");

    let database = Database::new(engine);
    let (program, mut server, client) = own_process(&database).await;
    let ordering = client.call(ORDERS, &order(1)).key("K");
    let lock = database.lock();
    let lost = {
        let (client, ordering) = (client.clone(), ordering.clone());
        actix_web::rt::spawn(async move { client.try_send(&ordering).await })
    };
    waits_for_the_lock(&database, engine).await;
    server.kill();
    assert!(lost.await.unwrap().is_err());
    lock.release();
    assert_eq!(records(&database), 0);
    let server = program.serve().await;
    let reply = client.at(&server.url).send(&ordering).await;
    assert_eq!(told(&reply), MADE, "{reply:?}");
    assert_eq!((count(&database, "orders"), records(&database)), (1, 1));
}

/// Waits until the transaction of a request is under way and can go no further.
async fn waits_for_the_lock(database: &Database, engine: Engine) {
    match engine {
        // Who waits for the file cannot be seen from outside.
        Engine::Sqlite => tokio::time::sleep(Duration::from_millis(500)).await,
        Engine::Postgres => {
            let waiting =
                "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
            until("it waits", async || count(database, waiting) > 0).await;
        }
    }
}

async fn case_crash_recover(engine: Engine) {
    let database = Database::new(engine);
    let (program, second) = killed_example(&database).await;
    let done = take_over(&second, &charge("K")).await;
    let replay = charge("K").send(&process::client(), &second.url).await;
    assert_replays(&replay.unwrap(), &done);
    assert_eq!(charges(&program), [id_of_charge(&done)]);
    assert_eq!(statuses(&database), ["completed"]);
}

fn id_of_charge(reply: &Reply) -> String {
    reply.json()["id"].as_str().expect("an id").to_owned()
}

async fn case_recover_race(engine: Engine) {
    let (app, client) = service(engine).await;
    let same = order(1);
    client.post(ORDERS, "K", &same).await;
    abandon(&app, PAST);
    let replies = join_all((0..20).map(|_| client.post(ORDERS, "K", &same))).await;
    assert_ran_once(&replies);
    assert_eq!(rows(&app), (1, 1, 1));

    let database = Database::new(engine);
    let work = Work::counting();
    let hosts = [
        Host::new(&database, &work, |it| it).await,
        Host::new(&database, &work, |it| it).await,
    ];
    hosts[0].send(&call("K")).await;
    for round in 2..=5 {
        set(
            &database,
            &format!("{UNANSWERED}, lease_expires_at = {PAST}"),
        );
        let all = (0..20).map(|place| hosts[place % 2].sending(&call("K")));
        let replies: Vec<_> = join_all(all)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        assert_ran_once(&replies);
        assert_eq!((work.runs(), records(&database)), (round, 1));
    }
}

async fn case_zombie(engine: Engine) {
    let database = Database::new(engine);
    let (_program, [first, second]) = example(&database).await;
    let late = sending(&first, &charge("K"));
    until("it is claimed", async || {
        statuses(&database) == ["in_progress"]
    })
    .await;
    first.freeze().await;
    let done = take_over(&second, &charge("K")).await;
    let before = snapshot(&database);
    first.signal("CONT");
    assert_replays(&late.await.unwrap().expect("an answer"), &done);
    assert_eq!(snapshot(&database), before);

    // One that fails late gives back nothing either.
    let database = Database::new(engine);
    let late = Work::new(|_, _| Ok(HttpResponse::InternalServerError().body("late")));
    late.close();
    let second = Work::counting();
    let slow = Host::new(&database, &late, |it| it).await;
    let host = Host::new(&database, &second, |it| it).await;
    let answer = slow.sending(&call("K"));
    late.has_run(1).await;
    set(&database, &format!("lease_expires_at = {PAST}"));
    let done = host.send(&call("K")).await;
    assert_eq!(told(&done), MADE);
    let before = snapshot(&database);
    late.open();
    assert_eq!(answer.await.unwrap().status, 500);
    assert_eq!(snapshot(&database), before);
    assert_replays(&slow.send(&call("K")).await, &done);
}

async fn case_zombie_side_effect(engine: Engine) {
    let (app, client) = service(engine).await;
    // While the order is written the key gets another owner, as if this worker were the late one.
    app.database.trigger(
        "INSERT ON ledger_entries",
        "UPDATE webhook_idempotency SET owner_token = '018f0000-0000-7000-8000-000000000000'",
    );
    let late = client.post(ORDERS, "K", &order(1)).await;
    assert_eq!(late.status, 409, "{late:?}");
    assert_eq!(count(&app.database, "order_items"), 0);
    assert_eq!(rows(&app), (0, 0, 0));
    app.database.mend("ledger_entries");
    assert_eq!(told(&client.post(ORDERS, "K", &order(1)).await), MADE);
    assert_eq!(rows(&app), (1, 1, 1));

    // A process that is held up inside its transaction, and another that does the work.
    let database = Database::new(engine);
    let (program, first, client) = own_process(&database).await;
    let second = program.serve().await;
    let ordering = client.call(ORDERS, &order(1)).key("K");
    let send = |client: Client| {
        let ordering = ordering.clone();
        actix_web::rt::spawn(async move { client.send(&ordering).await })
    };
    let lock = database.lock();
    let late = send(client.clone());
    waits_for_the_lock(&database, engine).await;
    first.freeze().await;
    lock.release();
    let done = send(client.at(&second.url));
    if engine == Engine::Sqlite {
        until("it is done", async || done.is_finished()).await;
        assert_eq!(count(&database, "orders"), 1);
    }
    first.signal("CONT");
    assert_ran_once(&[late.await.unwrap(), done.await.unwrap()]);
    let tables = ["orders", "ledger_entries", "webhook_idempotency"];
    assert_eq!(tables.map(|table| count(&database, table)), [1, 1, 1]);
}

async fn case_expiry(engine: Engine) {
    let (app, client) = service(engine).await;
    let first = client.post(ORDERS, "K", &order(1)).await;
    set(&app.database, &format!("expires_at = {PAST}"));
    let second = client.post(ORDERS, "K", &order(1)).await;
    assert_eq!(told(&second), MADE);
    assert_ne!(id(&second), id(&first));
    assert_replays(&client.post(ORDERS, "K", &order(1)).await, &second);
    assert_eq!(rows(&app), (2, 2, 1));
}

async fn case_expiry_other_body(engine: Engine) {
    let (app, client) = service(engine).await;
    client.post(ORDERS, "K", &order(1)).await;
    set(&app.database, &format!("expires_at = {PAST}"));
    let other = client.post(ORDERS, "K", &order(2)).await;
    assert_eq!(told(&other), MADE);
    assert_replays(&client.post(ORDERS, "K", &order(2)).await, &other);
    assert_eq!(
        refused(&client.post(ORDERS, "K", &order(1)).await),
        mismatch()
    );
    assert_eq!(rows(&app), (2, 2, 1));
}

async fn case_lease_not_ttl(engine: Engine) {
    let database = Database::new(engine);
    let (_program, second) = killed_example(&database).await;
    let hours = |hours| Timestamp::from(chrono::Utc::now() + chrono::TimeDelta::hours(hours));
    let kept = format!("webhook_idempotency WHERE expires_at > '{}'", hours(23));
    let leased = format!(
        "webhook_idempotency WHERE lease_expires_at > '{}'",
        hours(1)
    );
    assert_eq!((count(&database, &kept), count(&database, &leased)), (1, 0));
    // Gives up long before the record expires.
    take_over(&second, &charge("K")).await;
    assert_eq!((count(&database, &kept), records(&database)), (1, 1));
}

async fn case_store_down_claim(engine: Engine) {
    let app = App::with(engine, |config| {
        config.request_timeout = Duration::from_secs(1)
    })
    .await;
    let client = Client::new(&app).await;
    let lock = app.database.lock();
    let reply = client.post(ORDERS, "K", &order(1)).await;
    assert_eq!(refused(&reply), problem(503, "STORE_UNAVAILABLE"));
    assert!(reply.retry_after.is_some());
    assert_eq!(app.orders(), 0);
    lock.release();
    until("it is made", async || {
        client.post(ORDERS, "K", &order(1)).await.status == 201
    })
    .await;
    assert_eq!(rows(&app), (1, 1, 1));

    let database = Database::new(engine);
    let work = Work::counting();
    let patience = Duration::from_millis(300);
    let host = Host::new(&database, &work, |it| it.timeout(patience)).await;
    let lock = database.lock();
    let reply = host.send(&call("K")).await;
    assert_eq!(refused(&reply), problem(503, "STORE_UNAVAILABLE"));
    assert!(reply.retry_after.is_some());
    assert_eq!(work.runs(), 0);
    lock.release();
    // Where the answer is stored too late for its client, the next one gets it.
    until("it is done", async || {
        host.send(&call("K")).await.status == 201
    })
    .await;
    assert_eq!(work.runs(), 1);
}

async fn case_store_down_complete(engine: Engine) {
    let (app, client) = service(engine).await;
    let full = match engine {
        Engine::Sqlite => "database or disk is full",
        Engine::Postgres => "No space left on device",
    };
    // The answer is written after the order.
    app.database
        .break_writes("UPDATE ON webhook_idempotency", full);
    let reply = client.post(ORDERS, "K", &order(1)).await;
    assert_eq!(refused(&reply), problem(503, "STORE_UNAVAILABLE"));
    assert!(reply.retry_after.is_some());
    assert_eq!((app.orders(), app.ledger_entries()), (0, 0));
    app.database.mend("webhook_idempotency");
    assert_eq!(told(&client.post(ORDERS, "K", &order(1)).await), MADE);
    assert_eq!(rows(&app), (1, 1, 1));

    let database = Database::new(engine);
    let work = Work::behind_a_gate();
    let (lease, patience) = (Duration::from_secs(2), Duration::from_secs(2));
    let host = Host::new(&database, &work, |it| it.lease(lease).timeout(patience)).await;
    let first = host.sending(&call("K"));
    work.has_run(1).await;
    database.break_writes("UPDATE ON webhook_idempotency", full);
    work.open();
    let reply = first.await.unwrap();
    assert_eq!(refused(&reply), problem(503, "STORE_UNAVAILABLE"));
    assert_eq!(reply.retry_after.as_deref(), Some("2"));
    database.mend("webhook_idempotency");
    assert_eq!(statuses(&database), ["in_progress"]);
    let patient = Host::new(&database, &work, |it| it.lease(lease)).await;
    until("the lease ends", async || {
        let reply = patient.send(&call("K")).await;
        assert!(reply.status == 201 || refused(&reply) == processing());
        told(&reply) == MADE
    })
    .await;
    assert_eq!(work.runs(), 2);
}

async fn case_two_instances(engine: Engine) {
    let database = Database::new(engine);
    let (program, one, client) = own_process(&database).await;
    let other = program.serve().await;
    let clients = [client.at(&one.url), client.at(&other.url)];
    for round in 1..=10 {
        let (key, same) = (format!("K{round}"), order(1));
        let all = (0..8).map(|place| clients[place % 2].post(ORDERS, &key, &same));
        let replies = join_all(all).await;
        let first = assert_ran_once(&replies);
        for client in &clients {
            assert_replays(&client.post(ORDERS, &key, &same).await, first);
        }
        let tables = ["orders", "ledger_entries", "webhook_idempotency"];
        assert_eq!(tables.map(|table| count(&database, table)), [round; 3]);
    }
}

async fn case_restart(engine: Engine) {
    let database = Database::new(engine);
    let (program, mut server, client) = own_process(&database).await;
    let first = client.post(ORDERS, "K", &order(1)).await;
    assert_eq!(told(&first), MADE);
    server.kill();
    let server = program.serve().await;
    let again = client.at(&server.url).post(ORDERS, "K", &order(1)).await;
    assert_replays(&again, &first);
    assert_eq!((count(&database, "orders"), records(&database)), (1, 1));
}

async fn case_big_response(engine: Engine) {
    const MOST: usize = 1024 * 1024;
    let database = Database::new(engine);
    let work = Work::new(|run, _| {
        let size = if run == 1 { MOST + 1 } else { MOST };
        Ok(HttpResponse::Created().body(vec![b'x'; size]))
    });
    let host = Host::new(&database, &work, |it| it).await;
    let reply = host.send(&call("K")).await;
    assert_eq!(refused(&reply), problem(500, "INTERNAL"));
    assert_eq!(statuses(&database), ["failed"]);
    assert_eq!(column(&database, "response_body"), [None]);
    let first = host.send(&call("K")).await;
    assert_eq!((told(&first), first.body.len()), (MADE, MOST));
    assert_replays(&host.send(&call("K")).await, &first);
    assert_eq!(work.runs(), 2);

    let app = App::with(engine, |config| {
        config.request_timeout = Duration::from_secs(60)
    })
    .await;
    // A whole report of these would be larger: it is bounded, so that no batch comes again and again in vain.
    let mut messages = vec![json!({}); 9_000];
    messages.push(whatsapp_text(&new_wamid(), "1 cola"));
    let batch = Call::whatsapp_messages(json!(messages));
    let first = app.send(&batch).await;
    assert_eq!((first.status, app.orders()), (200, 1));
    assert_eq!(first.json()["events_more"], 8_001);
    assert_eq!(statuses(&app.database), ["completed"]);
    let again = app.send(&batch).await;
    assert_eq!((again.body, app.orders()), (first.body, 1));
}

async fn case_safe_methods(engine: Engine) {
    let (app, client) = service(engine).await;
    let first = client.post(ORDERS, "K", &order(1)).await;
    let location = first.location.expect("a location");
    let before = snapshot(&app.database);
    for key in ["K", "new"] {
        for path in [ORDERS, &location] {
            for (method, status) in [("GET", 200), ("HEAD", 200), ("OPTIONS", 405)] {
                let reply = client.request(method, path, key, None).await;
                assert_eq!(told(&reply), (status, None), "{method} {path}");
            }
        }
    }
    assert_eq!(snapshot(&app.database), before);
    // A read with a key reads what is there now.
    client
        .patch(&location, "P", &json!({"status": "confirmed"}))
        .await;
    let now = client.request("GET", &location, "new", None).await;
    assert_eq!(now.json()["data"]["status"], "confirmed");

    let database = Database::new(engine);
    let work = Work::counting();
    let host = Host::new(&database, &work, |it| it).await;
    let methods = ["GET", "HEAD", "OPTIONS"].map(|name| name.parse().expect("a method"));
    for (runs, method) in methods.iter().cycle().take(6).enumerate() {
        let reply = host
            .method(actix_web::http::Method::clone(method), "/things", "K")
            .await;
        assert_eq!((told(&reply), work.runs()), ((201, None), runs + 1));
    }
    assert_eq!(records(&database), 0);
}

/// What a handler does elsewhere is not resumed. It can be told by the key: that of the second run is the first's.
async fn case_partial_progress(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::new(|run, _| match run {
        1 => panic!("the first run of this test breaks after its charge, and must"),
        run => Ok(HttpResponse::Created().json(run)),
    });
    let host = Host::new(&database, &work, |it| it).await;
    assert_eq!(host.send(&call("K")).await.status, 500);
    assert_eq!(told(&host.send(&call("K")).await), MADE);
    assert_eq!(work.keys(), ["K", "K"]);

    // After a crash too: whoever takes over was sent the same key.
    set(
        &database,
        &format!("{UNANSWERED}, lease_expires_at = {PAST}"),
    );
    assert_eq!(told(&host.send(&call("K")).await), MADE);
    assert_eq!(work.keys(), ["K"; 3]);
    assert_eq!(column(&database, "idempotency_key"), [Some("K".to_owned())]);
}

/// There is nothing to finish: a request's work and its answer are one transaction.
async fn case_completer(engine: Engine) {
    let (app, client) = service(engine).await;
    let unfinished = "webhook_idempotency WHERE status = 'in_progress'";
    let sending = {
        let client = client.clone();
        let keys = (0..100).map(|place| format!("K{place}"));
        actix_web::rt::spawn(async move {
            let same = order(1);
            join_all(keys.map(async |key| client.post(ORDERS, &key, &same).await)).await
        })
    };
    let mut looks = 0;
    until("all are answered", async || {
        assert_eq!(count(&app.database, unfinished), 0);
        looks += 1;
        sending.is_finished()
    })
    .await;
    assert!(looks > 1);
    let replies = sending.await.unwrap();
    assert!(replies.iter().all(|it| told(it) == MADE), "{replies:?}");
    assert_eq!(rows(&app), (100, 100, 100));
    let refusal = client.post(ORDERS, "refused", &json!({})).await;
    assert_eq!(refusal.status, 400);
    app.database
        .break_writes("INSERT ON ledger_entries", "inner detail");
    assert_eq!(client.post(ORDERS, "broken", &order(1)).await.status, 500);
    assert_eq!(count(&app.database, unfinished), 0);
    assert_eq!(rows(&app), (100, 100, 102));
}

/// The outcomes of a report.
fn outcomes(reply: &Reply) -> Vec<String> {
    let report = reply.json();
    let events = report["events"].as_array().expect("events").iter();
    events
        .map(|event| event["outcome"].as_str().expect("an outcome").to_owned())
        .collect()
}

async fn case_batch_overlap(engine: Engine) {
    let app = App::new(engine).await;
    let [one, two, three] = [(); 3].map(|()| whatsapp_text(&new_wamid(), "1 tea"));
    let first = app.send(&Call::whatsapp_messages(json!([one, two]))).await;
    assert_eq!(told(&first), (200, Some("false")));
    assert_eq!(outcomes(&first), ["order_created", "order_created"]);
    let overlapping = Call::whatsapp_messages(json!([two, three]));
    let second = app.send(&overlapping).await;
    assert_eq!(told(&second), (200, Some("false")));
    assert_eq!(outcomes(&second), ["duplicate", "order_created"]);
    let number = |reply: &Reply, at: usize| reply.json()["events"][at]["order_number"].clone();
    assert!(number(&first, 1).is_string());
    assert_eq!(number(&second, 0), number(&first, 1));
    assert_replays(&app.send(&overlapping).await, &second);
    assert_eq!((rows(&app), app.events()), ((3, 3, 2), 3));
}

async fn case_status_progress(engine: Engine) {
    let app = App::new(engine).await;
    let sid = new_sid();
    let step = |status| Call::twilio(&[("MessageSid", &sid), ("MessageStatus", status)]);
    for (place, status) in ["delivered", "read"].into_iter().enumerate() {
        for replayed in ["false", "true"] {
            let reply = app.send(&step(status)).await;
            assert_eq!(told(&reply), (204, Some(replayed)), "{status}");
        }
        assert_eq!(
            (app.events(), app.records()),
            (place as i64 + 1, place as i64 + 1)
        );
        let known = "SELECT status AS t FROM message_status";
        assert_eq!(app.database.texts(known), [Some(status.to_owned())]);
    }
}

async fn case_unsigned_id_changed(engine: Engine) {
    let app = App::new(engine).await;
    let whatsapp = Call::whatsapp_messages(json!([whatsapp_text(&new_wamid(), "1 tea")]));
    let deliveries = [Call::twilio_text(&new_sid(), "2 cola"), whatsapp];
    for (place, delivery) in deliveries.into_iter().enumerate() {
        let first = app.send(&delivery.clone().key("D")).await;
        assert_eq!(told(&first), (200, Some("false")));
        // No signature covers the header.
        for other in [
            delivery.clone().key("E"),
            delivery.clone(),
            delivery.header("Idempotency-Key", "F"),
        ] {
            assert_replays(&app.send(&other).await, &first);
        }
        let done = place as i64 + 1;
        assert_eq!(
            (app.orders(), app.ledger_entries(), app.events()),
            (done, done, done)
        );
    }
}

async fn case_unsigned_id_reused(engine: Engine) {
    let database = Database::new(engine);
    let (_program, mut server, _client) = own_process(&database).await;
    let http = process::client();
    let url = server.url.clone();
    let send = async |call: &Call| call.send(&http, &url).await.expect("an answer");
    let orders = || count(&database, "orders");
    let one = whatsapp_text(&new_wamid(), "1 tea");
    let a = Call::whatsapp_messages(json!([one]));
    let b = Call::whatsapp_messages(json!([whatsapp_text(&new_wamid(), "2 tea")]));
    let first = send(&a.clone().key("D")).await;
    // The key of another body: refused aloud, and under a key of its own not lost.
    assert_eq!(refused(&send(&b.clone().key("D")).await), mismatch());
    assert_eq!(orders(), 1);
    assert_eq!(outcomes(&send(&b).await), ["order_created"]);
    assert_replays(&send(&a.clone().key("D")).await, &first);

    // The id of another message, properly signed.
    let mut other = one.clone();
    other["text"]["body"] = "9 tea".into();
    let conflict = send(&Call::whatsapp_messages(json!([other]))).await;
    assert_eq!(
        (conflict.status, outcomes(&conflict)),
        (200, vec!["conflict".to_owned()])
    );
    assert_eq!(conflict.json()["events"][0]["order_id"], Value::Null);
    let id = one["id"].as_str().expect("an id").to_owned();
    let line = server.logged("came with another content").await;
    assert!(line.contains(&id), "{line}");
    let metrics = http.get(format!("{url}/metrics")).send().await.unwrap();
    let counted = "hookonce_events_total{outcome=\"conflict\",provider=\"whatsapp\"} 1";
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.lines().any(|line| line == counted), "{metrics}");
    // The real one is neither replaced nor blocked.
    assert_replays(&send(&a.key("D")).await, &first);
    assert_eq!(orders(), 2);
    assert_eq!(count(&database, "ledger_entries"), 2);
}

async fn case_bad_signature_first(engine: Engine) {
    let app = App::new(engine).await;
    let sid = new_sid();
    let wamid = new_wamid();
    let whatsapp = |text| Call::whatsapp_messages(json!([whatsapp_text(&wamid, text)]));
    let zeros = format!("sha256={}", "0".repeat(64));
    for (forged, genuine) in [
        (
            Call::twilio_text(&sid, "9 cola").instead("X-Twilio-Signature", "Zm9yZ2Vk"),
            Call::twilio_text(&sid, "2 cola"),
        ),
        (
            whatsapp("9 tea").instead("X-Hub-Signature-256", &zeros),
            whatsapp("1 tea"),
        ),
    ] {
        let before = (rows(&app), app.events());
        for key in ["X", &sid] {
            let reply = app.send(&forged.clone().key(key)).await;
            assert_eq!(refused(&reply), problem(401, "SIGNATURE_INVALID"));
        }
        assert_eq!(
            refused(&app.send(&forged).await),
            problem(401, "SIGNATURE_INVALID")
        );
        assert_eq!((rows(&app), app.events()), before);
        let reply = app.send(&genuine.clone().key("X")).await;
        assert_eq!(told(&reply), (200, Some("false")));
    }
    assert_eq!((rows(&app), app.events()), ((2, 2, 2), 2));
}
