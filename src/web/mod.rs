//! HTTP: routes, headers, bodies, statuses. Alone knows them; the work is done by [`crate::intake`].

#[cfg(feature = "server")]
#[doc(hidden)]
pub mod access;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod api;
mod body;
#[doc(hidden)]
pub mod body_budget;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod diagnosis;
#[cfg(feature = "server")]
mod docs;
#[cfg(feature = "server")]
mod health;
pub mod idempotency;
pub(crate) mod key;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod metrics;
mod observer;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod openapi;
#[doc(hidden)]
pub mod origin;
#[doc(hidden)]
pub mod problem;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod rate_limit;
#[doc(hidden)]
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
#[doc(hidden)]
pub use rate_limit::limit_addresses;
#[cfg(feature = "server")]
#[doc(hidden)]
pub use request_log::log_request;
#[cfg(feature = "server")]
#[doc(hidden)]
pub use routes::{RouteSet, routes};
#[cfg(feature = "server")]
use routes::{at, get, not_found_here};
#[cfg(feature = "server")]
#[doc(hidden)]
pub use security_headers::add_security_headers;
#[cfg(feature = "server")]
#[doc(hidden)]
pub use state::State;
