//! The body of a delivery, put together again of what is kept with its record and with its events.

use serde::Deserialize;

use crate::{
    json::{self, Place, Value},
    store::{Conn, StoreError, deliveries::DeliveryInFull, events, types::Json},
};

/// The whole body of a delivery, put together again. What a clean-up took of it is null.
pub fn whole(conn: &mut Conn<'_>, found: &DeliveryInFull) -> Result<Option<Json>, StoreError> {
    #[derive(Deserialize)]
    struct EventId {
        id: String,
    }
    let (Some(rest), Some(places), Some(events)) = (
        &found.request_body,
        &found.body_places,
        &found.delivery.events,
    ) else {
        return Ok(found.request_body.clone());
    };
    let places: Vec<Option<Place>> =
        serde_json::from_str(places.as_str()).map_err(StoreError::unreadable)?;
    let events: Vec<EventId> =
        serde_json::from_str(events.as_str()).map_err(StoreError::unreadable)?;
    let ids: Vec<_> = events.iter().map(|event| &*event.id).collect();
    let payloads = events::payloads(conn, found.delivery.id, &ids)?;
    let mut body: Value = rest.as_str().parse().map_err(StoreError::unreadable)?;
    for (place, id) in places.iter().zip(ids) {
        if let (Some(place), Some(payload)) = (place, payloads.get(id)) {
            let part = payload.as_str().parse().map_err(StoreError::unreadable)?;
            json::put_back(&mut body, place, part);
        }
    }
    Ok(Some(Json::of(&body)))
}
