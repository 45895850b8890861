//! Deliveries that come at the same time share a transaction. Nobody must be able to tell.

use diesel::{Connection as _, PgConnection, connection::SimpleConnection as _};
use futures_util::future::join_all;
use serde_json::json;
use std::{collections::BTreeSet, time::Duration};
use tokio::time::{Instant, timeout};

use crate::support::{
    app::App,
    database::{Engine, on_both},
    requests::{Call, Reply, SHOP_PHONE, told, whatsapp_text},
};

on_both! {
    deliveries_that_come_at_once_share_transactions
    what_comes_of_deliveries_is_the_same_together_and_alone
    orders_that_share_a_transaction_note_what_came_of_their_messages_before
    one_that_fails_costs_the_others_nothing
    an_event_that_fails_is_that_of_its_own_delivery_whatever_comes_with_it
}

/// Those that are sent at once.
const MANY: usize = 40;

fn text(n: usize, text: &str) -> Call {
    Call::twilio_text(&format!("SM{n:032x}"), text)
}

fn orders(from: usize) -> Vec<Call> {
    let order = |n| text(from + n, "2 pizza and 1 cola");
    (0..MANY).map(order).collect()
}

async fn send_all(app: &App, calls: &[Call]) -> Vec<Reply> {
    join_all(calls.iter().map(|call| app.send(call))).await
}

/// How many transactions of deliveries there were, and of how many.
async fn batches(app: &App) -> (f64, f64) {
    let metrics = app.get("/metrics").await.body;
    let of = |name: &str| -> f64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.expect(name).trim().parse().expect("a number")
    };
    (
        of("hookonce_writer_batch_size_count"),
        of("hookonce_writer_batch_size_sum"),
    )
}

async fn deliveries_that_come_at_once_share_transactions(engine: Engine) {
    let app = App::new(engine).await;
    // The catalogue is read with the first.
    app.send(&text(1_000, "1 cola")).await;
    let before = batches(&app).await;
    for reply in send_all(&app, &orders(0)).await {
        assert_eq!(told(&reply), (200, Some("false")));
    }
    let after = batches(&app).await;
    let (transactions, deliveries) = (after.0 - before.0, after.1 - before.1);
    assert!(deliveries >= MANY as f64, "{deliveries} deliveries");
    assert!(
        transactions < deliveries / 2.0,
        "{transactions} of {deliveries}"
    );
    assert_eq!(app.orders(), MANY as i64 + 1);
    assert_eq!(app.ledger_entries(), app.orders());
}

/// All that may come, and some of it twice.
fn all_sorts() -> Vec<Call> {
    let mut calls = Vec::new();
    for n in 0..6 {
        let order = text(n, "2 pizza and 1 cola");
        calls.push(order.clone());
        calls.push(order);
        calls.push(text(100 + n, "hello, are you open?"));
        calls.push(text(200 + n, "3 unicorns"));
        calls.push(text(300 + n, "1 cola").key(&format!("of-the-header-{n}")));
        // The same message under another key.
        calls.push(text(n, "2 pizza and 1 cola").key(&format!("another-{n}")));
        // The same key for another message.
        calls.push(text(400 + n, "1 pizza").key("one-for-all"));
        let sid = format!("SM{:032x}", 500 + n % 2);
        calls.push(Call::twilio_at(
            "/webhooks/twilio/status",
            &[
                ("MessageSid", &sid),
                ("MessageStatus", ["sent", "delivered", "read"][n / 2]),
                ("From", &format!("whatsapp:{SHOP_PHONE}")),
            ],
        ));
        let one = whatsapp_text(&format!("wamid.{n}"), "1 cola");
        let next = whatsapp_text(&format!("wamid.{}", n + 1), "1 cola");
        calls.push(Call::whatsapp_messages(json!([one])));
        let image =
            json!({"id": format!("wamid.image-{n}"), "type": "image", "image": {"id": "1"}});
        calls.push(Call::whatsapp_messages(json!([image])));
        calls.push(Call::whatsapp_messages(json!([one, next])));
    }
    calls
}

/// What is left of it, without what is random or depends on who came first.
fn left(app: &App) -> BTreeSet<String> {
    let rows = |sql: &str| app.database.texts(sql).into_iter().flatten();
    let events = rows(
        "SELECT concat_ws(' ', e.provider, e.event_id, e.outcome, e.retailer_id IS NULL, o.total_minor) AS t
         FROM webhook_event e LEFT JOIN orders o ON o.id = e.order_id WHERE e.event_id NOT LIKE '%19_'",
    );
    let orders = rows(
        "SELECT concat_ws(' ', 'order', o.source, o.message_id, o.total_minor, o.customer_phone, l.amount_minor,
             (SELECT string_agg(concat(i.quantity, 'x', i.sku), ',' ORDER BY i.position) FROM order_items i
              WHERE i.order_id = o.id)) AS t
         FROM orders o JOIN ledger_entries l ON l.order_id = o.id WHERE o.message_id NOT LIKE '%19_'",
    );
    let records = rows(
        "SELECT concat_ws(' ', 'record', scope, idempotency_key, status, response_status, response_content_type,
             length(CAST(response_body AS TEXT)) > 0, events IS NULL, retailer_id IS NULL, method, path) AS t FROM webhook_idempotency",
    );
    let statuses =
        rows("SELECT concat_ws(' ', 'status', message_id, status, rank) AS t FROM message_status");
    events
        .chain(orders)
        .chain(records)
        .chain(statuses)
        .collect()
}

async fn what_comes_of_deliveries_is_the_same_together_and_alone(engine: Engine) {
    let together = App::new(engine).await;
    let alone = App::with(engine, |config| config.write_batch = 1).await;
    let calls = all_sorts();
    for round in 0..2 {
        for app in [&together, &alone] {
            let replies = send_all(app, &calls).await;
            for (call, reply) in calls.iter().zip(replies) {
                let refused = reply.status == 409;
                assert!(reply.status < 300 || refused, "{call:?}: {reply:?}");
            }
        }
        let expected = left(&alone);
        assert!(expected.len() > 60, "{expected:#?}");
        assert_eq!(left(&together), expected, "round {round}");
    }
    assert_eq!(together.orders(), alone.orders());
}

async fn orders_that_share_a_transaction_note_what_came_of_their_messages_before(engine: Engine) {
    let app = App::new(engine).await;
    // The catalogue is read with the first.
    app.send(&text(1_000, "1 cola")).await;
    let original = |n: usize| format!("wamid.order-{n}");
    let revoke = |n: usize| {
        let about = json!({"original_message_id": original(n)});
        let revoke = json!({"id": format!("wamid.revoke-{n}"), "type": "revoke", "revoke": about});
        Call::whatsapp_messages(json!([revoke]))
    };
    let order = |n: usize| Call::whatsapp_messages(json!([whatsapp_text(&original(n), "1 pizza")]));
    let revokes: Vec<_> = (0..MANY).filter(|n| n % 4 == 0).map(revoke).collect();
    let orders: Vec<_> = (0..MANY).map(order).collect();
    for reply in send_all(&app, &revokes).await {
        assert_eq!(reply.json()["events"][0]["outcome"], "ignored");
    }
    let before = batches(&app).await;
    send_all(&app, &orders).await;
    let after = batches(&app).await;
    assert!(after.0 - before.0 < MANY as f64 / 2.0, "they shared none");
    let noted = "SELECT count(*) AS n FROM webhook_event e JOIN orders o ON o.id = e.order_id
        JOIN message_amendments a ON a.order_id = o.id AND a.event_id = e.event_id
        WHERE e.outcome = 'revoke_noted' AND a.message_id = o.message_id";
    assert_eq!(app.database.count(noted), revokes.len() as i64);
    let metrics = app.get("/metrics").await.body;
    let counted = format!(
        "hookonce_order_amendments_total{{kind=\"revoke\",provider=\"whatsapp\"}} {}",
        revokes.len()
    );
    assert!(metrics.contains(&counted), "{metrics}");
}

async fn one_that_fails_costs_the_others_nothing(engine: Engine) {
    let app = App::new(engine).await;
    let then = match engine {
        Engine::Sqlite => "SELECT RAISE(ABORT, 'not this one') WHERE NEW.message_id LIKE '%00007'",
        Engine::Postgres => {
            "IF NEW.message_id LIKE '%00007' THEN RAISE EXCEPTION 'not this one'; END IF"
        }
    };
    app.database.trigger("INSERT ON orders", then);
    for (n, reply) in send_all(&app, &orders(0)).await.into_iter().enumerate() {
        let expected = if n == 7 { 500 } else { 200 };
        assert_eq!(reply.status, expected, "{n}: {reply:?}");
    }
    assert_eq!(app.orders(), MANY as i64 - 1);
    assert_eq!(app.events(), MANY as i64 - 1);
    app.database.mend("orders");
    assert_eq!(told(&app.send(&orders(0)[7]).await), (200, Some("false")));
}

async fn an_event_that_fails_is_that_of_its_own_delivery_whatever_comes_with_it(engine: Engine) {
    let app = App::new(engine).await;
    app.send(&text(1_000, "1 cola")).await;
    let then = match engine {
        Engine::Sqlite => "SELECT RAISE(ABORT, 'not this one') WHERE NEW.message_id LIKE '%fails'",
        Engine::Postgres => {
            "IF NEW.message_id LIKE '%fails' THEN RAISE EXCEPTION 'not this one'; END IF"
        }
    };
    app.database.trigger("INSERT ON orders", then);
    for round in 0..5 {
        // Deliveries that tell of nothing have nothing that could fail.
        let nothing = r#"{"object": "whatsapp_business_account", "entry": []}"#;
        let empty = |n| Call::whatsapp(nothing).key(&format!("empty-{round}-{n}"));
        let mut calls: Vec<_> = (0..MANY).map(empty).collect();
        let good = whatsapp_text(&format!("wamid.{round}-good"), "1 cola");
        let bad = whatsapp_text(&format!("wamid.{round}-fails"), "1 cola");
        calls.push(Call::whatsapp_messages(json!([good, bad])));
        let replies = send_all(&app, &calls).await;
        let (last, others) = replies.split_last().expect("replies");
        assert_eq!(last.status, 500, "{last:?}");
        for reply in others {
            assert_eq!(told(reply), (200, Some("false")));
        }
    }
    assert_eq!(app.orders(), 1 + 5);
}

/// More than may wait for others at once.
const STUCK: usize = 10;

#[actix_web::test]
async fn those_that_wait_for_somebody_keep_no_others_waiting() {
    let app = App::new(Engine::Postgres).await;
    app.send(&text(1_000, "1 cola")).await;
    let mut somebody = PgConnection::establish(&app.database.url).expect("the database");
    let stuck: Vec<_> = (0..STUCK).map(|n| text(n, "2 pizza and 1 cola")).collect();
    somebody.batch_execute("BEGIN").expect("a transaction");
    for n in 0..STUCK {
        somebody
            .batch_execute(&format!(
                "INSERT INTO webhook_event (provider, event_id, kind, digest, delivery_fingerprint, outcome, payload,
                     created_at) VALUES ('twilio', 'SM{n:032x}', 'text', '', '', 'ignored', '{{}}', now())"
            ))
            .expect("an event that nobody else can claim");
    }
    let waiting = send_all(&app, &stuck);
    let others = async {
        let begun = Instant::now();
        for from in [100, 200, 300] {
            for reply in send_all(&app, &orders(from)).await {
                assert_eq!(told(&reply), (200, Some("false")));
            }
        }
        let took = begun.elapsed();
        somebody.batch_execute("ROLLBACK").expect("the end of it");
        took
    };
    let both = async { tokio::join!(waiting, others) };
    let (replies, took) = timeout(Duration::from_secs(30), both)
        .await
        .expect("in time");
    for reply in replies {
        assert_eq!(told(&reply), (200, Some("false")));
    }
    // REQUEST_TIMEOUT is 10 s, which is how long each of those that are stuck would have held what it needs.
    assert!(took < Duration::from_secs(8), "the others took {took:?}");
    assert_eq!(app.orders(), (STUCK + 3 * MANY + 1) as i64);
}
