//! Takes connections and bounds them: how many there are, how long each may take, how much memory each may hold.
//! Knows nothing of routes, and answers no request itself; what is inside is an application of actix.
//!
//! Actix' own server bounds the first head of a connection alone. Here every head, every body that a handler waits
//! for, the time between two requests and every answer that is not read have a bound, and a new connection always finds
//! room while another one is open that has sent nothing genuine.

mod activity;
mod answer;
mod connection;
mod connections;
pub mod descriptors;
mod heads;
mod http;
mod limits;
pub mod own_answers;
mod pressure;
mod reading;
mod reason;
mod request_body;
mod sending;
mod stream;

pub use connections::{Connections, Handle};
pub use http::listen;
pub use limits::Limits;
