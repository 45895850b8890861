//! The events of deliveries: claimed with one statement for all of them, then handed to their handlers.

use std::{collections::HashMap, time::Duration};

use super::{
    RequestError,
    answer::EventReport,
    job::{HeldKey, Job},
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
    /// The place of its job in the batch.
    pub job_place: usize,
    pub job: &'a Job,
    pub held: HeldKey,
    /// The event's place in the piece.
    pub at: usize,
}

/// The outcome of an event.
pub(super) struct EventResult {
    /// The place of its job in the batch.
    pub job: usize,
    /// The event's place in the delivery.
    pub place: usize,
    pub report: EventReport,
    /// Whether it is what was planned.
    pub is_expected: bool,
}

/// Acts on events that are in their [order](Item::order): claims all, then hands the new ones to their handlers. An error
/// may be about any of them.
pub(super) fn act_on(
    conn: &mut Conn<'_>,
    items: &[Item<'_>],
) -> Result<Vec<EventResult>, RequestError> {
    let rows: Vec<_> = items.iter().map(Item::row).collect();
    let claimed = events::claim_all(conn, &rows)?;
    drop(rows);
    let (new, known): (Vec<_>, Vec<_>) = items.iter().zip(claimed).partition(|(_, is_new)| *is_new);
    let new: Vec<_> = new.into_iter().map(|(item, _)| *item).collect();
    let known: Vec<_> = known.into_iter().map(|(item, _)| *item).collect();
    let mut results = handle(conn, &new)?;
    results.extend(load_known(conn, &known)?);
    Ok(results)
}

/// Has new events handled.
fn handle(conn: &mut Conn<'_>, items: &[Item<'_>]) -> Result<Vec<EventResult>, RequestError> {
    let mut all = Vec::with_capacity(items.len());
    let mut of_handlers: HashMap<usize, Vec<Item<'_>>> = HashMap::new();
    for item in items {
        match item.job.prepared.plans[item.at].handler {
            Some(handler) => of_handlers.entry(handler).or_default().push(*item),
            None => all.push(item.result(item.job.plan(item.at).expected.clone(), true)),
        }
    }
    for (at, items) in of_handlers {
        let Some(handler) = items.first().map(|item| &item.job.shared.handlers[at]) else {
            continue;
        };
        let tasks: Vec<_> = items.iter().map(Item::task).collect();
        let handled = handler.apply_all(conn, &tasks)?;
        if handled.len() != tasks.len() {
            // Otherwise an event would be answered as done although nobody knows its outcome.
            let wrong = "a handler did not tell of each of its events";
            return Err(HandlerError::failed(wrong).into());
        }
        for (item, handled) in items.iter().zip(handled) {
            let is_expected = item.correct(conn, &handled)?;
            all.push(item.result(handled, is_expected));
        }
    }
    Ok(all)
}

/// What became of events that were known before.
fn load_known(conn: &mut Conn<'_>, items: &[Item<'_>]) -> Result<Vec<EventResult>, RequestError> {
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
        // A clean-up deleted it between the claim and this look-up: worth another try.
        let known = found[provider].get(&event.id);
        let known = known.ok_or(RequestError::InProgress {
            retry_after: Duration::ZERO,
        })?;
        handled.push(item.known(known));
    }
    if let Some(item) = items.first() {
        for handler in &item.job.shared.handlers {
            handler.load_known(conn, &mut handled)?;
        }
    }
    let result = |(item, handled): (&Item<'_>, _)| item.result(handled, false);
    Ok(items.iter().zip(handled).map(result).collect())
}

/// The outcomes of the events of earlier pieces. Looked up again, for a later piece may have changed what an ignored one came
/// to.
pub(super) fn look_again(
    conn: &mut Conn<'_>,
    job: &Job,
) -> Result<Vec<(usize, EventReport)>, RequestError> {
    let mut reports = Vec::clone(&job.piece.before);
    let is_open = |handled: &Handled| !handled.known && handled.outcome == Outcome::IGNORED;
    let all = reports.iter_mut().map(|(_, report)| report);
    let mut open: Vec<_> = all.filter(|report| is_open(&report.handled)).collect();
    let ids: Vec<_> = open.iter().map(|report| &*report.id).collect();
    let found = events::find_all(conn, job.provider().name(), &ids)?;
    let mut changed: Vec<Handled> = Vec::with_capacity(open.len());
    for report in &mut open {
        let mut handled = std::mem::take(&mut report.handled);
        if let Some(known) = found.get(&report.id) {
            handled.outcome = known.outcome.clone();
            handled.order_id = known.order_id.or(handled.order_id);
        }
        changed.push(handled);
    }
    for handler in &job.shared.handlers {
        handler.load_known(conn, &mut changed)?;
    }
    for (report, handled) in open.iter_mut().zip(changed) {
        report.handled = handled;
    }
    Ok(reports)
}

impl<'a> Item<'a> {
    /// Every transaction claims events in this order, so that no two wait for each other.
    pub fn order(&self) -> (&'a str, &'static str) {
        (&self.job.event(self.at).id, self.job.provider().name())
    }

    fn task(&self) -> Task<'a> {
        Task {
            work: self.job.work(self.at),
            delivery_id: self.held.lease.map(|lease| lease.id),
            plan: self.job.plan(self.at),
        }
    }

    /// The row of the event, if its outcome is the planned one.
    fn row(&self) -> NewEvent<'a> {
        let (job, event) = (self.job, self.job.event(self.at));
        let expected = &job.plan(self.at).expected;
        NewEvent {
            provider: job.provider().name(),
            event_id: &event.id,
            kind: &event.kind,
            digest: Digest::spelled(&event.digest),
            delivery_fingerprint: job.inbound.fingerprint.digest(),
            delivery_id: self.held.lease.map(|lease| lease.id),
            outcome: &expected.outcome,
            retailer_id: expected.retailer_id,
            order_id: expected.order_id,
            lasting: expected.lasting,
            reply: expected.reply.as_deref(),
            payload: &job.prepared.payloads[self.at],
            created_at: job.now,
        }
    }

    /// Stores the outcome of the event if it is not the planned one. Returns whether it is.
    fn correct(&self, conn: &mut Conn<'_>, handled: &Handled) -> Result<bool, RequestError> {
        let expected = &self.job.plan(self.at).expected;
        if columns(handled) != columns(expected) {
            let (provider, event) = (self.job.provider().name(), self.job.event(self.at));
            events::correct(conn, provider, &event.id, &columns(handled))?;
        }
        Ok(handled == expected)
    }

    fn known(&self, known: &KnownEvent) -> Handled {
        let event = self.job.event(self.at);
        if known.digest != Digest::spelled(&event.digest) {
            let (provider, id) = (self.job.provider().name(), &event.id);
            log::warn!("{provider} event {id:?} came with another content: nothing was done");
            return Handled {
                retailer_id: known.retailer_id,
                ..Handled::new(Outcome::CONFLICT)
            };
        }
        // The same delivery under another key gets the first answer; another delivery with this event is told that it
        // is a duplicate.
        let is_same_delivery = known.delivery_fingerprint == self.job.inbound.fingerprint.digest();
        // If the delivery was begun and not answered, nobody was told its result yet.
        let resumed = self.held.lease.filter(|lease| lease.resumes);
        let is_news = resumed.is_some_and(|lease| known.delivery_id == Some(lease.id));
        Handled {
            reply: known.reply.clone(),
            retailer_id: known.retailer_id,
            order_id: known.order_id,
            known: !is_news,
            ..Handled::new(match is_same_delivery {
                true => known.outcome.clone(),
                false => Outcome::DUPLICATE,
            })
        }
    }

    fn result(&self, handled: Handled, is_expected: bool) -> EventResult {
        let (place, report) = self.job.report(self.at, handled);
        EventResult {
            job: self.job_place,
            place,
            report,
            is_expected,
        }
    }
}

fn columns(handled: &Handled) -> Correction<'_> {
    Correction {
        outcome: &handled.outcome,
        retailer_id: handled.retailer_id,
        order_id: handled.order_id,
        lasting: handled.lasting,
        reply: handled.reply.as_deref(),
    }
}
