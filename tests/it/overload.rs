//! More comes than is done in time: what is new is refused at once, and all else goes on.

use futures_util::future::join_all;
use std::time::Duration;
use tokio::time::sleep;

use crate::support::{
    app::App,
    database::{Database, Engine, Gate, Lock, on_both},
    requests::{Call, new_sid},
    shop::{Service, work},
};

on_both! {
    what_is_new_is_refused_while_others_wait_for_too_long_and_repeats_are_answered
    however_many_wait_nobody_is_refused_where_that_is_off
    a_few_may_wait_for_however_long
}

fn new_order() -> Call {
    Call::twilio_text(&new_sid(), "2 pizza and 1 cola")
}

/// Keeps whatever writes a record from getting done, until it is ended.
enum Halt {
    Lock(Lock),
    /// A table that is locked would be an error soon.
    Gate(Gate),
}

impl Halt {
    fn of(database: &Database, engine: Engine) -> Self {
        match engine {
            Engine::Sqlite => Self::Lock(database.lock()),
            Engine::Postgres => Self::Gate(database.gate("webhook_idempotency")),
        }
    }

    fn end(self) {
        match self {
            Self::Lock(lock) => lock.release(),
            Self::Gate(gate) => gate.open(),
        }
    }
}

type Sending = tokio::task::JoinHandle<u16>;

fn send_one(app: &App) -> Sending {
    let (client, url, call) = (app.client.clone(), app.url.clone(), new_order());
    tokio::spawn(async move { call.send(&client, &url).await.expect("an answer").status })
}

/// Sends orders, and waits until nearly all of them wait for the database.
async fn send(app: &App, count: usize) -> Vec<Sending> {
    let sending = (0..count).map(|_| send_one(app)).collect();
    // Two transactions are under way, of two at most.
    while waiting(app).await + 5 < count {
        sleep(Duration::from_millis(20)).await;
    }
    sending
}

async fn waiting(app: &App) -> usize {
    let metrics = app.get("/metrics").await.body;
    let line = |line: &str| {
        let length = line.strip_prefix("hookonce_writer_queue_length ")?;
        length.parse().ok()
    };
    metrics.lines().find_map(line).expect("a length")
}

async fn all_200(sending: Vec<Sending>) {
    for answer in join_all(sending).await {
        assert_eq!(answer.expect("an answer"), 200);
    }
}

async fn app(engine: Engine, max_queue_time: Option<Duration>) -> Service {
    Service::with(engine, |config| {
        config.max_queue_time = max_queue_time;
        // Or a transaction would take them all.
        config.write_batch = 2;
    })
    .await
}

/// Longer than the first of those that wait may have waited by then.
const A_WHILE: Duration = Duration::from_millis(100);

async fn what_is_new_is_refused_while_others_wait_for_too_long_and_repeats_are_answered(
    engine: Engine,
) {
    let service = app(engine, Some(Duration::from_millis(50))).await;
    let (app, pos) = (&service.app, service.pos().await);
    let known = new_order();
    let first = app.send(&known).await;
    assert_eq!(first.status, 200, "{first:?}");

    let halt = Halt::of(&app.database, engine);
    let sending = send_until_refused(app).await;
    let newcomer = new_order();
    let refused = app.send(&newcomer).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_eq!(refused.retry_after.as_deref(), Some("1"));
    assert!(refused.body.contains(r#""error_code":"OVERLOADED""#));
    let through_api = pos.post("/api/v1/orders", &work("5.00")).await;
    assert_eq!(through_api.status, 503, "{through_api:?}");
    // No cache has it: the database is looked into.
    let again = app.send(&known).await;
    assert_eq!((again.status, again.body), (200, first.body));
    assert_eq!(app.get("/health/live").await.status, 200);

    halt.end();
    let mut made = 1;
    for answer in join_all(sending).await {
        match answer.expect("an answer") {
            200 => made += 1,
            status => assert_eq!(status, 503),
        }
    }
    assert!(made > 256, "{made}");
    assert_eq!(app.orders(), made);
    assert_eq!(app.send(&newcomer).await.status, 200);
    assert_eq!(app.orders(), made + 1);
}

/// Sends orders until one is refused.
async fn send_until_refused(app: &App) -> Vec<Sending> {
    let mut sending = send(app, 250).await;
    sleep(A_WHILE).await;
    loop {
        let one = send_one(app);
        sleep(Duration::from_millis(20)).await;
        let is_refused = one.is_finished();
        sending.push(one);
        if is_refused {
            return sending;
        }
    }
}

async fn however_many_wait_nobody_is_refused_where_that_is_off(engine: Engine) {
    let service = app(engine, None).await;
    let halt = Halt::of(&service.app.database, engine);
    let mut sending = send(&service.app, 300).await;
    sleep(A_WHILE).await;
    sending.extend(send(&service.app, 1).await);
    halt.end();
    all_200(sending).await;
    assert_eq!(service.app.orders(), 301);
}

async fn a_few_may_wait_for_however_long(engine: Engine) {
    let service = app(engine, Some(Duration::from_millis(10))).await;
    let halt = Halt::of(&service.app.database, engine);
    let mut sending = send(&service.app, 40).await;
    sleep(A_WHILE).await;
    sending.extend(send(&service.app, 1).await);
    halt.end();
    all_200(sending).await;
    assert_eq!(service.app.orders(), 41);
}
