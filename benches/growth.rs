//! What becomes of the service as its database grows, on SQLite: how many signed orders a second it makes durable, how many
//! that it has made it answers again and how many with a wrong signature it refuses, what pages of its lists, the statistics
//! and a clean-up take, how long it takes to start, also after a kill under load, and what it takes of the memory; empty, and
//! with one, three and ten million orders. Everything is one run; the ratios to the empty database hold on other machines.
//!
//! `cargo bench --bench growth`; `-- 1 2` for one and two million. Ten million take 25 GB of disk, given back at the end
//! unless `BENCH_KEEP` is set.

mod support;

use diesel::{
    Connection as _, QueryableByName, RunQueryDsl as _, SqliteConnection,
    connection::SimpleConnection as _, sql_query, sql_types::Text,
};
use std::{path::Path, time::Duration};
use support::{Server, at, exchange, load, open_shop, program, request, runtime};
use tokio::{net::TcpStream, time::Instant};

/// Fresh orders come in rounds of so many; the first meets a process that was just started.
const ORDERS_A_ROUND: usize = 12_800;
const ROUNDS: usize = 4;
const OTHERS: usize = 12_800;
const LOOKS: usize = 50;
/// What a clean-up finds.
const EXPIRED: u64 = 20_000;
const VARIABLES: [(&str, &str); 2] = [
    ("CLEANUP_ON_START", "false"),
    ("CLEANUP_SCHEDULE", "0 0 1 1 *"),
];
/// The tables that grow with each order, and what of its rows is another for each. `n.at` is the time in microseconds, `n.id` and
/// `n.record` are identifiers that grow with it, `n.message` and `n.number` are spread over all that there may be.
const TABLES: [(&str, &[(&str, &str)]); 5] = [
    (
        "webhook_idempotency",
        &[
            ("rowid", "NULL"),
            ("id", "n.record"),
            ("idempotency_key", "n.message"),
            ("fingerprint", "randomblob(32)"),
            ("created_at", "n.at"),
            ("last_accessed_at", "n.at"),
            ("expires_at", "n.at + 86400000000"),
            ("order_id", "n.id"),
        ],
    ),
    (
        "webhook_event",
        &[
            ("rowid", "NULL"),
            ("event_id", "n.message"),
            ("digest", "randomblob(32)"),
            ("delivery_fingerprint", "randomblob(32)"),
            ("delivery_id", "n.record"),
            ("order_id", "n.id"),
            ("created_at", "n.at"),
        ],
    ),
    (
        "orders",
        &[
            ("rowid", "NULL"),
            ("id", "n.id"),
            ("order_number", "n.number"),
            ("message_id", "n.message"),
            ("customer_phone", "'+1415' || printf('%07d', n.i % 100000)"),
            ("created_at", "n.at"),
            ("updated_at", "n.at"),
        ],
    ),
    ("order_items", &[("order_id", "n.id")]),
    (
        "ledger_entries",
        &[("id", "n.id"), ("order_id", "n.id"), ("created_at", "n.at")],
    ),
];

fn main() {
    let asked = std::env::args().filter_map(|argument| argument.parse().ok());
    let mut millions: Vec<u64> = asked.collect();
    if millions.is_empty() {
        millions = vec![1, 3, 10];
    }
    let folder = tempfile::tempdir().expect("a folder");
    open_shop(folder.path(), &VARIABLES);
    let created = program(folder.path(), &VARIABLES)
        .args(["token", "create", "--name", "b", "--scope"])
        .arg("admin,orders:read,deliveries:read,stats:read")
        .output()
        .expect("a token");
    let token = String::from_utf8(created.stdout).expect("text");
    println!(
        "{:>9} {:>7} {:>9} {:>8} {:>9} {:>8} {:>9} {:>10} {:>8} {:>10} {:>7} {:>9} {:>8} {:>9} {:>8} {:>7}",
        "orders",
        "GB",
        "fresh/s",
        "p99 ms",
        "first/s",
        "p99 ms",
        "replay/s",
        "refused/s",
        "orders",
        "deliveries",
        "stats",
        "cleanup/s",
        "start ms",
        "killed ms",
        "rest MB",
        "MB"
    );
    let (folder, empty) = measure(folder, token.trim(), 0);
    let mut folder = Some(folder);
    let mut filled = 0;
    for million in millions {
        let there = folder.take().expect("a folder");
        fill(
            &there.path().join("bench.db"),
            filled,
            million * 1_000_000 - filled,
        );
        filled = million * 1_000_000;
        let (there, figures) = measure(there, token.trim(), filled);
        println!(
            "          of empty: fresh {:.2}, p99 {:.2}, first {:.2}, its p99 {:.2}, replay {:.2}, fresh/refused {:.3}",
            figures.fresh.0 / empty.fresh.0,
            figures.fresh.1 / empty.fresh.1,
            figures.first.0 / empty.first.0,
            figures.first.1 / empty.first.1,
            figures.replays / empty.replays,
            figures.fresh.0 / figures.refused,
        );
        folder = Some(there);
    }
    if std::env::var_os("BENCH_KEEP").is_some() {
        let kept = folder.expect("a folder").keep();
        println!("the database is in {}", kept.display());
    }
}

/// Answers a second, and the 99th percentile of what one took in ms.
struct Figures {
    first: (f64, f64),
    fresh: (f64, f64),
    replays: f64,
    refused: f64,
}

fn measure(folder: tempfile::TempDir, token: &str, orders: u64) -> (tempfile::TempDir, Figures) {
    let runtime = runtime();
    let file = folder.path().join("bench.db");
    if orders > 0 {
        expire(&file);
    }
    let size = std::fs::metadata(&file).map_or(0, |file| file.len());
    let server = Server::start_in(folder, &VARIABLES);
    let rest = server.resident();
    let run = |status, count, request: &mut dyn FnMut() -> Vec<u8>| {
        let (rate, waits) = runtime.block_on(load(&server.address, status, count, request));
        (rate, at(&waits, 0.99).as_secs_f64() * 1000.0)
    };
    let mut sent = Vec::new();
    let mut round = || {
        run("200", ORDERS_A_ROUND, &mut || {
            sent.push(request(true));
            sent[sent.len() - 1].clone()
        })
    };
    let first = round();
    let mut rounds: Vec<_> = (0..ROUNDS).map(|_| round()).collect();
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    let fresh = rounds[ROUNDS / 2];
    let loaded = server.resident();
    let mut again = sent.iter().rev().cloned();
    let replays = run("200", OTHERS, &mut || again.next().expect("an order")).0;
    let refused = run("401", OTHERS, &mut || request(false)).0;
    let look = |path: &str| runtime.block_on(median_look(&server, token, path));
    let lists = [
        look("/api/v1/orders?limit=50"),
        look("/api/v1/deliveries?limit=50"),
        look("/api/v1/stats"),
    ];
    let cleaned = match orders {
        0 => 0.0,
        _ => runtime.block_on(clean_up(&server, token)),
    };
    let started_in = server.started_in;
    // Right after so many orders, most of which are in the log alone.
    run("200", ORDERS_A_ROUND, &mut || request(true));
    let server = Server::start_in(server.kill(), &VARIABLES);
    println!(
        "{orders:>9} {:>7.1} {:>9.0} {:>8.1} {:>9.0} {:>8.1} {replays:>9.0} {refused:>10.0} {:>8.1} {:>10.1} {:>7.1} {cleaned:>9.0} {:>8} {:>9} {rest:>8} {loaded:>7}",
        size as f64 / 1e9,
        fresh.0,
        fresh.1,
        first.0,
        first.1,
        lists[0],
        lists[1],
        lists[2],
        started_in.as_millis(),
        server.started_in.as_millis(),
    );
    let figures = Figures {
        first,
        fresh,
        replays,
        refused,
    };
    (server.stop(), figures)
}

fn get(path: &str, token: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n")
        .into_bytes()
}

/// What a look takes in ms, one after another.
async fn median_look(server: &Server, token: &str, path: &str) -> f64 {
    let mut stream = TcpStream::connect(&server.address)
        .await
        .expect("connected");
    let mut took = Vec::new();
    for _ in 0..LOOKS {
        let begun = Instant::now();
        let answer = exchange(&mut stream, &get(path, token)).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    at(&took, 0.5).as_secs_f64() * 1000.0
}

/// Records deleted a second.
async fn clean_up(server: &Server, token: &str) -> f64 {
    let mut stream = TcpStream::connect(&server.address)
        .await
        .expect("connected");
    let request = format!(
        "POST /api/v1/admin/cleanup HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n"
    );
    let begun = Instant::now();
    let answer = exchange(&mut stream, request.as_bytes()).await;
    let took: Duration = begun.elapsed();
    assert!(
        answer.contains(&format!("\"deleted_records\":{EXPIRED}")),
        "{answer}"
    );
    EXPIRED as f64 / took.as_secs_f64()
}

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

fn names(conn: &mut SqliteConnection, sql: &str) -> Vec<String> {
    let names: Vec<Name> = sql_query(sql).load(conn).expect(sql);
    names.into_iter().map(|found| found.name).collect()
}

fn open(file: &Path) -> SqliteConnection {
    let mut conn =
        SqliteConnection::establish(file.to_str().expect("a path")).expect("the database opens");
    conn.batch_execute(
        "PRAGMA synchronous = OFF; PRAGMA cache_size = -1000000; PRAGMA foreign_keys = OFF; PRAGMA temp_store = FILE;",
    )
    .expect("settings");
    conn
}

/// What is claimed of each row: a number for what it is, the column with the id, and that with its owner.
const CLAIMS: [(&str, u8, &str, &str); 3] = [
    ("webhook_idempotency", 0, "idempotency_key", "scope"),
    ("webhook_event", 1, "event_id", "provider"),
    ("orders", 2, "message_id", "source"),
];

/// Copies an order with all that it left, `count` times, each with keys and a time of its own. Keys come in their order, for
/// that is fast, and lie everywhere between those that are there. Indexes that may be made afterwards are.
fn fill(file: &Path, from: u64, count: u64) {
    let mut conn = open(file);
    // What is made here can be made again: a log would only have all of it written twice.
    conn.batch_execute("PRAGMA journal_mode = OFF")
        .expect("no journal");
    let tables = TABLES.map(|(table, _)| format!("'{table}'")).join(", ");
    let of = format!(
        "sqlite_master WHERE tbl_name IN ({tables}) AND type IN ('index', 'trigger') AND sql IS NOT NULL"
    );
    let made = names(&mut conn, &format!("SELECT sql AS name FROM {of}"));
    for drop in names(
        &mut conn,
        &format!("SELECT 'DROP ' || type || ' ' || name AS name FROM {of}"),
    ) {
        conn.batch_execute(&drop).expect("dropped");
    }
    let now = chrono::Utc::now().timestamp_micros();
    // Twelve hours of orders, each chunk after the one before.
    let (begin, hours) = (
        now - 12 * 3_600_000_000 + i64::try_from(from).expect("few") * 1000,
        3_600_000_000_u64,
    );
    let letters = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let letter = |bits: u32| format!("substr('{letters}', 1 + ((v >> {bits}) & 31), 1)");
    let number = [35, 30, 25, 20].map(letter).join(" || ")
        + " || '-' || "
        + &[15, 10, 5, 0].map(letter).join(" || ");
    // An odd factor gives each order a number of its own.
    let spread = format!("(j + {from}) * 339302416385 & 1099511627775");
    conn.batch_execute("BEGIN").expect("begun");
    for (table, changes) in TABLES {
        let columns = names(
            &mut conn,
            &format!("SELECT name FROM pragma_table_info('{table}')"),
        );
        let values = columns.iter().map(|column| {
            let change = changes.iter().find(|(name, _)| name == column);
            change.map_or(format!("t.{column}"), |(_, value)| (*value).to_owned())
        });
        let values = values.collect::<Vec<_>>().join(", ");
        let one = if table == "order_items" {
            "order_id = (SELECT min(order_id) FROM order_items)"
        } else {
            "TRUE LIMIT 1"
        };
        conn.batch_execute(&format!(
            "CREATE TEMP TABLE one AS SELECT * FROM {table} WHERE {one};
             INSERT INTO {table} ({})
             SELECT {values} FROM (
                 SELECT i, at, message, {number} AS number,
                     unhex(printf('%012x7000%016x', at / 1000, i * 4 + 1)) AS record,
                     unhex(printf('%012x7000%016x', at / 1000, i * 4 + 2)) AS id
                 FROM (
                     WITH RECURSIVE c (j) AS (SELECT 0 UNION ALL SELECT j + 1 FROM c WHERE j + 1 < {count})
                     SELECT j + {from} AS i, {spread} AS v, {begin} + j * {hours} / {count} AS at,
                         'SM' || printf('%08x%024x', j * 4294967296 / {count}, j + {from}) AS message
                     FROM c
                 )
             ) AS n CROSS JOIN one AS t;
             DROP TABLE one;",
            columns.join(", ")
        ))
        .expect(table);
    }
    for (table, kind, id, owner) in CLAIMS {
        conn.batch_execute(&format!(
            "INSERT INTO webhook_claim (id, kind, owner, row)
             SELECT {id}, {kind}, {owner}, rowid FROM {table}
             WHERE rowid > (SELECT coalesce(max(row), 0) FROM webhook_claim WHERE kind = {kind})"
        ))
        .expect("claimed");
    }
    for sql in made {
        conn.batch_execute(&sql).expect("made again");
    }
    conn.batch_execute(
        "DELETE FROM record_totals; DELETE FROM record_expiries;
         INSERT INTO record_totals (webhook_type, retailer_id, status, slot, records, replays)
         SELECT webhook_type, coalesce(retailer_id, zeroblob(16)), status, 0, count(*), sum(replay_count)
         FROM webhook_idempotency WHERE status <> 'in_progress' GROUP BY 1, 2, 3;
         INSERT INTO record_expiries (minute, webhook_type, retailer_id, slot, records)
         SELECT expires_at - expires_at % 60000000, webhook_type, coalesce(retailer_id, zeroblob(16)), 0, count(*)
         FROM webhook_idempotency WHERE status <> 'in_progress' GROUP BY 1, 2, 3;
         COMMIT; PRAGMA journal_mode = WAL;",
    )
    .expect("committed");
    settle(file);
}

/// Waits until all of it is on the disk, or the service would wait for it.
fn settle(file: &Path) {
    let file = std::fs::File::open(file).expect("the database");
    file.sync_all().expect("on the disk");
}

/// Has the oldest records expire.
fn expire(file: &Path) {
    let mut conn = open(file);
    conn.batch_execute(&format!(
        "UPDATE webhook_idempotency SET expires_at = created_at
         WHERE rowid IN (SELECT rowid FROM webhook_idempotency ORDER BY created_at LIMIT {EXPIRED});
         PRAGMA wal_checkpoint(TRUNCATE);"
    ))
    .expect("expired");
    settle(file);
}
