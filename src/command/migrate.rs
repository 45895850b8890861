//! `hookonce migrate`: brings the database's schema up to date, and stops.

use super::{CommandError, init_log};
use crate::{app, config::Config};

pub async fn run(config: Config) -> Result<(), CommandError> {
    init_log(&config);
    let store = app::open_store(&config).await?;
    store.close().await;
    println!("{} is up to date", config.database_url);
    Ok(())
}
