//! PostgreSQL goes away in every way that it can: whoever asks is told so in time, nothing that was acknowledged is
//! lost, and the service is back soon after the database is, without anybody's help.

use diesel::{PgConnection, connection::SimpleConnection as _};
use futures_util::future::join_all;
use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::support::{
    app::App,
    database::{Database, Engine},
    load::{self, Answers, Courier, Deliveries},
    process::{self, Program, Server},
    requests::{Call, Reply, new_sid, new_wamid, told, whatsapp_text},
    servers::PostgresServer,
    shop::{Service, check_books, items, new_key},
    wait::until,
};

/// `REQUEST_TIMEOUT` of these tests.
const TIMEOUT: Duration = Duration::from_secs(2);
/// What a request may take, with the slack of a machine that is busy with other things.
pub const IN_TIME: Duration = Duration::from_secs(3);
/// From where the database is back to where the service is.
pub const RECOVERY: Duration = Duration::from_secs(5);
/// The same, where the database was never away.
pub const AT_ONCE: Duration = Duration::from_secs(1);
pub const SENDERS: usize = 8;

#[actix_web::test]
async fn a_restart_under_load_loses_nothing_and_needs_no_restart_of_the_service() {
    goes_and_comes_back(PostgresServer::stop_fast, Duration::from_secs(1)).await;
}

#[actix_web::test]
async fn a_crash_under_load_loses_nothing_and_needs_no_restart_of_the_service() {
    goes_and_comes_back(PostgresServer::stop_immediate, Duration::from_secs(1)).await;
}

#[actix_web::test]
async fn however_long_the_database_was_away_the_service_is_back_soon() {
    // Longer than a request waits, and than whatever doubles its pauses should have come to.
    goes_and_comes_back(PostgresServer::stop_immediate, Duration::from_secs(12)).await;
}

async fn goes_and_comes_back(stop: impl AsyncFn(&mut PostgresServer), away: Duration) {
    under_load(async |server, shop| {
        stop(server).await;
        shop.tells_that_the_database_is_away().await;
        sleep(away).await;
        server.start_again().await;
        shop.recovers_within(RECOVERY).await;
    })
    .await;
}

#[actix_web::test]
async fn connections_that_are_terminated_under_load_are_replaced_at_once() {
    under_load(async |server, shop| {
        for _ in 0..8 {
            server.terminate_connections();
            sleep(Duration::from_millis(100)).await;
        }
        server.terminate_connections();
        shop.recovers_within(AT_ONCE).await;
    })
    .await;
}

#[actix_web::test]
async fn a_database_that_no_longer_answers_keeps_nobody_waiting_for_longer_than_it_may() {
    under_load(async |server, shop| {
        server.freeze();
        shop.tells_that_the_database_is_away().await;
        let before = shop.put_off();
        sleep(2 * IN_TIME).await;
        let put_off = shop.put_off() - before;
        assert!(put_off >= SENDERS, "{put_off} were told");
        server.thaw();
        shop.recovers_within(RECOVERY).await;
    })
    .await;
}

/// As far as it can be played with one server: what comes up in the place of the first is a standby for a while.
#[actix_web::test]
async fn a_failover_to_a_standby_that_is_promoted_later_loses_nothing() {
    under_load(async |server, shop| {
        server.stop_immediate().await;
        server.set("default_transaction_read_only", "on");
        server.start_again().await;
        until("the standby is told", async || {
            let ready = shop.ready().await;
            ready.status == 503 && ready.body.contains("can only be read")
        })
        .await;
        for _ in 0..4 {
            let (reply, took) = shop.send_timed(&an_order()).await;
            assert_put_off(&reply, took);
        }
        server.set("default_transaction_read_only", "off");
        shop.recovers_within(RECOVERY).await;
    })
    .await;
}

#[actix_web::test]
async fn a_server_without_a_free_connection_is_told_and_found_again() {
    let server = PostgresServer::start_with(&[("max_connections", "16")]).await;
    let shop = Shop::on(&server).await;
    let hog = take_all_connections(&server);
    let calls: Vec<_> = (0..12).map(|_| an_order()).collect();
    shop.are_put_off(&calls).await;
    assert_eq!(shop.ready().await.status, 503);
    drop(hog);
    shop.recovers_within(RECOVERY).await;
    shop.are_done_once(&calls).await;
}

#[actix_web::test]
async fn a_database_that_no_longer_answers_does_not_hold_up_a_stop() {
    let server = PostgresServer::start().await;
    ends_in_time(Shop::on(&server).await, async || server.freeze()).await;
}

#[actix_web::test]
async fn a_database_that_is_gone_does_not_hold_up_a_stop() {
    let mut server = PostgresServer::start().await;
    let shop = Shop::on(&server).await;
    ends_in_time(shop, async || server.stop_immediate().await).await;
}

/// Told to stop with requests under way that cannot be done.
async fn ends_in_time(mut shop: Shop, breaking: impl AsyncFnOnce()) {
    breaking().await;
    let calls: Vec<_> = (0..12).map(|_| an_order()).collect();
    let url = shop.service.url.clone();
    let stopping = async {
        sleep(TIMEOUT / 4).await;
        shop.service.signal("TERM");
        shop.service.exit(IN_TIME).await
    };
    let sending = join_all(calls.iter().map(|call| call.send(&shop.client, &url)));
    let (status, replies) = tokio::join!(stopping, sending);
    assert!(status.success(), "{status}");
    for reply in replies.into_iter().flatten() {
        assert_eq!(reply.status, 503, "{reply:?}");
    }
}

/// Throws the service out and takes every connection that the server gives.
fn take_all_connections(server: &PostgresServer) -> Vec<PgConnection> {
    let mut hog = vec![server.connect().expect("a connection")];
    let closed = "ALTER DATABASE hookonce ALLOW_CONNECTIONS false;
                  SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'hookonce'";
    hog[0].batch_execute(closed).expect("a closed database");
    // The service tries to come back, and so has a connection now and then until it is sent away.
    let mut refused = 0;
    while refused < 10 {
        match server.connect() {
            Ok(conn) => hog.push(conn),
            Err(_full) => refused += 1,
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let open = "ALTER DATABASE hookonce ALLOW_CONNECTIONS true";
    hog[0].batch_execute(open).expect("an open database");
    hog
}

#[actix_web::test]
async fn requests_that_wait_for_a_lock_are_answered_in_time_however_many_they_are() {
    let server = PostgresServer::start().await;
    let shop = Shop::on(&server).await;
    let lock = shop.database.lock();
    // More than there are connections.
    let calls: Vec<_> = (0..40).map(|_| an_order()).collect();
    shop.are_put_off(&calls).await;
    lock.release();
    shop.recovers_within(RECOVERY).await;
    shop.are_done_once(&calls).await;
}

#[actix_web::test]
async fn a_text_whose_transaction_fails_in_passing_is_answered_as_if_it_had_not() {
    for failure in PASSING {
        is_done_again(failure, an_order()).await;
    }
}

#[actix_web::test]
async fn a_batch_whose_transaction_fails_in_passing_is_answered_as_if_it_had_not() {
    for failure in PASSING {
        let messages = [new_wamid(), new_wamid()].map(|id| whatsapp_text(&id, "1 cola"));
        is_done_again(failure, Call::whatsapp_messages(messages.to_vec().into())).await;
    }
}

/// What PostgreSQL says where transactions were in each other's way, and its code for it.
const PASSING: [(&str, &str); 2] = [
    (
        "could not serialize access due to concurrent update",
        "40001",
    ),
    ("deadlock detected", "40P01"),
];

async fn is_done_again(failure: (&str, &str), call: Call) {
    let app = App::new(Engine::Postgres).await;
    fail_in_passing(&app.database, failure, "<= 2");
    let first = app.send(&call).await;
    assert_eq!(told(&first), (200, Some("false")), "{failure:?}: {first:?}");
    let again = app.send(&call).await;
    assert_eq!(told(&again), (200, Some("true")), "{again:?}");
    assert_eq!(again.essence(), first.essence());
    assert_eq!(app.orders(), app.events());
    assert_eq!(app.ledger_entries(), app.events());
    assert_eq!(app.records(), 1);
    let tries = tries(&app.database);
    assert!(tries >= 2 + app.events(), "{tries} tries do not tell");
}

#[actix_web::test]
async fn an_order_of_the_api_whose_transaction_fails_in_passing_is_taken() {
    for failure in PASSING {
        let service = Service::new(Engine::Postgres).await;
        let client = service.pos().await;
        fail_in_passing(service.database(), failure, "<= 2");
        let (key, order) = (new_key(), items(&[("COLA", 2)]));
        let first = client.post_keyed("/api/v1/orders", &key, &order).await;
        assert_eq!(first.status, 201, "{failure:?}: {first:?}");
        let again = client.post_keyed("/api/v1/orders", &key, &order).await;
        assert_eq!((again.status, &again.body), (201, &first.body));
        assert_eq!(service.count("orders"), 1);
        check_books(service.database());
    }
}

#[actix_web::test]
async fn what_never_ceases_to_fail_in_passing_is_put_off_in_time_and_leaves_nothing() {
    for failure in PASSING {
        let app = App::with(Engine::Postgres, |config| config.request_timeout = TIMEOUT).await;
        fail_in_passing(&app.database, failure, "> 0");
        let call = an_order();
        let begun = Instant::now();
        let reply = app.send(&call).await;
        assert_put_off(&reply, begun.elapsed());
        let kept = [
            app.orders(),
            app.ledger_entries(),
            app.events(),
            app.records(),
        ];
        assert_eq!(kept, [0; 4], "{failure:?}");
        app.database.mend("orders");
        assert_eq!(told(&app.send(&call).await), (200, Some("false")));
        assert_eq!(app.orders(), 1);
    }
}

/// Makes the insertion of an order fail with a message and a code, where its number in the row of all tries is such.
/// A sequence counts on, whatever is rolled back.
fn fail_in_passing(database: &Database, (message, code): (&str, &str), tries: &str) {
    database.execute("CREATE SEQUENCE tries");
    let raise = format!("RAISE EXCEPTION '{message}' USING ERRCODE = '{code}'");
    let then = format!("IF nextval('tries') {tries} THEN {raise}; END IF");
    database.trigger("INSERT ON orders", &then);
}

/// How often an order was inserted, whatever came of it.
fn tries(database: &Database) -> i64 {
    database.count("SELECT last_value AS n FROM tries")
}

pub fn an_order() -> Call {
    Call::twilio_text(&new_sid(), "2 pizza and 1 cola")
}

fn assert_put_off(reply: &Reply, took: Duration) {
    assert_eq!(reply.status, 503, "after {took:?}: {reply:?}");
    assert_eq!(reply.error_code(), "STORE_UNAVAILABLE");
    assert!(reply.retry_after.is_some(), "no Retry-After: {reply:?}");
    assert!(took <= IN_TIME, "it took {took:?}: {reply:?}");
}

async fn under_load(breaking: impl AsyncFnOnce(&mut PostgresServer, &Shop)) {
    under_load_on(Database::on, breaking).await;
}

/// Breaks the server while deliveries come, and checks that each was answered once and for all.
pub async fn under_load_on(
    make: impl FnOnce(&PostgresServer) -> Database,
    breaking: impl AsyncFnOnce(&mut PostgresServer, &Shop),
) {
    let mut server = PostgresServer::start().await;
    let shop = Shop::over(make(&server)).await;
    let breaking = async {
        shop.answers(50).await;
        breaking(&mut server, &shop).await;
        shop.answers(50).await;
        shop.enough.store(true, Ordering::SeqCst);
    };
    tokio::join!(shop.receive(), breaking);
    shop.check();
}

/// The service in a process of its own, on a server that is going to be broken, and what is sent to it.
pub struct Shop {
    service: Server,
    pub database: Database,
    url: watch::Sender<String>,
    client: reqwest::Client,
    deliveries: Mutex<Deliveries>,
    answers: Answers,
    courier: Courier,
    enough: AtomicBool,
}

impl Shop {
    async fn on(server: &PostgresServer) -> Self {
        Self::over(Database::on(server)).await
    }

    pub async fn over(database: Database) -> Self {
        let timeout = format!("{}s", TIMEOUT.as_secs());
        let program = Program::new(&database).set("REQUEST_TIMEOUT", &timeout);
        program.open_shop().await;
        let service = program.serve().await;
        Self {
            url: watch::Sender::new(service.url.clone()),
            service,
            database,
            client: process::client(),
            deliveries: Mutex::new(Deliveries::new(load::seed())),
            answers: Answers::default(),
            courier: Courier::new(),
            enough: AtomicBool::new(false),
        }
    }

    /// Receives one delivery after the other from each of several senders, until it is enough.
    async fn receive(&self) {
        let senders = (0..SENDERS).map(async |_| {
            while !self.enough.load(Ordering::SeqCst) {
                self.receive_one().await;
            }
        });
        join_all(senders).await;
    }

    async fn receive_one(&self) {
        let (delivery, call) = {
            let mut deliveries = self.deliveries.lock().unwrap();
            let delivery = deliveries.add();
            (delivery, deliveries.calls[delivery].clone())
        };
        let reply = self.courier.deliver(&call, &self.url).await;
        self.answers.note(delivery, reply);
    }

    /// Waits for so many answers more.
    async fn answers(&self, more: usize) {
        let enough = self.answers.count() + more;
        until("more answers", async || self.answers.count() >= enough).await;
    }

    pub async fn ready(&self) -> Reply {
        let url = format!("{}/health/ready", *self.url.borrow());
        let response = self.client.get(url).send().await.expect("an answer");
        Reply::of(response).await.expect("a body")
    }

    pub async fn tells_that_the_database_is_away(&self) {
        let begun = Instant::now();
        while self.ready().await.status != 503 {
            assert!(begun.elapsed() < RECOVERY, "it is still called ready");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// It answers deliveries, and is called ready.
    pub async fn recovers_within(&self, bound: Duration) {
        let begun = Instant::now();
        let delivered = async {
            self.receive_one().await;
            begun.elapsed()
        };
        let ready = async {
            until("ready", async || self.ready().await.status == 200).await;
            begun.elapsed()
        };
        let (delivered, ready) = tokio::join!(delivered, ready);
        println!("it answered after {delivered:?} and was ready after {ready:?}");
        assert!(delivered <= bound, "the first answer took {delivered:?}");
        assert!(ready <= bound, "it was ready after {ready:?}");
    }

    pub async fn send_timed(&self, call: &Call) -> (Reply, Duration) {
        let begun = Instant::now();
        let url = self.url.borrow().clone();
        let reply = call.send(&self.client, &url).await.expect("an answer");
        (reply, begun.elapsed())
    }

    /// How many were told to come again.
    pub fn put_off(&self) -> usize {
        self.courier.put_off.load(Ordering::SeqCst)
    }

    /// All at once.
    pub async fn are_put_off(&self, calls: &[Call]) {
        for (reply, took) in join_all(calls.iter().map(|call| self.send_timed(call))).await {
            assert_put_off(&reply, took);
        }
    }

    /// Each makes its order when it comes again, and there is no other but those that [`Shop::receive_one`] knows of.
    pub async fn are_done_once(&self, calls: &[Call]) {
        for call in calls {
            let (reply, _) = self.send_timed(call).await;
            assert_eq!(reply.status, 200, "{reply:?}");
        }
        let orders = calls.len() + self.deliveries.lock().unwrap().messages.len();
        for table in ["orders", "ledger_entries", "webhook_event"] {
            let rows = self
                .database
                .count(&format!("SELECT count(*) AS n FROM {table}"));
            assert_eq!(rows, orders as i64, "{table}");
        }
    }

    fn check(&self) {
        let put_off = self.put_off();
        let (answers, slowest) = (self.answers.count(), self.courier.slowest());
        println!("{answers} answers, {put_off} times put off, the slowest after {slowest:?}");
        let unanswered = self.courier.unanswered.load(Ordering::SeqCst);
        assert_eq!(unanswered, 0, "requests without any answer");
        self.courier.check_slowest(IN_TIME);
        self.answers.check_kept(&self.database);
        self.deliveries.lock().unwrap().check_rows(&self.database);
    }
}
