//! What customers edit or take back of messages that made an order.

use diesel::{
    Connection as _, QueryableByName, RunQueryDsl as _, SqliteConnection,
    connection::InstrumentationEvent, sql_query,
};
use futures_util::future::join_all;
use hookonce::{
    config::Config,
    store::{
        Conn, StoreError,
        orders::{self, OrderFilter},
        types::Uuid,
    },
};
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::support::{
    database::{Engine, on_both},
    requests::{Call, Reply, new_wamid, whatsapp_text},
    shop::{Client, Service, text},
    wait::until,
};

on_both! {
    an_edit_and_a_revoke_are_noted_on_the_order_of_their_message
    an_edit_that_comes_before_its_message_is_noted_once_the_order_is_there
    a_message_and_its_edit_may_come_in_one_delivery
    an_amendment_is_noted_once_however_often_it_comes
    an_edit_of_a_message_that_made_no_order_is_stored_and_no_more
    an_edit_of_another_retailers_message_is_not_noted
    an_amendment_that_cannot_be_kept_keeps_its_event_from_being_known
    no_more_is_shown_of_a_message_than_is_bounded
    the_text_of_an_edit_is_masked_where_texts_are
    amendments_of_messages_without_an_order_are_forgotten_with_their_events
    an_edit_in_an_earlier_piece_than_its_order_is_told_and_counted_as_any_other
    what_failed_and_came_again_is_counted_once
    edits_of_earlier_deliveries_are_counted_with_the_orders_of_a_large_one
}

fn message(kind: &str, id: &str, about: Value) -> Value {
    json!({"id": id, "from": "14155550100", "timestamp": "1763700060", "type": kind, kind: about})
}

fn edit(id: &str, original: &str, now: &str) -> Value {
    let edited = json!({"type": "text", "text": {"body": now}});
    message(
        "edit",
        id,
        json!({"original_message_id": original, "message": edited}),
    )
}

fn revoke(id: &str, original: &str) -> Value {
    message("revoke", id, json!({"original_message_id": original}))
}

async fn send(service: &Service, messages: &[Value]) -> Vec<Value> {
    let reply = service
        .app
        .send(&Call::whatsapp_messages(json!(messages)))
        .await;
    assert_eq!(reply.status, 200, "{reply:?}");
    events(&reply)
}

fn events(reply: &Reply) -> Vec<Value> {
    reply.json()["events"].as_array().expect("events").clone()
}

/// What is noted on an order: kind and text of each.
async fn noted(client: &Client, order: &Value) -> Vec<(String, Option<String>)> {
    let path = format!("/api/v1/orders/{}", text(order));
    let order = client.get(&path).await.must(200).data();
    let amendments = order["amendments"].as_array().expect("amendments").clone();
    let listed = client.get("/api/v1/orders").await.must(200).data();
    let same = listed
        .as_array()
        .expect("orders")
        .iter()
        .find(|one| one["id"] == order["id"]);
    assert_eq!(same.expect("the order")["amendments"], order["amendments"]);
    let one = |one: &Value| (text(&one["kind"]), one["text"].as_str().map(str::to_owned));
    amendments.iter().map(one).collect()
}

fn an_edit(text: &str) -> (String, Option<String>) {
    ("edit".to_owned(), Some(text.to_owned()))
}

fn a_revoke() -> (String, Option<String>) {
    ("revoke".to_owned(), None)
}

/// Edits and revokes, as the statistics and the metrics count them.
async fn counted(service: &Service) -> [i64; 4] {
    let office = service.client(None, "stats:read").await;
    let traffic = office.get("/api/v1/stats").await.must(200).json()["traffic"].clone();
    let metrics = service.app.get("/metrics").await.body;
    let metric = |kind: &str| {
        let name =
            format!("hookonce_order_amendments_total{{kind=\"{kind}\",provider=\"whatsapp\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
        line.map_or(0, |count| count.parse().expect("a count"))
    };
    let statistic = |member: &str| traffic[member].as_i64().expect("a count");
    [
        statistic("edits_noted"),
        statistic("revokes_noted"),
        metric("edit"),
        metric("revoke"),
    ]
}

async fn an_edit_and_a_revoke_are_noted_on_the_order_of_their_message(engine: Engine) {
    let service = Service::new(engine).await;
    let pos = service.pos().await;
    let order = send(&service, &[whatsapp_text("wamid.ORDER", "2 pizza")]).await[0].clone();
    assert_eq!(noted(&pos, &order["order_id"]).await, []);

    let edited = &send(&service, &[edit("wamid.EDIT", "wamid.ORDER", "3 pizza")]).await[0];
    let revoked = &send(&service, &[revoke("wamid.REVOKE", "wamid.ORDER")]).await[0];
    for (event, outcome) in [(edited, "edit_noted"), (revoked, "revoke_noted")] {
        assert_eq!(event["outcome"], outcome);
        assert_eq!(event["order_id"], order["order_id"]);
        assert_eq!(event["order_number"], order["order_number"]);
        let listed = pos
            .get(&format!("/api/v1/deliveries?outcome={outcome}"))
            .await
            .must(200);
        assert_eq!(listed.data()[0]["order_id"], order["order_id"]);
    }
    assert_eq!(
        noted(&pos, &order["order_id"]).await,
        [an_edit("3 pizza"), a_revoke()]
    );
    let path = format!("/api/v1/orders/{}", text(&order["order_id"]));
    let shown = pos.get(&path).await.data();
    assert_eq!(shown["amendments"][0]["at"], "2025-11-21T04:41:00.000000Z");
    // Noted and no more: what is to be done about it is the shop's business.
    assert_eq!(
        (&shown["status"], &shown["items"][0]["quantity"]),
        (&json!("pending"), &json!(2))
    );
    assert_eq!(counted(&service).await, [1, 1, 1, 1]);
    assert_eq!(service.count("orders"), 1);
}

async fn an_edit_that_comes_before_its_message_is_noted_once_the_order_is_there(engine: Engine) {
    let service = Service::new(engine).await;
    let pos = service.pos().await;
    let early = [
        edit("wamid.EDIT", "wamid.ORDER", "3 pizza"),
        revoke("wamid.REVOKE", "wamid.ORDER"),
    ];
    for early in early {
        let event = &send(&service, &[early]).await[0];
        assert_eq!(
            (&event["outcome"], &event["order_id"]),
            (&json!("ignored"), &Value::Null)
        );
    }
    assert_eq!(counted(&service).await, [0; 4]);
    let order = send(&service, &[whatsapp_text("wamid.ORDER", "2 pizza")]).await[0].clone();
    assert_eq!(order["outcome"], "order_created");
    assert_eq!(
        noted(&pos, &order["order_id"]).await,
        [an_edit("3 pizza"), a_revoke()]
    );
    assert_eq!(counted(&service).await, [1, 1, 1, 1]);
    let known = "SELECT outcome || ' ' || (order_id IS NOT NULL) AS t FROM webhook_event WHERE kind <> 'text' ORDER BY 1";
    let known = service.database().texts(known).into_iter().flatten();
    let known: Vec<_> = known.map(|text| text.replace(" 1", " true")).collect();
    assert_eq!(known, ["edit_noted true", "revoke_noted true"]);
}

async fn a_message_and_its_edit_may_come_in_one_delivery(engine: Engine) {
    let service = Service::new(engine).await;
    let pos = service.pos().await;
    // Events are claimed in the order of their ids.
    for (edit_id, order_id) in [("wamid.1", "wamid.2"), ("wamid.4", "wamid.3")] {
        let batch = [
            edit(edit_id, order_id, "3 pizza"),
            whatsapp_text(order_id, "2 pizza"),
        ];
        let events = send(&service, &batch).await;
        assert_eq!(events[0]["outcome"], "edit_noted");
        assert_eq!(events[0]["order_id"], events[1]["order_id"]);
        assert_eq!(
            noted(&pos, &events[1]["order_id"]).await,
            [an_edit("3 pizza")]
        );
    }
    assert_eq!(counted(&service).await, [2, 0, 2, 0]);
}

async fn an_amendment_is_noted_once_however_often_it_comes(engine: Engine) {
    let service = Service::new(engine).await;
    let pos = service.pos().await;
    let order = send(&service, &[whatsapp_text("wamid.ORDER", "2 pizza")]).await[0].clone();
    let call = |key: &str| {
        let edits = json!([edit("wamid.EDIT", "wamid.ORDER", "3 pizza")]);
        Call::whatsapp_messages(edits).key(key)
    };
    let keys: Vec<_> = (0..8).map(|n| format!("key-{n}")).collect();
    let calls: Vec<_> = keys.iter().map(|key| call(key)).collect();
    let replies = join_all(calls.iter().map(|call| service.app.send(call))).await;
    for reply in replies {
        assert_eq!(events(&reply)[0]["outcome"], "edit_noted", "{reply:?}");
    }
    assert_eq!(noted(&pos, &order["order_id"]).await, [an_edit("3 pizza")]);
    assert_eq!(counted(&service).await, [1, 0, 1, 0]);
}

/// Orders, and an edit of each that is acted on before all of them.
fn edits_and_orders(count: usize) -> Vec<Value> {
    let edit = |n| {
        edit(
            &format!("wamid.1.{n:03}"),
            &format!("wamid.2.{n:03}"),
            "3 pizza",
        )
    };
    let order = |n| whatsapp_text(&format!("wamid.2.{n:03}"), "2 pizza");
    (0..count).map(order).chain((0..count).map(edit)).collect()
}

/// Edits that are told, and kept, as noted on their orders.
fn all_are_noted(service: &Service, events: &[Value]) {
    let (orders, edits) = events.split_at(events.len() / 2);
    for (order, edit) in orders.iter().zip(edits) {
        assert_eq!(order["outcome"], "order_created");
        assert_eq!(edit["outcome"], "edit_noted");
        assert_eq!(edit["order_id"], order["order_id"]);
        assert_eq!(edit["order_number"], order["order_number"]);
    }
    let noted = service.count("webhook_event WHERE outcome = 'edit_noted'");
    assert_eq!(noted, edits.len() as i64);
}

/// Takes what a large delivery takes on a machine that is busy with other tests.
async fn patient(engine: Engine) -> Service {
    let patient = |config: &mut Config| config.request_timeout = Duration::from_secs(120);
    Service::with(engine, patient).await
}

async fn an_edit_in_an_earlier_piece_than_its_order_is_told_and_counted_as_any_other(
    engine: Engine,
) {
    const COUNT: usize = 130;
    let service = patient(engine).await;
    let call = Call::whatsapp_messages(json!(edits_and_orders(COUNT)));
    let reply = service.app.send(&call).await;
    all_are_noted(&service, &events(&reply));
    assert_eq!(counted(&service).await, [130, 0, 130, 0]);
    // What is told again is not counted again, under whatever key.
    assert_eq!(service.app.send(&call).await.essence(), reply.essence());
    let renamed = service.app.send(&call.key("another")).await;
    assert_eq!(renamed.essence(), reply.essence());
    assert_eq!(counted(&service).await, [130, 0, 130, 0]);
}

async fn what_failed_and_came_again_is_counted_once(engine: Engine) {
    for count in [2, 130] {
        let service = patient(engine).await;
        let database = service.database();
        // An order of each piece but the first that has any.
        database.trigger(
            "INSERT ON orders",
            match engine {
                Engine::Sqlite => {
                    "SELECT RAISE(ABORT, 'not this one') WHERE NEW.message_id LIKE 'wamid.2.__1'"
                }
                Engine::Postgres => {
                    "IF NEW.message_id LIKE 'wamid.2.__1' THEN RAISE EXCEPTION 'not this one'; END IF"
                }
            },
        );
        let call = Call::whatsapp_messages(json!(edits_and_orders(count)));
        assert_eq!(service.app.send(&call).await.status, 500);
        assert!(service.count("orders") < count as i64);
        database.mend("orders");
        let reply = service.app.send(&call).await;
        all_are_noted(&service, &events(&reply));
        let all = count as i64;
        assert_eq!(counted(&service).await, [all, 0, all, 0]);
        // Or it would look for its database, which is gone, for as long as it is patient.
        service.app.stop().await;
    }
}

async fn edits_of_earlier_deliveries_are_counted_with_the_orders_of_a_large_one(engine: Engine) {
    let service = patient(engine).await;
    let mut large = edits_and_orders(130);
    let early = large[130..150].to_vec();
    let told = send(&service, &early).await;
    assert!(told.iter().all(|event| event["outcome"] == "ignored"));
    // Half of those come again.
    large.drain(140..150);
    let told = send(&service, &large).await;
    let outcomes = |outcome| {
        told.iter()
            .filter(|event| event["outcome"] == outcome)
            .count()
    };
    assert_eq!(
        (
            outcomes("order_created"),
            outcomes("duplicate"),
            outcomes("edit_noted")
        ),
        (130, 10, 110)
    );
    assert_eq!(counted(&service).await, [130, 0, 130, 0]);
}

/// On PostgreSQL, where transactions go on side by side. Each is held at its end, when all of it is done and nobody sees
/// it yet, until the other waits for it.
#[actix_web::test]
async fn an_edit_at_the_very_moment_of_its_order_is_noted_and_counted() {
    for held in ["orders", "message_amendments"] {
        let service = Service::new(Engine::Postgres).await;
        let another = service.app.another(|_| {}).await;
        let database = service.database();
        let gate = database.gate(held);
        let order = Call::whatsapp_messages(json!([whatsapp_text("wamid.ORDER", "2 pizza")]));
        let edit = Call::whatsapp_messages(json!([edit("wamid.EDIT", "wamid.ORDER", "3 pizza")]));
        let (first, second) = match held {
            "orders" => (&order, &edit),
            _ => (&edit, &order),
        };
        let waiting = |what: &'static str| {
            until(what, async move || {
                let waiting = format!(
                    "SELECT count(*) AS n FROM pg_stat_activity
                        WHERE datname = current_database() AND wait_event = '{what}'"
                );
                database.count(&waiting) > 0
            })
        };
        let held_first = async {
            let first = first.send(&service.app.client, &another.url);
            first.await.expect("an answer")
        };
        let then = async {
            waiting("advisory").await;
            let release = async {
                waiting("transactionid").await;
                gate.open();
            };
            tokio::join!(service.app.send(second), release).0
        };
        let (first, second) = tokio::join!(held_first, then);
        let (order, edit) = match held {
            "orders" => (first, second),
            _ => (second, first),
        };
        let order = events(&order)[0].clone();
        assert_eq!(order["outcome"], "order_created");
        if held == "orders" {
            assert_eq!(events(&edit)[0]["outcome"], "edit_noted");
            assert_eq!(events(&edit)[0]["order_id"], order["order_id"]);
        }
        assert_eq!(
            service.count("message_amendments WHERE order_id IS NOT NULL"),
            1
        );
        assert_eq!(
            service.count("webhook_event WHERE outcome = 'edit_noted'"),
            1
        );
        assert_eq!(service.count("webhook_event"), 2);
        assert_eq!(counted(&service).await, [1, 0, 1, 0], "{held}");
    }
}

async fn an_edit_of_a_message_that_made_no_order_is_stored_and_no_more(engine: Engine) {
    let service = Service::new(engine).await;
    send(&service, &[whatsapp_text("wamid.TALK", "are you open?")]).await;
    let event = &send(&service, &[edit("wamid.EDIT", "wamid.TALK", "2 pizza")]).await[0];
    assert_eq!(event["outcome"], "ignored");
    assert_eq!(service.count("orders"), 0);
    assert_eq!(counted(&service).await, [0; 4]);
}

async fn an_edit_of_another_retailers_message_is_not_noted(engine: Engine) {
    let service = Service::new(engine).await;
    let (pos, office) = (service.pos().await, service.head_office().await);
    let bakery = json!({"name": "Bakery", "phone": "+14155238887", "phone_number_id": "2", "currency": "USD"});
    office.create("/api/v1/retailers", &bakery).await;
    let to_bakery = |message: Value| {
        let value = json!({"metadata": {"phone_number_id": "2"}, "messages": [message]});
        let change = json!({"field": "messages", "value": value});
        let entry = json!([{"id": "1", "changes": [change]}]);
        Call::whatsapp(json!({"object": "whatsapp_business_account", "entry": entry}).to_string())
    };
    let early = to_bakery(edit("wamid.EARLY", "wamid.ORDER", "99 pizza"));
    service.app.send(&early).await;
    let order = send(&service, &[whatsapp_text("wamid.ORDER", "2 pizza")]).await[0].clone();
    let late = service
        .app
        .send(&to_bakery(revoke("wamid.LATE", "wamid.ORDER")))
        .await;
    assert_eq!(events(&late)[0]["outcome"], "ignored");
    assert_eq!(noted(&pos, &order["order_id"]).await, []);
    assert_eq!(counted(&service).await, [0; 4]);
}

async fn an_amendment_that_cannot_be_kept_keeps_its_event_from_being_known(engine: Engine) {
    let service = Service::new(engine).await;
    let pos = service.pos().await;
    let order = send(&service, &[whatsapp_text("wamid.ORDER", "2 pizza")]).await[0].clone();
    let database = service.database();
    database.break_writes("INSERT ON message_amendments", "not now");
    let call = Call::whatsapp_messages(json!([edit("wamid.EDIT", "wamid.ORDER", "3 pizza")]));
    assert_eq!(service.app.send(&call).await.status, 500);
    assert_eq!(service.count("webhook_event WHERE kind = 'edit'"), 0);
    database.mend("message_amendments");
    let again = service.app.send(&call).await;
    assert_eq!(events(&again)[0]["outcome"], "edit_noted");
    assert_eq!(noted(&pos, &order["order_id"]).await, [an_edit("3 pizza")]);
}

async fn no_more_is_shown_of_a_message_than_is_bounded(engine: Engine) {
    let service = Service::new(engine).await;
    let pos = service.pos().await;
    let order = send(&service, &[whatsapp_text("wamid.ORDER", "2 pizza")]).await[0].clone();
    let long = "é".repeat(10_000);
    let edits: Vec<_> = (0..60)
        .map(|_| edit(&new_wamid(), "wamid.ORDER", &long))
        .collect();
    send(&service, &edits).await;
    send(&service, &[revoke("wamid.REVOKE", "wamid.ORDER")]).await;
    let noted = noted(&pos, &order["order_id"]).await;
    assert_eq!(noted.len(), 51);
    assert!(noted.contains(&a_revoke()));
    let longest = noted.iter().filter_map(|(_, text)| text.as_ref());
    assert_eq!(longest.map(|text| text.chars().count()).max(), Some(4_096));
    assert_eq!(service.count("webhook_event WHERE kind = 'edit'"), 60);
}

async fn the_text_of_an_edit_is_masked_where_texts_are(engine: Engine) {
    for name in ["body", "messages"] {
        let service = Service::with(engine, |config| {
            config.redact_fields = name.parse().expect("names");
        })
        .await;
        let pos = service.pos().await;
        let order = send(&service, &[whatsapp_text("wamid.ORDER", "2 pizza")]).await[0].clone();
        send(
            &service,
            &[edit("wamid.EDIT", "wamid.ORDER", "3 secret pizza")],
        )
        .await;
        let noted = noted(&pos, &order["order_id"]).await;
        assert_eq!(noted.len(), 1);
        assert!(!format!("{noted:?}").contains("secret"), "{noted:?}");
    }
}

async fn amendments_of_messages_without_an_order_are_forgotten_with_their_events(engine: Engine) {
    let service = Service::new(engine).await;
    let office = service.client(None, "admin").await;
    let pos = service.pos().await;
    let order = send(&service, &[whatsapp_text("wamid.ORDER", "2 pizza")]).await[0].clone();
    send(&service, &[edit("wamid.EDIT", "wamid.ORDER", "3 pizza")]).await;
    send(&service, &[edit("wamid.NOTHING", "wamid.OTHER", "hello")]).await;
    assert_eq!(service.count("message_amendments"), 2);
    let database = service.database();
    // One that came at the very moment of its order does not know of it.
    database.execute(
        "UPDATE message_amendments SET created_at = '2026-01-01T00:00:00.000000Z', order_id = NULL",
    );
    database.execute("UPDATE webhook_event SET created_at = '2026-01-01T00:00:00.000000Z'");
    office
        .post("/api/v1/admin/cleanup", &json!({}))
        .await
        .must(200);
    let left = database.texts("SELECT event_id AS t FROM message_amendments");
    assert_eq!(left, [Some("wamid.EDIT".to_owned())]);
    assert_eq!(
        service.count("webhook_event WHERE event_id = 'wamid.NOTHING'"),
        0
    );
    assert_eq!(noted(&pos, &order["order_id"]).await, [an_edit("3 pizza")]);
}

#[derive(QueryableByName)]
struct Step {
    #[diesel(sql_type = diesel::sql_types::Text)]
    detail: String,
}

/// On SQLite, which keeps no statistics to go by.
#[actix_web::test]
async fn the_orders_of_a_customer_are_found_by_an_index() {
    let service = Service::new(Engine::Sqlite).await;
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
    let by = |phone: bool, retailer: bool| OrderFilter {
        customer_phone: phone.then(|| "+14155550100".to_owned()),
        customer_user_id: (!phone).then(|| "US.1".to_owned()),
        retailer_id: retailer.then(Uuid::in_order),
        ..OrderFilter::default()
    };
    for phone in [true, false] {
        for (retailer, after) in [(false, None), (true, None), (true, Some(Uuid::in_order()))] {
            let found: Result<_, StoreError> = orders::list(
                &mut Conn::Sqlite(&mut conn),
                &by(phone, retailer),
                after,
                50,
            );
            found.expect("a list");
            let query = std::mem::take(&mut *seen.lock().unwrap())
                .pop()
                .expect("a query");
            let (sql, _binds) = query.split_once("-- binds").unwrap_or((&query, ""));
            let mut other = SqliteConnection::establish(&path).expect("the database");
            let steps: Vec<Step> = sql_query(format!("EXPLAIN QUERY PLAN {sql}"))
                .load(&mut other)
                .expect("a plan");
            let steps: Vec<_> = steps.into_iter().map(|step| step.detail).collect();
            let index = if phone {
                "INDEX orders_of_phone"
            } else {
                "INDEX orders_of_user_id"
            };
            assert_eq!(steps.len(), 1, "sorted by hand: {steps:#?}");
            assert!(steps[0].contains(index), "{steps:#?}\n{sql}");
        }
    }
}
