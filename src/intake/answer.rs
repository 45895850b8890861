//! What a delivery is answered, by what became of its events.

use serde::{Serialize, Serializer, ser::SerializeStruct as _};
use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use super::{IntakeError, body::Parted, job::Job};
use crate::{
    handler::{Handled, Note, Outcome},
    idempotency::{Conclusion, StoredReply},
    provider::ReplyForm,
    store::{
        StoreError,
        types::{Json, Uuid},
    },
};

/// What a delivery is answered, before it is put into HTTP.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// A document.
    Document {
        /// Its content type.
        content_type: &'static str,
        /// The document.
        body: String,
    },
    /// Nothing.
    Empty,
    /// What became of each event.
    Report {
        /// The events, or the first of them.
        events: Vec<EventReport>,
        /// How many more there are.
        more: usize,
    },
}

/// What became of one event.
#[derive(Clone, Debug, PartialEq)]
pub struct EventReport {
    /// The event.
    pub id: String,
    /// What became of it. `known`: before, with the same content, so that nothing was done.
    pub handled: Handled,
}

/// The answer to a delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// What is sent back.
    pub reply: StoredReply,
    /// Whether it was answered before, and nothing was done.
    pub replayed: bool,
    /// What became of the events that were looked at: none where the key's record answered.
    pub events: Vec<EventReport>,
    /// The retailers that it was for: none where the key's record answered.
    pub retailers: Vec<Uuid>,
}

impl Answer {
    /// What the operator's counters are to know of the events.
    pub fn notes(&self) -> impl Iterator<Item = &Note> {
        self.events.iter().flat_map(|event| &event.handled.notes)
    }

    pub(super) fn replay(reply: StoredReply) -> Self {
        Self {
            reply,
            replayed: true,
            events: Vec::new(),
            retailers: Vec::new(),
        }
    }
}

impl EventReport {
    /// Whether this became of it now.
    pub fn is_new(&self, outcome: Outcome) -> bool {
        !self.handled.known && self.handled.outcome == outcome
    }

    /// How many bytes it takes in an answer, with what stands between two of them.
    fn size(&self) -> usize {
        serde_json::to_vec(self).map_or(0, |json| json.len() + 1)
    }
}

impl Serialize for EventReport {
    /// As it is answered, and kept in the record.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let handled = &self.handled;
        let mut members = serializer.serialize_struct("EventReport", 4)?;
        members.serialize_field("id", &self.id)?;
        members.serialize_field("outcome", handled.outcome.as_str())?;
        members.serialize_field("order_id", &handled.order_id.map(|id| id.0))?;
        members.serialize_field("order_number", &handled.order_number)?;
        members.end()
    }
}

/// What a delivery comes to.
#[derive(Clone)]
pub(super) struct Settled {
    pub answer: Answer,
    retailer: Option<Uuid>,
    order: Option<Uuid>,
    events: Json,
    body: Option<Arc<Parted>>,
}

impl Settled {
    pub fn conclusion(&self) -> Conclusion<'_> {
        Conclusion {
            reply: &self.answer.reply,
            retailer: self.retailer,
            order: self.order,
            events: Some(&self.events),
            body: self.body.as_deref().map(Parted::as_kept),
        }
    }
}

impl Job {
    /// What is answered and stored, where this became of the events, which are told by their places.
    pub fn settle(&self, mut told: Vec<(usize, EventReport)>) -> Result<Settled, IntakeError> {
        told.sort_by_key(|(place, _)| *place);
        let mut events: Vec<_> = told.into_iter().map(|(_, event)| event).collect();
        tell_repeats(&mut events);
        let reply = (self.encode)(self.reply(&events));
        // A report is bounded, and so is what a text can be answered: no delivery is to be refused for its answer.
        if reply.body.len() > StoredReply::MAX_BYTES {
            return Err(IntakeError::ReplyTooLarge);
        }
        let kept = Json::written(&events);
        let is_new = |event: &EventReport| {
            !event.handled.known && event.handled.outcome != Outcome::CONFLICT
        };
        let body = match &self.prepared.parted {
            Some(parted) if events.iter().all(is_new) => Some(parted.clone()),
            _ => self.parted(|place| events.get(place).is_some_and(is_new))?,
        };
        let retailers: BTreeSet<_> = retailers(&events).collect();
        Ok(Settled {
            events: kept.map_err(|error| StoreError::Unreadable(error.into()))?,
            retailer: self.retailer(&events),
            order: events.iter().find_map(|event| event.handled.order_id),
            body,
            answer: Answer {
                reply,
                replayed: !events.is_empty() && events.iter().all(|event| event.handled.known),
                retailers: retailers.into_iter().collect(),
                events,
            },
        })
    }

    /// Whose a delivery is. Nobody's where it names numbers of several, or one that nobody has: who may see the one's
    /// messages must not see another's.
    fn retailer(&self, told: &[EventReport]) -> Option<Uuid> {
        let first = retailers(told).next()?;
        let events = self.inbound.delivery.events.iter();
        events
            .zip(told)
            .all(|(event, told)| match told.handled.retailer_id {
                Some(retailer) => retailer == first,
                None => event.ours.is_none(),
            })
            .then_some(first)
    }

    fn reply(&self, told: &[EventReport]) -> Reply {
        match self.inbound.delivery.reply_form {
            ReplyForm::Document(form) => {
                let text = told.iter().find_map(|event| event.handled.reply.as_deref());
                Reply::Document {
                    content_type: form.content_type,
                    body: (form.write)(text),
                }
            }
            ReplyForm::Empty => Reply::Empty,
            ReplyForm::Report => report(told),
        }
    }
}

fn retailers(told: &[EventReport]) -> impl Iterator<Item = Uuid> {
    told.iter().filter_map(|event| event.handled.retailer_id)
}

/// What is answered of the events: of very many, or very long ones, the first and how many more there are. All of them
/// are kept with the record.
fn report(told: &[EventReport]) -> Reply {
    /// Meta promises that a delivery has no more.
    const MOST: usize = 1_000;
    const MOST_BYTES: usize = StoredReply::MAX_BYTES / 2;
    let mut bytes = 0;
    let fits = |event: &&EventReport| {
        bytes += event.size();
        bytes <= MOST_BYTES
    };
    let events: Vec<_> = told.iter().take(MOST).take_while(fits).cloned().collect();
    Reply::Report {
        more: told.len() - events.len(),
        events,
    }
}

/// What a delivery tells twice is a duplicate the second time.
fn tell_repeats(told: &mut [EventReport]) {
    if told.len() < 2 {
        return;
    }
    let mut seen = HashSet::new();
    for EventReport { id, handled } in told {
        if !seen.insert(&*id) && handled.outcome != Outcome::CONFLICT {
            handled.outcome = Outcome::DUPLICATE;
            handled.known = true;
        }
    }
}
