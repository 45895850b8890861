//! `hookonce migrate`: brings the database's schema up to date, and stops.

use super::{CommandError, init_log, output::Output};
use crate::{
    app::{self, Opening},
    config::Config,
    printable::printable,
};

pub async fn run(config: Config) -> Result<(), CommandError> {
    init_log(&config);
    let store = app::open_store_once(&config, Opening::Make).await?;
    store.close().await;
    let database = printable(&config.database_url.to_string());
    Output::default().line(format_args!("{database} is up to date"))
}
