//! How many expired records a second the real server deletes on SQLite, and what signed orders that come meanwhile have
//! to wait for it: 1,000,000 of 1,200,000 records expired, 200 orders a second. The waiting is a ratio of one run, and so
//! holds on other machines; the rate is this machine's.
//!
//! `cargo bench --bench cleanup`; `-- 100000` for fewer records.

use diesel::{Connection as _, SqliteConnection, connection::SimpleConnection as _};
use hookonce::{
    provider::twilio::{form::Form, signature},
    secret::Secret,
};
use std::{
    fs::File,
    path::Path,
    process::{Child, Command},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

const CONNECTIONS: u32 = 20;
const ORDERS_A_SECOND: u32 = 200;
const BEFORE: Duration = Duration::from_secs(20);
const TOKEN: &str = "bench-token";
const PUBLIC_URL: &str = "https://hooks.example.com";

fn main() {
    let expired = std::env::args().find_map(|argument| argument.parse().ok());
    let expired: u64 = expired.unwrap_or(1_000_000);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let alone = Server::start(expired);
        let rate = alone.clean_up(expired).await;
        println!("alone: {rate:.0} records/s");
        drop(alone);
        let busy = Server::start(expired);
        let before = waits(&busy.address, sleep(BEFORE)).await.1;
        let (rate, during) = waits(&busy.address, busy.clean_up(expired)).await;
        println!("with {ORDERS_A_SECOND} orders a second: {rate:.0} records/s");
        for (name, share) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)] {
            let (before, during) = (at(&before, share), at(&during, share));
            println!(
                "{name}: {before:>8.2?} before, {during:>8.2?} during, ratio {:.2}",
                during.as_secs_f64() / before.as_secs_f64()
            );
        }
    });
}

/// Sends orders at a steady pace while `work` goes on. Gives its outcome, and what each order waited for its answer from
/// the moment at which it was due, sorted.
async fn waits<T>(address: &str, work: impl Future<Output = T>) -> (T, Vec<Duration>) {
    let (end, ended) = watch::channel(());
    let begun = Instant::now();
    let every = Duration::from_secs(1) * CONNECTIONS / ORDERS_A_SECOND;
    let mut senders = Vec::new();
    for connection in 0..CONNECTIONS {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("nodelay");
        let first = begun + every * connection / CONNECTIONS;
        senders.push(tokio::spawn(send(stream, first, every, ended.clone())));
    }
    let outcome = work.await;
    drop(end);
    let mut waits = Vec::new();
    for sender in senders {
        waits.extend(sender.await.expect("every answer is 200"));
    }
    waits.sort_unstable();
    (outcome, waits)
}

async fn send(
    mut stream: TcpStream,
    first: Instant,
    every: Duration,
    end: watch::Receiver<()>,
) -> Vec<Duration> {
    let mut waits = Vec::new();
    let mut due = first;
    while end.has_changed().is_ok() {
        sleep_until(due).await;
        let answer = exchange(&mut stream, &order()).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        waits.push(due.elapsed());
        due += every;
    }
    waits
}

fn at(sorted: &[Duration], share: f64) -> Duration {
    let last = sorted.len() - 1;
    sorted[(last as f64 * share).round() as usize]
}

async fn exchange(stream: &mut TcpStream, request: &[u8]) -> String {
    stream.write_all(request).await.expect("sent");
    let (mut answer, mut buffer) = (Vec::new(), [0; 16 * 1024]);
    loop {
        let read = stream.read(&mut buffer).await.expect("answered");
        assert!(read > 0, "the server hung up");
        answer.extend_from_slice(&buffer[..read]);
        if let Some(answer) = whole(&answer) {
            return answer;
        }
    }
}

fn whole(answer: &[u8]) -> Option<String> {
    let answer = String::from_utf8_lossy(answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let head = head.to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
        .unwrap_or(0);
    (body.len() >= length).then(|| answer.clone().into_owned())
}

/// A Twilio message that orders two products, with an id of its own.
fn order() -> Vec<u8> {
    let id = uuid::Uuid::new_v4().simple();
    let body = format!(
        "SmsMessageSid=SM{id}&NumMedia=0&ProfileName=Ana&MessageType=text&SmsSid=SM{id}&WaId=14155550100\
         &SmsStatus=received&Body=2+pizzas+and+1+cola&To=whatsapp%3A%2B14155238886&NumSegments=1\
         &ReferralNumMedia=0&MessageSid=SM{id}&AccountSid=AC{id}&From=whatsapp%3A%2B14155550100&ApiVersion=2010-04-01"
    );
    let form = Form::parse(body.as_bytes()).expect("a form");
    let url = format!("{PUBLIC_URL}/webhooks/twilio");
    let signature = signature::sign_form(&Secret::new(TOKEN), &url, &form);
    format!(
        "POST /webhooks/twilio HTTP/1.1\r\nHost: hooks.example.com\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         X-Twilio-Signature: {signature}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The real program on a database of its own.
struct Server {
    process: Child,
    address: String,
    token: String,
    _folder: tempfile::TempDir,
}

impl Server {
    /// With as many expired records as told, and a fifth as many that live.
    fn start(expired: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        open_shop(folder.path());
        fill(&folder.path().join("bench.db"), expired, expired / 5);
        let token = output(
            folder.path(),
            &["token", "create", "--name", "b", "--scope", "admin"],
        );
        let log = folder.path().join("log");
        let process = program(folder.path())
            .stderr(File::create(&log).expect("a log"))
            .spawn()
            .expect("the server starts");
        let address = loop {
            std::thread::sleep(Duration::from_millis(20));
            let text = std::fs::read_to_string(&log).expect("the log");
            if let Some((_, rest)) = text.split_once("listening on http://") {
                break rest.lines().next().unwrap_or_default().to_owned();
            }
        };
        Self {
            process,
            address,
            token: token.trim().to_owned(),
            _folder: folder,
        }
    }

    /// Has it clean up, and gives the records deleted a second, the space given back included.
    async fn clean_up(&self, expired: u64) -> f64 {
        let mut stream = TcpStream::connect(&self.address).await.expect("connected");
        let request = format!(
            "POST /api/v1/admin/cleanup HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Length: 0\r\n\r\n",
            self.token
        );
        let answer = exchange(&mut stream, request.as_bytes()).await;
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        let report: serde_json::Value = serde_json::from_str(body).expect("a report");
        let report = &report["data"];
        assert_eq!(report["deleted_records"], expired, "{body}");
        assert_eq!(report["remaining"], 0, "{body}");
        let took = report["duration_ms"].as_u64().expect("a duration");
        expired as f64 * 1000.0 / took as f64
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hookonce"));
    command
        .current_dir(folder)
        .env("BIND", "127.0.0.1:0")
        .env("CLEANUP_ON_START", "false")
        // Not in this run.
        .env("CLEANUP_SCHEDULE", "0 0 1 1 *")
        .env("DATABASE_URL", "sqlite://bench.db")
        .env("PUBLIC_BASE_URL", PUBLIC_URL)
        .env("RATE_LIMIT", "off")
        .env("TWILIO_AUTH_TOKEN", TOKEN);
    command
}

fn output(folder: &Path, args: &[&str]) -> String {
    let output = program(folder).args(args).output().expect("it runs");
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn open_shop(folder: &Path) {
    let mut args = vec!["retailer", "add", "--name", "Bench"];
    args.extend(["--phone", "+14155238886", "--currency", "USD"]);
    let retailer: serde_json::Value =
        serde_json::from_str(&output(folder, &args)).expect("its JSON");
    let catalogue = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/catalogue.csv");
    let id = retailer["id"].as_str().expect("its id");
    output(folder, &["catalog", "import", catalogue, "--retailer", id]);
}

/// Records as Twilio's messages leave them, in the order of their time and with keys in none.
fn fill(path: &Path, expired: u64, live: u64) {
    let url = path.to_str().expect("a path");
    let mut conn = SqliteConnection::establish(url).expect("the database opens");
    let body = "x".repeat(500);
    let all = expired + live;
    conn.batch_execute(&format!(
        "PRAGMA synchronous = OFF; PRAGMA cache_size = -500000;
         BEGIN;
         WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {all})
         INSERT INTO webhook_idempotency (id, scope, idempotency_key, webhook_type, method, path, fingerprint, status,
             request_body, response_status, response_content_type, response_body, response_encoding, owner_token,
             lease_expires_at, created_at, last_accessed_at, expires_at)
         SELECT printf('%08x-0000-7000-8000-%s', i, lower(hex(randomblob(6)))), 'webhook:twilio',
             'SM' || lower(hex(randomblob(16))), 'twilio', 'POST', '/webhooks/twilio', lower(hex(randomblob(32))),
             'completed', '{{\"body\":\"{body}\"}}', 200, 'text/xml',
             '\"<?xml version=\\\"1.0\\\"?><Response><Message>Order 7K3M-Q9TX received.</Message></Response>\"', 'text',
             printf('%08x-0000-4000-8000-%s', i, lower(hex(randomblob(6)))), at, at, at, at
         FROM (SELECT i, CASE WHEN i < {expired} THEN '2026-01-01T' ELSE '2126-01-01T' END
             || printf('%02d:%02d:%02d.%06dZ', i / 50000 % 24, i / 50000 / 24, i / 1000 % 50, i % 1000 * 1000) AS at FROM n);
         COMMIT;
         PRAGMA wal_checkpoint(TRUNCATE);"
    ))
    .expect("records");
}
