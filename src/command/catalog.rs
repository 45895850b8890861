//! `hookonce catalog`: what a retailer sells.

use clap::{Args, Subcommand};
use std::{fs::File, io, path::PathBuf};

use super::{CommandError, init_log, output::Output};
use crate::{
    app::{self, Opening},
    config::Config,
    printable::printable,
    shop::{
        import,
        money::{Currency, MoneyError},
    },
    store::{
        Store, retailers,
        types::{Timestamp, Uuid},
    },
};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Add and change products from a CSV file: all of it or nothing
    Import(Import),
}

#[derive(Debug, Args)]
pub struct Import {
    /// Columns sku,name,aliases,price; aliases are separated by |
    file: PathBuf,
    /// The retailer's id
    #[arg(long)]
    retailer: uuid::Uuid,
}

pub async fn run(Command::Import(args): Command, config: Config) -> Result<(), CommandError> {
    init_log(&config);
    let file = File::open(&args.file).map_err(|error| {
        CommandError::failed(format!("{} cannot be opened: {error}", args.file.display()))
    })?;
    let store = app::open_store_once(&config, Opening::Change).await?;
    let outcome = import_file(&store, Uuid(args.retailer), file).await;
    store.close().await;
    Output::default().line(format_args!("{} products imported", outcome?))
}

/// Imports a whole file, and gives the number of its products.
pub async fn import_file(
    store: &Store,
    retailer: Uuid,
    file: impl io::Read,
) -> Result<usize, CommandError> {
    let found = store
        .read(move |conn| retailers::find(conn, retailer))
        .await?;
    let found = found.ok_or_else(|| {
        CommandError::failed(format!(
            "there is no retailer {retailer}; see: hookonce retailer list"
        ))
    })?;
    let currency: Currency = found
        .currency
        .parse()
        .map_err(|error: MoneyError| CommandError::failed(error))?;
    let products = import::read_csv(file, currency).map_err(|bad| {
        let lines: Vec<_> = bad.iter().map(|bad| printable(&bad.to_string())).collect();
        CommandError::failed(format!("nothing was imported:\n{}", lines.join("\n")))
    })?;
    let count = products.len();
    store
        .write(move |conn| import::store(conn, retailer, &products, Timestamp::now()))
        .await?;
    Ok(count)
}
