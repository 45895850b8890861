//! `hookonce retailer`: the retailers whose customers write.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{CommandError, init_log};
use crate::{
    app,
    commerce::{money::Currency, phone::PhoneNumber},
    config::Config,
    store::{
        Store,
        retailers::{self, Retailer},
        types::{Timestamp, Uuid},
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
    init_log(&config.log_filter);
    let store = app::open_store(&config).await?;
    let outcome = match command {
        Command::Add(args) => add(&store, args).await,
        Command::List => list(&store).await,
    };
    store.close().await;
    outcome
}

async fn add(store: &Store, args: Add) -> Result<(), CommandError> {
    let retailer = new_retailer(&args.name, &args.phone, args.phone_number_id, args.currency);
    let row = retailer.clone();
    let added = store.write(move |conn| retailers::insert(conn, &row)).await;
    match added {
        Ok(()) => {
            println!("{}", to_json(&retailer));
            Ok(())
        }
        Err(error) if error.is_taken() => Err(CommandError::failed(
            "this phone or phone number id belongs to another retailer",
        )),
        Err(error) => Err(error.into()),
    }
}

async fn list(store: &Store) -> Result<(), CommandError> {
    for retailer in store.read(retailers::list).await? {
        println!("{}", to_json(&retailer));
    }
    Ok(())
}

/// A retailer as it is added, its catalogue still empty.
pub fn new_retailer(
    name: &str,
    phone: &PhoneNumber,
    phone_number_id: Option<String>,
    currency: Currency,
) -> Retailer {
    let now = Timestamp::now();
    Retailer {
        id: Uuid::in_order(),
        name: name.to_owned(),
        phone: phone.as_str().to_owned(),
        phone_number_id,
        currency: currency.code().to_owned(),
        catalogue_version: Uuid::random(),
        created_at: now,
        updated_at: now,
    }
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
