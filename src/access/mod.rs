//! Who may use the API, and for what: clients, their tokens and scopes. Knows nothing of HTTP.

mod scope;
mod token;

pub use scope::{InvalidScopes, Scope, Scopes};
pub use token::{MalformedToken, Token};

use std::sync::Arc;

use crate::store::{
    Conn, StoreError,
    clients::{self, Client},
    retailers,
    types::{Timestamp, Uuid},
};

/// Whom a token speaks for. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The client's id.
    pub client_id: Uuid,
    /// What the client is called.
    pub client_name: Arc<str>,
    /// The only retailer that it sees and touches, where there is one.
    pub retailer: Option<Uuid>,
    /// What its token may do.
    pub scopes: Scopes,
}

impl Caller {
    /// Whether the token may do what needs this scope.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.allow(scope)
    }

    /// The scope that the client's idempotency keys belong to: the client's, not the token's, so that a new token
    /// finds the keys of the old one.
    pub fn key_scope(&self) -> String {
        format!("client:{}", self.client_id)
    }
}

/// A token that was just made. It cannot be had again.
#[derive(Debug)]
pub struct Issued {
    /// The token itself.
    pub token: Token,
    /// By which it is revoked.
    pub token_id: Uuid,
    /// Whose it is.
    pub client_id: Uuid,
}

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The client would be bound to a retailer that is not there.
    #[error("there is no retailer {0}")]
    UnknownRetailer(Uuid),
    /// It would be another token of a client that is not there.
    #[error("there is no client {0}")]
    UnknownClient(Uuid),
    /// The database did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Adds a client with its first token. A client that is bound to a retailer sees and touches that one alone.
///
/// # Errors
/// Where there is no such retailer, or the database refuses.
pub fn create_client(
    conn: &mut Conn<'_>,
    name: &str,
    retailer: Option<Uuid>,
    scopes: Scopes,
    now: Timestamp,
) -> Result<Issued, IssueError> {
    if let Some(id) = retailer
        && retailers::find(conn, id)?.is_none()
    {
        return Err(IssueError::UnknownRetailer(id));
    }
    let client = Client {
        id: Uuid::in_order(),
        name: name.to_owned(),
        retailer_id: retailer,
        created_at: now,
    };
    clients::insert(conn, &client)?;
    issue(conn, client.id, scopes, now)
}

/// Adds another token to a client: its keys stay its own while its tokens come and go.
///
/// # Errors
/// Where there is no such client, or the database refuses.
pub fn add_token(
    conn: &mut Conn<'_>,
    client: Uuid,
    scopes: Scopes,
    now: Timestamp,
) -> Result<Issued, IssueError> {
    if clients::find(conn, client)?.is_none() {
        return Err(IssueError::UnknownClient(client));
    }
    issue(conn, client, scopes, now)
}

fn issue(
    conn: &mut Conn<'_>,
    client_id: Uuid,
    scopes: Scopes,
    now: Timestamp,
) -> Result<Issued, IssueError> {
    let token = Token::random();
    let row = clients::Token {
        id: Uuid::in_order(),
        client_id,
        scopes: scopes.to_string(),
        created_at: now,
        revoked_at: None,
    };
    clients::insert_token(conn, &row, token.sha256())?;
    Ok(Issued {
        token,
        token_id: row.id,
        client_id,
    })
}

/// Whom a token speaks for; nobody where it is unknown or revoked.
///
/// # Errors
/// Where the database refuses, or holds scopes that this version does not know.
pub fn caller(conn: &mut Conn<'_>, token: &Token) -> Result<Option<Caller>, StoreError> {
    let found = clients::by_sha256(conn, token.sha256())?;
    let Some((token, client)) = found.filter(|(token, _)| token.revoked_at.is_none()) else {
        return Ok(None);
    };
    Ok(Some(Caller {
        client_id: client.id,
        client_name: client.name.into(),
        retailer: client.retailer_id,
        scopes: stored_scopes(&token)?,
    }))
}

/// A token as it may be shown.
#[derive(Clone, Debug)]
pub struct TokenSummary {
    /// By which it is revoked.
    pub id: Uuid,
    /// Whose it is.
    pub client: Client,
    /// What it may do.
    pub scopes: Scopes,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when it is worth nothing.
    pub revoked_at: Option<Timestamp>,
}

/// All tokens, the oldest first.
///
/// # Errors
/// As [`caller`].
pub fn list(conn: &mut Conn<'_>) -> Result<Vec<TokenSummary>, StoreError> {
    let rows = clients::list(conn)?.into_iter();
    rows.map(|(token, client)| {
        Ok(TokenSummary {
            id: token.id,
            scopes: stored_scopes(&token)?,
            client,
            created_at: token.created_at,
            revoked_at: token.revoked_at,
        })
    })
    .collect()
}

/// The result of revoking a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// It is worth nothing from now on.
    Now,
    /// It was worth nothing already.
    Before,
    /// There is none with this id.
    Unknown,
}

/// Takes a token's worth away, from the next request on.
///
/// # Errors
/// Where the database refuses.
pub fn revoke(conn: &mut Conn<'_>, token: Uuid, now: Timestamp) -> Result<Revoked, StoreError> {
    if clients::revoke(conn, token, now)? {
        return Ok(Revoked::Now);
    }
    let found = clients::find_token(conn, token)?;
    Ok(found.map_or(Revoked::Unknown, |_| Revoked::Before))
}

fn stored_scopes(token: &clients::Token) -> Result<Scopes, StoreError> {
    let scopes = token.scopes.parse();
    scopes.map_err(|error: InvalidScopes| StoreError::Unreadable(error.into()))
}
