//! Whose a message is, and by what its sender is known.

use serde_json::{Value, json};

use crate::support::{
    database::{Engine, on_both},
    requests::{Call, SHOP_PHONE, SHOP_PHONE_NUMBER_ID, new_sid, new_wamid, whatsapp_text},
    shop::{Client, Service, text},
    wait::until,
};

on_both! {
    whatever_names_a_number_of_ours_is_seen_by_its_retailer
    what_names_no_number_of_ours_or_two_is_seen_by_no_retailer
    a_voice_note_is_a_sign_of_life_of_its_retailer
    only_the_field_of_messages_holds_messages
    a_message_of_the_past_makes_an_order_once_it_comes_as_one
    a_customer_is_known_by_number_and_by_user_id
    what_is_no_number_and_no_user_id_is_neither
    each_participant_of_a_group_is_told_of_once
    a_conflict_is_seen_by_the_retailer_of_its_event
    what_comes_again_stays_nobodys_though_somebody_has_the_number_now
}

/// A change in Meta's envelope, about the shop of the tests.
fn change(field: &str, value: Value) -> Call {
    let mut value = value;
    value["messaging_product"] = json!("whatsapp");
    value["metadata"] =
        json!({"display_phone_number": "14155238886", "phone_number_id": SHOP_PHONE_NUMBER_ID});
    raw_change(field, value)
}

fn raw_change(field: &str, value: Value) -> Call {
    let change = json!({"field": field, "value": value});
    let entry = json!([{"id": "900100", "changes": [change]}]);
    Call::whatsapp(json!({"object": "whatsapp_business_account", "entry": entry}).to_string())
}

/// A message of a kind that orders nothing.
fn message(kind: &str, content: Value) -> Call {
    let message = json!({"id": new_wamid(), "from": "14155550100", "timestamp": "1795000000", "type": kind, kind: content});
    change("messages", json!({"messages": [message]}))
}

fn twilio(params: &[(&str, &str)]) -> Call {
    let (sid, shop) = (new_sid(), format!("whatsapp:{SHOP_PHONE}"));
    let all = [
        ("MessageSid", &*sid),
        ("From", "whatsapp:+14155550100"),
        ("To", &*shop),
    ];
    let mut all = all.to_vec();
    all.retain(|(name, _)| params.iter().all(|(other, _)| other != name));
    all.extend_from_slice(params);
    Call::twilio(&all)
}

/// Each kind of thing that orders nothing.
fn all_kinds() -> Vec<(&'static str, Call)> {
    let shop = format!("whatsapp:{SHOP_PHONE}");
    let status = |step| {
        let status = json!({"id": "wamid.OURS", "status": step, "recipient_id": "14155550100"});
        change("messages", json!({"statuses": [status]}))
    };
    let original = json!({"original_message_id": "wamid.NEVER-SEEN"});
    let sent = json!([{
        "specversion": "1.0", "id": "EZ01", "type": "com.twilio.messaging.message.sent",
        "data": {"messageSid": new_sid(), "from": shop, "to": "whatsapp:+14155550100"},
    }]);
    vec![
        (
            "image",
            message("image", json!({"id": "7", "caption": "2 pizza"})),
        ),
        ("voice", message("audio", json!({"id": "8", "voice": true}))),
        ("sticker", message("sticker", json!({"id": "9"}))),
        (
            "button",
            message("button", json!({"payload": "yes", "text": "Yes"})),
        ),
        (
            "list",
            message(
                "interactive",
                json!({"type": "list_reply", "list_reply": {"id": "1"}}),
            ),
        ),
        ("reaction", message("reaction", json!({"emoji": "👍"}))),
        ("location", message("location", json!({"latitude": 1.5}))),
        ("edit", message("edit", original.clone())),
        ("revoke", message("revoke", original)),
        ("unsupported", message("unsupported", json!({}))),
        (
            "no-id",
            change("messages", json!({"messages": [{"type": "text"}]})),
        ),
        ("sent", status("sent")),
        ("read", status("read")),
        (
            "errors",
            change("messages", json!({"errors": [{"code": 130429}]})),
        ),
        (
            "history",
            change(
                "history",
                json!({"messages": [whatsapp_text(&new_wamid(), "1 tea")]}),
            ),
        ),
        (
            "calls",
            change(
                "calls",
                json!({"statuses": [{"id": "wacid.1", "status": "RINGING"}]}),
            ),
        ),
        (
            "quality",
            raw_change(
                "phone_number_quality_update",
                json!({"display_phone_number": "14155238886"}),
            ),
        ),
        ("twilio-image", twilio(&[("NumMedia", "1"), ("Body", "")])),
        (
            "twilio-button",
            twilio(&[("ButtonPayload", "yes"), ("Body", "Yes")]),
        ),
        (
            "twilio-location",
            twilio(&[("Latitude", "1.5"), ("Body", "")]),
        ),
        (
            "twilio-status",
            twilio(&[
                ("MessageStatus", "sent"),
                ("From", &shop),
                ("To", "whatsapp:+14155550100"),
            ]),
        ),
        ("twilio-event", Call::twilio_json(sent.to_string())),
    ]
}

/// The keys of the providers' deliveries that a client sees, sorted.
async fn keys(client: &Client) -> Vec<String> {
    let listed = client.get("/api/v1/deliveries?limit=100").await.must(200);
    let listed = listed.data();
    let mut keys: Vec<_> = listed
        .as_array()
        .expect("a list")
        .iter()
        .filter(|delivery| delivery["provider"] != "api")
        .map(|delivery| text(&delivery["key"]))
        .collect();
    keys.sort();
    keys
}

async fn whatever_names_a_number_of_ours_is_seen_by_its_retailer(engine: Engine) {
    let service = Service::new(engine).await;
    let (pos, office) = (service.pos().await, service.head_office().await);
    let bakery = json!({"name": "Bakery", "phone": "+14155238887", "phone_number_id": "2", "currency": "USD"});
    let bakery = text(&office.create("/api/v1/retailers", &bakery).await["id"]);
    let clerk = service.client(Some(&bakery), "deliveries:read").await;
    let mut sent = Vec::new();
    for (key, call) in all_kinds() {
        let reply = service.app.send(&call.key(key)).await;
        assert!(reply.status < 300, "{key}: {reply:?}");
        sent.push(key.to_owned());
    }
    sent.sort();
    assert_eq!(keys(&pos).await, sent);
    assert_eq!(keys(&clerk).await, [] as [&str; 0]);

    assert_eq!(service.count("orders"), 0);
    assert_eq!(service.count("webhook_event WHERE retailer_id IS NULL"), 0);
    let statistics = office.get("/api/v1/stats").await.must(200).json();
    let by_retailer = statistics["by_retailer"].as_array().expect("retailers");
    let ours = by_retailer
        .iter()
        .find(|one| one["retailer_id"] == json!(service.kitchen));
    assert_eq!(ours.expect("the shop")["total"], json!(sent.len()));
}

async fn what_names_no_number_of_ours_or_two_is_seen_by_no_retailer(engine: Engine) {
    let service = Service::new(engine).await;
    let (pos, office) = (service.pos().await, service.head_office().await);
    let image = || json!([{"id": new_wamid(), "type": "image", "image": {"id": "1"}}]);
    let two = |other: &str| {
        let of = |id| json!({"field": "messages", "value": {"metadata": {"phone_number_id": id}, "messages": image()}});
        let entry = json!([{"id": "900100", "changes": [of(SHOP_PHONE_NUMBER_ID), of(other)]}]);
        Call::whatsapp(json!({"object": "whatsapp_business_account", "entry": entry}).to_string())
    };
    for (key, call) in [
        (
            "template",
            raw_change(
                "message_template_status_update",
                json!({"event": "APPROVED"}),
            ),
        ),
        (
            "unknown",
            raw_change(
                "messages",
                json!({"metadata": {"phone_number_id": "3"}, "messages": image()}),
            ),
        ),
        ("two", two("3")),
        (
            "to-nobody",
            twilio(&[
                ("To", "whatsapp:+14155550199"),
                ("NumMedia", "1"),
                ("Body", ""),
            ]),
        ),
        (
            "from-a-name",
            twilio(&[
                ("From", "MYSHOP"),
                ("To", SHOP_PHONE),
                ("MessageStatus", "sent"),
            ]),
        ),
    ] {
        let reply = service.app.send(&call.key(key)).await;
        assert!(reply.status < 300, "{key}: {reply:?}");
    }
    assert_eq!(keys(&pos).await, [] as [&str; 0]);
    assert_eq!(keys(&office).await.len(), 5);
    // Of the batch about two numbers, the part that is the shop's is still the shop's.
    let part = "webhook_event WHERE retailer_id IS NOT NULL";
    assert_eq!(service.count(part), 1);
}

async fn a_voice_note_is_a_sign_of_life_of_its_retailer(engine: Engine) {
    let service = Service::new(engine).await;
    assert_eq!(service.count("retailer_activity"), 0);
    let note = message("audio", json!({"id": "8", "voice": true}));
    assert_eq!(service.app.send(&note).await.status, 200);
    let ours = format!(
        "retailer_activity WHERE retailer_id = '{}'",
        service.kitchen
    );
    until("the sign of life", async || service.count(&ours) == 1).await;
}

async fn only_the_field_of_messages_holds_messages(engine: Engine) {
    let service = Service::new(engine).await;
    for field in [
        "history",
        "standby",
        "smb_message_echoes",
        "calls",
        "something_new",
    ] {
        let call = change(
            field,
            json!({
                "messages": [whatsapp_text(&new_wamid(), "2 pizza")],
                "statuses": [{"id": format!("wamid.{field}"), "status": "read"}],
            }),
        );
        let events = service.app.send(&call).await.json()["events"].clone();
        let outcomes: Vec<_> = events
            .as_array()
            .expect("events")
            .iter()
            .map(|e| &e["outcome"])
            .collect();
        assert_eq!(outcomes, ["ignored"], "{field}");
        assert_eq!(
            service.count(&format!("webhook_event WHERE kind = '{field}'")),
            1
        );
        let again = service.app.send(&call.key("another-key")).await;
        assert_eq!(again.replayed.as_deref(), Some("true"), "{field}");
        service
            .database()
            .execute("DELETE FROM webhook_idempotency WHERE idempotency_key = 'another-key'");
    }
    assert_eq!(service.count("orders"), 0);
    assert_eq!(service.count("message_status"), 0);
}

async fn a_message_of_the_past_makes_an_order_once_it_comes_as_one(engine: Engine) {
    let service = Service::new(engine).await;
    let value = json!({"messages": [whatsapp_text("wamid.BOTH", "2 pizza")]});
    service.app.send(&change("history", value.clone())).await;
    assert_eq!(service.count("orders"), 0);
    let reply = service.app.send(&change("messages", value)).await;
    assert_eq!(reply.json()["events"][0]["outcome"], "order_created");
}

/// Number and user id of each order, in the order of their making.
fn customers(service: &Service) -> Vec<String> {
    let customers =
        "SELECT coalesce(customer_phone, '-') || ' ' || coalesce(customer_user_id, '-') AS t
        FROM orders ORDER BY id";
    service
        .database()
        .texts(customers)
        .into_iter()
        .flatten()
        .collect()
}

const USER_ID: &str = "US.24680135790246813579";

async fn a_customer_is_known_by_number_and_by_user_id(engine: Engine) {
    let service = Service::new(engine).await;
    let order = [("Body", "1 cola"), ("MessageType", "text")];
    let by_id = format!("whatsapp:{USER_ID}");
    for more in [
        vec![("ExternalUserId", USER_ID)],
        vec![("From", &*by_id), ("ExternalUserId", USER_ID)],
        vec![("From", &*by_id), ("WaId", "14155550100")],
    ] {
        let reply = service
            .app
            .send(&twilio(&[&order[..], &more].concat()))
            .await;
        assert!(reply.body.contains("received"), "{reply:?}");
    }
    let contact = json!({"profile": {"name": "Ana"}, "wa_id": "", "user_id": USER_ID});
    for from in ["14155550100", ""] {
        let mut text = whatsapp_text(&new_wamid(), "1 cola");
        text["from"] = json!(from);
        let value = json!({"contacts": [contact], "messages": [text]});
        let reply = service.app.send(&change("messages", value)).await;
        assert_eq!(reply.json()["events"][0]["outcome"], "order_created");
    }
    let (both, id) = (format!("+14155550100 {USER_ID}"), format!("- {USER_ID}"));
    assert_eq!(customers(&service), [&*both, &*id, &*both, &*both, &*id]);
}

async fn what_is_no_number_and_no_user_id_is_neither(engine: Engine) {
    let service = Service::new(engine).await;
    let order = [("To", SHOP_PHONE), ("Body", "1 cola"), ("NumMedia", "0")];
    for from in ["MYBANK", "12345", "messenger:14155550100", "+1415"] {
        let params = [&[("From", from)], &order[..]].concat();
        let reply = service.app.send(&twilio(&params)).await;
        assert!(reply.body.contains("received"), "{from}: {reply:?}");
    }
    let mut text = whatsapp_text(&new_wamid(), "1 cola");
    text["from"] = json!("somebody");
    text["from_user_id"] = json!("14155550100");
    service
        .app
        .send(&change("messages", json!({"messages": [text]})))
        .await;
    assert_eq!(customers(&service), ["- -"; 5]);
}

async fn each_participant_of_a_group_is_told_of_once(engine: Engine) {
    let service = Service::new(engine).await;
    let status = |step: &str, participant: usize| {
        json!({
            "id": "wamid.GROUP", "status": step, "timestamp": "1795000000", "recipient_id": "Y2FwaV9ncm91cDox",
            "recipient_type": "group", "recipient_participant_id": format!("1415555010{participant}"),
        })
    };
    let statuses = [
        status("delivered", 1),
        status("delivered", 2),
        status("read", 2),
        status("delivered", 3),
    ];
    let outcomes = |reply: &Value| -> Vec<String> {
        let events = reply["events"].as_array().expect("events");
        events.iter().map(|event| text(&event["outcome"])).collect()
    };
    let first = service
        .app
        .send(&change("messages", json!({"statuses": statuses})))
        .await;
    assert_eq!(outcomes(&first.json()), ["status_recorded"; 4]);
    // Cut differently, and with one more.
    let later = [
        status("delivered", 3),
        status("delivered", 4),
        status("delivered", 4),
    ];
    let second = service
        .app
        .send(&change("messages", json!({"statuses": later})))
        .await;
    assert_eq!(
        outcomes(&second.json()),
        ["duplicate", "status_recorded", "duplicate"]
    );
    assert_eq!(service.count("webhook_event WHERE kind = 'status'"), 5);
    let furthest = service
        .database()
        .texts("SELECT status AS t FROM message_status");
    assert_eq!(furthest, [Some("read".to_owned())]);
}

async fn a_conflict_is_seen_by_the_retailer_of_its_event(engine: Engine) {
    let service = Service::new(engine).await;
    let pos = service.pos().await;
    let sid = new_sid();
    let send = |text: &str, key: &str| {
        let call = Call::twilio_text(&sid, text).key(key);
        let app = &service.app;
        async move { app.send(&call).await.status }
    };
    assert_eq!(send("2 cola", "genuine").await, 200);
    // By then the number is another retailer's, and the event is still the first one's.
    let office = service.head_office().await;
    let path = format!("/api/v1/retailers/{}", service.kitchen);
    let moved = json!({"name": "Kitchen", "phone": "+14155550999", "currency": "USD"});
    office.put(&path, &moved).await.must(200);
    let bakery = json!({"name": "Bakery", "phone": SHOP_PHONE, "currency": "USD"});
    let bakery = text(&office.create("/api/v1/retailers", &bakery).await["id"]);
    let clerk = service.client(Some(&bakery), "deliveries:read").await;
    assert_eq!(send("9 pizzas", "other").await, 200);
    assert_eq!(keys(&pos).await, ["genuine", "other"]);
    assert_eq!(keys(&clerk).await, [] as [&str; 0]);
}

async fn what_comes_again_stays_nobodys_though_somebody_has_the_number_now(engine: Engine) {
    let service = Service::new(engine).await;
    let number = "whatsapp:+14155238887";
    let send = |body: &str, key: &str| {
        let sid = "SM0123456789abcdef0123456789abcdef";
        let call = twilio(&[("MessageSid", sid), ("To", number), ("Body", body)]).key(key);
        let app = &service.app;
        async move { app.send(&call).await.status }
    };
    assert_eq!(send("2 cola", "first").await, 200);
    let office = service.head_office().await;
    let bakery = json!({"name": "Bakery", "phone": "+14155238887", "currency": "USD"});
    let bakery = text(&office.create("/api/v1/retailers", &bakery).await["id"]);
    let clerk = service.client(Some(&bakery), "deliveries:read").await;
    // Whatever is in memory by then: this one is the bakery's.
    let own = twilio(&[("To", number), ("Body", "1 bun")]).key("own");
    assert_eq!(service.app.send(&own).await.status, 200);
    for (body, key) in [("9 pizzas", "conflict"), ("2 cola", "duplicate")] {
        assert_eq!(send(body, key).await, 200);
    }
    assert_eq!(keys(&clerk).await, ["own"]);
}
