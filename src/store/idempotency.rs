//! The rows of `webhook_idempotency`: who holds a key, and what was answered.

use diesel::{prelude::*, query_dsl::methods::FilterDsl, upsert::excluded};

use super::{
    Conn, StoreError, on_each,
    schema::webhook_idempotency as table,
    types::{Json, Timestamp, Uuid, text_enum},
};

text_enum! {
    /// How far a request has come.
    RecordStatus {
        /// Claimed, and not answered yet.
        InProgress => "in_progress",
        /// Answered.
        Completed => "completed",
        /// Failed: kept for the operator, and never in the way.
        Failed => "failed",
    }
}

/// A record to claim.
#[derive(Debug, Clone, Insertable)]
#[diesel(table_name = table)]
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
    /// See [`crate::idempotency::fingerprint`].
    pub fingerprint: &'a str,
    /// In progress, or failed.
    pub status: RecordStatus,
    /// Its body, as JSON.
    pub request_body: Option<&'a Json>,
    /// What went wrong.
    pub error_message: Option<&'a str>,
    /// Who may complete it.
    pub owner_token: Uuid,
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

/// What a key's record says of it.
#[derive(Debug, Clone, PartialEq, Queryable, Selectable)]
#[diesel(table_name = table, check_for_backend(diesel::sqlite::Sqlite, diesel::pg::Pg))]
pub struct Record {
    /// Its id.
    pub id: Uuid,
    /// What it was claimed for.
    pub fingerprint: String,
    /// How far it has come.
    pub status: RecordStatus,
    /// The answer's status.
    pub response_status: Option<i16>,
    /// The answer's content type.
    pub response_content_type: Option<String>,
    /// The answer's body, as JSON.
    pub response_body: Option<Json>,
    /// Until when its owner has it to itself.
    pub lease_expires_at: Timestamp,
    /// Until when its answer is replayed.
    pub expires_at: Timestamp,
}

/// What completes a record.
#[derive(Debug, AsChangeset)]
#[diesel(table_name = table, treat_none_as_null = true)]
pub struct Completion<'a> {
    /// Completed.
    pub status: RecordStatus,
    /// The answer's status.
    pub response_status: Option<i16>,
    /// The answer's content type.
    pub response_content_type: Option<&'a str>,
    /// The answer's body, as JSON.
    pub response_body: Option<&'a Json>,
    /// Whose it turned out to be.
    pub retailer_id: Option<Uuid>,
    /// The order that it made.
    pub order_id: Option<Uuid>,
}

/// The record of a key, whatever its state.
pub fn find(conn: &mut Conn<'_>, scope: &str, key: &str) -> Result<Option<Record>, StoreError> {
    use diesel::QueryDsl;
    Ok(on_each!(conn, |c| QueryDsl::select(
        QueryDsl::filter(
            table::table,
            table::scope.eq(scope).and(table::idempotency_key.eq(key))
        ),
        Record::as_select()
    )
    .first(c)
    .optional())?)
}

/// Claims the key, or takes over a record that no longer stands: expired, failed, or in progress
/// with its lease run out. Gives the record's id where it is ours now. Waits for another
/// transaction that is claiming the same.
pub fn claim(conn: &mut Conn<'_>, new: &NewRecord<'_>) -> Result<Option<Uuid>, StoreError> {
    let now = new.created_at;
    let free = || {
        table::expires_at
            .le(now)
            .or(table::status.eq(RecordStatus::Failed))
            .or(table::status
                .eq(RecordStatus::InProgress)
                .and(table::lease_expires_at.le(now)))
    };
    Ok(on_each!(conn, |c| diesel::insert_into(table::table)
        .values(new)
        .on_conflict((table::scope, table::idempotency_key))
        .do_update()
        .set((
            (
                table::webhook_type.eq(excluded(table::webhook_type)),
                table::method.eq(excluded(table::method)),
                table::path.eq(excluded(table::path)),
                table::fingerprint.eq(excluded(table::fingerprint)),
                table::status.eq(excluded(table::status)),
                table::request_body.eq(excluded(table::request_body)),
                table::error_message.eq(excluded(table::error_message)),
                table::owner_token.eq(excluded(table::owner_token)),
                table::lease_expires_at.eq(excluded(table::lease_expires_at)),
                table::source_ip.eq(excluded(table::source_ip)),
            ),
            (
                table::created_at.eq(excluded(table::created_at)),
                table::last_accessed_at.eq(excluded(table::last_accessed_at)),
                table::expires_at.eq(excluded(table::expires_at)),
                table::response_status.eq(None::<i16>),
                table::response_content_type.eq(None::<String>),
                table::response_body.eq(None::<Json>),
                table::retailer_id.eq(None::<Uuid>),
                table::order_id.eq(None::<Uuid>),
                table::replay_count.eq(0),
            ),
        ))
        .filter(free())
        .returning(table::id)
        .get_result(c)
        .optional())?)
}

/// Completes a record for its owner. `false`: another has taken it over, and nothing was done.
pub fn complete(
    conn: &mut Conn<'_>,
    id: Uuid,
    owner_token: Uuid,
    completion: &Completion<'_>,
) -> Result<bool, StoreError> {
    let rows = on_each!(conn, |c| FilterDsl::filter(
        diesel::update(diesel::QueryDsl::find(table::table, id)),
        table::owner_token
            .eq(owner_token)
            .and(table::status.eq(RecordStatus::InProgress))
    )
    .set(completion)
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
    on_each!(conn, |c| diesel::update(diesel::QueryDsl::find(
        table::table,
        id
    ))
    .set((
        table::replay_count.eq(table::replay_count + times),
        table::last_accessed_at.eq(at),
    ))
    .execute(c))?;
    Ok(())
}
