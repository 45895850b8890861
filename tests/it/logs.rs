//! The log, as an operator reads it and as a machine does: a line for each request, its fields, and what is never in it.

use serde_json::{Value, json};

use crate::support::{
    database::{Database, Engine, on_both},
    process::{self, Program, Server},
    requests::{
        Call, Reply, TWILIO_TOKEN, Then, VERIFY_TOKEN, WHATSAPP_SECRET, new_sid, new_wamid, raw,
        whatsapp_text,
    },
};

on_both! {
    a_line_of_json_tells_all_of_a_webhook
    a_line_of_json_tells_all_of_a_clients_request
    nothing_secret_and_nothing_of_a_body_is_logged
}

/// A service that writes the form that is asked for, with a shop, and a client's token.
struct Logged {
    server: Server,
    token: String,
    client_id: String,
    client: reqwest::Client,
    _database: Database,
}

impl Logged {
    async fn new(engine: Engine, format: &str, level: &str) -> Self {
        let database = Database::new(engine);
        let program = Program::new(&database)
            .set("LOG_FORMAT", format)
            .set("RUST_LOG", level);
        let shop = program.open_shop().await;
        let create = [
            "token",
            "create",
            "--name",
            "till 7\n\u{1b}[2J",
            "--retailer",
            &shop,
        ];
        let created = program
            .run(&[&create[..], &["--scope", "admin"]].concat())
            .await;
        let ids = created.stderr;
        let client_id = ids.split("client ").nth(1).unwrap_or_default();
        let client_id = client_id.chars().take(36).collect();
        Self {
            server: program.serve().await,
            token: created.stdout.trim().to_owned(),
            client_id,
            client: process::client(),
            _database: database,
        }
    }

    async fn send(&self, call: &Call) -> Reply {
        let sent = call.send(&self.client, &self.server.url);
        sent.await.expect("an answer")
    }

    /// Sends a request of the client.
    async fn order(&self, key: &str, body: &Value) -> Reply {
        let url = format!("{}/api/v1/orders", self.server.url);
        let request = self.client.post(url).bearer_auth(&self.token);
        let request = request.header("Idempotency-Key", key);
        let request = request.header("Content-Type", "application/json");
        let sent = request.body(body.to_string()).send().await;
        Reply::of(sent.expect("an answer")).await.expect("a body")
    }

    async fn get(&self, path: &str) -> Reply {
        let request = self.client.get(format!("{}{path}", self.server.url));
        let sent = request.bearer_auth(&self.token).send().await;
        Reply::of(sent.expect("an answer")).await.expect("a body")
    }

    /// The line of the request that was answered so.
    async fn line(&mut self, reply: &Reply) -> Value {
        let id = reply.request_id.clone().expect("a request id");
        let line = self
            .server
            .logged(&format!("\"request_id\":\"{id}\""))
            .await;
        serde_json::from_str(&line).expect("JSON")
    }

    /// The same, of a log for people.
    async fn text(&mut self, reply: &Reply) -> String {
        let id = reply.request_id.clone().expect("a request id");
        self.server.logged(&format!("request_id={id}")).await
    }
}

fn ordered(sku: &str) -> Value {
    json!({"customer": {"name": "Ana"}, "items": [{"sku": sku, "quantity": 2}]})
}

/// The members of a line that do not differ from run to run.
fn essence(line: &Value) -> Value {
    let mut line = line.as_object().expect("an object").clone();
    for member in ["timestamp", "request_id", "duration_ms", "client_id"] {
        line.remove(member);
    }
    line.into()
}

async fn a_line_of_json_tells_all_of_a_webhook(engine: Engine) {
    let mut app = Logged::new(engine, "json", "info").await;
    let sid = new_sid();
    let call = Call::twilio_text(&sid, "2 pizza and 1 cola");
    let route = "/webhooks/twilio";
    let told = |status: u16, outcome: &str, level: &str, more: Value| {
        let mut line = json!({
            "level": level, "target": "hookonce::web::request_log", "method": "POST",
            "message": format!("POST {route} {status} {outcome}"),
            "route": route, "path": route, "status": status, "outcome": outcome,
        });
        let members = more.as_object().unwrap().clone();
        line.as_object_mut().unwrap().extend(members);
        line
    };
    let first = app.send(&call).await;
    let line = app.line(&first).await;
    let events = json!({
        "key": sid, "event_ids": [sid], "event_outcomes": ["order_created"],
    });
    assert_eq!(essence(&line), told(200, "new", "INFO", events));
    assert!(line["duration_ms"].as_f64().is_some_and(|ms| ms > 0.0));
    let time = line["timestamp"].as_str().expect("a time");
    assert!(chrono::DateTime::parse_from_rfc3339(time).is_ok(), "{time}");

    let replay = app.send(&call).await;
    let line = app.line(&replay).await;
    let events = json!({"key": sid, "event_ids": [sid]});
    assert_eq!(essence(&line), told(200, "replayed", "INFO", events));

    let duplicate = app.send(&call.clone().key("another")).await;
    let line = app.line(&duplicate).await;
    let events = json!({
        "key": "another", "event_ids": [sid], "event_outcomes": ["duplicate"],
    });
    assert_eq!(essence(&line), told(200, "duplicate", "INFO", events));

    let conflict = app
        .send(&Call::twilio_text(&sid, "5 pizza").key("third"))
        .await;
    let line = app.line(&conflict).await;
    let events = json!({
        "key": "third", "event_ids": [sid], "event_outcomes": ["conflict"],
    });
    assert_eq!(essence(&line), told(200, "conflict", "INFO", events));

    let other = new_sid();
    let mismatch = app
        .send(&Call::twilio_text(&other, "5 pizza").key("third"))
        .await;
    let line = app.line(&mismatch).await;
    assert_eq!(line["error_code"], "IDEMPOTENCY_KEY_MISMATCH");
    assert_eq!(line["message"], "POST /webhooks/twilio 409 mismatch");
    assert_eq!(
        (&line["key"], &line["event_ids"][0]),
        (&json!("third"), &json!(other))
    );

    let ids: Vec<_> = (0..8).map(|_| new_wamid()).collect();
    let messages: Vec<_> = ids.iter().map(|id| whatsapp_text(id, "hi")).collect();
    let batch = app.send(&Call::whatsapp_messages(messages.into())).await;
    let line = app.line(&batch).await;
    assert_eq!(line["event_ids"], json!(ids[..5]));
    assert_eq!(line["event_outcomes"], json!(vec!["not_an_order"; 5]));
    assert_eq!(line["events_more"], 3);
}

async fn a_line_of_json_tells_all_of_a_clients_request(engine: Engine) {
    let mut app = Logged::new(engine, "json", "info").await;
    let first = app.order("k1", &ordered("COLA")).await;
    assert_eq!(first.status, 201, "{first:?}");
    let line = app.line(&first).await;
    assert_eq!(
        essence(&line),
        json!({
            "level": "INFO", "target": "hookonce::web::request_log",
            "message": "POST /api/v1/orders 201 new", "method": "POST", "route": "/api/v1/orders",
            "path": "/api/v1/orders", "status": 201, "outcome": "new", "key": "k1",
            "client": "till 7\n\u{1b}[2J",
        })
    );
    assert_eq!(line["client_id"], app.client_id);
    let replay = app.order("k1", &ordered("COLA")).await;
    let line = app.line(&replay).await;
    assert_eq!(
        (&line["outcome"], &line["key"]),
        (&json!("replayed"), &json!("k1"))
    );

    // What cannot be done is an answer that is kept; the line says which, now and when it is replayed.
    for outcome in ["new", "replayed"] {
        let refused = app.order("k2", &ordered("NOWHERE")).await;
        assert_eq!(refused.status, 400);
        let line = app.line(&refused).await;
        let told = (&line["outcome"], &line["error_code"], &line["level"]);
        let expected = (&json!(outcome), &json!("VALIDATION_FAILED"), &json!("WARN"));
        assert_eq!(told, expected);
    }
    let mismatch = app.order("k1", &ordered("PIZZA-MARG")).await;
    let line = app.line(&mismatch).await;
    assert_eq!(line["message"], "POST /api/v1/orders 409 mismatch");
    let id = first.json()["data"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let read = app.get(&format!("/api/v1/orders/{id}?x=1")).await;
    let line = app.line(&read).await;
    assert_eq!(line["message"], "GET /api/v1/orders/{id} 200 ok");
    assert_eq!(line["path"], format!("/api/v1/orders/{id}"));
    let nowhere = app.get("/nowhere?token=1").await;
    let line = app.line(&nowhere).await;
    assert_eq!(line["message"], "GET /nowhere 404 refused");
    assert_eq!(line["route"], Value::Null);
}

#[actix_web::test]
async fn every_line_of_json_is_an_object_from_the_start_to_the_stop() {
    // Diesel, actix and the rest are let through too.
    let mut app = Logged::new(Engine::Sqlite, "json", "trace").await;
    app.send(&Call::twilio_text(&new_sid(), "1 cola")).await;
    app.order("k", &ordered("COLA")).await;
    app.server.signal("TERM");
    app.server.logged("stopped").await;
    let log = app.server.log();
    let mut targets = std::collections::BTreeSet::new();
    for line in log.lines() {
        let read: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        for member in ["timestamp", "level", "target", "message"] {
            assert!(read[member].is_string(), "{member}: {line}");
        }
        targets.insert(read["target"].as_str().unwrap().to_owned());
    }
    assert!(
        targets.iter().any(|target| target.starts_with("actix")),
        "{targets:?}"
    );
}

#[actix_web::test]
async fn why_a_command_ended_is_json_too() {
    let program = Program::bare()
        .set("LOG_FORMAT", "json")
        .set("DATABASE_URL", "sqlite:///nowhere/at/all.db");
    let finished = program.run(&["serve"]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let last = finished.stderr.lines().last().expect("a line");
    let last: Value = serde_json::from_str(last).expect("JSON");
    assert_eq!(last["level"], "ERROR");
    assert!(last["message"].as_str().unwrap().contains("database"));
}

#[actix_web::test]
async fn a_line_of_text_reads_as_an_operator_searches_it() {
    let mut app = Logged::new(Engine::Sqlite, "text", "info").await;
    let sid = new_sid();
    let call = Call::twilio_text(&sid, "1 cola");
    for outcome in ["new", "replayed"] {
        let reply = app.send(&call).await;
        let line = app.text(&reply).await;
        for words in [
            format!("POST /webhooks/twilio 200 {outcome} "),
            format!(" outcome={outcome} "),
            format!(" key={sid} "),
            format!(" event_ids={sid} "),
            " route=/webhooks/twilio ".to_owned(),
            " status=200 ".to_owned(),
            " duration_ms=".to_owned(),
        ] {
            assert!(line.contains(&words), "{words:?}: {line}");
        }
    }
    let reply = app.order("k", &ordered("COLA")).await;
    let line = app.text(&reply).await;
    let client = r#" client="till 7\n\u{1b}[2J" "#;
    assert!(line.contains(client), "{line}");
    assert!(
        line.contains(&format!(" client_id={} ", app.client_id)),
        "{line}"
    );
}

#[actix_web::test]
async fn nobody_outside_can_forge_a_line() {
    const FORGED: &str = "forged-by-a-stranger";
    let mut text = Logged::new(Engine::Sqlite, "text", "trace").await;
    let mut json = Logged::new(Engine::Sqlite, "json", "trace").await;
    for app in [&mut text, &mut json] {
        let lines = [
            "%0a", "%1b[2J", "\t", "\u{85}", "\u{2028}", "\u{9b}2J", "\u{202e}", "\u{7f}",
        ];
        for evil in lines {
            for request in [
                format!("GET /{evil}{FORGED} HTTP/1.1\r\nHost: x\r\n"),
                format!("GET /api/v1/orders/status/{evil}{FORGED} HTTP/1.1\r\nHost: x\r\n"),
                format!(
                    "POST /webhooks/twilio HTTP/1.1\r\nHost: {evil}{FORGED}\r\nContent-Length: 0\r\n\
                     Content-Type: {evil}{FORGED}\r\nX-Twilio-Signature: {evil}{FORGED}\r\n\
                     X-Idempotency-Key: {evil}{FORGED}\r\n"
                ),
            ] {
                let bytes = format!("{request}Connection: close\r\n\r\n").into_bytes();
                raw(&app.server.url, bytes, Then::Listen).await;
            }
        }
        let last = app.send(&Call::twilio_text(&new_sid(), "hi")).await;
        app.server.logged(&last.request_id.unwrap()).await;
        let log = app.server.log();
        assert!(log.contains(FORGED), "nothing was logged");
        let is_control =
            |c: char| c.is_control() && c != '\n' || "\u{2028}\u{2029}\u{202e}\u{feff}".contains(c);
        for line in log.lines() {
            assert!(!line.contains(is_control), "{line:?}");
            assert!(line.starts_with(['[', '{']), "{line}");
        }
    }
}

async fn nothing_secret_and_nothing_of_a_body_is_logged(engine: Engine) {
    const SAID: &str = "said-in-a-body";
    // A wrong token, a verify token and a value of a query that are nobody's but must not be shown either.
    const GUESSED: &str = "guessed-by-somebody";
    for format in ["text", "json"] {
        let mut app = Logged::new(engine, format, "hookonce=trace,info").await;
        let sid = new_sid();
        let text = Call::twilio_text(&sid, &format!("2 pizza and {SAID}"));
        let mut forged = text.clone();
        forged.body.extend_from_slice(b"&x=1");
        let mut asking =
            Call::twilio_at(&format!("/webhooks/twilio?x={GUESSED}"), &[("Body", SAID)]);
        asking.headers[1].1 = "AAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned();
        let whatsapp = Call::whatsapp_messages(json!([whatsapp_text(&new_wamid(), SAID)]));
        let unread = Call::twilio(&[("MessageSid", SAID), ("Body", SAID)]);
        let odd = Call::whatsapp(format!("{{\"{SAID}\": "));
        for call in [
            &text, &text, &forged, &asking, &whatsapp, &whatsapp, &unread, &odd,
        ] {
            app.send(call).await;
            app.send(&call.clone().without("X-Twilio-Signature")).await;
            app.send(&call.clone().key("one for all")).await;
            app.send(&call.clone().key("one")).await;
        }
        let mut bodies = vec![
            ordered("COLA"),
            ordered(SAID),
            json!({SAID: SAID}),
            json!(SAID),
        ];
        bodies
            .push(json!({"customer": {"name": SAID}, "items": [{"sku": SAID, "quantity": SAID}]}));
        for (at, body) in bodies.iter().enumerate() {
            for key in ["k", &format!("k{at}"), &app.token.clone()] {
                app.order(key, body).await;
            }
        }
        let token = app.token.clone();
        for path in [
            format!(
                "/webhooks/whatsapp?hub.mode=subscribe&hub.challenge=1&hub.verify_token={VERIFY_TOKEN}"
            ),
            format!(
                "/webhooks/whatsapp?hub.mode=subscribe&hub.challenge=1&hub.verify_token={GUESSED}"
            ),
            format!("/api/v1/orders?status={GUESSED}"),
            format!("/api/v1/orders/{token}"),
            format!("/{token}?token={token}"),
            "/api/v1/whatsapp/test".to_owned(),
            "/health/ready".to_owned(),
        ] {
            app.get(&path).await;
        }
        let good = std::mem::replace(&mut app.token, format!("hk_{GUESSED}"));
        app.get("/api/v1/orders").await;
        let last = app.get("/last").await;
        app.server.logged(&last.request_id.unwrap()).await;
        let log = app.server.log();
        assert!(log.contains("VALIDATION_FAILED") && log.contains("SIGNATURE_INVALID"));
        let secrets = [TWILIO_TOKEN, WHATSAPP_SECRET, VERIFY_TOKEN, GUESSED, SAID];
        for secret in secrets.into_iter().chain([&good[3..]]) {
            let line = log.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret} is shown");
        }
    }
}

#[actix_web::test]
async fn a_message_that_no_retailer_gets_is_a_warning_with_its_number() {
    let database = Database::new(Engine::Sqlite);
    let program = Program::new(&database).set("LOG_FORMAT", "json");
    let mut server = program.serve().await;
    server.logged("there is no retailer").await;
    let sid = new_sid();
    let call = Call::twilio(&[
        ("MessageSid", &*sid),
        ("To", "whatsapp:+14155550192"),
        ("Body", "2 pizzas"),
    ]);
    let reply = call
        .send(&process::client(), &server.url)
        .await
        .expect("an answer");
    assert_eq!(reply.status, 200);
    let line = server.logged("no retailer has the number").await;
    let line: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["request_id"].as_str(), reply.request_id.as_deref());
    assert_eq!(
        (&line["numbers"], &line["messages"]),
        (&json!(["+14155550192"]), &json!(1))
    );
    // Sent again it is no news.
    let again = call
        .send(&process::client(), &server.url)
        .await
        .expect("an answer");
    let id = again.request_id.expect("an id");
    server.logged(&id).await;
    assert_eq!(
        server.log().matches("no retailer has the number").count(),
        1
    );
    server.kill();
    program.open_shop().await;
    let server = program.serve().await;
    assert!(!server.log().contains("there is no retailer"));
}
