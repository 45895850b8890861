//! The body of a delivery as it is kept: what an event says is kept with the event alone, which outlives the record, and
//! the record has what is left, and where the event's part belongs.

use std::{borrow::Cow, sync::Arc};

use super::job::Job;
use crate::{
    json::{self, Value},
    provider::{Provider, event::Event},
    redaction::Redaction,
    store::{StoreError, idempotency::PartedBody, types::Json},
};

/// A body without what its events have of it.
#[derive(Clone)]
pub(super) struct Parted {
    rest: Json,
    places: Json,
}

impl Parted {
    pub fn as_kept(&self) -> PartedBody<'_> {
        PartedBody {
            rest: &self.rest,
            places: &self.places,
        }
    }
}

impl Job {
    /// What is left of the body where those of the events are new that `is_new` says so of, by their places. What was
    /// known before was kept before, and may have been told in other words. None: the body is not kept.
    pub fn parted(
        &self,
        is_new: impl Fn(usize) -> bool,
    ) -> Result<Option<Arc<Parted>>, StoreError> {
        let held = self.piece.held.and_then(|held| held.owned);
        if self.request.is_none() && held.is_none() {
            return Ok(None);
        }
        let (delivery, redaction) = (&self.inbound.delivery, &self.redaction);
        let events = delivery.events.iter();
        let payloads: Vec<_> = events
            .map(|event| payload(redaction, delivery.provider, event))
            .collect();
        let parts: Vec<_> = payloads
            .iter()
            .enumerate()
            .map(|(place, payload)| is_new(place).then_some(&**payload))
            .collect();
        let (rest, places) = json::cut(&redaction.of(&delivery.body), &parts);
        Ok(Some(Arc::new(Parted {
            rest: Json::of(&rest),
            places: Json::written(&places).map_err(unreadable)?,
        })))
    }
}

/// What is stored of what the provider said of an event.
pub(super) fn payload<'a>(
    redaction: &Redaction,
    provider: &dyn Provider,
    event: &'a Event,
) -> Cow<'a, Value> {
    let mut around = provider.members_around_events().iter();
    match around.any(|member| redaction.covers(member)) {
        // A part of what is masked in the body.
        true => Cow::Owned(Redaction::MASK.into()),
        false => redaction.of(&event.payload),
    }
}

pub(super) fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unreadable(error.into())
}
