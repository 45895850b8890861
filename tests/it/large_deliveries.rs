//! Deliveries of Meta's that tell of thousands of events: worked through in pieces that others pass between.

use futures_util::future::join_all;
use serde_json::{Value, json};
use std::time::Duration;

use crate::support::{
    app::App,
    database::{Database, Engine, on_both},
    process::{Program, client},
    requests::{Call, Reply, SHOP_PHONE_NUMBER_ID, new_sid, told, whatsapp_text},
    wait::until,
};

on_both! {
    three_megabytes_of_statuses_are_recorded_each_once
    others_are_answered_while_a_large_delivery_is_worked_through
    killed_between_pieces_a_large_delivery_goes_on_where_it_was
    a_large_delivery_that_comes_twice_at_once_is_done_once
    a_thousand_orders_of_one_delivery_are_a_thousand_orders
    each_repeat_of_a_delivery_that_ran_out_of_time_gets_further
    an_event_that_fails_costs_the_other_pieces_nothing
    a_report_is_bounded_and_the_record_is_not
    what_a_large_delivery_tells_twice_is_a_duplicate_the_second_time
}

/// As many as fit into 3 MB.
const STATUSES: usize = 10_000;

/// What it takes on a machine that is busy with other tests.
fn patient(config: &mut hookonce::config::Config) {
    config.request_timeout = Duration::from_secs(120);
}

/// Statuses of as many messages, of which every third is told three states.
fn statuses(count: usize) -> Vec<Value> {
    let status = |n: usize| {
        let state = ["sent", "read", "delivered"][n % 3];
        let message = if n % 9 < 3 { n / 3 * 3 } else { n };
        json!({
            "id": format!("wamid.HBgLMTQxNTU1NTAxMDAVAgARGBI5QTNDQTVCM0Q0Q0Q2RTY3{message:06}"),
            "status": state, "timestamp": "1763700000", "recipient_id": "14155550100",
            "conversation": {"id": "8a1f0c5e2b4d4f0f9f3c1d2e3f4a5b6c", "origin": {"type": "utility"}},
            "pricing": {"billable": true, "pricing_model": "PMP", "category": "utility"},
        })
    };
    (0..count).map(status).collect()
}

fn delivery(member: &str, items: Vec<Value>) -> Call {
    let mut value = json!({
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "14155238886", "phone_number_id": SHOP_PHONE_NUMBER_ID},
    });
    value[member] = items.into();
    let envelope = json!({
        "object": "whatsapp_business_account",
        "entry": [{"id": "1", "changes": [{"field": "messages", "value": value}]}],
    });
    Call::whatsapp(envelope.to_string())
}

/// How many statuses are recorded, and how many messages have come how far.
fn recorded(database: &Database) -> (i64, i64, i64) {
    let count = |sql: &str| database.count(sql);
    (
        count("SELECT count(*) AS n FROM webhook_event WHERE outcome = 'status_recorded'"),
        count("SELECT count(*) AS n FROM message_status"),
        count("SELECT count(*) AS n FROM message_status WHERE status = 'read'"),
    )
}

/// What [`recorded`] says when all of it is done. Of nine statuses three are of one message, which was read.
fn all_of(count: usize) -> (i64, i64, i64) {
    let messages = (0..count).map(|n| if n % 9 < 3 { n / 3 * 3 } else { n });
    let read = (0..count).filter(|n| n % 3 == 1).count();
    let messages: std::collections::BTreeSet<_> = messages.collect();
    (count as i64, messages.len() as i64, read as i64)
}

async fn three_megabytes_of_statuses_are_recorded_each_once(engine: Engine) {
    let app = App::with(engine, patient).await;
    let call = delivery("statuses", statuses(STATUSES));
    assert!(call.body.len() > 2_900_000 && call.body.len() <= 3_145_728);
    let first = app.send(&call).await;
    assert_eq!(told(&first), (200, Some("false")), "{}", &first.body[..200]);
    assert_eq!(recorded(&app.database), all_of(STATUSES));
    let again = app.send(&call).await;
    assert_eq!(told(&again), (200, Some("true")));
    assert_eq!(again.essence(), first.essence());
    // The same under another key: every event is known.
    let renamed = app.send(&call.key("another")).await;
    assert_eq!(told(&renamed), (200, Some("true")));
    assert_eq!(renamed.essence(), first.essence());
    assert_eq!(app.events(), STATUSES as i64);
}

async fn others_are_answered_while_a_large_delivery_is_worked_through(engine: Engine) {
    let app = App::with(engine, patient).await;
    let large = delivery("statuses", statuses(STATUSES));
    let sending = app.send(&large);
    let others = async {
        let events = || {
            app.database
                .count("SELECT count(*) AS n FROM webhook_event")
        };
        until("it has begun", async || events() > 0).await;
        let mut seen = Vec::new();
        for _ in 0..5 {
            let reply = app.send(&Call::twilio_text(&new_sid(), "2 pizza")).await;
            assert_eq!(told(&reply), (200, Some("false")));
            seen.push(events());
        }
        seen
    };
    let (reply, seen) = tokio::join!(sending, others);
    assert_eq!(reply.status, 200);
    // Each was answered between two pieces.
    assert!(seen[0] < STATUSES as i64 / 2, "{seen:?}");
    assert_eq!(app.orders(), 5);
    assert_eq!(app.events(), STATUSES as i64 + 5);
}

async fn killed_between_pieces_a_large_delivery_goes_on_where_it_was(engine: Engine) {
    const COUNT: usize = 2_500;
    let database = Database::new(engine);
    let program = Program::new(&database).set("REQUEST_TIMEOUT", "60s");
    program.open_shop().await;
    let (call, client) = (delivery("statuses", statuses(COUNT)), client());
    let mut done = 0;
    for _ in 0..3 {
        let mut server = program.serve().await;
        let url = server.url.clone();
        let sending = call.send(&client, &url);
        let killing = async {
            until("it gets further", async || recorded(&database).0 > done).await;
            server.kill();
        };
        let (answered, ()) = tokio::join!(sending, killing);
        assert!(answered.is_err(), "{answered:?}");
        done = recorded(&database).0;
        assert!(done < COUNT as i64, "{done}");
    }
    let server = program.serve().await;
    let reply = call.send(&client, &server.url).await.expect("an answer");
    assert_eq!(told(&reply), (200, Some("false")), "{reply:?}");
    assert_eq!(recorded(&database), all_of(COUNT));
    let report = reply.json();
    let events = report["events"].as_array().expect("events");
    // Also of those that were recorded by a process that is gone.
    assert!(
        events
            .iter()
            .all(|event| event["outcome"] == "status_recorded")
    );
    let again = call.send(&client, &server.url).await.expect("an answer");
    assert_eq!(told(&again), (200, Some("true")));
    assert_eq!(again.essence(), reply.essence());
    let records = database.count("SELECT count(*) AS n FROM webhook_idempotency");
    let theirs = "SELECT count(*) AS n FROM webhook_event e JOIN webhook_idempotency r ON r.id = e.delivery_id";
    assert_eq!((records, database.count(theirs)), (1, COUNT as i64));
}

async fn a_large_delivery_that_comes_twice_at_once_is_done_once(engine: Engine) {
    let app = App::with(engine, patient).await;
    let another = app.another(patient).await;
    let messages = (0..400).map(|n| whatsapp_text(&format!("wamid.{n}"), "1 cola"));
    let call = delivery("messages", messages.collect());
    let urls = [&app.url, &another.url, &app.url];
    let replies = join_all(urls.map(|url| call.send(&app.client, url))).await;
    let replies: Vec<Reply> = replies
        .into_iter()
        .map(|reply| reply.expect("an answer"))
        .collect();
    let first = replies
        .iter()
        .filter(|reply| told(reply) == (200, Some("false")))
        .count();
    assert_eq!(
        first,
        1,
        "{:?}",
        replies.iter().map(told).collect::<Vec<_>>()
    );
    for reply in &replies {
        assert_eq!(reply.essence(), replies[0].essence());
    }
    assert_eq!(
        (app.orders(), app.ledger_entries(), app.records()),
        (400, 400, 1)
    );
}

async fn a_thousand_orders_of_one_delivery_are_a_thousand_orders(engine: Engine) {
    let app = App::with(engine, patient).await;
    let messages = (0..1_000).map(|n| match n % 10 {
        7 => whatsapp_text(&format!("wamid.{n}"), "what time do you open?"),
        _ => whatsapp_text(&format!("wamid.{n}"), "2 pizza and 1 cola"),
    });
    let call = delivery("messages", messages.collect());
    let reply = app.send(&call).await;
    assert_eq!(told(&reply), (200, Some("false")));
    let report = reply.json();
    let events = report["events"].as_array().expect("events");
    assert_eq!(events.len(), 1_000);
    for (n, event) in events.iter().enumerate() {
        assert_eq!(event["id"], format!("wamid.{n}"));
        let expected = if n % 10 == 7 {
            "not_an_order"
        } else {
            "order_created"
        };
        assert_eq!(event["outcome"], expected, "{event}");
        assert_eq!(event["order_number"].is_string(), n % 10 != 7);
    }
    assert_eq!((app.orders(), app.ledger_entries()), (900, 900));
    let items = app.database.count("SELECT count(*) AS n FROM order_items");
    assert_eq!(items, 1_800);
}

async fn each_repeat_of_a_delivery_that_ran_out_of_time_gets_further(engine: Engine) {
    const COUNT: usize = 1_500;
    let app = App::with(engine, |config| {
        config.request_timeout = Duration::from_secs(3)
    })
    .await;
    // Each event takes its time, so that all of them take longer than they may.
    let slowly = match engine {
        Engine::Sqlite => "SELECT length(hex(randomblob(1000000)))",
        Engine::Postgres => "PERFORM pg_sleep(0.003)",
    };
    app.database.trigger("INSERT ON webhook_event", slowly);
    let call = delivery("statuses", statuses(COUNT));
    let mut done = Vec::new();
    let mut last = app.send(&call).await;
    while last.status != 200 {
        assert!(matches!(last.status, 503 | 409), "{last:?}");
        done.push(app.events());
        assert!(done.is_sorted() && done.len() < 100, "{done:?}");
        last = app.send(&call).await;
    }
    assert!(
        done.first().is_some_and(|done| *done < COUNT as i64),
        "{done:?}"
    );
    assert_eq!(recorded(&app.database), all_of(COUNT));
    assert_eq!(app.records(), 1);
}

async fn an_event_that_fails_costs_the_other_pieces_nothing(engine: Engine) {
    let app = App::with(engine, patient).await;
    app.database.trigger(
        "INSERT ON webhook_event",
        match engine {
            Engine::Sqlite => {
                "SELECT RAISE(ABORT, 'not this one') WHERE NEW.event_id = 'wamid.150'"
            }
            Engine::Postgres => {
                "IF NEW.event_id = 'wamid.150' THEN RAISE EXCEPTION 'not this one'; END IF"
            }
        },
    );
    let messages = (0..350).map(|n| whatsapp_text(&format!("wamid.{n}"), "1 cola"));
    let call = delivery("messages", messages.collect());
    let reply = app.send(&call).await;
    assert_eq!(reply.status, 500, "{reply:?}");
    assert_eq!((app.orders(), app.ledger_entries()), (349, 349));
    let failed = "SELECT status AS t FROM webhook_idempotency";
    assert_eq!(app.database.texts(failed), [Some("failed".to_owned())]);
    app.database.mend("webhook_event");
    let again = app.send(&call).await;
    assert_eq!(told(&again), (200, Some("false")));
    assert_eq!((app.orders(), app.ledger_entries()), (350, 350));
}

async fn a_report_is_bounded_and_the_record_is_not(engine: Engine) {
    let app = App::with(engine, patient).await;
    let reply = app.send(&delivery("statuses", statuses(1_500))).await;
    let report = reply.json();
    assert_eq!(report["events"].as_array().map(Vec::len), Some(1_000));
    assert_eq!(report["events_more"], 500);
    // Ids as long as they may be, each byte of which takes six in JSON.
    let long = |n: usize| whatsapp_text(&format!("{}{n:04}", "\u{1}".repeat(251)), "hello");
    let call = delivery("messages", (0..900).map(long).collect());
    let reply = app.send(&call).await;
    assert_eq!(told(&reply), (200, Some("false")));
    let report = reply.json();
    let told_of = report["events"].as_array().map_or(0, Vec::len);
    assert!((100..900).contains(&told_of), "{told_of}");
    assert_eq!(report["events_more"], 900 - told_of);
    assert!(reply.body.len() < 1024 * 1024);
    assert_eq!(app.send(&call).await.essence(), reply.essence());
    let kept = app
        .database
        .texts("SELECT CAST(events AS TEXT) AS t FROM webhook_idempotency ORDER BY created_at");
    let kept = kept.iter().flatten().map(|events| {
        let events: Vec<Value> = serde_json::from_str(events).expect("events");
        events.len()
    });
    assert_eq!(kept.collect::<Vec<_>>(), [1_500, 900]);
}

async fn what_a_large_delivery_tells_twice_is_a_duplicate_the_second_time(engine: Engine) {
    let app = App::with(engine, patient).await;
    // Each twice, and some with another content the second time.
    let once = (0..250).map(|n| whatsapp_text(&format!("wamid.{n}"), "1 cola"));
    let twice = (0..250).map(|n| {
        let text = if n < 10 { "2 cola" } else { "1 cola" };
        whatsapp_text(&format!("wamid.{n}"), text)
    });
    let reply = app
        .send(&delivery("messages", once.chain(twice).collect()))
        .await;
    let report = reply.json();
    let outcome = |n: usize| report["events"][n]["outcome"].as_str().expect("an outcome");
    for n in 0..250 {
        let second = if n < 10 { "conflict" } else { "duplicate" };
        assert_eq!(
            (outcome(n), outcome(250 + n)),
            ("order_created", second),
            "{n}"
        );
    }
    assert_eq!((app.orders(), app.events()), (250, 250));
}
