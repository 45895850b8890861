//! Reads the configuration again on SIGHUP, so that a secret is rotated without a restart.

use std::sync::Arc;
use tokio::{signal::unix::Signal, task::spawn_blocking};

use crate::{
    app,
    config::{Config, Environment, LoadedConfig},
    logging,
};

/// Does so whenever the signal comes, for as long as the process lives. What cannot be used is refused as a whole.
pub async fn on_hangup(
    mut hangup: Signal,
    environment: Environment,
    mut running: LoadedConfig,
    handle: app::Handle,
) {
    let environment = Arc::new(environment);
    while hangup.recv().await.is_some() {
        log::info!("SIGHUP: reading the configuration again");
        let reader = environment.clone();
        // A file may be where reading takes long.
        let read = match spawn_blocking(move || reader.read()).await {
            Ok(read) => read.map_err(|error| error.to_string()),
            Err(died) => Err(died.to_string()),
        };
        let taken = read.and_then(|new| take_over(&mut running, &new, &handle));
        if let Err(why) = taken {
            handle.reconfigure(None);
            log::error!("the configuration stays as it was: {why}");
        }
    }
}

fn take_over(
    running: &mut LoadedConfig,
    new: &LoadedConfig,
    handle: &app::Handle,
) -> Result<(), String> {
    let changes = running
        .changes(new)
        .ok_or("the .env file is not there any more")?;
    let (taken, left): (Vec<_>, Vec<_>) = changes
        .into_iter()
        .partition(|name| Config::is_reloaded(name));
    handle.reconfigure(Some(&new.config));
    // Before the level of the log may change.
    if !left.is_empty() {
        log::warn!("changed, but needs a restart: {}", left.join(", "));
    }
    match taken.is_empty() {
        true => log::info!("the configuration was read again: nothing to take over has changed"),
        false => log::info!(
            "the configuration was read again: {} taken over",
            taken.join(", ")
        ),
    }
    logging::set_filter(&new.config.log_filter, running.config.log_format);
    for variable in taken {
        running.take_value(variable, new);
    }
    Ok(())
}
