//! The keys of deliveries: looked up, then claimed, with one statement each for all of them.
//!
//! Keys are claimed in a fixed order, and after them the events, also in a fixed order. So transactions that overlap wait
//! for each other without a deadlock.

use std::{borrow::Cow, collections::HashMap, time::Duration};

use super::{
    RequestError,
    job::{HeldKey, Job, Processed},
};
use crate::{
    idempotency::{self, Claim, KeyedRequest, Lease},
    store::{
        Conn, StoreError,
        idempotency::{self as rows, Record},
    },
};

/// What came of claiming the key of a job.
pub(super) enum KeyResult {
    /// The job is to be done.
    Held(HeldKey),
    /// Its record settles it.
    Settled(Box<Result<Processed, RequestError>>),
    /// Nothing was done: the key can only be claimed for a job that is alone.
    Deferred,
}

/// A key that is to be claimed.
struct WantedKey<'a> {
    /// The place of its job.
    at: usize,
    request: Cow<'a, KeyedRequest>,
    /// Whether it is the request's own.
    is_kept: bool,
}

/// Claims the keys of jobs, no two of which have the same, where no record settles them.
pub(super) fn claim_all(conn: &mut Conn<'_>, jobs: &[Job]) -> Result<Vec<KeyResult>, RequestError> {
    let mut results: Vec<KeyResult> = jobs.iter().map(|_| KeyResult::Deferred).collect();
    let mut wanted = Vec::with_capacity(jobs.len());
    for (at, job) in jobs.iter().enumerate() {
        match (&job.piece.held, &job.request) {
            (Some(held), _) => results[at] = renewed(conn, job, *held)?,
            (None, None) => results[at] = KeyResult::Held(HeldKey::without_key()),
            (None, Some(request)) => wanted.push(WantedKey {
                at,
                request: Cow::Borrowed(request),
                is_kept: true,
            }),
        }
    }
    let free = look_up(conn, jobs, wanted, &mut results)?;
    claim_free(conn, jobs, free, &mut results)?;
    Ok(results)
}

/// Makes sure that a key which an earlier piece has claimed is still held.
fn renewed(conn: &mut Conn<'_>, job: &Job, held: HeldKey) -> Result<KeyResult, StoreError> {
    if let Some(lease) = held.lease
        && !idempotency::renew(conn, lease, job.lifetimes.lease, job.now)?
    {
        // Another process took the job for abandoned, and goes on with it.
        let retry_after = Duration::ZERO;
        return Ok(KeyResult::refused(RequestError::InProgress { retry_after }));
    }
    Ok(KeyResult::Held(held))
}

/// Settles jobs by the records of their keys. Gives the keys that have none.
///
/// A header's key is the sender's word: where it stands for another request, that is told. A derived one may be taken by a
/// header that somebody made up, or by the same id with another content: then the delivery gets a key that its content is
/// part of, and its events tell a conflict from a duplicate.
fn look_up<'a>(
    conn: &mut Conn<'_>,
    jobs: &'a [Job],
    mut wanted: Vec<WantedKey<'a>>,
    results: &mut [KeyResult],
) -> Result<Vec<WantedKey<'a>>, RequestError> {
    let mut free = Vec::with_capacity(wanted.len());
    while !wanted.is_empty() {
        let known = records(conn, jobs, &wanted)?;
        let mut again = Vec::new();
        for one in wanted {
            let job = &jobs[one.at];
            let Some(record) = known.get(&one.name()) else {
                free.push(one);
                continue;
            };
            match idempotency::existing_claim(record, &one.request, job.now)? {
                Some(Claim::Mismatch) if one.is_kept && job.inbound.key.is_none() => {
                    again.push(one.with_content()?);
                }
                Some(claim) => results[one.at] = settled(claim, &one),
                // Abandoned, failed or expired: to be taken over, which is done for one at a time.
                None if jobs.len() == 1 => results[one.at] = claim_alone(conn, job, &one)?,
                None => {}
            }
        }
        wanted = again;
    }
    Ok(free)
}

/// The records of keys, by scope and key.
fn records(
    conn: &mut Conn<'_>,
    jobs: &[Job],
    wanted: &[WantedKey<'_>],
) -> Result<HashMap<(String, String), Record>, StoreError> {
    let mut keys: HashMap<&str, Vec<&str>> = HashMap::new();
    for one in wanted {
        let keys = keys.entry(&one.request.scope).or_default();
        keys.push(one.request.key.as_str());
    }
    let begun = std::time::Instant::now();
    let mut known = HashMap::new();
    for (scope, keys) in keys {
        for (key, record) in rows::find_all(conn, scope, &keys)? {
            known.insert((scope.to_owned(), key), record);
        }
    }
    for one in wanted {
        let job = &jobs[one.at];
        job.shared.lookups.took(begun.elapsed(), job.now);
    }
    Ok(known)
}

/// Claims keys that have no record, with the expected answer where there is one.
fn claim_free(
    conn: &mut Conn<'_>,
    jobs: &[Job],
    mut free: Vec<WantedKey<'_>>,
    results: &mut [KeyResult],
) -> Result<(), RequestError> {
    free.sort_by(|one, other| one.order().cmp(&other.order()));
    let (records, lease): (Vec<_>, Vec<Lease>) = free
        .iter()
        .map(|one| {
            let job = &jobs[one.at];
            let expected = job.expected().map(|result| result.settlement());
            idempotency::new_claim(&one.request, job.lifetimes, expected, job.now)
        })
        .unzip();
    let claimed = rows::claim_all(conn, &records)?;
    drop(records);
    for ((one, lease), is_claimed) in free.iter().zip(lease).zip(claimed) {
        let job = &jobs[one.at];
        results[one.at] = match is_claimed {
            true => KeyResult::Held(HeldKey {
                lease: Some(lease),
                is_kept: one.is_kept,
                is_expected: job.expected().is_some(),
            }),
            // Another has claimed it since the look, and has committed.
            false if jobs.len() == 1 => claim_alone(conn, job, one)?,
            false => KeyResult::Deferred,
        };
    }
    Ok(())
}

/// Claims a key that has a record, or had one a moment ago.
fn claim_alone(
    conn: &mut Conn<'_>,
    job: &Job,
    one: &WantedKey<'_>,
) -> Result<KeyResult, StoreError> {
    let claim = idempotency::claim(
        conn,
        &one.request,
        job.lifetimes,
        &job.shared.lookups,
        job.now,
    )?;
    Ok(settled(claim, one))
}

fn settled(claim: Claim, one: &WantedKey<'_>) -> KeyResult {
    match claim {
        Claim::Acquired(lease) => KeyResult::Held(HeldKey {
            lease: Some(lease),
            is_kept: one.is_kept,
            is_expected: false,
        }),
        Claim::Replay(answered) => KeyResult::Settled(Box::new(Ok(Processed::Replayed {
            answered,
            is_kept: one.is_kept,
        }))),
        Claim::InProgress { retry_after } => {
            KeyResult::refused(RequestError::InProgress { retry_after })
        }
        Claim::Mismatch => KeyResult::refused(RequestError::KeyMismatch),
    }
}

impl KeyResult {
    fn refused(error: RequestError) -> Self {
        Self::Settled(Box::new(Err(error)))
    }
}

impl HeldKey {
    pub fn without_key() -> Self {
        Self {
            lease: None,
            is_kept: false,
            is_expected: true,
        }
    }
}

impl Job {
    /// The result, if all outcomes are as planned.
    pub fn expected(&self) -> Option<&super::answer::DeliveryResult> {
        let is_whole = !self.piece.is_followed && self.piece.before.is_empty();
        self.prepared.expected.as_ref().filter(|_| is_whole)
    }
}

impl WantedKey<'_> {
    fn name(&self) -> (String, String) {
        let (scope, key) = self.order();
        (scope.to_owned(), key.to_owned())
    }

    fn order(&self) -> (&str, &str) {
        (&self.request.scope, self.request.key.as_str())
    }

    /// The key that the content is part of.
    fn with_content(self) -> Result<Self, RequestError> {
        let request = self.request.into_owned();
        let content = request.fingerprint.to_string();
        Ok(Self {
            at: self.at,
            request: Cow::Owned(KeyedRequest {
                key: format!("{}.{content:.16}", request.key).parse()?,
                ..request
            }),
            is_kept: false,
        })
    }
}
