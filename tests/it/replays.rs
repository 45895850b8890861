//! Keys and replays: what a request gets whose key is new, known, used for something else, in progress, failed or
//! expired.

use serde_json::json;
use std::time::{Duration, Instant};

use crate::support::{
    app::App,
    database::{Engine, on_both},
    requests::{Call, Reply, SHOP_PHONE, new_sid, new_wamid, whatsapp_text},
};

on_both! {
    a_known_request_gets_the_bytes_of_its_first_answer
    an_answer_without_a_body_is_replayed_without_one
    a_key_of_another_request_is_refused_and_its_record_untouched
    both_headers_and_the_quoted_form_name_one_key
    two_keys_that_differ_are_refused
    the_header_may_have_another_name
    json_that_is_only_spaced_differently_is_the_same_request
    another_query_path_or_content_type_is_another_request
    a_webhook_waits_for_the_first_to_finish_and_replays_its_answer
    a_webhook_does_not_wait_for_ever
    an_abandoned_request_is_taken_over
    a_failed_record_never_blocks_its_own_request
    an_expired_record_frees_the_key_and_not_the_order
    a_failure_inside_leaves_nothing_but_a_note_and_the_retry_works
    a_failing_event_costs_its_batch_nothing_and_the_retry_completes_it
    a_database_that_is_away_acknowledges_nothing
    without_keys_events_still_count_once
    replays_are_counted
    the_key_of_one_provider_is_not_that_of_another
    a_restarted_service_replays
}

fn order() -> Call {
    Call::twilio_text(&new_sid(), "2 cola, 1 tea")
}

/// The record of a key, all that a replay must leave alone.
fn record(app: &App, key: &str) -> String {
    let columns = [
        "id",
        "method",
        "path",
        "fingerprint",
        "status",
        "response_status",
        "response_body",
        "owner_token",
        "created_at",
        "expires_at",
    ];
    let columns = columns.map(|name| format!("coalesce(CAST({name} AS TEXT), 'none')"));
    let sql = format!(
        "SELECT {} AS t FROM v_deliveries WHERE idempotency_key = '{key}'",
        columns.join(" || ' ' || ")
    );
    let mut records = app.database.texts(&sql);
    assert_eq!(records.len(), 1, "{key}");
    records.remove(0).expect("a record")
}

/// Changes every record.
fn set(app: &App, changes: &str) {
    app.database
        .execute(&format!("UPDATE webhook_idempotency SET {changes}"));
}

const UNANSWERED: &str = "status = 'in_progress', response_status = NULL, response_content_type = NULL, response_body = NULL, order_id = NULL";
const PAST: &str = "'2020-01-01T00:00:00.000000Z'";
const FUTURE: &str = "'2999-01-01T00:00:00.000000Z'";

/// Forgets what was done, and keeps the record.
fn undo(app: &App) {
    set(app, "order_id = NULL");
    for table in ["webhook_event", "ledger_entries", "order_items", "orders"] {
        app.database.execute(&format!("DELETE FROM {table}"));
    }
}

fn told(reply: &Reply) -> (u16, Option<&str>) {
    (reply.status, reply.replayed.as_deref())
}

fn refused(reply: &Reply) -> (u16, String) {
    (reply.status, reply.error_code())
}

fn mismatch() -> (u16, String) {
    (409, "IDEMPOTENCY_KEY_MISMATCH".to_owned())
}

async fn a_known_request_gets_the_bytes_of_its_first_answer(engine: Engine) {
    let app = App::new(engine).await;
    let cloud = Call::whatsapp_messages(json!([whatsapp_text(&new_wamid(), "1 tea")]));
    let odd = Call::twilio_text(&new_sid(), "2 zz <&> \u{7} é 🍕");
    for call in [order(), order().key("a-key"), cloud.clone(), odd] {
        let first = app.send(&call).await;
        assert_eq!(told(&first), (200, Some("false")), "{first:?}");
        for _ in 0..2 {
            let again = app.send(&call).await;
            assert_eq!(told(&again), (200, Some("true")));
            assert_eq!(again.essence(), first.essence());
        }
    }
    assert_eq!(
        (app.orders(), app.ledger_entries(), app.records()),
        (3, 3, 4)
    );
}

async fn an_answer_without_a_body_is_replayed_without_one(engine: Engine) {
    let app = App::new(engine).await;
    let call = Call::twilio(&[("MessageSid", &new_sid()), ("MessageStatus", "sent")]).key("k-204");
    for replayed in ["false", "true"] {
        let reply = call.send_raw(&app.url).await;
        assert_eq!(told(&reply), (204, Some(replayed)));
        assert_eq!((reply.content_type, &*reply.body), (None, ""));
    }
}

async fn a_key_of_another_request_is_refused_and_its_record_untouched(engine: Engine) {
    let app = App::new(engine).await;
    let call = order().key("K1");
    let first = app.send(&call).await;
    let before = record(&app, "K1");
    let reply = app.send(&order().key("K1")).await;
    assert_eq!(
        reply.content_type.as_deref(),
        Some("application/problem+json")
    );
    insta::allow_duplicates! {
        insta::assert_snapshot!(reply.body, @r#"{"detail":"this idempotency key was used for another request","error_code":"IDEMPOTENCY_KEY_MISMATCH","message":"this idempotency key was used for another request","status":409,"success":false,"title":"The idempotency key was used for another request","type":"about:blank"}"#);
    }
    assert_eq!((reply.status, reply.replayed), (409, None));
    assert_eq!(record(&app, "K1"), before);
    assert_eq!((app.orders(), app.events(), app.records()), (1, 1, 1));
    assert_eq!(app.send(&call).await.essence(), first.essence());
    // The message that was refused is not lost: under a key of its own it orders.
    assert_eq!(
        told(&app.send(&order().key("K2")).await),
        (200, Some("false"))
    );
}

async fn both_headers_and_the_quoted_form_name_one_key(engine: Engine) {
    let app = App::new(engine).await;
    let call = order();
    let first = app.send(&call.clone().key("order:1.a_B-c")).await;
    for (name, value) in [
        ("Idempotency-Key", "order:1.a_B-c"),
        ("X-Idempotency-Key", "\"order:1.a_B-c\""),
        ("idempotency-key", "\"order:1.a_B-c\""),
        ("X-IDEMPOTENCY-KEY", "  order:1.a_B-c  "),
    ] {
        let again = app.send(&call.clone().header(name, value)).await;
        assert_eq!(told(&again), (200, Some("true")), "{name}: {value}");
        assert_eq!(again.essence(), first.essence());
    }
    assert_eq!((app.records(), app.orders()), (1, 1));
    // Keys are told apart by case.
    app.send(&call.key("ORDER:1.a_B-c")).await;
    assert_eq!((app.records(), app.orders()), (2, 1));
}

async fn two_keys_that_differ_are_refused(engine: Engine) {
    let app = App::new(engine).await;
    let call = order();
    for call in [
        call.clone().key("a").key("b"),
        call.clone().key("a").header("Idempotency-Key", "b"),
        call.clone().key("a").header("Idempotency-Key", "not a key"),
        call.clone().key("a, b"),
        call.clone()
            .key("a")
            .key("a")
            .header("Idempotency-Key", "A"),
    ] {
        let reply = app.send(&call).await;
        assert_eq!(
            refused(&reply),
            (400, "IDEMPOTENCY_KEY_INVALID".to_owned()),
            "{call:?}"
        );
    }
    assert_eq!((app.records(), app.events()), (0, 0));
    let same = call.key("a").key("\"a\"").header("Idempotency-Key", "a");
    assert_eq!(told(&app.send(&same).await), (200, Some("false")));
    assert_eq!(app.records(), 1);
}

async fn the_header_may_have_another_name(engine: Engine) {
    let app = App::with(engine, |config| {
        config.idempotency_header = "X-Request-Key".into()
    })
    .await;
    let call = order();
    app.send(&call.clone().header("X-Request-Key", "K")).await;
    assert_eq!(
        told(&app.send(&call.clone().header("Idempotency-Key", "K")).await),
        (200, Some("true"))
    );
    assert_eq!(app.records(), 1);
    // The usual name is a header like any other now: the key is derived.
    app.send(&call.key("not a key")).await;
    assert_eq!(app.records(), 2);
}

async fn json_that_is_only_spaced_differently_is_the_same_request(engine: Engine) {
    let app = App::new(engine).await;
    let compact = Call::whatsapp_messages(json!([whatsapp_text(&new_wamid(), "1 tea – ça va")]));
    let value: serde_json::Value = serde_json::from_slice(&compact.body).unwrap();
    let spaced = serde_json::to_string_pretty(&value).unwrap();
    let escaped = String::from_utf8(compact.body.clone())
        .unwrap()
        .replace('ç', "\\u00e7");
    let first = app.send(&compact.key("K")).await;
    for body in [spaced, escaped] {
        let again = app.send(&Call::whatsapp(body).key("K")).await;
        assert_eq!(told(&again), (200, Some("true")));
        assert_eq!(again.essence(), first.essence());
    }
    // A number as written counts: 1 is not 1.0.
    let number = |n: &str| Call::whatsapp(format!(r#"{{"object":"x","n":{n}}}"#)).key("N");
    app.send(&number("1")).await;
    assert_eq!(refused(&app.send(&number("1.0")).await), mismatch());
}

async fn another_query_path_or_content_type_is_another_request(engine: Engine) {
    let app = App::new(engine).await;
    let sid = new_sid();
    let to = format!("whatsapp:{SHOP_PHONE}");
    let params = [
        ("MessageSid", &*sid),
        ("To", &to),
        ("From", "whatsapp:+1415"),
        ("Body", "2 cola"),
    ];
    let at = |path| Call::twilio_at(path, &params).key("K");
    let first = app.send(&at("/webhooks/twilio?x=1")).await;
    assert_eq!(first.status, 200);
    for path in [
        "/webhooks/twilio?x=2",
        "/webhooks/twilio",
        "/webhooks/twilio?x=1&x=1",
        "/api/v1/whatsapp/webhook?x=1",
    ] {
        assert_eq!(refused(&app.send(&at(path)).await), mismatch(), "{path}");
    }
    assert_eq!(
        app.send(&at("/webhooks/twilio?x=1")).await.essence(),
        first.essence()
    );

    let cloud = Call::twilio_json(r#"{"a":1}"#).key("J");
    assert_eq!(app.send(&cloud).await.status, 204);
    let typed = |content_type| cloud.clone().instead("Content-Type", content_type);
    assert_eq!(
        told(&app.send(&typed("Application/JSON; charset=utf-8")).await),
        (204, Some("true"))
    );
    assert_eq!(
        refused(&app.send(&typed("application/cloudevents+json")).await),
        mismatch()
    );
}

async fn a_webhook_waits_for_the_first_to_finish_and_replays_its_answer(engine: Engine) {
    let app = App::new(engine).await;
    let call = order().key("K");
    app.send(&call).await;
    set(&app, &format!("{UNANSWERED}, lease_expires_at = {FUTURE}"));
    let (client, url) = (app.client.clone(), app.url.clone());
    let waiting = actix_web::rt::spawn(async move { call.send(&client, &url).await });
    actix_web::rt::time::sleep(Duration::from_millis(400)).await;
    assert!(!waiting.is_finished());
    set(
        &app,
        "status = 'completed', response_status = 200, response_content_type = 'text/xml', response_body = '\"<Late/>\"'",
    );
    let reply = actix_web::rt::time::timeout(Duration::from_secs(8), waiting).await;
    let reply = reply.expect("in time").unwrap().unwrap();
    assert_eq!(told(&reply), (200, Some("true")));
    assert_eq!(&*reply.body, "<Late/>");
}

async fn a_webhook_does_not_wait_for_ever(engine: Engine) {
    let app = App::with(engine, |config| {
        config.request_timeout = Duration::from_secs(2)
    })
    .await;
    let call = order().key("K");
    app.send(&call).await;
    set(&app, &format!("{UNANSWERED}, lease_expires_at = {FUTURE}"));
    let before = record(&app, "K");
    let begun = Instant::now();
    let reply = app.send(&call).await;
    assert_eq!(refused(&reply), (409, "REQUEST_PROCESSING".to_owned()));
    let seconds = reply.retry_after.expect("Retry-After").parse::<u64>();
    assert!(seconds.is_ok_and(|seconds| seconds >= 1));
    assert!(begun.elapsed() > Duration::from_secs(1), "it waited");
    assert!(begun.elapsed() < Duration::from_secs(4), "and not for long");
    assert_eq!(record(&app, "K"), before);
}

async fn an_abandoned_request_is_taken_over(engine: Engine) {
    let app = App::new(engine).await;
    let call = order().key("K");
    app.send(&call).await;
    undo(&app);
    set(&app, &format!("{UNANSWERED}, lease_expires_at = {PAST}"));
    let abandoned = record(&app, "K");
    let reply = app.send(&call).await;
    assert_eq!(told(&reply), (200, Some("false")));
    assert_eq!((app.orders(), app.records()), (1, 1));
    assert_ne!(record(&app, "K"), abandoned);
    assert_eq!(app.send(&call).await.essence(), reply.essence());
}

async fn a_failed_record_never_blocks_its_own_request(engine: Engine) {
    let app = App::new(engine).await;
    let call = order().key("K");
    app.send(&call).await;
    undo(&app);
    set(&app, &format!("{UNANSWERED}, lease_expires_at = {FUTURE}"));
    set(&app, "status = 'failed', error_message = 'it broke'");
    // The key is that of its first request, whatever became of it.
    assert_eq!(refused(&app.send(&order().key("K")).await), mismatch());
    assert_eq!(told(&app.send(&call).await), (200, Some("false")));
    let after = "SELECT status || coalesce(error_message, '') AS t FROM webhook_idempotency";
    assert_eq!(app.database.texts(after), [Some("completed".to_owned())]);
    assert_eq!((app.orders(), app.records()), (1, 1));
}

async fn an_expired_record_frees_the_key_and_not_the_order(engine: Engine) {
    let app = App::new(engine).await;
    let cloud = Call::whatsapp_messages(json!([
        whatsapp_text(&new_wamid(), "1 tea"),
        whatsapp_text(&new_wamid(), "hi")
    ]));
    for (call, another) in [
        (order().key("A"), order().key("A")),
        (cloud.key("B"), Call::whatsapp("{}").key("B")),
    ] {
        let first = app.send(&call).await;
        let orders = app.orders();
        set(&app, &format!("expires_at = {PAST}"));
        let again = app.send(&call).await;
        assert_eq!(told(&again), (200, Some("true")));
        assert_eq!(again.essence(), first.essence());
        assert_eq!((app.orders(), app.ledger_entries()), (orders, orders));
        // The record stands anew.
        assert_eq!(refused(&app.send(&another).await), mismatch());
        set(&app, &format!("expires_at = {PAST}"));
        assert_eq!(told(&app.send(&another).await), (200, Some("false")));
    }
    assert_eq!((app.orders(), app.records()), (3, 2));
}

/// What the operator is told of the only request that failed.
fn note(app: &App) -> String {
    let sql = "SELECT error_message AS t FROM webhook_idempotency WHERE status = 'failed'";
    let mut notes = app.database.texts(sql);
    assert_eq!(notes.len(), 1);
    notes.remove(0).expect("a note")
}

async fn a_failure_inside_leaves_nothing_but_a_note_and_the_retry_works(engine: Engine) {
    let app = App::new(engine).await;
    let cloud = Call::whatsapp_messages(json!([whatsapp_text(&new_wamid(), "1 tea")]));
    for call in [order(), order().key("K"), cloud] {
        let (orders, records) = (app.orders(), app.records());
        app.database
            .break_writes("INSERT ON ledger_entries", "inner detail");
        let reply = app.send(&call).await;
        assert_eq!(refused(&reply), (500, "INTERNAL".to_owned()));
        insta::allow_duplicates! {
            insta::assert_snapshot!(reply.body, @r#"{"detail":"the log knows more under the request id","error_code":"INTERNAL","message":"the log knows more under the request id","status":500,"success":false,"title":"Something broke inside","type":"about:blank"}"#);
        }
        assert_eq!(
            (app.orders(), app.events(), app.ledger_entries()),
            (orders, orders, orders)
        );
        assert!(note(&app).contains("inner detail"), "{}", note(&app));
        // Again while it is broken, and when it is mended.
        assert_eq!(app.send(&call).await.status, 500);
        app.database.mend("ledger_entries");
        let retry = app.send(&call).await;
        assert_eq!(told(&retry), (200, Some("false")));
        assert_eq!(app.send(&call).await.essence(), retry.essence());
        assert_eq!((app.orders(), app.records()), (orders + 1, records + 1));
    }
}

async fn a_failing_event_costs_its_batch_nothing_and_the_retry_completes_it(engine: Engine) {
    let app = App::new(engine).await;
    let [first, order, last] =
        ["hi", "1 tea", "hello"].map(|text| whatsapp_text(&new_wamid(), text));
    let call = Call::whatsapp_messages(json!([first, order, last])).key("K");
    app.database
        .break_writes("INSERT ON ledger_entries", "inner detail");
    assert_eq!(
        refused(&app.send(&call).await),
        (500, "INTERNAL".to_owned())
    );
    assert!(note(&app).contains("inner detail"), "{}", note(&app));
    // The others are kept; of the order there is not a trace.
    assert_eq!((app.events(), app.orders(), app.records()), (2, 0, 1));
    app.database.mend("ledger_entries");
    let retry = app.send(&call).await;
    assert_eq!(told(&retry), (200, Some("false")));
    let outcomes = ["not_an_order", "order_created", "not_an_order"];
    for (at, outcome) in outcomes.iter().enumerate() {
        assert_eq!(
            retry.json()["events"][at]["outcome"],
            json!(outcome),
            "{retry:?}"
        );
    }
    assert_eq!(app.send(&call).await.essence(), retry.essence());
    assert_eq!(
        app.send(&call.instead("X-Idempotency-Key", "another"))
            .await
            .essence(),
        retry.essence()
    );
    assert_eq!(
        (app.events(), app.orders(), app.ledger_entries()),
        (3, 1, 1)
    );
}

async fn a_database_that_is_away_acknowledges_nothing(engine: Engine) {
    let app = App::with(engine, |config| {
        config.request_timeout = Duration::from_secs(1)
    })
    .await;
    let call = order().key("K");
    let lock = app.database.lock();
    let reply = app.send(&call).await;
    assert_eq!(refused(&reply), (503, "STORE_UNAVAILABLE".to_owned()));
    assert!(reply.retry_after.is_some());
    lock.release();
    // What had begun may still have been finished: then this is its replay.
    let deadline = Instant::now() + Duration::from_secs(20);
    let reply = loop {
        let reply = app.send(&call).await;
        if reply.status == 200 || Instant::now() > deadline {
            break reply;
        }
    };
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!((app.orders(), app.records()), (1, 1));
}

async fn without_keys_events_still_count_once(engine: Engine) {
    let app = App::with(engine, |config| config.idempotency_enabled = false).await;
    let call = order();
    let first = app.send(&call.clone().key("K")).await;
    assert_eq!(told(&first), (200, Some("false")));
    for call in [
        call.clone(),
        call.clone().key("K"),
        call.clone().key("not a key"),
        call.key("a").key("b"),
    ] {
        let again = app.send(&call).await;
        assert_eq!(told(&again), (200, Some("true")), "{call:?}");
        assert_eq!(again.essence(), first.essence());
    }
    assert_eq!(
        told(&app.send(&order().key("K")).await),
        (200, Some("false"))
    );
    assert_eq!((app.orders(), app.events(), app.records()), (2, 2, 0));
}

async fn replays_are_counted(engine: Engine) {
    let app = App::new(engine).await;
    let (call, other) = (order().key("K"), order().key("other"));
    app.send(&other).await;
    for _ in 0..4 {
        app.send(&call).await;
    }
    let sql = "SELECT replay_count AS n FROM webhook_idempotency WHERE idempotency_key = 'K'";
    let deadline = Instant::now() + Duration::from_secs(15);
    while app.database.count(sql) < 3 && Instant::now() < deadline {
        actix_web::rt::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(app.database.count(sql), 3);
    assert_eq!(app.database.count(&sql.replace("'K'", "'other'")), 0);
    let accessed =
        "SELECT count(*) AS n FROM webhook_idempotency WHERE last_accessed_at > created_at";
    assert_eq!(app.database.count(accessed), 1);
}

async fn the_key_of_one_provider_is_not_that_of_another(engine: Engine) {
    let app = App::new(engine).await;
    let cloud = Call::whatsapp_messages(json!([whatsapp_text(&new_wamid(), "1 tea")]));
    for call in [order().key("K"), cloud.key("K")] {
        assert_eq!(told(&app.send(&call).await), (200, Some("false")));
    }
    let scopes =
        "SELECT scope AS t FROM webhook_idempotency WHERE idempotency_key = 'K' ORDER BY scope";
    let expected = ["webhook:twilio", "webhook:whatsapp"].map(|scope| Some(scope.to_owned()));
    assert_eq!(app.database.texts(scopes), expected);
    assert_eq!(app.orders(), 2);
}

async fn a_restarted_service_replays(engine: Engine) {
    let app = App::new(engine).await;
    let calls = [
        order(),
        order().key("K"),
        Call::whatsapp_messages(json!([whatsapp_text(&new_wamid(), "1 tea")])),
    ];
    let mut first = Vec::new();
    for call in &calls {
        first.push(app.send(call).await);
    }
    app.stop().await;
    assert!(
        calls[0].send(&app.client, &app.url).await.is_err(),
        "it has stopped"
    );
    let restarted = app.another(|_| {}).await;
    for (call, first) in calls.iter().zip(&first) {
        let again = call.send(&app.client, &restarted.url).await.unwrap();
        assert_eq!(told(&again), (200, Some("true")));
        assert_eq!(again.essence(), first.essence());
    }
    assert_eq!(app.orders(), 3);
}
