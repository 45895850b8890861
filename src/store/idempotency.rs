//! The rows of `webhook_idempotency`: who holds a key, and what was answered.

use diesel::prelude::*;
#[cfg(feature = "postgres")]
use std::collections::HashSet;

use super::{
    Conn, StoreError,
    cached::Update,
    on_each,
    schema::webhook_idempotency as table,
    types::{Digest, Json, Timestamp, Uuid, text_enum},
};

text_enum! {
    /// How far a request has come.
    RecordStatus {
        /// Claimed, and not answered yet.
        InProgress => "in_progress",
        /// Answered.
        Completed => "completed",
        /// Failed: kept for the operator, and never in the way of the same request.
        Failed => "failed",
    }
}

text_enum! {
    /// How `response_body`, which is JSON, holds the answer's body.
    BodyEncoding {
        /// The body is JSON, and kept as it is.
        Json => "json",
        /// A JSON string with the body's text.
        Text => "text",
        /// A JSON string with the body's bytes in base64.
        Base64 => "base64",
    }
}

/// A record to claim.
#[derive(Debug, Clone, Insertable)]
#[diesel(table_name = table, treat_none_as_default_value = false)]
pub struct NewRecord<'a> {
    /// Its id, where the key is new.
    pub id: Uuid,
    /// Who the key belongs to.
    pub scope: &'a str,
    /// The key, unique in its scope.
    pub idempotency_key: &'a str,
    /// What kind of request.
    pub webhook_type: &'a str,
    /// Its HTTP method.
    pub method: &'a str,
    /// Its path.
    pub path: &'a str,
    /// SHA-256 of all that it says.
    pub fingerprint: Digest,
    /// In progress, or failed.
    pub status: RecordStatus,
    /// Its body, as JSON.
    pub request_body: Option<&'a Json>,
    /// What went wrong.
    pub error_message: Option<&'a str>,
    /// Who may complete it; nobody where it is settled.
    pub owner_token: Option<Uuid>,
    /// Until when the owner has it to itself.
    pub lease_expires_at: Timestamp,
    /// Where it came from.
    pub source_ip: Option<&'a str>,
    /// When it was claimed.
    pub created_at: Timestamp,
    /// When it was last asked for.
    pub last_accessed_at: Timestamp,
    /// Until when its answer is replayed.
    pub expires_at: Timestamp,
}

/// A record that is claimed, and completed at once where its answer is known.
#[derive(Debug, Clone, Insertable)]
#[diesel(table_name = table, treat_none_as_default_value = false)]
pub struct AnsweredRecord<'a> {
    /// The claim; completed already where it has an answer.
    #[diesel(embed)]
    pub claim: NewRecord<'a>,
    /// The answer's status.
    pub response_status: Option<i16>,
    /// The answer's content type.
    pub response_content_type: Option<&'a str>,
    /// The answer's other headers, a JSON object of strings.
    pub response_headers: Option<Json>,
    /// How the body is held.
    pub response_encoding: Option<BodyEncoding>,
    /// The answer's body, as JSON.
    pub response_body: Option<Json>,
    /// Where the parts of its body belong that its events have: a JSON array.
    pub body_places: Option<&'a Json>,
    /// What became of its events: a JSON array.
    pub events: Option<&'a Json>,
    /// Whose it turned out to be.
    pub retailer_id: Option<Uuid>,
    /// The order that it made.
    pub order_id: Option<Uuid>,
}

/// A body without what its events have of it.
#[derive(Clone, Debug, AsChangeset)]
#[diesel(table_name = table)]
pub struct PartedBody {
    /// What is left.
    #[diesel(column_name = request_body)]
    pub rest: Json,
    /// Where the parts of its events belong: a JSON array.
    #[diesel(column_name = body_places)]
    pub places: Json,
}

/// A record that takes the place of another: all of its columns but id and key, those of the answer emptied.
#[derive(Clone, Copy, Debug, AsChangeset)]
#[diesel(table_name = table, treat_none_as_null = true)]
struct Replacement<'a> {
    webhook_type: &'a str,
    method: &'a str,
    path: &'a str,
    fingerprint: Digest,
    status: RecordStatus,
    request_body: Option<&'a Json>,
    body_places: Option<&'a Json>,
    response_status: Option<i16>,
    response_content_type: Option<&'a str>,
    response_headers: Option<&'a Json>,
    response_encoding: Option<BodyEncoding>,
    response_body: Option<&'a Json>,
    events: Option<&'a Json>,
    error_message: Option<&'a str>,
    owner_token: Option<Uuid>,
    lease_expires_at: Timestamp,
    source_ip: Option<&'a str>,
    retailer_id: Option<Uuid>,
    order_id: Option<Uuid>,
    replay_count: i64,
    created_at: Timestamp,
    last_accessed_at: Timestamp,
    expires_at: Timestamp,
}

impl<'a> From<&NewRecord<'a>> for Replacement<'a> {
    fn from(new: &NewRecord<'a>) -> Self {
        Self {
            webhook_type: new.webhook_type,
            method: new.method,
            path: new.path,
            fingerprint: new.fingerprint,
            status: new.status,
            request_body: new.request_body,
            body_places: None,
            response_status: None,
            response_content_type: None,
            response_headers: None,
            response_encoding: None,
            response_body: None,
            events: None,
            error_message: new.error_message,
            owner_token: new.owner_token,
            lease_expires_at: new.lease_expires_at,
            source_ip: new.source_ip,
            retailer_id: None,
            order_id: None,
            replay_count: 0,
            created_at: new.created_at,
            last_accessed_at: new.last_accessed_at,
            expires_at: new.expires_at,
        }
    }
}

/// What a key's record says of it.
#[derive(Debug, Clone, PartialEq, Queryable, Selectable)]
#[diesel(table_name = table, check_for_backend(crate::store::Checked))]
pub struct Record {
    /// Its id.
    pub id: Uuid,
    /// What it was claimed for.
    pub fingerprint: Digest,
    /// How far it has come.
    pub status: RecordStatus,
    /// The answer's status.
    pub response_status: Option<i16>,
    /// The answer's content type.
    pub response_content_type: Option<String>,
    /// The answer's other headers, a JSON object of strings.
    pub response_headers: Option<Json>,
    /// How the body is held; none: by the content type, as records did at first.
    pub response_encoding: Option<BodyEncoding>,
    /// The answer's body, as JSON.
    pub response_body: Option<Json>,
    /// Until when its owner has it to itself.
    pub lease_expires_at: Timestamp,
    /// When it was claimed.
    pub created_at: Timestamp,
    /// Until when its answer is replayed.
    pub expires_at: Timestamp,
}

/// What completes a record.
#[derive(Clone, Copy, Debug, AsChangeset)]
#[diesel(table_name = table, treat_none_as_null = true)]
pub struct Completion<'a> {
    /// Completed.
    pub status: RecordStatus,
    /// None: nobody may complete it again.
    pub owner_token: Option<Uuid>,
    /// The answer's status.
    pub response_status: Option<i16>,
    /// The answer's content type.
    pub response_content_type: Option<&'a str>,
    /// The answer's other headers, a JSON object of strings.
    pub response_headers: Option<&'a Json>,
    /// How the body is held.
    pub response_encoding: Option<BodyEncoding>,
    /// The answer's body, as JSON.
    pub response_body: Option<&'a Json>,
    /// What is left of its body; none: it stays whole.
    #[diesel(embed)]
    pub body: Option<&'a PartedBody>,
    /// What became of its events: a JSON array. None where it is no delivery of a provider.
    pub events: Option<&'a Json>,
    /// Whose it turned out to be.
    pub retailer_id: Option<Uuid>,
    /// The order that it made.
    pub order_id: Option<Uuid>,
}

/// The record of a key, whatever its state.
pub fn find(conn: &mut Conn<'_>, scope: &str, key: &str) -> Result<Option<Record>, StoreError> {
    Ok(on_each!(conn, |c| table::table
        .filter(table::scope.eq(scope))
        .filter(table::idempotency_key.eq(key))
        .select(Record::as_select())
        .get_result(c)
        .optional())?)
}

/// The records of a scope's keys, each with its key.
pub fn find_all(
    conn: &mut Conn<'_>,
    scope: &str,
    keys: &[&str],
) -> Result<Vec<(String, Record)>, StoreError> {
    match conn {
        #[cfg(feature = "sqlite")]
        Conn::Sqlite(_) => {
            let mut found = Vec::new();
            for key in keys {
                found.extend(find(conn, scope, key)?.map(|record| ((*key).to_owned(), record)));
            }
            Ok(found)
        }
        #[cfg(feature = "postgres")]
        Conn::Postgres(c) => Ok(table::table
            .filter(table::scope.eq(scope))
            .filter(table::idempotency_key.eq_any(keys))
            .select((table::idempotency_key, Record::as_select()))
            .load(&mut **c)?),
    }
}

/// Claims keys with new records, which are to be in the order of their keys. Tells of each whether it is new; where a key
/// has a record, nothing is done. Waits for other transactions that are claiming the same.
pub fn claim_all(
    conn: &mut Conn<'_>,
    records: &[AnsweredRecord<'_>],
) -> Result<Vec<bool>, StoreError> {
    let mut claimed = Vec::with_capacity(records.len());
    match conn {
        #[cfg(feature = "sqlite")]
        Conn::Sqlite(c) => {
            for record in records {
                let rows = diesel::insert_into(table::table)
                    .values(record)
                    .on_conflict((table::scope, table::idempotency_key))
                    .do_nothing()
                    .execute(*c)?;
                claimed.push(rows == 1);
            }
        }
        #[cfg(feature = "postgres")]
        Conn::Postgres(c) => {
            for records in records.chunks(super::MANY) {
                let new: Vec<Uuid> = diesel::insert_into(table::table)
                    .values(records)
                    .on_conflict((table::scope, table::idempotency_key))
                    .do_nothing()
                    .returning(table::id)
                    .load(&mut **c)?;
                let new = HashSet::<Uuid>::from_iter(new);
                claimed.extend(records.iter().map(|record| new.contains(&record.claim.id)));
            }
        }
    }
    Ok(claimed)
}

/// The path of the request that a record is of.
pub fn path(conn: &mut Conn<'_>, id: Uuid) -> Result<String, StoreError> {
    Ok(on_each!(conn, |c| table::table
        .find(id)
        .select(table::path)
        .get_result(c))?)
}

/// Claims the key with a new record. `false`: it has one already, and nothing was done. Waits for another transaction
/// that is claiming the same.
pub fn claim(conn: &mut Conn<'_>, new: &NewRecord<'_>) -> Result<bool, StoreError> {
    let rows = on_each!(conn, |c| diesel::insert_into(table::table)
        .values(new)
        .on_conflict((table::scope, table::idempotency_key))
        .do_nothing()
        .execute(c))?;
    Ok(rows == 1)
}

/// Claims the key in place of a record that no longer stands: expired; or of the same request, which has failed or whose
/// lease has run out. The record keeps its id, by which events know it. `false`: it stands, or there is none, and nothing
/// was done.
pub fn take_over(conn: &mut Conn<'_>, new: &NewRecord<'_>) -> Result<bool, StoreError> {
    let now = new.created_at;
    let no_longer_stands = || {
        let expired = || table::expires_at.le(now);
        let completed = table::status.eq(RecordStatus::Completed);
        let failed = table::status.eq(RecordStatus::Failed);
        let in_progress = table::status.eq(RecordStatus::InProgress);
        let abandoned = in_progress.and(table::lease_expires_at.le(now));
        let same = table::fingerprint.eq(new.fingerprint);
        let again = failed.or(abandoned).and(same.or(expired()));
        again.or(completed.and(expired()))
    };
    let rows = on_each!(conn, |c| diesel::update(table::table)
        .filter(table::scope.eq(new.scope))
        .filter(table::idempotency_key.eq(new.idempotency_key))
        .filter(no_longer_stands())
        .set(Replacement::from(new))
        .execute(c))?;
    Ok(rows == 1)
}

/// The record is in progress, and still its owner's.
#[diesel::dsl::auto_type(no_type_alias)]
fn held(id: Uuid, owner_token: Uuid) -> _ {
    let in_progress: RecordStatus = RecordStatus::InProgress;
    let owned = table::id.eq(id).and(table::owner_token.eq(owner_token));
    owned.and(table::status.eq(in_progress))
}

/// Completes a record for its owner. `false`: another has taken it over, and nothing was done.
pub fn complete(
    conn: &mut Conn<'_>,
    id: Uuid,
    owner_token: Uuid,
    completion: &Completion<'_>,
) -> Result<bool, StoreError> {
    let update = Update {
        table: "webhook_idempotency",
        changes: completion.as_changeset(),
        filter: held(id, owner_token),
    };
    let rows = on_each!(conn, |c| update.execute(c))?;
    Ok(rows == 1)
}

/// Puts another answer in the place of that with which this very transaction has claimed a record: nobody else knows of
/// it. `false`: there is no such, and nothing was done.
pub fn correct(
    conn: &mut Conn<'_>,
    id: Uuid,
    completion: &Completion<'_>,
) -> Result<bool, StoreError> {
    let update = Update {
        table: "webhook_idempotency",
        changes: completion.as_changeset(),
        filter: table::id.eq(id),
    };
    let rows = on_each!(conn, |c| update.execute(c))?;
    Ok(rows == 1)
}

/// Gives the owner of a record that is in progress more time. `false`: another has taken it over, and nothing was done.
pub fn renew(
    conn: &mut Conn<'_>,
    id: Uuid,
    owner_token: Uuid,
    lease_expires_at: Timestamp,
) -> Result<bool, StoreError> {
    let rows = on_each!(conn, |c| diesel::update(table::table)
        .filter(held(id, owner_token))
        .set(table::lease_expires_at.eq(lease_expires_at))
        .execute(c))?;
    Ok(rows == 1)
}

/// Gives a key back for its owner, with what went wrong. `false`: another has taken it over, and nothing was done.
pub fn release(
    conn: &mut Conn<'_>,
    id: Uuid,
    owner_token: Uuid,
    error: &str,
) -> Result<bool, StoreError> {
    let rows = on_each!(conn, |c| diesel::update(table::table)
        .filter(held(id, owner_token))
        .set((
            table::status.eq(RecordStatus::Failed),
            table::owner_token.eq(None::<Uuid>),
            table::error_message.eq(error),
        ))
        .execute(c))?;
    Ok(rows == 1)
}

/// Gives a key back as if its owner had never had it: any request may claim it. The record stays for the operator until it
/// is cleaned up. `false`: another has taken it over, and nothing was done.
pub fn withdraw(
    conn: &mut Conn<'_>,
    id: Uuid,
    owner_token: Uuid,
    error: &str,
) -> Result<bool, StoreError> {
    let rows = on_each!(conn, |c| diesel::update(table::table)
        .filter(held(id, owner_token))
        .set((
            table::status.eq(RecordStatus::Failed),
            table::owner_token.eq(None::<Uuid>),
            table::error_message.eq(error),
            // Past by every clock that could look at it.
            table::expires_at.eq(table::created_at),
        ))
        .execute(c))?;
    Ok(rows == 1)
}

/// Notes that a record was replayed `times` more, the last time at `at`.
pub fn count_replays(
    conn: &mut Conn<'_>,
    id: Uuid,
    times: i64,
    at: Timestamp,
) -> Result<(), StoreError> {
    let update = Update {
        table: "webhook_idempotency",
        changes: (
            table::replay_count.eq(table::replay_count + times),
            table::last_accessed_at.eq(at),
        )
            .as_changeset(),
        filter: table::id.eq(id),
    };
    on_each!(conn, |c| update.execute(c))?;
    Ok(())
}
