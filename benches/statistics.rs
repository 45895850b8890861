//! How long the statistics take with five million records of a hundred retailers, a tenth of them expired: on SQLite, and on
//! the PostgreSQL database that `BENCH_POSTGRES_URL` names, which must be empty.
//!
//! `cargo bench --bench statistics`; `-- 100000` for fewer records, which should make no difference.

use diesel::{Connection as _, PgConnection, SqliteConnection, connection::SimpleConnection as _};
use hookonce::{
    schedule::Schedule,
    statistics::{self, Window},
    store::{DatabaseUrl, Store, StoreOptions, types::Timestamp},
};
use std::time::{Duration, Instant};

const LOOKS: usize = 200;

fn main() {
    let records = std::env::args().find_map(|argument| argument.parse().ok());
    let records: u64 = records.unwrap_or(5_000_000);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bench.db");
    let mut urls = vec![format!("sqlite://{}", file.display())];
    urls.extend(std::env::var("BENCH_POSTGRES_URL"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for url in urls {
        let took = runtime.block_on(measure(&url, records));
        let at = |share: f64| took[((took.len() - 1) as f64 * share).round() as usize];
        let engine = url.split(':').next().unwrap_or_default();
        println!(
            "{engine}, {records} records: p50 {:.2?}, p95 {:.2?}, max {:.2?}",
            at(0.5),
            at(0.95),
            at(1.0)
        );
    }
}

/// How long each look took, sorted.
async fn measure(url: &str, records: u64) -> Vec<Duration> {
    let parsed: DatabaseUrl = url.parse().expect("a database URL");
    let options = StoreOptions::default();
    let store = Store::open(&parsed, &options).await;
    let store = store.expect("the database opens");
    fill(url, records);
    let mut took = Vec::new();
    for look in 0..=LOOKS {
        let begun = Instant::now();
        let report = report(&store).await;
        // The first finds nothing in memory.
        if look > 0 {
            took.push(begun.elapsed());
        }
        assert_eq!(report.keys.total, records.cast_signed());
        assert_eq!(report.by_retailer.len(), 100);
    }
    store.close().await;
    took.sort_unstable();
    took
}

async fn report(store: &Store) -> statistics::Report {
    let (engine, schedule) = (store.engine(), Schedule::hourly());
    let looking = store.snapshot(move |conn| {
        let (window, now) = (Window::default(), Timestamp::now());
        statistics::report(conn, engine, &schedule, &[], window, now)
    });
    looking.await.expect("the statistics")
}

/// Records that expire one after another: the first tenth until now, the rest within the day that follows.
fn fill(url: &str, records: u64) {
    let now = chrono::Utc::now();
    let day = 24 * 60 * 60;
    let begins = now - chrono::TimeDelta::seconds(day / 10);
    if let Some(path) = url.strip_prefix("sqlite://") {
        let mut conn = SqliteConnection::establish(path).expect("the database opens");
        let (at, retailers) = (
            format!(
                "{} + i * {day}000000 / {records}",
                begins.timestamp_micros()
            ),
            "unhex(printf('%08x000070008000000000000001', i % 100))",
        );
        conn.batch_execute(&format!(
            "PRAGMA synchronous = OFF; PRAGMA cache_size = -500000; PRAGMA foreign_keys = OFF;
             BEGIN;
             WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {records})
             {} SELECT unhex(printf('%08x00007000%016x', i, i)), 'webhook:twilio', 'SM' || lower(hex(randomblob(16))),
                 'twilio_message', 'POST', '/', randomblob(32), 'completed', at, at, at, at,
                 {retailers}
             FROM (SELECT i, {at} AS at FROM n);
             COMMIT;",
            INSERT
        ))
        .expect("records");
    } else {
        let mut conn = PgConnection::establish(url).expect("the database opens");
        let retailers = "(lpad(to_hex(i % 100), 8, '0') || '-0000-7000-8000-000000000001')::uuid";
        conn.batch_execute(&format!(
            "SET synchronous_commit = off; SET TIME ZONE 'UTC';
             INSERT INTO retailers (id, name, phone, currency, catalogue_version, created_at, updated_at)
             SELECT {retailers}, 'Shop ' || i, '+' || (14155550000 + i), 'USD', gen_random_uuid(), now(), now()
             FROM generate_series(0, 99) AS i;
             {INSERT} SELECT gen_random_uuid(), 'webhook:twilio', 'SM' || md5(random()::text), 'twilio_message', 'POST',
                 '/', sha256(i::text::bytea), 'completed', at, at, at, at, {retailers}
             FROM (SELECT i, '{begins}'::timestamptz + i * interval '{day} seconds' / {records} AS at
                 FROM generate_series(0, {records} - 1) AS i) AS n;"
        ))
        .expect("records");
        // What autovacuum does within a minute or so.
        conn.batch_execute("VACUUM ANALYZE").expect("a vacuum");
    }
}

const INSERT: &str =
    "INSERT INTO webhook_idempotency (id, scope, idempotency_key, webhook_type, method, path,
    fingerprint, status, lease_expires_at, created_at, last_accessed_at, expires_at, retailer_id)";
