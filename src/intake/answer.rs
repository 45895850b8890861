//! What a delivery is answered, and what became of its events.

use serde::{Serialize, Serializer, ser::SerializeStruct as _};
use std::sync::Arc;

use crate::{
    handler::{Handled, Note, Outcome},
    idempotency::{Settlement, StoredReply},
    store::{
        idempotency::PartedBody,
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
    /// The outcome of each event.
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
    /// Its outcome. `known`: before, with the same content, so that nothing was done.
    pub handled: Handled,
}

/// The answer to a delivery.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// What is sent back.
    pub reply: StoredReply,
    /// Whether it was answered before, and nothing was done.
    pub replayed: bool,
    /// The outcome of the events that were looked at: none where the key's record answered.
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
            ..Self::default()
        }
    }
}

impl EventReport {
    /// The same for a record that names this order: with the order's number alone, for its id takes 36 bytes.
    pub(super) fn without(&self, order: Option<Uuid>) -> Self {
        let mut kept = self.clone();
        let is_named = kept.handled.order_number.is_some() && kept.handled.order_id == order;
        kept.handled.order_id = kept.handled.order_id.filter(|_| !is_named);
        kept
    }

    /// Whether this became of it now.
    pub fn is_new(&self, outcome: Outcome) -> bool {
        !self.handled.known && self.handled.outcome == outcome
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
pub(super) struct DeliveryResult {
    pub answer: Answer,
    pub retailer: Option<Uuid>,
    pub order: Option<Uuid>,
    pub events: Json,
    pub body: Option<Arc<PartedBody>>,
}

impl DeliveryResult {
    pub fn settlement(&self) -> Settlement<'_> {
        Settlement {
            reply: &self.answer.reply,
            retailer: self.retailer,
            order: self.order,
            events: Some(&self.events),
            body: self.body.as_deref(),
        }
    }
}
