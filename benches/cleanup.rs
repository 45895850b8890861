//! How many expired records a second the real server deletes on SQLite, and what signed orders that come meanwhile have
//! to wait for it: 1,000,000 of 1,200,000 records expired, 200 orders a second. The waiting is a ratio of one run, and so
//! holds on other machines; the rate is this machine's.
//!
//! `cargo bench --bench cleanup`; `-- 100000` for fewer records.

mod support;

use diesel::{Connection as _, SqliteConnection, connection::SimpleConnection as _};
use std::{path::Path, time::Duration};
use support::{Server, at, exchange, open_shop, program, request, runtime, waits};
use tokio::{net::TcpStream, time::sleep};

const CONNECTIONS: u32 = 20;
const ORDERS_A_SECOND: u32 = 200;
const BEFORE: Duration = Duration::from_secs(20);
/// Clean-ups come when they are asked for alone.
const VARIABLES: [(&str, &str); 2] = [
    ("CLEANUP_ON_START", "false"),
    ("CLEANUP_SCHEDULE", "0 0 1 1 *"),
];

fn main() {
    let expired = std::env::args().find_map(|argument| argument.parse().ok());
    let expired: u64 = expired.unwrap_or(1_000_000);
    runtime().block_on(async {
        let alone = Full::start(expired);
        let rate = alone.clean_up(expired).await;
        println!("alone: {rate:.0} records/s");
        drop(alone);
        let busy = Full::start(expired);
        let pace = (ORDERS_A_SECOND, CONNECTIONS);
        let address = &busy.server.address;
        let before = waits(address, pace, || request(true), sleep(BEFORE))
            .await
            .1;
        let cleaning = busy.clean_up(expired);
        let (rate, during) = waits(address, pace, || request(true), cleaning).await;
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

/// A server whose records have expired, but for a sixth.
struct Full {
    server: Server,
    token: String,
}

impl Full {
    /// With as many expired records as told, and a fifth as many that live.
    fn start(expired: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        open_shop(folder.path(), &VARIABLES);
        fill(&folder.path().join("bench.db"), expired, expired / 5);
        let output = program(folder.path(), &VARIABLES)
            .args(["token", "create", "--name", "b", "--scope", "admin"])
            .output()
            .expect("a token");
        Self {
            server: Server::start_in(folder, &VARIABLES),
            token: String::from_utf8(output.stdout).expect("text"),
        }
    }

    /// Has it clean up, and gives the records deleted a second, the space given back included.
    async fn clean_up(&self, expired: u64) -> f64 {
        let mut stream = TcpStream::connect(&self.server.address)
            .await
            .expect("connected");
        let request = format!(
            "POST /api/v1/admin/cleanup HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Length: 0\r\n\r\n",
            self.token.trim()
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

/// The beginnings of 2026 and of 2126, in microseconds since 1970.
const PAST: i64 = 1_767_225_600_000_000;
const FUTURE: i64 = 4_922_899_200_000_000;

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
             request_body, response_status, response_content_type, response_body, response_encoding,
             lease_expires_at, created_at, last_accessed_at, expires_at)
         SELECT unhex(printf('%08x00007000%s', i, hex(randomblob(8)))), 'webhook:twilio',
             'SM' || lower(hex(randomblob(16))), 'twilio', 'POST', '/webhooks/twilio', randomblob(32),
             'completed', '{{\"body\":\"{body}\"}}', 200, 'text/xml',
             '\"<?xml version=\\\"1.0\\\"?><Response><Message>Order 7K3M-Q9TX received.</Message></Response>\"', 'text',
             at, at, at, at
         FROM (SELECT i, CASE WHEN i < {expired} THEN {PAST} ELSE {FUTURE} END + i * 72000 AS at FROM n);
         COMMIT;
         PRAGMA wal_checkpoint(TRUNCATE);"
    ))
    .expect("records");
}
