//! `hookonce token`: who may use the API.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{CommandError, init_log, output::Output};
use crate::{
    access::{self, IssueError, Issued, Revoked, Scope, Scopes, TokenSummary},
    app::{self, Opening},
    config::Config,
    logging,
    store::{
        Store,
        types::{Timestamp, Uuid},
    },
};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a token, and print it this once; everything else about it goes to standard error
    Create(Create),
    /// Print each token as a line of JSON, without what it is known by
    List,
    /// Take a token's worth away, from the next request on
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub struct Create {
    /// What the client is called
    #[arg(
        long,
        required_unless_present = "client",
        conflicts_with = "client",
        value_parser = clap::builder::NonEmptyStringValueParser::new()
    )]
    name: Option<String>,
    /// What the token may do, separated by commas, as in orders:write,stats:read
    #[arg(long, value_name = "SCOPES", long_help = scope_help())]
    scope: Scopes,
    /// The id of the only retailer that the client sees and touches
    #[arg(long, conflicts_with = "client")]
    retailer: Option<uuid::Uuid>,
    /// The id of a client that there is: makes another token for it, under which its keys stay its own
    #[arg(long)]
    client: Option<uuid::Uuid>,
}

impl Create {
    /// Whether it can be done in a database that is empty.
    fn needs_nothing(&self) -> bool {
        self.retailer.is_none() && self.client.is_none()
    }
}

#[derive(Debug, Args)]
pub struct Revoke {
    /// The token's id, as `token list` shows it
    token_id: uuid::Uuid,
}

pub async fn run(command: Command, config: Config) -> Result<(), CommandError> {
    init_log(&config);
    let opening = match &command {
        Command::Create(args) if args.needs_nothing() => Opening::Make,
        Command::Create(_) | Command::Revoke(_) => Opening::Change,
        Command::List => Opening::Read,
    };
    let store = app::open_store_once(&config, opening).await?;
    let outcome = match command {
        Command::Create(args) => create(&store, args).await,
        Command::List => list(&store).await,
        Command::Revoke(args) => revoke(&store, Uuid(args.token_id)).await,
    };
    store.close().await;
    outcome
}

async fn create(store: &Store, args: Create) -> Result<(), CommandError> {
    let issued = store.write(move |conn| {
        let now = Timestamp::now();
        match args.client {
            Some(client) => access::add_token(conn, Uuid(client), args.scope, now),
            None => {
                let name = args.name.unwrap_or_default();
                let retailer = args.retailer.map(Uuid);
                access::create_client(conn, &name, retailer, args.scope, now)
            }
        }
    });
    let issued: Issued = issued.await.map_err(refused)?;
    logging::note(&format!("client {}", issued.client_id));
    logging::note(&format!("token  {}", issued.token_id));
    let mut output = Output::default();
    output.line(issued.token.expose())?;
    // It is shown this once.
    match output.is_unread() {
        true => Err(CommandError::failed(format!(
            "nobody has read the token; make another, and revoke this one: hookonce token revoke {}",
            issued.token_id
        ))),
        false => Ok(()),
    }
}

fn refused(error: IssueError) -> CommandError {
    let see = match &error {
        IssueError::UnknownRetailer(_) => "hookonce retailer list",
        IssueError::UnknownClient(_) => "hookonce token list",
        IssueError::Store(_) => return CommandError::failed(error),
    };
    CommandError::failed(format!("{error}; see: {see}"))
}

async fn list(store: &Store) -> Result<(), CommandError> {
    let mut output = Output::default();
    for token in store.read(access::list).await? {
        output.json(&to_json(&token))?;
    }
    Ok(())
}

fn to_json(token: &TokenSummary) -> serde_json::Value {
    let scopes: Vec<_> = token.scopes.iter().map(Scope::as_str).collect();
    json!({
        "id": token.id.to_string(),
        "client_id": token.client.id.to_string(),
        "name": token.client.name,
        "scopes": scopes,
        "retailer_id": token.client.retailer_id.map(|id| id.to_string()),
        "created_at": token.created_at.to_string(),
        "revoked_at": token.revoked_at.map(|at| at.to_string()),
    })
}

async fn revoke(store: &Store, token: Uuid) -> Result<(), CommandError> {
    let revoked = store
        .write(move |conn| access::revoke(conn, token, Timestamp::now()))
        .await?;
    let mut output = Output::default();
    match revoked {
        Revoked::Now => output.line(format_args!("{token} is revoked")),
        Revoked::Before => output.line(format_args!("{token} was revoked already")),
        Revoked::Unknown => Err(CommandError::failed(format!(
            "there is no token {token}; see: hookonce token list"
        ))),
    }
}

fn scope_help() -> String {
    let all = Scope::ALL.map(Scope::as_str).join(", ");
    format!(
        "What the token may do, separated by commas. There are {all}; :write includes :read of the same, and admin \
         includes all"
    )
}
