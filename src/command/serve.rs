//! `hookonce serve`: receives webhooks until it is told to stop.

use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

use super::{CommandError, init_log, reload};
use crate::{
    app,
    causes::with_causes,
    config::{Config, Environment, LoadedConfig},
    provider::{Provider, REGISTRY, handshake::Handshake},
    server::descriptors,
    store::{Store, retailers},
    web::rate_limit::{HARD_TO_GUESS, is_hard_to_guess},
};

pub async fn run(environment: Environment, reading: LoadedConfig) -> Result<(), CommandError> {
    // Before all else, or a signal during the start would kill.
    let mut terminate = signal(SignalKind::terminate()).map_err(CommandError::failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CommandError::failed)?;
    let hangup = signal(SignalKind::hangup()).map_err(CommandError::failed)?;
    let config = reading.config.clone();
    init_log(&config);
    descriptors::raise();
    log_configuration(&config);
    let application = app::build(config).await?;
    log_retailers(&application.store()).await;
    log::info!("listening on http://{}", application.address);
    if let Some(address) = application.operations_address {
        log::info!("operations on http://{address}");
    }
    let handle = application.handle();
    actix_web::rt::spawn(reload::on_hangup(
        hangup,
        environment,
        reading,
        handle.clone(),
    ));
    actix_web::rt::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        log::info!("{name}: finishing what is under way");
        handle.stop(true).await;
    });
    application.run().await.map_err(CommandError::failed)?;
    log::info!("stopped");
    Ok(())
}

/// Without a retailer whatever customers write is kept and comes to nothing.
async fn log_retailers(store: &Store) {
    match store
        .read(|conn| retailers::page(conn, None, None, 1))
        .await
    {
        Ok(found) if found.is_empty() => log::warn!(
            "there is no retailer: no message becomes an order before `hookonce retailer add` has added one"
        ),
        Ok(_) => {}
        Err(error) => log::warn!(
            "the retailers could not be looked at: {}",
            with_causes(&error)
        ),
    }
}

fn log_configuration(config: &Config) {
    log::info!("hookonce {}", env!("CARGO_PKG_VERSION"));
    log::info!("database: {}", config.database_url);
    if let Some(url) = &config.redis_url {
        log::info!("Redis: {url}");
    }
    match &config.public_base_url {
        Some(url) => log::info!("public URL: {url}"),
        None => log::warn!("public URL: as each request says, since PUBLIC_BASE_URL is not set"),
    }
    for &provider in REGISTRY {
        log_provider(provider, config);
    }
    if !config.idempotency_enabled {
        log::warn!("idempotency keys are ignored: IDEMPOTENCY_ENABLED is false");
    }
    if config.operations_bind.is_none() && !config.bind.ip().to_canonical().is_loopback() {
        log::warn!(
            "whoever reaches {} reads /metrics, /docs, /health and /api/v1/whatsapp/test: set OPERATIONS_BIND",
            config.bind
        );
    }
    if !config.rate_limit {
        log::warn!("nobody is limited: RATE_LIMIT is off");
    }
}

/// What is to be spared beyond the time for which a provider sends again.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn log_provider(provider: &dyn Provider, config: &Config) {
    let (title, variable) = (provider.title(), provider.secret_variable());
    let count = config.providers.count_secrets(provider.settings());
    match count {
        0 => log::warn!("{title} is off: {variable} is not set"),
        1 => log::info!("{title} is on"),
        _ => log::info!("{title} is on, with {count} secrets"),
    }
    if let Some(Handshake { variable, .. }) = provider.handshake() {
        match config.providers.token(variable) {
            None => log::warn!("{title}'s handshake is off: {variable} is not set"),
            Some(token) if !is_hard_to_guess(token) => log::warn!(
                "{variable} has fewer than {HARD_TO_GUESS} characters: it may be guessed"
            ),
            Some(_) => {}
        }
    }
    if count > 0 && config.event_retention < provider.sends_again_for() + DAY {
        log::warn!(
            "EVENT_RETENTION is {}: {title} may send again for {}, and what is sent after its event was forgotten is new",
            humantime::format_duration(config.event_retention),
            humantime::format_duration(provider.sends_again_for()),
        );
    }
}
