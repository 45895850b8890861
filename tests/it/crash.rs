//! Whatever moment the process is killed at, each message makes one order, and what was answered once stands.

use futures_util::{StreamExt as _, stream};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use std::{collections::BTreeSet, time::Duration};
use tokio::{sync::watch, time::sleep};

use crate::support::{
    database::{Database, Engine, on_both},
    load::{self, Answers, Courier, Deliveries, texts},
    process::{Program, Server},
};

const KILLS: usize = 20;
const TWILIO_PER_KILL: usize = 10;
const WHATSAPP_PER_KILL: usize = 8;
const SENDERS: usize = 8;
/// From an answer to the kill. Often none: then an answer that came before its commit is caught.
const DELAYS_MS: [u64; 6] = [0, 0, 0, 1, 3, 9];

on_both!(killed_at_random_moments_it_still_acts_on_each_message_exactly_once);

async fn killed_at_random_moments_it_still_acts_on_each_message_exactly_once(engine: Engine) {
    let seed = load::seed();
    let mut random = StdRng::seed_from_u64(seed);
    let database = Database::new(engine);
    let program = Program::new(&database);
    program.open_shop().await;
    let mut server = program.serve().await;
    let mut load = Load::new(seed, &server.url);
    for _ in 0..KILLS {
        let fresh = load.add_deliveries();
        // What is new meets the kill; then all that was ever sent comes again.
        let mut first = fresh.clone();
        first.shuffle(&mut random);
        let mut again: Vec<usize> = (0..load.deliveries.calls.len()).collect();
        again.shuffle(&mut random);
        let order: Vec<usize> = first.into_iter().chain(again).collect();
        let killing = Killing {
            after_answers: load.answers.count() + random.random_range(0..fresh.len()),
            delay: Duration::from_millis(DELAYS_MS[random.random_range(0..DELAYS_MS.len())]),
            during_start: random
                .random_bool(0.25)
                .then(|| Duration::from_millis(random.random_range(0..80))),
        };
        let sending = load.send_all(&order);
        let killing = killing.carry_out(&program, &mut server, &load, &database);
        tokio::join!(sending, killing);
    }
    let everything: Vec<usize> = (0..load.deliveries.calls.len()).collect();
    load.send_all(&everything).await;
    load.answers.check_kept(&database);
    load.deliveries.check_rows(&database);
    check_storage(&database, engine);
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
        while load.answers.count() < self.after_answers {
            tokio::task::yield_now().await;
        }
        if !self.delay.is_zero() {
            sleep(self.delay).await;
        }
        server.kill();
        load.answers.check_kept(database);
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
    deliveries: Deliveries,
    answers: Answers,
    courier: Courier,
    url: watch::Sender<String>,
}

impl Load {
    fn new(seed: u64, url: &str) -> Self {
        Self {
            deliveries: Deliveries::new(seed),
            answers: Answers::default(),
            courier: Courier::new(),
            url: watch::Sender::new(url.to_owned()),
        }
    }

    /// Makes new deliveries, and gives their places.
    fn add_deliveries(&mut self) -> Vec<usize> {
        let deliveries = &mut self.deliveries;
        let begin = deliveries.calls.len();
        for _ in 0..TWILIO_PER_KILL {
            deliveries.add_twilio();
        }
        for _ in 0..WHATSAPP_PER_KILL {
            deliveries.add_whatsapp();
        }
        (begin..deliveries.calls.len()).collect()
    }

    /// Sends deliveries, several at once, each until it is answered.
    async fn send_all(&self, order: &[usize]) {
        stream::iter(order)
            .for_each_concurrent(SENDERS, |&delivery| async move {
                let call = &self.deliveries.calls[delivery];
                let reply = self.courier.deliver(call, &self.url).await;
                self.answers.note(delivery, reply);
            })
            .await;
    }
}

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
