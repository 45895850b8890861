//! What the tests share.

pub mod api;
pub mod app;
pub mod database;
pub mod guarded;
pub mod handlers;
pub mod load;
pub mod process;
pub mod records;
pub mod requests;
pub mod servers;
pub mod shop;
pub mod wait;
