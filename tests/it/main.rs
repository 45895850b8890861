//! The tests that talk to the program from outside: real HTTP, a real SQLite file, a real PostgreSQL.

mod support;

mod api;
mod api_bad_input;
mod api_isolation;
mod api_races;
mod background;
mod bad_input;
mod caches;
mod cases;
mod cleanup;
mod cli;
mod concurrency;
mod crash;
mod deliveries;
mod demo;
mod events;
mod explain;
mod instances;
mod logs;
mod middleware;
mod migrations;
mod openapi;
mod ops;
mod outages;
mod rate_limits;
mod readiness;
mod redaction;
mod replays;
mod shutdown;
mod signatures;
mod statistics;
mod store;
mod tokens;
mod twilio;
mod whatsapp;
