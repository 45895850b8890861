//! hookonce receives webhooks and acts on each exactly once.
//!
//! It verifies the provider's signature, deduplicates, does the work (a WhatsApp order becomes one order, one ledger
//! entry, one reply) and stores the reply, all in one database transaction, so that a retry of any kind gets the first
//! answer back and nothing happens twice.
//!
//! The map, from the outside in; arrows go one way:
//!
//! ```text
//! command -> app -> web -> intake -> { provider, idempotency, commerce, access } -> store
//!                -> server (from web, too)
//!                -> jobs -> statistics ---------------------------------------------->
//! ```
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`command`] | the command line, one file for each subcommand |
//! | [`app`] | puts the parts together: configuration in, a bound server out |
//! | [`server`] | connections: how many, for how long, how much each may hold |
//! | [`web`] | HTTP: routes, headers, bodies, statuses |
//! | [`jobs`] | what the service does by itself |
//! | [`intake`] | acts on a delivery, in one transaction |
//! | [`handler`] | what is done about events |
//! | [`provider`] | signatures and payloads |
//! | [`idempotency`] | keys, fingerprints, claims, replays |
//! | [`commerce`] | catalogues, orders, money, replies to customers |
//! | [`statistics`] | what an operator looks at: counts, sizes, latencies, alerts |
//! | [`access`] | who may use the API: clients, tokens, scopes |
//! | [`store`] | both databases through one Diesel code |
//! | [`config`], [`identity`], [`schedule`], [`secret`], [`redaction`], [`json`] | what everything is built from |
//! | [`logging`] | the log: the form of its lines, and how they are written |

// What writes there blocks, and panics where nobody reads: `command::output` and `logging` are for that.
#![deny(clippy::print_stdout, clippy::print_stderr)]

#[cfg(not(any(feature = "sqlite", feature = "postgres")))]
compile_error!(
    "hookonce keeps its records in a database: switch on its feature `sqlite`, `postgres`, or both"
);

#[cfg(feature = "server")]
pub mod access;
mod address;
#[cfg(feature = "server")]
pub mod app;
mod causes;
pub mod clean_up;
#[cfg(feature = "server")]
pub mod command;
#[cfg(feature = "shop")]
pub mod commerce;
#[cfg(feature = "server")]
pub mod config;
mod field_error;
pub mod handler;
pub mod idempotency;
pub mod identity;
pub mod intake;
#[cfg(feature = "server")]
pub mod jobs;
pub mod json;
#[cfg(feature = "server")]
pub mod logging;
mod media_type;
#[cfg(feature = "server")]
mod printable;
pub mod provider;
pub mod receiver;
pub mod redaction;
#[cfg(feature = "server")]
pub mod schedule;
pub mod secret;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod statistics;
pub mod store;
pub mod web;
