//! What the service does by itself, beside answering requests.

pub mod replay_counts;
