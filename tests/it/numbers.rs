//! Numbers and members are kept as they were written, and the programs around the library keep their own ways with them.

use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;

use crate::support::{
    app::App,
    database::{Database, Engine, on_both},
    handlers::{Host, Work, call},
    requests::{Call, mismatch, new_sid, refused, told},
    shop::{Answer, Client, Service, items, new_key},
};

on_both! {
    what_was_received_is_shown_with_its_numbers_as_they_were_written
    a_member_that_comes_twice_is_refused_by_the_api_wherever_it_is
    a_member_that_comes_twice_costs_a_provider_nothing
    members_that_come_twice_tell_requests_apart
    a_member_with_a_name_of_serdes_own_is_a_member_like_any_other
}

/// Each breaks where something in the program asks serde_json for `arbitrary_precision`.
#[test]
fn a_program_around_the_library_reads_its_flattened_and_tagged_numbers() {
    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(tag = "kind")]
    enum Tagged {
        Charge { amount: f64 },
    }
    #[derive(Debug, Deserialize, PartialEq)]
    struct Flattened {
        #[serde(flatten)]
        rates: BTreeMap<String, f64>,
    }
    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(untagged)]
    enum Untagged {
        Ratio(f64),
    }
    let charge: Result<Tagged, _> = serde_json::from_str(r#"{"kind":"Charge","amount":1.5}"#);
    assert_eq!(charge.ok(), Some(Tagged::Charge { amount: 1.5 }));
    let rates: Result<Flattened, _> = serde_json::from_value(json!({"a": 0.5}));
    let expected = BTreeMap::from([("a".to_owned(), 0.5)]);
    assert_eq!(rates.ok(), Some(Flattened { rates: expected }));
    let ratio: Result<Untagged, _> = serde_json::from_str("2.5");
    assert_eq!(ratio.ok(), Some(Untagged::Ratio(2.5)));
    let name = r#"{"$serde_json::private::Number":"1"}"#;
    let value: serde_json::Value = serde_json::from_str(name).expect("an object");
    assert!(value.is_object());
    let raw: serde_json::Value =
        serde_json::from_str(r#"{"$serde_json::private::RawValue":"1"}"#).expect("an object");
    assert!(raw.is_object());
}

const NUMBERS: &str =
    r#"{"z":1.10,"id":12345678901234567890123,"huge":1e400,"tiny":-0,"a":[1E5,2.50e+3]}"#;

async fn what_was_received_is_shown_with_its_numbers_as_they_were_written(engine: Engine) {
    for names in ["", "phone"] {
        let service = Service::with(engine, |config| {
            config.redact_fields = names.parse().expect("names");
        })
        .await;
        let batch = format!(
            r#"{{"object":"whatsapp_business_account","entry":[{{"id":"1","changes":[{{"field":"x","value":{NUMBERS}}}]}}]}}"#
        );
        let sent = service.app.send(&Call::whatsapp(batch.clone())).await;
        assert_eq!(sent.status, 200, "{sent:?}");
        let office = service.head_office().await;
        let deliveries = office.get("/api/v1/deliveries").await.must(200);
        let id = deliveries.data()[0]["id"]
            .as_str()
            .expect("an id")
            .to_owned();
        let shown = office.get(&format!("/api/v1/deliveries/{id}")).await;
        let shown = shown.must(200).body;
        assert!(shown.contains(&format!(r#""body":{batch}"#)), "{shown}");
        let events = "SELECT CAST(payload AS TEXT) AS t FROM webhook_event";
        let payloads = service.database().texts(events);
        assert!(
            payloads[0].as_ref().is_some_and(|it| it.contains(NUMBERS)),
            "{payloads:?}"
        );
    }
}

async fn refused_for(pos: &Client, path: &str, body: &str) -> Vec<String> {
    let request = pos.request("POST", path);
    let request = request.header("X-Idempotency-Key", "K");
    let request = request.header("Content-Type", "application/json");
    let answer = Answer::to(request.body(body.to_owned())).await.must(400);
    assert_eq!(answer.error_code(), "BODY_MALFORMED", "{answer:?}");
    answer.errors()
}

async fn a_member_that_comes_twice_is_refused_by_the_api_wherever_it_is(engine: Engine) {
    let service = Service::new(engine).await;
    let pos = service.pos().await;
    let rows = service.rows();
    for (body, error) in [
        (
            r#"{"customer":{"name":"Ana"},"items":[{"sku":"COLA","quantity":1}],"customer":{"name":"Eva"}}"#,
            "/customer duplicate_member",
        ),
        (
            r#"{"customer":{"name":"Ana"},"items":[{"sku":"TEA","quantity":1},{"sku":"COLA","quantity":1,"quanti\u0074y":9}]}"#,
            "/items/1/quantity duplicate_member",
        ),
        (
            r#"{"customer":{"name":"Ana","name":"Ana"},"items":[]}"#,
            "/customer/name duplicate_member",
        ),
    ] {
        assert_eq!(refused_for(&pos, "/api/v1/orders", body).await, [error]);
    }
    let twice = r#"{"status":"confirmed","status":"cancelled"}"#;
    let change = pos.request("PATCH", &format!("/api/v1/orders/{}", uuid::Uuid::new_v4()));
    let change = change.header("Content-Type", "application/json");
    let changed = Answer::to(change.body(twice)).await.must(400);
    assert_eq!(changed.error_code(), "BODY_MALFORMED");
    assert_eq!(service.rows(), rows, "nothing is kept");
    // The key is free for what was meant.
    let order = items(&[("COLA", 1)]);
    pos.post_keyed("/api/v1/orders", "K", &order)
        .await
        .must(201);
    pos.post_keyed("/api/v1/orders", &new_key(), &order)
        .await
        .must(201);
}

async fn a_member_that_comes_twice_costs_a_provider_nothing(engine: Engine) {
    let app = App::new(engine).await;
    let batch = |text: &str| {
        format!(
            r#"{{"object":"page","object":"whatsapp_business_account","entry":[{{"id":"1","changes":[{{"field":"messages","value":
            {{"metadata":{{"phone_number_id":"106540352242922"}},"messages":[{{"id":"wamid.TWICE","from":"1","type":"text",
            "text":{{"body":"{text}","body":"2 cola"}}}}]}}}}]}}]}}"#
        )
    };
    let first = app.send(&Call::whatsapp(batch("nothing"))).await;
    assert_eq!(told(&first), (200, Some("false")));
    assert_eq!(first.json()["events"][0]["outcome"], "order_created");
    // The same message with another text before the one that counts is not the same message.
    let other = app.send(&Call::whatsapp(batch("something"))).await;
    assert_eq!(other.json()["events"][0]["outcome"], "conflict");
    let event = r#"{"specversion":"1.0","id":"E1","id":"E2","type":"t"}"#;
    assert_eq!(app.send(&Call::twilio_json(event)).await.status, 204);
    let text = Call::twilio_text(&new_sid(), "2 cola");
    assert_eq!(app.send(&text).await.status, 200);
}

async fn members_that_come_twice_tell_requests_apart(engine: Engine) {
    let work = Work::counting();
    let database = Database::new(engine);
    let host = Host::new(&database, &work, |it| it).await;
    let json = |body: &str| Call {
        body: body.as_bytes().to_vec(),
        ..call("K").instead("Content-Type", "application/json")
    };
    let first = host.send(&json(r#"{"a":1,"b":0,"a":2}"#)).await;
    assert_eq!(told(&first), (201, Some("false")));
    let moved = host.send(&json(r#"{"b":0,"a":1,"a":2}"#)).await;
    assert_eq!(told(&moved), (201, Some("true")));
    for other in [
        r#"{"a":9,"b":0,"a":2}"#,
        r#"{"a":2,"b":0}"#,
        r#"{"a":2,"b":0,"a":1}"#,
    ] {
        assert_eq!(
            refused(&host.send(&json(other)).await),
            mismatch(),
            "{other}"
        );
    }
    assert_eq!(work.runs(), 1);
}

async fn a_member_with_a_name_of_serdes_own_is_a_member_like_any_other(engine: Engine) {
    let work = Work::counting();
    let database = Database::new(engine);
    let host = Host::new(&database, &work, |it| it).await;
    let json = |body: &str| Call {
        body: body.as_bytes().to_vec(),
        ..call("K").instead("Content-Type", "application/json")
    };
    for name in ["Number", "RawValue"] {
        let body = format!(r#"{{"$serde_json::private::{name}":"1"}}"#);
        let call = json(&body).instead("X-Idempotency-Key", name);
        assert_eq!(told(&host.send(&call).await), (201, Some("false")));
        let number = json("1").instead("X-Idempotency-Key", name);
        assert_eq!(refused(&host.send(&number).await), mismatch());
    }
    assert_eq!(work.runs(), 2);
}
