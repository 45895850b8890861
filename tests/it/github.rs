//! GitHub: what an id is worth that nobody signs, and what an operator sees of an event with which nothing is done.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;

use crate::support::{
    app::App,
    database::{Engine, on_both},
    requests::{Call, Reply, problem, provider_secrets, refused, told},
    shop::Service,
};

on_both! {
    the_same_id_with_another_content_is_a_conflict_and_the_first_is_kept
    an_id_alone_does_not_make_a_delivery_genuine
    an_event_with_which_nothing_is_done_is_shown_with_its_payload
}

const OPENED: &str = r#"{"action":"opened","issue":{"number":7}}"#;

/// A delivery, signed here independently of the program.
fn delivery(id: &str, event: &str, body: &str) -> Call {
    let mut secrets = provider_secrets();
    let secret = secrets.find(|(setting, _)| setting.variable == "GITHUB_WEBHOOK_SECRET");
    let (_, secret) = secret.expect("a secret");
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).expect("a key");
    mac.update(body.as_bytes());
    let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
    let call = Call {
        path: "/webhooks/github".to_owned(),
        headers: Vec::new(),
        body: body.into(),
    };
    call.header("Content-Type", "application/json")
        .header("X-GitHub-Event", event)
        .header("X-GitHub-Delivery", id)
        .header("X-Hub-Signature-256", &signature)
}

fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

fn outcome(reply: &Reply) -> String {
    let outcome = &reply.json()["events"][0]["outcome"];
    outcome.as_str().expect("an outcome").to_owned()
}

async fn the_same_id_with_another_content_is_a_conflict_and_the_first_is_kept(engine: Engine) {
    let app = App::new(engine).await;
    let id = new_id();
    let first = app.send(&delivery(&id, "issues", OPENED)).await;
    assert_eq!(
        (told(&first), &*outcome(&first)),
        ((200, Some("false")), "ignored")
    );
    for (event, number) in [("issues", "8"), ("pull_request", "9")] {
        let changed = delivery(&id, event, &OPENED.replace('7', number));
        let reply = app.send(&changed).await;
        assert_eq!(told(&reply), (200, Some("false")), "{event}");
        assert_eq!(outcome(&reply), "conflict", "{event}");
    }
    // Another event's name over the same bytes, under a key of its own.
    let renamed = delivery(&id, "pull_request", OPENED).key("a-key-of-its-own");
    assert_eq!(outcome(&app.send(&renamed).await), "conflict");
    let again = app.send(&delivery(&id, "issues", OPENED)).await;
    assert_eq!(told(&again), (200, Some("true")));
    assert_eq!(again.essence(), first.essence());
    assert_eq!(app.events(), 1);
}

async fn an_id_alone_does_not_make_a_delivery_genuine(engine: Engine) {
    let app = App::new(engine).await;
    let good = delivery(&new_id(), "ping", "{}");
    let altered = Call {
        body: b"{ }".to_vec(),
        ..good.clone()
    };
    assert_eq!(
        refused(&app.send(&altered).await),
        problem(401, "SIGNATURE_INVALID")
    );
    for header in ["X-GitHub-Delivery", "X-GitHub-Event"] {
        let reply = app.send(&good.clone().without(header)).await;
        assert_eq!(refused(&reply), problem(400, "BODY_MALFORMED"));
    }
    assert_eq!((app.events(), app.records()), (0, 0));
}

async fn an_event_with_which_nothing_is_done_is_shown_with_its_payload(engine: Engine) {
    let service = Service::new(engine).await;
    let office = service.head_office().await;
    let id = new_id();
    let reply = service.app.send(&delivery(&id, "issues", OPENED)).await;
    assert_eq!(outcome(&reply), "ignored");
    let listed = office
        .get("/api/v1/deliveries?provider=github")
        .await
        .json();
    let shown = &listed["data"][0];
    assert_eq!(
        (&shown["key"], &shown["provider"]),
        (&json!(id), &json!("github"))
    );
    assert_eq!(shown["outcomes"], json!(["ignored"]));
    let path = format!(
        "/api/v1/deliveries/{}",
        shown["id"].as_str().expect("an id")
    );
    let whole = office.get(&path).await.data();
    assert_eq!(whole["request"]["body"]["issue"]["number"], 7, "{whole}");
}
