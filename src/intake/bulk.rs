//! Many deliveries acted on in one transaction, with a statement for all of them where [`super::transaction`] has one for
//! each. Only for what is plain: a delivery of one event, whose key and event are new. Whatever turns out otherwise is
//! left for a transaction of its own, which does it as if it had never been here.
//!
//! Keys are claimed in their order, then events in theirs, and only then anything else, as in a transaction of one
//! delivery: so transactions that overlap wait for each other, and no two of them for one another.

use std::{
    collections::{HashMap, HashSet},
    time::Instant,
};

use super::{
    IntakeError,
    plan::{self, Plan},
    retailers::Retailers,
    transaction::{Done, Settled, Told, Transaction},
};
use crate::{
    commerce::{amendments, ordering},
    idempotency::{self, Answered, Claim},
    provider::event::{Content, Event},
    store::{
        StoreError,
        amendments::Noted,
        bulk::BulkConn,
        idempotency::{AnsweredRecord, Record},
        orders,
        types::Uuid,
    },
};

/// What became of a delivery. None: it is not plain, and nothing was done.
pub(super) type Fate = Option<Result<Done, IntakeError>>;

/// The one event of a delivery that may be plain. What a customer changed of a message is seldom told.
pub(super) fn only_event(transaction: &Transaction) -> Option<&Event> {
    match transaction.inbound.delivery.events.as_slice() {
        [event] if !matches!(event.content, Content::Amended(_)) => Some(event),
        _ => None,
    }
}

/// A delivery that has been plain so far, with what is to be done about it.
struct Candidate<'a> {
    at: usize,
    transaction: &'a Transaction,
    event: &'a Event,
    plan: Plan,
    settled: Settled,
    told: Told,
}

/// A candidate whose key is ours.
struct Claimed<'a> {
    candidate: &'a Candidate<'a>,
    record: Option<Uuid>,
    kept: Option<Answered>,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Setback {
    /// A number is taken, or a message has made an order that its event does not know of: which, each transaction of its
    /// own finds out.
    #[error("an order was there before")]
    Ordered,
    /// The database did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Acts on what is plain of the deliveries. Gives the fate of each.
///
/// # Errors
/// Where nothing of it is kept: see [`Setback`].
pub(super) fn run(
    conn: &mut BulkConn<'_>,
    transactions: &[Transaction],
) -> Result<Vec<Fate>, Setback> {
    let mut fates: Vec<Fate> = transactions.iter().map(|_| None).collect();
    let new = look_up(conn, transactions, &mut fates)?;
    let candidates = candidates(conn, transactions, new)?;
    let claimed = claim(conn, &candidates)?;
    let mut noted = carry_out(conn, &claimed)?;
    for Claimed {
        candidate, kept, ..
    } in claimed
    {
        let mut answer = candidate.settled.answer.clone();
        for event in &mut answer.events {
            let noted = event.order_id.and_then(|order| noted.remove(&order));
            event.noted_earlier = noted.unwrap_or_default();
        }
        fates[candidate.at] = Some(Ok(Done::Answered { answer, kept }));
    }
    Ok(fates)
}

/// Settles those whose key is known. Gives the others that may be plain, each with its place and its event, no two with
/// one key or event.
fn look_up<'a>(
    conn: &mut BulkConn<'_>,
    transactions: &'a [Transaction],
    fates: &mut [Fate],
) -> Result<Vec<(usize, &'a Event)>, StoreError> {
    let known = known_records(conn, transactions)?;
    let mut seen = HashSet::new();
    let mut new = Vec::new();
    for (at, transaction) in transactions.iter().enumerate() {
        let Some(event) = only_event(transaction) else {
            continue;
        };
        let name = transaction
            .request
            .as_ref()
            .map(|request| (&*request.scope, request.key.as_str()));
        if let Some(record) = name.and_then(|name| known.get(&name)) {
            fates[at] = replay(transaction, record)?;
        } else if name.is_none_or(|name| seen.insert(name))
            && seen.insert((transaction.provider().name(), &event.id))
        {
            new.push((at, event));
        }
    }
    Ok(new)
}

/// What the record of its key says to a delivery. None: nothing that settles it.
fn replay(transaction: &Transaction, record: &Record) -> Result<Fate, StoreError> {
    let Some(request) = &transaction.request else {
        return Ok(None);
    };
    Ok(
        match idempotency::verdict(record, request, transaction.now)? {
            Some(Claim::Replay(answered)) => Some(Ok(Done::Replayed {
                answered,
                is_kept: true,
            })),
            Some(Claim::InProgress { retry_after }) => {
                Some(Err(IntakeError::InProgress { retry_after }))
            }
            Some(Claim::Mismatch) if transaction.inbound.key.is_some() => {
                Some(Err(IntakeError::KeyMismatch))
            }
            Some(Claim::Mismatch | Claim::Ours(_)) | None => None,
        },
    )
}

/// The records of the deliveries' keys, by scope and key.
fn known_records<'a>(
    conn: &mut BulkConn<'_>,
    transactions: &'a [Transaction],
) -> Result<HashMap<(&'a str, &'a str), Record>, StoreError> {
    let mut keys: HashMap<&str, Vec<&str>> = HashMap::new();
    for request in transactions.iter().filter_map(|t| t.request.as_ref()) {
        let keys = keys.entry(&request.scope).or_default();
        keys.push(request.key.as_str());
    }
    let begun = Instant::now();
    let mut known = HashMap::new();
    for (scope, keys) in keys {
        let mut records: HashMap<String, Record> =
            conn.records(scope, &keys)?.into_iter().collect();
        for key in keys {
            if let Some(record) = records.remove(key) {
                known.insert((scope, key), record);
            }
        }
    }
    for transaction in transactions.iter().filter(|t| t.request.is_some()) {
        transaction.lookups.took(begun.elapsed(), transaction.now);
    }
    Ok(known)
}

/// Plans what is new, in the order of the keys.
fn candidates<'a>(
    conn: &mut BulkConn<'_>,
    transactions: &'a [Transaction],
    new: Vec<(usize, &'a Event)>,
) -> Result<Vec<Candidate<'a>>, StoreError> {
    let retailers = Retailers::of(&mut conn.conn(), new.iter().map(|(_, event)| *event))?;
    let mut candidates = Vec::with_capacity(new.len());
    for (at, event) in new {
        let transaction = &transactions[at];
        let plan = transaction.plan(&mut conn.conn(), 0, event, retailers.find(event))?;
        let told = Told::planned(event, plan.clone(), false);
        // Its own transaction will tell what is wrong.
        if let Ok(settled) = transaction.settle(vec![told.clone()]) {
            candidates.push(Candidate {
                at,
                transaction,
                event,
                plan,
                settled,
                told,
            });
        }
    }
    leave_what_was_ordered(conn, &mut candidates)?;
    candidates.sort_by_key(|candidate| {
        let request = candidate.transaction.request.as_ref();
        request.map(|request| (&request.scope, request.key.as_str()))
    });
    Ok(candidates)
}

/// Leaves messages that made an order before their events were forgotten, though today they would make none.
fn leave_what_was_ordered(
    conn: &mut BulkConn<'_>,
    candidates: &mut Vec<Candidate<'_>>,
) -> Result<(), StoreError> {
    let mut messages: HashMap<_, Vec<&str>> = HashMap::new();
    for candidate in &*candidates {
        if candidate.plan.order.is_none() && candidate.event.content.may_order() {
            let source = plan::order_source(candidate.transaction.provider());
            messages
                .entry(source)
                .or_default()
                .push(&candidate.event.id);
        }
    }
    for (source, messages) in messages {
        let ordered = orders::ordered(&mut conn.conn(), &source, &messages)?;
        candidates.retain(|candidate| {
            let provider = candidate.transaction.provider();
            plan::order_source(provider) != source || !ordered.contains(&candidate.event.id)
        });
    }
    Ok(())
}

/// Claims keys, then events. Gives the candidates whose key and event are ours; of the others nothing is kept.
fn claim<'a>(
    conn: &mut BulkConn<'_>,
    candidates: &'a [Candidate<'a>],
) -> Result<Vec<Claimed<'a>>, StoreError> {
    let mut claimed = claim_keys(conn, candidates)?;
    claimed.sort_by_key(|claimed| {
        let Candidate {
            transaction, event, ..
        } = claimed.candidate;
        (&event.id, transaction.provider().name())
    });
    let rows: Vec<_> = claimed
        .iter()
        .map(
            |Claimed {
                 candidate, record, ..
             }| {
                candidate
                    .transaction
                    .row(0, candidate.event, &candidate.plan, *record)
            },
        )
        .collect();
    let new = conn.claim_events(&rows)?;
    let (ours, others): (Vec<_>, Vec<_>) = claimed.into_iter().partition(|claimed| {
        let Candidate {
            transaction, event, ..
        } = claimed.candidate;
        new.contains(&(transaction.provider().name().to_owned(), event.id.clone()))
    });
    let records: Vec<_> = others.iter().filter_map(|claimed| claimed.record).collect();
    if !records.is_empty() {
        conn.delete_records(&records)?;
    }
    Ok(ours)
}

fn claim_keys<'a>(
    conn: &mut BulkConn<'_>,
    candidates: &'a [Candidate<'a>],
) -> Result<Vec<Claimed<'a>>, StoreError> {
    let mut rows: Vec<AnsweredRecord<'_>> = Vec::new();
    let claimed: Vec<_> = candidates
        .iter()
        .map(|candidate| {
            let transaction = candidate.transaction;
            let kept = transaction.request.as_ref().map(|request| {
                let came_to = candidate.settled.conclusion();
                let (terms, now) = (transaction.terms, transaction.now);
                let (row, kept) = idempotency::answered_record(request, terms, came_to, now);
                rows.push(row);
                kept
            });
            Claimed {
                candidate,
                record: kept.as_ref().map(|kept| kept.record),
                kept,
            }
        })
        .collect();
    let new = conn.insert_records(&rows)?;
    let is_ours = |claimed: &Claimed<'_>| claimed.record.is_none_or(|id| new.contains(&id));
    Ok(claimed.into_iter().filter(is_ours).collect())
}

/// Does what was planned. Gives what was noted on which order.
fn carry_out(
    conn: &mut BulkConn<'_>,
    claimed: &[Claimed<'_>],
) -> Result<HashMap<Uuid, Noted>, Setback> {
    let placed: Vec<_> = claimed
        .iter()
        .filter_map(|claimed| claimed.candidate.plan.order.as_ref())
        .collect();
    let orders: Vec<_> = placed.iter().map(|placed| &placed.order).collect();
    if conn.insert_orders(&orders)? < orders.len() {
        return Err(Setback::Ordered);
    }
    let items: Vec<_> = placed.iter().flat_map(|placed| &placed.items).collect();
    conn.insert_items(&items)?;
    let entries: Vec<_> = orders.iter().map(|order| ordering::owed(order)).collect();
    conn.insert_entries(&entries)?;
    let noted = amendments::note_earlier_on_all(&mut conn.conn(), &orders)?;
    let mut statuses: Vec<_> = claimed.iter().map(|claimed| claimed.candidate).collect();
    statuses.sort_by_key(|candidate| match &candidate.event.content {
        Content::Status(change) => Some(&change.message_id),
        _ => None,
    });
    for candidate in statuses {
        let told = (0, candidate.told.clone());
        candidate
            .transaction
            .advance_statuses(&mut conn.conn(), &[told])?;
    }
    Ok(noted)
}
