//! What is masked in what is stored (`REDACT_FIELDS`), and that nothing else notices it.

use hookonce::{config::Config, redaction::Redaction};
use serde_json::{Value, json};

use crate::support::{
    app::App,
    database::{Database, Engine, on_both},
    handlers::{Host, Work, call},
    records::{self, column, statuses},
    requests::{Call, SHOP_PHONE, mismatch, new_sid, new_wamid, refused, told, whatsapp_text},
    shop::{Service, items, with},
};

on_both! {
    a_form_is_stored_masked_and_acted_on_as_it_was_sent
    a_batch_is_stored_masked_at_any_depth
    a_part_of_what_is_masked_is_not_kept_with_its_event
    fingerprints_and_digests_are_those_of_the_original
    a_failed_request_is_stored_masked_too
    what_a_client_of_the_api_sends_is_stored_masked
    a_change_under_a_key_is_stored_masked
    behind_the_middleware_json_and_forms_are_masked_and_other_texts_as_a_whole
}

fn masking(names: &str) -> impl FnOnce(&mut Config) {
    let names: Redaction = names.parse().expect("names");
    move |config| config.redact_fields = names
}

/// The documents of a column, the oldest first.
fn documents(database: &Database, table: &str, column: &str) -> Vec<Value> {
    let sql = format!("SELECT CAST({column} AS TEXT) AS t FROM {table} ORDER BY created_at");
    let texts = database.texts(&sql).into_iter().flatten();
    texts
        .map(|text| serde_json::from_str(&text).expect("JSON"))
        .collect()
}

fn requests(database: &Database) -> Vec<Value> {
    records::bodies(database)
}

fn payloads(database: &Database) -> Vec<Value> {
    documents(database, "webhook_event", "payload")
}

fn order_by_form(sid: &str) -> Call {
    let metadata = r#"{"type":"whatsapp","data":{"context":{"ProfileName":"Ana","WaId":"1415"}}}"#;
    Call::twilio(&[
        ("MessageSid", sid),
        ("From", "whatsapp:+14155550100"),
        ("To", &format!("whatsapp:{SHOP_PHONE}")),
        ("Body", "2 cola"),
        ("MessageType", "text"),
        ("ProfileName", "Ana"),
        ("ChannelMetadata", metadata),
    ])
}

async fn a_form_is_stored_masked_and_acted_on_as_it_was_sent(engine: Engine) {
    let app = App::with(engine, masking("from,profilename,BODY")).await;
    let sid = new_sid();
    let order = order_by_form(&sid);
    let first = app.send(&order).await;
    assert_eq!(told(&first), (200, Some("false")));
    assert!(first.body.contains("2 × Cola"), "{first:?}");
    let masked = json!({
        "MessageSid": sid,
        "From": "[redacted]",
        "To": format!("whatsapp:{SHOP_PHONE}"),
        "Body": "[redacted]",
        "MessageType": "text",
        "ProfileName": "[redacted]",
        "ChannelMetadata":
            r#"{"type":"whatsapp","data":{"context":{"ProfileName":"[redacted]","WaId":"1415"}}}"#,
    });
    assert_eq!(requests(&app.database), vec![masked.clone()]);
    assert_eq!(payloads(&app.database), [masked]);
    let customer = "SELECT customer_name || ' ' || customer_phone AS t FROM orders";
    let customer = app.database.texts(customer);
    assert_eq!(customer, [Some("Ana +14155550100".to_owned())]);

    // Repeated, or under another key, it is still the same.
    for again in [order.clone(), order.key("another")] {
        let again = app.send(&again).await;
        assert_eq!(told(&again), (200, Some("true")));
        assert_eq!(again.essence(), first.essence());
    }
    // What differs in what is masked differs.
    let forged = Call::twilio(&[("MessageSid", &sid), ("Body", "3 cola")]);
    assert_eq!(
        refused(&app.send(&forged.clone().key(&sid)).await),
        mismatch()
    );
    assert_eq!(app.send(&forged).await.status, 200);
    assert_eq!((app.orders(), app.events()), (1, 1));
}

async fn a_batch_is_stored_masked_at_any_depth(engine: Engine) {
    let app = App::with(engine, masking("body,wa_id,name")).await;
    let id = new_wamid();
    let batch = Call::whatsapp_messages(json!([whatsapp_text(&id, "2 cola")]));
    let first = app.send(&batch).await;
    assert_eq!(first.json()["events"][0]["outcome"], "order_created");
    let message = with(
        whatsapp_text(&id, ""),
        json!({"text": {"body": "[redacted]"}}),
    );
    assert_eq!(payloads(&app.database), vec![message.clone()]);
    let stored = &requests(&app.database)[0]["entry"][0]["changes"][0]["value"];
    assert_eq!(stored["messages"], json!([message]));
    let contact = json!({"profile": {"name": "[redacted]"}, "wa_id": "[redacted]"});
    assert_eq!(stored["contacts"], json!([contact]));
    assert_eq!(app.send(&batch).await.essence(), first.essence());
    let other = app.send(&batch.key("another")).await;
    assert_eq!(other.essence(), first.essence());
    assert_eq!(app.orders(), 1);
}

async fn a_part_of_what_is_masked_is_not_kept_with_its_event(engine: Engine) {
    for member in ["messages", "Entry"] {
        let app = App::with(engine, masking(member)).await;
        let message = whatsapp_text(&new_wamid(), "2 cola");
        app.send(&Call::whatsapp_messages(json!([message]))).await;
        assert_eq!(payloads(&app.database), [json!("[redacted]")], "{member}");
        let stored = requests(&app.database)[0].to_string();
        assert!(!stored.contains("cola"), "{stored}");
        assert_eq!(app.orders(), 1);
    }
}

async fn fingerprints_and_digests_are_those_of_the_original(engine: Engine) {
    let order = order_by_form(&new_sid());
    let known = async |app: App| {
        app.send(&order).await;
        let digest = app.database.texts("SELECT digest AS t FROM v_events");
        (column(&app.database, "fingerprint"), digest)
    };
    let masked = known(App::with(engine, masking("Body,From")).await).await;
    assert_eq!(masked, known(App::new(engine).await).await);
}

async fn a_failed_request_is_stored_masked_too(engine: Engine) {
    let app = App::with(engine, masking("Body")).await;
    app.database.break_writes("INSERT ON orders", "broken");
    let reply = app.send(&order_by_form(&new_sid())).await;
    assert_eq!(reply.status, 500);
    assert_eq!(statuses(&app.database), ["failed"]);
    assert_eq!(requests(&app.database)[0]["Body"], "[redacted]");
}

async fn what_a_client_of_the_api_sends_is_stored_masked(engine: Engine) {
    let service = Service::with(engine, masking("phone,quantity")).await;
    let pos = service.pos().await;
    let order = items(&[("COLA", 2)]);
    let first = pos
        .post_keyed("/api/v1/orders", "K", &order)
        .await
        .must(201);
    let customer = json!({"name": "Ana", "phone": "+14155550100"});
    assert_eq!(first.data()["customer"]["phone"], customer["phone"]);
    assert_eq!(first.data()["items"][0]["quantity"], 2);
    let masked = json!({
        "customer": {"name": "Ana", "phone": "[redacted]"},
        "items": [{"sku": "COLA", "quantity": "[redacted]"}],
    });
    let again = pos.post_keyed("/api/v1/orders", "K", &order).await;
    assert_eq!(again.header("Idempotent-Replayed"), Some("true"));
    assert_eq!(again.body, first.body);
    let other = items(&[("COLA", 3)]);
    let other = pos
        .post_keyed("/api/v1/orders", "K", &other)
        .await
        .must(409);
    assert_eq!(other.error_code(), "IDEMPOTENCY_KEY_MISMATCH");
    // What is refused is an answer like any other.
    let wrong = json!({"customer": {"phone": 7}, "items": [{"quantity": {"phone": 1}}]});
    pos.post("/api/v1/orders", &wrong).await.must(400);
    let wrong = json!({"customer": {"phone": "[redacted]"}, "items": [{"quantity": "[redacted]"}]});
    assert_eq!(requests(service.database()), [masked, wrong]);
}

async fn a_change_under_a_key_is_stored_masked(engine: Engine) {
    let service = Service::with(engine, masking("status")).await;
    let pos = service.pos().await;
    let order = pos.order_of("7.00").await;
    let path = format!("/api/v1/orders/{order}");
    let change = pos.telling("PATCH", &path, &json!({"status": "confirmed"}));
    let answer = change.header("Idempotency-Key", "step").send().await;
    assert_eq!(answer.expect("an answer").status(), 200);
    let stored = requests(service.database());
    assert_eq!(stored[1], json!({"status": "[redacted]"}));
    assert_eq!(service.count("orders WHERE status = 'confirmed'"), 1);
}

async fn behind_the_middleware_json_and_forms_are_masked_and_other_texts_as_a_whole(
    engine: Engine,
) {
    let form = "application/x-www-form-urlencoded; charset=utf-8";
    let long_form = "card=4&".repeat(1_001);
    let cases: [(&str, &[u8], &str, &str); 7] = [
        (
            "application/json",
            br#"{"card": 4, "n": 1.0}"#,
            r#"{"card": 4, "n": 1.0}"#,
            r#"{"card":"[redacted]","n":1.0}"#,
        ),
        (
            "text/plain",
            br#"[{"Card": "4"}]"#,
            r#"[{"Card": "4"}]"#,
            r#"[{"Card":"[redacted]"}]"#,
        ),
        (
            form,
            b"card=4&n=1&n=2",
            r#"{"card":"4","n":["1","2"]}"#,
            r#"{"card":"[redacted]","n":["1","2"]}"#,
        ),
        (
            form,
            b"p=%7B%22card%22%3A4%7D",
            r#"{"p":"{\"card\":4}"}"#,
            r#"{"p":"{\"card\":\"[redacted]\"}"}"#,
        ),
        (
            form,
            long_form.as_bytes(),
            &format!("\"{long_form}\""),
            r#""[redacted]""#,
        ),
        (
            "application/json",
            br#"{"card": 4"#,
            r#""{\"card\": 4""#,
            r#""[redacted]""#,
        ),
        ("text/plain", b"card: 4", r#""card: 4""#, r#""[redacted]""#),
    ];
    for names in ["", "card"] {
        let database = Database::new(engine);
        let work = Work::new(|_, body| Ok(actix_web::HttpResponse::Ok().body(body)));
        let redaction: Redaction = names.parse().unwrap();
        let host = Host::new(&database, &work, |it| it.redaction(redaction)).await;
        for (place, (content_type, body, ..)) in cases.iter().enumerate() {
            let call = Call {
                body: body.to_vec(),
                ..call(&format!("K{place}"))
            };
            let call = call.instead("Content-Type", content_type);
            let first = host.send(&call).await;
            assert_eq!(
                first.body.as_bytes(),
                *body,
                "the handler gets it as it was sent"
            );
            let again = host.send(&call).await;
            assert_eq!(
                (again.essence(), told(&again)),
                (first.essence(), (200, Some("true")))
            );
        }
        let kept = cases.map(|(_, _, whole, masked)| {
            Some(if names.is_empty() { whole } else { masked }.to_owned())
        });
        assert_eq!(column(&database, "request_body"), kept, "{names:?}");
        assert_eq!(work.runs(), cases.len());
    }
}
