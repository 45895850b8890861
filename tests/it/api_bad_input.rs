//! What clients of the API may send and should not: each is refused with all that is wrong, and nothing is done.

use serde_json::{Value, json};
use std::time::Duration;

use crate::support::{
    database::{Engine, on_both},
    shop::{
        Answer, Client, Service, booking, items, new_key, payment, refund, text, with, without,
        work,
    },
};

on_both! {
    whatever_is_wrong_with_an_order_is_told_and_nothing_is_done
    whatever_is_wrong_with_a_payment_a_refund_or_a_booking_is_told_and_nothing_is_done
    whatever_is_wrong_with_the_catalogue_is_told_and_nothing_is_done
    numbers_that_no_order_can_have_are_refused_at_once
    a_whole_number_may_be_written_with_decimals
    what_holds_as_much_as_it_may_is_taken
    a_refusal_stays_small_however_much_is_wrong
    what_is_not_even_json_leaves_no_trace
    what_is_not_admitted_leaves_no_trace
    identifiers_in_paths_must_be_uuids
    parameters_of_lists_are_known_given_once_and_well_formed
}

/// A shop with an order over 45.00 USD of which 20.00 were paid.
struct Paid {
    service: Service,
    pos: Client,
    order: String,
    payment: String,
}

impl Paid {
    async fn new(engine: Engine) -> Self {
        let service = Service::new(engine).await;
        let pos = service.pos().await;
        let order = pos.order_of("45.00").await;
        let payment = pos.pay(&order, "20.00").await;
        Self {
            service,
            pos,
            order,
            payment,
        }
    }

    /// Sends a body that must be refused with these errors, now and again, and change nothing but the records.
    async fn refused(&self, path: &str, body: &str, errors: &[&str]) -> Answer {
        let before = self.service.rows();
        let key = new_key();
        let answer = post(&self.pos, path, &key, body).await;
        assert_eq!(answer.status, 400, "{body:.500}: {answer:?}");
        assert_eq!(answer.error_code(), "VALIDATION_FAILED", "{body:.500}");
        assert_eq!(answer.errors(), errors, "{body:.500}: {answer:?}");
        for error in answer.json()["errors"].as_array().expect("errors") {
            assert!(!text(&error["message"]).is_empty(), "{error}");
        }
        let again = post(&self.pos, path, &key, body).await;
        assert_eq!(
            again.header("Idempotent-Replayed"),
            Some("true"),
            "{body:.500}"
        );
        assert_eq!((again.status, again.body), (400, answer.body.clone()));
        self.only_records_grew(before, 1, body);
        answer
    }

    fn only_records_grew(&self, before: Vec<(&'static str, i64)>, by: i64, what: &str) {
        let grown = |(table, rows)| match table {
            "webhook_idempotency" => (table, rows + by),
            _ => (table, rows),
        };
        let expected: Vec<_> = before.into_iter().map(grown).collect();
        assert_eq!(self.service.rows(), expected, "{what:.500}");
    }

    fn products(&self) -> String {
        format!("/api/v1/retailers/{}/products", self.service.kitchen)
    }
}

/// A POST whose body is sent as it is.
async fn post(client: &Client, path: &str, key: &str, body: impl Into<Vec<u8>>) -> Answer {
    let request = client.request("POST", path);
    let request = request.header("Content-Type", "application/json");
    Answer::to(request.header("Idempotency-Key", key).body(body.into())).await
}

async fn whatever_is_wrong_with_an_order_is_told_and_nothing_is_done(engine: Engine) {
    let shop = Paid::new(engine).await;
    let office = shop.service.head_office().await;
    let bakery = json!({"name": "Bakery", "phone": "+14155238887", "currency": "EUR"});
    let bakery = text(&office.create("/api/v1/retailers", &bakery).await["id"]);
    let bread = json!({"sku": "BREAD", "name": "Bread", "price": "3.00"});
    let products = format!("/api/v1/retailers/{bakery}/products");
    office.create(&products, &bread).await;

    let good = items(&[("COLA", 1)]);
    let customer = |customer: Value| with(good.clone(), json!({"customer": customer}));
    let priced = |price: &str, currency: &str| {
        with(
            work(price),
            json!({"estimated_price": price, "currency": currency}),
        )
    };
    let long = "x".repeat(4001);
    let cases: Vec<(Value, Vec<&str>)> = vec![
        // Members.
        (
            with(good.clone(), json!({"price": "1.00"})),
            vec!["/price unknown_member"],
        ),
        (
            with(good.clone(), json!({"a/b~c": 1, "": 2})),
            vec!["/ unknown_member", "/a~1b~0c unknown_member"],
        ),
        (
            customer(json!({"name": "Ana", "age": 7})),
            vec!["/customer/age unknown_member"],
        ),
        (json!({}), vec!["/customer missing", "/items missing"]),
        (without(good.clone(), "customer"), vec!["/customer missing"]),
        (customer(json!({})), vec!["/customer/name missing"]),
        (
            json!({"customer": {"name": "Ana"}, "items": [{}]}),
            vec!["/items/0/quantity missing", "/items/0/sku missing"],
        ),
        (without(work("1.00"), "currency"), vec!["/currency missing"]),
        (
            without(work("1.00"), "description"),
            vec!["/description missing"],
        ),
        (
            without(without(work("1.00"), "service_type"), "customer"),
            vec!["/customer missing", "/service_type missing"],
        ),
        (
            with(good.clone(), work("1.00")),
            vec![
                "/currency unknown_member",
                "/description unknown_member",
                "/estimated_price unknown_member",
                "/service_type unknown_member",
            ],
        ),
        // Types.
        (json!([good]), vec![" wrong_type"]),
        (json!("order"), vec![" wrong_type"]),
        (json!(null), vec![" wrong_type"]),
        (json!(7), vec![" wrong_type"]),
        (customer(json!("Ana")), vec!["/customer wrong_type"]),
        (
            customer(json!({"name": 7, "phone": 8})),
            vec!["/customer/name wrong_type", "/customer/phone wrong_type"],
        ),
        (
            with(good.clone(), json!({"items": {}})),
            vec!["/items wrong_type"],
        ),
        (
            with(good.clone(), json!({"items": null})),
            vec!["/items wrong_type"],
        ),
        (
            with(good.clone(), json!({"items": [null, 1]})),
            vec!["/items/0 wrong_type", "/items/1 wrong_type"],
        ),
        (
            with(good.clone(), json!({"note": ["no olives"]})),
            vec!["/note wrong_type"],
        ),
        (
            with(good.clone(), json!({"retailer_id": 7})),
            vec!["/retailer_id wrong_type"],
        ),
        (
            with(work("1.00"), json!({"estimated_price": 1})),
            vec!["/estimated_price wrong_type"],
        ),
        // Texts.
        (
            with(good.clone(), json!({"note": ""})),
            vec!["/note invalid"],
        ),
        (
            with(good.clone(), json!({"note": long})),
            vec!["/note invalid"],
        ),
        (
            with(good.clone(), json!({"note": "a\0b"})),
            vec!["/note invalid"],
        ),
        (
            with(work("1.00"), json!({"description": long})),
            vec!["/description invalid"],
        ),
        (
            with(work("1.00"), json!({"service_type": "a\nb"})),
            vec!["/service_type invalid"],
        ),
        (
            customer(json!({"name": "\u{0}"})),
            vec!["/customer/name invalid"],
        ),
        (
            customer(json!({"name": "  "})),
            vec!["/customer/name invalid"],
        ),
        (
            customer(json!({"name": "x".repeat(201)})),
            vec!["/customer/name invalid"],
        ),
        (
            customer(json!({"name": "Ana", "phone": "14155550100"})),
            vec!["/customer/phone invalid"],
        ),
        (
            customer(json!({"name": "Ana", "phone": "+0"})),
            vec!["/customer/phone invalid"],
        ),
        (
            customer(json!({"name": "Ana", "phone": "+14155550100\n"})),
            vec!["/customer/phone invalid"],
        ),
        // Identifiers.
        (
            with(good.clone(), json!({"retailer_id": "7"})),
            vec!["/retailer_id invalid"],
        ),
        (
            with(
                good.clone(),
                json!({"retailer_id": format!("{}x", new_key())}),
            ),
            vec!["/retailer_id invalid"],
        ),
        (
            with(good.clone(), json!({"retailer_id": "' OR 1=1"})),
            vec!["/retailer_id invalid"],
        ),
        // Items.
        (
            with(good.clone(), json!({"items": []})),
            vec!["/items invalid"],
        ),
        (items(&[("COLA", 1); 201]), vec!["/items invalid"]),
        (items(&[("COLA", 0)]), vec!["/items/0/quantity invalid"]),
        (
            items(&[("COLA", 10_000)]),
            vec!["/items/0/quantity invalid"],
        ),
        (
            json!({"customer": {"name": "Ana"}, "items": [
                {"sku": "COLA", "quantity": -1}, {"sku": "COLA", "quantity": 1.5}, {"sku": "COLA", "quantity": "1"},
                {"sku": "COLA", "quantity": null}, {"sku": 7, "quantity": true}, {"sku": "", "quantity": 1, "price": 1},
            ]}),
            vec![
                "/items/0/quantity invalid",
                "/items/1/quantity wrong_type",
                "/items/2/quantity wrong_type",
                "/items/3/quantity wrong_type",
                "/items/4/quantity wrong_type",
                "/items/4/sku wrong_type",
                "/items/5/price unknown_member",
                "/items/5/sku invalid",
            ],
        ),
        (
            items(&[("NONE", 1), ("COLA", 1), ("cola", 1), ("BREAD", 1)]),
            vec![
                "/items/0/sku unknown_product",
                "/items/2/sku unknown_product",
                "/items/3/sku unknown_product",
            ],
        ),
        // Money.
        (
            priced("1.001", "USD"),
            vec!["/estimated_price too_many_decimals"],
        ),
        (priced("0", "USD"), vec!["/estimated_price zero"]),
        (priced("0.00", "USD"), vec!["/estimated_price zero"]),
        (priced("1.00", "EUR"), vec!["/currency foreign_currency"]),
        (
            priced("1.5", "JPY"),
            vec![
                "/currency foreign_currency",
                "/estimated_price too_many_decimals",
            ],
        ),
        (priced("0", "ABC"), vec!["/currency invalid"]),
        (priced("1.00", "XAU"), vec!["/currency invalid"]),
        (priced("1.00", "usd"), vec!["/currency invalid"]),
        (
            priced("1,00", "US"),
            vec!["/currency invalid", "/estimated_price invalid"],
        ),
    ];
    for (body, errors) in cases {
        shop.refused("/api/v1/orders", &body.to_string(), &errors)
            .await;
    }
    for amount in AMOUNTS_OF_NO_FORM {
        let body = priced(amount, "USD").to_string();
        shop.refused("/api/v1/orders", &body, &["/estimated_price invalid"])
            .await;
    }
    // Who is bound to no retailer has to say which.
    let answer = office.post("/api/v1/orders", &good).await.must(400);
    assert_eq!(answer.errors(), ["/retailer_id retailer_needed"]);
}

/// Texts that are no amount of any currency.
const AMOUNTS_OF_NO_FORM: [&str; 19] = [
    "",
    " ",
    "-1.00",
    "-0",
    "+1.00",
    "1.",
    ".5",
    "1,00",
    "1e2",
    "0x10",
    "NaN",
    "Infinity",
    "ten",
    "1 000",
    "1.00001",
    "1000000000000000",
    "99999999999999999999999999999999999999",
    "\u{661}\u{662}",
    "1.00\n",
];

async fn whatever_is_wrong_with_a_payment_a_refund_or_a_booking_is_told_and_nothing_is_done(
    engine: Engine,
) {
    let shop = Paid::new(engine).await;
    let (pays, gives) = (payment(&shop.order, "1.00"), refund(&shop.payment, "1.00"));
    let pay = |members: Value| with(pays.clone(), members);
    let give = |members: Value| with(gives.clone(), members);
    let book = |members: Value| with(booking(), members);
    let cases: Vec<(&str, Value, Vec<&str>)> = vec![
        (
            "payments",
            json!({}),
            vec![
                "/amount missing",
                "/currency missing",
                "/method missing",
                "/order_id missing",
            ],
        ),
        (
            "payments",
            json!({"order_id": 1, "amount": 2, "currency": 3, "method": 4, "note": 5}),
            vec![
                "/amount wrong_type",
                "/currency wrong_type",
                "/method wrong_type",
                "/note unknown_member",
                "/order_id wrong_type",
            ],
        ),
        ("payments", json!([]), vec![" wrong_type"]),
        (
            "payments",
            pay(json!({"order_id": "7"})),
            vec!["/order_id invalid"],
        ),
        (
            "payments",
            pay(json!({"method": "gold"})),
            vec!["/method invalid"],
        ),
        (
            "payments",
            pay(json!({"amount": "1.005"})),
            vec!["/amount too_many_decimals"],
        ),
        (
            "payments",
            pay(json!({"amount": "0.00"})),
            vec!["/amount zero"],
        ),
        (
            "payments",
            pay(json!({"amount": "25.01"})),
            vec!["/amount more_than_owed"],
        ),
        (
            "payments",
            pay(json!({"amount": "999999999999999.99"})),
            vec!["/amount more_than_owed"],
        ),
        (
            "payments",
            pay(json!({"amount": "999999999999999.9999", "currency": "CLF"})),
            vec!["/amount too_large", "/currency foreign_currency"],
        ),
        (
            "payments",
            pay(json!({"currency": "EUR"})),
            vec!["/currency foreign_currency"],
        ),
        (
            "payments",
            pay(json!({"currency": "ZZZ", "amount": "0"})),
            vec!["/currency invalid"],
        ),
        (
            "refunds",
            json!({"reason": ""}),
            vec![
                "/amount missing",
                "/currency missing",
                "/payment_id missing",
                "/reason invalid",
            ],
        ),
        (
            "refunds",
            give(json!({"payment_id": "7", "x": null})),
            vec!["/payment_id invalid", "/x unknown_member"],
        ),
        (
            "refunds",
            give(json!({"amount": "20.01"})),
            vec!["/amount more_than_paid"],
        ),
        (
            "refunds",
            give(json!({"amount": "0.001"})),
            vec!["/amount too_many_decimals"],
        ),
        (
            "refunds",
            give(json!({"amount": "0"})),
            vec!["/amount zero"],
        ),
        (
            "refunds",
            give(json!({"currency": "GBP"})),
            vec!["/currency foreign_currency"],
        ),
        (
            "refunds",
            give(json!({"reason": "x".repeat(4001)})),
            vec!["/reason invalid"],
        ),
        (
            "refunds",
            give(json!({"reason": "a\0"})),
            vec!["/reason invalid"],
        ),
        (
            "bookings",
            json!({"retailer_id": null}),
            vec![
                "/customer_name missing",
                "/date missing",
                "/service missing",
                "/time missing",
            ],
        ),
        (
            "bookings",
            json!({"service": 1, "customer_name": [], "date": 20261201, "time": 10, "seats": 2}),
            vec![
                "/customer_name wrong_type",
                "/date wrong_type",
                "/seats unknown_member",
                "/service wrong_type",
                "/time wrong_type",
            ],
        ),
        (
            "bookings",
            book(json!({"date": "2026-02-30"})),
            vec!["/date invalid"],
        ),
        (
            "bookings",
            book(json!({"date": "2027-02-29"})),
            vec!["/date invalid"],
        ),
        (
            "bookings",
            book(json!({"date": "01.12.2026", "time": "24:00"})),
            vec!["/date invalid", "/time invalid"],
        ),
        (
            "bookings",
            book(json!({"date": "2026-12-01T10:00:00Z"})),
            vec!["/date invalid"],
        ),
        (
            "bookings",
            book(json!({"date": "", "time": "10:00:00"})),
            vec!["/date invalid", "/time invalid"],
        ),
        (
            "bookings",
            book(json!({"service": "\t", "customer_name": "\u{7f}"})),
            vec!["/customer_name invalid", "/service invalid"],
        ),
    ];
    for (path, body, errors) in cases {
        let path = format!("/api/v1/{path}");
        shop.refused(&path, &body.to_string(), &errors).await;
    }
    for amount in AMOUNTS_OF_NO_FORM {
        let (pay, give) = (
            pay(json!({"amount": amount})),
            give(json!({"amount": amount})),
        );
        shop.refused("/api/v1/payments", &pay.to_string(), &["/amount invalid"])
            .await;
        shop.refused("/api/v1/refunds", &give.to_string(), &["/amount invalid"])
            .await;
    }
}

async fn whatever_is_wrong_with_the_catalogue_is_told_and_nothing_is_done(engine: Engine) {
    let shop = Paid::new(engine).await;
    let office = shop.service.head_office().await;
    let retailer = json!({"name": "Bakery", "phone": "+14155238887", "currency": "USD"});
    let product = json!({"sku": "SOUP", "name": "Soup", "price": "4.50"});
    let soup = text(&shop.pos.create(&shop.products(), &product).await["id"]);
    let (retailers, products) = ("/api/v1/retailers".to_owned(), shop.products());
    let one_retailer = format!("{retailers}/{}", shop.service.kitchen);
    let one_product = format!("{products}/{soup}");
    let of_retailer = |members: Value| with(retailer.clone(), members);
    let of_product = |members: Value| with(product.clone(), members);
    let retailer_cases: Vec<(Value, Vec<&str>)> = vec![
        (
            json!({}),
            vec!["/currency missing", "/name missing", "/phone missing"],
        ),
        (
            of_retailer(json!({"id": new_key()})),
            vec!["/id unknown_member"],
        ),
        (
            of_retailer(json!({"name": "", "phone": "1"})),
            vec!["/name invalid", "/phone invalid"],
        ),
        (
            of_retailer(json!({"currency": "ABC"})),
            vec!["/currency invalid"],
        ),
        (
            of_retailer(json!({"currency": "XAU"})),
            vec!["/currency invalid"],
        ),
        (
            of_retailer(json!({"phone_number_id": 106})),
            vec!["/phone_number_id wrong_type"],
        ),
        (json!([]), vec![" wrong_type"]),
    ];
    let product_cases: Vec<(Value, Vec<&str>)> = vec![
        (
            json!({}),
            vec!["/name missing", "/price missing", "/sku missing"],
        ),
        (
            of_product(json!({"stock": 1})),
            vec!["/stock unknown_member"],
        ),
        (of_product(json!({"price": 4.5})), vec!["/price wrong_type"]),
        (
            of_product(json!({"price": "4.555"})),
            vec!["/price too_many_decimals"],
        ),
        (
            of_product(json!({"price": "-4.50"})),
            vec!["/price invalid"],
        ),
        (
            of_product(json!({"currency": "EUR", "price": "4.555"})),
            vec!["/currency foreign_currency", "/price too_many_decimals"],
        ),
        (
            of_product(json!({"currency": "ABC"})),
            vec!["/currency invalid"],
        ),
        (
            of_product(json!({"aliases": ["", 7]})),
            vec!["/aliases/0 invalid", "/aliases/1 wrong_type"],
        ),
        (
            of_product(json!({"aliases": vec!["x"; 51]})),
            vec!["/aliases invalid"],
        ),
        (
            of_product(json!({"sku": "a\0b", "name": "x".repeat(201)})),
            vec!["/name invalid", "/sku invalid"],
        ),
        (json!("soup"), vec![" wrong_type"]),
    ];
    let retailer_paths = (retailers, one_retailer, retailer_cases);
    let product_paths = (products, one_product, product_cases);
    for (all, one, cases) in [retailer_paths, product_paths] {
        for (body, errors) in cases {
            let before = shop.service.rows();
            let shown = office.get(&one).await.must(200).data();
            for request in [
                office.telling("POST", &all, &body),
                office.telling("PUT", &one, &body),
            ] {
                let answer = Answer::to(request).await.must(400);
                assert_eq!(answer.error_code(), "VALIDATION_FAILED");
                assert_eq!(answer.errors(), errors, "{body}");
            }
            // No key was sent, so there is no record either.
            assert_eq!(shop.service.rows(), before, "{body}");
            assert_eq!(office.get(&one).await.data(), shown, "{body}");
        }
    }
    let changes: [(Value, &[&str]); 5] = [
        (json!({}), &["/status missing"]),
        (json!({"status": "done"}), &["/status invalid"]),
        (json!({"status": null}), &["/status wrong_type"]),
        (
            json!({"status": "pending", "note": "x"}),
            &["/note unknown_member"],
        ),
        (json!([]), &[" wrong_type"]),
    ];
    for (body, errors) in changes {
        let answer = shop
            .pos
            .patch(&format!("/api/v1/orders/{}", shop.order), &body)
            .await;
        assert_eq!(answer.must(400).errors(), errors, "{body}");
    }
}

async fn numbers_that_no_order_can_have_are_refused_at_once(engine: Engine) {
    let shop = Paid::new(engine).await;
    let cases: [(&str, &[&str]); 13] = [
        ("1e400", &["invalid"]),
        ("1e99999999999", &["invalid"]),
        ("-1e99999999999", &["invalid"]),
        ("1e-99999999999", &["wrong_type"]),
        ("0.1e-400", &["wrong_type"]),
        ("1e2000000000", &["invalid"]),
        ("1e-2000000000", &["wrong_type"]),
        (
            "99999999999999999999999999999999999999999999999999",
            &["invalid"],
        ),
        (
            "0.9999999999999999999999999999999999999999999999",
            &["wrong_type"],
        ),
        (
            "1.0000000000000000000000000000000000000000000001",
            &["wrong_type"],
        ),
        ("4294967297", &["invalid"]),
        ("-0", &["invalid"]),
        ("0e5", &["invalid"]),
    ];
    for (quantity, codes) in cases {
        let body = format!(
            r#"{{"customer":{{"name":"Ana"}},"items":[{{"sku":"COLA","quantity":{quantity}}}]}}"#
        );
        let errors: Vec<_> = codes
            .iter()
            .map(|code| format!("/items/0/quantity {code}"))
            .collect();
        let errors: Vec<_> = errors.iter().map(String::as_str).collect();
        let refusing = shop.refused("/api/v1/orders", &body, &errors);
        let refused = tokio::time::timeout(Duration::from_secs(5), refusing).await;
        assert!(refused.is_ok(), "{quantity} kept the service busy");
    }
}

async fn a_whole_number_may_be_written_with_decimals(engine: Engine) {
    let shop = Paid::new(engine).await;
    for quantity in [
        "2",
        "2.0",
        "2e0",
        "0.2e1",
        "20E-1",
        "2.00000000000000000000000000000000000000",
    ] {
        let body = format!(
            r#"{{"customer":{{"name":"Ana"}},"items":[{{"sku":"COLA","quantity":{quantity}}}]}}"#
        );
        let answer = post(&shop.pos, "/api/v1/orders", &new_key(), body).await;
        assert_eq!(answer.status, 201, "{quantity}: {answer:?}");
        assert_eq!(answer.data()["items"][0]["quantity"], 2, "{quantity}");
        assert_eq!(answer.data()["total"]["amount"], "3.50");
    }
}

async fn what_holds_as_much_as_it_may_is_taken(engine: Engine) {
    let shop = Paid::new(engine).await;
    let long = "\u{1F355}".repeat(4000);
    let order = with(items(&[("COLA", 9_999); 200]), json!({"note": long}));
    let order = shop.pos.create("/api/v1/orders", &order).await;
    assert_eq!(order["note"], *long);
    assert_eq!(order["total"]["amount"], "3499650.00");
    assert_eq!(order["items"].as_array().map(Vec::len), Some(200));
    let name = "\u{628}".repeat(200);
    let largest = with(
        work("999999999999999.99"),
        json!({"customer": {"name": name}, "description": long}),
    );
    let order = shop.pos.create("/api/v1/orders", &largest).await;
    assert_eq!(order["total"]["amount"], "999999999999999.99");
    shop.pos
        .pay(&text(&order["id"]), "999999999999999.99")
        .await;
    // What costs nothing can be sold, and no payment is owed for it.
    let gift = json!({"sku": "GIFT", "name": "Gift", "price": "0"});
    shop.pos.create(&shop.products(), &gift).await;
    let order = shop
        .pos
        .create("/api/v1/orders", &items(&[("GIFT", 1)]))
        .await;
    assert_eq!(order["total"]["amount"], "0.00");
    let pay = payment(&text(&order["id"]), "0.01");
    shop.refused(
        "/api/v1/payments",
        &pay.to_string(),
        &["/amount more_than_owed"],
    )
    .await;
    // What is optional may be null, too.
    let bare = with(
        items(&[("COLA", 1)]),
        json!({"note": null, "retailer_id": null, "customer": {"name": "A", "phone": null}}),
    );
    shop.pos.create("/api/v1/orders", &bare).await;
}

async fn a_refusal_stays_small_however_much_is_wrong(engine: Engine) {
    let shop = Paid::new(engine).await;
    let many: Vec<_> = (0..250).map(|n| format!(r#""m{n}":1"#)).collect();
    let many_items: Vec<_> = (0..250).map(|_| r#"{"sku":7}"#).collect();
    let long_name = "x".repeat(60_000);
    for body in [
        format!("{{{}}}", many.join(",")),
        format!(
            r#"{{"customer":{{"name":"Ana"}},"items":[{}]}}"#,
            many_items.join(",")
        ),
        format!(
            r#"{{"customer":{{"name":"Ana","{long_name}":1}},"items":[{{"sku":"COLA","quantity":1}}]}}"#
        ),
        format!(
            r#"{{"customer":{{"name":"{long_name}"}},"items":[{{"sku":"COLA","quantity":1}}]}}"#
        ),
    ] {
        let before = shop.service.rows();
        let answer = post(&shop.pos, "/api/v1/orders", &new_key(), body.clone()).await;
        assert_eq!(answer.status, 400, "{answer:.500?}");
        assert_eq!(answer.error_code(), "VALIDATION_FAILED");
        assert!(!answer.errors().is_empty());
        assert!(answer.body.len() < 100_000, "{} bytes", answer.body.len());
        shop.only_records_grew(before, 1, &body);
    }
    let names: Vec<_> = (0..30_000).map(|n| format!("&m{n}=1")).collect();
    let answer = shop
        .pos
        .get(&format!("/api/v1/orders?x=1{}", names[..3000].concat()))
        .await;
    assert!(
        answer.status == 400 && answer.body.len() < 100_000,
        "{} bytes",
        answer.body.len()
    );
}

async fn what_is_not_even_json_leaves_no_trace(engine: Engine) {
    let shop = Paid::new(engine).await;
    let deep = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let good = items(&[("COLA", 1)]).to_string();
    let bodies: Vec<Vec<u8>> = vec![
        b"".into(),
        b" ".into(),
        b"order".into(),
        b"{".into(),
        b"{\"customer\":}".into(),
        b"{'customer': 1}".into(),
        b"customer=Ana".into(),
        b"<order/>".into(),
        b"\xff\xfe{\x00}\x00".into(),
        b"{\"note\":\"\xff\"}".into(),
        br#"{"note":"\ud800"}"#.into(),
        b"{\"note\":\"a\nb\"}".into(),
        b"\xef\xbb\xbf{}".into(),
        b"NaN".into(),
        b"{\"x\":01}".into(),
        format!("{good}{good}").into(),
        format!("{good},").into(),
        deep(200).into(),
        deep(30_000).into(),
        format!("{{\"note\":{}}}", deep(30_000)).into(),
    ];
    let before = shop.service.rows();
    for body in bodies {
        for path in ["orders", "payments", "refunds", "bookings"] {
            let (path, key) = (format!("/api/v1/{path}"), new_key());
            let answer = post(&shop.pos, &path, &key, body.clone()).await;
            let shown = String::from_utf8_lossy(&body[..body.len().min(50)]);
            assert_eq!(answer.status, 400, "{shown}: {answer:?}");
            assert_eq!(answer.error_code(), "BODY_MALFORMED", "{shown}");
            let asked = shop.pos.get(&format!("/api/v1/orders/status/{key}")).await;
            assert_eq!(asked.json()["status"], "not_found", "{shown}");
        }
        let path = format!("/api/v1/orders/{}", shop.order);
        let request = shop.pos.request("PATCH", &path).body(body);
        let answer = Answer::to(request.header("Content-Type", "application/json")).await;
        assert_eq!(answer.must(400).error_code(), "BODY_MALFORMED");
    }
    assert_eq!(shop.service.rows(), before);
    // A key that came with it can be used for what was meant.
    let path = format!("/api/v1/orders/{}", shop.order);
    let change = |body: String| {
        let request = shop.pos.request("PATCH", &path).body(body);
        let request = request.header("Content-Type", "application/json");
        Answer::to(request.header("Idempotency-Key", "meant-well"))
    };
    let refused = change(deep(30_000)).await.must(400);
    assert_eq!(refused.error_code(), "BODY_MALFORMED");
    change(r#"{"status":"confirmed"}"#.to_owned())
        .await
        .must(200);
    // As deep as a document may be, it is read.
    shop.refused("/api/v1/orders", &deep(100), &[" wrong_type"])
        .await;
}

async fn what_is_not_admitted_leaves_no_trace(engine: Engine) {
    let shop = Paid::new(engine).await;
    let before = shop.service.rows();
    let body = items(&[("COLA", 1)]).to_string();
    let path = "/api/v1/orders";
    let request = || shop.pos.request("POST", path).body(body.clone());
    let keyed = || request().header("Idempotency-Key", new_key());
    const JSON: (&str, &str) = ("Content-Type", "application/json");
    let typed = |content_type: &str| keyed().header("Content-Type", content_type);
    let cases = [
        (keyed(), 415, "CONTENT_TYPE_UNSUPPORTED"),
        (typed("text/plain"), 415, "CONTENT_TYPE_UNSUPPORTED"),
        (
            typed("application/x-www-form-urlencoded"),
            415,
            "CONTENT_TYPE_UNSUPPORTED",
        ),
        (typed("application/jsonx"), 415, "CONTENT_TYPE_UNSUPPORTED"),
        (
            typed("application/problem+json"),
            415,
            "CONTENT_TYPE_UNSUPPORTED",
        ),
        (typed(""), 415, "CONTENT_TYPE_UNSUPPORTED"),
        (
            request().header(JSON.0, JSON.1),
            400,
            "IDEMPOTENCY_KEY_REQUIRED",
        ),
        (
            request()
                .header(JSON.0, JSON.1)
                .header("Idempotency-Key", ""),
            400,
            "IDEMPOTENCY_KEY_INVALID",
        ),
        (
            request()
                .header(JSON.0, JSON.1)
                .header("Idempotency-Key", "a b"),
            400,
            "IDEMPOTENCY_KEY_INVALID",
        ),
        (
            typed(JSON.1).header("X-Idempotency-Key", "another"),
            400,
            "IDEMPOTENCY_KEY_INVALID",
        ),
        (
            keyed().body(vec![b' '; 3_145_729]).header(JSON.0, JSON.1),
            413,
            "BODY_TOO_LARGE",
        ),
        (
            typed(JSON.1).bearer_auth("hk_unknown"),
            401,
            "TOKEN_INVALID",
        ),
    ];
    for (request, status, code) in cases {
        let answer = Answer::to(request).await;
        assert_eq!((answer.status, &*answer.error_code()), (status, code));
    }
    let nobody = shop.pos.http.post(format!("{}{path}", shop.pos.url));
    let nobody = nobody
        .header(JSON.0, JSON.1)
        .header("Idempotency-Key", "k")
        .body(body.clone());
    assert_eq!(
        Answer::to(nobody).await.must(401).error_code(),
        "TOKEN_MISSING"
    );
    assert_eq!(shop.service.rows(), before);
    // And what is, does.
    let charset = typed("Application/JSON; charset=utf-8");
    Answer::to(charset).await.must(201);
}

async fn identifiers_in_paths_must_be_uuids(engine: Engine) {
    let shop = Paid::new(engine).await;
    let (kitchen, good) = (&shop.service.kitchen, json!({"status": "confirmed"}));
    let before = shop.service.rows();
    for id in [
        "7",
        "null",
        "-1",
        "%00",
        "%FF",
        "..%2F..",
        "%27%20OR%201=1",
        &"9".repeat(32_000),
        &format!("{}0", new_key()),
    ] {
        for path in [
            format!("orders/{id}"),
            format!("payments/{id}"),
            format!("refunds/{id}"),
            format!("bookings/{id}"),
            format!("retailers/{id}"),
            format!("retailers/{id}/balance"),
            format!("retailers/{id}/products"),
            format!("retailers/{kitchen}/products/{id}"),
            format!("retailers/{id}/products/{}", new_key()),
        ] {
            let path = format!("/api/v1/{path}");
            let name = if path.contains("products/") && !path.contains(&format!("retailers/{id}")) {
                "product_id"
            } else {
                "id"
            };
            let answer = shop.pos.get(&path).await;
            assert_eq!(answer.status, 400, "{path:.100}: {answer:?}");
            assert_eq!(answer.error_code(), "VALIDATION_FAILED");
            assert_eq!(answer.errors(), [format!("{name} invalid")], "{path:.100}");
        }
        let changes = [
            ("PATCH", format!("orders/{id}")),
            ("PUT", format!("retailers/{id}")),
            ("POST", format!("retailers/{id}/products")),
            ("PUT", format!("retailers/{kitchen}/products/{id}")),
        ];
        for (method, path) in changes {
            let request = shop.pos.telling(method, &format!("/api/v1/{path}"), &good);
            assert_eq!(
                Answer::to(request).await.must(400).error_code(),
                "VALIDATION_FAILED",
                "{path:.100}"
            );
        }
    }
    assert_eq!(shop.service.rows(), before);
}

async fn parameters_of_lists_are_known_given_once_and_well_formed(engine: Engine) {
    let shop = Paid::new(engine).await;
    let orders: [(&str, &[&str]); 28] = [
        ("limit=0", &["limit invalid"]),
        ("limit=101", &["limit invalid"]),
        ("limit=-1", &["limit invalid"]),
        ("limit=", &["limit invalid"]),
        ("limit=1.0", &["limit invalid"]),
        ("limit=99999999999999999999999", &["limit invalid"]),
        ("cursor=", &["cursor invalid"]),
        ("cursor=7", &["cursor invalid"]),
        (
            "cursor=zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz",
            &["cursor invalid"],
        ),
        (
            "cursor=00000000-0000-0000-0000-000000000000",
            &["cursor invalid"],
        ),
        ("limit=1&limit=1", &["limit repeated"]),
        (
            "limit=1&limit=2&limit=0",
            &["limit invalid", "limit repeated"],
        ),
        ("page=2", &["page unknown_parameter"]),
        ("Limit=2", &["Limit unknown_parameter"]),
        (
            "page=1&page=2",
            &["page repeated", "page unknown_parameter"],
        ),
        ("=", &[" unknown_parameter"]),
        ("retailer_id=7", &["retailer_id invalid"]),
        ("retailer_id=", &["retailer_id invalid"]),
        ("status=done", &["status invalid"]),
        ("status=Pending", &["status invalid"]),
        ("source=", &["source invalid"]),
        ("order_number=%00", &["order_number invalid"]),
        ("customer_phone=a%00b", &["customer_phone invalid"]),
        ("customer_user_id=a%00b", &["customer_user_id invalid"]),
        ("created_from=yesterday", &["created_from invalid"]),
        ("created_from=2026-12-01", &["created_from invalid"]),
        (
            "created_before=2026-02-30T00:00:00Z",
            &["created_before invalid"],
        ),
        (
            "limit=0&cursor=x&status=x&source=x&retailer_id=x&created_from=x&created_before=x&order_number=%00&x=x",
            &[
                "created_before invalid",
                "created_from invalid",
                "cursor invalid",
                "limit invalid",
                "order_number invalid",
                "retailer_id invalid",
                "source invalid",
                "status invalid",
                "x unknown_parameter",
            ],
        ),
    ];
    for (query, errors) in orders {
        let answer = shop.pos.get(&format!("/api/v1/orders?{query}")).await;
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
        assert_eq!(answer.error_code(), "VALIDATION_FAILED");
        assert_eq!(answer.errors(), errors, "{query}");
    }
    for path in ["/api/v1/retailers".to_owned(), shop.products()] {
        for (query, error) in [
            ("limit=0", "limit invalid"),
            ("cursor=x", "cursor invalid"),
            ("limit=1&limit=1", "limit repeated"),
            ("status=pending", "status unknown_parameter"),
        ] {
            let answer = shop.pos.get(&format!("{path}?{query}")).await.must(400);
            assert_eq!(answer.errors(), [error], "{path}?{query}");
        }
    }
    // A cursor that no page gave is a place like any other.
    for cursor in ["0".repeat(32), "f".repeat(32)] {
        shop.pos
            .get(&format!("/api/v1/orders?cursor={cursor}"))
            .await
            .must(200);
    }
    // What cannot be read as text is no order's number.
    let none = shop
        .pos
        .get("/api/v1/orders?order_number=%FF%FE&customer_phone=%F0%9F%8D%95")
        .await;
    assert_eq!(none.must(200).data(), json!([]));
}
