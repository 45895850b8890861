//! The body of a delivery as it is kept: what an event says is kept with the event alone, which outlives the record, and
//! the record has what is left, and where the event's part belongs.

use std::borrow::Cow;

use crate::{
    json::Value,
    provider::{Provider, event::Event},
    redaction::Redaction,
    store::{StoreError, idempotency::PartedBody, types::Json},
};

/// A body without what its events have of it.
#[derive(Clone)]
pub(super) struct Parted {
    pub rest: Json,
    pub places: Json,
}

impl Parted {
    pub fn as_kept(&self) -> PartedBody<'_> {
        PartedBody {
            rest: &self.rest,
            places: &self.places,
        }
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
