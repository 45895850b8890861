//! Deliveries that tell nothing but orders, sent until they are answered, and what must be true of them afterwards
//! whatever has happened meanwhile.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use serde_json::{Value, json};
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

use super::{
    database::Database,
    process,
    requests::{Call, Reply, whatsapp_text},
};

/// Repeats a run that failed: its output names the number.
const SEED: &str = "HOOKONCE_TEST_SEED";
/// For one delivery to be answered, restarts included.
const PATIENCE: Duration = Duration::from_secs(60);
/// Before a delivery is sent again. As a provider does, only sooner.
const PAUSE: Duration = Duration::from_millis(10);

/// The number that a run is made of, as its output names it.
pub fn seed() -> u64 {
    let seed = match std::env::var(SEED) {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => rand::random(),
    };
    println!("{SEED}={seed} repeats this run");
    seed
}

/// All that is sent.
pub struct Deliveries {
    pub calls: Vec<Call>,
    /// The ids of all messages in them.
    pub messages: BTreeSet<String>,
    /// Those that came through Meta, of which batches are made.
    batched: Vec<Value>,
    random: StdRng,
}

impl Deliveries {
    pub fn new(seed: u64) -> Self {
        Self {
            calls: Vec::new(),
            messages: BTreeSet::new(),
            batched: Vec::new(),
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// Makes a new one of either provider, and gives its place.
    pub fn add(&mut self) -> usize {
        match self.random.random_bool(0.5) {
            true => self.add_twilio(),
            false => self.add_whatsapp(),
        }
    }

    /// Makes a new text through Twilio, some with a key in a header, and gives its place.
    pub fn add_twilio(&mut self) -> usize {
        let sid = format!("SM{:032x}", self.messages.len());
        let mut call = Call::twilio_text(&sid, self.order_text());
        if self.random.random_bool(0.3) {
            call = call.key(&format!("key-of-{sid}"));
        }
        self.messages.insert(sid);
        self.push(call)
    }

    /// Makes a new batch of Meta's, and gives its place.
    pub fn add_whatsapp(&mut self) -> usize {
        let batch = self.batch();
        self.push(Call::whatsapp_messages(json!(batch)))
    }

    /// A batch of new messages and of such as other batches have told, or will tell at the same time.
    fn batch(&mut self) -> Vec<Value> {
        let recent = self.batched.len().saturating_sub(8);
        let mut batch: Vec<_> = self.batched[recent..].to_vec();
        batch.shuffle(&mut self.random);
        batch.truncate(self.random.random_range(0..3));
        for _ in 0..self.random.random_range(1..3) {
            let id = format!("wamid.{:020x}", self.messages.len());
            let message = whatsapp_text(&id, self.order_text());
            self.messages.insert(id);
            self.batched.push(message.clone());
            batch.push(message);
        }
        batch.shuffle(&mut self.random);
        batch
    }

    fn push(&mut self, call: Call) -> usize {
        self.calls.push(call);
        self.calls.len() - 1
    }

    fn order_text(&mut self) -> &'static str {
        const TEXTS: [&str; 3] = [
            "order 2 margherita pizzas and 1 cola",
            "3 falafel, 1 tea",
            "1 fish and chips",
        ];
        TEXTS[self.random.random_range(0..TEXTS.len())]
    }

    /// Where all were answered: no order without its record, no record without its order.
    pub fn check_rows(&self, database: &Database) {
        let ordered = texts(database, "SELECT message_id AS t FROM orders");
        assert_eq!(ordered, self.messages, "the messages that made an order");
        let totals = [
            ("orders", self.messages.len()),
            ("ledger_entries", self.messages.len()),
            ("webhook_event", self.messages.len()),
            ("webhook_idempotency", self.calls.len()),
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
}

/// Sends deliveries until they are answered, and remembers how that went.
pub struct Courier {
    client: reqwest::Client,
    /// How often an instance asked to come again.
    pub put_off: AtomicUsize,
    /// How often there was no answer at all.
    pub unanswered: AtomicUsize,
    slowest: Mutex<(Duration, String)>,
}

impl Courier {
    pub fn new() -> Self {
        Self {
            client: process::client(),
            put_off: AtomicUsize::new(0),
            unanswered: AtomicUsize::new(0),
            slowest: Mutex::default(),
        }
    }

    /// Sends a delivery until it is answered, wherever the instance is by then.
    pub async fn deliver(&self, call: &Call, url: &watch::Sender<String>) -> Reply {
        let begun = Instant::now();
        loop {
            // What is borrowed cannot be changed meanwhile.
            let url = url.borrow().clone();
            let sent = self.try_once(call, &url).await;
            match &sent {
                Ok(reply) if reply.status == 200 => return reply.clone(),
                // The killed process's transaction may still hold its locks, or the database be away.
                Ok(reply) if reply.status == 503 => {
                    assert!(reply.retry_after.is_some(), "no Retry-After: {reply:?}");
                    self.put_off.fetch_add(1, Ordering::SeqCst);
                }
                Ok(reply) => panic!("a delivery was refused: {reply:?}"),
                Err(_killed) => {
                    self.unanswered.fetch_add(1, Ordering::SeqCst);
                }
            }
            assert!(begun.elapsed() < PATIENCE, "no answer in time: {sent:?}");
            sleep(PAUSE).await;
        }
    }

    async fn try_once(&self, call: &Call, url: &str) -> reqwest::Result<Reply> {
        let begun = Instant::now();
        let sent = call.send(&self.client, url).await;
        let took = begun.elapsed();
        let mut slowest = self.slowest.lock().unwrap();
        if took > slowest.0 {
            *slowest = (took, format!("{sent:?}"));
        }
        sent
    }

    /// How long the slowest answer took.
    pub fn slowest(&self) -> Duration {
        self.slowest.lock().unwrap().0
    }

    /// Nobody was kept waiting for longer.
    pub fn check_slowest(&self, bound: Duration) {
        let (took, sent) = &*self.slowest.lock().unwrap();
        assert!(*took <= bound, "it took {took:?}: {sent}");
    }
}

/// What was answered, by the place of the delivery.
#[derive(Default)]
pub struct Answers {
    first: Mutex<HashMap<usize, Reply>>,
    /// Whose answer was called new.
    new: Mutex<BTreeSet<usize>>,
    count: AtomicUsize,
}

impl Answers {
    /// Whoever answers a delivery says the same, and only one says that it is new.
    pub fn note(&self, delivery: usize, reply: Reply) {
        self.count.fetch_add(1, Ordering::SeqCst);
        if reply.replayed.as_deref() == Some("false") {
            let is_first = self.new.lock().unwrap().insert(delivery);
            assert!(is_first, "two answers were called new: {reply:?}");
        }
        let mut first = self.first.lock().unwrap();
        let first = first.entry(delivery).or_insert_with(|| reply.clone());
        assert_eq!(
            first.essence(),
            reply.essence(),
            "two answers to one delivery"
        );
    }

    /// How many there were, those to the same delivery included.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// How many deliveries got an answer that was called new.
    pub fn count_new(&self) -> usize {
        self.new.lock().unwrap().len()
    }

    /// What was answered is in the database, whatever happened since.
    pub fn check_kept(&self, database: &Database) {
        let kept = texts(database, "SELECT order_number AS t FROM orders");
        for reply in self.first.lock().unwrap().values() {
            for number in order_numbers(reply) {
                assert!(
                    kept.contains(&number),
                    "order {number} was answered and is lost"
                );
            }
        }
    }
}

/// The numbers of all orders that an answer names: each of these deliveries tells nothing but orders.
fn order_numbers(reply: &Reply) -> Vec<String> {
    if reply.content_type.as_deref() == Some("application/json") {
        let answer = reply.json();
        let events = answer["events"].as_array().expect("events");
        let number = |event: &Value| event["order_number"].as_str().map(str::to_owned);
        return events
            .iter()
            .map(|event| number(event).expect("a number"))
            .collect();
    }
    let after = reply.body.split("Order ").nth(1).expect("an order");
    vec![after.split(' ').next().expect("its number").to_owned()]
}

pub fn texts(database: &Database, sql: &str) -> BTreeSet<String> {
    database.texts(sql).into_iter().flatten().collect()
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
