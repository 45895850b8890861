//! SIGHUP: the configuration is read again while the service runs.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::support::{
    database::{Database, Engine, on_both},
    process::{self, Program, Server},
    requests::{Call, SHOP_PHONE, WHATSAPP_SECRET, new_sid, new_wamid, whatsapp_text},
    wait::until,
};

on_both! {
    a_secret_is_rotated_under_load_without_a_restart
}

const TAKEN: &str = "taken over";
const REFUSED: &str = "the configuration stays as it was";

/// A service whose secrets of WhatsApp are in `.env`.
struct Service {
    program: Program,
    server: Server,
    client: reqwest::Client,
    database: Database,
    shop: String,
}

impl Service {
    async fn new(engine: Engine, dotenv: &str) -> Self {
        let database = Database::new(engine);
        let program = Program::new(&database)
            .unset("WHATSAPP_APP_SECRET")
            .unset("WHATSAPP_VERIFY_TOKEN");
        let shop = program.open_shop().await;
        program.write_dotenv(dotenv);
        Self {
            server: program.serve().await,
            client: process::client(),
            program,
            database,
            shop,
        }
    }

    /// Has it read another `.env`, and waits until it says so for the `count`th time.
    async fn reload(&mut self, dotenv: &str, words: &str, count: usize) {
        self.program.write_dotenv(dotenv);
        self.server.signal("HUP");
        let server = &self.server;
        until(words, async || {
            let log = server.log();
            let whole = log.lines().filter(|line| line.contains(words)).count();
            whole >= count && log.ends_with('\n')
        })
        .await;
    }

    async fn status_of(&self, secret: &str) -> u16 {
        let reply = signed(secret).send(&self.client, &self.server.url).await;
        reply.expect("an answer").status
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        let asked = self.client.get(format!("{}{path}", self.server.url)).send();
        asked.await.expect("an answer")
    }

    async fn reloads(&self, result: &str) -> bool {
        let metrics = self.get("/metrics").await.text().await.expect("text");
        metrics.contains(&format!(
            "hookonce_config_reloads_total{{result=\"{result}\"}} 1\n"
        ))
    }
}

/// A message from Meta, signed with a secret.
fn signed(secret: &str) -> Call {
    let call = Call::whatsapp_messages(json!([whatsapp_text(&new_wamid(), "1 cola")]));
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).expect("a key");
    mac.update(&call.body);
    let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
    call.instead("X-Hub-Signature-256", &signature)
}

async fn a_secret_is_rotated_under_load_without_a_restart(engine: Engine) {
    const NEW: &str = "another-secret-of-meta";
    let secrets = |secrets: &str| format!("WHATSAPP_APP_SECRET={secrets}\n");
    let mut service = Service::new(engine, &secrets(WHATSAPP_SECRET)).await;
    assert_eq!(service.status_of(NEW).await, 401);
    let (is_over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let (client, url) = (service.client.clone(), service.server.url.clone());
    let sender = || async {
        while !is_over.load(Ordering::Relaxed) {
            let reply = signed(WHATSAPP_SECRET).send(&client, &url).await;
            let reply = reply.expect("an answer");
            assert_eq!(reply.status, 200, "{reply:?}");
            sent.fetch_add(1, Ordering::Relaxed);
        }
    };
    let both = secrets(&format!("{NEW},{WHATSAPP_SECRET}"));
    let rotating = async {
        for count in 1..=3 {
            // With and without the new one, again and again.
            service.reload(&both, TAKEN, 2 * count - 1).await;
            assert_eq!(service.status_of(NEW).await, 200);
            let before = sent.load(Ordering::Relaxed);
            until("more was sent", async || {
                sent.load(Ordering::Relaxed) > before + 20
            })
            .await;
            service
                .reload(&secrets(WHATSAPP_SECRET), TAKEN, 2 * count)
                .await;
            assert_eq!(service.status_of(NEW).await, 401);
        }
        is_over.store(true, Ordering::Relaxed);
    };
    tokio::join!(rotating, sender(), sender(), sender());
    service.reload(&secrets(NEW), TAKEN, 7).await;
    assert_eq!(service.status_of(NEW).await, 200);
    assert_eq!(service.status_of(WHATSAPP_SECRET).await, 401);
    let answered = sent.load(Ordering::Relaxed) as i64 + 4;
    let orders = service.database.count("SELECT count(*) AS n FROM orders");
    assert_eq!(orders, answered, "each was acted on once");
    let log = service.server.log();
    assert!(
        !log.contains(NEW) && !log.contains(WHATSAPP_SECRET),
        "{log}"
    );
}

#[actix_web::test]
async fn what_cannot_be_used_is_refused_as_a_whole_and_the_old_goes_on() {
    let old = format!("WHATSAPP_APP_SECRET={WHATSAPP_SECRET}\n");
    let mut service = Service::new(Engine::Sqlite, &old).await;
    for (at, bad) in [
        "WHATSAPP_APP_SECRET=new\nTRUSTED_PROXIES=nonsense\n",
        "WHATSAPP_APP_SECRET=new\nRUST_LOG=nonsense=loud\n",
        "WHATSAPP_APP_SECRET=\"new\n",
    ]
    .iter()
    .enumerate()
    {
        service.reload(bad, REFUSED, at + 1).await;
        assert_eq!(service.status_of("new").await, 401);
        assert_eq!(service.status_of(WHATSAPP_SECRET).await, 200);
        assert_eq!(service.reloads("refused").await, at == 0);
    }
    // Gone, as in the middle of somebody's copying.
    let dotenv = service.program.folder.path().join(".env");
    std::fs::remove_file(dotenv).expect("the file");
    service.server.signal("HUP");
    let line = service.server.logged("not there any more").await;
    assert!(line.contains(REFUSED), "{line}");
    assert_eq!(service.status_of(WHATSAPP_SECRET).await, 200);
    service.reload("WHATSAPP_APP_SECRET=new\n", TAKEN, 1).await;
    assert_eq!(service.status_of("new").await, 200);
    assert!(service.reloads("done").await);
}

#[actix_web::test]
async fn what_needs_a_restart_is_named_and_what_the_process_was_started_with_wins() {
    let old = format!(
        "WHATSAPP_APP_SECRET={WHATSAPP_SECRET}\nWHATSAPP_VERIFY_TOKEN=old\nEVENT_RETENTION=20d\nTWILIO_AUTH_TOKEN=x\n"
    );
    let mut service = Service::new(Engine::Sqlite, &old).await;
    let new = format!(
        "NEXT=new\nWHATSAPP_APP_SECRET=${{NEXT}}\nWHATSAPP_VERIFY_TOKEN={WHATSAPP_SECRET}\nEVENT_RETENTION=21d\n\
         TWILIO_AUTH_TOKEN=y\nBIND=127.0.0.1:1\nCLEANUP_BATCH=7\nRUST_LOG=info,hookonce::web=debug\n"
    );
    service.reload(&new, TAKEN, 1).await;
    let log = service.server.log();
    let restart = "changed, but needs a restart: CLEANUP_BATCH, EVENT_RETENTION";
    assert!(log.lines().any(|line| line.ends_with(restart)), "{log}");
    let taken = "RUST_LOG, WHATSAPP_APP_SECRET, WHATSAPP_VERIFY_TOKEN taken over";
    assert!(log.lines().any(|line| line.ends_with(taken)), "{log}");
    assert_eq!(service.status_of("new").await, 200);
    for (token, status) in [(WHATSAPP_SECRET, 200), ("old", 403)] {
        let path = format!(
            "/webhooks/whatsapp?hub.mode=subscribe&hub.challenge=1&hub.verify_token={token}"
        );
        assert_eq!(service.get(&path).await.status(), status);
    }
    // In the environment, so it is as it was.
    let call = Call::twilio_text(&new_sid(), "1 cola");
    let reply = call.send(&service.client, &service.server.url).await;
    assert_eq!(reply.expect("an answer").status, 200);
    // A variable of the file that another refers to has changed, and the level is lower.
    let new = new.replace("NEXT=new", "NEXT=next");
    service.reload(&format!("{new}X=1\n"), TAKEN, 2).await;
    assert_eq!(service.status_of("next").await, 200);
    let two = new.replace("${NEXT}", "first,next");
    service.reload(&two, TAKEN, 3).await;
    assert_eq!(service.status_of("next").await, 200);
    service
        .server
        .logged("signature made with secret 2 of 2")
        .await;
}

#[actix_web::test]
async fn another_proxy_is_believed_from_the_next_request_on() {
    let mut service = Service::new(Engine::Sqlite, "X=1\n").await;
    let token = service
        .program
        .must(&["token", "create", "--name", "n", "--scope", "admin"])
        .await;
    let sources = async |service: &Service| {
        let call = Call::twilio_text(&new_sid(), "1 cola").header("X-Forwarded-For", "192.0.2.7");
        let reply = call.send(&service.client, &service.server.url).await;
        assert_eq!(reply.expect("an answer").status, 200);
        // Through the middleware, which has its own.
        let url = format!("{}/api/v1/retailers/{}", service.server.url, service.shop);
        let body = json!({"name": "n", "phone": SHOP_PHONE, "currency": "USD"});
        let put = service.client.put(url).bearer_auth(token.trim());
        let put = put.header("X-Forwarded-For", "192.0.2.7");
        let put = put.header("Idempotency-Key", new_sid());
        let put = put.header("Content-Type", "application/json");
        let answered = put.body(body.to_string()).send().await;
        assert_eq!(answered.expect("an answer").status(), 200);
        let all = "SELECT source_ip AS t FROM webhook_idempotency";
        let all = service.database.texts(all).into_iter().flatten();
        let (local, forwarded): (Vec<_>, Vec<_>) = all.partition(|ip| ip == "127.0.0.1");
        (local.len(), forwarded)
    };
    assert_eq!(sources(&service).await, (2, Vec::new()));
    service
        .reload("TRUSTED_PROXIES=127.0.0.0/8\n", TAKEN, 1)
        .await;
    let source = "192.0.2.7".to_owned();
    assert_eq!(sources(&service).await, (2, vec![source.clone(), source]));
}

#[actix_web::test]
async fn what_libraries_read_is_passed_on_to_them() {
    let program = Program::bare().set("DATABASE_URL", "postgres:///shop");
    program.write_dotenv("PGHOST=127.0.0.1\nPGPORT=1\nREQUEST_TIMEOUT=300ms\n");
    let finished = program.run(&["migrate"]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let there = "connection to server at \"127.0.0.1\", port 1 failed";
    assert!(finished.stderr.contains(there), "{finished:?}");
}
