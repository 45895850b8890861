//! What Twilio sends: messages, status callbacks, JSON.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};

use crate::support::{
    app::{App, set},
    database::{Engine, on_both},
    records,
    requests::{Call, PUBLIC_URL, SHOP_PHONE, TWILIO_TOKEN, new_sid, told},
};

on_both! {
    a_form_that_is_no_message_is_kept_once
    signed_with_a_shared_key_a_message_is_taken
    a_query_may_be_escaped_on_the_wire_and_plain_where_it_was_signed
    a_text_order_is_answered_with_its_number_its_items_and_its_total
    a_conversation_is_answered_with_nothing
    a_line_that_is_not_understood_costs_the_order_and_is_named
    an_arabic_text_is_an_order_like_another
    a_cart_that_twilio_passes_on_is_an_order
    a_message_to_an_unknown_retailer_is_kept_and_not_answered
    what_is_no_text_is_kept_and_not_answered
    only_a_message_sid_is_taken_for_one
    a_status_callback_is_recorded_whichever_address_it_comes_to
    a_late_status_never_overwrites_a_better_one
    json_is_kept_event_by_event
    the_alias_of_the_route_is_the_route
    form_and_twiml_are_stored_as_json
    without_a_token_the_routes_say_so
}

/// The outcomes of all events, sorted by their ids.
fn outcomes(app: &App) -> Vec<String> {
    let sql = "SELECT outcome AS t FROM webhook_event ORDER BY event_id";
    app.database.texts(sql).into_iter().flatten().collect()
}

/// A reply with the number of the only order masked.
fn masked(app: &App, body: &str) -> String {
    let numbers = app.database.texts("SELECT order_number AS t FROM orders");
    let [Some(number)] = &numbers[..] else {
        panic!("{numbers:?}")
    };
    assert!(body.contains(number), "{body}");
    body.replace(number, "[number]")
}

async fn a_text_order_is_answered_with_its_number_its_items_and_its_total(engine: Engine) {
    let app = App::new(engine).await;
    let text = "Order 2 margherita pizzas, 1 x Fish and Chips";
    let reply = app.send(&Call::twilio_text(&new_sid(), text)).await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.content_type.as_deref(),
        Some("text/xml; charset=utf-8")
    );
    insta::allow_duplicates! {
        insta::assert_snapshot!(masked(&app, &reply.body), @r#"
        <?xml version="1.0" encoding="UTF-8"?><Response><Message>Order [number] received.
        2 × Margherita Pizza: 17.00 USD
        1 × Fish and Chips: 11.00 USD
        Total: 28.00 USD</Message></Response>
        "#);
    }
    assert_eq!(outcomes(&app), ["order_created"]);
    let order = "SELECT total_minor || ' ' || currency || ' ' || customer_phone || ' ' || customer_name AS t FROM orders";
    assert_eq!(
        app.database.texts(order),
        [Some("2800 USD +14155550100 Ana".to_owned())]
    );
    let items = "SELECT quantity || ' ' || sku || ' ' || unit_price_minor AS t FROM order_items ORDER BY position";
    assert_eq!(
        app.database.texts(items),
        [
            Some("2 PIZZA-MARG 850".to_owned()),
            Some("1 FISH-CHIPS 1100".to_owned())
        ]
    );
    let entry = "SELECT kind || ' ' || amount_minor || ' ' || currency AS t FROM ledger_entries";
    assert_eq!(
        app.database.texts(entry),
        [Some("order 2800 USD".to_owned())]
    );
}

async fn a_conversation_is_answered_with_nothing(engine: Engine) {
    let app = App::new(engine).await;
    let reply = app
        .send(&Call::twilio_text(&new_sid(), "What time do you open?"))
        .await;
    assert_eq!(reply.status, 200);
    insta::allow_duplicates! {
        insta::assert_snapshot!(reply.body, @r#"<?xml version="1.0" encoding="UTF-8"?><Response/>"#);
    }
    assert_eq!(
        (outcomes(&app), app.orders()),
        (vec!["not_an_order".to_owned()], 0)
    );
}

async fn a_line_that_is_not_understood_costs_the_order_and_is_named(engine: Engine) {
    let app = App::new(engine).await;
    let reply = app
        .send(&Call::twilio_text(&new_sid(), "2 cola\n3 bakalva & co"))
        .await;
    assert_eq!(reply.status, 200);
    insta::allow_duplicates! {
        insta::assert_snapshot!(reply.body, @r#"
        <?xml version="1.0" encoding="UTF-8"?><Response><Message>Sorry, nothing was ordered. We did not understand:
        “3 bakalva &amp; co” (did you mean Baklava?)
        Please send the whole order again, one line for each item, such as: 2 x product</Message></Response>
        "#);
    }
    assert_eq!(
        (outcomes(&app), app.orders()),
        (vec!["unknown_product".to_owned()], 0)
    );
    assert_eq!(app.ledger_entries(), 0);
}

async fn an_arabic_text_is_an_order_like_another(engine: Engine) {
    let app = App::new(engine).await;
    let reply = app
        .send(&Call::twilio_text(&new_sid(), "أريد ٢ بيتزا و ٣ كولا"))
        .await;
    insta::allow_duplicates! {
        insta::assert_snapshot!(masked(&app, &reply.body), @r#"
        <?xml version="1.0" encoding="UTF-8"?><Response><Message>Order [number] received.
        2 × Margherita Pizza: 17.00 USD
        3 × Cola: 5.25 USD
        Total: 22.25 USD</Message></Response>
        "#);
    }
}

async fn a_cart_that_twilio_passes_on_is_an_order(engine: Engine) {
    let app = App::new(engine).await;
    let cart = json!({"order": {"catalog_id": "1", "product_items": [
        {"product_retailer_id": "TEA", "quantity": 3, "item_price": 2.00, "currency": "USD"},
    ]}})
    .to_string();
    let reply = app
        .send(&Call::twilio(&[
            ("MessageSid", &new_sid()),
            ("From", "whatsapp:+14155550100"),
            ("To", &format!("whatsapp:{SHOP_PHONE}")),
            ("Body", ""),
            ("MessageType", "order"),
            ("InteractiveData", &cart),
        ]))
        .await;
    assert!(reply.body.contains("3 × Mint Tea: 6.00 USD"), "{reply:?}");
    assert_eq!(app.orders(), 1);
}

async fn a_message_to_an_unknown_retailer_is_kept_and_not_answered(engine: Engine) {
    let app = App::new(engine).await;
    let sid = new_sid();
    let call = Call::twilio(&[
        ("MessageSid", &sid),
        ("From", "whatsapp:+14155550100"),
        ("To", "whatsapp:+14155550199"),
        ("Body", "2 cola"),
    ]);
    let reply = app.send(&call).await;
    assert_eq!(reply.status, 200);
    assert!(reply.body.ends_with("<Response/>"), "{reply:?}");
    assert_eq!(
        (outcomes(&app), app.orders()),
        (vec!["unknown_retailer".to_owned()], 0)
    );
}

async fn what_is_no_text_is_kept_and_not_answered(engine: Engine) {
    let app = App::new(engine).await;
    let kinds: [&[(&str, &str)]; 7] = [
        &[
            ("MessageType", "image"),
            ("NumMedia", "1"),
            ("MediaUrl0", "https://a.example/m"),
        ],
        &[("NumMedia", "1"), ("MediaContentType0", "image/jpeg")],
        &[
            ("MessageType", "button"),
            ("ButtonText", "2 cola"),
            ("ButtonPayload", "p"),
        ],
        &[
            ("MessageType", "interactive"),
            ("ListId", "l"),
            ("ListTitle", "2 cola"),
        ],
        &[("ListId", "l")],
        &[
            ("MessageType", "location"),
            ("Latitude", "1.5"),
            ("Longitude", "2.5"),
        ],
        &[("MessageType", "hologram")],
    ];
    let to = format!("whatsapp:{SHOP_PHONE}");
    for kind in kinds {
        let sid = new_sid();
        let common = [
            ("MessageSid", &*sid),
            ("To", &*to),
            ("From", "whatsapp:+1"),
            ("Body", "2 cola"),
        ];
        let reply = app.send(&Call::twilio(&[&common, kind].concat())).await;
        assert_eq!(reply.status, 200, "{kind:?}");
        assert!(reply.body.ends_with("<Response/>"), "{kind:?} {reply:?}");
    }
    assert_eq!(
        (outcomes(&app), app.orders()),
        (vec!["ignored".to_owned(); 7], 0)
    );
}

async fn only_a_message_sid_is_taken_for_one(engine: Engine) {
    let app = App::new(engine).await;
    let good = new_sid();
    let bad = [
        String::new(),
        "SM".to_owned(),
        good[..33].to_owned(),
        format!("{good}0"),
        format!("{}g", &good[..33]),
        good.to_lowercase(),
        good.replace("SM", "CA"),
        format!("{good} "),
        format!("{good}\n"),
    ];
    let mut calls: Vec<Call> = bad
        .iter()
        // A good id under another name is never taken in its place.
        .map(|sid| Call::twilio(&[("MessageSid", sid), ("SmsSid", &good), ("Body", "2 cola")]))
        .collect();
    calls.push(Call::twilio(&[
        ("SmsSid", &good),
        ("SmsMessageSid", &good),
        ("Body", "2 cola"),
    ]));
    let another = new_sid();
    calls.push(Call::twilio(&[
        ("MessageSid", &good),
        ("MessageSid", &another),
        ("Body", "2 cola"),
    ]));
    calls.push(Call::twilio_at(
        "/webhooks/twilio/status",
        &[("MessageStatus", "read"), ("SmsSid", &good)],
    ));
    calls.push(Call::twilio_at(
        "/webhooks/twilio/status",
        &[("MessageSid", &good)],
    ));
    for call in calls {
        // A key in a header does not help either.
        let reply = app.send(&call.clone().key(&good)).await;
        assert_eq!(
            (reply.status, &*reply.error_code()),
            (400, "BODY_MALFORMED"),
            "{call:?}"
        );
    }
    assert_eq!((app.events(), app.records(), app.orders()), (0, 0, 0));
}

/// A step of a message of ours.
fn step(path: &str, sid: &str, status: &str) -> Call {
    let mut params = vec![
        ("MessageSid", sid),
        ("SmsSid", sid),
        ("MessageStatus", status),
    ];
    if status == "failed" || status == "undelivered" {
        params.push(("ErrorCode", "63016"));
    }
    Call::twilio_at(path, &params)
}

fn standing(app: &App, sid: &str) -> Vec<Option<String>> {
    app.database.texts(&format!(
        "SELECT status || coalesce(' ' || error_code, '') AS t FROM message_status WHERE message_id = '{sid}'"
    ))
}

async fn a_status_callback_is_recorded_whichever_address_it_comes_to(engine: Engine) {
    let app = App::new(engine).await;
    for path in ["/webhooks/twilio", "/webhooks/twilio/status"] {
        let sid = new_sid();
        let reply = app.send(&step(path, &sid, "delivered")).await;
        assert_eq!(
            (reply.status, &*reply.body, reply.content_type),
            (204, "", None)
        );
        assert_eq!(standing(&app, &sid), [Some("delivered".to_owned())]);
    }
    assert_eq!(outcomes(&app), ["status_recorded", "status_recorded"]);
    // The same step at the other address is the same event.
    let sid = new_sid();
    app.send(&step("/webhooks/twilio", &sid, "sent")).await;
    let again = app
        .send(&step("/webhooks/twilio/status", &sid, "sent"))
        .await;
    assert_eq!(
        (again.status, again.replayed.as_deref()),
        (204, Some("true"))
    );
    assert_eq!(app.events(), 3);
}

async fn a_late_status_never_overwrites_a_better_one(engine: Engine) {
    let app = App::new(engine).await;
    for (steps, expected) in [
        (&["queued", "sent", "delivered", "read"][..], "read"),
        (&["read", "delivered", "sent", "queued"], "read"),
        (&["sent", "read", "delivered"], "read"),
        (&["delivered", "queued"], "delivered"),
        (&["failed", "delivered"], "delivered"),
        (&["delivered", "failed"], "delivered"),
        (&["sent", "undelivered", "queued"], "undelivered 63016"),
        (&["read", "brand-new-word"], "read"),
    ] {
        let sid = new_sid();
        for status in steps {
            let reply = app
                .send(&step("/webhooks/twilio/status", &sid, status))
                .await;
            assert_eq!(reply.status, 204, "{steps:?}");
        }
        assert_eq!(
            standing(&app, &sid),
            [Some(expected.to_owned())],
            "{steps:?}"
        );
    }
}

async fn json_is_kept_event_by_event(engine: Engine) {
    let app = App::new(engine).await;
    let stream = json!([
        {"specversion": "1.0", "type": "com.twilio.messaging.message.sent", "id": "EZ1", "data": {"n": 1}},
        {"specversion": "1.0", "type": "com.twilio.messaging.message.sent", "id": "EZ2", "data": {"n": 2}},
    ]);
    let first = app.send(&Call::twilio_json(stream.to_string())).await;
    assert_eq!((first.status, &*first.body), (204, ""));
    // Of a stream cut differently only what is new is new.
    let next = json!([stream[1], {"specversion": "1.0", "type": "t", "id": "EZ3"}]);
    assert_eq!(
        app.send(&Call::twilio_json(next.to_string())).await.status,
        204
    );
    let ids = "SELECT event_id AS t FROM webhook_event ORDER BY event_id";
    let expected = ["EZ1", "EZ2", "EZ3"].map(|id| Some(id.to_owned()));
    assert_eq!(app.database.texts(ids), expected);

    let studio = Call::twilio_json(r#"{"flow": "greet", "n": 1.0}"#);
    assert_eq!(app.send(&studio).await.status, 204);
    assert_eq!(
        app.send(&studio.key("another-key"))
            .await
            .replayed
            .as_deref(),
        Some("true")
    );
    assert_eq!(app.events(), 4);
}

async fn the_alias_of_the_route_is_the_route(engine: Engine) {
    let app = App::new(engine).await;
    let sid = new_sid();
    let to = format!("whatsapp:{SHOP_PHONE}");
    let params = [
        ("MessageSid", &*sid),
        ("To", &to),
        ("From", "whatsapp:+1415"),
        ("Body", "2 cola"),
    ];
    let there = app
        .send(&Call::twilio_at("/api/v1/whatsapp/webhook", &params))
        .await;
    assert_eq!(there.status, 200);
    // The same message at the other address orders nothing more, and hears the same.
    let here = app.send(&Call::twilio(&params)).await;
    assert_eq!(here.essence(), there.essence());
    assert_eq!((app.orders(), app.events()), (1, 1));
}

async fn form_and_twiml_are_stored_as_json(engine: Engine) {
    let app = App::new(engine).await;
    let sid = new_sid();
    let call = Call::twilio(&[
        ("MessageSid", &sid),
        ("Body", "crème & “brûlée” 🍮\n\"\\"),
        ("Tag", "b"),
        ("Tag", "a"),
        ("Empty", ""),
    ]);
    let reply = app.send(&call).await;
    let column = |name: &str| {
        let sql = format!("SELECT CAST({name} AS TEXT) AS t FROM webhook_idempotency");
        app.database.texts(&sql).remove(0).expect("a value")
    };
    assert_eq!(
        records::bodies(&app.database)[0],
        json!({"MessageSid": sid, "Body": "crème & “brûlée” 🍮\n\"\\", "Tag": ["b", "a"], "Empty": ""})
    );
    let response: Value = serde_json::from_str(&column("response_body")).unwrap();
    assert_eq!(response, Value::from(reply.body));
    assert_eq!(column("response_content_type"), "text/xml; charset=utf-8");
    assert_eq!(column("response_status"), "200");
    let key = "SELECT scope || ' ' || idempotency_key || ' ' || webhook_type || ' ' || status AS t FROM webhook_idempotency";
    let expected = format!("webhook:twilio {sid} twilio_message completed");
    assert_eq!(app.database.texts(key), [Some(expected)]);
}

async fn without_a_token_the_routes_say_so(engine: Engine) {
    let app = App::with(engine, |config| set(config, "TWILIO_AUTH_TOKEN", "")).await;
    for path in [
        "/webhooks/twilio",
        "/webhooks/twilio/status",
        "/api/v1/whatsapp/webhook",
    ] {
        let reply = app
            .send(&Call::twilio_at(
                path,
                &[("MessageSid", &new_sid()), ("Body", "x")],
            ))
            .await;
        assert_eq!(
            (reply.status, &*reply.error_code()),
            (503, "PROVIDER_NOT_CONFIGURED"),
            "{path}"
        );
    }
    assert_eq!(app.events(), 0);
}

/// A request with a signature by SHA-256, as Twilio's shared keys make them.
fn signed_by_sha256(key: &str, path: &str, params: &[(&str, &str)]) -> Call {
    let mut sorted = params.to_vec();
    sorted.sort_unstable();
    let text: String = sorted
        .iter()
        .flat_map(|(name, value)| [*name, *value])
        .collect();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(format!("{PUBLIC_URL}{path}{text}").as_bytes());
    let signature = BASE64.encode(mac.finalize().into_bytes());
    Call::twilio_at(path, params).instead("X-Twilio-Signature", &signature)
}

const SETTINGS: &str = "X-Twilio-Webhooks-Signature-Settings";

async fn signed_with_a_shared_key_a_message_is_taken(engine: Engine) {
    let app = App::with(engine, |config| {
        let keys = "north:key-of-the-north,south:key-of-the-south";
        set(config, "TWILIO_SHARED_KEYS", keys);
    })
    .await;
    let signed = |key: &str| {
        let sid = new_sid();
        let params = [
            ("MessageSid", &*sid),
            ("Body", "1 tea"),
            ("From", "whatsapp:+14155550107"),
        ];
        signed_by_sha256(key, "/webhooks/twilio", &params)
    };
    let named = |key: &str, name: &str| {
        signed(key).header(SETTINGS, &format!("key={name},algorithm=HMAC_SHA256"))
    };
    for good in [
        named("key-of-the-south", "south"),
        named("key-of-the-north", "north"),
        // A proxy may lose the header.
        signed("key-of-the-south"),
        // The token's own, by the other algorithm.
        signed(TWILIO_TOKEN),
        named(TWILIO_TOKEN, "a-key-that-nobody-knows"),
        Call::twilio_text(&new_sid(), "1 tea"),
    ] {
        assert_eq!(app.send(&good).await.status, 200, "{good:?}");
    }
    for bad in [
        named("key-of-the-south", "north"),
        named("key-of-the-south", "east"),
        named("another key", "north"),
        signed("another key"),
    ] {
        let reply = app.send(&bad).await;
        assert_eq!(
            (reply.status, &*reply.error_code()),
            (401, "SIGNATURE_INVALID"),
            "{bad:?}"
        );
    }
    assert_eq!(app.events(), 6);
    let alone = app
        .another(|config| {
            set(config, "TWILIO_AUTH_TOKEN", "");
            set(config, "TWILIO_SHARED_KEYS", "north:key-of-the-north");
        })
        .await;
    let reply = named("key-of-the-north", "north")
        .send(&app.client, &alone.url)
        .await;
    assert_eq!(reply.expect("an answer").status, 200);
}

async fn a_query_may_be_escaped_on_the_wire_and_plain_where_it_was_signed(engine: Engine) {
    let app = App::new(engine).await;
    for (wire, signed) in [
        ("?town=L%27Aquila", "?town=L'Aquila"),
        ("?town=L'Aquila", "?town=L%27Aquila"),
        (
            "?owner=ada%40shop.example&x=1",
            "?owner=ada@shop.example&x=1",
        ),
        (
            "?owner=ada@shop.example&x=1",
            "?owner=ada%40shop.example&x=1",
        ),
    ] {
        let sid = new_sid();
        let params = [("MessageSid", &*sid), ("Body", "hi")];
        let call = Call {
            path: format!("/webhooks/twilio{wire}"),
            ..Call::twilio_at(&format!("/webhooks/twilio{signed}"), &params)
        };
        assert_eq!(call.send_raw(&app.url).await.status, 200, "{wire}");
        let altered = Call {
            path: format!("/webhooks/twilio{wire}s"),
            ..call
        };
        assert_eq!(altered.send_raw(&app.url).await.status, 401, "{wire}");
    }
    // As one parameter and as two: not the same.
    let sid = new_sid();
    let call = Call::twilio_at(
        "/webhooks/twilio?a=1&b=2",
        &[("MessageSid", &sid), ("Body", "hi")],
    );
    let other = Call {
        path: "/webhooks/twilio?a=1%26b=2".to_owned(),
        ..call
    };
    assert_eq!(other.send_raw(&app.url).await.status, 401);
}

async fn a_form_that_is_no_message_is_kept_once(engine: Engine) {
    let app = App::new(engine).await;
    let account = ("AccountSid", "AC00000000000000000000000000000001");
    let conversation = |event: &'static str, body: &'static str| {
        Call::twilio(&[
            account,
            ("EventType", event),
            ("ConversationSid", "CH00000000000000000000000000000007"),
            ("MessageSid", "IM00000000000000000000000000000007"),
            ("Author", "whatsapp:+14155550107"),
            ("Body", body),
        ])
    };
    let call = |path: &str, status: &str| {
        Call::twilio_at(
            path,
            &[
                account,
                ("CallSid", "CA00000000000000000000000000000007"),
                ("CallStatus", status),
                ("From", "+14155550107"),
                ("To", SHOP_PHONE),
                ("Direction", "inbound"),
            ],
        )
    };
    let forms = [
        (
            conversation("onMessageAdded", "2 pizza"),
            204,
            "onMessageAdded",
        ),
        (
            conversation("onMessageUpdated", "3 pizza"),
            204,
            "onMessageUpdated",
        ),
        (
            conversation("onMessageUpdated", "4 pizza"),
            204,
            "onMessageUpdated",
        ),
        (call("/webhooks/twilio", "ringing"), 200, "call"),
        (call("/webhooks/twilio/status", "completed"), 200, "call"),
        (
            Call::twilio(&[
                account,
                ("Sid", "NO00000000000000000000000000000007"),
                ("Level", "WARNING"),
                ("Payload", r#"{"error_code":"12300"}"#),
                ("PayloadType", "application/json"),
            ]),
            204,
            "debugger",
        ),
        (
            Call::twilio(&[("Anything", "else"), ("Empty", "")]),
            204,
            "form",
        ),
    ];
    for (n, (form, status, kind)) in forms.iter().enumerate() {
        let reply = app.send(form).await;
        assert_eq!(told(&reply), (*status, Some("false")), "{form:?}");
        if *status == 200 {
            assert!(reply.body.ends_with("<Response/>"), "{reply:?}");
        }
        for again in [
            app.send(form).await,
            app.send(&form.clone().key(&new_sid())).await,
        ] {
            assert_eq!(told(&again), (*status, Some("true")), "{form:?}");
            assert_eq!(again.essence(), reply.essence());
        }
        assert_eq!(app.events(), n as i64 + 1, "{form:?}");
        let last = "SELECT kind AS t FROM webhook_event ORDER BY created_at DESC LIMIT 1";
        assert_eq!(app.database.texts(last), [Some((*kind).to_owned())]);
    }
    assert_eq!(app.orders(), 0);
}
