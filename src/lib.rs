//! hookonce receives webhooks and acts on each exactly once.
//!
//! It verifies the provider's signature, deduplicates, does the work (a WhatsApp order becomes one order, one ledger
//! entry, one reply) and stores the reply, all in one database transaction, so that a retry of any kind gets the first
//! answer back and nothing happens twice.
//!
//! Beside the program, which is the feature `server`, this is a library for programs that receive webhooks of their own:
//!
//! | what | for |
//! | --- | --- |
//! | [`Receiver`](receiver::Receiver) | an actix service for one source: verifies, deduplicates, hands each event to a handler, answers |
//! | [`Handler`](handler::Handler) | work of one's own, in the transaction that says that an event is done |
//! | [`Provider`](provider::Provider), [`Hmac`](provider::Hmac) | how a source signs and what it tells; one that is described instead of written |
//! | [`once`](idempotency::once()) | work in a transaction of one's own, done once for its key |
//! | [`Idempotency`](web::Idempotency) | actix middleware, for work that cannot join a transaction |
//! | [`Store`](store::Store), [`Conn`](store::Conn) | the database, and a connection in a transaction |
//! | [`clean_up`](clean_up::clean_up()) | deletes what has expired |
//!
//! ```no_run
//! use actix_web::{App, HttpServer};
//! use diesel::{RunQueryDsl as _, sql_query, sql_types::Text};
//! use hookonce::{
//!     handler::{Handled, Handler, HandlerError, Outcome, Task},
//!     provider::{Hmac, event::Event},
//!     receiver::Receiver,
//!     store::{Conn, Store, StoreOptions},
//! };
//!
//! struct Points;
//!
//! impl Handler for Points {
//!     fn wants(&self, event: &Event) -> bool {
//!         event.kind == "points"
//!     }
//!
//!     // Committed with the event and the answer, or not at all.
//!     fn apply(&self, conn: &mut Conn<'_>, task: &Task<'_>) -> Result<Handled, HandlerError> {
//!         sql_query("INSERT INTO points (event) VALUES ($1)")
//!             .bind::<Text, _>(&task.work.event.id)
//!             .execute(conn.sqlite()?)?;
//!         Ok(Handled::new(Outcome::new("points_given")))
//!     }
//! }
//!
//! #[actix_web::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let store = Store::open(&"sqlite://points.db".parse()?, &StoreOptions::default()).await?;
//!     let source = Hmac::sha256("points", "X-Signature").prefix("sha256=").secret("hunter2");
//!     let source = source.id_member("/id").kind_member("/type");
//!     let receiver = Receiver::of_own(source).handler(Points).build(&store);
//!     let server = HttpServer::new(move || App::new().service(receiver.clone()));
//!     Ok(server.bind("127.0.0.1:8080")?.run().await?)
//! }
//! ```
//!
//! Features, tables, schemas and what else to know: `docs/library.md`. How it works inside, and its map:
//! `docs/architecture.md`. Modules that are not shown here are the program's, and change with it.

// What writes there blocks, and panics where nobody reads: `command::output` and `logging` are for that.
#![deny(clippy::print_stdout, clippy::print_stderr)]

#[cfg(not(any(feature = "sqlite", feature = "postgres")))]
compile_error!(
    "hookonce keeps its records in a database: switch on its feature `sqlite`, `postgres`, or both"
);

#[cfg(feature = "server")]
#[doc(hidden)]
pub mod access;
mod address;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod app;
mod causes;
pub mod clean_up;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod command;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod config;
mod field_error;
pub mod handler;
pub mod idempotency;
pub mod identity;
#[doc(hidden)]
pub mod intake;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod jobs;
pub mod json;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod logging;
mod media_type;
#[cfg(any(feature = "server", feature = "sqlite"))]
mod memory;
#[cfg(feature = "server")]
mod printable;
pub mod provider;
pub mod receiver;
pub mod redaction;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod schedule;
pub mod secret;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod server;
#[cfg(feature = "shop")]
pub mod shop;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod statistics;
pub mod store;
pub mod web;
