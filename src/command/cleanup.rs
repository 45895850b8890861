//! `hookonce cleanup`: deletes what has expired, now, beside whatever serves.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{CommandError, init_log, output::Output};
use crate::{
    app::{self, Opening},
    config::Config,
    idempotency::Cache,
    jobs::cleanup::Cleanup,
    store::{
        cleanup::Trigger,
        types::{Timestamp, Uuid},
    },
    web::api::admin::CleanupResource,
};

pub async fn run(config: Config) -> Result<(), CommandError> {
    init_log(&config);
    // Before the run, or a signal would leave it unfinished and its lease held.
    let terminate = signal(SignalKind::terminate()).map_err(CommandError::failed)?;
    let interrupt = signal(SignalKind::interrupt()).map_err(CommandError::failed)?;
    let store = app::open_store_once(&config, Opening::Change).await?;
    let cleanup = app::cleanup(&config, store.clone(), Uuid::random(), Cache::default());
    actix_web::rt::spawn(stop_on(terminate, interrupt, cleanup.clone()));
    let outcome = clean_up(&cleanup).await;
    store.close().await;
    outcome
}

async fn clean_up(cleanup: &Cleanup) -> Result<(), CommandError> {
    let running = cleanup.run(Trigger::Command, None, Timestamp::now());
    let report = running.await.map_err(CommandError::failed)?;
    let printed = Output::default().json(&CleanupResource::from(report.run));
    match report.failure {
        Some(failure) => Err(CommandError::failed(failure)),
        None => printed,
    }
}

async fn stop_on(mut terminate: Signal, mut interrupt: Signal, cleanup: Cleanup) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    cleanup.stop();
}
