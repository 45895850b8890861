//! Rate limits: each client has its own, and what nobody vouches for counts against its address.

use hookonce::config::Config;
use std::{num::NonZeroU32, time::Duration};
use tokio::time::sleep;

use crate::support::{
    app::{self, App},
    database::{Engine, on_both},
    guarded::Guarded,
    process::Program,
    requests::{Call, Reply, VERIFY_TOKEN, new_sid, new_wamid, whatsapp_text},
};

/// Of one client or address. One a second is made good, so that a machine must stand still for long to spoil a test.
const BURST: u32 = 10;
/// Has the form of a token, and is none.
const UNKNOWN: &str = "hk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

on_both! {
    a_client_that_sends_too_much_is_told_when_to_come_again_and_others_go_on
    a_valid_token_passes_where_its_address_has_had_its_share
}

fn limited(config: &mut Config) {
    let number = |n| NonZeroU32::new(n).unwrap();
    config.rate_limit = true;
    config.rate_limit_client = number(1);
    config.rate_limit_client_burst = number(BURST);
    config.rate_limit_address = number(1);
    config.rate_limit_address_burst = number(BURST);
}

async fn limited_app() -> App {
    App::with(Engine::Sqlite, limited).await
}

async fn a_client_that_sends_too_much_is_told_when_to_come_again_and_others_go_on(engine: Engine) {
    let guarded = Guarded::with(engine, limited).await;
    let (greedy, other) = (guarded.token("admin").await, guarded.token("admin").await);
    let greedy_again = guarded.another_token(greedy.client_id, "admin").await;
    let (passed, refusal) =
        until_refused(async || reply(guarded.get_with(greedy.token.expose()).await).await).await;
    assert!(passed >= BURST, "{passed}");
    assert_eq!(refusal.retry_after.as_deref(), Some("1"));
    // It is the client that is limited, not the token.
    let (passed, _) =
        until_refused(async || reply(guarded.get_with(greedy_again.token.expose()).await).await)
            .await;
    assert!(passed < BURST, "{passed}");
    for _ in 0..BURST {
        let other = guarded.get_with(other.token.expose()).await;
        assert_eq!(other.status(), 200);
    }
    // A client's requests are its own, so its address has had none.
    let wrong = reply(guarded.get_with(UNKNOWN).await).await;
    assert_eq!(wrong.status, 401);
    sleep(Duration::from_millis(1100)).await;
    let later = guarded.get_with(greedy.token.expose()).await;
    assert_eq!(later.status(), 200);
}

async fn a_valid_token_passes_where_its_address_has_had_its_share(engine: Engine) {
    let guarded = Guarded::with(engine, limited).await;
    let valid = guarded.token("orders:read").await;
    let (passed, _) = until_refused(async || reply(guarded.get_with(UNKNOWN).await).await).await;
    assert!(passed >= BURST, "{passed}");
    let valid = valid.token.expose();
    assert_eq!(guarded.get_with(valid).await.status(), 200);
    // A token that does not reach so far is a token all the same.
    let post = guarded
        .request("POST", "/api/v1/test/orders")
        .bearer_auth(valid);
    assert_eq!(reply(post.send().await.unwrap()).await.status, 403);
    let without = guarded.request("GET", "/api/v1/test/orders").send().await;
    assert_eq!(reply(without.unwrap()).await.status, 429);
}

#[actix_web::test]
async fn what_nobody_vouches_for_counts_against_its_address() {
    let wrong_signature = Call::twilio_text(&new_sid(), "1 cola")
        .instead("X-Twilio-Signature", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    let unsigned = Call::whatsapp("{}").without("X-Hub-Signature-256");
    let wrong_digest = Call::whatsapp("{}").instead("X-Hub-Signature-256", "sha256=00");
    let wrong_path = Call::twilio_at("/nothing", &[]);
    let wrong_token = unsigned
        .clone()
        .header("Authorization", &format!("Bearer {UNKNOWN}"));
    for call in [
        wrong_signature,
        unsigned,
        wrong_digest,
        wrong_path,
        wrong_token,
    ] {
        let app = limited_app().await;
        let (passed, refusal) = until_refused(async || app.send(&call).await).await;
        assert!(passed >= BURST, "{call:?}: {passed}");
        assert_eq!(refusal.retry_after.as_deref(), Some("1"));
        genuine_ones_pass(&app).await;
    }
}

#[actix_web::test]
async fn whatever_is_read_without_a_token_counts_too() {
    for path in ["/metrics", "/nothing", "/api/v1/whatsapp/test"] {
        let app = limited_app().await;
        let (passed, _) = until_refused(async || app.get(path).await).await;
        assert!(passed >= BURST, "{path}: {passed}");
        genuine_ones_pass(&app).await;
    }
}

#[actix_web::test]
async fn past_its_guesses_nobody_learns_whether_a_verify_token_is_right() {
    const WORD: &str = "opensesame";
    let app = guarded_by(WORD).await;
    let ask = async |address: &str, token: &str| ask(&app, address, token).await;
    let (passed, refusal) = until_refused(async || ask("192.0.2.1", "a-guess").await).await;
    assert_eq!(passed, 10);
    let after: u64 = refusal.retry_after.as_deref().unwrap().parse().unwrap();
    assert!((1..=12).contains(&after), "{after}");
    let right = ask("192.0.2.1", WORD).await;
    assert_eq!(
        (right.status, right.error_code()),
        (429, "RATE_LIMITED".into())
    );
    // Somebody else still gets through, until many have guessed.
    assert_eq!(ask("192.0.2.2", WORD).await.status, 200);
    for n in 3..100 {
        let address = format!("192.0.2.{n}");
        if ask(&address, "a-guess").await.status == 429 {
            assert!(n > 20, "{n} addresses had one guess each");
            let right = ask("198.51.100.1", WORD).await;
            assert_eq!(right.status, 429);
            // What is signed is not held up by it.
            let signed = app.send(&Call::twilio_text(&new_sid(), "1 cola")).await;
            assert_eq!(signed.status, 200);
            return;
        }
    }
    panic!("all may guess for ever");
}

/// Signed ones of both providers, and Meta's handshake, from an address that has had its share.
async fn genuine_ones_pass(app: &App) {
    let orders = app.orders();
    for _ in 0..3 {
        let twilio = app.send(&Call::twilio_text(&new_sid(), "1 cola")).await;
        assert_eq!(twilio.status, 200, "{twilio:?}");
        let message = whatsapp_text(&new_wamid(), "1 cola");
        let call = Call::whatsapp_messages(serde_json::json!([message]));
        let meta = app.send(&call).await;
        assert_eq!(meta.status, 200, "{meta:?}");
        let handshake = app.get(&handshake(VERIFY_TOKEN)).await;
        assert_eq!((handshake.status, &*handshake.body), (200, "7"));
        let health = app.get("/health/live").await;
        assert_eq!(health.status, 200, "{health:?}");
    }
    assert_eq!(app.orders(), orders + 6);
    let (passed, _) = until_refused(async || app.get("/nothing").await).await;
    assert!(passed < BURST, "the address is still limited: {passed}");
}

#[actix_web::test]
async fn what_is_signed_and_cannot_be_read_is_no_stranger() {
    let app = limited_app().await;
    let large = format!("{{{}", " ".repeat(100_000));
    for (call, status) in [
        (Call::whatsapp("{"), 400),
        (Call::whatsapp(large), 400),
        (
            Call::whatsapp("{}").instead("Content-Type", "text/plain"),
            415,
        ),
        (Call::twilio_json("{"), 400),
        (Call::twilio_text(&new_sid(), "1 cola").key("no key"), 400),
    ] {
        for _ in 0..2 * BURST {
            let answer = app.send(&call).await;
            assert_eq!(answer.status, status, "{call:?}: {answer:?}");
        }
    }
    assert_eq!(app.get("/nothing").await.status, 404);
}

#[actix_web::test]
async fn health_is_never_limited() {
    let app = limited_app().await;
    for _ in 0..3 * BURST {
        assert_eq!(app.get("/health/live").await.status, 200);
        assert_eq!(app.get("/health/ready").await.status, 200);
    }
    assert_eq!(app.get("/nothing").await.status, 404, "nor did it count");
    until_refused(async || app.get("/nothing").await).await;
    assert_eq!(app.get("/health/ready").await.status, 200);
}

#[actix_web::test]
async fn a_refusal_is_counted_and_has_an_id() {
    let app = App::with(Engine::Sqlite, |config| {
        limited(config);
        config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let (_, refusal) = until_refused(async || from(&app, "192.0.2.1").await).await;
    assert!(refusal.request_id.is_some());
    let request = app.client.get(format!("{}/metrics", app.url));
    let request = request.header("X-Forwarded-For", "192.0.2.2");
    let metrics = reply(request.send().await.unwrap()).await;
    let counted = "hookonce_refusals_total{error_code=\"RATE_LIMITED\"} 1";
    assert!(metrics.body.contains(counted), "{}", metrics.body);
}

#[actix_web::test]
async fn a_stranger_cannot_choose_its_address() {
    let app = limited_app().await;
    let next = std::cell::Cell::new(0_u8);
    let spoofed = async || {
        next.set(next.get() + 1);
        from(&app, &format!("192.0.2.{}", next.get())).await
    };
    let (passed, _) = until_refused(spoofed).await;
    assert!(passed >= BURST, "{passed}");
}

#[actix_web::test]
async fn behind_a_trusted_proxy_each_address_has_its_own_share() {
    let app = App::with(Engine::Sqlite, |config| {
        limited(config);
        config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    for (greedy, same, another) in [
        ("192.0.2.1", "203.0.113.9, 192.0.2.1", "192.0.2.2"),
        ("192.0.2.3", "::ffff:192.0.2.3", "::ffff:192.0.2.4"),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"),
        // Whoever the proxy does not name is the proxy.
        ("unknown", "_hidden", "192.0.2.5"),
    ] {
        let (passed, _) = until_refused(async || from(&app, greedy).await).await;
        assert!(passed >= BURST, "{greedy}: {passed}");
        let (passed, _) = until_refused(async || from(&app, same).await).await;
        assert!(passed < BURST, "{same}: {passed}");
        assert_eq!(from(&app, another).await.status, 404, "{another}");
    }
}

#[actix_web::test]
async fn where_limits_are_off_nobody_is_limited() {
    let change = |config: &mut Config| {
        limited(config);
        config.rate_limit = false;
    };
    let guarded = Guarded::with(Engine::Sqlite, change).await;
    let valid = guarded.token("orders:read").await;
    for _ in 0..5 * BURST {
        assert_eq!(guarded.get_with(UNKNOWN).await.status(), 401);
        let valid = guarded.get_with(valid.token.expose()).await;
        assert_eq!(valid.status(), 200);
    }
}

#[actix_web::test]
async fn out_of_the_box_an_address_has_a_hundred_at_once() {
    let program = Program::bare().set("BIND", "127.0.0.1:0");
    let server = program.serve().await;
    let client = crate::support::process::client();
    let url = format!("{}/nothing", server.url);
    let get = async || reply(client.get(&url).send().await.unwrap()).await;
    let (passed, _) = until_refused(get).await;
    assert!(passed >= 100, "{passed}");
}

#[actix_web::test]
async fn a_rate_that_is_none_stops_the_start() {
    for (variable, value, allowed) in [
        ("RATE_LIMIT", "yes", "on or off"),
        ("RATE_LIMIT_CLIENT", "0", "from 1 to 1000000"),
        ("RATE_LIMIT_CLIENT_BURST", "many", "from 1 to 1000000"),
        ("RATE_LIMIT_ADDRESS", "0.5", "from 1 to 1000000"),
        ("RATE_LIMIT_ADDRESS_BURST", "-1", "from 1 to 1000000"),
    ] {
        let finished = Program::bare().set(variable, value).run(&["serve"]).await;
        assert_eq!(finished.code, Some(2), "{variable}: {finished:?}");
        for words in [variable, value, allowed] {
            assert!(finished.stderr.contains(words), "{finished:?}");
        }
    }
}

/// Sends until it is refused for sending too much: how many passed, and the refusal.
async fn until_refused(send: impl AsyncFn() -> Reply) -> (u32, Reply) {
    for passed in 0..1000 {
        let reply = send().await;
        if reply.status == 429 {
            assert_eq!(reply.error_code(), "RATE_LIMITED");
            return (passed, reply);
        }
    }
    panic!("nobody refused");
}

/// A request of somebody who claims an address.
async fn from(app: &App, address: &str) -> Reply {
    let request = app.client.get(format!("{}/nothing", app.url));
    let request = request.header("X-Forwarded-For", address);
    reply(request.send().await.expect("an answer")).await
}

#[actix_web::test]
async fn who_has_a_long_verify_token_is_not_shut_out_by_strangers_who_guess() {
    let app = guarded_by(VERIFY_TOKEN).await;
    for n in 1..100 {
        let guess = ask(&app, &format!("192.0.2.{n}"), "a-guess").await;
        assert_eq!(guess.error_code(), "VERIFY_TOKEN_MISMATCH");
    }
    let (passed, _) = until_refused(async || ask(&app, "192.0.2.200", "a-guess").await).await;
    assert_eq!(passed, 10);
    assert_eq!(ask(&app, "192.0.2.200", VERIFY_TOKEN).await.status, 429);
    assert_eq!(ask(&app, "198.51.100.1", VERIFY_TOKEN).await.status, 200);
}

/// The service, behind a proxy, with such a verify token.
async fn guarded_by(token: &str) -> App {
    App::with(Engine::Sqlite, |config| {
        config.rate_limit = true;
        config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        app::set(config, "WHATSAPP_VERIFY_TOKEN", token);
    })
    .await
}

async fn ask(app: &App, address: &str, token: &str) -> Reply {
    let request = app.client.get(format!("{}{}", app.url, handshake(token)));
    let request = request.header("X-Forwarded-For", address);
    reply(request.send().await.expect("an answer")).await
}

fn handshake(token: &str) -> String {
    format!("/webhooks/whatsapp?hub.mode=subscribe&hub.challenge=7&hub.verify_token={token}")
}

async fn reply(response: reqwest::Response) -> Reply {
    Reply::of(response).await.expect("a body")
}
