//! `hookonce retailer`: the retailers whose customers write.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{CommandError, init_log, output::Output};
use crate::{
    app::{self, Opening},
    config::Config,
    identity::PhoneNumber,
    shop::{
        money::Currency,
        retailers::{self, NewRetailer},
    },
    store::{
        Store,
        retailers::{self as rows, Retailer},
        types::Timestamp,
    },
};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Add a retailer; prints it as JSON
    Add(Add),
    /// Print each retailer as a line of JSON
    List,
}

#[derive(Debug, Args)]
pub struct Add {
    /// What it is called
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    name: String,
    /// The number that its customers write to, as in +14155238886
    #[arg(long)]
    phone: PhoneNumber,
    /// The same number's id at Meta
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    phone_number_id: Option<String>,
    /// ISO 4217 code of all its prices
    #[arg(long)]
    currency: Currency,
}

pub async fn run(command: Command, config: Config) -> Result<(), CommandError> {
    init_log(&config);
    let opening = match command {
        Command::Add(_) => Opening::Make,
        Command::List => Opening::Read,
    };
    let store = app::open_store_once(&config, opening).await?;
    let outcome = match command {
        Command::Add(args) => add(&store, args).await,
        Command::List => list(&store).await,
    };
    store.close().await;
    outcome
}

async fn add(store: &Store, args: Add) -> Result<(), CommandError> {
    let new = NewRetailer {
        name: args.name,
        phone: args.phone,
        phone_number_id: args.phone_number_id,
        currency: args.currency,
    };
    let added = store.write(move |conn| retailers::add(conn, new, Timestamp::now()));
    Output::default().json(&to_json(&added.await?))
}

async fn list(store: &Store) -> Result<(), CommandError> {
    let mut output = Output::default();
    for retailer in store.read(rows::list).await? {
        output.json(&to_json(&retailer))?;
    }
    Ok(())
}

fn to_json(retailer: &Retailer) -> serde_json::Value {
    json!({
        "id": retailer.id.to_string(),
        "name": retailer.name,
        "phone": retailer.phone,
        "phone_number_id": retailer.phone_number_id,
        "currency": retailer.currency,
        "created_at": retailer.created_at.to_string(),
    })
}
