//! What the tests share.

pub mod app;
pub mod database;
pub mod guarded;
pub mod process;
pub mod requests;
pub mod shop;
