//! Events count once, whatever key they come under and however their deliveries are cut.

use serde_json::{Value, json};

use crate::support::{
    app::App,
    database::{Engine, on_both},
    requests::{Call, Reply, SHOP_PHONE, new_sid, new_wamid, whatsapp_text},
};

on_both! {
    a_signed_message_under_another_key_orders_nothing_more
    an_event_outlives_its_record
    an_order_outlives_its_event
    an_order_is_told_again_whatever_became_of_the_catalogue
    an_id_with_another_signed_body_is_a_conflict_at_twilio
    an_id_with_another_signed_body_is_a_conflict_at_whatsapp
    a_batch_that_overlaps_another_creates_only_what_is_new
    a_batch_cut_differently_creates_only_what_is_new
    a_message_twice_in_one_batch_is_one_order
    the_same_id_at_two_providers_is_two_messages
}

fn told(reply: &Reply) -> (u16, Option<&str>) {
    (reply.status, reply.replayed.as_deref())
}

/// Outcome and order number of each event of a report.
fn report(reply: &Reply) -> Vec<(String, Option<String>)> {
    let report = reply.json();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let event = |event: &Value| {
        (
            text(&event["outcome"]).expect("an outcome"),
            text(&event["order_number"]),
        )
    };
    report["events"]
        .as_array()
        .expect("events")
        .iter()
        .map(event)
        .collect()
}

fn outcomes(reply: &Reply) -> Vec<String> {
    report(reply)
        .into_iter()
        .map(|(outcome, _)| outcome)
        .collect()
}

/// A counter in the metrics; 0 where it has never counted.
async fn counted(app: &App, counter: &str) -> u64 {
    let metrics = app.get("/metrics").await.body;
    let value = metrics.lines().find_map(|line| line.strip_prefix(counter));
    value.map_or(0, |value| value.trim().parse().expect("a number"))
}

fn batch(messages: &[&Value]) -> Call {
    Call::whatsapp_messages(json!(messages))
}

fn texts(text: &str) -> [Value; 3] {
    [(); 3].map(|()| whatsapp_text(&new_wamid(), text))
}

async fn a_signed_message_under_another_key_orders_nothing_more(engine: Engine) {
    let app = App::new(engine).await;
    let twilio = Call::twilio_text(&new_sid(), "2 cola");
    let [one, two, _] = texts("1 tea");
    let whatsapp = batch(&[&one, &two]);
    let stored = Call::twilio_json(r#"{"flow":1}"#);
    for (call, provider, events) in [
        (twilio, "twilio", 1),
        (whatsapp, "whatsapp", 2),
        (stored, "twilio", 1),
    ] {
        let counter =
            format!("hookonce_events_total{{outcome=\"duplicate_event\",provider=\"{provider}\"}}");
        let before = counted(&app, &counter).await;
        let first = app.send(&call).await;
        assert_eq!(first.replayed.as_deref(), Some("false"));
        let orders = app.orders();
        for key in ["another", "and-another"] {
            let again = app
                .send(&call.clone().key(&format!("{key}-{provider}-{orders}")))
                .await;
            assert_eq!(again.replayed.as_deref(), Some("true"));
            assert_eq!(again.essence(), first.essence());
        }
        assert_eq!((app.orders(), app.ledger_entries()), (orders, orders));
        assert_eq!(
            counted(&app, &counter).await,
            before + 2 * events,
            "{counter}"
        );
    }
    assert_eq!((app.orders(), app.events(), app.records()), (3, 4, 9));
}

async fn an_event_outlives_its_record(engine: Engine) {
    let app = App::new(engine).await;
    let [one, two, _] = texts("1 tea");
    for call in [
        Call::twilio_text(&new_sid(), "2 cola"),
        batch(&[&one, &two]),
    ] {
        let first = app.send(&call).await;
        let orders = app.orders();
        for forget in [
            "UPDATE webhook_idempotency SET expires_at = '2020-01-01T00:00:00.000000Z'",
            "DELETE FROM webhook_idempotency",
        ] {
            for call in [call.clone(), call.clone().key("another")] {
                app.database.execute(forget);
                let again = app.send(&call).await;
                assert_eq!(told(&again), (200, Some("true")), "{forget}");
                assert_eq!(again.essence(), first.essence());
            }
        }
        assert_eq!((app.orders(), app.ledger_entries()), (orders, orders));
    }
}

async fn an_order_outlives_its_event(engine: Engine) {
    let app = App::new(engine).await;
    let [one, two, _] = texts("1 tea");
    for call in [
        Call::twilio_text(&new_sid(), "2 cola, 1 Fish & Chips"),
        batch(&[&one, &two]),
    ] {
        let first = app.send(&call).await;
        let orders = app.orders();
        app.database.execute("DELETE FROM webhook_event");
        app.database.execute("DELETE FROM webhook_idempotency");
        let again = app.send(&call).await;
        // Rendered again, from the order; and no first answer.
        assert_eq!(told(&again), (200, Some("true")));
        assert_eq!(again.essence(), first.essence());
        assert_eq!((app.orders(), app.ledger_entries()), (orders, orders));
        // From here on the event is known again.
        let third = app.send(&call.key("another")).await;
        assert_eq!(told(&third), (200, Some("true")));
        assert_eq!(third.essence(), first.essence());
    }
    assert_eq!((app.orders(), app.ledger_entries()), (3, 3));
}

async fn an_order_is_told_again_whatever_became_of_the_catalogue(engine: Engine) {
    let app = App::new(engine).await;
    let call = Call::twilio_text(&new_sid(), "2 cola");
    let first = app.send(&call).await;
    for change in [
        "UPDATE products SET price_minor = 999",
        "UPDATE products SET sku = 'SODA', name = 'Soda', aliases = '[]' WHERE sku = 'COLA'",
    ] {
        app.database.execute("DELETE FROM webhook_event");
        app.database.execute("DELETE FROM webhook_idempotency");
        app.database.execute(change);
        let version = format!(
            "UPDATE retailers SET catalogue_version = '{}'",
            uuid::Uuid::new_v4()
        );
        app.database.execute(&version);
        // It must not hear that nothing was ordered.
        assert_eq!(app.send(&call).await.essence(), first.essence(), "{change}");
        assert_eq!((app.orders(), app.ledger_entries()), (1, 1));
    }
}

async fn an_id_with_another_signed_body_is_a_conflict_at_twilio(engine: Engine) {
    let app = App::new(engine).await;
    let sid = new_sid();
    let genuine = Call::twilio_text(&sid, "2 cola");
    let first = app.send(&genuine).await;
    let other = Call::twilio_text(&sid, "9 pizzas");
    let conflict = "hookonce_events_total{outcome=\"conflict\",provider=\"twilio\"}";
    for call in [other.clone(), other.key("K")] {
        let before = counted(&app, conflict).await;
        let reply = app.send(&call).await;
        assert_eq!(reply.status, 200);
        assert!(reply.body.ends_with("<Response/>"), "{reply:?}");
        assert_eq!(counted(&app, conflict).await, before + 1);
    }
    assert_eq!(
        (app.orders(), app.ledger_entries(), app.events()),
        (1, 1, 1)
    );
    // It neither swallows nor replaces the genuine one.
    for call in [genuine.clone(), genuine.key("another")] {
        let again = app.send(&call).await;
        assert_eq!(told(&again), (200, Some("true")));
        assert_eq!(again.essence(), first.essence());
    }
}

async fn an_id_with_another_signed_body_is_a_conflict_at_whatsapp(engine: Engine) {
    let app = App::new(engine).await;
    let [one, two, _] = texts("1 tea");
    let first = app.send(&batch(&[&one])).await;
    let mut other = one.clone();
    other["text"]["body"] = "9 pizzas".into();
    let reply = app.send(&batch(&[&other, &two])).await;
    assert_eq!(reply.status, 200);
    assert_eq!(outcomes(&reply), ["conflict", "order_created"]);
    assert_eq!(
        report(&reply)[0].1,
        None,
        "nothing of the genuine one is told"
    );
    let conflict = "hookonce_events_total{outcome=\"conflict\",provider=\"whatsapp\"}";
    assert_eq!(counted(&app, conflict).await, 1);
    // The same batch again hears the same.
    assert_eq!(
        app.send(&batch(&[&other, &two]).key("K")).await.essence(),
        reply.essence()
    );
    assert_eq!(app.send(&batch(&[&one])).await.essence(), first.essence());
    assert_eq!(
        (app.orders(), app.ledger_entries(), app.events()),
        (2, 2, 2)
    );
}

async fn a_batch_that_overlaps_another_creates_only_what_is_new(engine: Engine) {
    let app = App::new(engine).await;
    let [one, two, three] = texts("1 tea");
    let first = report(&app.send(&batch(&[&one, &two])).await);
    let reply = app.send(&batch(&[&two, &three])).await;
    assert_eq!(told(&reply), (200, Some("false")));
    let second = report(&reply);
    assert_eq!(outcomes(&reply), ["duplicate", "order_created"]);
    assert_eq!(
        second[0].1, first[1].1,
        "the number of the order that there is"
    );
    assert_eq!(
        (app.orders(), app.ledger_entries(), app.events()),
        (3, 3, 3)
    );
    // Either batch again, under whatever key, hears what it heard.
    let again = app.send(&batch(&[&two, &three]).key("K")).await;
    assert_eq!(again.essence(), reply.essence());
    assert_eq!(told(&again), (200, Some("true")));
}

async fn a_batch_cut_differently_creates_only_what_is_new(engine: Engine) {
    let app = App::new(engine).await;
    let [one, two, three] = texts("1 tea");
    let whole = app.send(&batch(&[&one, &two])).await;
    let numbers: Vec<_> = report(&whole)
        .into_iter()
        .map(|(_, number)| number)
        .collect();
    for (cut, expected) in [
        (&[&two][..], &["duplicate"][..]),
        (&[&two, &one], &["duplicate", "duplicate"]),
        (
            &[&three, &two, &one],
            &["order_created", "duplicate", "duplicate"],
        ),
        (
            &[&one, &two, &three],
            &["duplicate", "duplicate", "duplicate"],
        ),
    ] {
        let reply = app.send(&batch(cut)).await;
        assert_eq!(outcomes(&reply), expected);
        let about_one = cut.iter().position(|message| **message == one);
        assert!(about_one.is_none_or(|at| report(&reply)[at].1 == numbers[0]));
    }
    assert_eq!(
        (app.orders(), app.ledger_entries(), app.events()),
        (3, 3, 3)
    );
}

async fn a_message_twice_in_one_batch_is_one_order(engine: Engine) {
    let app = App::new(engine).await;
    let [one, two, three] = texts("1 tea");
    let mut other = two.clone();
    other["text"]["body"] = "9 pizzas".into();
    let call = batch(&[&one, &two, &one, &other]);
    let reply = app.send(&call).await;
    let events = report(&reply);
    assert_eq!(events[0].1, events[2].1);
    assert!(events[0].1.is_some());
    assert_eq!(
        (&*events[1].0, &*events[3].0),
        ("order_created", "conflict")
    );
    assert_eq!(
        (app.orders(), app.ledger_entries(), app.events()),
        (2, 2, 2)
    );
    for again in [
        app.send(&call).await,
        app.send(&call.clone().key("K")).await,
    ] {
        assert_eq!(again.essence(), reply.essence());
    }
    // Nothing else need be in it.
    let reply = app.send(&batch(&[&three, &three])).await;
    assert_eq!(outcomes(&reply), ["order_created", "duplicate"]);
    assert_eq!((app.orders(), app.ledger_entries()), (3, 3));
}

async fn the_same_id_at_two_providers_is_two_messages(engine: Engine) {
    let app = App::new(engine).await;
    let sid = new_sid();
    app.send(&Call::twilio_text(&sid, "2 cola")).await;
    let reply = app.send(&batch(&[&whatsapp_text(&sid, "2 cola")])).await;
    assert_eq!(outcomes(&reply), ["order_created"]);
    // Nor is the step of a message the message.
    let to = format!("whatsapp:{SHOP_PHONE}");
    let step = Call::twilio(&[("MessageSid", &sid), ("MessageStatus", "read"), ("To", &to)]);
    assert_eq!(told(&app.send(&step).await), (204, Some("false")));
    assert_eq!((app.orders(), app.events()), (2, 3));
}
