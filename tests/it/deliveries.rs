//! What an operator sees of what was received: lists by filters and pages, and each delivery with all that came of it.

use diesel::{
    Connection as _, RunQueryDsl as _, SqliteConnection, connection::InstrumentationEvent,
    sql_query, sql_types::Text,
};
use hookonce::{
    provider::REGISTRY,
    shop::outcomes,
    store::{
        Conn, StoreError,
        deliveries::{self, DeliveryFilter, DeliverySource, Position},
        events::Outcome,
        idempotency::RecordStatus,
        types::{Timestamp, Uuid},
    },
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use crate::support::{
    database::{Database, Engine, HASH, on_both},
    records::column,
    requests::{Call, SHOP_PHONE_NUMBER_ID, new_sid, new_wamid, told, whatsapp_text},
    shop::{Client, Service, items, new_key, text, with, without},
    wait::until,
};

on_both! {
    a_webhook_is_shown_with_its_request_its_answer_its_events_and_its_order
    a_clients_request_is_shown_with_its_answer_and_its_order
    a_batch_tells_what_became_of_each_of_its_events
    what_an_event_says_is_kept_once_and_shown_with_its_delivery
    a_duplicate_under_another_key_is_a_delivery_of_its_own_with_the_first_answer
    a_failed_request_is_shown_with_its_error_and_forgets_what_it_was_before
    replays_are_counted_on_the_delivery
    an_answer_of_any_bytes_is_shown
    a_request_in_progress_is_shown_without_an_answer
    a_token_in_a_key_is_not_shown
    each_filter_finds_its_own_alone_and_together
    pages_have_no_gaps_and_no_repeats_while_new_ones_arrive
    records_of_one_moment_are_listed_once_each
    what_is_rare_is_found_window_by_window
    filters_that_cannot_be_are_all_told_at_once
    what_is_not_there_is_not_found
    a_batch_about_two_retailers_is_shown_to_neither
}

const LIST: &str = "/api/v1/deliveries";

/// All of a list, page by page.
async fn all(client: &Client, query: &str) -> Vec<Value> {
    let (mut found, mut path) = (Vec::new(), format!("{LIST}?{query}"));
    loop {
        let page = client.get(&path).await.must(200).json();
        found.extend(page["data"].as_array().expect("a list").iter().cloned());
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("{LIST}?{query}&cursor={cursor}"),
            None => return found,
        }
    }
}

fn ids(deliveries: &[Value]) -> Vec<String> {
    deliveries.iter().map(|found| text(&found["id"])).collect()
}

async fn keys(client: &Client, query: &str) -> Vec<String> {
    let found = all(client, query).await;
    found.iter().map(|found| text(&found["key"])).collect()
}

/// The delivery that came last.
async fn newest(client: &Client) -> Value {
    let page = client.get(&format!("{LIST}?limit=1")).await.must(200);
    page.data()[0].clone()
}

async fn in_full(client: &Client, id: &Value) -> Value {
    let path = format!("{LIST}/{}", text(id));
    client.get(&path).await.must(200).data()
}

async fn a_webhook_is_shown_with_its_request_its_answer_its_events_and_its_order(engine: Engine) {
    let service = Service::new(engine).await;
    let pos = service.pos().await;
    let sid = new_sid();
    let reply = service.app.send(&Call::twilio_text(&sid, "2 cola")).await;
    let listed = newest(&pos).await;
    let order = text(&listed["order_id"]);
    let times = ["created_at", "last_accessed_at", "expires_at"];
    for time in times {
        let time = text(&listed[time]);
        assert!(
            chrono::DateTime::parse_from_rfc3339(&time).is_ok(),
            "{time}"
        );
    }
    let rest = times.into_iter().fold(listed.clone(), without);
    let expected = json!({
        "id": listed["id"], "provider": "twilio", "webhook_type": "twilio_message", "key": sid,
        "status": "completed", "outcomes": ["order_created"], "method": "POST", "path": "/webhooks/twilio",
        "retailer_id": service.kitchen, "order_id": order, "response_status": 200, "replay_count": 0,
        "source_ip": "127.0.0.1", "error": null,
    });
    assert_eq!(rest, expected);

    let shown = pos.get(&format!("/api/v1/orders/{order}")).await.data();
    let full = in_full(&pos, &listed["id"]).await;
    let parts = json!({
        "request": {"method": "POST", "path": "/webhooks/twilio", "body": full["request"]["body"]},
        "reply": {
            "status": 200, "content_type": "text/xml; charset=utf-8", "headers": {}, "encoding": "text",
            "body": reply.body,
        },
        "events": [{
            "id": sid, "outcome": "order_created", "order_id": order, "order_number": shown["order_number"],
        }],
        "order": shown,
    });
    assert_eq!(full, with(listed, parts));
    let body = &full["request"]["body"];
    assert_eq!(
        (&body["Body"], &body["MessageSid"]),
        (&json!("2 cola"), &json!(sid))
    );

    // Without an order, and without a body in the answer.
    let status = Call::twilio_at(
        "/webhooks/twilio/status",
        &[("MessageSid", &sid), ("MessageStatus", "read")],
    );
    service.app.send(&status).await;
    let office = service.head_office().await;
    let listed = newest(&office).await;
    assert_eq!(listed["outcomes"], json!(["status_recorded"]));
    let full = in_full(&office, &listed["id"]).await;
    assert_eq!(
        (&full["order"], &full["order_id"]),
        (&Value::Null, &Value::Null)
    );
    let empty = json!({
        "status": 204, "content_type": null, "headers": {}, "encoding": "text", "body": null,
    });
    assert_eq!(full["reply"], empty);
}

async fn a_clients_request_is_shown_with_its_answer_and_its_order(engine: Engine) {
    let service = Service::new(engine).await;
    let (pos, office) = (service.pos().await, service.head_office().await);
    let body = items(&[("COLA", 2)]);
    let answer = pos.post_keyed("/api/v1/orders", "K", &body).await.must(201);
    let listed = newest(&pos).await;
    let shown = [
        "provider",
        "webhook_type",
        "key",
        "status",
        "outcomes",
        "method",
        "path",
        "order_id",
        "response_status",
    ]
    .map(|name| listed[name].clone());
    let order = answer.data();
    let expected = json!([
        "api",
        "orders",
        "K",
        "completed",
        [],
        "POST",
        "/api/v1/orders",
        order["id"],
        201,
    ]);
    assert_eq!(json!(shown), expected);
    let full = in_full(&pos, &listed["id"]).await;
    assert_eq!(full["request"]["body"], body);
    assert_eq!(full["reply"]["body"], answer.body);
    let location = answer.header("Location").expect("a location");
    assert_eq!(full["reply"]["headers"], json!({"Location": location}));
    assert_eq!((&full["events"], &full["order"]), (&json!([]), &order));

    // A payment is about an order; a change is kept by the middleware; a refusal is an answer like any other.
    pos.pay(&text(&order["id"]), "1.00").await;
    let paid = in_full(&pos, &newest(&pos).await["id"]).await;
    assert_eq!(
        (&paid["webhook_type"], &paid["order"]["id"]),
        (&json!("payments"), &order["id"])
    );
    assert_eq!(paid["order"]["paid"], "1.00");
    let change = json!({"status": "confirmed"});
    let change = pos.telling(
        "PATCH",
        &format!("/api/v1/orders/{}", text(&order["id"])),
        &change,
    );
    change
        .header("Idempotency-Key", "step")
        .send()
        .await
        .expect("an answer");
    let changed = newest(&office).await;
    assert_eq!(
        (
            &changed["webhook_type"],
            &changed["method"],
            &changed["key"]
        ),
        (&json!("orders"), &json!("PATCH"), &json!("step"))
    );
    pos.post_keyed("/api/v1/orders", "wrong", &json!([1]))
        .await
        .must(400);
    let refused = newest(&office).await;
    assert_eq!(
        (
            &refused["status"],
            &refused["response_status"],
            &refused["retailer_id"]
        ),
        (&json!("completed"), &json!(400), &Value::Null)
    );
    let full = in_full(&office, &refused["id"]).await;
    assert_eq!(
        (&full["request"]["body"], &full["order"]),
        (&json!([1]), &Value::Null)
    );
}

/// A batch with an order, the same again, an order of what is not sold, and a status.
fn mixed_batch() -> Call {
    let order = whatsapp_text(&new_wamid(), "2 cola");
    let batch = Call::whatsapp_messages(json!([
        order,
        order,
        whatsapp_text(&new_wamid(), "2 unicorns"),
        {"id": new_wamid(), "from": "1", "type": "reaction"},
        whatsapp_text(&new_wamid(), "1 tea"),
    ]));
    let mut body: Value = serde_json::from_slice(&batch.body).expect("JSON");
    let status = json!([{"id": new_wamid(), "status": "read"}]);
    body["entry"][0]["changes"][0]["value"]["statuses"] = status;
    Call::whatsapp(body.to_string())
}

async fn a_batch_tells_what_became_of_each_of_its_events(engine: Engine) {
    let service = Service::new(engine).await;
    let pos = service.pos().await;
    let reply = service.app.send(&mixed_batch()).await;
    let events = reply.json()["events"].clone();
    let outcomes: Vec<_> = events
        .as_array()
        .unwrap()
        .iter()
        .map(|it| text(&it["outcome"]))
        .collect();
    let each = [
        "order_created",
        "duplicate",
        "unknown_product",
        "ignored",
        "order_created",
        "status_recorded",
    ];
    assert_eq!(outcomes, each);
    let listed = newest(&pos).await;
    let once = [
        "order_created",
        "duplicate",
        "unknown_product",
        "ignored",
        "status_recorded",
    ];
    assert_eq!(listed["outcomes"], json!(once));
    assert_eq!(listed["order_id"], events[0]["order_id"]);
    let full = in_full(&pos, &listed["id"]).await;
    assert_eq!(full["events"], events);
    // The record names its order; what it keeps of the events names only the other one.
    let kept = service
        .app
        .database
        .texts("SELECT events AS t FROM webhook_idempotency");
    let kept = kept[0].as_deref().expect("events");
    let ids = [&events[0], &events[4]].map(|event| text(&event["order_id"]));
    assert_eq!(ids.map(|id| kept.contains(&id)), [false, true]);
    assert_eq!(full["reply"]["body"], reply.body);
    assert_eq!(full["order"]["order_number"], events[0]["order_number"]);
    let core = [Outcome::DUPLICATE, Outcome::IGNORED, Outcome::CONFLICT];
    for outcome in outcomes::ALL.iter().chain(&core) {
        let found = keys(&pos, &format!("outcome={outcome}")).await;
        assert_eq!(
            found.len(),
            usize::from(once.contains(&outcome.as_str())),
            "{outcome}"
        );
    }
}

async fn what_an_event_says_is_kept_once_and_shown_with_its_delivery(engine: Engine) {
    let service = Service::new(engine).await;
    let office = service.head_office().await;
    let (new, old) = (new_wamid(), new_wamid());
    let first = Call::whatsapp_messages(json!([whatsapp_text(&old, "2 cola")]));
    // Two that are new, one that is known, and one of the new ones again.
    let messages = json!([
        whatsapp_text(&new, "1 pizza"),
        whatsapp_text(&old, "2 cola"),
        whatsapp_text(&new_wamid(), "hello"),
        whatsapp_text(&new, "1 pizza"),
    ]);
    let batch = Call::whatsapp_messages(messages);
    for call in [&first, &batch] {
        assert_eq!(service.app.send(call).await.status, 200);
        let listed = newest(&office).await;
        let full = in_full(&office, &listed["id"]).await;
        let sent: Value = serde_json::from_slice(&call.body).expect("JSON");
        assert_eq!(full["request"]["body"], sent);
    }
    // In the records are the known one and the one that came twice, and nothing that an event has.
    let rests = column(service.database(), "request_body");
    let count = |words: &str| -> usize {
        let rests = rests.iter().flatten();
        rests.map(|rest| rest.matches(words).count()).sum()
    };
    assert_eq!(["2 cola", "1 pizza", "hello"].map(count), [1, 1, 0]);
    let events =
        "SELECT count(*) AS n FROM webhook_event WHERE CAST(payload AS TEXT) LIKE '%pizza%'";
    assert_eq!(service.database().count(events), 1);
    // Whoever takes events away by hand takes their part of the body.
    service.database().execute("DELETE FROM webhook_event");
    let listed = newest(&office).await;
    let full = in_full(&office, &listed["id"]).await;
    let shown = &full["request"]["body"]["entry"][0]["changes"][0]["value"]["messages"];
    assert_eq!((&shown[0], &shown[1]["id"]), (&Value::Null, &json!(old)));
}

async fn a_duplicate_under_another_key_is_a_delivery_of_its_own_with_the_first_answer(
    engine: Engine,
) {
    let service = Service::new(engine).await;
    let pos = service.pos().await;
    let message = whatsapp_text(&new_wamid(), "2 cola");
    let first = Call::whatsapp_messages(json!([message]));
    let again = Call::whatsapp_messages(json!([message, whatsapp_text(&new_wamid(), "hello")]));
    let mut bodies = Vec::new();
    for call in [
        first.clone().key("first"),
        first.key("the-same"),
        again.key("in-another-batch"),
    ] {
        let reply = service.app.send(&call).await;
        let listed = newest(&pos).await;
        let full = in_full(&pos, &listed["id"]).await;
        assert_eq!(full["reply"]["body"], reply.body);
        assert_eq!(full["events"], reply.json()["events"]);
        bodies.push((text(&listed["key"]), full["events"][0].clone(), reply.body));
    }
    let [first, same, batch] = &bodies[..] else {
        panic!()
    };
    assert_eq!(first.2, same.2);
    assert_eq!((&*same.0, &same.1), ("the-same", &first.1));
    assert_eq!(
        batch.1,
        with(first.1.clone(), json!({"outcome": "duplicate"}))
    );
    assert_eq!(keys(&pos, "outcome=duplicate").await, ["in-another-batch"]);
    assert_eq!(service.app.orders(), 1);
}

async fn a_failed_request_is_shown_with_its_error_and_forgets_what_it_was_before(engine: Engine) {
    let service = Service::new(engine).await;
    let office = service.head_office().await;
    let call = Call::twilio_text(&new_sid(), "2 cola");
    service.app.send(&call).await;
    let first = newest(&office).await;
    // All is forgotten, and it comes again to a database that does not take it.
    let database = service.database();
    for forget in [
        "UPDATE webhook_idempotency SET expires_at = created_at, order_id = NULL",
        "DELETE FROM webhook_event",
        "DELETE FROM ledger_entries",
        "DELETE FROM order_items",
        "DELETE FROM orders",
    ] {
        database.execute(forget);
    }
    database.break_writes("INSERT ON ledger_entries", "inner detail");
    assert_eq!(service.app.send(&call).await.status, 500);
    let failed = newest(&office).await;
    assert_eq!(failed["id"], first["id"]);
    let shown = [
        "status",
        "outcomes",
        "retailer_id",
        "order_id",
        "response_status",
    ];
    let shown = shown.map(|name| failed[name].clone());
    assert_eq!(json!(shown), json!(["failed", [], null, null, null]));
    let error = text(&failed["error"]);
    assert!(error.contains("inner detail"), "{error}");
    let full = in_full(&office, &failed["id"]).await;
    assert_eq!(full["request"]["body"]["Body"], "2 cola");
    assert_eq!(
        (&full["reply"], &full["events"]),
        (&Value::Null, &json!([]))
    );

    database.mend("ledger_entries");
    assert_eq!(told(&service.app.send(&call).await), (200, Some("false")));
    let done = newest(&office).await;
    assert_eq!(
        (&done["id"], &done["status"], &done["error"]),
        (&first["id"], &json!("completed"), &Value::Null)
    );
}

async fn replays_are_counted_on_the_delivery(engine: Engine) {
    let service = Service::new(engine).await;
    let pos = service.pos().await;
    let call = Call::twilio_text(&new_sid(), "2 cola");
    for _ in 0..3 {
        service.app.send(&call).await;
    }
    until("the replays are written down", async || {
        newest(&pos).await["replay_count"] == 2
    })
    .await;
    let replayed = newest(&pos).await;
    assert!(text(&replayed["last_accessed_at"]) > text(&replayed["created_at"]));
}

async fn an_answer_of_any_bytes_is_shown(engine: Engine) {
    let service = Service::new(engine).await;
    let pos = service.pos().await;
    pos.order_of("1.00").await;
    let shown = async |changes: &str| {
        service
            .database()
            .execute(&format!("UPDATE webhook_idempotency SET {changes}"));
        in_full(&pos, &newest(&pos).await["id"]).await["reply"].clone()
    };
    let png = shown(
        r#"response_content_type = 'image/png', response_encoding = 'base64',
           response_body = '"iVBOR/8A"', response_headers = NULL"#,
    );
    let expected = json!({
        "status": 201, "content_type": "image/png", "headers": {}, "encoding": "base64", "body": "iVBOR/8A",
    });
    assert_eq!(png.await, expected);
    let text = shown(r#"response_encoding = 'text', response_body = '"{ \"a\" : 1.0 }\n"'"#).await;
    assert_eq!(
        (&text["encoding"], &text["body"]),
        (&json!("text"), &json!("{ \"a\" : 1.0 }\n"))
    );
    // As records were at first: by the content type.
    let changes = r#"response_encoding = NULL, response_content_type = 'application/json',
                     response_body = '{"b":1, "a":1e2}'"#;
    assert_eq!(shown(changes).await["body"], r#"{"b":1, "a":1e2}"#);
}

async fn a_request_in_progress_is_shown_without_an_answer(engine: Engine) {
    let service = Service::new(engine).await;
    let office = service.head_office().await;
    office.post("/api/v1/bookings", &json!({})).await.must(400);
    service.database().execute(
        "UPDATE webhook_idempotency SET status = 'in_progress', response_status = NULL,
         response_content_type = NULL, response_body = NULL, request_body = NULL, source_ip = NULL",
    );
    let listed = newest(&office).await;
    assert_eq!(listed["status"], "in_progress");
    assert_eq!(
        ids(&all(&office, "status=in_progress").await),
        [text(&listed["id"])]
    );
    let full = in_full(&office, &listed["id"]).await;
    let parts = [&full["reply"], &full["request"]["body"], &full["source_ip"]];
    assert_eq!(parts, [&Value::Null; 3]);
}

async fn a_token_in_a_key_is_not_shown(engine: Engine) {
    let service = Service::new(engine).await;
    let pos = service.pos().await;
    let token = pos.token.clone();
    pos.post_keyed("/api/v1/orders", &token, &items(&[("COLA", 1)]))
        .await
        .must(201);
    let listed = newest(&pos).await;
    assert_eq!(listed["key"], "hk_…");
    let full = in_full(&pos, &listed["id"]).await;
    assert!(!full.to_string().contains(&token));
    assert_eq!(
        ids(&all(&pos, &format!("key={token}")).await),
        ids(&[listed])
    );
}

/// A record, by what filters look at.
struct Seed {
    key: &'static str,
    scope: &'static str,
    kind: &'static str,
    status: &'static str,
    /// Whether it is the shop's.
    ours: bool,
    outcomes: &'static [&'static str],
}

const SEEDS: [Seed; 13] = {
    const fn seed(
        key: &'static str,
        scope: &'static str,
        kind: &'static str,
        status: &'static str,
        ours: bool,
        outcomes: &'static [&'static str],
    ) -> Seed {
        Seed {
            key,
            scope,
            kind,
            status,
            ours,
            outcomes,
        }
    }
    const TWILIO: &str = "webhook:twilio";
    const WHATSAPP: &str = "webhook:whatsapp";
    [
        seed(
            "a",
            TWILIO,
            "twilio_message",
            "completed",
            true,
            &["order_created"],
        ),
        seed("b", TWILIO, "twilio_message", "failed", false, &[]),
        seed(
            "c",
            TWILIO,
            "twilio_status",
            "completed",
            false,
            &["status_recorded"],
        ),
        seed("d", TWILIO, "twilio_event", "in_progress", false, &[]),
        seed(
            "a",
            WHATSAPP,
            "whatsapp",
            "completed",
            true,
            &["not_an_order", "order_created"],
        ),
        seed("e", WHATSAPP, "whatsapp", "completed", false, &["conflict"]),
        seed("f", WHATSAPP, "whatsapp", "failed", false, &[]),
        seed("a", "client:1", "orders", "completed", true, &[]),
        seed("a", "client:2", "orders", "in_progress", false, &[]),
        seed("g", "client:2", "payments", "completed", true, &[]),
        seed("h", "http", "http", "failed", false, &[]),
        seed("i", "client:1", "of-a-kind-to-come", "completed", true, &[]),
        // Of a provider that is not built in any more.
        seed(
            "j",
            "webhook:gone",
            "gone",
            "completed",
            false,
            &["ignored"],
        ),
    ]
};

/// The time of a seed, a day after another.
fn day(n: usize) -> String {
    format!("2026-11-{:02}T00:00:00.000000Z", n + 1)
}

fn sow(database: &Database, shop: &str) -> Vec<String> {
    let sow = |(n, seed): (usize, &Seed)| {
        let (id, at) = (new_key(), day(n));
        let Seed {
            key,
            scope,
            kind,
            status,
            ours,
            outcomes,
        } = seed;
        let event = |outcome: &&str| json!({"id": "\"outcome\":\"ignored\"", "outcome": outcome, "order_id": null, "order_number": null});
        let events: Vec<_> = outcomes.iter().map(event).collect();
        let events = json!(events).to_string();
        let retailer = if *ours {
            format!("'{shop}'")
        } else {
            "NULL".to_owned()
        };
        database.execute(&format!(
            "INSERT INTO webhook_idempotency (id, scope, idempotency_key, webhook_type, method, path, fingerprint,
                 status, events, retailer_id, owner_token, lease_expires_at, created_at, last_accessed_at, expires_at)
             VALUES ('{id}', '{scope}', '{key}', '{kind}', 'POST', '/', {HASH}, '{status}', '{events}', {retailer},
                 '{id}', '{at}', '{at}', '{at}', '{at}')"
        ));
        id
    };
    SEEDS.iter().enumerate().map(sow).collect()
}

/// One value of a filter, and which seeds it finds.
type Filter = (String, Box<dyn Fn(usize, &Seed) -> bool>);

/// The values of each filter, with none among them.
fn filters(shop: &str) -> Vec<Vec<Filter>> {
    fn filter(query: String, finds: impl Fn(usize, &Seed) -> bool + 'static) -> Filter {
        (query, Box::new(finds))
    }
    let provider = |scope: &'static str| scope.strip_prefix("webhook:").unwrap_or("api");
    let any = || filter(String::new(), |_, _| true);
    let providers = ["twilio", "whatsapp", "api"];
    let statuses = ["completed", "failed", "in_progress"];
    let keys = ["a", "e", "h", "none"];
    let outcomes = ["order_created", "conflict", "ignored"];
    let is_late = |n: usize| n >= 4;
    vec![
        [any()]
            .into_iter()
            .chain(providers.map(|name| {
                filter(format!("provider={name}&"), move |_, seed| {
                    provider(seed.scope) == name
                })
            }))
            .collect(),
        [any()]
            .into_iter()
            .chain(statuses.map(|name| {
                filter(format!("status={name}&"), move |_, seed| {
                    seed.status == name
                })
            }))
            .collect(),
        vec![
            any(),
            filter(format!("retailer_id={shop}&"), |_, seed| seed.ours),
            filter(format!("retailer_id={}&", new_key()), |_, _| false),
        ],
        [any()]
            .into_iter()
            .chain(keys.map(|key| filter(format!("key={key}&"), move |_, seed| seed.key == key)))
            .collect(),
        [any()]
            .into_iter()
            .chain(outcomes.map(|name| {
                filter(format!("outcome={name}&"), move |_, seed| {
                    seed.outcomes.contains(&name)
                })
            }))
            .collect(),
        vec![
            any(),
            filter(format!("created_from={}&", day(4)), move |n, _| is_late(n)),
            filter(format!("created_before={}&", day(4)), move |n, _| {
                !is_late(n)
            }),
            filter(
                format!("created_from={}&created_before={}&", day(2), day(9)),
                |n, _| (2..9).contains(&n),
            ),
        ],
    ]
}

async fn each_filter_finds_its_own_alone_and_together(engine: Engine) {
    let service = Service::new(engine).await;
    let office = service.head_office().await;
    let seeded = sow(service.database(), &service.kitchen);
    let filters = filters(&service.kitchen);
    let mut asked = 0;
    let mut choices: Vec<Vec<&Filter>> = vec![Vec::new()];
    for values in &filters {
        let with_each = |choice: Vec<_>| {
            values
                .iter()
                .map(move |value| [choice.clone(), vec![value]].concat())
        };
        choices = choices.into_iter().flat_map(with_each).collect();
    }
    for (place, choice) in choices.iter().enumerate() {
        // All that have one filter or two, and of the others enough to meet every lane with every filter.
        let set = choice.iter().filter(|(query, _)| !query.is_empty()).count();
        if set > 2 && place % 13 != 0 {
            continue;
        }
        asked += 1;
        let query: String = choice.iter().map(|(query, _)| query.as_str()).collect();
        let seeds = SEEDS.iter().enumerate().rev();
        let expected = seeds.filter(|(n, seed)| choice.iter().all(|(_, finds)| finds(*n, seed)));
        let expected: Vec<_> = expected.map(|(n, _)| seeded[n].clone()).collect();
        // In pages of two, where there is something to page through.
        let limit = if expected.len() > 1 {
            "limit=2"
        } else {
            "limit=100"
        };
        let found = ids(&all(&office, &format!("{query}{limit}")).await);
        assert_eq!(found, expected, "{query}");
    }
    assert!(asked > 300, "{asked}");
}

async fn pages_have_no_gaps_and_no_repeats_while_new_ones_arrive(engine: Engine) {
    let service = Service::new(engine).await;
    let pos = service.pos().await;
    let mut expected = Vec::new();
    for n in 0..7 {
        let call = Call::twilio_text(&new_sid(), "hello").key(&format!("old-{n}"));
        service.app.send(&call).await;
        expected.insert(0, format!("old-{n}"));
    }
    for query in [
        "",
        "provider=twilio&",
        &format!("retailer_id={}&", service.kitchen),
    ] {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = pos
                .get(&format!("{LIST}?{query}limit=2{cursor}"))
                .await
                .must(200)
                .json();
            let rows = page["data"].as_array().expect("a list");
            assert!(rows.len() <= 2);
            found.extend(rows.iter().map(|row| text(&row["key"])));
            service
                .app
                .send(&Call::twilio_text(&new_sid(), "hello"))
                .await;
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        found.retain(|key| key.starts_with("old-"));
        assert_eq!(found, expected, "{query}");
    }
}

/// Adds completed records: `count` of Twilio's, each so many at one moment, an hour after another, without events.
fn many(database: &Database, count: usize, at_once: usize) {
    let (id, time) = match database.url.starts_with("sqlite") {
        true => (
            "unhex(printf('00000000000070008000%012d', i))".to_owned(),
            format!("3600000000 * (i / {at_once})"),
        ),
        false => (
            "CAST('00000000-0000-7000-8000-' || lpad(CAST(i AS TEXT), 12, '0') AS UUID)".to_owned(),
            format!("to_timestamp(3600 * (i / {at_once}))"),
        ),
    };
    database.execute(&format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
         INSERT INTO webhook_idempotency (id, scope, idempotency_key, webhook_type, method, path, fingerprint, status,
             owner_token, lease_expires_at, created_at, last_accessed_at, expires_at, events)
         SELECT {id}, 'webhook:twilio', 'many-' || i, 'twilio_message', 'POST', '/', {HASH}, 'completed',
             {id}, {time}, {time}, {time}, {time}, '[]' FROM n"
    ));
}

async fn records_of_one_moment_are_listed_once_each(engine: Engine) {
    let service = Service::new(engine).await;
    let office = service.head_office().await;
    many(service.database(), 40, 13);
    let expected: Vec<_> = (1..=40).rev().map(|n| format!("many-{n}")).collect();
    for query in ["limit=7", "limit=1", "provider=twilio&limit=3", "limit=100"] {
        assert_eq!(keys(&office, query).await, expected, "{query}");
    }
}

async fn what_is_rare_is_found_window_by_window(engine: Engine) {
    let service = Service::new(engine).await;
    let office = service.head_office().await;
    let database = service.database();
    many(database, 25_000, 3);
    let event = r#"[{"id":"x","outcome":"conflict","order_id":null,"order_number":null}]"#;
    let places = "'many-1', 'many-14998', 'many-14999', 'many-24999'";
    database.execute(&format!(
        "UPDATE webhook_idempotency SET events = '{event}', scope = 'client:1', webhook_type = 'orders'
         WHERE idempotency_key IN ({places})"
    ));
    let rare = ["many-24999", "many-14999", "many-14998", "many-1"];
    let page = office.get(&format!("{LIST}?outcome=conflict")).await;
    let page = page.must(200).json();
    assert_eq!(page["data"][0]["key"], rare[0]);
    assert_eq!(
        page["data"].as_array().unwrap().len(),
        1,
        "a window and no more"
    );
    assert!(page["next_cursor"].is_string());
    for query in [
        "outcome=conflict",
        "outcome=conflict&status=completed",
        "outcome=conflict&provider=api",
        "provider=api&limit=1",
    ] {
        assert_eq!(keys(&office, query).await, rare, "{query}");
    }
    for query in [
        "outcome=ignored",
        "outcome=conflict&provider=twilio",
        "provider=whatsapp",
    ] {
        assert_eq!(keys(&office, query).await, [] as [&str; 0], "{query}");
    }
    assert_eq!(
        keys(&office, "limit=100&provider=twilio").await.len(),
        24_996
    );
    // Whoever may see none of them is not even told how far was looked.
    database.execute("UPDATE webhook_idempotency SET status = 'failed'");
    let pos = service.pos().await;
    let page = pos.get(&format!("{LIST}?status=failed")).await.must(200);
    let page = page.json();
    assert_eq!(
        (&page["data"], &page["next_cursor"]),
        (&json!([]), &Value::Null)
    );
}

async fn filters_that_cannot_be_are_all_told_at_once(engine: Engine) {
    let service = Service::new(engine).await;
    let pos = service.pos().await;
    let query = "provider=signal&status=done&retailer_id=7&key=a%20b&outcome=ok&created_from=today&\
                 created_before=2026-13-01T00:00:00Z&limit=0&cursor=next&colour=red&status=failed";
    let refused = pos.get(&format!("{LIST}?{query}")).await.must(400);
    assert_eq!(refused.error_code(), "VALIDATION_FAILED");
    let expected = [
        "colour unknown_parameter",
        "created_before invalid",
        "created_from invalid",
        "cursor invalid",
        "key invalid",
        "limit invalid",
        "outcome invalid",
        "provider invalid",
        "retailer_id invalid",
        "status repeated",
    ];
    assert_eq!(refused.errors(), expected);
    let position = "0".repeat(48);
    for (name, values) in [
        ("provider", vec!["", "Twilio", "client:1", "webhook:twilio"]),
        ("status", vec!["", "Completed", "pending"]),
        (
            "key",
            vec!["", "%22%22", "a%00b", "hk_%E2%80%A6", &"k".repeat(129)[..]],
        ),
        (
            "outcome",
            vec!["", "%25", "order%5Fcreated%27", "ORDER_CREATED"],
        ),
        ("limit", vec!["", "101", "-1", "1.0", "many"]),
        // Those of other lists are not of this one, nor is anything else.
        (
            "cursor",
            vec![
                "",
                &position[..32],
                &position[..47],
                &format!("4{}", &position[1..]),
                &"f".repeat(48),
                "%00",
            ],
        ),
    ] {
        for value in values {
            let refused = pos.get(&format!("{LIST}?{name}={value}")).await.must(400);
            assert_eq!(refused.errors(), [format!("{name} invalid")], "{value}");
        }
    }
    pos.get(&format!("{LIST}?cursor={position}&key=%22quoted%22"))
        .await
        .must(200);
}

async fn what_is_not_there_is_not_found(engine: Engine) {
    let service = Service::new(engine).await;
    for client in [service.pos().await, service.head_office().await] {
        let missing = client.get(&format!("{LIST}/{}", new_key())).await.must(404);
        assert_eq!(missing.error_code(), "NOT_FOUND");
        let wrong = client.get(&format!("{LIST}/7")).await.must(400);
        assert_eq!(wrong.errors(), ["id invalid"]);
        assert_eq!(all(&client, "").await, [] as [Value; 0]);
    }
}

/// Whoever may see the one's messages must not see the other's.
async fn a_batch_about_two_retailers_is_shown_to_neither(engine: Engine) {
    let service = Service::new(engine).await;
    let (pos, office) = (service.pos().await, service.head_office().await);
    let bakery = json!({
        "name": "Bakery", "phone": "+14155238887", "phone_number_id": "2", "currency": "USD",
    });
    let bakery = text(&office.create("/api/v1/retailers", &bakery).await["id"]);
    let clerk = service.client(Some(&bakery), "deliveries:read").await;
    let batch = |numbers: &[&str]| {
        let change = |number: &&str| {
            json!({"field": "messages", "value": {
                "metadata": {"phone_number_id": number},
                "messages": [whatsapp_text(&new_wamid(), "hello")],
            }})
        };
        let changes: Vec<_> = numbers.iter().map(change).collect();
        let entry = json!([{"id": "1", "changes": changes}]);
        Call::whatsapp(json!({"object": "whatsapp_business_account", "entry": entry}).to_string())
    };
    let ours = SHOP_PHONE_NUMBER_ID;
    // To the one, to the other, to both, and to the one and somebody unknown.
    for (key, numbers) in [
        ("ours", vec![ours]),
        ("theirs", vec!["2", "2"]),
        ("both", vec![ours, "2"]),
        ("and-more", vec![ours, "3"]),
    ] {
        let reply = service.app.send(&batch(&numbers).key(key)).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    let theirs = "provider=whatsapp";
    assert_eq!(keys(&pos, theirs).await, ["ours"]);
    assert_eq!(keys(&clerk, theirs).await, ["theirs"]);

    let seen: BTreeSet<_> = keys(&office, theirs).await.into_iter().collect();
    assert_eq!(seen.len(), 4);
    for key in ["both", "and-more"] {
        let listed = all(&office, &format!("key={key}")).await;
        assert_eq!(listed[0]["retailer_id"], Value::Null);
        let path = format!("{LIST}/{}", text(&listed[0]["id"]));
        let unknown = format!("{LIST}/{}", new_key());
        for client in [&pos, &clerk] {
            let hidden = client.get(&path).await.must(404);
            assert_eq!(hidden.essence(), client.get(&unknown).await.essence());
            assert_eq!(keys(client, &format!("key={key}")).await, [] as [&str; 0]);
        }
    }
}

/// Every filter alone and all pairs of them, on SQLite, which keeps no statistics to go by.
#[actix_web::test]
async fn no_filter_reads_the_table_without_an_index() {
    let service = Service::new(Engine::Sqlite).await;
    sow(service.database(), &service.kitchen);
    let path = service
        .database()
        .url
        .trim_start_matches("sqlite://")
        .to_owned();
    let mut conn = SqliteConnection::establish(&path).expect("the database");
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let asked = seen.clone();
    conn.set_instrumentation(move |event: InstrumentationEvent<'_>| {
        if let InstrumentationEvent::StartQuery { query, .. } = event {
            asked.lock().unwrap().push(query.to_string());
        }
    });
    let mut plans = BTreeSet::new();
    for filter in every_filter() {
        for after in [None, Some(now())] {
            let found: Result<_, StoreError> =
                deliveries::list(&mut Conn::Sqlite(&mut conn), &filter, after, 50);
            found.expect("a list");
            let queries = std::mem::take(&mut *seen.lock().unwrap());
            assert!(!queries.is_empty());
            for query in queries {
                let steps = explain(&path, &query);
                assert!(is_bounded(&steps), "{steps:#?}\n{query}");
                plans.extend(steps);
            }
        }
    }
    // All of the indexes that are there for it are used.
    for index in [
        "created_at",
        "webhook_type",
        "retailer",
        "failed",
        "in_progress",
    ] {
        let index = format!("INDEX webhook_idempotency_{index}");
        assert!(
            plans.iter().any(|step| step.contains(&index)),
            "{index}: {plans:#?}"
        );
    }
}

fn now() -> Position {
    Position {
        created_at: Timestamp::now(),
        id: Uuid::in_order(),
    }
}

/// All pairs of filters.
fn every_filter() -> Vec<DeliveryFilter> {
    type Change = Box<dyn Fn(&mut DeliveryFilter)>;
    let mut changes: Vec<Change> = vec![Box::new(|_| {})];
    let providers = REGISTRY.iter().map(|provider| DeliverySource::Provider {
        scope: provider.scope(),
        kinds: provider.webhook_types(),
    });
    for sender in providers.chain([DeliverySource::Clients]) {
        changes.push(Box::new(move |filter| filter.sender = Some(sender.clone())));
    }
    for status in RecordStatus::ALL {
        changes.push(Box::new(|filter| filter.status = Some(*status)));
    }
    changes.push(Box::new(|filter| {
        filter.retailer_id = Some(Uuid::in_order())
    }));
    changes.push(Box::new(|filter| filter.key = Some("a".to_owned())));
    changes.push(Box::new(|filter| filter.outcome = Some(Outcome::CONFLICT)));
    changes.push(Box::new(|filter| {
        filter.created_from = Some(Timestamp::now())
    }));
    changes.push(Box::new(|filter| {
        filter.created_before = Some(Timestamp::now())
    }));
    let webhook_types = REGISTRY.iter().flat_map(|it| it.webhook_types());
    let mut filters = Vec::new();
    for first in &changes {
        for second in &changes {
            let mut filter = DeliveryFilter {
                webhook_types: webhook_types.clone().copied().collect(),
                ..DeliveryFilter::default()
            };
            first(&mut filter);
            second(&mut filter);
            filters.push(filter);
        }
    }
    filters
}

#[derive(diesel::QueryableByName)]
struct Step {
    #[diesel(sql_type = Text)]
    detail: String,
}

/// The steps in which SQLite answers a query.
fn explain(path: &str, query: &str) -> Vec<String> {
    let (sql, _binds) = query.split_once("-- binds").unwrap_or((query, ""));
    let mut conn = SqliteConnection::establish(path).expect("the database");
    let steps: Vec<Step> = sql_query(format!("EXPLAIN QUERY PLAN {sql}"))
        .load(&mut conn)
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    steps.into_iter().map(|step| step.detail).collect()
}

/// Whether an index finds what is read, and either finds little or gives it in the order of the list.
fn is_bounded(steps: &[String]) -> bool {
    let little = [
        "SCAN webhook_idempotency USING INDEX webhook_idempotency_in_progress",
        "SEARCH webhook_idempotency USING INDEX sqlite_autoindex_webhook_idempotency_1 (id=?)",
        "SEARCH webhook_idempotency USING INTEGER PRIMARY KEY (rowid=?)",
    ];
    let finds_little = steps.iter().any(|step| little.contains(&step.as_str()));
    let without_index = |step: &String| {
        step.contains(" webhook_idempotency") && !step.contains(" INDEX webhook_idempotency_")
    };
    let sorts_all = |step: &String| step == "USE TEMP B-TREE FOR ORDER BY";
    finds_little
        || !steps
            .iter()
            .any(|step| without_index(step) || sorts_all(step))
}
