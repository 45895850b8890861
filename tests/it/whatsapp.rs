//! What Meta's WhatsApp Cloud API sends: the handshake, and batches of messages and statuses.

use serde_json::{Value, json};
use std::time::Duration;

use crate::support::{
    app::{App, set},
    database::{Engine, on_both},
    requests::{Call, Reply, SHOP_PHONE_NUMBER_ID, VERIFY_TOKEN, new_wamid, whatsapp_text},
};

on_both! {
    the_handshake_echoes_the_challenge_to_whoever_knows_the_token
    a_cart_costs_what_the_catalogue_says
    money_is_read_from_its_text_and_never_from_a_float
    a_text_is_an_order_and_its_reply_is_kept_with_the_event
    one_bad_item_never_costs_another
    whatever_else_meta_sends_is_kept_and_answered
    statuses_only_move_forward
    a_report_tells_what_became_of_each_event
    a_sender_may_have_a_user_name_only
    ids_are_told_apart_by_case
    half_a_surrogate_pair_costs_no_message
    a_batch_of_a_thousand_is_acted_on_item_by_item
    without_a_secret_the_routes_say_so
}

/// The outcomes that a report tells, in its order.
fn outcomes(reply: &Reply) -> Vec<String> {
    let report = reply.json();
    let events = report["events"].as_array().expect("events");
    let outcome = |event: &Value| event["outcome"].as_str().expect("an outcome").to_owned();
    events.iter().map(outcome).collect()
}

fn cart(id: &str, items: Value) -> Value {
    json!({
        "id": id, "from": "14155550100", "timestamp": "1763700000", "type": "order",
        "order": {"catalog_id": "1", "text": "No onions", "product_items": items},
    })
}

/// A change in Meta's envelope.
fn change(field: &str, value: Value) -> Call {
    let envelope = json!({
        "object": "whatsapp_business_account",
        "entry": [{"id": "1", "changes": [{"field": field, "value": value}]}],
    });
    Call::whatsapp(envelope.to_string())
}

async fn the_handshake_echoes_the_challenge_to_whoever_knows_the_token(engine: Engine) {
    let app = App::new(engine).await;
    let ask = |query: String| {
        let path = format!("/webhooks/whatsapp{query}");
        let app = &app;
        async move { app.get(&path).await }
    };
    let right = ask(format!(
        "?hub.mode=subscribe&hub.verify_token={VERIFY_TOKEN}&hub.challenge=%3Cb%3E1158"
    ))
    .await;
    assert_eq!((right.status, &*right.body), (200, "<b>1158"));
    // Never HTML: whoever sends the link chooses the text.
    assert!(
        right
            .content_type
            .is_some_and(|it| it.starts_with("text/plain"))
    );
    for wrong in [
        "?hub.mode=subscribe&hub.verify_token=wrong&hub.challenge=1".to_owned(),
        format!("?hub.mode=subscribe&hub.verify_token={VERIFY_TOKEN}x&hub.challenge=1"),
        "?hub.mode=subscribe&hub.verify_token=&hub.challenge=1".to_owned(),
        format!("?hub.mode=unsubscribe&hub.verify_token={VERIFY_TOKEN}&hub.challenge=1"),
        format!("?hub.verify_token={VERIFY_TOKEN}&hub.challenge=1"),
        format!("?hub.mode=subscribe&hub.verify_token={VERIFY_TOKEN}"),
        "?hub.mode=subscribe&hub.challenge=1".to_owned(),
        String::new(),
    ] {
        let reply = ask(wrong.clone()).await;
        assert_eq!(
            (reply.status, &*reply.error_code()),
            (403, "VERIFY_TOKEN_MISMATCH"),
            "{wrong}"
        );
    }
}

async fn a_cart_costs_what_the_catalogue_says(engine: Engine) {
    let app = App::new(engine).await;
    let items = json!([
        {"product_retailer_id": "PIZZA-MARG", "quantity": 2, "item_price": 7.99, "currency": "USD"},
        {"product_retailer_id": "TEA", "quantity": "1", "item_price": 2, "currency": "USD"},
        {"product_retailer_id": "COLA", "quantity": 1, "item_price": 1.75, "currency": "EUR"},
    ]);
    let reply = app
        .send(&Call::whatsapp_messages(json!([cart(&new_wamid(), items)])))
        .await;
    assert_eq!(outcomes(&reply), ["order_created"]);
    let order = "SELECT total_minor || ' ' || note || '; ' || price_note AS t FROM orders";
    assert_eq!(
        app.database.texts(order),
        [Some("2075 No onions; PIZZA-MARG: message 7.99 USD, catalogue 8.50 USD; COLA: message 1.75 EUR, catalogue 1.75 USD".to_owned())]
    );

    let unknown = json!([{"product_retailer_id": "TEE", "quantity": 1}, {"product_retailer_id": "COLA", "quantity": 1}]);
    let reply = app
        .send(&Call::whatsapp_messages(json!([cart(
            &new_wamid(),
            unknown
        )])))
        .await;
    assert_eq!(outcomes(&reply), ["unknown_product"]);
    assert_eq!((app.orders(), app.ledger_entries()), (1, 1));
}

async fn money_is_read_from_its_text_and_never_from_a_float(engine: Engine) {
    let app = App::new(engine).await;
    // Each as it may stand in the JSON. A float would call the last two the catalogue's price.
    for (price, note) in [
        ("1.75", None),
        ("1.750", None),
        ("175e-2", None),
        ("\"1.75\"", None),
        (
            "1.7500000000000000001",
            Some("COLA: message 1.7500000000000000001 USD, catalogue 1.75 USD"),
        ),
        (
            "1.75000000000000000000000000000000001",
            Some("COLA: message 1.75000000000000000000000000000000001 USD, catalogue 1.75 USD"),
        ),
    ] {
        let id = new_wamid();
        let items = json!([{"product_retailer_id": "COLA", "quantity": 3, "item_price": "PRICE", "currency": "USD"}]);
        let body =
            String::from_utf8(Call::whatsapp_messages(json!([cart(&id, items)])).body).unwrap();
        let reply = app
            .send(&Call::whatsapp(body.replace("\"PRICE\"", price)))
            .await;
        assert_eq!(outcomes(&reply), ["order_created"], "{price}");
        let sql = format!(
            "SELECT price_note AS t FROM orders WHERE message_id = '{id}' AND total_minor = 525"
        );
        assert_eq!(
            app.database.texts(&sql),
            [note.map(str::to_owned)],
            "{price}"
        );
    }
}

async fn a_text_is_an_order_and_its_reply_is_kept_with_the_event(engine: Engine) {
    let app = App::new(engine).await;
    let (order, question, puzzle) = (new_wamid(), new_wamid(), new_wamid());
    let reply = app
        .send(&Call::whatsapp_messages(json!([
            whatsapp_text(&order, "2 x cola, 1 baklava"),
            whatsapp_text(&question, "Do you deliver?"),
            whatsapp_text(&puzzle, "2 zzzzzz"),
        ])))
        .await;
    assert_eq!(
        outcomes(&reply),
        ["order_created", "not_an_order", "unknown_product"]
    );
    let kept = |id: &str| {
        let sql = format!("SELECT reply AS t FROM webhook_event WHERE event_id = '{id}'");
        app.database.texts(&sql).remove(0)
    };
    let number = reply.json()["events"][0]["order_number"]
        .as_str()
        .unwrap()
        .to_owned();
    let told = kept(&order).expect("a reply").replace(&number, "[number]");
    insta::allow_duplicates! {
        insta::assert_snapshot!(told, @r#"
        Order [number] received.
        2 × Cola: 3.50 USD
        1 × Baklava: 3.50 USD
        Total: 7.00 USD
        "#);
    }
    assert_eq!(kept(&question), None);
    assert!(kept(&puzzle).is_some_and(|text| text.contains("zzzzzz")));
    let customer = "SELECT customer_phone || ' ' || customer_name AS t FROM orders";
    assert_eq!(
        app.database.texts(customer),
        [Some("+14155550100 Ana".to_owned())]
    );
}

async fn one_bad_item_never_costs_another(engine: Engine) {
    let app = App::new(engine).await;
    let (first, last) = (new_wamid(), new_wamid());
    let long = format!("wamid.{}", "x".repeat(300));
    let messages = json!([
        whatsapp_text(&first, "2 cola"),
        {"type": "text", "text": {"body": "2 cola"}},
        {"id": 7, "type": "text", "text": {"body": "2 cola"}},
        {"id": "", "type": "text", "text": {"body": "2 cola"}},
        null, "text", 3, [], {},
        {"id": new_wamid(), "type": "text", "text": {"body": 3}},
        {"id": new_wamid(), "type": "text", "text": null},
        {"id": new_wamid(), "type": "order", "order": {"product_items": 7}},
        {"id": new_wamid(), "type": "order"},
        {"id": new_wamid(), "type": {"not": "a text"}},
        whatsapp_text(&long, "2 cola"),
        whatsapp_text(&last, "1 tea"),
    ]);
    let reply = app.send(&Call::whatsapp_messages(messages)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let told = outcomes(&reply);
    assert_eq!(
        (told.len(), &*told[0], &*told[15]),
        (16, "order_created", "order_created")
    );
    assert!(
        !told[1..15].contains(&"order_created".to_owned()),
        "{told:?}"
    );
    assert_eq!((app.orders(), app.ledger_entries()), (2, 2));
}

async fn whatever_else_meta_sends_is_kept_and_answered(engine: Engine) {
    let app = App::new(engine).await;
    for kind in [
        "image",
        "audio",
        "location",
        "contacts",
        "reaction",
        "button",
        "interactive",
        "unsupported",
        "brand_new",
    ] {
        let message = json!({"id": new_wamid(), "from": "14155550100", "type": kind, kind: {"id": "1", "caption": "2 cola"}});
        let reply = app.send(&Call::whatsapp_messages(json!([message]))).await;
        assert_eq!(outcomes(&reply), ["ignored"], "{kind}");
    }
    let template = change(
        "message_template_status_update",
        json!({"event": "APPROVED", "message_template_id": 1}),
    );
    assert_eq!(outcomes(&app.send(&template).await), ["ignored"]);
    let errors = change(
        "messages",
        json!({"metadata": {}, "errors": [{"code": 130429}]}),
    );
    assert_eq!(outcomes(&app.send(&errors).await), ["ignored"]);
    assert_eq!(app.events(), 11);
    // Not about WhatsApp, or about nothing: answered, so that Meta does not send it for a week.
    for body in [
        r#"{"object":"page","entry":[{"id":"1"}]}"#,
        "{}",
        r#"{"object":"whatsapp_business_account"}"#,
        r#"{"object":"whatsapp_business_account","entry":{}}"#,
    ] {
        let reply = app.send(&Call::whatsapp(body)).await;
        assert_eq!(
            (reply.status, &*reply.body),
            (200, r#"{"events":[],"success":true}"#),
            "{body}"
        );
    }
    assert_eq!((app.events(), app.orders()), (11, 0));
}

async fn statuses_only_move_forward(engine: Engine) {
    let app = App::new(engine).await;
    for (steps, expected) in [
        (&["sent", "delivered", "read"][..], "read"),
        (&["read", "delivered", "sent"], "read"),
        (&["delivered", "failed"], "delivered"),
        (&["failed", "sent"], "failed 131047"),
        (&["failed", "delivered"], "delivered"),
        (&["played", "read"], "played"),
    ] {
        let id = new_wamid();
        let status = |status: &&str| {
            let mut step = json!({"id": id, "status": status, "timestamp": "1763700000", "recipient_id": "14155550100"});
            if *status == "failed" {
                step["errors"] = json!([{"code": 131047, "title": "Re-engagement message"}]);
            }
            step
        };
        let value = json!({"metadata": {"phone_number_id": SHOP_PHONE_NUMBER_ID}, "statuses": steps.iter().map(status).collect::<Vec<_>>()});
        let reply = app.send(&change("messages", value)).await;
        assert_eq!(outcomes(&reply), vec!["status_recorded"; steps.len()]);
        let sql = format!(
            "SELECT status || coalesce(' ' || error_code, '') AS t FROM message_status WHERE message_id = '{id}'"
        );
        assert_eq!(
            app.database.texts(&sql),
            [Some(expected.to_owned())],
            "{steps:?}"
        );
        // One by one too, and a second failure with another error is the same event.
        let late = json!({"metadata": {}, "statuses": [{"id": id, "status": steps[0], "errors": [{"code": 1}]}]});
        assert_eq!(
            outcomes(&app.send(&change("messages", late)).await),
            ["duplicate"]
        );
        assert_eq!(
            app.database.texts(&sql),
            [Some(expected.to_owned())],
            "{steps:?}"
        );
    }
}

async fn a_report_tells_what_became_of_each_event(engine: Engine) {
    let app = App::new(engine).await;
    let mut message = whatsapp_text("wamid.ORDER==", "1 tea");
    message["context"] = json!({"forwarded": true});
    let value = json!({
        "metadata": {"phone_number_id": SHOP_PHONE_NUMBER_ID},
        "messages": [message, whatsapp_text("wamid.TALK", "hello"), {"id": "wamid.IMAGE", "type": "image"}],
        "statuses": [{"id": "wamid.OURS", "status": "read"}],
    });
    let reply = app.send(&change("messages", value)).await;
    assert_eq!(
        (reply.status, reply.content_type.as_deref()),
        (200, Some("application/json"))
    );
    let order = reply.json()["events"][0].clone();
    let text = |member: &str| order[member].as_str().expect("a text").to_owned();
    assert!(text("order_id").parse::<uuid::Uuid>().is_ok());
    let body = reply
        .body
        .replace(&text("order_id"), "[id]")
        .replace(&text("order_number"), "[number]");
    insta::allow_duplicates! {
        insta::assert_snapshot!(body, @r#"{"events":[{"id":"wamid.ORDER==","order_id":"[id]","order_number":"[number]","outcome":"order_created"},{"id":"wamid.TALK","order_id":null,"order_number":null,"outcome":"not_an_order"},{"id":"wamid.IMAGE","order_id":null,"order_number":null,"outcome":"ignored"},{"id":"wamid.OURS:read","order_id":null,"order_number":null,"outcome":"status_recorded"}],"success":true}"#);
    }
}

async fn a_sender_may_have_a_user_name_only(engine: Engine) {
    let app = App::new(engine).await;
    let value = json!({
        "metadata": {"phone_number_id": SHOP_PHONE_NUMBER_ID},
        "contacts": [
            {"profile": {"name": "Somebody else"}, "user_id": "US.1"},
            {"profile": {"name": "Amélie", "username": "amelie.eats"}, "user_id": "US.49"},
        ],
        "messages": [{"from_user_id": "US.49", "id": new_wamid(), "type": "text", "text": {"body": "1 baklava"}}],
    });
    assert_eq!(
        outcomes(&app.send(&change("messages", value)).await),
        ["order_created"]
    );
    let customer = "SELECT customer_user_id || ' ' || customer_name || ' ' || coalesce(customer_phone, 'no number') AS t FROM orders";
    assert_eq!(
        app.database.texts(customer),
        [Some("US.49 Amélie no number".to_owned())]
    );
}

async fn ids_are_told_apart_by_case(engine: Engine) {
    let app = App::new(engine).await;
    let messages = [
        "wamid.AbC/+=",
        "wamid.aBc/+=",
        "wamid.AbC/+",
        " wamid.AbC/+",
    ]
    .map(|id| whatsapp_text(id, "1 tea"));
    let reply = app.send(&Call::whatsapp_messages(json!(messages))).await;
    assert_eq!(outcomes(&reply), ["order_created"; 4]);
}

async fn half_a_surrogate_pair_costs_no_message(engine: Engine) {
    let app = App::new(engine).await;
    // A name or a text that was cut within an emoji.
    for half in [r"\ud83c", r"\udf55", r"\ud83cA"] {
        let messages = json!([
            whatsapp_text(&new_wamid(), "HALF"),
            whatsapp_text(&new_wamid(), "1 tea")
        ]);
        let body = String::from_utf8(Call::whatsapp_messages(messages).body).unwrap();
        let cut = body.replace("HALF", half).replace("Ana", half);
        let reply = app.send(&Call::whatsapp(cut)).await;
        assert_eq!(
            outcomes(&reply),
            ["not_an_order", "order_created"],
            "{half}"
        );
    }
}

async fn a_batch_of_a_thousand_is_acted_on_item_by_item(engine: Engine) {
    let app = App::with(engine, |config| {
        config.request_timeout = Duration::from_secs(60)
    })
    .await;
    let ids: Vec<String> = (0..1_000).map(|_| new_wamid()).collect();
    // Every tenth orders.
    let message = |(n, id): (usize, &String)| match n % 10 {
        0 => whatsapp_text(id, "1 tea"),
        _ => json!({"id": id, "type": "reaction", "reaction": {"emoji": "👍"}}),
    };
    let messages: Vec<Value> = ids.iter().enumerate().map(message).collect();
    let call = Call::whatsapp_messages(json!(messages));
    let reply = app.send(&call).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let report = reply.json();
    let told = report["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["id"].as_str().unwrap());
    assert!(
        told.eq(ids.iter().map(String::as_str)),
        "told in the order of the delivery"
    );
    assert_eq!((app.orders(), app.events(), app.records()), (100, 1_000, 1));
    let again = app.send(&call.key("the-same-again")).await;
    assert_eq!(again.essence(), reply.essence());
    assert_eq!((app.orders(), app.ledger_entries()), (100, 100));
}

async fn without_a_secret_the_routes_say_so(engine: Engine) {
    let app = App::with(engine, |config| {
        set(config, "WHATSAPP_APP_SECRET", "");
        set(config, "WHATSAPP_VERIFY_TOKEN", "");
    })
    .await;
    let path = "/webhooks/whatsapp?hub.mode=subscribe&hub.verify_token=&hub.challenge=1";
    for reply in [app.send(&Call::whatsapp("{}")).await, app.get(path).await] {
        assert_eq!(
            (reply.status, &*reply.error_code()),
            (503, "PROVIDER_NOT_CONFIGURED")
        );
    }
}
