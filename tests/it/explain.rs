//! Why a signature does not fit: in the log of the service, and by `hookonce explain` for a saved request.

use serde_json::{Value, json};
use std::fs;

use crate::support::{
    database::{Database, Engine},
    process::{self, Finished, Program, Server},
    requests::{
        Call, Reply, TWILIO_TOKEN, WHATSAPP_SECRET, new_sid, new_wamid, twilio_signature,
        whatsapp_text,
    },
};

const SECOND: &str = "the-token-of-before";

/// A service that writes JSON, with two tokens of Twilio's, the second of which the tests sign with.
async fn service(change: impl FnOnce(Program) -> Program) -> (Server, Database) {
    let database = Database::new(Engine::Sqlite);
    let tokens = format!("{SECOND},{TWILIO_TOKEN}");
    let program = Program::new(&database)
        .set("LOG_FORMAT", "json")
        .set("RUST_LOG", "debug")
        .set("TWILIO_AUTH_TOKEN", &tokens);
    (change(program).serve().await, database)
}

/// Sends what must be refused; gives what the log says of it.
async fn refused(server: &mut Server, call: &Call) -> Value {
    let reply = call.send_raw(&server.url).await;
    let line = why(server, &reply).await;
    // The answer tells nothing of it.
    let expected = match line["signature"] == "missing" {
        true => ("SIGNATURE_MISSING", "the request is not signed"),
        false => (
            "SIGNATURE_INVALID",
            "the signature does not fit the request",
        ),
    };
    let detail = reply.json()["detail"].as_str().unwrap().to_owned();
    assert_eq!(
        (reply.status, &*reply.error_code(), &*detail),
        (401, expected.0, expected.1)
    );
    let id = reply.request_id.as_deref().unwrap();
    let warnings = server.log();
    let of_it = |line: &&str| line.contains(id) && line.contains("signature refused");
    assert_eq!(
        warnings.lines().filter(of_it).count(),
        1,
        "one line for each"
    );
    line
}

async fn why(server: &mut Server, reply: &Reply) -> Value {
    let id = reply.request_id.clone().expect("a request id");
    // The request's own line comes after it.
    server
        .logged(&format!("401 refused\",\"request_id\":\"{id}\""))
        .await;
    let log = server.log();
    let lines = log.lines().filter(|line| line.contains(&id));
    let line = lines
        .into_iter()
        .find(|line| line.contains("signature refused"));
    serde_json::from_str(line.expect("an explanation")).expect("JSON")
}

fn form(url: &str, path: &str) -> Call {
    Call::twilio_called(url, path, &[("MessageSid", &new_sid()), ("Body", "hi")])
}

#[actix_web::test]
async fn the_log_says_which_url_was_tried_and_which_would_have_fitted() {
    let (mut server, _database) = service(|program| program.set("PUBLIC_BASE_URL", "")).await;
    let line = refused(
        &mut server,
        &form("https://inner", "/webhooks/twilio?x=secret-of-the-url"),
    )
    .await;
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["provider"], "twilio");
    assert_eq!(line["url"], "http://inner/webhooks/twilio?x=…");
    assert_eq!(line["url_source"], "direct");
    assert_eq!(
        line["secrets"],
        json!(["1 of 2 does not fit", "2 of 2 does not fit"])
    );
    assert_eq!(line["signature"], "well formed");
    assert_eq!(line["content_type"], "application/x-www-form-urlencoded");
    assert_eq!(line["fits"], "https instead of http");
    assert_eq!(line["fits_url"], "https://inner/webhooks/twilio?x=…");
    assert_eq!(line["fits_secret"], "2 of 2");
    assert!(
        line["hint"].as_str().unwrap().contains("PUBLIC_BASE_URL"),
        "{line}"
    );
    let mut slashed = form("http://inner", "/webhooks/twilio/");
    slashed.path = "/webhooks/twilio".to_owned();
    let line = refused(&mut server, &slashed).await;
    assert_eq!(line["fits"], "a slash at the end of the path");
    assert!(!server.log().contains("secret-of-the-url"));
}

#[actix_web::test]
async fn the_log_names_the_proxy_that_is_not_trusted() {
    let (mut server, _database) = service(|program| program.set("PUBLIC_BASE_URL", "")).await;
    let call = form("https://hooks.example.net", "/webhooks/twilio")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "hooks.example.net");
    let line = refused(&mut server, &call).await;
    assert_eq!(
        line["ignored_headers"],
        json!(["X-Forwarded-Proto", "X-Forwarded-Host"])
    );
    assert_eq!(line["peer"], "127.0.0.1");
    assert_eq!(line["fits"], "the URL of the forwarding headers");
    assert!(
        line["hint"]
            .as_str()
            .unwrap()
            .contains("add 127.0.0.1 to TRUSTED_PROXIES"),
        "{line}"
    );

    let trusting = |program: Program| {
        program
            .set("PUBLIC_BASE_URL", "")
            .set("TRUSTED_PROXIES", "127.0.0.1")
    };
    let (mut server, _database) = service(trusting).await;
    assert_eq!(call.send_raw(&server.url).await.status, 200);
    let line = refused(
        &mut server,
        &form("https://c.example", "/webhooks/twilio").header("X-Forwarded-Proto", "https"),
    )
    .await;
    assert_eq!(
        (&line["url"], &line["url_source"]),
        (&json!("https://inner/webhooks/twilio"), &json!("forwarded"))
    );
    assert_eq!(line["ignored_headers"], Value::Null);
}

#[actix_web::test]
async fn the_log_tells_the_form_of_a_signature_and_of_a_body() {
    let (mut server, _database) = service(|program| program).await;
    let call = Call::twilio_text(&new_sid(), "hi");
    let with = |signature: &str| call.clone().instead("X-Twilio-Signature", signature);
    for (call, signature) in [
        (call.clone().without("X-Twilio-Signature"), "missing"),
        (with("?"), "not base64"),
        (with("AAAA"), "3 bytes instead of 20"),
    ] {
        let line = refused(&mut server, &call).await;
        assert_eq!(line["signature"], signature, "{line}");
        assert_eq!(line["url_source"], "configured");
    }
    let document = Call::twilio_json(r#"{"a":1}"#);
    let altered = Call {
        body: br#"{"a":2}"#.to_vec(),
        ..document.clone()
    };
    let line = refused(&mut server, &altered).await;
    assert_eq!(line["body_sha256"], "differs");
    assert_eq!(
        line["secrets"],
        json!(["1 of 2 does not fit", "2 of 2 fits"])
    );
    let uncovered =
        Call::twilio_at("/webhooks/twilio", &[]).instead("Content-Type", "application/json");
    assert_eq!(
        refused(&mut server, &uncovered).await["body_sha256"],
        "absent"
    );

    let text = Call::whatsapp_messages(json!([whatsapp_text(&new_wamid(), "hi")]));
    let mut rewritten = text.clone();
    rewritten.body.push(b'\n');
    let line = refused(&mut server, &rewritten).await;
    assert_eq!(line["fits"], "the body without white space at its ends");
    assert_eq!(
        (&line["provider"], &line["url"]),
        (&json!("whatsapp"), &Value::Null)
    );
    let sha1 = text.instead("X-Hub-Signature-256", "sha1=00");
    let line = refused(&mut server, &sha1).await;
    assert!(
        line["reason"].as_str().unwrap().contains("not sha256="),
        "{line}"
    );
}

#[actix_web::test]
async fn a_secret_that_is_being_rotated_out_is_noted() {
    let (mut server, _database) = service(|program| program).await;
    let reply = Call::twilio_text(&new_sid(), "hi")
        .send_raw(&server.url)
        .await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let line = server.logged("signature made with secret 2 of 2").await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["level"], "DEBUG");
    assert_eq!(line["request_id"].as_str(), reply.request_id.as_deref());
}

#[actix_web::test]
async fn an_attacker_cannot_make_explanations_expensive() {
    let (mut server, _database) = service(|program| program.set("PUBLIC_BASE_URL", "")).await;
    let (client, url) = (process::client(), server.url.clone());
    let call = form("https://nobody.example", "/webhooks/twilio");
    let sends = (0..40).map(|_| call.send(&client, &url));
    for reply in futures_util::future::join_all(sends).await {
        assert_eq!(reply.unwrap().status, 401);
    }
    server.signal("TERM");
    // How often it was said again is told at the very end.
    server.exit(std::time::Duration::from_secs(30)).await;
    let log = server.log();
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("signature refused"))
        .collect();
    let repeated = |line: &&str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        line["repeated"].as_u64()
    };
    let counted: u64 = lines.iter().filter_map(repeated).sum();
    let said = lines.iter().filter(|line| repeated(line).is_none()).count();
    assert_eq!(said as u64 + counted, 40, "each is said or counted");
    assert!(said <= 20, "{said} are said");
    let looked_into = lines
        .iter()
        .filter(|line| line.contains("variants_tried"))
        .count();
    assert!(
        (1..said).contains(&looked_into),
        "{looked_into} were looked into"
    );
}

/// The program with the secrets of the tests, and no database.
fn program() -> Program {
    let tokens = format!("{SECOND},{TWILIO_TOKEN}");
    Program::bare()
        .set("TWILIO_AUTH_TOKEN", &tokens)
        .set("WHATSAPP_APP_SECRET", WHATSAPP_SECRET)
}

async fn explain(program: &Program, saved: &[u8], more: &[&str]) -> Finished {
    fs::write(program.folder.path().join("saved"), saved).expect("a file");
    let finished = program.run(&[&["explain", "saved"], more].concat()).await;
    for secret in [TWILIO_TOKEN, WHATSAPP_SECRET, SECOND] {
        assert!(!finished.stdout.contains(secret) && !finished.stderr.contains(secret));
    }
    finished
}

fn told(finished: &Finished, name: &str) -> Vec<String> {
    let lines = finished
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix(name));
    lines.map(|line| line.trim().to_owned()).collect()
}

#[actix_web::test]
async fn a_saved_request_is_explained() {
    let good = program().set("PUBLIC_BASE_URL", "https://hooks.example.com");
    let call = Call::twilio_text(&new_sid(), "said in the body");
    let finished = explain(&good, &call.to_bytes(), &[]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(
        told(&finished, "secret "),
        ["1 of 2 does not fit", "2 of 2 fits"]
    );
    assert_eq!(
        told(&finished, "URL"),
        ["https://hooks.example.com/webhooks/twilio (configured: PUBLIC_BASE_URL)"]
    );
    assert!(!finished.stdout.contains("said in"), "{finished:?}");

    let wrong = program().set("PUBLIC_BASE_URL", "http://hooks.example.com");
    let finished = explain(&wrong, &call.to_bytes(), &[]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert_eq!(
        told(&finished, "result"),
        ["the signature fits https instead of http"]
    );
    let advice = told(&finished, "what to do");
    assert!(
        advice[0].contains("set PUBLIC_BASE_URL to the https URL"),
        "{finished:?}"
    );

    let whatsapp = Call::whatsapp_messages(json!([whatsapp_text(&new_wamid(), "hi")]));
    let finished = explain(&good, &whatsapp.to_bytes(), &[]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(told(&finished, "URL"), [""; 0]);
    let forged = whatsapp.instead("X-Hub-Signature-256", &format!("sha256={}", "0".repeat(64)));
    let finished = explain(&good, &forged.to_bytes(), &[]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(
        finished.stdout.contains("WHATSAPP_APP_SECRET"),
        "{finished:?}"
    );
}

#[actix_web::test]
async fn a_request_that_was_saved_behind_a_proxy_says_whether_it_was_believed() {
    let call = form("https://hooks.example.net", "/webhooks/twilio")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "hooks.example.net");
    let saved = call.to_bytes();
    let finished = explain(&program(), &saved, &[]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(told(&finished, "URL")[0].contains("X-Forwarded-Proto, X-Forwarded-Host ignored"));
    let trusting = program().set("TRUSTED_PROXIES", "10.0.0.0/8");
    assert_eq!(explain(&trusting, &saved, &[]).await.code, Some(0));
    let finished = explain(&trusting, &saved, &["--peer", "192.0.2.7"]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(
        finished.stdout.contains("add 192.0.2.7 to TRUSTED_PROXIES"),
        "{finished:?}"
    );
}

#[actix_web::test]
async fn a_request_may_be_saved_as_json() {
    let signature = twilio_signature("https://hooks.example.com/webhooks/twilioBodyhi");
    let saved = json!({
        "method": "POST", "url": "https://hooks.example.com/webhooks/twilio", "body": "Body=hi",
        "headers": {
            "Content-Type": "application/x-www-form-urlencoded", "X-Twilio-Signature": signature,
        },
    });
    let finished = explain(&program(), saved.to_string().as_bytes(), &[]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert_eq!(
        told(&finished, "result"),
        ["the signature fits https instead of http"]
    );
    let mut encoded = saved.clone();
    encoded.as_object_mut().unwrap().remove("body");
    encoded["body_base64"] = json!("Qm9keT1oaQ==");
    let good = program().set("PUBLIC_BASE_URL", "https://hooks.example.com");
    let finished = explain(&good, encoded.to_string().as_bytes(), &[]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[actix_web::test]
async fn a_file_that_is_no_request_exits_with_2_and_one_of_nobody_with_1() {
    for saved in ["", "hello", "{}", "POST / HTTP/1.1\r\nHost: x"] {
        let finished = explain(&program(), saved.as_bytes(), &[]).await;
        assert_eq!(finished.code, Some(2), "{saved:?}: {finished:?}");
        assert!(finished.stderr.contains("no saved request"), "{finished:?}");
    }
    let missing = program().run(&["explain", "missing"]).await;
    assert_eq!(missing.code, Some(2), "{missing:?}");
    // Standard input is empty here.
    assert_eq!(program().run(&["explain", "-"]).await.code, Some(2));
    let nobody = explain(&program(), b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", &[]).await;
    assert_eq!(nobody.code, Some(1), "{nobody:?}");
}

#[actix_web::test]
async fn a_shared_key_that_is_not_configured_is_named() {
    const SETTINGS: &str = "X-Twilio-Webhooks-Signature-Settings";
    let bytes = [7; 32];
    let signature = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
    let call = |settings: &str| {
        form("https://hooks.example.com", "/webhooks/twilio")
            .instead("X-Twilio-Signature", &signature)
            .header(SETTINGS, settings)
    };
    let (mut server, _database) =
        service(|program| program.set("TWILIO_SHARED_KEYS", "known:hunter2")).await;
    let line = refused(&mut server, &call("key=spring,algorithm=HMAC_SHA256")).await;
    assert_eq!(line["reason"], "no shared key named spring is configured");
    let hint = line["hint"].as_str().expect("a hint");
    assert!(
        hint.contains("add spring:SECRET to TWILIO_SHARED_KEYS"),
        "{hint}"
    );
    let line = refused(&mut server, &call("key=known,algorithm=HMAC_SHA256")).await;
    assert_eq!(line["reason"], "none of the 3 secrets made the signature");
    assert_eq!(line["named"], "the shared key known");
    let line = refused(&mut server, &call("key=known,algorithm=HMAC_SHA512")).await;
    let reason = "the algorithm HMAC_SHA512 is neither HMAC_SHA256 nor HMAC_SHA1";
    assert_eq!(line["reason"], reason);
    assert!(!server.log().contains("hunter2"));

    let program = program().set("PUBLIC_BASE_URL", "https://hooks.example.com");
    let finished = explain(
        &program,
        &call("key=spring,algorithm=HMAC_SHA256").to_bytes(),
        &[],
    )
    .await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let result = ["no shared key named spring is configured"];
    assert_eq!(told(&finished, "result"), result);
    assert_eq!(told(&finished, "signed with"), result);
}

#[actix_web::test]
async fn a_query_that_is_escaped_where_it_was_signed_plain_fits() {
    let program = program().set("PUBLIC_BASE_URL", "https://hooks.example.com");
    let mut call = form(
        "https://hooks.example.com",
        "/webhooks/twilio?owner=ada@shop.example",
    );
    call.path = call.path.replace('@', "%40");
    let finished = explain(&program, &call.to_bytes(), &[]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    // Also where something else is wrong.
    let other = program.set("PUBLIC_BASE_URL", "http://hooks.example.com");
    let finished = explain(&other, &call.to_bytes(), &[]).await;
    assert_eq!(
        told(&finished, "result"),
        ["the signature fits https instead of http"]
    );
}
