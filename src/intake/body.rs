//! The body of a delivery as it is kept: what an event says is kept with the event alone, which outlives the record, and
//! the record has what is left, and where the event's part belongs.

use serde::Deserialize;
use std::{borrow::Cow, sync::Arc};

use super::job::Job;
use crate::{
    json::{self, Place, Value},
    provider::{Provider, event::Event},
    redaction::Redaction,
    store::{
        Conn, StoreError, deliveries::DeliveryInFull, events, idempotency::PartedBody, types::Json,
    },
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

/// The whole body of a delivery, put together again. What a clean-up took of it is null.
pub(super) fn whole(
    conn: &mut Conn<'_>,
    found: &DeliveryInFull,
) -> Result<Option<Json>, StoreError> {
    #[derive(Deserialize)]
    struct Told {
        id: String,
    }
    let (Some(rest), Some(places), Some(told)) = (
        &found.request_body,
        &found.body_places,
        &found.delivery.events,
    ) else {
        return Ok(found.request_body.clone());
    };
    let places: Vec<Option<Place>> = serde_json::from_str(places.as_str()).map_err(unreadable)?;
    let told: Vec<Told> = serde_json::from_str(told.as_str()).map_err(unreadable)?;
    let ids: Vec<_> = told.iter().map(|told| &*told.id).collect();
    let payloads = events::payloads(conn, found.delivery.id, &ids)?;
    let mut body: Value = rest.as_str().parse().map_err(unreadable)?;
    for (place, id) in places.iter().zip(ids) {
        if let (Some(place), Some(payload)) = (place, payloads.get(id)) {
            let part = payload.as_str().parse().map_err(unreadable)?;
            json::put_back(&mut body, place, part);
        }
    }
    Ok(Some(Json::of(&body)))
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unreadable(error.into())
}
