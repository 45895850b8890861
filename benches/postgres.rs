//! How many signed orders a second the real server makes durable on PostgreSQL, against how many transactions with the
//! statements of one order pgbench does on the same server; and how many orders that it has made already it answers
//! again, from its memory and from the database, against how many requests with a wrong signature it refuses. The
//! figures are ratios of one run: the machine's own speed cancels out.
//!
//! `BENCH_POSTGRES_URL=postgres://USER@HOST:PORT cargo bench --bench postgres`: a server on which databases may be made.
//! pgbench must be on PATH, or `PGBENCH` name it.

mod support;

use std::collections::HashMap;
use support::{
    CONNECTIONS, Server, median,
    postgres::{Database, script},
    rate, request, runtime,
};

const ROUNDS: usize = 5;
const ORDERS_A_ROUND: usize = 12_800;

fn main() {
    let runtime = runtime();
    let database = Database::new();
    let server = Server::start(&[("DATABASE_URL", &database.url)]);
    let uncached = Server::start(&[("DATABASE_URL", &database.url), ("CACHE_BYTES", "0")]);
    let run = |server: &Server, status, count, request: &mut dyn FnMut() -> Vec<u8>| {
        runtime.block_on(rate(&server.address, status, count, request))
    };
    // One order shows what is to be written, and the shop's catalogue is read.
    for server in [&server, &uncached] {
        run(server, "200", CONNECTIONS, &mut || request(true));
    }
    let script = script(&mut database.connect());
    let mut figures: HashMap<&str, Vec<f64>> = HashMap::new();
    println!("round   refused/s   orders/s   pgbench/s   repeats/s   repeats from the database/s");
    for round in 1..=ROUNDS {
        let pgbench = database.pgbench(&script);
        let refused = run(&server, "401", ORDERS_A_ROUND, &mut || request(false));
        let mut sent = Vec::new();
        let orders = run(&server, "200", ORDERS_A_ROUND, &mut || {
            sent.push(request(true));
            sent[sent.len() - 1].clone()
        });
        let mut again = sent.iter().cloned().cycle();
        let mut again = || again.next().expect("an order");
        let repeats = run(&server, "200", ORDERS_A_ROUND, &mut again);
        let from_database = run(&uncached, "200", ORDERS_A_ROUND, &mut again);
        println!(
            "{round:>5} {refused:>11.0} {orders:>10.0} {pgbench:>11.0} {repeats:>11.0} {from_database:>29.0}"
        );
        for (name, ratio) in [
            ("orders/pgbench", orders / pgbench),
            ("orders/refused", orders / refused),
            ("repeats/refused", repeats / refused),
            ("repeats from the database/refused", from_database / refused),
        ] {
            figures.entry(name).or_default().push(ratio);
        }
    }
    let mut figures: Vec<_> = figures.into_iter().collect();
    figures.sort_unstable_by_key(|(name, _)| *name);
    for (name, ratios) in figures {
        println!("median {name} {:.3}", median(ratios));
    }
    println!("{}", database.sizes());
}
