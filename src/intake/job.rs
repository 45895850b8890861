//! A delivery that is to be acted on, with everything that can be done for it before the transaction.

use std::{
    borrow::Cow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};
use tokio::time::Instant;

use super::{Answer, EventReport, Inbound, RequestError, Shared, answer::DeliveryResult};
use crate::{
    handler::{Handled, Plan, Work},
    idempotency::{Answered, KeyedRequest, Lease, Lifetimes, admission::Ticket},
    json::Value,
    provider::{Provider, event::Event},
    redaction::Redaction,
    store::{
        idempotency::PartedBody,
        types::{Json, Timestamp},
    },
};

/// A delivery that is to be acted on, or a piece of one that tells of very many events.
#[derive(Clone)]
pub(super) struct Job {
    pub shared: Arc<Shared>,
    pub inbound: Arc<Inbound>,
    pub request: Option<Arc<KeyedRequest>>,
    pub lifetimes: Lifetimes,
    pub piece: Piece,
    pub prepared: Arc<Prepared>,
    pub ticket: Arc<Ticket>,
    pub now: Timestamp,
}

/// What of a delivery is acted on.
#[derive(Clone, Default)]
pub(super) struct Piece {
    /// The places of its events in the delivery, in the order of their ids.
    pub places: Vec<usize>,
    /// The key, where an earlier piece has claimed it.
    pub held: Option<HeldKey>,
    /// The outcomes of the events of the earlier pieces, by their places.
    pub before: Arc<Vec<(usize, EventReport)>>,
    /// Whether other pieces follow, so that there is nothing to answer yet.
    pub is_followed: bool,
}

/// A key that is claimed.
#[derive(Clone, Copy)]
pub(super) struct HeldKey {
    /// `None` if the request has no idempotency key.
    pub lease: Option<Lease>,
    /// Whether it is the request's own key, whose answer the caches may keep.
    pub is_kept: bool,
    /// Whether it was claimed with the expected answer.
    pub is_expected: bool,
}

/// What was done about the events of a piece before the transaction, in their order.
#[derive(Default)]
pub(super) struct Prepared {
    /// What is stored of what the provider said.
    pub payloads: Vec<Json>,
    pub plans: Vec<Planned>,
    /// What is left of the body, where all events of the delivery are new.
    pub parted: Option<Arc<PartedBody>>,
    /// The result of a delivery of one event, if that comes to what was planned.
    pub expected: Option<DeliveryResult>,
}

/// What is to be done about an event.
pub(super) struct Planned {
    /// The place of the handler that wants it.
    pub handler: Option<usize>,
    pub plan: Plan,
}

/// What the transaction did about a job.
pub(super) enum Processed {
    /// The delivery was acted on.
    Answered {
        answer: Box<Answer>,
        /// What the record of the request's own key says now.
        kept: Option<Answered>,
    },
    /// A record had the answer.
    Replayed {
        answered: Answered,
        /// Whether it is that of the request's own key.
        is_kept: bool,
    },
    /// Some of its events could not be acted on. The others are kept and will be known when the delivery comes again; the
    /// key is given back for that.
    InPart(RequestError),
    /// A piece that others follow: what became of its events, or why some could not be acted on. The key is still held.
    Piece {
        held: HeldKey,
        events: Result<Vec<(usize, EventReport)>, RequestError>,
    },
}

impl Piece {
    /// All of a delivery. Events are claimed in the order of their ids, so that two deliveries that overlap wait for each
    /// other instead of locking each other out.
    pub fn whole(events: &[Event]) -> Self {
        let mut places: Vec<usize> = (0..events.len()).collect();
        places.sort_by_key(|&place| &events[place].id);
        Self {
            places,
            ..Self::default()
        }
    }
}

impl Job {
    /// The same, tried at a later time than it was prepared at.
    pub fn later(&self, begun: Instant) -> Self {
        Self {
            now: self.now.after(begun.elapsed()),
            ..self.clone()
        }
    }

    /// Does what can be done before the transaction.
    pub fn prepared(mut self) -> Self {
        let payload = |event| Json::of(&self.payload(event));
        let payloads: Vec<Json> = self.events().map(payload).collect();
        let plans = (0..payloads.len()).map(|at| self.planned(at, &payloads[at]));
        let mut prepared = Prepared {
            plans: plans.collect(),
            payloads,
            parted: None,
            expected: None,
        };
        if let ([event], [planned]) = (&*self.inbound.delivery.events, &*prepared.plans) {
            let report = EventReport {
                id: event.id.clone(),
                handled: planned.plan.expected.clone(),
            };
            // An error happens again in the transaction, and is reported there.
            prepared.expected = self.result(vec![(0, report)]).ok();
        } else if !self.piece.is_followed {
            prepared.parted = self.parted(|_| true).ok().flatten();
        }
        self.prepared = Arc::new(prepared);
        self
    }

    fn planned(&self, at: usize, payload: &Json) -> Planned {
        let event = self.event(at);
        let handlers = &self.shared.handlers;
        let handler = handlers.iter().position(|it| it.wants(event));
        let work = self.work_with(event, payload);
        // A panic here would close the connection. It happens again in the transaction, and is reported there.
        let plan = handler.and_then(|handler| {
            catch_unwind(AssertUnwindSafe(|| handlers[handler].plan(&work))).ok()
        });
        Planned {
            handler,
            plan: plan.unwrap_or_default(),
        }
    }

    /// What is stored of what the provider said of an event.
    pub fn payload<'a>(&self, event: &'a Event) -> Cow<'a, Value> {
        let redaction = &self.shared.settings.redaction;
        let mut around = self.provider().members_around_events().iter();
        match around.any(|member| redaction.covers(member)) {
            // A part of what is masked in the body.
            true => Cow::Owned(Redaction::MASK.into()),
            false => redaction.of(&event.payload),
        }
    }

    /// The events of the piece, in the order of their ids.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        let events = &self.inbound.delivery.events;
        self.piece.places.iter().map(move |&place| &events[place])
    }

    /// An event of the piece.
    pub fn event(&self, at: usize) -> &Event {
        &self.inbound.delivery.events[self.piece.places[at]]
    }

    /// What a handler is told of an event of the piece.
    pub fn work(&self, at: usize) -> Work<'_> {
        self.work_with(self.event(at), &self.prepared.payloads[at])
    }

    fn work_with<'a>(&'a self, event: &'a Event, payload: &'a Json) -> Work<'a> {
        Work {
            provider: self.provider(),
            event,
            payload,
            fingerprint: self.inbound.fingerprint.digest(),
            now: self.now,
        }
    }

    pub fn plan(&self, at: usize) -> &Plan {
        &self.prepared.plans[at].plan
    }

    /// The outcome of an event of the piece, with its place in the delivery.
    pub fn report(&self, at: usize, handled: Handled) -> (usize, EventReport) {
        let id = self.event(at).id.clone();
        (self.piece.places[at], EventReport { id, handled })
    }

    pub fn provider(&self) -> &'static dyn Provider {
        self.inbound.delivery.provider
    }
}
