//! How much anybody may take: memory, time, connections, requests, disk.

use std::{num::NonZeroU32, time::Duration};

use super::{
    Variable,
    values::{duration, patience, positive, switch, whole},
    variable::set,
};

/// The variables, in the order of `.env.example`.
pub(super) const VARIABLES: &[Variable] = &[
    Variable::new("MAX_BODY_BYTES", |config, text| {
        set(&mut config.max_body_bytes, positive(text))
    }),
    Variable::new("BODY_BUDGET_BYTES", |config, text| {
        let budget = budget(text, config.max_body_bytes);
        set(&mut config.body_budget_bytes, budget)
    }),
    Variable::new("REQUEST_TIMEOUT", |config, text| {
        set(&mut config.request_timeout, patience(text))
    }),
    Variable::new("MAX_QUEUE_TIME", |config, text| {
        set(&mut config.max_queue_time, queue_time(text))
    }),
    Variable::new("KEEP_ALIVE", |config, text| {
        set(&mut config.keep_alive, patience(text))
    }),
    Variable::new("MAX_CONNECTIONS", |config, text| {
        set(&mut config.max_connections, connections(text))
    }),
    Variable::new("MAX_CONNECTIONS_PER_ADDRESS", |config, text| {
        set(&mut config.max_connections_per_address, connections(text))
    }),
    Variable::new("RATE_LIMIT", |config, text| {
        set(&mut config.rate_limit, switch(text))
    }),
    Variable::new("RATE_LIMIT_CLIENT", |config, text| {
        set(&mut config.rate_limit_client, rate(text))
    }),
    Variable::new("RATE_LIMIT_CLIENT_BURST", |config, text| {
        set(&mut config.rate_limit_client_burst, rate(text))
    }),
    Variable::new("RATE_LIMIT_ADDRESS", |config, text| {
        set(&mut config.rate_limit_address, rate(text))
    }),
    Variable::new("RATE_LIMIT_ADDRESS_BURST", |config, text| {
        set(&mut config.rate_limit_address_burst, rate(text))
    }),
    Variable::new("READY_MIN_DISK_BYTES", |config, text| {
        set(&mut config.ready_min_disk_bytes, whole(text))
    }),
];

fn queue_time(text: &str) -> Result<Option<Duration>, String> {
    const LEAST: Duration = Duration::from_millis(10);
    const MOST: Duration = Duration::from_secs(60);
    const ALLOWED: &str = "100ms or 2s, of at least 10ms and at most 1m, or off";
    match text {
        "off" => Ok(None),
        _ => duration(text, LEAST..=MOST, ALLOWED).map(Some),
    }
}

/// A quarter of it is for small bodies.
fn budget(text: &str, largest: usize) -> Result<usize, String> {
    let least = largest.saturating_mul(2);
    positive(text)
        .ok()
        .filter(|bytes| *bytes >= least)
        .ok_or_else(|| {
            format!("allowed is a number of bytes, at least twice MAX_BODY_BYTES: {least}")
        })
}

/// How many requests, a second or at once. The bound keeps the time between two of them measurable.
fn rate(text: &str) -> Result<NonZeroU32, String> {
    const MOST: u32 = 1_000_000;
    let number = text
        .parse()
        .ok()
        .filter(|number| (1..=MOST).contains(number));
    number
        .and_then(NonZeroU32::new)
        .ok_or_else(|| format!("allowed is a whole number from 1 to {MOST}"))
}

/// How many connections there may be.
fn connections(text: &str) -> Result<usize, String> {
    const MOST: usize = 1_000_000;
    let number = text.parse().ok();
    number
        .filter(|number| (1..=MOST).contains(number))
        .ok_or_else(|| format!("allowed is a whole number from 1 to {MOST}"))
}
