//! How many signed orders a second the real server makes durable on SQLite, against how many requests with a wrong
//! signature it refuses, how many orders that it has made already it answers again, and against a transaction for each
//! request. The figures are ratios of one run: the machine's own speed cancels out.
//!
//! `cargo bench --bench throughput`

mod support;

use support::{Server, median, rate, request, runtime};

const ROUNDS: usize = 5;
const ORDERS_A_ROUND: usize = 12_800;

fn main() {
    let runtime = runtime();
    let gathered = Server::start(&[]);
    let single = Server::start(&[("WRITE_BATCH", "1")]);
    let mut of_refusals = Vec::new();
    let mut of_repeats = Vec::new();
    let mut of_single = Vec::new();
    println!(
        "round   refused/s   orders/s   repeats/s   one by one/s   orders/refused   repeats/refused   orders/one by one"
    );
    for round in 1..=ROUNDS {
        let run = |server: &Server, status, request: &mut dyn FnMut() -> Vec<u8>| {
            runtime.block_on(rate(&server.address, status, ORDERS_A_ROUND, request))
        };
        let refused = run(&gathered, "401", &mut || request(false));
        let mut sent = Vec::new();
        let orders = run(&gathered, "200", &mut || {
            sent.push(request(true));
            sent[sent.len() - 1].clone()
        });
        let repeats = run(&gathered, "200", &mut || sent.pop().expect("an order"));
        let alone = run(&single, "200", &mut || request(true));
        of_refusals.push(orders / refused);
        of_repeats.push(repeats / refused);
        of_single.push(orders / alone);
        println!(
            "{round:>5} {refused:>11.0} {orders:>10.0} {repeats:>11.0} {alone:>14.0} {:>16.3} {:>17.3} {:>19.2}",
            orders / refused,
            repeats / refused,
            orders / alone
        );
    }
    println!(
        "median orders/refused {:.3}, repeats/refused {:.3}, orders/one by one {:.2}",
        median(of_refusals),
        median(of_repeats),
        median(of_single)
    );
}
