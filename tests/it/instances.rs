//! Three instances on one PostgreSQL and one Redis, each of which gets every delivery: whatever is killed, restarted,
//! frozen or forgotten meanwhile, each message makes one order, and all instances say the same.

use futures_util::{StreamExt as _, future::join_all, stream};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use std::{
    collections::BTreeMap,
    sync::{Mutex, atomic::Ordering},
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::support::{
    database::Database,
    load::{self, Answers, Courier, Deliveries},
    process::{self, Program, Server},
    requests::Call,
    servers::{PostgresServer, RedisServer},
    wait::until,
};

/// How long the chaos lasts.
const SECONDS: &str = "HOOKONCE_CHAOS_SECONDS";
const USUAL_SECONDS: u64 = 20;
const INSTANCES: usize = 3;
const SENDERS: usize = 8;
/// `REQUEST_TIMEOUT` of these tests.
const TIMEOUT: Duration = Duration::from_secs(5);
/// For what waits for a machine that is busy with other things.
const SLACK: Duration = Duration::from_secs(2);

#[actix_web::test]
async fn whatever_fails_at_any_moment_three_instances_act_on_each_message_once_and_say_the_same() {
    let seed = load::seed();
    let mut stage = Stage::open(seed).await;
    let end = Instant::now() + duration();
    let Stage {
        postgres,
        redis,
        program,
        instances,
        load,
    } = &mut stage;
    let (load, random) = (&*load, |n| StdRng::seed_from_u64(seed.wrapping_add(n)));
    tokio::join!(
        load.send_until(end, random(1)),
        disturb_instances(program, instances, load, random(2), end),
        disturb_servers(postgres, redis, load, random(3), end),
    );
    stage.load.tally.note("the end of the chaos");
    stage.are_ready().await;
    stage.load.send_all_again(random(4)).await;
    stage.check();
}

fn duration() -> Duration {
    let seconds = match std::env::var(SECONDS) {
        Ok(text) => text.parse().expect("a number of seconds"),
        Err(_) => USUAL_SECONDS,
    };
    Duration::from_secs(seconds)
}

#[actix_web::test]
async fn of_three_instances_that_get_a_delivery_at_once_one_does_it_and_all_say_the_same() {
    const DELIVERIES: usize = 40;
    let stage = Stage::open(load::seed()).await;
    // Batches overlap with those before: each has something new, unless another was faster.
    for _ in 0..DELIVERIES {
        let delivery = stage.load.add(Deliveries::add);
        stage.load.send(delivery).await;
    }
    let texts: Vec<_> = (0..DELIVERIES)
        .map(|_| stage.load.add(Deliveries::add_twilio))
        .collect();
    join_all(texts.iter().map(|&text| stage.load.send(text))).await;
    let answers = &stage.load.answers;
    assert_eq!(answers.count(), 2 * DELIVERIES * INSTANCES);
    assert_eq!(answers.count_new(), 2 * DELIVERIES);
    assert_eq!(stage.load.courier.put_off.load(Ordering::SeqCst), 0);
    assert_eq!(stage.load.courier.unanswered.load(Ordering::SeqCst), 0);
    stage.check();
}

/// All that takes part. What is dropped first needs what is dropped later.
struct Stage {
    instances: Vec<Server>,
    program: Program,
    load: Load,
    redis: RedisServer,
    postgres: PostgresServer,
}

impl Stage {
    async fn open(seed: u64) -> Self {
        let (postgres, redis) = tokio::join!(PostgresServer::start(), RedisServer::start());
        let database = Database::on(&postgres);
        let program = Program::new(&database)
            .set("REDIS_URL", &redis.url())
            .set("REQUEST_TIMEOUT", &format!("{}s", TIMEOUT.as_secs()));
        program.open_shop().await;
        let instances = join_all((0..INSTANCES).map(|_| program.serve())).await;
        Self {
            load: Load::new(seed, database, &instances),
            instances,
            program,
            redis,
            postgres,
        }
    }

    async fn are_ready(&self) {
        let client = process::client();
        for url in &self.load.urls {
            let url = format!("{}/health/ready", *url.borrow());
            until("an instance is ready", async || {
                let ready = client.get(&url).send().await.expect("an answer");
                ready.status() == 200
            })
            .await;
        }
    }

    fn check(&self) {
        self.load.print_summary();
        self.load.courier.check_slowest(TIMEOUT + SLACK);
        self.load.answers.check_kept(&self.load.database);
        let deliveries = self.load.deliveries.lock().unwrap();
        deliveries.check_rows(&self.load.database);
    }
}

/// All that is sent, to whom, and what was answered.
struct Load {
    deliveries: Mutex<Deliveries>,
    answers: Answers,
    courier: Courier,
    /// Where each instance is.
    urls: Vec<watch::Sender<String>>,
    tally: Tally,
    database: Database,
}

impl Load {
    fn new(seed: u64, database: Database, instances: &[Server]) -> Self {
        let url = |server: &Server| watch::Sender::new(server.url.clone());
        Self {
            deliveries: Mutex::new(Deliveries::new(seed)),
            answers: Answers::default(),
            courier: Courier::new(),
            urls: instances.iter().map(url).collect(),
            tally: Tally::new(),
            database,
        }
    }

    fn add(&self, what: impl FnOnce(&mut Deliveries) -> usize) -> usize {
        what(&mut self.deliveries.lock().unwrap())
    }

    fn call(&self, delivery: usize) -> Call {
        self.deliveries.lock().unwrap().calls[delivery].clone()
    }

    fn count(&self) -> usize {
        self.deliveries.lock().unwrap().calls.len()
    }

    /// Sends a delivery to all instances at once, to each until it is answered.
    async fn send(&self, delivery: usize) {
        let call = &self.call(delivery);
        let sending = self.urls.iter().map(async |url| {
            let reply = self.courier.deliver(call, url).await;
            self.answers.note(delivery, reply);
        });
        join_all(sending).await;
    }

    /// Sends new deliveries, and now and then one that was sent before.
    async fn send_until(&self, end: Instant, mut random: StdRng) {
        let seeds: [u64; SENDERS] = random.random();
        let senders = seeds.map(async |seed| {
            let mut random = StdRng::seed_from_u64(seed);
            while Instant::now() < end {
                let delivery = match random.random_bool(0.2) && self.count() > 0 {
                    true => random.random_range(0..self.count()),
                    false => self.add(Deliveries::add),
                };
                self.send(delivery).await;
            }
        });
        join_all(senders).await;
    }

    /// Sends all deliveries once more, each to any of the instances.
    async fn send_all_again(&self, mut random: StdRng) {
        let chosen =
            (0..self.count()).map(|delivery| (delivery, random.random_range(0..INSTANCES)));
        let chosen: Vec<_> = chosen.collect();
        stream::iter(chosen)
            .for_each_concurrent(SENDERS, async |(delivery, instance)| {
                let call = self.call(delivery);
                let reply = self.courier.deliver(&call, &self.urls[instance]).await;
                let is_replay = reply.replayed.as_deref() == Some("true");
                assert!(is_replay, "what was answered was done again: {reply:?}");
                self.answers.note(delivery, reply);
            })
            .await;
    }

    fn print_summary(&self) {
        println!(
            "{} deliveries of {} messages, {} answers ({} called new), \
             {} times 503, {} times no answer, the slowest after {:?}; {}",
            self.count(),
            self.deliveries.lock().unwrap().messages.len(),
            self.answers.count(),
            self.answers.count_new(),
            self.courier.put_off.load(Ordering::SeqCst),
            self.courier.unanswered.load(Ordering::SeqCst),
            self.courier.slowest(),
            self.tally.summary(),
        );
    }
}

/// How often what was done.
struct Tally {
    begun: Instant,
    counts: Mutex<BTreeMap<&'static str, usize>>,
}

impl Tally {
    fn new() -> Self {
        Self {
            begun: Instant::now(),
            counts: Mutex::default(),
        }
    }

    /// Shown where the test fails: then it matters what happened when.
    fn note(&self, what: &'static str) {
        println!("{:.3} s: {what}", self.begun.elapsed().as_secs_f64());
        *self.counts.lock().unwrap().entry(what).or_default() += 1;
    }

    fn summary(&self) -> String {
        let counts = self.counts.lock().unwrap();
        let counts = counts
            .iter()
            .map(|(what, count)| format!("{what}: {count}"));
        counts.collect::<Vec<_>>().join(", ")
    }
}

/// Ends instances, one or several at once, and starts them again; leaves all of them running.
async fn disturb_instances(
    program: &Program,
    instances: &mut [Server],
    load: &Load,
    mut random: StdRng,
    end: Instant,
) {
    while pause(&mut random, end).await {
        let mut victims: Vec<usize> = (0..INSTANCES).collect();
        victims.shuffle(&mut random);
        victims.truncate([1, 1, 1, 2, INSTANCES][random.random_range(0..5)]);
        for &victim in &victims {
            match random.random_bool(0.6) {
                true => {
                    load.tally.note("kills");
                    instances[victim].kill();
                }
                false => {
                    load.tally.note("stops");
                    stop(&mut instances[victim]).await;
                }
            }
        }
        if random.random_bool(0.25) {
            load.tally.note("kills during the start");
            let mut short_lived = program.spawn();
            sleep(Duration::from_millis(random.random_range(0..80))).await;
            short_lived.kill();
        }
        let started = join_all(victims.iter().map(|_| start(program, load))).await;
        for (victim, instance) in victims.into_iter().zip(started) {
            load.urls[victim].send_replace(instance.url.clone());
            instances[victim] = instance;
        }
    }
}

/// Whatever it waits for, it ends in time and well.
async fn stop(instance: &mut Server) {
    instance.signal("TERM");
    let status = instance.exit(TIMEOUT + SLACK).await;
    assert!(status.success(), "{status}:\n{}", instance.log());
}

/// Starts an instance as what supervises it does: again, where it ended because the database is away.
async fn start(program: &Program, load: &Load) -> Server {
    loop {
        load.tally.note("starts");
        let mut instance = program.spawn();
        if instance.listens_or_ends().await {
            return instance;
        }
        load.tally.note("starts without a database");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Restarts PostgreSQL and Redis, and what else may happen to them; leaves both as they should be.
async fn disturb_servers(
    postgres: &mut PostgresServer,
    redis: &mut RedisServer,
    load: &Load,
    mut random: StdRng,
    end: Instant,
) {
    while pause(&mut random, end).await {
        let away = Duration::from_millis(random.random_range(0..1_000));
        match random.random_range(0..6) {
            how @ (0 | 1) => {
                if how == 0 {
                    load.tally.note("restarts of PostgreSQL");
                    postgres.stop_fast().await;
                } else {
                    load.tally.note("crashes of PostgreSQL");
                    postgres.stop_immediate().await;
                }
                sleep(away).await;
                postgres.start_again().await;
            }
            2 => {
                load.tally
                    .note("terminations of all connections, again and again");
                for _ in 0..10 {
                    postgres.terminate_connections();
                    sleep(away / 30).await;
                }
            }
            3 => {
                load.tally.note("restarts of Redis");
                redis.stop().await;
                sleep(away).await;
                redis.start_again().await;
            }
            4 => {
                load.tally.note("freezes of Redis");
                redis.freeze();
                sleep(2 * away).await;
                redis.thaw();
            }
            _ => {
                load.tally.note("flushes of Redis");
                let flushed = redis.command(&["FLUSHALL"]);
                assert_eq!(flushed.as_deref(), Some("OK"));
            }
        }
    }
}

/// Waits for the next moment. False where it is over.
async fn pause(random: &mut StdRng, end: Instant) -> bool {
    sleep(Duration::from_millis(random.random_range(200..1_500))).await;
    Instant::now() < end
}
