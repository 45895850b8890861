//! Who may use the API: the clients and their tokens, of which only the SHA-256 is kept.

use diesel::prelude::*;

use super::{
    Conn, StoreError, on_each,
    schema::{api_clients, api_tokens},
    types::{Digest, Timestamp, Uuid},
};

/// A program that uses the API.
#[derive(Clone, Debug, PartialEq, Queryable, Selectable, Insertable)]
#[diesel(table_name = api_clients, check_for_backend(crate::store::Checked), treat_none_as_default_value = false)]
pub struct Client {
    /// Its id.
    pub id: Uuid,
    /// What it is called.
    pub name: String,
    /// The only retailer that it sees and touches, where there is one.
    pub retailer_id: Option<Uuid>,
    /// When it was added.
    pub created_at: Timestamp,
}

/// A token of a client, without what it is known by.
#[derive(Clone, Debug, PartialEq, Queryable, Selectable, Insertable)]
#[diesel(table_name = api_tokens, check_for_backend(crate::store::Checked), treat_none_as_default_value = false)]
pub struct Token {
    /// Its id, which is no secret.
    pub id: Uuid,
    /// Whose it is.
    pub client_id: Uuid,
    /// What it may do, separated by commas.
    pub scopes: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// Adds a client.
///
/// # Errors
/// Where the database refuses.
pub fn insert(conn: &mut Conn<'_>, client: &Client) -> Result<(), StoreError> {
    on_each!(conn, |c| diesel::insert_into(api_clients::table)
        .values(client)
        .execute(c))?;
    Ok(())
}

/// Adds a token that is known by its SHA-256.
///
/// # Errors
/// Where the database refuses.
pub fn insert_token(conn: &mut Conn<'_>, token: &Token, sha256: Digest) -> Result<(), StoreError> {
    on_each!(conn, |c| diesel::insert_into(api_tokens::table)
        .values((token, api_tokens::token_sha256.eq(sha256)))
        .execute(c))?;
    Ok(())
}

/// The client with this id.
///
/// # Errors
/// Where the database refuses.
pub fn find(conn: &mut Conn<'_>, id: Uuid) -> Result<Option<Client>, StoreError> {
    Ok(on_each!(conn, |c| api_clients::table
        .find(id)
        .select(Client::as_select())
        .get_result(c)
        .optional())?)
}

/// The token with this SHA-256, revoked or not, and its client.
///
/// # Errors
/// Where the database refuses.
pub fn by_sha256(
    conn: &mut Conn<'_>,
    sha256: Digest,
) -> Result<Option<(Token, Client)>, StoreError> {
    Ok(on_each!(conn, |c| api_tokens::table
        .inner_join(api_clients::table)
        .filter(api_tokens::token_sha256.eq(sha256))
        .select((Token::as_select(), Client::as_select()))
        .get_result(c)
        .optional())?)
}

/// All tokens with their clients, the oldest first.
///
/// # Errors
/// Where the database refuses.
pub fn list(conn: &mut Conn<'_>) -> Result<Vec<(Token, Client)>, StoreError> {
    Ok(on_each!(conn, |c| api_tokens::table
        .inner_join(api_clients::table)
        .order((api_tokens::created_at, api_tokens::id))
        .select((Token::as_select(), Client::as_select()))
        .load(c))?)
}

/// The token with this id.
///
/// # Errors
/// Where the database refuses.
pub fn find_token(conn: &mut Conn<'_>, id: Uuid) -> Result<Option<Token>, StoreError> {
    Ok(on_each!(conn, |c| api_tokens::table
        .find(id)
        .select(Token::as_select())
        .get_result(c)
        .optional())?)
}

/// Revokes a token. `false`: it was revoked before.
///
/// # Errors
/// Where the database refuses.
pub fn revoke(conn: &mut Conn<'_>, id: Uuid, now: Timestamp) -> Result<bool, StoreError> {
    let changed = on_each!(conn, |c| diesel::update(
        api_tokens::table
            .find(id)
            .filter(api_tokens::revoked_at.is_null())
    )
    .set(api_tokens::revoked_at.eq(now))
    .execute(c))?;
    Ok(changed > 0)
}
