//! The one transaction in which deliveries are acted on, many or one: it claims the keys, then the events, has the handlers
//! do their work, and stores the replies. A job that cannot be batched is left out, and done alone by the same code.

use std::collections::HashSet;

use super::{
    RequestError,
    events::{self, EventResult, Item},
    job::{HeldKey, Job, Processed},
    keys::{self, KeyResult},
};
use crate::{
    causes::with_causes,
    idempotency,
    store::{Conn, StoreError},
};

/// What became of a job. `None`: it could not be batched, and nothing was done.
pub(super) type JobResult = Option<Result<Processed, RequestError>>;

/// Acts on jobs. Gives the result of each.
///
/// # Errors
/// Where nothing of any job is kept. The error does not say which job caused it.
pub(super) fn act(conn: &mut Conn<'_>, jobs: &[Job]) -> Result<Vec<JobResult>, RequestError> {
    let places = batchable(jobs);
    if places.len() == jobs.len() {
        return act_on_batch(conn, jobs);
    }
    let batch: Vec<Job> = places.iter().map(|&at| jobs[at].clone()).collect();
    let mut results: Vec<JobResult> = jobs.iter().map(|_| None).collect();
    for (at, result) in places.into_iter().zip(act_on_batch(conn, &batch)?) {
        results[at] = result;
    }
    Ok(results)
}

/// Acts on a job by itself.
///
/// # Errors
/// As [`act`].
pub(super) fn act_on_one(conn: &mut Conn<'_>, job: Job) -> Result<Processed, RequestError> {
    let result = act_on_batch(conn, &[job])?.pop().flatten();
    // Cannot be: one job is never left out.
    result.unwrap_or_else(|| Err(StoreError::Closed.into()))
}

/// The places of the jobs that share no key and no event with an earlier one: of two that do, the second must see the
/// outcome of the first.
fn batchable(jobs: &[Job]) -> Vec<usize> {
    if jobs.len() == 1 {
        return vec![0];
    }
    let (mut keys, mut ids) = (HashSet::new(), HashSet::new());
    let is_batchable = |job: &Job| {
        let key = job.request.as_ref();
        let key = key.map(|request| (request.scope.clone(), request.key.as_str().to_owned()));
        let provider = job.provider().name();
        let events: HashSet<_> = job
            .events()
            .map(|event| (provider, event.id.clone()))
            .collect();
        let is_known = key.as_ref().is_some_and(|key| keys.contains(key));
        // A job that is left out counts too: one that shares something with it must come after it.
        let is_batchable = !is_known && ids.is_disjoint(&events);
        keys.extend(key);
        ids.extend(events);
        is_batchable
    };
    let is_batchable: Vec<bool> = jobs.iter().map(is_batchable).collect();
    (0..jobs.len()).filter(|&at| is_batchable[at]).collect()
}

fn act_on_batch(conn: &mut Conn<'_>, jobs: &[Job]) -> Result<Vec<JobResult>, RequestError> {
    jobs.iter().for_each(|job| job.ticket.begin());
    let keys = keys::claim_all(conn, jobs)?;
    let items = items(jobs, &keys);
    let (all_events, mut failure) = act_on_events(conn, &items)?;
    let mut by_job: Vec<Vec<EventResult>> = jobs.iter().map(|_| Vec::new()).collect();
    for event in all_events {
        by_job[event.job].push(event);
    }
    let mut results = Vec::with_capacity(jobs.len());
    for (at, ((job, key), events)) in jobs.iter().zip(keys).zip(by_job).enumerate() {
        results.push(match key {
            KeyResult::Deferred => None,
            KeyResult::Settled(outcome) => Some(*outcome),
            KeyResult::Held(held) => {
                let failure = failure.take_if(|failure| failure.job == at);
                let error = failure.map(|failure| failure.error);
                Some(Ok(conclude(conn, job, held, events, error)?))
            }
        });
    }
    Ok(results)
}

/// The events of the jobs whose keys are held, in the order in which they are claimed.
fn items<'a>(jobs: &'a [Job], keys: &[KeyResult]) -> Vec<Item<'a>> {
    let mut items = Vec::with_capacity(jobs.len());
    for (place, (job, key)) in jobs.iter().zip(keys).enumerate() {
        if let KeyResult::Held(held) = *key {
            let events = 0..job.piece.places.len();
            items.extend(events.map(|at| Item {
                job_place: place,
                job,
                held,
                at,
            }));
        }
    }
    items.sort_by(|one, other| one.order().cmp(&other.order()));
    items
}

/// Why some events of a job failed while the others were done.
struct Failure {
    /// The place of the job. Jobs without events may be in the same batch; nothing of theirs failed.
    job: usize,
    error: RequestError,
}

/// Acts on events. Where one fails and all are of one delivery, they are done one by one, each in a savepoint, and the
/// failure is given beside the results.
fn act_on_events(
    conn: &mut Conn<'_>,
    items: &[Item<'_>],
) -> Result<(Vec<EventResult>, Option<Failure>), RequestError> {
    let is_one_delivery = items
        .iter()
        .all(|item| item.job_place == items[0].job_place);
    if items.len() < 2 || !is_one_delivery {
        return Ok((events::act_on(conn, items)?, None));
    }
    match conn.savepoint(|conn| events::act_on(conn, items)) {
        Err(error) if error.is_about_work() => {
            log::warn!("events are acted on one by one: {}", with_causes(&error));
            act_one_by_one(conn, items)
        }
        results => Ok((results?, None)),
    }
}

fn act_one_by_one(
    conn: &mut Conn<'_>,
    items: &[Item<'_>],
) -> Result<(Vec<EventResult>, Option<Failure>), RequestError> {
    let mut results = Vec::with_capacity(items.len());
    let mut failure = None;
    for item in items {
        match conn.savepoint(|conn| events::act_on(conn, std::slice::from_ref(item))) {
            Ok(one) => results.extend(one),
            Err(error) if error.is_about_work() => {
                let id = &item.job.event(item.at).id;
                log::error!("event {id:?} failed: {}", with_causes(&error));
                failure = Some(Failure {
                    job: item.job_place,
                    error,
                });
            }
            Err(error) => return Err(error),
        }
    }
    Ok((results, failure))
}

/// Stores the result of a job, unless its key was already claimed with that very answer.
fn conclude(
    conn: &mut Conn<'_>,
    job: &Job,
    held: HeldKey,
    events: Vec<EventResult>,
    failure: Option<RequestError>,
) -> Result<Processed, RequestError> {
    let is_expected = events.iter().all(|event| event.is_expected);
    let reports = events.into_iter().map(|event| (event.place, event.report));
    if job.piece.is_followed {
        let reports = reports.collect();
        return Ok(Processed::Piece {
            held,
            events: failure.map_or(Ok(reports), Err),
        });
    }
    if let Some(failure) = failure {
        if let Some(lease) = held.lease {
            idempotency::release(conn, lease, &with_causes(&failure))?;
        }
        return Ok(Processed::InPart(failure));
    }
    let result = match job.expected().filter(|_| is_expected) {
        Some(expected) => expected.clone(),
        None => {
            let before = events::look_again(conn, job)?;
            job.result(before.into_iter().chain(reports).collect())?
        }
    };
    if let Some(lease) = held.lease
        && !(held.is_expected && is_expected)
        && !idempotency::complete(conn, lease, result.settlement())?
    {
        // Cannot be: the claim is of this transaction, or was renewed in it. If it were, all of it must go.
        return Err(RequestError::KeyMismatch);
    }
    let lease = held.lease.filter(|_| held.is_kept);
    Ok(Processed::Answered {
        kept: lease.map(|lease| lease.answered(result.answer.reply.clone())),
        answer: Box::new(result.answer),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        idempotency::{KeyedRequest, Lifetimes, LookupTimer, StoredReply, fingerprint},
        intake::{Inbound, Settings, Shared, job::Piece},
        json::Value,
        provider::{
            Delivery, REGISTRY, ReplyForm,
            event::{Content, Event},
        },
        redaction::Redaction,
        store::types::Timestamp,
    };
    use std::{sync::Arc, time::Duration};

    fn event(id: &str) -> Event {
        Event {
            id: id.to_owned(),
            kind: String::new(),
            digest: String::new(),
            payload: Value::Null,
            ours: None,
            content: Content::Other,
        }
    }

    fn job(provider: usize, key: &str, events: &[&str]) -> Job {
        let fingerprint = fingerprint("POST", "/", "", "", key.as_bytes());
        let delivery = Delivery {
            provider: REGISTRY[provider],
            webhook_type: "test",
            reply_form: ReplyForm::Empty,
            derived_key: key.to_owned(),
            body: Value::Null,
            events: events.iter().map(|id| event(id)).collect(),
        };
        let (scope, key) = (delivery.provider.scope(), key.parse().unwrap());
        let ticket = idempotency::admission::Admission::default().enter();
        Job {
            shared: Arc::new(Shared {
                settings: Settings {
                    keys_enabled: true,
                    redaction: Redaction::default(),
                    batch: 1,
                },
                handlers: Vec::new(),
                encode: |_| StoredReply::default(),
                lookups: LookupTimer::default(),
            }),
            request: Some(Arc::new(KeyedRequest::new(scope, key, "test", fingerprint))),
            lifetimes: Lifetimes {
                ttl: Duration::from_secs(60),
                lease: Duration::from_secs(60),
            },
            piece: Piece::whole(&delivery.events),
            inbound: Arc::new(Inbound {
                delivery,
                key: None,
                method: String::new(),
                path: String::new(),
                fingerprint,
                source_ip: None,
            }),
            prepared: Arc::default(),
            ticket: ticket.unwrap(),
            now: Timestamp::now(),
        }
    }

    #[test]
    fn events_are_claimed_in_one_order_whichever_deliveries_tell_them() {
        let jobs = [
            job(0, "1", &["d", "a"]),
            job(1, "2", &["c", "a"]),
            job(0, "3", &["b"]),
        ];
        let held = || KeyResult::Held(HeldKey::without_key());
        let order =
            |keys: &[KeyResult]| -> Vec<_> { items(&jobs, keys).iter().map(Item::order).collect() };
        let all = order(&[held(), held(), held()]);
        let [one, two] = [0, 1].map(|at| REGISTRY[at].name());
        let expected = [("a", one), ("a", two), ("b", one), ("c", two), ("d", one)];
        assert_eq!(all, expected);
        // Nothing is claimed for a job whose key is not held.
        assert_eq!(
            order(&[held(), KeyResult::Deferred, KeyResult::Deferred]).len(),
            2
        );
    }

    #[test]
    fn a_job_that_shares_a_key_or_an_event_with_one_before_it_is_not_batched() {
        let jobs = [
            job(0, "1", &["a", "b"]),
            job(0, "1", &["c"]),
            job(0, "2", &["b"]),
            // The same id at another provider, and the same key in another scope.
            job(1, "1", &["a"]),
            // Shared with one that was left out.
            job(0, "3", &["c"]),
            job(0, "4", &["d"]),
        ];
        assert_eq!(batchable(&jobs), [0, 3, 5]);
        assert_eq!(batchable(&jobs[1..2]), [0]);
    }
}
