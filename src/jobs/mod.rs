//! What the service does by itself, beside answering requests.

pub mod cleanup;
pub mod counters;
pub mod schedule;
pub mod watch;
