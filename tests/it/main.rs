//! The tests that talk to the program from outside: real HTTP, a real SQLite file, a real PostgreSQL.

#![cfg(feature = "server")]

mod support;

mod amendments;
mod api;
mod api_bad_input;
mod api_isolation;
mod api_races;
mod background;
mod backups;
mod bad_input;
mod belonging;
mod caches;
mod cases;
mod cleanup;
mod cli;
mod commands;
mod concurrency;
mod connections;
mod crash;
mod database_file;
mod deliveries;
mod demo;
mod events;
mod explain;
mod foreign;
mod full_disk;
mod gathering;
mod github;
mod instances;
mod large_deliveries;
mod library;
mod logs;
mod memory;
mod middleware;
mod migrations;
mod numbers;
mod openapi;
mod operations;
mod ops;
mod outages;
mod pipes;
mod providers;
mod rate_limits;
mod readiness;
mod redaction;
mod reload;
mod replays;
mod shutdown;
mod signatures;
mod statistics;
mod store;
mod tokens;
mod twilio;
mod whatsapp;
