//! What a delivery comes to once it is known what became of its events.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use super::{Answer, EventReport, Reply, RequestError, answer::DeliveryResult, job::Job};
use crate::{
    handler::Outcome,
    idempotency::StoredReply,
    json,
    provider::ReplyForm,
    store::{
        StoreError,
        idempotency::PartedBody,
        types::{Json, Uuid},
    },
};

impl Job {
    /// What is answered and stored, where this became of the events, which are events by their places.
    pub fn result(
        &self,
        mut reports: Vec<(usize, EventReport)>,
    ) -> Result<DeliveryResult, RequestError> {
        reports.sort_by_key(|(place, _)| *place);
        let mut events: Vec<_> = reports.into_iter().map(|(_, event)| event).collect();
        mark_repeats(&mut events);
        let reply = (self.shared.encode)(self.reply(&events));
        // A report is bounded, and so is what a text can be answered: no delivery is to be refused for its answer.
        if reply.body.len() > StoredReply::MAX_BYTES {
            return Err(RequestError::ReplyTooLarge);
        }
        let order = events.iter().find_map(|event| event.handled.order_id);
        let kept: Vec<_> = events.iter().map(|event| event.without(order)).collect();
        let is_new =
            |it: &EventReport| !it.handled.known && it.handled.outcome != Outcome::CONFLICT;
        let body = match &self.prepared.parted {
            Some(parted) if events.iter().all(is_new) => Some(parted.clone()),
            _ => self.parted(|place| events.get(place).is_some_and(is_new))?,
        };
        let retailers: BTreeSet<_> = retailers(&events).collect();
        Ok(DeliveryResult {
            events: Json::written(&kept).map_err(StoreError::unreadable)?,
            retailer: self.retailer(&events),
            order,
            body,
            answer: Answer {
                reply,
                replayed: !events.is_empty() && events.iter().all(|event| event.handled.known),
                retailers: retailers.into_iter().collect(),
                events,
            },
        })
    }

    /// What is left of the body where those of the events are new that `is_new` says so of, by their places. What was
    /// known before was kept before, and may have been told in other words. `None`: the body is not kept.
    pub fn parted(
        &self,
        is_new: impl Fn(usize) -> bool,
    ) -> Result<Option<Arc<PartedBody>>, StoreError> {
        let held = self.piece.held.and_then(|held| held.lease);
        if self.request.is_none() && held.is_none() {
            return Ok(None);
        }
        let delivery = &self.inbound.delivery;
        let payloads: Vec<_> = delivery.events.iter().map(|it| self.payload(it)).collect();
        let parts: Vec<_> = payloads
            .iter()
            .enumerate()
            .map(|(place, payload)| is_new(place).then_some(&**payload))
            .collect();
        let (rest, places) = json::cut(&self.shared.settings.redaction.of(&delivery.body), &parts);
        Ok(Some(Arc::new(PartedBody {
            rest: Json::of(&rest),
            places: Json::written(&places).map_err(StoreError::unreadable)?,
        })))
    }

    /// Whose a delivery is. Nobody's where it names numbers of several, or one that nobody has: who may see the one's
    /// messages must not see another's.
    fn retailer(&self, reports: &[EventReport]) -> Option<Uuid> {
        let first = retailers(reports).next()?;
        let events = self.inbound.delivery.events.iter();
        events
            .zip(reports)
            .all(|(event, report)| match report.handled.retailer_id {
                Some(retailer) => retailer == first,
                None => event.ours.is_none(),
            })
            .then_some(first)
    }

    fn reply(&self, events: &[EventReport]) -> Reply {
        match self.inbound.delivery.reply_form {
            ReplyForm::Document(form) => {
                let text = events
                    .iter()
                    .find_map(|event| event.handled.reply.as_deref());
                Reply::Document {
                    content_type: form.content_type,
                    body: (form.write)(text),
                }
            }
            ReplyForm::Empty => Reply::Empty,
            ReplyForm::Report => report(events),
        }
    }
}

fn retailers(events: &[EventReport]) -> impl Iterator<Item = Uuid> {
    events.iter().filter_map(|event| event.handled.retailer_id)
}

/// What is answered of the events: of very many, or very long ones, the first and how many more there are. All of them
/// are kept with the record.
fn report(all: &[EventReport]) -> Reply {
    /// Meta promises that a delivery has no more.
    const MOST: usize = 1_000;
    const MOST_BYTES: usize = StoredReply::MAX_BYTES / 2;
    let mut bytes = 0;
    let fits = |event: &&EventReport| {
        // With what stands between two of them.
        bytes += serde_json::to_vec(event).map_or(0, |json| json.len() + 1);
        bytes <= MOST_BYTES
    };
    let events: Vec<_> = all.iter().take(MOST).take_while(fits).cloned().collect();
    Reply::Report {
        more: all.len() - events.len(),
        events,
    }
}

/// An event that a delivery has twice is a duplicate the second time.
fn mark_repeats(events: &mut [EventReport]) {
    if events.len() < 2 {
        return;
    }
    let mut seen = HashSet::new();
    for EventReport { id, handled } in events {
        if !seen.insert(&*id) && handled.outcome != Outcome::CONFLICT {
            handled.outcome = Outcome::DUPLICATE;
            handled.known = true;
        }
    }
}
