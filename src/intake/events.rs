//! The events of deliveries: claimed with one statement for all of them, then handed to their handlers.

use std::{collections::HashMap, time::Duration};

use super::{
    IntakeError,
    answer::EventReport,
    job::{Held, Job},
};
use crate::{
    handler::{Handled, HandlerError, Outcome, Task},
    store::{
        Conn,
        events::{self, Correction, KnownEvent, NewEvent},
        types::Digest,
    },
};

/// An event of a job whose key is held.
#[derive(Clone, Copy)]
pub(super) struct Item<'a> {
    /// The place of the job among those that are acted on.
    pub of: usize,
    pub job: &'a Job,
    pub held: Held,
    /// Its place in the piece.
    pub at: usize,
}

/// What became of an event, with its place in the delivery.
pub(super) struct Told {
    /// The place of its job among those that are acted on.
    pub of: usize,
    pub place: usize,
    pub report: EventReport,
    /// Whether it is all as it was foreseen.
    pub is_foreseen: bool,
}

/// Acts on events, which are to be in their [order](Item::order). Touches what they share only once they are claimed. An
/// error says nothing about which of them it is about.
pub(super) fn act_on(conn: &mut Conn<'_>, items: &[Item<'_>]) -> Result<Vec<Told>, IntakeError> {
    let rows: Vec<_> = items.iter().map(Item::row).collect();
    let claimed = events::claim_all(conn, &rows)?;
    drop(rows);
    let (new, known): (Vec<_>, Vec<_>) = items.iter().zip(claimed).partition(|(_, is_new)| *is_new);
    let new: Vec<_> = new.into_iter().map(|(item, _)| *item).collect();
    let known: Vec<_> = known.into_iter().map(|(item, _)| *item).collect();
    let mut told = handle(conn, &new)?;
    told.extend(recall(conn, &known)?);
    Ok(told)
}

/// Has new events handled.
fn handle(conn: &mut Conn<'_>, items: &[Item<'_>]) -> Result<Vec<Told>, IntakeError> {
    let mut all = Vec::with_capacity(items.len());
    let mut of_handlers: HashMap<usize, Vec<Item<'_>>> = HashMap::new();
    for item in items {
        match item.job.prepared.plans[item.at].handler {
            Some(handler) => of_handlers.entry(handler).or_default().push(*item),
            None => all.push(item.told(item.job.plan(item.at).foreseen.clone(), true)),
        }
    }
    for (at, items) in of_handlers {
        let Some(handler) = items.first().map(|item| &item.job.handlers[at]) else {
            continue;
        };
        let tasks: Vec<_> = items.iter().map(Item::task).collect();
        let handled = handler.apply_all(conn, &tasks)?;
        if handled.len() != tasks.len() {
            // Or an event would be answered for as done of which nobody knows what became.
            let wrong = "a handler did not tell of each of its events";
            return Err(HandlerError::failed(wrong).into());
        }
        for (item, handled) in items.iter().zip(handled) {
            let is_foreseen = item.correct(conn, &handled)?;
            all.push(item.told(handled, is_foreseen));
        }
    }
    Ok(all)
}

/// Tells what became of events that were known before.
fn recall(conn: &mut Conn<'_>, items: &[Item<'_>]) -> Result<Vec<Told>, IntakeError> {
    let mut ids: HashMap<&str, Vec<&str>> = HashMap::new();
    for item in items {
        let ids = ids.entry(item.job.provider().name()).or_default();
        ids.push(&item.job.event(item.at).id);
    }
    let mut found = HashMap::new();
    for (provider, ids) in ids {
        found.insert(provider, events::find_all(conn, provider, &ids)?);
    }
    let mut handled = Vec::with_capacity(items.len());
    for item in items {
        let (provider, event) = (item.job.provider().name(), item.job.event(item.at));
        // It was forgotten between our claim and this look: worth another try.
        let known = found[provider].get(&event.id);
        let known = known.ok_or(IntakeError::InProgress {
            retry_after: Duration::ZERO,
        })?;
        handled.push(item.recalled(known));
    }
    if let Some(item) = items.first() {
        for handler in &*item.job.handlers {
            handler.recall(conn, &mut handled)?;
        }
    }
    let told = items.iter().zip(handled);
    Ok(told
        .map(|(item, handled)| item.told(handled, false))
        .collect())
}

/// What became of the events of earlier pieces, as it is now: a later piece may have made something of one that came to
/// nothing.
pub(super) fn look_again(
    conn: &mut Conn<'_>,
    job: &Job,
) -> Result<Vec<(usize, EventReport)>, IntakeError> {
    let mut told = Vec::clone(&job.piece.before);
    let is_open = |told: &&mut (usize, EventReport)| {
        !told.1.handled.known && told.1.handled.outcome == Outcome::IGNORED
    };
    let mut open: Vec<_> = told.iter_mut().filter(is_open).map(|(_, it)| it).collect();
    let ids: Vec<_> = open.iter().map(|report| &*report.id).collect();
    let found = events::find_all(conn, job.provider().name(), &ids)?;
    let mut changed = Vec::new();
    for report in &open {
        let known = found.get(&report.id);
        let known = known.filter(|known| known.outcome != report.handled.outcome);
        changed.push(known.map_or_else(
            || report.handled.clone(),
            |known| Handled {
                outcome: known.outcome.clone(),
                order_id: known.order_id,
                ..report.handled.clone()
            },
        ));
    }
    for handler in &*job.handlers {
        handler.recall(conn, &mut changed)?;
    }
    for (report, handled) in open.iter_mut().zip(changed) {
        report.handled = handled;
    }
    Ok(told)
}

impl<'a> Item<'a> {
    /// Events are claimed in this order, whichever deliveries tell them.
    pub fn order(&self) -> (&'a str, &'static str) {
        (&self.job.event(self.at).id, self.job.provider().name())
    }

    fn task(&self) -> Task<'a> {
        Task {
            work: self.job.work(self.at),
            delivery_id: self.held.owned.map(|owned| owned.id),
            plan: self.job.plan(self.at),
        }
    }

    /// The row of the event, where it is new and comes to what was foreseen.
    fn row(&self) -> NewEvent<'a> {
        let (job, event) = (self.job, self.job.event(self.at));
        let foreseen = &job.plan(self.at).foreseen;
        NewEvent {
            provider: job.provider().name(),
            event_id: &event.id,
            kind: &event.kind,
            digest: Digest::spelled(&event.digest),
            delivery_fingerprint: job.inbound.fingerprint.digest(),
            delivery_id: self.held.owned.map(|owned| owned.id),
            outcome: &foreseen.outcome,
            retailer_id: foreseen.retailer_id,
            order_id: foreseen.order_id,
            reply: foreseen.reply.as_deref(),
            payload: &job.prepared.payloads[self.at],
            created_at: job.now,
        }
    }

    /// Writes down what the event came to, where that is not what was foreseen. Tells whether all of it is.
    fn correct(&self, conn: &mut Conn<'_>, handled: &Handled) -> Result<bool, IntakeError> {
        let foreseen = &self.job.plan(self.at).foreseen;
        let row = |handled: &Handled| {
            (
                handled.outcome.clone(),
                handled.retailer_id,
                handled.order_id,
                handled.reply.clone(),
            )
        };
        if row(handled) != row(foreseen) {
            let correction = Correction {
                outcome: &handled.outcome,
                retailer_id: handled.retailer_id,
                order_id: handled.order_id,
                reply: handled.reply.as_deref(),
            };
            let (provider, event) = (self.job.provider().name(), self.job.event(self.at));
            events::correct(conn, provider, &event.id, &correction)?;
        }
        Ok(handled == foreseen)
    }

    fn recalled(&self, known: &KnownEvent) -> Handled {
        let event = self.job.event(self.at);
        // The number may have been given to a retailer since.
        let retailer = known
            .retailer_id
            .or(self.job.plan(self.at).foreseen.retailer_id);
        if known.digest != Digest::spelled(&event.digest) {
            log::warn!(
                "{} event {:?} came with another content: nothing was done",
                self.job.provider().name(),
                event.id
            );
            return Handled {
                retailer_id: retailer,
                ..Handled::new(Outcome::CONFLICT)
            };
        }
        // The same delivery under another key gets the answer of the first time; another delivery that tells the
        // event again learns that it is old.
        let is_same_delivery = known.delivery_fingerprint == self.job.inbound.fingerprint.digest();
        // Where its delivery was begun and not answered, this is the first time that somebody is told.
        let resumed = self.held.owned.filter(|owned| owned.resumes);
        let is_news = resumed.is_some_and(|owned| known.delivery_id == Some(owned.id));
        Handled {
            reply: known.reply.clone(),
            retailer_id: retailer,
            order_id: known.order_id,
            known: !is_news,
            ..Handled::new(match is_same_delivery {
                true => known.outcome.clone(),
                false => Outcome::DUPLICATE,
            })
        }
    }

    fn told(&self, handled: Handled, is_foreseen: bool) -> Told {
        let (place, report) = self.job.report(self.at, handled);
        Told {
            of: self.of,
            place,
            report,
            is_foreseen,
        }
    }
}
