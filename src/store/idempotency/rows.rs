//! The rows of records, as they are written and read.

use diesel::prelude::*;

use super::super::{
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
    /// The outcomes of its events: a JSON array.
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
pub(super) struct Replacement<'a> {
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
    /// `None`: nobody may complete it again.
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
    /// The outcomes of its events: a JSON array. `None` where it is no delivery of a provider.
    pub events: Option<&'a Json>,
    /// Whose it turned out to be.
    pub retailer_id: Option<Uuid>,
    /// The order that it made.
    pub order_id: Option<Uuid>,
}
