//! A PostgreSQL database for a benchmark, and the statements of one order for pgbench.

use diesel::{
    Connection as _, PgConnection, QueryableByName, RunQueryDsl as _,
    connection::SimpleConnection as _, sql_query, sql_types,
};
use std::{collections::HashMap, fmt::Write as _, process::Command};

use super::CONNECTIONS;

/// How long pgbench runs in each round, in seconds.
const PGBENCH_SECONDS: &str = "3";

/// A database of its own, gone with the value.
pub struct Database {
    server: String,
    name: String,
    pub url: String,
}

impl Database {
    pub fn new() -> Self {
        let server = std::env::var("BENCH_POSTGRES_URL")
            .expect("BENCH_POSTGRES_URL names a PostgreSQL server: postgres://USER@HOST:PORT");
        let name = format!("bench_{}", uuid::Uuid::new_v4().simple());
        let this = Self {
            url: format!("{server}/{name}"),
            server,
            name,
        };
        this.admin(&format!("CREATE DATABASE {}", this.name));
        this
    }

    fn admin(&self, sql: &str) {
        let conn = PgConnection::establish(&format!("{}/postgres", self.server));
        conn.map(|mut conn| conn.batch_execute(sql))
            .expect("PostgreSQL")
            .expect("a statement of an administrator");
    }

    pub fn connect(&self) -> PgConnection {
        PgConnection::establish(&self.url).expect("the database answers")
    }

    /// How many transactions a second pgbench does with as many connections as the orders come by.
    pub fn pgbench(&self, script: &str) -> f64 {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), script).expect("the script");
        let clients = CONNECTIONS.to_string();
        let program = std::env::var("PGBENCH").unwrap_or_else(|_| "pgbench".to_owned());
        let output = Command::new(program)
            .args(["-n", "-M", "prepared", "-j", "2", "-c", &clients])
            .args(["-T", PGBENCH_SECONDS, "-f"])
            .arg(file.path())
            .arg(&self.url)
            .output()
            .expect("pgbench runs");
        let said = String::from_utf8_lossy(&output.stdout);
        let rate = said.lines().find_map(|line| line.strip_prefix("tps = "));
        rate.and_then(|rest| rest.split(' ').next()?.parse().ok())
            .unwrap_or_else(|| panic!("{said}\n{}", String::from_utf8_lossy(&output.stderr)))
    }

    /// The server's version, and what it does for durability.
    pub fn settings(&self) -> String {
        let names = [
            "server_version",
            "fsync",
            "synchronous_commit",
            "full_page_writes",
            "shared_buffers",
        ];
        let mut conn = self.connect();
        let told = names.map(|name| {
            let value = texts(&mut conn, &format!("SELECT current_setting('{name}') AS t"));
            format!("{name} {}", value.concat())
        });
        format!("PostgreSQL: {}", told.join(", "))
    }

    /// What a row of each table takes, with its part of the indexes.
    pub fn sizes(&self) -> String {
        let mut sizes = String::from("bytes a row, with indexes:");
        for table in TABLES {
            let bytes = texts(
                &mut self.connect(),
                &format!(
                    "SELECT (pg_total_relation_size('{table}') / greatest(count(*), 1))::text AS t FROM {table}"
                ),
            );
            let _ = write!(sizes, " {table} {}", bytes.concat());
        }
        sizes
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.admin(&format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}

const TABLES: [&str; 5] = [
    "webhook_idempotency",
    "webhook_event",
    "orders",
    "order_items",
    "ledger_entries",
];

/// Between the values of a row; none of them holds it.
const SEPARATOR: &str = " , ";

#[derive(QueryableByName)]
struct Text {
    #[diesel(sql_type = sql_types::Text)]
    t: String,
}

fn texts(conn: &mut PgConnection, sql: &str) -> Vec<String> {
    let rows: Vec<Text> = sql_query(sql).load(conn).expect("rows");
    rows.into_iter().map(|row| row.t).collect()
}

/// The statements of one order, as the server does them where it acts on one alone, for pgbench: with the values of an
/// order that is there, and ids of their own.
pub fn script(conn: &mut PgConnection) -> String {
    let order = texts(conn, "SELECT id::text AS t FROM orders LIMIT 1").concat();
    let of_order = |table: &str| match table {
        "orders" => format!("WHERE id = '{order}'"),
        _ => format!("WHERE order_id = '{order}'"),
    };
    let one = |conn: &mut PgConnection, column: &str, table: &str| {
        let which = of_order(table);
        texts(
            conn,
            &format!("SELECT {column}::text AS t FROM {table} {which}"),
        )
        .concat()
    };
    let hex = |high: &str, low: &str| {
        format!("lpad(to_hex(:{high}::bigint), 16, '0') || lpad(to_hex(:{low}::bigint), 16, '0')")
    };
    let mut ids = HashMap::new();
    for (column, table, id) in [
        (
            "id",
            "webhook_idempotency",
            format!("({})::uuid", hex("a", "b")),
        ),
        (
            "idempotency_key",
            "webhook_idempotency",
            format!("'SM' || {}", hex("b", "c")),
        ),
        (
            "event_id",
            "webhook_event",
            format!("'SM' || {}", hex("b", "c")),
        ),
        ("id", "orders", format!("({})::uuid", hex("c", "d"))),
        (
            "order_number",
            "orders",
            format!("'ORD-' || {}", hex("d", "a")),
        ),
        ("id", "ledger_entries", format!("({})::uuid", hex("a", "d"))),
    ] {
        ids.insert(one(conn, column, table), id);
    }
    let insert = |conn: &mut PgConnection, table: &str, conflict: &str| {
        let columns = texts(
            conn,
            &format!(
                "SELECT column_name::text AS t FROM information_schema.columns
                 WHERE table_name = '{table}' AND table_schema = 'public' ORDER BY ordinal_position"
            ),
        );
        let list = columns.join(", ");
        let quoted = columns
            .iter()
            .map(|column| format!("quote_nullable({column}::text)"));
        let quoted = quoted.collect::<Vec<_>>().join(" || E'\\x01' || ");
        let which = of_order(table);
        let rows = texts(conn, &format!("SELECT {quoted} AS t FROM {table} {which}"));
        let rows = rows.iter().map(|row| {
            let values = row.split('\u{1}').map(|value| {
                let id = ids.get(value.trim_matches('\''));
                id.cloned().unwrap_or_else(|| without_colons(value))
            });
            format!("({})", values.collect::<Vec<_>>().join(SEPARATOR))
        });
        let rows = rows.collect::<Vec<_>>().join(", ");
        format!("INSERT INTO {table} ({list}) VALUES {rows}{conflict};\n")
    };
    let conflict = " ON CONFLICT DO NOTHING";
    let [event, order, items, entry, record] = [
        ("webhook_event", conflict),
        ("orders", conflict),
        ("order_items", ""),
        ("ledger_entries", ""),
        ("webhook_idempotency", conflict),
    ]
    .map(|(table, conflict)| insert(conn, table, conflict));
    let (claim, complete) = in_two(&record, &ids[&one(conn, "id", "webhook_idempotency")]);
    let key = &ids[&one(conn, "idempotency_key", "webhook_idempotency")];
    let mut script = String::new();
    for variable in ["a", "b", "c", "d"] {
        let _ = writeln!(script, "\\set {variable} random(0, 9223372036854775806)");
    }
    script += "BEGIN;\n";
    let _ = writeln!(
        script,
        "SELECT id, fingerprint, status, response_status, response_content_type, response_headers, response_encoding, \
         response_body, lease_expires_at, expires_at FROM webhook_idempotency \
         WHERE scope = E'webhook\\x3atwilio' AND idempotency_key = {key};"
    );
    script += &claim;
    script += "SELECT id, name, phone, phone_number_id, currency, catalogue_version, created_at, updated_at \
               FROM retailers WHERE phone = '+14155238886';\n";
    for statement in [event, order, items, entry] {
        script += &statement;
    }
    script += &complete;
    script += "COMMIT;\n";
    script
}

/// The record in two statements: claimed in progress, and completed once the work is done.
fn in_two(record: &str, id: &str) -> (String, String) {
    const LATER: [&str; 10] = [
        "status",
        "owner_token",
        "response_status",
        "response_content_type",
        "response_headers",
        "response_encoding",
        "response_body",
        "events",
        "retailer_id",
        "order_id",
    ];
    let (head, rest) = record.split_once(" (").expect("columns");
    let (columns, rest) = rest.split_once(") VALUES (").expect("values");
    let (values, tail) = rest.rsplit_once(')').expect("the end");
    let columns: Vec<_> = columns.split(", ").collect();
    let values: Vec<_> = values.split(SEPARATOR).collect();
    let is_later = |column: &str| LATER.contains(&column);
    let claimed: Vec<_> = columns
        .iter()
        .zip(&values)
        .map(|(column, value)| match *column {
            "status" => "'in_progress'",
            column if is_later(column) => "NULL",
            _ => value,
        })
        .collect();
    let set: Vec<_> = columns
        .iter()
        .zip(&values)
        .filter(|(column, _)| is_later(column))
        .map(|(column, value)| format!("{column} = {value}"))
        .collect();
    (
        format!(
            "{head} ({}) VALUES ({}){tail}",
            columns.join(", "),
            claimed.join(", ")
        ),
        format!(
            "UPDATE webhook_idempotency SET {} WHERE id = {id} AND status = 'in_progress';\n",
            set.join(", ")
        ),
    )
}

/// A text of SQL in which pgbench finds no variables of its own.
fn without_colons(value: &str) -> String {
    match value.strip_prefix('\'') {
        Some(text) if text.contains(':') => format!("E'{}", text.replace(':', "\\x3a")),
        _ => value.replace(':', "\\x3a"),
    }
}
