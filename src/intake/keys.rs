//! The keys of deliveries: looked up, then claimed, with one statement each for all of them.
//!
//! Keys are claimed in their order, and events only then, in theirs: so transactions that overlap wait for each other, and
//! no two of them for one another.

use std::{borrow::Cow, collections::HashMap, time::Duration};

use super::{
    IntakeError,
    job::{Done, Held, Job},
};
use crate::{
    idempotency::{self, Claim, KeyedRequest, Owned},
    store::{
        Conn, StoreError,
        idempotency::{self as rows, Record},
    },
};

/// What came of the key of a job.
pub(super) enum Hold {
    /// The job is ours to do.
    Held(Held),
    /// Its record settles it.
    Settled(Box<Result<Done, IntakeError>>),
    /// It is not plain, and nothing was done about it: it is to be done by itself.
    Apart,
}

/// A key that is wanted.
struct Wanted<'a> {
    at: usize,
    request: Cow<'a, KeyedRequest>,
    /// Whether it is the request's own.
    is_kept: bool,
}

/// Claims the keys of jobs, no two of which have the same; of what the record of a key settles, nothing is claimed.
pub(super) fn hold(conn: &mut Conn<'_>, jobs: &[Job]) -> Result<Vec<Hold>, IntakeError> {
    let mut holds: Vec<Hold> = jobs.iter().map(|_| Hold::Apart).collect();
    let mut wanted = Vec::with_capacity(jobs.len());
    for (at, job) in jobs.iter().enumerate() {
        match (&job.piece.held, &job.request) {
            (Some(held), _) => holds[at] = renewed(conn, job, *held)?,
            (None, None) => holds[at] = Hold::Held(Held::without_key()),
            (None, Some(request)) => wanted.push(Wanted {
                at,
                request: Cow::Borrowed(request),
                is_kept: true,
            }),
        }
    }
    let free = look_up(conn, jobs, wanted, &mut holds)?;
    claim(conn, jobs, free, &mut holds)?;
    Ok(holds)
}

/// Makes sure that a key which an earlier piece has claimed is still held.
fn renewed(conn: &mut Conn<'_>, job: &Job, held: Held) -> Result<Hold, StoreError> {
    let still = match held.owned {
        Some(owned) => idempotency::renew(conn, owned, job.terms.lease, job.now)?,
        None => true,
    };
    Ok(match still {
        true => Hold::Held(held),
        // Somebody took it for abandoned, and goes on where this one is.
        false => Hold::refused(IntakeError::InProgress {
            retry_after: Duration::ZERO,
        }),
    })
}

/// Settles what the records of the keys settle. Gives what is to be claimed.
///
/// A header's key is the sender's word: where it stands for another request, that is told. A derived one may be taken by a
/// header that somebody made up, or by the same id with another content: then the delivery gets a key that its content is
/// part of, and its events tell a conflict from a duplicate.
fn look_up<'a>(
    conn: &mut Conn<'_>,
    jobs: &'a [Job],
    mut wanted: Vec<Wanted<'a>>,
    holds: &mut [Hold],
) -> Result<Vec<Wanted<'a>>, IntakeError> {
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
            match idempotency::verdict(record, &one.request, job.now)? {
                Some(Claim::Mismatch) if one.is_kept && job.inbound.key.is_none() => {
                    again.push(one.with_content()?);
                }
                Some(claim) => holds[one.at] = settled(claim, &one),
                // Abandoned, failed or expired: to be taken over, which is done for one at a time.
                None if jobs.len() == 1 => holds[one.at] = claim_alone(conn, job, &one)?,
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
    wanted: &[Wanted<'_>],
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
        job.lookups.took(begun.elapsed(), job.now);
    }
    Ok(known)
}

/// Claims keys that have no record, with the answer where that is foreseen.
fn claim(
    conn: &mut Conn<'_>,
    jobs: &[Job],
    mut free: Vec<Wanted<'_>>,
    holds: &mut [Hold],
) -> Result<(), IntakeError> {
    free.sort_by(|one, other| one.order().cmp(&other.order()));
    let (records, owned): (Vec<_>, Vec<Owned>) = free
        .iter()
        .map(|one| {
            let job = &jobs[one.at];
            let foreseen = job.foreseen().map(|settled| settled.conclusion());
            idempotency::new_claim(&one.request, job.terms, foreseen, job.now)
        })
        .unzip();
    let claimed = rows::claim_all(conn, &records)?;
    drop(records);
    for ((one, owned), is_ours) in free.iter().zip(owned).zip(claimed) {
        let job = &jobs[one.at];
        holds[one.at] = match is_ours {
            true => Hold::Held(Held {
                owned: Some(owned),
                is_kept: one.is_kept,
                is_foreseen: job.foreseen().is_some(),
            }),
            // Another has claimed it since our look, and has committed.
            false if jobs.len() == 1 => claim_alone(conn, job, one)?,
            false => Hold::Apart,
        };
    }
    Ok(())
}

/// Claims a key that has a record, or had one a moment ago.
fn claim_alone(conn: &mut Conn<'_>, job: &Job, one: &Wanted<'_>) -> Result<Hold, StoreError> {
    let claim = idempotency::claim(conn, &one.request, job.terms, &job.lookups, job.now)?;
    Ok(settled(claim, one))
}

fn settled(claim: Claim, one: &Wanted<'_>) -> Hold {
    match claim {
        Claim::Ours(owned) => Hold::Held(Held {
            owned: Some(owned),
            is_kept: one.is_kept,
            is_foreseen: false,
        }),
        Claim::Replay(answered) => Hold::Settled(Box::new(Ok(Done::Replayed {
            answered,
            is_kept: one.is_kept,
        }))),
        Claim::InProgress { retry_after } => Hold::refused(IntakeError::InProgress { retry_after }),
        Claim::Mismatch => Hold::refused(IntakeError::KeyMismatch),
    }
}

impl Hold {
    fn refused(error: IntakeError) -> Self {
        Self::Settled(Box::new(Err(error)))
    }
}

impl Held {
    pub fn without_key() -> Self {
        Self {
            owned: None,
            is_kept: false,
            is_foreseen: true,
        }
    }
}

impl Job {
    /// What it comes to, if it comes to what was planned and nothing follows.
    pub fn foreseen(&self) -> Option<&super::answer::Settled> {
        let is_whole = !self.piece.is_followed && self.piece.before.is_empty();
        self.prepared.foreseen.as_ref().filter(|_| is_whole)
    }
}

impl Wanted<'_> {
    fn name(&self) -> (String, String) {
        let (scope, key) = self.order();
        (scope.to_owned(), key.to_owned())
    }

    fn order(&self) -> (&str, &str) {
        (&self.request.scope, self.request.key.as_str())
    }

    /// The key that the content is part of.
    fn with_content(self) -> Result<Self, IntakeError> {
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
