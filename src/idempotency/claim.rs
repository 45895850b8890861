//! Claims keys: decides by the record of a key who may do its request.

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::{
    Answered, Claim, KeyedRequest, Lease, Lifetimes, LookupTimer, StoredReply, new_record,
};

use crate::store::{
    Conn, StoreError,
    idempotency::{self as rows, Record, RecordStatus},
    types::{Timestamp, Uuid},
};

/// Claims the key of `request`. A key is acquired where it is new, has expired, or belongs to the same request, which
/// failed or was abandoned. Until it expires a key stands for one request.
///
/// # Errors
/// Where the database refuses.
pub fn claim(
    conn: &mut Conn<'_>,
    request: &KeyedRequest,
    lifetimes: Lifetimes,
    lookups: &LookupTimer,
    now: Timestamp,
) -> Result<Claim, StoreError> {
    let (scope, key) = (&*request.scope, request.key.as_str());
    // The look comes first, because a replay then needs no lock and no disk write.
    let known = lookups.timed(now, || rows::find(conn, scope, key))?;
    if let Some(record) = &known
        && let Some(claim) = existing_claim(record, request, now)?
    {
        return Ok(claim);
    }
    let token = Uuid::random();
    let new = new_record(
        request,
        lifetimes,
        now,
        RecordStatus::InProgress,
        Some(token),
        None,
    );
    let expires_at = new.expires_at;
    let acquired = |id, resumes| {
        Claim::Acquired(Lease {
            id,
            resumes,
            token,
            expires_at,
            is_answered: false,
        })
    };
    if let Some(record) = known
        && rows::take_over(conn, &new)?
    {
        let is_unanswered = record.status != RecordStatus::Completed;
        let resumes = is_unanswered && record.fingerprint == new.fingerprint;
        return Ok(acquired(record.id, resumes));
    }
    // New, or a clean-up has taken it away since our look.
    if rows::claim(conn, &new)? {
        return Ok(acquired(new.id, false));
    }
    // Another claimed it between our look and our claim, and has committed since.
    match rows::find(conn, scope, key)? {
        Some(record) => compare(&record, request, now),
        None => Ok(Claim::InProgress {
            retry_after: Duration::ZERO,
        }),
    }
}

/// The result that claiming the key of `request` would have. `None` if the key is free. Changes nothing.
///
/// # Errors
/// Where the database refuses.
pub fn look(
    conn: &mut Conn<'_>,
    request: &KeyedRequest,
    now: Timestamp,
) -> Result<Option<Claim>, StoreError> {
    match rows::find(conn, &request.scope, request.key.as_str())? {
        Some(record) => existing_claim(&record, request, now),
        None => Ok(None),
    }
}

/// The result of claiming the key of `request`, by the key's record. `None` if the key may be taken over.
///
/// # Errors
/// Where the record cannot be read.
pub fn existing_claim(
    record: &Record,
    request: &KeyedRequest,
    now: Timestamp,
) -> Result<Option<Claim>, StoreError> {
    let is_other = record.fingerprint != request.fingerprint.digest();
    let is_bound = record.expires_at > now && is_other;
    (is_active(record, now) || is_bound)
        .then(|| compare(record, request, now))
        .transpose()
}

/// Whether a record keeps others from its key: an answer until it expires, work for as long as it lives. The same rule as
/// in [`rows::take_over`].
pub(super) fn is_active(record: &Record, now: Timestamp) -> bool {
    match record.status {
        RecordStatus::Completed => record.expires_at > now,
        RecordStatus::InProgress => record.lease_expires_at > now,
        RecordStatus::Failed => false,
    }
}

pub(super) fn compare(
    record: &Record,
    request: &KeyedRequest,
    now: Timestamp,
) -> Result<Claim, StoreError> {
    if record.fingerprint != request.fingerprint.digest() {
        return Ok(Claim::Mismatch);
    }
    match record.status {
        RecordStatus::Completed => Ok(Claim::Replay(Answered {
            record: record.id,
            reply: StoredReply::from_record(record)?,
            expires_at: record.expires_at,
        })),
        RecordStatus::InProgress | RecordStatus::Failed => {
            /// The shortest time after which asking again is worthwhile.
            const LEAST: Duration = Duration::from_secs(1);
            let going_on = record.created_at.until(now).max(LEAST);
            Ok(Claim::InProgress {
                // Nobody knows how long the request takes. A sender that waits for as long as it has taken so far comes back at
                // most twice as late. A request whose owner died is taken over when its lease runs out.
                retry_after: going_on.min(now.until(record.lease_expires_at)),
            })
        }
    }
}
