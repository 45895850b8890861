//! What repeats wait for with Redis, and with a Redis that is stopped, frozen or full while they come: a steady 500 a
//! second to a server that keeps nothing in its own memory, so that each asks Redis, or the database where that is away. No
//! request may fail. The waiting is a ratio of one run, and so holds on other machines.
//!
//! `cargo bench --bench redis` with SQLite; with PostgreSQL where `BENCH_DATABASE_URL` names an empty database of one.
//! redis-server must be on PATH.

mod support;

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};
use support::{Server, at, exchange, request, runtime, waits};
use tokio::{net::TcpStream, time::sleep};

const PACE: (u32, u32) = (500, 32);
const DURATION: Duration = Duration::from_secs(15);
/// Until that is broken, and until it works again.
const A_WHILE: Duration = Duration::from_secs(3);

fn main() {
    runtime().block_on(async {
        let mut redis = Redis::start();
        let database = std::env::var("BENCH_DATABASE_URL");
        let database = database.unwrap_or_else(|_| "sqlite://bench.db".to_owned());
        let server = Server::start(&[
            ("DATABASE_URL", &database),
            ("CACHE_BYTES", "0"),
            ("REDIS_URL", &format!("redis://127.0.0.1:{}", redis.port)),
        ]);
        let mut sent: Vec<_> = (0..1000).map(|_| request(true)).collect();
        let mut stream = TcpStream::connect(&server.address)
            .await
            .expect("a connection");
        for request in &sent {
            exchange(&mut stream, request).await;
        }
        let again = move || {
            sent.rotate_left(1);
            sent[0].clone()
        };
        let with = waits(&server.address, PACE, again.clone(), sleep(DURATION))
            .await
            .1;
        show("with Redis", &with, &with);
        for how in ["KILL", "STOP"] {
            let breaking = async {
                sleep(A_WHILE).await;
                redis.signal(how);
                sleep(DURATION).await;
            };
            let without = waits(&server.address, PACE, again.clone(), breaking)
                .await
                .1;
            show(
                &format!("Redis is sent SIG{how} meanwhile"),
                &without,
                &with,
            );
            redis.start_again();
            sleep(A_WHILE).await;
        }
    });
}

fn show(what: &str, waits: &[Duration], with: &[Duration]) {
    let of = |share| (at(waits, share), at(with, share));
    let ((p50, _), (p99, p99_with), (max, _)) = (of(0.5), of(0.99), of(1.0));
    println!(
        "{what}: {} repeats, none failed; p50 {p50:.2?}, p99 {p99:.2?}, max {max:.2?}; p99 against that with Redis: {:.2}",
        waits.len(),
        p99.as_secs_f64() / p99_with.as_secs_f64()
    );
}

/// A Redis that keeps nothing on disk.
struct Redis {
    port: u16,
    process: Child,
}

impl Redis {
    fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let port = free.expect("a free port").port();
        Self {
            port,
            process: Self::spawn(port),
        }
    }

    fn spawn(port: u16) -> Child {
        Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server starts")
    }

    fn signal(&self, name: &str) {
        let kill = Command::new("kill")
            .args([&format!("-{name}"), &self.process.id().to_string()])
            .status();
        assert!(kill.expect("kill").success());
    }

    fn start_again(&mut self) {
        self.process.kill().expect("a process");
        self.process.wait().expect("its end");
        self.process = Self::spawn(self.port);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
