//! What the tests share.

pub mod api;
pub mod app;
pub mod database;
pub mod guarded;
pub mod handlers;
pub mod process;
pub mod records;
pub mod requests;
pub mod shop;
pub mod wait;
