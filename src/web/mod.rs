//! HTTP: routes, headers, bodies, statuses. Alone knows them; the work is done by [`crate::intake`].

#[cfg(feature = "server")]
pub mod access;
#[cfg(feature = "server")]
pub mod api;
mod body;
pub mod body_budget;
#[cfg(feature = "server")]
pub mod diagnosis;
#[cfg(feature = "server")]
mod docs;
#[cfg(feature = "server")]
mod health;
pub mod idempotency;
pub(crate) mod key;
#[cfg(feature = "server")]
pub mod metrics;
mod observer;
#[cfg(feature = "server")]
pub mod openapi;
pub mod origin;
pub mod problem;
#[cfg(feature = "server")]
pub mod rate_limit;
pub mod reply;
#[cfg(feature = "server")]
mod report;
#[cfg(feature = "server")]
mod request_log;
#[cfg(feature = "server")]
mod routes;
#[cfg(feature = "server")]
mod security_headers;
pub(crate) mod signed_request;
#[cfg(feature = "server")]
mod state;
#[cfg(feature = "server")]
mod webhooks;

pub use idempotency::{Idempotency, is_final, unread, was_refused};
#[cfg(feature = "server")]
pub use rate_limit::limit_addresses;
#[cfg(feature = "server")]
pub use request_log::log_request;
#[cfg(feature = "server")]
pub use routes::{Part, routes};
#[cfg(feature = "server")]
use routes::{at, get, not_found_here};
#[cfg(feature = "server")]
pub use security_headers::add_security_headers;
#[cfg(feature = "server")]
pub use state::State;
