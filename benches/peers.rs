//! How many signed orders a second hookonce makes durable on SQLite and on PostgreSQL, beside what a shop would write itself
//! with Express and with FastAPI (`benches/peers/`), and beside pgbench with the statements of one order. All are loaded the
//! same way, in turn, in one run; what counts are the ratios.
//!
//! `scripts/bench-peers` installs what they need and starts it.

mod support;

use diesel::connection::SimpleConnection as _;
use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
};
use support::{
    CONNECTIONS, PUBLIC_URL, Server, TOKEN, at, load, median,
    postgres::{Database, script},
    request, runtime,
};

const ROUNDS: usize = 5;
/// How many orders each gets in a round: what the fastest does in two seconds or so would keep the slowest busy for half a
/// minute.
const ORDERS: usize = 6_400;
const SCHEMA: &str = include_str!("peers/schema.sql");

fn main() {
    let folder = std::env::var("BENCH_PEERS").expect("start this with scripts/bench-peers");
    let databases = [Database::new(), Database::new(), Database::new()];
    let [ours, express, fastapi] = &databases;
    let on_sqlite = Server::start(&[]);
    let on_postgres = Server::start(&[("DATABASE_URL", &ours.url)]);
    let express = Peer::express(Path::new(&folder), express);
    let fastapi = Peer::fastapi(Path::new(&folder), fastapi);
    print_settings(ours, Path::new(&folder));
    let runtime = runtime();
    let targets = [
        ("hookonce, SQLite", on_sqlite.address.clone()),
        ("hookonce, PostgreSQL", on_postgres.address.clone()),
        ("Express, PostgreSQL", express.address.clone()),
        ("FastAPI, PostgreSQL", fastapi.address.clone()),
    ];
    let mut pgbench_script = None;
    let mut rates: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut waits: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for round in 0..=ROUNDS {
        for (name, address) in &targets {
            runtime.block_on(check_repeats(address));
            let (rate, all) = runtime.block_on(load(address, "200", ORDERS, || request(true)));
            // The first round warms up.
            if round > 0 {
                rates.entry(name).or_default().push(rate);
                let slow = at(&all, 0.99).as_secs_f64() * 1_000.0;
                waits.entry(name).or_default().push(slow);
            }
        }
        let script = pgbench_script.get_or_insert_with(|| script(&mut ours.connect()));
        let rate = ours.pgbench(script);
        if round > 0 {
            rates.entry("pgbench").or_default().push(rate);
        }
    }
    print_table(&rates, &waits);
}

/// That a repeat gets the answer of the first, byte for byte, whoever is asked: they do the same work.
async fn check_repeats(address: &str) {
    let mut stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("a connection");
    let order = request(true);
    let body = |answer: String| answer.split("\r\n\r\n").nth(1).unwrap_or("").to_owned();
    let first = body(support::exchange(&mut stream, &order).await);
    let second = body(support::exchange(&mut stream, &order).await);
    assert!(first.contains("<Message>"), "{first}");
    assert_eq!(first, second);
    let refused = support::exchange(&mut stream, &request(false)).await;
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
}

fn print_table(rates: &BTreeMap<&str, Vec<f64>>, waits: &BTreeMap<&str, Vec<f64>>) {
    let of = |name: &str| median(rates[name].clone());
    println!("\n| | orders/s | p99 ms | of Express | of FastAPI | of pgbench |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for name in [
        "hookonce, SQLite",
        "hookonce, PostgreSQL",
        "pgbench",
        "Express, PostgreSQL",
        "FastAPI, PostgreSQL",
    ] {
        let wait = waits
            .get(name)
            .map_or(String::new(), |all| format!("{:.0}", median(all.clone())));
        let ratios = ["Express, PostgreSQL", "FastAPI, PostgreSQL", "pgbench"]
            .map(|other| format!("{:.2}", of(name) / of(other)));
        println!(
            "| {name} | {:.0} | {wait} | {} |",
            of(name),
            ratios.join(" | ")
        );
    }
    println!(
        "\nMedians of {ROUNDS} rounds of {ORDERS} orders, {CONNECTIONS} connections, the load beside on the same cores."
    );
}

/// What the figures are of.
fn print_settings(database: &Database, folder: &Path) {
    let said = |program: &mut Command| {
        let output = program.output().expect("it says its version");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("hookonce {}, {cores} cores", env!("CARGO_PKG_VERSION"));
    println!("Node.js {}", said(Command::new("node").arg("--version")));
    let package = |name: &str| {
        let path = folder
            .join("express/node_modules")
            .join(name)
            .join("package.json");
        let text = std::fs::read_to_string(path).expect("an installed package");
        let package: serde_json::Value = serde_json::from_str(&text).expect("its description");
        format!("{name} {}", package["version"].as_str().unwrap_or("?"))
    };
    println!("{}", ["express", "pg", "twilio"].map(package).join(", "));
    let python = folder.join("fastapi/bin/python");
    println!("{}", said(Command::new(&python).arg("--version")));
    let wanted = ["fastapi", "uvicorn", "uvloop", "asyncpg", "twilio"];
    let listed = said(Command::new(&python).args(["-m", "pip", "freeze"]));
    let versions = listed.lines().filter(|line| {
        line.split_once("==")
            .is_some_and(|(name, _)| wanted.contains(&name))
    });
    println!("{}", versions.collect::<Vec<_>>().join(", "));
    println!("{}", database.settings());
}

/// A receiver of another make.
struct Peer {
    process: Child,
    address: String,
}

impl Peer {
    fn express(folder: &Path, database: &Database) -> Self {
        let mut command = Command::new("node");
        command
            .arg("server.js")
            .current_dir(folder.join("express"))
            .env("NODE_ENV", "production");
        Self::start(command, database, "ready", 1)
    }

    fn fastapi(folder: &Path, database: &Database) -> Self {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let mut command = Command::new(folder.join("fastapi/bin/uvicorn"));
        command
            .arg("server:app")
            .args([
                "--app-dir",
                concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/fastapi"),
            ])
            .args(["--no-access-log", "--host", "127.0.0.1", "--workers"])
            .arg(workers.to_string())
            .env("WORKERS", workers.to_string());
        Self::start(command, database, "Application startup complete", workers)
    }

    /// Starts it on a free port, and waits until it has said `ready` so often.
    fn start(mut command: Command, database: &Database, ready: &str, times: usize) -> Self {
        database.connect().batch_execute(SCHEMA).expect("tables");
        let port = {
            let free = TcpListener::bind("127.0.0.1:0").expect("a port");
            free.local_addr().expect("its address").port()
        };
        if command.get_program().to_string_lossy().ends_with("uvicorn") {
            command.arg("--port").arg(port.to_string());
        }
        let mut process = command
            .env("PORT", port.to_string())
            .env("DATABASE_URL", &database.url)
            .env("PUBLIC_URL", PUBLIC_URL)
            .env("TWILIO_AUTH_TOKEN", TOKEN)
            .env("CONNECTIONS", CONNECTIONS.to_string())
            .env(
                "CATALOGUE",
                concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/catalogue.csv"),
            )
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let stdout = BufReader::new(process.stdout.take().expect("its output")).lines();
        let stderr = BufReader::new(process.stderr.take().expect("its output")).lines();
        let (told, heard) = std::sync::mpsc::channel();
        let tell = told.clone();
        std::thread::spawn(move || {
            stdout
                .map_while(Result::ok)
                .for_each(|line| drop(told.send(line)))
        });
        std::thread::spawn(move || {
            stderr
                .map_while(Result::ok)
                .for_each(|line| drop(tell.send(line)))
        });
        let mut seen = 0;
        while seen < times {
            let line = heard
                .recv_timeout(std::time::Duration::from_secs(60))
                .expect("it says that it is ready");
            seen += usize::from(line.contains(ready));
        }
        Self {
            process,
            address: format!("127.0.0.1:{port}"),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // As a service manager does: both stop their workers then.
        let id = self.process.id().to_string();
        let _ = Command::new("kill").arg(id).status();
        let _ = self.process.wait();
    }
}
