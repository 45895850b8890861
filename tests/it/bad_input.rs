//! Bad input: each kind gets its code, nothing of it is stored, and the server serves on.

use serde_json::{Value, json};
use std::time::{Duration, Instant};

use crate::support::{
    app::App,
    database::{Engine, on_both},
    requests::{Call, Reply, Then, new_sid, new_wamid, raw, whatsapp_text},
};

on_both! {
    a_body_that_is_too_large_is_refused
    a_body_that_breaks_off_is_refused
    a_body_that_does_not_come_is_not_waited_for
    a_body_that_cannot_be_read_is_refused
    a_content_type_that_nobody_sends_is_refused
    a_request_without_a_good_signature_is_refused
    what_is_no_key_is_refused
    an_unsigned_request_is_refused_for_that_before_all_else
    a_refused_request_never_claims_a_key
    an_unknown_path_or_method_is_a_problem_too
    every_answer_has_a_request_id
    a_problem_is_told_as_problem_json
    nul_bytes_break_nothing
    a_nul_byte_in_the_type_of_a_message_breaks_nothing
    whatever_is_sent_never_breaks_the_server
}

fn twilio() -> Call {
    Call::twilio_text(&new_sid(), "2 cola")
}

fn whatsapp() -> Call {
    Call::whatsapp_messages(json!([whatsapp_text(&new_wamid(), "1 tea")]))
}

/// Asserts that an answer is a problem with this status and code.
fn assert_problem(reply: &Reply, status: u16, code: &str, what: &str) {
    assert_eq!(reply.status, status, "{what}: {reply:?}");
    assert_eq!(
        reply.content_type.as_deref(),
        Some("application/problem+json"),
        "{what}"
    );
    let problem = reply.json();
    assert_eq!(problem["success"], json!(false), "{what}");
    assert_eq!(problem["error_code"], json!(code), "{what}");
    assert_eq!(problem["status"], json!(status), "{what}");
    assert!(
        problem["message"]
            .as_str()
            .is_some_and(|message| !message.is_empty()),
        "{what}"
    );
    assert!(reply.request_id.is_some(), "{what}");
}

/// Asserts that nothing was stored, and that a good request still works.
async fn assert_unharmed(app: &App) {
    assert_eq!(
        (
            app.records(),
            app.events(),
            app.orders(),
            app.ledger_entries()
        ),
        (0, 0, 0, 0)
    );
    for call in [twilio(), whatsapp()] {
        assert_eq!(app.send(&call).await.status, 200);
    }
    assert_eq!((app.records(), app.events(), app.orders()), (2, 2, 2));
}

async fn a_body_that_is_too_large_is_refused(engine: Engine) {
    let app = App::with(engine, |config| config.max_body_bytes = 2_000).await;
    let padding = "x".repeat(2_001);
    for call in [
        Call::twilio_text(&new_sid(), &padding),
        Call::whatsapp(format!(r#"{{"x":"{padding}"}}"#)),
    ] {
        assert_problem(
            &call.send_raw(&app.url).await,
            413,
            "BODY_TOO_LARGE",
            "announced",
        );
        // Announced, and never sent.
        let announced = call.head("Content-Length: 999999999999");
        let reply = Reply::parse(&raw(&app.url, announced, Then::Listen).await);
        assert_problem(&reply, 413, "BODY_TOO_LARGE", "announced alone");
        // In pieces, without a word about how many.
        let mut chunked = call.head("Transfer-Encoding: chunked");
        for piece in call.body.chunks(500) {
            chunked.extend(format!("{:x}\r\n", piece.len()).into_bytes());
            chunked.extend(piece);
            chunked.extend(b"\r\n");
        }
        chunked.extend(b"0\r\n\r\n");
        let reply = Reply::parse(&raw(&app.url, chunked, Then::Listen).await);
        assert_problem(&reply, 413, "BODY_TOO_LARGE", "chunked");
    }
    assert_unharmed(&app).await;
    // To the byte.
    let exactly = Call::whatsapp(format!("{{{}}}", " ".repeat(1_998)));
    assert_eq!(app.send(&exactly).await.status, 200);
    let above = Call::whatsapp(format!("{{{}}}", " ".repeat(1_999)));
    assert_problem(
        &app.send(&above).await,
        413,
        "BODY_TOO_LARGE",
        "one byte above",
    );
}

async fn a_body_that_breaks_off_is_refused(engine: Engine) {
    let app = App::new(engine).await;
    for call in [twilio(), whatsapp()] {
        for framing in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
            let mut bytes = call.head(framing);
            if framing.starts_with('T') {
                bytes.extend(b"64\r\n");
            }
            bytes.extend(&call.body[..10]);
            let answer = raw(&app.url, bytes, Then::HangUp).await;
            // Whoever has hung up may not hear it.
            if !answer.is_empty() {
                assert_problem(&Reply::parse(&answer), 400, "BODY_MALFORMED", framing);
            }
        }
    }
    assert_unharmed(&app).await;
}

async fn a_body_that_does_not_come_is_not_waited_for(engine: Engine) {
    let app = App::with(engine, |config| {
        config.request_timeout = Duration::from_secs(1)
    })
    .await;
    for call in [twilio(), whatsapp()] {
        let mut bytes = call.head(&format!("Content-Length: {}", call.body.len()));
        bytes.extend(&call.body[..10]);
        let begun = Instant::now();
        let answer = raw(&app.url, bytes, Then::Listen).await;
        assert_problem(&Reply::parse(&answer), 400, "BODY_MALFORMED", "slow");
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{:?}",
            begun.elapsed()
        );
    }
    assert_unharmed(&app).await;
}

/// A form of bytes that are no text, signed as Twilio signs.
fn signed_form(body: &[u8]) -> Call {
    use hookonce::{
        provider::{form::Form, twilio::signature},
        secret::Secret,
    };
    let (token, url) = (
        Secret::new(crate::support::requests::TWILIO_TOKEN),
        crate::support::requests::PUBLIC_URL,
    );
    let form = Form::parse(body).expect("a form");
    let signature = signature::sign_form(&token, &format!("{url}/webhooks/twilio"), &form);
    Call {
        body: body.to_vec(),
        ..Call::twilio(&[])
    }
    .instead("X-Twilio-Signature", &signature)
}

async fn a_body_that_cannot_be_read_is_refused(engine: Engine) {
    let app = App::new(engine).await;
    let sid = new_sid();
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(50_000), close.repeat(50_000));
    let calls = [
        (
            "a form that is not UTF-8",
            signed_form(format!("MessageSid={sid}&Body=2+cola%FF").as_bytes()),
        ),
        (
            "a form of raw bytes",
            signed_form(&[format!("MessageSid={sid}&Body=").as_bytes(), &[0xc3, 0x28]].concat()),
        ),
        (
            "a name that is not UTF-8",
            signed_form(format!("MessageSid={sid}&Body=x&%C0%80=x").as_bytes()),
        ),
        ("an empty form", signed_form(b"")),
        (
            "JSON that is not UTF-8",
            Call::whatsapp(b"{\"a\":\"\xff\"}".to_vec()),
        ),
        ("no JSON", Call::whatsapp("{\"a\":")),
        ("two documents", Call::whatsapp("{}{}")),
        ("nothing", Call::whatsapp("")),
        ("a list", Call::whatsapp("[]")),
        ("a mark before it", Call::whatsapp("\u{feff}{}")),
        ("a deep list", Call::whatsapp(deep("[", "]"))),
        ("a deep object", Call::whatsapp(deep("{\"a\":", "}"))),
        ("an open list", Call::whatsapp("[".repeat(50_000))),
        ("a deep list at Twilio", Call::twilio_json(deep("[", "]"))),
        ("no JSON at Twilio", Call::twilio_json("{")),
        (
            "not UTF-8 at Twilio",
            Call::twilio_json(b"\"\xc3\x28\"".to_vec()),
        ),
    ];
    for (what, call) in calls {
        assert_problem(&app.send(&call).await, 400, "BODY_MALFORMED", what);
        assert_problem(&app.send(&call.key("K")).await, 400, "BODY_MALFORMED", what);
    }
    assert_unharmed(&app).await;
}

async fn a_content_type_that_nobody_sends_is_refused(engine: Engine) {
    let app = App::new(engine).await;
    for content_type in [
        "text/plain",
        "multipart/form-data; boundary=x",
        "text/xml",
        "",
        "application",
        "é",
    ] {
        let reply = app
            .send(&twilio().instead("Content-Type", content_type))
            .await;
        assert_problem(&reply, 415, "CONTENT_TYPE_UNSUPPORTED", content_type);
    }
    for content_type in [
        "application/x-www-form-urlencoded",
        "text/json",
        "",
        "application/jsonp",
    ] {
        let reply = app
            .send(&whatsapp().instead("Content-Type", content_type))
            .await;
        assert_problem(&reply, 415, "CONTENT_TYPE_UNSUPPORTED", content_type);
    }
    for call in [twilio(), whatsapp()] {
        let reply = call.without("Content-Type").send_raw(&app.url).await;
        assert_problem(&reply, 415, "CONTENT_TYPE_UNSUPPORTED", "none");
    }
    assert_unharmed(&app).await;
}

async fn a_request_without_a_good_signature_is_refused(engine: Engine) {
    let app = App::new(engine).await;
    for (call, header) in [
        (twilio(), "X-Twilio-Signature"),
        (whatsapp(), "X-Hub-Signature-256"),
        (Call::twilio_json("{}"), "X-Twilio-Signature"),
    ] {
        let missing = app.send(&call.clone().without(header)).await;
        assert_problem(&missing, 401, "SIGNATURE_MISSING", "none");
        let another = match header {
            "X-Twilio-Signature" => "L/OH5YylLD5NRKLltdqwSvS0BnU=".to_owned(),
            _ => format!("sha256={}", "0".repeat(64)),
        };
        for signature in [
            "",
            "=",
            "garbage",
            "sha256=",
            "sha256=zz",
            "sha1=00",
            "AAAA",
            "\u{fffd}",
            &another,
            &"A".repeat(5_000),
        ] {
            let reply = app.send(&call.clone().instead(header, signature)).await;
            assert_eq!(reply.status, 401, "{header}: {signature}");
            assert!(reply.error_code().starts_with("SIGNATURE_"), "{reply:?}");
        }
        let mut tampered = call.clone();
        let last = tampered.body.len() - 1;
        tampered.body[last] ^= 1;
        assert_problem(
            &app.send(&tampered).await,
            401,
            "SIGNATURE_INVALID",
            "tampered",
        );
        let longer = Call {
            body: [&*call.body, b" "].concat(),
            ..call
        };
        assert_problem(&app.send(&longer).await, 401, "SIGNATURE_INVALID", "longer");
    }
    assert_unharmed(&app).await;
}

async fn what_is_no_key_is_refused(engine: Engine) {
    let app = App::new(engine).await;
    let long = "k".repeat(129);
    for key in [
        "",
        " ",
        "\"\"",
        "\"",
        "a b",
        "a%0d%0aX-Injected: 1",
        "a\tb",
        "a/b",
        "a,b",
        "{a}",
        "ключ",
        "a\u{a0}b",
        "é",
        "\"a\"b\"",
        "a;b",
        &long,
    ] {
        for name in ["X-Idempotency-Key", "Idempotency-Key"] {
            for call in [twilio(), whatsapp()] {
                let reply = call.header(name, key).send_raw(&app.url).await;
                assert_problem(&reply, 400, "IDEMPOTENCY_KEY_INVALID", key);
            }
        }
    }
    for (one, two) in [("a", "b"), ("a", ""), ("A", "a")] {
        let reply = app
            .send(&twilio().key(one).header("Idempotency-Key", two))
            .await;
        assert_problem(&reply, 400, "IDEMPOTENCY_KEY_INVALID", "two that differ");
    }
    // Bytes that no header may hold end the request before it is one.
    for bytes in [&b"a\x00b"[..], b"a\rb", b"a\x7fb", b"a\n b"] {
        let mut request = b"POST /webhooks/whatsapp HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\nX-Idempotency-Key: ".to_vec();
        request.extend(bytes);
        request.extend(b"\r\n\r\n{}");
        let answer = raw(&app.url, request, Then::Listen).await;
        assert!(
            ["400", "401"].contains(&answer.get(9..12).unwrap_or_default()),
            "{bytes:?}: {answer}"
        );
        assert!(!answer.contains("X-Injected"), "{answer}");
    }
    assert_unharmed(&app).await;
    let longest = "k".repeat(128);
    assert_eq!(app.send(&twilio().key(&longest)).await.status, 200);
}

async fn an_unsigned_request_is_refused_for_that_before_all_else(engine: Engine) {
    let app = App::new(engine).await;
    for call in [
        twilio().without("X-Twilio-Signature"),
        whatsapp().without("X-Hub-Signature-256"),
    ] {
        let reply = app.send(&call.clone().key("not a key")).await;
        assert_problem(&reply, 401, "SIGNATURE_MISSING", "a bad key");
        let reply = app.send(&call.key("a").key("b")).await;
        assert_problem(&reply, 401, "SIGNATURE_MISSING", "two keys");
    }
    let unreadable = Call::whatsapp("{").without("X-Hub-Signature-256");
    assert_problem(
        &app.send(&unreadable).await,
        401,
        "SIGNATURE_MISSING",
        "no JSON",
    );
    let unreadable = Call {
        body: b"Body=%FF".to_vec(),
        ..twilio()
    };
    assert_problem(
        &app.send(&unreadable).await,
        401,
        "SIGNATURE_INVALID",
        "not UTF-8",
    );
    assert_unharmed(&app).await;
}

async fn a_refused_request_never_claims_a_key(engine: Engine) {
    let app = App::new(engine).await;
    let genuine = twilio().key("K");
    let forged = Call {
        body: b"Body=9+pizzas".to_vec(),
        ..genuine.clone()
    };
    assert_eq!(app.send(&forged).await.status, 401);
    let incomplete = Call::twilio(&[("Body", "2 cola")]).key("K");
    assert_eq!(app.send(&incomplete).await.status, 400);
    let reply = app.send(&genuine).await;
    assert_eq!(
        (reply.status, reply.replayed.as_deref()),
        (200, Some("false"))
    );
    assert_eq!((app.orders(), app.records()), (1, 1));
}

async fn an_unknown_path_or_method_is_a_problem_too(engine: Engine) {
    let app = App::new(engine).await;
    for path in [
        "/",
        "/webhooks",
        "/webhooks/twilio/",
        "/webhooks/Twilio",
        "/webhooks/twilio/../whatsapp",
        "/webhooks/twilio%2Fstatus",
        "//webhooks/twilio",
        "/%00",
        "/%ff",
    ] {
        let call = Call {
            path: path.to_owned(),
            ..twilio()
        };
        assert_problem(&call.send_raw(&app.url).await, 404, "NOT_FOUND", path);
    }
    for (path, allow) in [
        ("/webhooks/twilio", "POST"),
        ("/webhooks/twilio/status", "POST"),
        ("/api/v1/whatsapp/webhook", "POST"),
        ("/webhooks/whatsapp", "GET, HEAD, POST"),
        ("/health/live", "GET, HEAD"),
        ("/metrics", "GET, HEAD"),
    ] {
        for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
            let request =
                format!("{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            let answer = raw(&app.url, request.into_bytes(), Then::Listen).await;
            assert_problem(&Reply::parse(&answer), 405, "METHOD_NOT_ALLOWED", path);
            let allowed = format!("\r\nallow: {}\r\n", allow.to_lowercase());
            assert!(
                answer.to_lowercase().contains(&allowed),
                "{method} {path}: {answer}"
            );
        }
    }
    assert_problem(
        &app.get("/webhooks/twilio").await,
        405,
        "METHOD_NOT_ALLOWED",
        "GET",
    );
    assert_unharmed(&app).await;
}

async fn every_answer_has_a_request_id(engine: Engine) {
    let app = App::new(engine).await;
    let call = whatsapp();
    let replies = [
        app.get("/health/live").await,
        app.get("/health/ready").await,
        app.get("/metrics").await,
        app.get("/api/v1/whatsapp/test").await,
        app.get("/nowhere").await,
        app.get("/webhooks/twilio").await,
        app.send(&call).await,
        app.send(&call).await,
        app.send(&call.key("not a key")).await,
        app.send(&Call::twilio(&[
            ("MessageSid", &new_sid()),
            ("MessageStatus", "sent"),
        ]))
        .await,
        // What a client claims for itself is not taken for ours.
        app.send(&twilio().header("X-Request-Id", "mine")).await,
    ];
    let mut ids: Vec<_> = replies
        .iter()
        .map(|reply| reply.request_id.clone().expect("an id"))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), replies.len(), "each its own");
    assert!(!ids.contains(&"mine".to_owned()));
}

async fn a_problem_is_told_as_problem_json(engine: Engine) {
    let app = App::new(engine).await;
    let reply = app.send(&twilio().without("X-Twilio-Signature")).await;
    insta::allow_duplicates! {
        insta::assert_snapshot!(reply.body, @r#"{"detail":"the request is not signed","error_code":"SIGNATURE_MISSING","message":"the request is not signed","status":401,"success":false,"title":"The request is not signed","type":"about:blank"}"#);
    }
    let reply = app
        .send(&Call::twilio(&[("MessageSid", "SM1"), ("Body", "2 cola")]))
        .await;
    insta::allow_duplicates! {
        insta::assert_snapshot!(reply.body, @r#"{"detail":"MessageSid is not SM or MM and 32 hex digits","error_code":"BODY_MALFORMED","message":"MessageSid is not SM or MM and 32 hex digits","status":400,"success":false,"title":"The body cannot be read","type":"about:blank"}"#);
    }
}

/// A signed message with a member that ends in NUL.
fn with_nul(sid: &str, member: &str) -> Call {
    let mut params = vec![
        ("MessageSid", sid),
        ("From", "whatsapp:+1415"),
        ("To", "whatsapp:+14155238886"),
        ("Body", "2 cola"),
    ];
    params.retain(|(name, _)| *name != member);
    params.push((member, "2 cola\0"));
    Call::twilio(&params)
}

async fn a_nul_byte_in_the_type_of_a_message_breaks_nothing(engine: Engine) {
    let app = App::new(engine).await;
    let reply = app.send(&with_nul(&new_sid(), "MessageType")).await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

async fn nul_bytes_break_nothing(engine: Engine) {
    let app = App::new(engine).await;
    let nul = "2 cola\0";
    for member in [
        "Body",
        "ProfileName",
        "From",
        "To",
        "NumMedia",
        "Unknown",
        "InteractiveData",
        "Na\0me",
    ] {
        let sid = new_sid();
        let reply = app.send(&with_nul(&sid, member)).await;
        assert_eq!(reply.status, 200, "{member}: {reply:?}");
        let again = app.send(&with_nul(&sid, member).key(&sid)).await;
        assert_eq!(again.essence(), reply.essence());
    }
    for member in ["MessageStatus", "ErrorCode", "To"] {
        let mut params = vec![
            ("MessageSid", new_sid()),
            ("MessageStatus", "failed".to_owned()),
        ];
        params.retain(|(name, _)| *name != member);
        params.push((member, "sent\0".to_owned()));
        let params: Vec<(&str, &str)> = params
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        let status = app.send(&Call::twilio(&params)).await.status;
        assert!([204, 400].contains(&status), "{member}: {status}");
    }
    let message = |member: &str, value: Value| {
        let mut message = whatsapp_text(&new_wamid(), "2 cola");
        message[member] = value;
        message
    };
    let messages = json!([
        message("text", json!({"body": nul})),
        message("from", json!("1415\0")),
        message("from_user_id", json!("US\0")),
        message("id", json!("wamid.\0")),
        message("type", json!("te\0xt")),
        message("\0", json!({"\0": ["\0"]})),
        {"id": new_wamid(), "type": "order", "order": {"text": "\0", "product_items": [
            {"product_retailer_id": "COLA\0", "quantity": 1, "item_price": "1\0", "currency": "U\0"}]}},
        {"id": new_wamid(), "type": "order", "order": {"product_items": [
            {"product_retailer_id": "COLA", "quantity": 1, "item_price": "\0", "currency": "\0"}]}},
    ]);
    let reply = app.send(&Call::whatsapp_messages(messages)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let statuses = json!({"object": "whatsapp_business_account", "entry": [{"changes": [
        {"field": "fie\0ld", "value": {"x": "\0"}},
        {"field": "messages", "value": {"metadata": {"phone_number_id": "\0"}, "statuses": [
            {"id": "wamid.\0", "status": "se\0nt"}, {"id": "wamid.X", "status": "failed", "errors": [{"code": "\0"}]}]}},
    ]}]});
    assert_eq!(
        app.send(&Call::whatsapp(statuses.to_string())).await.status,
        200
    );
    let stream = json!([{"specversion": "1.0", "id": "\0", "type": "\0", "\0": "\0"}, {"specversion": "1.0", "id": "E", "type": "t\0"}]);
    assert_eq!(
        app.send(&Call::twilio_json(stream.to_string()))
            .await
            .status,
        204
    );
}

/// Numbers that look random and are the same in every run (xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % sides
    }

    /// A body with some of its bytes changed, doubled, cut off or taken from elsewhere in it.
    fn mangle(&mut self, body: &[u8]) -> Vec<u8> {
        const WORDS: [&[u8]; 12] = [
            b"\"",
            b"\\",
            b"{",
            b"]",
            b"null",
            b"-1e999",
            b"\\ud800",
            b"\\u0000",
            b"%00",
            b"&=&",
            b"\xf0\x9f",
            b"99999999999999999999",
        ];
        let mut body = body.to_vec();
        for _ in 0..=self.roll(4) {
            let at = self.roll(body.len() + 1);
            match self.roll(5) {
                0 => body.insert(at, self.roll(256) as u8),
                1 => body.truncate(at),
                2 if at < body.len() => body[at] = self.roll(256) as u8,
                3 => {
                    let piece = body[self.roll(at + 1)..at].to_vec();
                    body.splice(at..at, piece);
                }
                _ => {
                    body.splice(at..at, WORDS[self.roll(WORDS.len())].iter().copied());
                }
            }
        }
        body
    }

    /// A document of Meta's members in places where they may not belong.
    fn document(&mut self, depth: usize) -> Value {
        const NAMES: [&str; 24] = [
            "object",
            "entry",
            "changes",
            "value",
            "field",
            "metadata",
            "phone_number_id",
            "contacts",
            "profile",
            "name",
            "messages",
            "statuses",
            "id",
            "from",
            "type",
            "text",
            "body",
            "order",
            "product_items",
            "product_retailer_id",
            "quantity",
            "item_price",
            "status",
            "$serde_json::private::Number",
        ];
        match self.roll(if depth == 0 { 7 } else { 11 }) {
            0 => Value::Null,
            1 => json!(self.roll(2) == 0),
            2 => json!(format!("number {}", NUMBERS[self.roll(NUMBERS.len())])),
            3 => json!(
                [
                    "text",
                    "order",
                    "wamid.A",
                    "106540352242922",
                    "2 cola",
                    "read",
                    "COLA",
                    "messages"
                ][self.roll(8)]
            ),
            4 => json!("\u{0}\u{202e}é🍕"),
            5 => json!("x".repeat(self.roll(400))),
            6 => json!(self.roll(100).to_string()),
            7 => (0..self.roll(4))
                .map(|_| self.document(depth - 1))
                .collect(),
            _ => {
                let names: Vec<_> = (0..self.roll(6))
                    .map(|_| NAMES[self.roll(NAMES.len())])
                    .collect();
                Value::Object(
                    names
                        .into_iter()
                        .map(|name| (name.to_owned(), self.document(depth - 1)))
                        .collect(),
                )
            }
        }
    }
}

/// What stands for numbers in a document of the dice, some of which no `serde_json::Value` holds.
const NUMBERS: [&str; 6] = [
    "0",
    "-1",
    "1.5",
    "1e400",
    "-0",
    "123456789012345678901234567890",
];

/// A document of the dice, with the numbers themselves in it.
fn written(document: &Value) -> String {
    NUMBERS.iter().fold(document.to_string(), |text, number| {
        text.replace(&format!("\"number {number}\""), number)
    })
}

async fn whatever_is_sent_never_breaks_the_server(engine: Engine) {
    let app = App::new(engine).await;
    let mut dice = Dice(0x5EED_2026);
    for round in 0..120 {
        let form = dice.mangle(&twilio().body);
        let mangled = dice.mangle(&whatsapp().body);
        let value = dice.document(5);
        let change = json!({"object": "whatsapp_business_account", "entry": [{"changes": [{"field": "messages", "value": {
            "metadata": {"phone_number_id": "106540352242922"}, "messages": [value, dice.document(3)], "statuses": [dice.document(2)],
        }}]}]});
        for call in [
            Call {
                body: form.clone(),
                ..twilio()
            },
            signed_form(&form),
            Call {
                body: mangled.clone(),
                ..whatsapp()
            },
            Call::whatsapp(mangled.clone()),
            Call::twilio_json(mangled),
            Call::whatsapp(written(&change)),
            Call::twilio_json(written(&dice.document(4))),
        ] {
            let reply = app.send(&call).await;
            let body = String::from_utf8_lossy(&call.body);
            assert!(
                (200..500).contains(&reply.status),
                "round {round}: {body} {reply:?}"
            );
        }
    }
    assert_eq!(app.get("/health/ready").await.status, 200);
    assert_eq!(app.send(&twilio()).await.status, 200);
}
