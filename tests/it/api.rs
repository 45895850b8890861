//! The order API's resources: made, shown, listed, changed, and what a client is told of them.

use hookonce::{
    app,
    config::Config,
    idempotency::transactional::Response,
    idempotency::{Cache, KeyedRequest, StoredReply, fingerprint},
    store::{Conn, types::Timestamp},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

use crate::support::{
    app::config,
    database::{Engine, on_both},
    requests::{Call, SHOP_PHONE, new_sid},
    shop::{
        Answer, Client, Service, booking, check_books, items, new_key, payment, redacted, refund,
        text, with, work,
    },
};

on_both! {
    what_is_made_is_answered_whole_and_found_again_at_its_location
    other_programs_can_rely_on_the_members_of_every_resource
    an_order_costs_what_the_catalogue_says_and_keeps_it
    money_and_the_record_of_it_are_kept_together_or_not_at_all
    each_filter_of_the_orders_filters
    pages_show_each_order_once_while_others_arrive
    head_answers_as_get_without_a_body
    an_order_takes_the_steps_that_make_sense_and_no_other
    a_cancelled_order_is_taken_off_the_ledger_once
    a_client_can_ask_what_became_of_its_key
    what_became_of_a_key_is_told_without_what_the_token_may_not_read
    retailers_are_listed_added_and_changed
    products_are_listed_added_and_changed
    the_balance_is_the_sum_of_the_ledger
    a_balance_beyond_64_bits_is_told_exactly
    a_payment_is_never_more_than_is_owed_nor_a_refund_more_than_was_paid
    each_kind_of_answer_is_replayed_for_as_long_as_its_own_setting_says
}

async fn what_is_made_is_answered_whole_and_found_again_at_its_location(engine: Engine) {
    let service = Service::new(engine).await;
    let pos = service.pos().await;
    let order = pos.order_of("45.00").await;
    let paid = pos.pay(&order, "20.00").await;
    for (path, body, entries) in [
        ("orders", items(&[("PIZZA-MARG", 2), ("COLA", 1)]), 1),
        ("orders", work("250.00"), 1),
        ("payments", payment(&order, "10.00"), 1),
        ("refunds", refund(&paid, "5.00"), 1),
        ("bookings", booking(), 0),
    ] {
        let count = || {
            let made = service.count(path);
            let entries = service.count("ledger_entries");
            let completed =
                "webhook_idempotency WHERE status = 'completed' AND response_status = 201";
            (made, entries, service.count(completed))
        };
        let before = count();
        let answer = pos.post(&format!("/api/v1/{path}"), &body).await.must(201);
        let expected = (before.0 + 1, before.1 + entries, before.2 + 1);
        assert_eq!(count(), expected, "{path}, ledger entries and records");
        let document = answer.json();
        let members: Vec<_> = document.as_object().unwrap().keys().collect();
        assert_eq!(members, ["data", "message", "success"]);
        assert_eq!(document["success"], true);
        assert!(!text(&document["message"]).is_empty());
        assert_eq!(answer.header("Content-Type"), Some("application/json"));
        assert_eq!(answer.header("Idempotent-Replayed"), Some("false"));
        let location = answer.header("Location").expect("a Location");
        let id = text(&document["data"]["id"]);
        assert_eq!(location, format!("/api/v1/{path}/{id}"));
        let found = pos.get(location).await.must(200);
        assert_eq!(found.data(), document["data"], "{path}");
    }
    check_books(service.database());
}

async fn other_programs_can_rely_on_the_members_of_every_resource(engine: Engine) {
    let service = Service::new(engine).await;
    let pos = service.pos().await;
    let order = with(
        items(&[("PIZZA-MARG", 2), ("COLA", 1)]),
        json!({"note": "no olives"}),
    );
    let order = pos.post("/api/v1/orders", &order).await;
    let work = pos.post("/api/v1/orders", &work("250.00")).await;
    let payment = payment(&text(&work.data()["id"]), "250");
    let payment = pos.post("/api/v1/payments", &payment).await;
    let refund = refund(&text(&payment.data()["id"]), "49.5");
    let refund = pos.post("/api/v1/refunds", &refund).await;
    let booking = pos.post("/api/v1/bookings", &booking()).await;
    let retailer = pos
        .get(&format!("/api/v1/retailers/{}", service.kitchen))
        .await;
    let tea = json!({"sku": "TEA-L", "name": "Large Tea", "aliases": ["big tea"], "price": "3"});
    let products = format!("/api/v1/retailers/{}/products", service.kitchen);
    let product = pos.post(&products, &tea).await;
    let balance = pos
        .get(&format!("/api/v1/retailers/{}/balance", service.kitchen))
        .await;
    let list = pos.get("/api/v1/orders?limit=1&source=whatsapp").await;
    let refused = pos.post("/api/v1/orders", &items(&[("NONE", 1)])).await;
    // Each engine gives the same.
    insta::allow_duplicates! {
        insta::assert_snapshot!(redacted(&order), @r#"
    {
      "data": {
        "amendments": [],
        "created_at": "[time]",
        "customer": {
          "name": "Ana",
          "phone": "+14155550100",
          "user_id": null
        },
        "description": null,
        "id": "[id]",
        "items": [
          {
            "name": "Margherita Pizza",
            "quantity": 2,
            "sku": "PIZZA-MARG",
            "unit_price": "8.50"
          },
          {
            "name": "Cola",
            "quantity": 1,
            "sku": "COLA",
            "unit_price": "1.75"
          }
        ],
        "note": "no olives",
        "order_number": "[number]",
        "paid": "0.00",
        "retailer_id": "[id]",
        "service_type": null,
        "source": "api",
        "status": "pending",
        "total": {
          "amount": "18.75",
          "currency": "USD"
        },
        "updated_at": "[time]"
      },
      "message": "Order [number] created",
      "success": true
    }
    "#);
        insta::assert_snapshot!(redacted(&work), @r#"
    {
      "data": {
        "amendments": [],
        "created_at": "[time]",
        "customer": {
          "name": "Ana",
          "phone": null,
          "user_id": null
        },
        "description": "Shorten two pairs of trousers",
        "id": "[id]",
        "items": [],
        "note": null,
        "order_number": "[number]",
        "paid": "0.00",
        "retailer_id": "[id]",
        "service_type": "tailoring",
        "source": "api",
        "status": "pending",
        "total": {
          "amount": "250.00",
          "currency": "USD"
        },
        "updated_at": "[time]"
      },
      "message": "Order [number] created",
      "success": true
    }
    "#);
        insta::assert_snapshot!(redacted(&payment), @r#"
    {
      "data": {
        "amount": "250.00",
        "created_at": "[time]",
        "currency": "USD",
        "id": "[id]",
        "method": "card",
        "order_id": "[id]",
        "refunded": "0.00",
        "retailer_id": "[id]"
      },
      "message": "Payment taken",
      "success": true
    }
    "#);
        insta::assert_snapshot!(redacted(&refund), @r#"
    {
      "data": {
        "amount": "49.50",
        "created_at": "[time]",
        "currency": "USD",
        "id": "[id]",
        "order_id": "[id]",
        "payment_id": "[id]",
        "reason": "cold",
        "retailer_id": "[id]"
      },
      "message": "Refund given",
      "success": true
    }
    "#);
        insta::assert_snapshot!(redacted(&booking), @r#"
    {
      "data": {
        "created_at": "[time]",
        "customer_name": "Ana",
        "date": "2026-12-01",
        "id": "[id]",
        "retailer_id": "[id]",
        "service": "Haircut",
        "time": "10:00"
      },
      "message": "Booked",
      "success": true
    }
    "#);
        insta::assert_snapshot!(redacted(&retailer), @r#"
    {
      "data": {
        "created_at": "[time]",
        "currency": "USD",
        "id": "[id]",
        "name": "Test Kitchen",
        "phone": "+14155238886",
        "phone_number_id": "106540352242922",
        "updated_at": "[time]"
      },
      "message": "Retailer",
      "success": true
    }
    "#);
        insta::assert_snapshot!(redacted(&product), @r#"
    {
      "data": {
        "aliases": [
          "big tea"
        ],
        "created_at": "[time]",
        "currency": "USD",
        "id": "[id]",
        "name": "Large Tea",
        "price": "3.00",
        "retailer_id": "[id]",
        "sku": "TEA-L",
        "updated_at": "[time]"
      },
      "message": "Product added",
      "success": true
    }
    "#);
        insta::assert_snapshot!(redacted(&balance), @r#"
    {
      "data": {
        "cancelled": "0.00",
        "currency": "USD",
        "ordered": "268.75",
        "owed": "68.25",
        "paid": "250.00",
        "refunded": "49.50",
        "retailer_id": "[id]"
      },
      "message": "Balance",
      "success": true
    }
    "#);
        insta::assert_snapshot!(redacted(&list), @r#"
    {
      "data": [],
      "message": "Orders",
      "next_cursor": null,
      "success": true
    }
    "#);
        insta::assert_snapshot!(redacted(&refused), @r#"
    {
      "detail": "/items/0/sku: the retailer has no such product",
      "error_code": "VALIDATION_FAILED",
      "errors": [
        {
          "code": "unknown_product",
          "field": "/items/0/sku",
          "message": "the retailer has no such product"
        }
      ],
      "message": "/items/0/sku: the retailer has no such product",
      "status": 400,
      "success": false,
      "title": "What the request asks for cannot be done",
      "type": "about:blank"
    }
    "#);
    }
}

async fn an_order_costs_what_the_catalogue_says_and_keeps_it(engine: Engine) {
    let service = Service::new(engine).await;
    let pos = service.pos().await;
    let wanted = items(&[("PIZZA-MARG", 2), ("COLA", 3)]);
    let order = pos.create("/api/v1/orders", &wanted).await;
    assert_eq!(
        order["total"],
        json!({"amount": "22.25", "currency": "USD"})
    );
    let products = format!("/api/v1/retailers/{}/products", service.kitchen);
    let listed = pos.get(&products).await.must(200).data();
    let listed = listed.as_array().expect("products");
    let pizza = listed.iter().find(|product| product["sku"] == "PIZZA-MARG");
    let path = format!("{products}/{}", text(&pizza.expect("a pizza")["id"]));
    let dearer =
        json!({"sku": "PIZZA-MARG", "name": "Margherita", "price": "9.00", "currency": "USD"});
    pos.put(&path, &dearer).await.must(200);
    // The price counts for the next order, and so does the name; the old one keeps both.
    let next = pos.create("/api/v1/orders", &wanted).await;
    assert_eq!(next["total"]["amount"], "23.25");
    assert_eq!(next["items"][0]["name"], "Margherita");
    let location = format!("/api/v1/orders/{}", text(&order["id"]));
    assert_eq!(pos.get(&location).await.must(200).data(), order);
}

async fn money_and_the_record_of_it_are_kept_together_or_not_at_all(engine: Engine) {
    let service = Service::new(engine).await;
    let pos = service.pos().await;
    let order = pos.order_of("45.00").await;
    let paid = pos.pay(&order, "20.00").await;
    let requests = [
        ("orders", items(&[("COLA", 1)])),
        ("payments", payment(&order, "10.00")),
        ("refunds", refund(&paid, "5.00")),
    ];
    let keys = requests.each_ref().map(|_| new_key());
    let database = service.database();
    let kept = || {
        let tables = ["orders", "order_items", "payments", "refunds"];
        let paid = database.count("SELECT CAST(sum(paid_minor) AS BIGINT) AS n FROM orders");
        let completed = service.count("webhook_idempotency WHERE status = 'completed'");
        (tables.map(|table| service.count(table)), paid, completed)
    };
    let before = kept();
    database.execute("ALTER TABLE ledger_entries RENAME TO ledger_lost");
    for ((path, body), key) in requests.iter().zip(&keys) {
        let answer = pos.post_keyed(&format!("/api/v1/{path}"), key, body).await;
        assert_eq!(answer.must(500).error_code(), "INTERNAL");
        assert_eq!(kept(), before, "{path}");
        let failed = format!(
            "webhook_idempotency WHERE idempotency_key = '{key}' AND status = 'failed' AND error_message IS NOT NULL"
        );
        assert_eq!(service.count(&failed), 1, "{path}: a note for the operator");
    }
    // A booking moves no money.
    pos.create("/api/v1/bookings", &booking()).await;
    database.execute("ALTER TABLE ledger_lost RENAME TO ledger_entries");
    for ((path, body), key) in requests.iter().zip(&keys) {
        let answer = pos.post_keyed(&format!("/api/v1/{path}"), key, body).await;
        assert_eq!(
            answer.must(201).header("Idempotent-Replayed"),
            Some("false")
        );
    }
    check_books(database);
}

async fn each_filter_of_the_orders_filters(engine: Engine) {
    let service = Service::new(engine).await;
    let pos = service.pos().await;
    let office = service.head_office().await;
    let other = json!({"name": "Bakery", "phone": "+14155238887", "currency": "EUR"});
    let other = text(&office.create("/api/v1/retailers", &other).await["id"]);
    let ana = pos.create("/api/v1/orders", &items(&[("COLA", 1)])).await;
    let bea = with(
        items(&[("TEA", 1)]),
        json!({"customer": {"name": "Bea", "phone": "+14155550199"}}),
    );
    let bea = pos.create("/api/v1/orders", &bea).await;
    let call = Call::twilio(&[
        ("MessageSid", &new_sid()),
        ("From", "whatsapp:US.24680135790"),
        ("To", &format!("whatsapp:{SHOP_PHONE}")),
        ("Body", "1 cola"),
    ]);
    assert_eq!(service.app.send(&call).await.status, 200);
    let elsewhere = with(
        work("10.00"),
        json!({"retailer_id": other, "currency": "EUR"}),
    );
    let elsewhere = office.create("/api/v1/orders", &elsewhere).await;
    pos.set_status(&text(&bea["id"]), "confirmed")
        .await
        .must(200);

    let all = ids(&office.get("/api/v1/orders").await);
    let [of_other, of_twilio, of_bea, of_ana] = all.as_slice() else {
        panic!("{all:?}");
    };
    assert_eq!(*of_ana, text(&ana["id"]), "the newest first");
    assert_eq!(*of_other, text(&elsewhere["id"]));
    let (bea_at, number) = (text(&bea["created_at"]), text(&ana["order_number"]));
    let kitchen = &service.kitchen;
    let cases: Vec<(String, Vec<&String>)> = vec![
        (
            format!("retailer_id={kitchen}"),
            vec![of_twilio, of_bea, of_ana],
        ),
        (format!("retailer_id={other}"), vec![of_other]),
        (format!("retailer_id={}", new_key()), vec![]),
        ("status=confirmed".into(), vec![of_bea]),
        ("status=pending".into(), vec![of_other, of_twilio, of_ana]),
        ("status=cancelled".into(), vec![]),
        ("source=twilio".into(), vec![of_twilio]),
        ("source=whatsapp".into(), vec![]),
        ("source=api".into(), vec![of_other, of_bea, of_ana]),
        (format!("order_number={number}"), vec![of_ana]),
        ("order_number=0".into(), vec![]),
        ("customer_phone=%2B14155550199".into(), vec![of_bea]),
        ("customer_user_id=US.24680135790".into(), vec![of_twilio]),
        (
            format!("customer_user_id=US.24680135790&retailer_id={other}"),
            vec![],
        ),
        ("customer_user_id=14155550199".into(), vec![]),
        (
            format!("created_from={bea_at}"),
            vec![of_other, of_twilio, of_bea],
        ),
        (format!("created_before={bea_at}"), vec![of_ana]),
        (
            format!("created_from={bea_at}&status=confirmed&source=api"),
            vec![of_bea],
        ),
        (
            format!("created_from={bea_at}&created_before={bea_at}"),
            vec![],
        ),
        (
            "created_from=2016-12-31T23:59:60Z&created_before=9999-12-31T23:59:59Z".into(),
            all.iter().collect(),
        ),
        (
            "created_before=9999-12-31T23:59:59-23:59".into(),
            all.iter().collect(),
        ),
        (
            "created_from=0000-01-01T00:00:00%2B23:59".into(),
            all.iter().collect(),
        ),
        ("created_from=9999-12-31T23:59:59-23:59".into(), vec![]),
    ];
    for (query, expected) in cases {
        let listed = ids(&office.get(&format!("/api/v1/orders?{query}")).await);
        assert_eq!(listed.iter().collect::<Vec<_>>(), expected, "{query}");
    }
    // What is listed is what is shown alone.
    let listed = office.get("/api/v1/orders").await.data();
    for order in listed.as_array().expect("orders") {
        let path = format!("/api/v1/orders/{}", text(&order["id"]));
        assert_eq!(office.get(&path).await.must(200).data(), *order);
    }
}

/// The ids of a list.
#[track_caller]
fn ids(answer: &Answer) -> Vec<String> {
    let answer = answer.clone().must(200);
    let data = answer.data();
    let rows = data.as_array().expect("a list").iter();
    rows.map(|row| text(&row["id"])).collect()
}

async fn pages_show_each_order_once_while_others_arrive(engine: Engine) {
    let service = Service::new(engine).await;
    let pos = service.pos().await;
    let mut expected = Vec::new();
    for _ in 0..7 {
        expected.insert(0, pos.order_of("1.00").await);
    }
    for others_arrive in [false, true] {
        let mut seen = Vec::new();
        let mut pages = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = pos
                .get(&format!("/api/v1/orders?limit=3{cursor}"))
                .await
                .must(200);
            let on_it = ids(&page);
            pages.push(on_it.len());
            seen.extend(on_it);
            let Some(next) = page.json()["next_cursor"].as_str().map(str::to_owned) else {
                break;
            };
            cursor = format!("&cursor={next}");
            if others_arrive {
                pos.order_of("2.00").await;
            }
        }
        assert_eq!(pages, [3, 3, 1]);
        assert_eq!(seen, expected);
        // A page that ends with the last order has no next one.
        let whole = pos.get("/api/v1/orders?limit=7").await;
        assert_eq!(whole.json()["next_cursor"].is_null(), !others_arrive);
    }
}

async fn head_answers_as_get_without_a_body(engine: Engine) {
    let service = Service::new(engine).await;
    let pos = service.pos().await;
    let order = pos.order_of("1.00").await;
    let kitchen = &service.kitchen;
    for path in [
        "/api/v1/orders".to_owned(),
        format!("/api/v1/orders/{order}"),
        "/api/v1/orders/status/none".to_owned(),
        format!("/api/v1/retailers/{kitchen}/balance"),
        format!("/api/v1/orders/{}", new_key()),
    ] {
        let get = pos.get(&path).await;
        let head = Answer::to(pos.request("HEAD", &path)).await;
        assert_eq!((head.status, &*head.body), (get.status, ""), "{path}");
        for header in ["Content-Type", "Content-Length"] {
            assert_eq!(head.header(header), get.header(header), "{path}: {header}");
        }
    }
}

const STATUSES: [&str; 6] = [
    "pending",
    "confirmed",
    "preparing",
    "ready",
    "delivered",
    "cancelled",
];

/// From where to where an order can go in one step.
const STEPS: [(&str, &str); 8] = [
    ("pending", "confirmed"),
    ("pending", "cancelled"),
    ("confirmed", "preparing"),
    ("confirmed", "cancelled"),
    ("preparing", "ready"),
    ("preparing", "cancelled"),
    ("ready", "delivered"),
    ("ready", "cancelled"),
];

async fn an_order_takes_the_steps_that_make_sense_and_no_other(engine: Engine) {
    let service = Service::new(engine).await;
    let pos = service.pos().await;
    for from in STATUSES {
        for to in STATUSES {
            let order = order_in(&pos, from).await;
            let path = format!("/api/v1/orders/{order}");
            let before = pos.get(&path).await.data();
            let answer = pos.set_status(&order, to).await;
            let after = pos.get(&path).await.data();
            if from == to {
                assert_eq!(answer.must(200).data(), before, "{from} to itself");
                assert_eq!(after, before);
            } else if STEPS.contains(&(from, to)) {
                let changed = answer.must(200).data();
                assert_eq!(changed["status"], to, "{from} to {to}");
                assert_eq!(after, changed);
                assert!(text(&after["updated_at"]) > text(&before["updated_at"]));
                let updated = after["updated_at"].clone();
                let expected = with(before, json!({"status": to, "updated_at": updated}));
                assert_eq!(after, expected, "nothing else changes");
            } else {
                assert_eq!(answer.clone().must(400).error_code(), "VALIDATION_FAILED");
                assert_eq!(
                    answer.errors(),
                    ["/status impossible_step"],
                    "{from} to {to}"
                );
                assert_eq!(after, before, "{from} to {to}");
            }
        }
    }
    check_books(service.database());
}

/// A new order that has come so far.
async fn order_in(pos: &Client, status: &str) -> String {
    let order = pos.order_of("10.00").await;
    let steps: &[&str] = match STATUSES.iter().position(|known| *known == status) {
        Some(at) if status != "cancelled" => &STATUSES[1..=at],
        _ => &["cancelled"],
    };
    for step in steps {
        pos.set_status(&order, step).await.must(200);
    }
    order
}

async fn a_cancelled_order_is_taken_off_the_ledger_once(engine: Engine) {
    let service = Service::new(engine).await;
    let pos = service.pos().await;
    let balance = format!("/api/v1/retailers/{}/balance", service.kitchen);
    let order = pos.order_of("45.00").await;
    let paid = pos.pay(&order, "20.00").await;
    for _ in 0..3 {
        pos.set_status(&order, "cancelled").await.must(200);
        let data = pos.get(&balance).await.data();
        assert_eq!(
            (&data["cancelled"], &data["owed"]),
            (&json!("45.00"), &json!("-20.00"))
        );
    }
    // Nothing is owed for it any more, and what was paid can be given back.
    let refused = pos.post("/api/v1/payments", &payment(&order, "1.00")).await;
    assert_eq!(refused.must(400).errors(), ["/amount more_than_owed"]);
    pos.create("/api/v1/refunds", &refund(&paid, "20.00")).await;
    assert_eq!(pos.get(&balance).await.data()["owed"], "0.00");
    check_books(service.database());
}

async fn what_became_of_a_key_is_told_without_what_the_token_may_not_read(engine: Engine) {
    let service = Service::new(engine).await;
    let pos = service.pos().await;
    let order = pos.order_of("45.00").await;
    let paid = payment(&order, "5.00");
    let posted = pos.post_keyed("/api/v1/payments", "paid", &paid);
    posted.await.must(201);
    let asked = async |scopes: &str| {
        let client = service.narrowed(&pos, scopes).await;
        let answer = client.get("/api/v1/orders/status/paid").await;
        let answer = answer.must(200).json();
        assert_eq!(answer["status"], "completed");
        answer["result"]["status"].clone()
    };
    assert_eq!(asked("orders:read").await, Value::Null);
    assert_eq!(asked("orders:read,payments:read").await, 201);
}

async fn a_client_can_ask_what_became_of_its_key(engine: Engine) {
    let service = Service::new(engine).await;
    let (pos, other) = (service.pos().await, service.pos().await);
    let ask = async |client: &Client, key: &str| {
        let answer = client.get(&format!("/api/v1/orders/status/{key}")).await;
        let answer = answer.must(200).json();
        assert_eq!(
            (&answer["success"], &answer["key"]),
            (&json!(true), &json!(key))
        );
        (text(&answer["status"]), answer["result"].clone())
    };
    let unknown = ("not_found".to_owned(), Value::Null);
    assert_eq!(ask(&pos, "never-seen").await, unknown);

    let made = pos
        .post_keyed("/api/v1/orders", "made", &items(&[("COLA", 1)]))
        .await
        .must(201);
    let completed = |answer: &Answer| {
        let result = json!({"status": answer.status, "body": answer.json()});
        ("completed".to_owned(), result)
    };
    assert_eq!(ask(&pos, "made").await, completed(&made));
    assert_eq!(ask(&other, "made").await, unknown, "another client's key");

    let refused = pos
        .post_keyed("/api/v1/orders", "refused", &items(&[("NONE", 1)]))
        .await;
    assert_eq!(ask(&pos, "refused").await, completed(&refused.must(400)));
    let booked = pos
        .post_keyed("/api/v1/bookings", "booked", &booking())
        .await;
    assert_eq!(
        ask(&pos, "booked").await,
        completed(&booked),
        "of any request"
    );

    let database = service.database();
    database.execute("ALTER TABLE ledger_entries RENAME TO ledger_lost");
    pos.post_keyed("/api/v1/orders", "failed", &work("1.00"))
        .await
        .must(500);
    database.execute("ALTER TABLE ledger_lost RENAME TO ledger_entries");
    assert_eq!(
        ask(&pos, "failed").await,
        ("failed".to_owned(), Value::Null)
    );
    assert_eq!(ask(&other, "failed").await, unknown);

    let amend = |changes: &str| {
        database.execute(&format!(
            "UPDATE webhook_idempotency SET {changes} WHERE idempotency_key = 'made'"
        ));
    };
    amend("status = 'in_progress', lease_expires_at = '9999-12-31T23:59:59.000000Z'");
    assert_eq!(
        ask(&pos, "made").await,
        ("in_progress".to_owned(), Value::Null)
    );
    assert_eq!(ask(&other, "made").await, unknown);
    // Whoever had it is gone.
    amend("lease_expires_at = '2020-01-01T00:00:00.000000Z'");
    assert_eq!(ask(&pos, "made").await, ("failed".to_owned(), Value::Null));
    amend("status = 'completed', expires_at = '2020-01-01T00:00:00.000000Z'");
    assert_eq!(ask(&pos, "made").await, unknown, "forgotten");

    for wrong in ["a%20b", "%C3%A4", &"k".repeat(129)] {
        let answer = pos
            .get(&format!("/api/v1/orders/status/{wrong}"))
            .await
            .must(400);
        assert_eq!(answer.error_code(), "IDEMPOTENCY_KEY_INVALID");
    }
}

async fn retailers_are_listed_added_and_changed(engine: Engine) {
    let service = Service::new(engine).await;
    let office = service.head_office().await;
    let path = "/api/v1/retailers";
    let bakery = json!({"name": "Bakery", "phone": "+14155238887", "phone_number_id": "1066", "currency": "KWD"});
    // A key is not needed, for a phone is taken once anyway.
    let added = Answer::to(office.telling("POST", path, &bakery))
        .await
        .must(201);
    let location = added.header("Location").expect("a Location").to_owned();
    let bakery_id = text(&added.data()["id"]);
    assert_eq!(location, format!("{path}/{bakery_id}"));
    assert_eq!(office.get(&location).await.must(200).data(), added.data());
    assert_eq!(
        ids(&office.get(path).await),
        [bakery_id.clone(), service.kitchen.clone()]
    );
    let first = office.get(&format!("{path}?limit=1")).await;
    let cursor = text(&first.json()["next_cursor"]);
    let second = office.get(&format!("{path}?limit=1&cursor={cursor}")).await;
    assert_eq!(ids(&second), [&*service.kitchen]);
    assert!(second.json()["next_cursor"].is_null());

    for (taken, instead) in [
        (json!({"phone": "+14155238886"}), "phone"),
        (
            json!({"phone_number_id": "106540352242922"}),
            "phone number id",
        ),
    ] {
        let new = with(
            json!({"name": "Grill", "phone": "+14155238888", "currency": "USD"}),
            taken.clone(),
        );
        let refused = office.post(path, &new).await.must(400);
        assert_eq!(refused.errors(), ["/phone taken"], "{instead}");
        let refused = office
            .put(&location, &with(bakery.clone(), taken))
            .await
            .must(400);
        assert_eq!(refused.errors(), ["/phone taken"], "{instead}");
    }
    let changed = with(
        bakery.clone(),
        json!({"name": "Backstube", "phone": "+14155238889", "phone_number_id": null}),
    );
    let answer = office.put(&location, &changed).await.must(200);
    let expected = with(
        changed.clone(),
        json!({
            "id": bakery_id, "created_at": added.data()["created_at"], "updated_at": answer.data()["updated_at"],
        }),
    );
    assert_eq!(answer.data(), expected);
    assert_eq!(office.get(&location).await.data(), expected);
    let foreign = with(changed, json!({"currency": "USD", "name": "Boulangerie"}));
    let refused = office.put(&location, &foreign).await.must(400);
    assert_eq!(refused.errors(), ["/currency foreign_currency"]);
    assert_eq!(office.get(&location).await.data(), expected);
    // Amounts have as many decimals as the currency.
    let order = json!({"retailer_id": bakery_id, "estimated_price": "1.250", "currency": "KWD"});
    let order = office
        .create("/api/v1/orders", &with(work("1"), order))
        .await;
    assert_eq!(
        order["total"],
        json!({"amount": "1.250", "currency": "KWD"})
    );
    assert_eq!(order["paid"], "0.000");
}

async fn products_are_listed_added_and_changed(engine: Engine) {
    let service = Service::new(engine).await;
    let pos = service.pos().await;
    let path = format!("/api/v1/retailers/{}/products", service.kitchen);
    let before = ids(&pos.get(&path).await);
    assert_eq!(before.len(), 8);
    let soup = json!({"sku": "SOUP", "name": "Lentil Soup", "aliases": ["soup"], "price": "4.50", "currency": "USD"});
    let added = pos.post(&path, &soup).await.must(201);
    let location = added.header("Location").expect("a Location").to_owned();
    assert_eq!(pos.get(&location).await.must(200).data(), added.data());
    let listed = ids(&pos.get(&path).await);
    assert_eq!(listed[0], text(&added.data()["id"]), "the newest first");
    assert_eq!(listed[1..], before);
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = pos.get(&format!("{path}?limit=4{cursor}")).await;
        seen.extend(ids(&page));
        match page.json()["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, listed);

    let taken = pos.post(&path, &soup).await.must(400);
    assert_eq!(taken.errors(), ["/sku taken"]);
    let taken = with(soup.clone(), json!({"sku": "COLA"}));
    assert_eq!(
        pos.put(&location, &taken).await.must(400).errors(),
        ["/sku taken"]
    );
    let foreign = with(soup.clone(), json!({"currency": "EUR"}));
    for answer in [
        pos.put(&location, &foreign).await,
        pos.post(&path, &foreign).await,
    ] {
        assert_eq!(answer.must(400).errors(), ["/currency foreign_currency"]);
    }
    assert_eq!(pos.get(&location).await.data(), added.data());
    let changed = json!({"sku": "SOUP-L", "name": "Large Soup", "price": "6"});
    let changed = pos.put(&location, &changed).await.must(200).data();
    assert_eq!(
        (&changed["sku"], &changed["price"], &changed["aliases"]),
        (&json!("SOUP-L"), &json!("6.00"), &json!([]))
    );
    assert_eq!(pos.get(&location).await.data(), changed);
    // The old code is free, and unknown to orders.
    let refused = pos.post("/api/v1/orders", &items(&[("SOUP", 1)])).await;
    assert_eq!(refused.must(400).errors(), ["/items/0/sku unknown_product"]);
    pos.create("/api/v1/orders", &items(&[("SOUP-L", 1)])).await;
    pos.create(&path, &soup).await;
}

async fn the_balance_is_the_sum_of_the_ledger(engine: Engine) {
    let service = Service::new(engine).await;
    let pos = service.pos().await;
    let first = pos
        .create("/api/v1/orders", &items(&[("PIZZA-MARG", 2)]))
        .await;
    let first = text(&first["id"]);
    let paid = pos.pay(&first, "10.00").await;
    pos.create("/api/v1/refunds", &refund(&paid, "2.50")).await;
    let second = pos.order_of("100.00").await;
    pos.pay(&second, "100.00").await;
    let third = pos.order_of("30.00").await;
    pos.set_status(&third, "cancelled").await.must(200);
    let call = Call::twilio_text(&new_sid(), "1 cola");
    assert_eq!(service.app.send(&call).await.status, 200);
    // What was refused counts for nothing.
    pos.post("/api/v1/payments", &payment(&second, "0.01"))
        .await
        .must(400);
    pos.post("/api/v1/refunds", &refund(&paid, "7.51"))
        .await
        .must(400);

    let balance = format!("/api/v1/retailers/{}/balance", service.kitchen);
    let balance = pos.get(&balance).await.must(200).data();
    let expected = json!({
        "retailer_id": service.kitchen, "currency": "USD", "ordered": "148.75", "cancelled": "30.00",
        "paid": "110.00", "refunded": "2.50", "owed": "11.25",
    });
    assert_eq!(balance, expected);
    let sum = "SELECT CAST(sum(amount_minor) AS BIGINT) AS n FROM ledger_entries";
    assert_eq!(service.database().count(sum), 1125);
    let order = pos.get(&format!("/api/v1/orders/{first}")).await.data();
    assert_eq!(order["paid"], "7.50");
    let payment = pos.get(&format!("/api/v1/payments/{paid}")).await.data();
    assert_eq!(payment["refunded"], "2.50");
    check_books(service.database());
}

async fn a_balance_beyond_64_bits_is_told_exactly(engine: Engine) {
    let service = Service::new(engine).await;
    let pos = service.pos().await;
    let path = format!("/api/v1/retailers/{}", service.kitchen);
    let palace = json!({"sku": "PALACE", "name": "Palace", "price": "999999999999999.99"});
    pos.create(&format!("{path}/products"), &palace).await;
    let three = [1, 2, 3].map(|_| items(&[("PALACE", 92)]));
    for order in &three {
        pos.create("/api/v1/orders", order).await;
    }
    let refused = pos.post("/api/v1/orders", &items(&[("PALACE", 93)])).await;
    assert_eq!(refused.must(400).errors(), ["/items too_large"]);
    let balance = pos.get(&format!("{path}/balance")).await.must(200).data();
    assert_eq!(balance["owed"], "275999999999999997.24");
}

async fn a_payment_is_never_more_than_is_owed_nor_a_refund_more_than_was_paid(engine: Engine) {
    let service = Service::new(engine).await;
    let pos = service.pos().await;
    let order = pos.order_of("45.00").await;
    let pay = async |amount: &str| pos.post("/api/v1/payments", &payment(&order, amount)).await;
    assert_eq!(
        pay("45.01").await.must(400).errors(),
        ["/amount more_than_owed"]
    );
    let first = text(&pay("40.00").await.must(201).data()["id"]);
    let refused = pay("5.01").await.must(400);
    assert_eq!(refused.errors(), ["/amount more_than_owed"]);
    assert!(
        text(&refused.json()["message"]).contains("5.00 USD"),
        "{refused:?}"
    );
    let second = text(&pay("5").await.must(201).data()["id"]);
    assert_eq!(
        pay("0.01").await.must(400).errors(),
        ["/amount more_than_owed"]
    );

    let give =
        async |of: &str, amount: &str| pos.post("/api/v1/refunds", &refund(of, amount)).await;
    assert_eq!(
        give(&second, "5.01").await.must(400).errors(),
        ["/amount more_than_paid"]
    );
    give(&first, "15.00").await.must(201);
    let refused = give(&first, "25.01").await.must(400);
    assert_eq!(refused.errors(), ["/amount more_than_paid"]);
    assert!(
        text(&refused.json()["message"]).contains("25.00 USD"),
        "{refused:?}"
    );
    give(&first, "25.00").await.must(201);
    assert_eq!(
        give(&first, "0.01").await.must(400).errors(),
        ["/amount more_than_paid"]
    );
    // What was given back is owed again.
    assert_eq!(
        pay("40.01").await.must(400).errors(),
        ["/amount more_than_owed"]
    );
    pay("40.00").await.must(201);
    check_books(service.database());
}

async fn each_kind_of_answer_is_replayed_for_as_long_as_its_own_setting_says(engine: Engine) {
    let ttls = [
        ("orders", 11),
        ("payments", 22),
        ("refunds", 33),
        ("bookings", 44),
    ];
    let ttls =
        BTreeMap::from(ttls.map(|(kind, hours)| (kind, Duration::from_secs(hours * 3600 + 7))));
    let set = |config: &mut Config| {
        config.idempotency_ttl_orders = ttls["orders"];
        config.idempotency_ttl_payments = ttls["payments"];
        config.idempotency_ttl_refunds = ttls["refunds"];
        config.idempotency_ttl_bookings = ttls["bookings"];
    };
    let service = Service::with(engine, set).await;
    let pos = service.pos().await;
    let order = pos.order_of("45.00").await;
    let paid = pos.pay(&order, "20.00").await;
    let requests = [
        ("orders", items(&[("COLA", 1)])),
        ("payments", payment(&order, "10.00")),
        ("refunds", refund(&paid, "5.00")),
        ("bookings", booking()),
    ];
    let keys = app::state(config(), service.app.store.clone(), Cache::default())
        .expect("a state")
        .keys;
    for (kind, body) in requests {
        let path = format!("/api/v1/{kind}");
        let key = format!("ttl-of-{kind}");
        let answer = pos.post_keyed(&path, &key, &body).await.must(201);
        let instant = |column: &str| instant(&service, engine, column, &key);
        let (created, expires) = (instant("created_at"), instant("expires_at"));
        let ttl = chrono::Duration::from_std(ttls[kind]).unwrap();
        assert_eq!(expires - created, ttl, "{kind}");

        // The same request, on another day.
        let request = KeyedRequest {
            scope: format!("client:{}", pos.id).into(),
            key: key.parse().unwrap(),
            webhook_type: kind,
            method: "POST".to_owned(),
            fingerprint: fingerprint(
                "POST",
                &path,
                "",
                "application/json",
                body.to_string().as_bytes(),
            ),
            path,
            body: None,
            source_ip: None,
        };
        let second_work = StoredReply {
            status: 299,
            body: "anew".into(),
            ..StoredReply::default()
        };
        let at = async |now: chrono::DateTime<chrono::Utc>| {
            let reply = second_work.clone();
            let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
            let work = move |_: &mut Conn<'_>| {
                Ok(Response {
                    reply,
                    retailer_id: None,
                    order_id: None,
                })
            };
            let performing = keys.perform(
                Some(request.clone()),
                ttls[kind],
                Timestamp::from(now),
                deadline,
                work,
            );
            performing.await.expect("an answer")
        };
        let tick = chrono::Duration::microseconds(1);
        let before = at(expires - tick).await;
        assert!(before.replayed, "{kind}");
        assert_eq!(before.reply.body, answer.body.as_bytes());
        let after = at(expires).await;
        assert!(!after.replayed, "{kind}");
        assert_eq!(after.reply, second_work);
    }
}

/// A time of the record of a key.
fn instant(
    service: &Service,
    engine: Engine,
    column: &str,
    key: &str,
) -> chrono::DateTime<chrono::Utc> {
    let shown = match engine {
        Engine::Sqlite => column.to_owned(),
        Engine::Postgres => {
            format!("to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
        }
    };
    let sql = format!("SELECT {shown} AS t FROM v_deliveries WHERE idempotency_key = '{key}'");
    let found = service.database().texts(&sql);
    let text = found.into_iter().flatten().next().expect("a time");
    text.parse().expect("a time")
}
