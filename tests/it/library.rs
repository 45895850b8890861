//! What a program of one's own builds on the crate, by the examples that it copies: once, whatever is killed when.

use actix_web::{App, http::StatusCode, test};
use futures_util::future::join_all;
use hookonce::{
    clean_up::clean_up,
    handler::{Handled, Handler, HandlerError, Outcome, Task},
    provider::{Hmac, event::Event},
    receiver::Receiver,
    store::{Conn, Store, StoreOptions},
};
use rand::RngExt as _;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::sleep;

use crate::support::{
    database::{Database, Engine, on_both},
    process::{Program, Server, client},
};

on_both! {
    a_source_and_a_handler_of_ones_own_act_once_whenever_the_process_is_killed
    an_event_that_a_handler_fails_on_leaves_nothing_and_is_tried_again
    an_event_that_no_handler_wants_is_stored_and_answered
    an_event_that_lasts_is_known_when_others_are_forgotten
    a_handler_that_gives_too_few_results_has_done_nothing
}

const SECRET: &str = "a secret of the tests";
/// How often the process is killed.
const KILLS: usize = 12;
/// How many requests meet each kill.
const AT_ONCE: usize = 16;

async fn start(program: &Program) -> Server {
    let mut server = program.spawn_with(&[]);
    let line = server.printed("listening on http://").await;
    server.url = line.trim_start_matches("listening on ").to_owned();
    server
}

fn own_webhook(database: &Database) -> Program {
    Program::example("own_webhook")
        .set("DATABASE_URL", &database.url)
        .set("BIND", "127.0.0.1:0")
        .set("SECRET", SECRET)
}

fn points(id: usize) -> String {
    format!(r#"{{"id": "event {id}", "type": "points", "customer": "ana"}}"#)
}

/// Sends a signed body. Gives status, whether it is a replay, and the answer; none where the process died under it.
async fn send(url: &str, body: &str) -> Option<(u16, String, String)> {
    let source = Hmac::sha256("points", "X-Signature").prefix("sha256=");
    let signature = source.secret(SECRET).sign(0, body.as_bytes());
    let request = client()
        .post(format!("{url}/webhooks/points"))
        .header("Content-Type", "application/json")
        .header("X-Signature", signature.expect("a signature"))
        .body(body.to_owned());
    let answer = request.send().await.ok()?;
    let replayed = answer.headers().get("Idempotent-Replayed");
    let replayed = replayed.map_or_else(String::new, |it| it.to_str().expect("text").to_owned());
    let status = answer.status().as_u16();
    Some((status, replayed, answer.text().await.ok()?))
}

async fn a_source_and_a_handler_of_ones_own_act_once_whenever_the_process_is_killed(
    engine: Engine,
) {
    let database = Database::new(engine);
    let program = own_webhook(&database);
    let mut server = start(&program).await;
    let mut answered = vec![None; KILLS * AT_ONCE];
    for kill in 0..KILLS {
        let new = kill * AT_ONCE..(kill + 1) * AT_ONCE;
        let url = server.url.clone();
        let sending = join_all(new.clone().map(|id| {
            let url = url.clone();
            async move { send(&url, &points(id)).await }
        }));
        let killing = async {
            let delay = Duration::from_micros(rand::rng().random_range(0..30_000));
            sleep(delay).await;
            server.kill();
        };
        let (answers, ()) = tokio::join!(sending, killing);
        for (id, answer) in new.zip(answers) {
            answered[id] = answer;
        }
        server = start(&program).await;
    }
    assert!(
        answered.iter().any(Option::is_none),
        "no kill met a request"
    );
    for (id, before) in answered.iter().enumerate() {
        let (status, replayed, answer) = send(&server.url, &points(id)).await.expect("an answer");
        assert_eq!(status, 200, "{answer}");
        if let Some((_, _, before)) = before {
            // What was answered once is answered so for ever.
            assert_eq!((&*replayed, &answer), ("true", before));
        }
    }
    let all = (KILLS * AT_ONCE) as i64;
    assert_eq!(database.count("SELECT count(*) AS n FROM points"), all);
    let distinct = "SELECT count(DISTINCT event) AS n FROM points";
    assert_eq!(database.count(distinct), all);
    // The shop's tables are there too where the shop is built in, and nothing is in them.
    assert_eq!(
        database.count("SELECT count(*) AS n FROM webhook_event"),
        all
    );
}

async fn an_event_that_a_handler_fails_on_leaves_nothing_and_is_tried_again(engine: Engine) {
    let database = Database::new(engine);
    let server = start(&own_webhook(&database)).await;
    let body = r#"{"id": "nobody's", "type": "points"}"#;
    for _ in 0..2 {
        let (status, _, answer) = send(&server.url, body).await.expect("an answer");
        assert_eq!(status, 500);
        assert!(!answer.contains("customer"), "{answer}");
    }
    assert_eq!(database.count("SELECT count(*) AS n FROM webhook_event"), 0);
    assert_eq!(database.count("SELECT count(*) AS n FROM points"), 0);
    // For the operator, and in nobody's way.
    let failed = "SELECT count(*) AS n FROM webhook_idempotency
        WHERE status = 'failed' AND error_message LIKE '%names no customer%'";
    assert_eq!(database.count(failed), 1);
    // Those that come with it are acted on.
    let mut bodies: Vec<_> = (0..20).map(points).collect();
    bodies.push(body.to_owned());
    let sent = bodies.iter().map(|body| send(&server.url, body));
    let statuses: Vec<_> = join_all(sent)
        .await
        .into_iter()
        .map(|it| it.expect("an answer").0)
        .collect();
    assert_eq!(
        statuses.iter().filter(|status| **status == 200).count(),
        20,
        "{statuses:?}"
    );
    assert_eq!(database.count("SELECT count(*) AS n FROM points"), 20);
}

async fn an_event_that_no_handler_wants_is_stored_and_answered(engine: Engine) {
    let database = Database::new(engine);
    let server = start(&own_webhook(&database)).await;
    let body = r#"{"id": "e", "type": "something else"}"#;
    let (status, replayed, answer) = send(&server.url, body).await.expect("an answer");
    assert_eq!((status, &*replayed), (200, "false"));
    assert!(answer.contains(r#""outcome":"ignored""#), "{answer}");
    let unsigned = client()
        .post(format!("{}/webhooks/points", server.url))
        .body(body);
    assert_eq!(
        unsigned.send().await.expect("an answer").status().as_u16(),
        401
    );
    let kept = "SELECT count(*) AS n FROM webhook_event WHERE kind = 'something else' AND outcome = 'ignored'";
    assert_eq!(database.count(kept), 1);
    // The same id with another content is a conflict, and nothing is done.
    let other = r#"{"id": "e", "type": "points", "customer": "ana"}"#;
    let (status, _, answer) = send(&server.url, other).await.expect("an answer");
    assert_eq!(status, 200);
    assert!(answer.contains(r#""outcome":"conflict""#), "{answer}");
    assert_eq!(database.count("SELECT count(*) AS n FROM points"), 0);
}

#[actix_web::test]
async fn work_in_a_transaction_of_ones_own_pool_is_done_once_whenever_the_process_is_killed() {
    let program = Program::example("own_transaction").set("BIND", "127.0.0.1:0");
    let transfer = async |url: String, key: usize| {
        let request = client().post(format!("{url}/transfers"));
        let request = request.header("Idempotency-Key", format!("key-{key}"));
        let answer = request.body(format!("{}", key + 1)).send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.text().await.ok()?))
    };
    let mut server = start(&program).await;
    for kill in 0..KILLS {
        let url = server.url.clone();
        let sending = join_all((0..AT_ONCE).map(|n| transfer(url.clone(), kill * AT_ONCE / 2 + n)));
        let killing = async {
            sleep(Duration::from_micros(rand::rng().random_range(0..30_000))).await;
            server.kill();
        };
        tokio::join!(sending, killing);
        server = start(&program).await;
    }
    let keys = (KILLS + 1) * AT_ONCE / 2;
    for key in 0..keys {
        for _ in 0..2 {
            let (status, body) = transfer(server.url.clone(), key).await.expect("an answer");
            assert_eq!(
                (status, body),
                (201, format!("{} cents transferred\n", key + 1))
            );
        }
    }
    // The same key for something else.
    let request = client().post(format!("{}/transfers", server.url));
    let other = request
        .header("Idempotency-Key", "key-0")
        .body("7")
        .send()
        .await;
    assert_eq!(other.expect("an answer").status().as_u16(), 409);
    let file = program.folder.path().join("transfers.db");
    let database = rusqlite::Connection::open(file).expect("the database");
    let sums = "SELECT count(*), count(DISTINCT cents) FROM transfers";
    let counts = database.query_row(sums, (), |row| Ok((row.get(0)?, row.get(1)?)));
    assert_eq!(counts.expect("counts"), (keys as i64, keys as i64));
}

/// Counts what it does, and says of some events that they are never to be done again.
#[derive(Clone, Default)]
struct Lasting(Arc<AtomicUsize>);

impl Handler for Lasting {
    fn wants(&self, _: &Event) -> bool {
        true
    }

    fn apply(&self, _: &mut Conn<'_>, task: &Task<'_>) -> Result<Handled, HandlerError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Handled {
            lasting: task.work.event.kind == "lasting",
            ..Handled::new(Outcome::new("done"))
        })
    }
}

/// Forgets one event of several.
struct Forgetful;

impl Handler for Forgetful {
    fn wants(&self, _: &Event) -> bool {
        true
    }

    fn apply(&self, _: &mut Conn<'_>, _: &Task<'_>) -> Result<Handled, HandlerError> {
        Ok(Handled::new(Outcome::new("done")))
    }

    fn apply_all(
        &self,
        _: &mut Conn<'_>,
        tasks: &[Task<'_>],
    ) -> Result<Vec<Handled>, HandlerError> {
        let results = tasks.iter().skip(1);
        Ok(results
            .map(|_| Handled::new(Outcome::new("done")))
            .collect())
    }
}

fn source() -> Hmac {
    let source = Hmac::sha256("points", "X-Signature").prefix("sha256=");
    source.secret(SECRET).id_member("/id").kind_member("/type")
}

/// Sends signed bodies to a receiver with a handler. Gives the statuses and the answers.
async fn receive(
    store: &Store,
    handler: impl Handler,
    bodies: &[&str],
) -> Vec<(StatusCode, String)> {
    let receiver = Receiver::of_own(source()).handler(handler).build(store);
    let app = test::init_service(App::new().service(receiver)).await;
    let mut answers = Vec::new();
    for body in bodies {
        let signature = source().sign(0, body.as_bytes()).expect("a signature");
        let request = test::TestRequest::post()
            .uri("/webhooks/points")
            .insert_header(("Content-Type", "application/json"))
            .insert_header(("X-Signature", signature))
            .set_payload((*body).to_owned());
        let response = test::call_service(&app, request.to_request()).await;
        let status = response.status();
        let body = test::read_body(response).await;
        answers.push((status, String::from_utf8_lossy(&body).into_owned()));
    }
    answers
}

async fn an_event_that_lasts_is_known_when_others_are_forgotten(engine: Engine) {
    let database = Database::new(engine);
    let url = database.url.parse().expect("a URL");
    let store = Store::open(&url, &StoreOptions::default())
        .await
        .expect("a store");
    let lasting = r#"{"id": "1", "type": "lasting"}"#;
    let passing = r#"{"id": "2", "type": "passing"}"#;
    let handler = Lasting::default();
    for (status, answer) in receive(&store, handler.clone(), &[lasting, passing]).await {
        assert_eq!(
            (status, answer.contains("done")),
            (StatusCode::OK, true),
            "{answer}"
        );
    }
    // The keys are forgotten with the events.
    database.execute("DELETE FROM webhook_idempotency");
    sleep(Duration::from_millis(5)).await;
    let cleaned = clean_up(&store, Duration::ZERO).await.expect("a clean-up");
    assert_eq!(cleaned.events, 1);
    let events = "SELECT count(*) AS n FROM v_events WHERE event_id = '1'";
    assert_eq!(database.count(events), 1);
    let again = receive(&store, handler.clone(), &[lasting, passing]).await;
    // The one that passed is done once more, the one that lasts is not.
    assert_eq!(handler.0.load(Ordering::Relaxed), 3);
    assert!(
        again.iter().all(|(status, _)| *status == StatusCode::OK),
        "{again:?}"
    );
    store.close().await;
}

async fn a_handler_that_gives_too_few_results_has_done_nothing(engine: Engine) {
    let database = Database::new(engine);
    let url = database.url.parse().expect("a URL");
    let store = Store::open(&url, &StoreOptions::default())
        .await
        .expect("a store");
    let bodies = [r#"{"id": "1", "type": "x"}"#];
    for (status, answer) in receive(&store, Forgetful, &bodies).await {
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{answer}");
    }
    assert_eq!(database.count("SELECT count(*) AS n FROM webhook_event"), 0);
    store.close().await;
}
