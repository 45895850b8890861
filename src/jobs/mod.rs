//! What the service does by itself, beside answering requests.

mod batch_sizer;
pub mod cleanup;
pub mod counters;
pub mod schedule;
pub mod watch;
