//! The one transaction in which deliveries are acted on, many or one: keys are claimed, then events; the work is done, and
//! the replies are stored. What is not plain falls out, and is done by itself by the same code.

use std::collections::HashSet;

use super::{
    IntakeError,
    events::{self, Item, Told},
    job::{Done, Held, Job},
    keys::{self, Hold},
};
use crate::{
    causes::with_causes,
    idempotency,
    store::{Conn, StoreError},
};

/// What became of a job. None: it is not plain, and nothing was done.
pub(super) type Fate = Option<Result<Done, IntakeError>>;

/// Acts on jobs. Gives the fate of each.
///
/// # Errors
/// Where nothing of any is kept; it says nothing about which of them it is about.
pub(super) fn act(conn: &mut Conn<'_>, jobs: &[Job]) -> Result<Vec<Fate>, IntakeError> {
    let mut fates: Vec<Fate> = jobs.iter().map(|_| None).collect();
    let plain: Vec<usize> = apart(jobs);
    let chosen: Vec<Job>;
    let jobs_now: &[Job] = match plain.len() == jobs.len() {
        true => jobs,
        false => {
            chosen = plain.iter().map(|&at| jobs[at].clone()).collect();
            &chosen
        }
    };
    for (at, fate) in plain.into_iter().zip(act_on_plain(conn, jobs_now)?) {
        fates[at] = fate;
    }
    Ok(fates)
}

/// Acts on a job by itself.
///
/// # Errors
/// As [`act`].
pub(super) fn act_on_one(conn: &mut Conn<'_>, job: Job) -> Result<Done, IntakeError> {
    let fate = act_on_plain(conn, &[job])?.pop().flatten();
    // Cannot be: nothing falls out of one.
    fate.unwrap_or_else(|| Err(StoreError::Closed.into()))
}

/// Those that have nothing in common with one before them: of two with one key or one event, the second is to see what came
/// of the first.
fn apart(jobs: &[Job]) -> Vec<usize> {
    if jobs.len() == 1 {
        return vec![0];
    }
    let (mut keys, mut ids) = (HashSet::new(), HashSet::new());
    let is_plain = |job: &Job| {
        let key = job.request.as_ref();
        let key = key.map(|request| (request.scope.clone(), request.key.as_str().to_owned()));
        let provider = job.provider().name();
        let events: HashSet<_> = job
            .events()
            .map(|event| (provider, event.id.clone()))
            .collect();
        let is_known = key.as_ref().is_some_and(|key| keys.contains(key));
        // What falls out counts too: what comes after it is to come after it still.
        let is_plain = !is_known && ids.is_disjoint(&events);
        keys.extend(key);
        ids.extend(events);
        is_plain
    };
    let plain: Vec<bool> = jobs.iter().map(is_plain).collect();
    (0..jobs.len()).filter(|&at| plain[at]).collect()
}

fn act_on_plain(conn: &mut Conn<'_>, jobs: &[Job]) -> Result<Vec<Fate>, IntakeError> {
    let holds = keys::hold(conn, jobs)?;
    let items = items(jobs, &holds);
    let (told, mut failure) = tell(conn, &items)?;
    let mut of_jobs: Vec<Vec<Told>> = jobs.iter().map(|_| Vec::new()).collect();
    for one in told {
        of_jobs[one.of].push(one);
    }
    let mut fates = Vec::with_capacity(jobs.len());
    for (at, ((job, hold), told)) in jobs.iter().zip(holds).zip(of_jobs).enumerate() {
        fates.push(match hold {
            Hold::Apart => None,
            Hold::Settled(outcome) => Some(*outcome),
            Hold::Held(held) => {
                let own = failure.take_if(|failure| failure.of == at);
                let own = own.map(|failure| failure.error);
                Some(Ok(conclude(conn, job, held, told, own)?))
            }
        });
    }
    Ok(fates)
}

/// The events of the jobs whose keys are held, in the order in which they are claimed.
fn items<'a>(jobs: &'a [Job], holds: &[Hold]) -> Vec<Item<'a>> {
    let mut items = Vec::with_capacity(jobs.len());
    for (of, (job, hold)) in jobs.iter().zip(holds).enumerate() {
        if let Hold::Held(held) = *hold {
            let places = 0..job.piece.places.len();
            items.extend(places.map(|at| Item { of, job, held, at }));
        }
    }
    items.sort_by(|one, other| one.order().cmp(&other.order()));
    items
}

/// Why an event of a job failed alone.
struct Failure {
    /// The place of the job: others that are acted on with it may have no events, and nothing failed of theirs.
    of: usize,
    error: IntakeError,
}

/// Acts on events. Gives with what became of them why one of a delivery's failed alone: a delivery that is by itself has
/// its events done one by one, each in a savepoint, where one of them fails.
fn tell(
    conn: &mut Conn<'_>,
    items: &[Item<'_>],
) -> Result<(Vec<Told>, Option<Failure>), IntakeError> {
    let is_one_delivery = items.iter().all(|item| item.of == items[0].of);
    if items.len() < 2 || !is_one_delivery {
        return Ok((events::act_on(conn, items)?, None));
    }
    match conn.savepoint(|conn| events::act_on(conn, items)) {
        Err(error) if error.is_about_one_event() => {
            log::warn!("events are acted on one by one: {}", with_causes(&error));
            tell_one_by_one(conn, items)
        }
        told => Ok((told?, None)),
    }
}

fn tell_one_by_one(
    conn: &mut Conn<'_>,
    items: &[Item<'_>],
) -> Result<(Vec<Told>, Option<Failure>), IntakeError> {
    let mut told = Vec::with_capacity(items.len());
    let mut failure = None;
    for item in items {
        match conn.savepoint(|conn| events::act_on(conn, std::slice::from_ref(item))) {
            Ok(one) => told.extend(one),
            Err(error) if error.is_about_one_event() => {
                let id = &item.job.event(item.at).id;
                log::error!("event {id:?} failed: {}", with_causes(&error));
                failure = Some(Failure { of: item.of, error });
            }
            Err(error) => return Err(error),
        }
    }
    Ok((told, failure))
}

/// Stores what a job came to, where its record does not say so already.
fn conclude(
    conn: &mut Conn<'_>,
    job: &Job,
    held: Held,
    told: Vec<Told>,
    failure: Option<IntakeError>,
) -> Result<Done, IntakeError> {
    let is_foreseen = told.iter().all(|told| told.is_foreseen);
    let told = told.into_iter().map(|told| (told.place, told.report));
    if job.piece.is_followed {
        let told = told.collect();
        return Ok(Done::Piece {
            held,
            told: failure.map_or(Ok(told), Err),
        });
    }
    if let Some(failure) = failure {
        if let Some(owned) = held.owned {
            idempotency::release(conn, owned, &with_causes(&failure))?;
        }
        return Ok(Done::InPart(failure));
    }
    let settled = match job.foreseen().filter(|_| is_foreseen) {
        Some(foreseen) => foreseen.clone(),
        None => {
            let before = events::look_again(conn, job)?;
            job.settle(before.into_iter().chain(told).collect())?
        }
    };
    if let Some(owned) = held.owned
        && !(held.is_foreseen && is_foreseen)
        && !idempotency::complete(conn, owned, settled.conclusion())?
    {
        // Cannot be: the claim is of this transaction, or was renewed in it. If it were, all of it must go.
        return Err(IntakeError::KeyMismatch);
    }
    let owned = held.owned.filter(|_| held.is_kept);
    Ok(Done::Answered {
        kept: owned.map(|owned| owned.answered(settled.answer.reply.clone())),
        answer: Box::new(settled.answer),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        idempotency::{KeyedRequest, fingerprint},
        intake::{Inbound, job::Piece},
        json::Value,
        provider::{
            Delivery, REGISTRY, ReplyForm,
            event::{Content, Event},
        },
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
        Job {
            request: Some(Arc::new(KeyedRequest {
                scope: delivery.provider.scope().into(),
                key: key.parse().unwrap(),
                webhook_type: "test",
                method: String::new(),
                path: String::new(),
                fingerprint,
                body: None,
                source_ip: None,
            })),
            piece: Piece::whole(&delivery.events),
            redaction: crate::redaction::Redaction::default(),
            inbound: Arc::new(Inbound {
                delivery,
                key: None,
                method: String::new(),
                path: String::new(),
                fingerprint,
                source_ip: None,
            }),
            terms: crate::idempotency::Terms {
                ttl: Duration::from_secs(60),
                lease: Duration::from_secs(60),
            },
            lookups: crate::idempotency::Lookups::default(),
            encode: |_| crate::idempotency::StoredReply::default(),
            handlers: Arc::new([]),
            prepared: Arc::default(),
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
        let held = || Hold::Held(Held::without_key());
        let holds = [held(), held(), held()];
        let order = |holds: &[Hold]| -> Vec<(String, &str)> {
            let items = items(&jobs, holds);
            items
                .iter()
                .map(|item| (item.order().0.to_owned(), item.order().1))
                .collect()
        };
        let all = order(&holds);
        assert_eq!(all.len(), 5);
        assert!(all.is_sorted(), "{all:?}");
        // Of what its record settles, or what falls out, nothing is claimed.
        let [first, _, _] = [held(), held(), held()];
        assert_eq!(order(&[first, Hold::Apart, Hold::Apart]).len(), 2);
    }

    #[test]
    fn what_has_something_in_common_with_one_before_it_is_not_plain() {
        let jobs = [
            job(0, "1", &["a", "b"]),
            job(0, "1", &["c"]),
            job(0, "2", &["b"]),
            // The same id at another provider, and the same key in another scope.
            job(1, "1", &["a"]),
            // In common with one that fell out.
            job(0, "3", &["c"]),
            job(0, "4", &["d"]),
        ];
        assert_eq!(apart(&jobs), [0, 3, 5]);
        assert_eq!(apart(&jobs[1..2]), [0]);
    }
}
