//! What the service does by itself, beside answering requests.

pub mod cleanup;
pub mod replay_counts;
pub mod schedule;
