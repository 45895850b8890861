//! Whatever moment the process is killed at, each message makes one order, and what was answered once stands.

use futures_util::{StreamExt as _, stream};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use serde_json::json;
use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::support::{
    database::{Database, Engine, on_both},
    process::{self, Program, Server},
    requests::{Call, Reply, whatsapp_text},
};

/// Repeats a run that failed: its output names the number.
const SEED: &str = "HOOKONCE_TEST_SEED";
const KILLS: usize = 20;
const TWILIO_PER_KILL: usize = 10;
const WHATSAPP_PER_KILL: usize = 8;
const SENDERS: usize = 8;
/// From an answer to the kill. Often none: then an answer that came before its commit is caught.
const DELAYS_MS: [u64; 6] = [0, 0, 0, 1, 3, 9];
/// For one delivery to be answered, restarts included.
const PATIENCE: Duration = Duration::from_secs(60);

on_both!(killed_at_random_moments_it_still_acts_on_each_message_exactly_once);

async fn killed_at_random_moments_it_still_acts_on_each_message_exactly_once(engine: Engine) {
    let seed = seed();
    println!("{SEED}={seed} repeats this run");
    let mut random = StdRng::seed_from_u64(seed);
    let database = Database::new(engine);
    let program = Program::new(&database);
    program.open_shop().await;
    let mut server = program.serve().await;
    let mut load = Load::new(&server.url);
    for _ in 0..KILLS {
        let fresh = load.add_deliveries(&mut random);
        // What is new meets the kill; then all that was ever sent comes again.
        let mut first = fresh.clone();
        first.shuffle(&mut random);
        let mut again: Vec<usize> = (0..load.deliveries.len()).collect();
        again.shuffle(&mut random);
        let order: Vec<usize> = first.into_iter().chain(again).collect();
        let killing = Killing {
            after_answers: random.random_range(0..fresh.len()),
            delay: Duration::from_millis(DELAYS_MS[random.random_range(0..DELAYS_MS.len())]),
            during_start: random
                .random_bool(0.25)
                .then(|| Duration::from_millis(random.random_range(0..80))),
        };
        load.answered.store(0, Ordering::SeqCst);
        let sending = load.send_all(&order);
        let killing = killing.carry_out(&program, &mut server, &load, &database);
        tokio::join!(sending, killing);
    }
    let everything: Vec<usize> = (0..load.deliveries.len()).collect();
    load.send_all(&everything).await;
    load.check(&database);
    check_rows(&database, &load);
    check_storage(&database, engine);
}

fn seed() -> u64 {
    match std::env::var(SEED) {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => rand::random(),
    }
}

/// When and how one process ends.
struct Killing {
    after_answers: usize,
    delay: Duration,
    /// The process that takes over is killed too, before it can answer much.
    during_start: Option<Duration>,
}

impl Killing {
    async fn carry_out(
        self,
        program: &Program,
        server: &mut Server,
        load: &Load,
        database: &Database,
    ) {
        // By answers, not by time: however slow the machine, the kill meets requests that are under way.
        while load.answered.load(Ordering::SeqCst) < self.after_answers {
            tokio::task::yield_now().await;
        }
        if !self.delay.is_zero() {
            sleep(self.delay).await;
        }
        server.kill();
        load.check(database);
        if let Some(delay) = self.during_start {
            let mut short_lived = program.spawn();
            sleep(delay).await;
            short_lived.kill();
        }
        *server = program.serve().await;
        load.url.send_replace(server.url.clone());
    }
}

/// All that is sent, and what was answered.
struct Load {
    deliveries: Vec<Call>,
    /// The ids of all messages in them.
    messages: BTreeSet<String>,
    /// Those that came through Meta, of which batches are made.
    batched: Vec<serde_json::Value>,
    answers: Mutex<HashMap<usize, Reply>>,
    answered: AtomicUsize,
    url: watch::Sender<String>,
    client: reqwest::Client,
}

impl Load {
    fn new(url: &str) -> Self {
        Self {
            deliveries: Vec::new(),
            messages: BTreeSet::new(),
            batched: Vec::new(),
            answers: Mutex::default(),
            answered: AtomicUsize::new(0),
            url: watch::Sender::new(url.to_owned()),
            client: process::client(),
        }
    }

    /// Makes new deliveries, and gives their places.
    fn add_deliveries(&mut self, random: &mut StdRng) -> Vec<usize> {
        let begin = self.deliveries.len();
        for _ in 0..TWILIO_PER_KILL {
            let sid = format!("SM{:032x}", self.messages.len());
            let mut call = Call::twilio_text(&sid, order_text(random));
            if random.random_bool(0.3) {
                call = call.key(&format!("key-of-{sid}"));
            }
            self.messages.insert(sid);
            self.deliveries.push(call);
        }
        for _ in 0..WHATSAPP_PER_KILL {
            let batch = self.batch(random);
            self.deliveries.push(Call::whatsapp_messages(json!(batch)));
        }
        (begin..self.deliveries.len()).collect()
    }

    /// A batch of new messages and of such as other batches have told, or will tell at the same time.
    fn batch(&mut self, random: &mut StdRng) -> Vec<serde_json::Value> {
        let recent = self.batched.len().saturating_sub(8);
        let mut batch: Vec<_> = self.batched[recent..].to_vec();
        batch.shuffle(random);
        batch.truncate(random.random_range(0..3));
        for _ in 0..random.random_range(1..3) {
            let id = format!("wamid.{:020x}", self.messages.len());
            let message = whatsapp_text(&id, order_text(random));
            self.messages.insert(id);
            self.batched.push(message.clone());
            batch.push(message);
        }
        batch.shuffle(random);
        batch
    }

    /// Sends deliveries, several at once, each until it is answered.
    async fn send_all(&self, order: &[usize]) {
        stream::iter(order)
            .for_each_concurrent(SENDERS, |&delivery| async move {
                let reply = self.send(&self.deliveries[delivery]).await;
                self.note(delivery, reply);
            })
            .await;
    }

    async fn send(&self, call: &Call) -> Reply {
        let begun = Instant::now();
        loop {
            let url = self.url.borrow().clone();
            let sent = call.send(&self.client, &url).await;
            match &sent {
                Ok(reply) if (200..300).contains(&reply.status) => return reply.clone(),
                // The killed process's transaction may still hold its locks.
                Ok(reply) if reply.status == 503 => {}
                Ok(reply) => panic!("a delivery was refused: {reply:?}"),
                Err(_killed) => {}
            }
            assert!(begun.elapsed() < PATIENCE, "no answer in time: {sent:?}");
            // As a provider does, only sooner.
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn note(&self, delivery: usize, reply: Reply) {
        self.answered.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().unwrap();
        let first = answers.entry(delivery).or_insert_with(|| reply.clone());
        assert_eq!(
            first.essence(),
            reply.essence(),
            "two answers to one delivery"
        );
    }

    /// What was answered is in the database, whatever happened since.
    fn check(&self, database: &Database) {
        let kept = texts(database, "SELECT order_number AS t FROM orders");
        for reply in self.answers.lock().unwrap().values() {
            for number in order_numbers(reply) {
                assert!(
                    kept.contains(&number),
                    "order {number} was answered and is lost"
                );
            }
        }
    }
}

fn order_text(random: &mut StdRng) -> &'static str {
    const TEXTS: [&str; 3] = [
        "order 2 margherita pizzas and 1 cola",
        "3 falafel, 1 tea",
        "1 fish and chips",
    ];
    TEXTS[random.random_range(0..TEXTS.len())]
}

/// The numbers of all orders that an answer names: each delivery of this test tells nothing but orders.
fn order_numbers(reply: &Reply) -> Vec<String> {
    if reply.content_type.as_deref() == Some("application/json") {
        let answer = reply.json();
        let events = answer["events"].as_array().expect("events");
        let number = |event: &serde_json::Value| event["order_number"].as_str().map(str::to_owned);
        return events
            .iter()
            .map(|event| number(event).expect("a number"))
            .collect();
    }
    let after = reply.body.split("Order ").nth(1).expect("an order");
    vec![after.split(' ').next().expect("its number").to_owned()]
}

fn texts(database: &Database, sql: &str) -> BTreeSet<String> {
    database.texts(sql).into_iter().flatten().collect()
}

/// No order without its record, no record without its order.
fn check_rows(database: &Database, load: &Load) {
    let ordered = texts(database, "SELECT message_id AS t FROM orders");
    assert_eq!(ordered, load.messages, "the messages that made an order");
    let totals = [
        ("orders", load.messages.len()),
        ("ledger_entries", load.messages.len()),
        ("webhook_event", load.messages.len()),
        ("webhook_idempotency", load.deliveries.len()),
    ];
    for (table, expected) in totals {
        let rows = database.count(&format!("SELECT count(*) AS n FROM {table}"));
        assert_eq!(rows, expected as i64, "rows of {table}");
    }
    for (fault, rows) in FAULTS {
        let faults = database.count(&format!("SELECT count(*) AS n FROM {rows}"));
        assert_eq!(faults, 0, "{fault}");
    }
}

const FAULTS: [(&str, &str); 7] = [
    (
        "orders without a ledger entry over their total",
        "orders o WHERE NOT EXISTS (SELECT 1 FROM ledger_entries l
         WHERE l.order_id = o.id AND l.amount_minor = o.total_minor AND l.currency = o.currency)",
    ),
    (
        "orders whose items do not make up their total",
        "orders o WHERE o.total_minor <> coalesce((SELECT sum(i.quantity * i.unit_price_minor)
         FROM order_items i WHERE i.order_id = o.id), 0) OR o.total_minor = 0",
    ),
    (
        "orders without the event that made them",
        "orders o WHERE NOT EXISTS (SELECT 1 FROM webhook_event e
         WHERE e.order_id = o.id AND e.event_id = o.message_id AND e.provider = o.source)",
    ),
    (
        "events that promise an order that does not exist",
        "webhook_event e WHERE e.outcome <> 'order_created'
         OR NOT EXISTS (SELECT 1 FROM orders o WHERE o.id = e.order_id)",
    ),
    (
        "events without the completed record of their delivery",
        "webhook_event e WHERE NOT EXISTS (SELECT 1 FROM webhook_idempotency r
         WHERE r.id = e.delivery_id AND r.status = 'completed')",
    ),
    (
        "records that are not completed with an answer",
        "webhook_idempotency r WHERE r.status <> 'completed'
         OR r.response_status <> 200 OR r.response_body IS NULL",
    ),
    (
        "records without an order, though every delivery told one",
        "webhook_idempotency r WHERE NOT EXISTS (SELECT 1 FROM orders o WHERE o.id = r.order_id)",
    ),
];

/// Whether SQLite's file is sound; PostgreSQL has no such question.
fn check_storage(database: &Database, engine: Engine) {
    if engine == Engine::Sqlite {
        let verdict = texts(
            database,
            "SELECT integrity_check AS t FROM pragma_integrity_check",
        );
        assert_eq!(verdict, BTreeSet::from(["ok".to_owned()]));
        let dangling = "SELECT count(*) AS n FROM pragma_foreign_key_check";
        assert_eq!(database.count(dangling), 0, "rows that point nowhere");
    }
}
