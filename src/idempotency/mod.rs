//! Who may do a request, and what was answered: keys, fingerprints, claims and replays. Knows neither HTTP
//! frameworks nor providers; the statements are in [`crate::store::idempotency`].
//!
//! Work that is in the database alone is done exactly once where its key, its own statements and its answer are one
//! transaction, whatever is killed when: [`once()`].
//!
//! Work that reaches outside cannot be: [`two_phase`], and over it the middleware [`crate::web::Idempotency`].

#[doc(hidden)]
pub mod admission;
#[doc(hidden)]
pub mod cache;
mod claim;
pub(crate) mod fingerprint;
mod key;
mod lookups;
mod multipart;
mod once;
mod replays;
mod reply;
mod request_error;
#[doc(hidden)]
pub mod transactional;
#[doc(hidden)]
pub mod two_phase;

#[doc(hidden)]
pub use cache::Cache;
#[doc(hidden)]
pub use claim::{claim, existing_claim, look};
pub use fingerprint::{Fingerprint, fingerprint, fingerprint_of_json};
pub use key::{IdempotencyKey, InvalidKey};
#[doc(hidden)]
pub use lookups::{CountsLookups, LookupTimer};
pub use once::{Key, Once, OnceError, once};
#[doc(hidden)]
pub use once::{Keyed, Transacted};
#[doc(hidden)]
pub use replays::ReplayTally;
#[doc(hidden)]
pub use reply::Answered;
pub use reply::StoredReply;
#[doc(hidden)]
pub use request_error::RequestError;

use cache::Lookup;
use std::{borrow::Cow, time::Duration};

use self::claim::is_active;

use crate::store::{
    Conn, StoreError,
    idempotency::{self as rows, AnsweredRecord, Completion, NewRecord, PartedBody, RecordStatus},
    types::{Json, Timestamp, Uuid},
};

/// A request that wants a key.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct KeyedRequest {
    /// Who the key belongs to.
    pub scope: Cow<'static, str>,
    /// The key.
    pub key: IdempotencyKey,
    /// What kind of request.
    pub webhook_type: &'static str,
    /// Its HTTP method.
    pub method: String,
    /// Its path.
    pub path: String,
    /// What it says.
    pub fingerprint: Fingerprint,
    /// Its body, as JSON, where it is kept for the operator.
    pub body: Option<Json>,
    /// Where it came from.
    pub source_ip: Option<String>,
}

impl KeyedRequest {
    /// Without what is kept for the operator alone.
    pub fn new(
        scope: impl Into<Cow<'static, str>>,
        key: IdempotencyKey,
        webhook_type: &'static str,
        fingerprint: Fingerprint,
    ) -> Self {
        Self {
            scope: scope.into(),
            key,
            webhook_type,
            method: String::new(),
            path: String::new(),
            fingerprint,
            body: None,
            source_ip: None,
        }
    }

    /// What is looked for in the caches.
    pub fn lookup(&self) -> Lookup<'_> {
        Lookup {
            scope: &self.scope,
            key: &self.key,
            fingerprint: &self.fingerprint,
        }
    }
}

/// How long an answer and a lease last.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// How long an answer is replayed.
    pub ttl: Duration,
    /// How long an owner has an unfinished request to itself.
    pub lease: Duration,
}

/// The right to complete a record, for as long as nobody has taken it over.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lease {
    /// The record.
    pub id: Uuid,
    /// Whether the very same request was begun before and not answered, so that nobody was told what was done of it.
    pub resumes: bool,
    token: Uuid,
    expires_at: Timestamp,
    /// Whether it was claimed with an answer.
    is_answered: bool,
}

impl Lease {
    /// What is kept of its answer, once that is committed.
    pub fn answered(self, reply: StoredReply) -> Answered {
        Answered {
            record: self.id,
            reply,
            expires_at: self.expires_at,
        }
    }
}

/// The result of claiming a key.
#[doc(hidden)]
#[derive(Debug, PartialEq)]
pub enum Claim {
    /// The caller does the request.
    Acquired(Lease),
    /// It was done: the answer.
    Replay(Answered),
    /// The key stands for another request.
    Mismatch,
    /// Another is doing it.
    InProgress {
        /// After which it is worth asking again.
        retry_after: Duration,
    },
}

/// The result of a request.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Settlement<'a> {
    /// What is answered, now and whenever the request comes again.
    pub reply: &'a StoredReply,
    /// Whose business it turned out to be.
    pub retailer: Option<Uuid>,
    /// The order that it is about.
    pub order: Option<Uuid>,
    /// The outcomes of the events of a delivery: a JSON array.
    pub events: Option<&'a Json>,
    /// What is left of a delivery's body where its events have the rest; none: it is kept as the request has it.
    pub body: Option<&'a PartedBody>,
}

/// The outcome of the request with a key.
#[doc(hidden)]
#[derive(Debug, PartialEq)]
pub enum KeyStatus {
    /// Never seen, or forgotten.
    Unknown,
    /// Another is doing it.
    InProgress,
    /// It failed, or whoever was doing it is gone: the next request does it anew.
    Failed,
    /// It was done.
    Completed {
        /// The path of the request.
        path: String,
        /// What was answered.
        reply: StoredReply,
    },
}

/// The outcome of the request with a key.
///
/// # Errors
/// Where the database refuses.
#[doc(hidden)]
pub fn key_status(
    conn: &mut Conn<'_>,
    scope: &str,
    key: &IdempotencyKey,
    now: Timestamp,
) -> Result<KeyStatus, StoreError> {
    let Some(record) = rows::find(conn, scope, key.as_str())? else {
        return Ok(KeyStatus::Unknown);
    };
    Ok(match (record.status, is_active(&record, now)) {
        (RecordStatus::Completed, true) => KeyStatus::Completed {
            path: rows::path(conn, record.id)?,
            reply: StoredReply::from_record(&record)?,
        },
        (RecordStatus::InProgress, true) => KeyStatus::InProgress,
        (RecordStatus::InProgress | RecordStatus::Failed, _) if record.expires_at > now => {
            KeyStatus::Failed
        }
        _ => KeyStatus::Unknown,
    })
}

/// Stores the result of a request. `false`: another has taken it over since, and nothing was stored.
///
/// # Errors
/// Where the database refuses.
#[doc(hidden)]
pub fn complete(
    conn: &mut Conn<'_>,
    lease: Lease,
    settlement: Settlement<'_>,
) -> Result<bool, StoreError> {
    let reply = settlement.reply;
    let body = reply.body_to_json();
    let headers = reply.headers_to_json();
    let completion = Completion {
        status: RecordStatus::Completed,
        owner_token: None,
        response_status: Some(reply.status),
        response_content_type: reply.content_type.as_deref(),
        response_headers: headers.as_ref(),
        response_encoding: body.as_ref().map(|(_, encoding)| *encoding),
        response_body: body.as_ref().map(|(body, _)| body),
        body: settlement.body,
        events: settlement.events,
        retailer_id: settlement.retailer,
        order_id: settlement.order,
    };
    match lease.is_answered {
        true => rows::correct(conn, lease.id, &completion),
        false => rows::complete(conn, lease.id, lease.token, &completion),
    }
}

/// The record that claims the key of `request` once it is inserted. It already has the answer if the result of the request
/// is known beforehand.
#[doc(hidden)]
pub fn new_claim<'a>(
    request: &'a KeyedRequest,
    lifetimes: Lifetimes,
    settlement: Option<Settlement<'a>>,
    now: Timestamp,
) -> (AnsweredRecord<'a>, Lease) {
    let (token, reply) = (
        Uuid::random(),
        settlement.map(|settlement| settlement.reply),
    );
    let (status, owner_token) = match settlement {
        Some(_) => (RecordStatus::Completed, None),
        None => (RecordStatus::InProgress, Some(token)),
    };
    let mut claim = new_record(request, lifetimes, now, status, owner_token, None);
    if settlement.is_some() {
        // A lease that never ran takes no room in SQLite.
        claim.lease_expires_at = Timestamp::beginning();
    }
    let parted = settlement.and_then(|settlement| settlement.body);
    if let Some(parted) = parted {
        claim.request_body = Some(&parted.rest);
    }
    let lease = Lease {
        id: claim.id,
        resumes: false,
        token,
        expires_at: claim.expires_at,
        is_answered: settlement.is_some(),
    };
    let body = reply.and_then(StoredReply::body_to_json);
    let (response_body, response_encoding) = body.unzip();
    let record = AnsweredRecord {
        claim,
        response_status: reply.map(|reply| reply.status),
        response_content_type: reply.and_then(|reply| reply.content_type.as_deref()),
        response_headers: reply.and_then(StoredReply::headers_to_json),
        response_encoding,
        response_body,
        body_places: parted.map(|parted| &parted.places),
        events: settlement.and_then(|settlement| settlement.events),
        retailer_id: settlement.and_then(|settlement| settlement.retailer),
        order_id: settlement.and_then(|settlement| settlement.order),
    };
    (record, lease)
}

/// Renews the lease of a request, with the full length from `now` on. `false`: another has taken the request over.
///
/// # Errors
/// Where the database refuses.
#[doc(hidden)]
pub fn renew(
    conn: &mut Conn<'_>,
    lease: Lease,
    length: Duration,
    now: Timestamp,
) -> Result<bool, StoreError> {
    rows::renew(conn, lease.id, lease.token, now.after(length))
}

/// Gives back the key of a request that failed, with what went wrong: the same request may be done again. `false`:
/// another has taken it over.
///
/// # Errors
/// Where the database refuses.
#[doc(hidden)]
pub fn release(conn: &mut Conn<'_>, lease: Lease, error: &str) -> Result<bool, StoreError> {
    rows::release(conn, lease.id, lease.token, error)
}

/// Gives back the key of a request that was refused before anything was done, with why: whatever comes next under the key
/// is new. `false`: another has taken it over.
///
/// # Errors
/// Where the database refuses.
#[doc(hidden)]
pub fn withdraw(conn: &mut Conn<'_>, lease: Lease, error: &str) -> Result<bool, StoreError> {
    rows::withdraw(conn, lease.id, lease.token, error)
}

/// Notes for the operator that a request failed. What stands for another request or is an answer is left alone, and the
/// key stays free for the same request.
///
/// # Errors
/// Where the database refuses.
#[doc(hidden)]
pub fn record_failure(
    conn: &mut Conn<'_>,
    request: &KeyedRequest,
    lifetimes: Lifetimes,
    error: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let new = new_record(
        request,
        lifetimes,
        now,
        RecordStatus::Failed,
        None,
        Some(error),
    );
    if !rows::claim(conn, &new)? {
        rows::take_over(conn, &new)?;
    }
    Ok(())
}

fn new_record<'a>(
    request: &'a KeyedRequest,
    lifetimes: Lifetimes,
    now: Timestamp,
    status: RecordStatus,
    owner_token: Option<Uuid>,
    error: Option<&'a str>,
) -> NewRecord<'a> {
    NewRecord {
        id: Uuid::in_order(),
        scope: &request.scope,
        idempotency_key: request.key.as_str(),
        webhook_type: request.webhook_type,
        method: &request.method,
        path: &request.path,
        fingerprint: request.fingerprint.digest(),
        status,
        request_body: request.body.as_ref(),
        error_message: error,
        owner_token,
        lease_expires_at: now.after(lifetimes.lease),
        source_ip: request.source_ip.as_deref(),
        created_at: now,
        last_accessed_at: now,
        expires_at: now.after(lifetimes.ttl),
    }
}
