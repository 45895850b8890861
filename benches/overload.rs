//! What becomes of orders when twice as many come as the server can do: how many are acknowledged, of how many it does when
//! each waits for the one before; how long they wait; what the others are told, and whether repeats and health are answered
//! meanwhile. The ratio is of one run.
//!
//! `cargo bench --bench overload`; on PostgreSQL with `BENCH_POSTGRES_URL`, whose database it fills.

mod support;

use std::{sync::Arc, time::Duration};
use support::{Server, at, exchange, rate, request, runtime};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until},
};

const CONNECTIONS: u32 = 1_024;
const SPAN: Duration = Duration::from_secs(10);
/// Not looked at: until connections are open and the queue is as long as it gets.
const WARM_UP: Duration = Duration::from_secs(2);
/// One of so many requests is an order that was acknowledged before.
const REPEATS: usize = 20;

fn main() {
    let postgres = std::env::var("BENCH_POSTGRES_URL").ok();
    let postgres = postgres.map(|url| ("PostgreSQL", vec![("DATABASE_URL".to_owned(), url)]));
    println!(
        "database     capacity/s   sent/s   acknowledged/s   of capacity   p50, p99 ms   refused/s   p99 ms   repeats refused   p99 ms   health p99 ms"
    );
    for (name, variables) in [("SQLite", Vec::new())].into_iter().chain(postgres) {
        let variables: Vec<(&str, &str)> = variables
            .iter()
            .map(|(name, value): &(String, String)| (&**name, &**value))
            .chain([("RUST_LOG", "error,hookonce::command::serve=info")])
            .collect();
        let server = Server::start(&variables);
        runtime().block_on(overload(name, &server.address));
    }
}

async fn overload(name: &str, address: &str) {
    let mut done = Vec::new();
    rate(address, "200", 12_800, || {
        done.push(request(true));
        done[done.len() - 1].clone()
    })
    .await;
    let capacity = rate(address, "200", 25_600, || request(true)).await;
    let a_second = capacity * 2.0;
    let each = (a_second * (SPAN + WARM_UP).as_secs_f64() / f64::from(CONNECTIONS)) as usize;
    let every = (SPAN + WARM_UP) / u32::try_from(each).expect("not so many");
    let done = Arc::new(done);
    let mut connections = Vec::new();
    for connection in 0..CONNECTIONS {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("nodelay");
        let requests: Vec<_> = (0..each).map(|_| request(true)).collect();
        connections.push((connection, stream, requests));
    }
    let begun = Instant::now();
    let health = tokio::spawn(probe(address.to_owned(), begun));
    let senders: Vec<_> = connections
        .into_iter()
        .map(|(connection, stream, requests)| {
            let first = begun + every * connection / CONNECTIONS;
            tokio::spawn(pace(stream, requests, done.clone(), (first, begun, every)))
        })
        .collect();
    let mut all = Answers::default();
    for sender in senders {
        all.add(sender.await.expect("every answer is 200 or 503"));
    }
    let seconds = SPAN.as_secs_f64();
    let acknowledged = all.acknowledged.len() as f64 / seconds;
    let health = sorted(health.await.expect("health"));
    let [orders, refused, repeats] = [all.acknowledged, all.refused, all.repeats].map(sorted);
    println!(
        "{name:<12} {capacity:>10.0} {:>8.0} {acknowledged:>16.0} {:>13.2} {:>6.0}, {:<5.0} {:>11.0} {:>8.0} {:>17} {:>8.0} {:>15.0}",
        (orders.len() + refused.len()) as f64 / seconds,
        acknowledged / capacity,
        millis(&orders, 0.5),
        millis(&orders, 0.99),
        refused.len() as f64 / seconds,
        millis(&refused, 0.99),
        all.repeats_refused,
        millis(&repeats, 0.99),
        millis(&health, 0.99),
    );
}

/// How long answers took, by what they were.
#[derive(Default)]
struct Answers {
    acknowledged: Vec<Duration>,
    refused: Vec<Duration>,
    repeats: Vec<Duration>,
    repeats_refused: usize,
}

impl Answers {
    fn add(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
        self.refused.extend(other.refused);
        self.repeats.extend(other.repeats);
        self.repeats_refused += other.repeats_refused;
    }
}

/// Sends requests at a steady pace, or as fast as they are answered where that is slower.
async fn pace(
    mut stream: TcpStream,
    requests: Vec<Vec<u8>>,
    done: Arc<Vec<Vec<u8>>>,
    (first, begun, every): (Instant, Instant, Duration),
) -> Answers {
    let mut answers = Answers::default();
    let mut due = first;
    for (at, request) in requests.into_iter().enumerate() {
        sleep_until(due).await;
        if due > begun + WARM_UP + SPAN {
            break;
        }
        let is_repeat = at % REPEATS == REPEATS - 1;
        let request = match is_repeat {
            true => &done[(at * 7_919) % done.len()],
            false => &request,
        };
        let sent = Instant::now();
        let answer = exchange(&mut stream, request).await;
        let took = sent.elapsed();
        let status = answer.split(' ').nth(1);
        let is_done = status == Some("200");
        assert!(is_done || status == Some("503"), "{answer}");
        assert_eq!(is_done, !answer.contains("retry-after: 1"), "{answer}");
        if sent > begun + WARM_UP {
            match (is_repeat, is_done) {
                (false, true) => answers.acknowledged.push(took),
                (false, false) => answers.refused.push(took),
                (true, true) => answers.repeats.push(took),
                (true, false) => answers.repeats_refused += 1,
            }
        }
        due += every;
    }
    answers
}

/// Asks how the server is, a hundred times a second.
async fn probe(address: String, begun: Instant) -> Vec<Duration> {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let mut took = Vec::new();
    let mut due = begun;
    while due < begun + WARM_UP + SPAN {
        sleep_until(due).await;
        let sent = Instant::now();
        let answer = exchange(
            &mut stream,
            b"GET /health/ready HTTP/1.1\r\nHost: a\r\n\r\n",
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        took.push(sent.elapsed());
        due += Duration::from_millis(10);
    }
    took
}

fn sorted(mut waits: Vec<Duration>) -> Vec<Duration> {
    waits.sort_unstable();
    waits
}

fn millis(sorted: &[Duration], share: f64) -> f64 {
    match sorted.is_empty() {
        true => f64::NAN,
        false => at(sorted, share).as_secs_f64() * 1_000.0,
    }
}
