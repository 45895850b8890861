//! The events that deliveries told, each known once by its provider and id.

use diesel::prelude::*;
use std::collections::HashMap;
#[cfg(feature = "postgres")]
use std::collections::HashSet;

use super::{
    Conn, StoreError,
    cached::Update,
    claims::is_event,
    on_each,
    schema::webhook_event as table,
    types::{Digest, Json, Timestamp, Uuid},
};

#[cfg(feature = "sqlite")]
use super::{cached::InsertOrFail, claims::is_event_of_anybody};

pub use super::outcome::Outcome;

/// An event to claim.
#[derive(Debug, Insertable)]
#[diesel(table_name = table, treat_none_as_default_value = false)]
pub struct NewEvent<'a> {
    /// Who told it.
    pub provider: &'a str,
    /// Its id, unique for the provider.
    pub event_id: &'a str,
    /// The provider's word for what it is.
    pub kind: &'a str,
    /// SHA-256 of what was signed about it.
    pub digest: Digest,
    /// The fingerprint of the delivery that tells it.
    pub delivery_fingerprint: Digest,
    /// The record of that delivery, where keys are kept.
    pub delivery_id: Option<Uuid>,
    /// Its outcome.
    pub outcome: &'a Outcome,
    /// Whose it is.
    pub retailer_id: Option<Uuid>,
    /// The order that it makes.
    pub order_id: Option<Uuid>,
    /// Whether it is kept for ever. One with an order is in any case.
    pub lasting: bool,
    /// What the customer is told.
    pub reply: Option<&'a str>,
    /// All that the provider said of it.
    pub payload: &'a Json,
    /// When it came.
    pub created_at: Timestamp,
}

/// What is known of an event from its first time.
#[derive(Clone, Debug, PartialEq, Queryable)]
pub struct KnownEvent {
    /// SHA-256 of what was signed then.
    pub digest: Digest,
    /// The fingerprint of the delivery that told it.
    pub delivery_fingerprint: Digest,
    /// The record of that delivery, where keys are kept.
    pub delivery_id: Option<Uuid>,
    /// Its outcome.
    pub outcome: Outcome,
    /// Whose it is.
    pub retailer_id: Option<Uuid>,
    /// The order that it made.
    pub order_id: Option<Uuid>,
    /// What the customer was told.
    pub reply: Option<String>,
}

/// Claims events, in the order of their ids. Tells of each whether it was not there before; of two with one id that is
/// the first. Waits for other transactions that are claiming the same.
pub fn claim_all(conn: &mut Conn<'_>, events: &[NewEvent<'_>]) -> Result<Vec<bool>, StoreError> {
    let mut claimed = Vec::with_capacity(events.len());
    match conn {
        #[cfg(feature = "sqlite")]
        Conn::Sqlite(c) => {
            struct ClaimEvent;
            for event in events {
                let row = Insertable::<table::table>::values(event);
                let insert = InsertOrFail::named::<ClaimEvent>("webhook_event", row);
                claimed.push(insert.execute(*c)? == 1);
            }
        }
        #[cfg(feature = "postgres")]
        Conn::Postgres(c) => {
            for events in events.chunks(super::MANY) {
                let new: Vec<(String, String)> = diesel::insert_into(table::table)
                    .values(events)
                    .on_conflict((table::provider, table::event_id))
                    .do_nothing()
                    .returning((table::provider, table::event_id))
                    .load(&mut **c)?;
                let mut new: HashSet<(&str, &str)> = new
                    .iter()
                    .map(|(provider, id)| (&**provider, &**id))
                    .collect();
                claimed.extend(
                    events
                        .iter()
                        .map(|event| new.remove(&(event.provider, event.event_id))),
                );
            }
        }
    }
    Ok(claimed)
}

/// What is known of a provider's events, by their ids.
pub fn find_all(
    conn: &mut Conn<'_>,
    provider: &str,
    event_ids: &[&str],
) -> Result<HashMap<String, KnownEvent>, StoreError> {
    let columns = (
        table::event_id,
        (
            table::digest,
            table::delivery_fingerprint,
            table::delivery_id,
            table::outcome,
            table::retailer_id,
            table::order_id,
            table::reply,
        ),
    );
    let mut known = HashMap::new();
    match conn {
        #[cfg(feature = "sqlite")]
        Conn::Sqlite(c) => {
            for id in event_ids {
                let found = table::table.filter(is_event(provider, id)).select(columns);
                known.extend(found.get_result::<(String, KnownEvent)>(*c).optional()?);
            }
        }
        #[cfg(feature = "postgres")]
        Conn::Postgres(c) => {
            for ids in event_ids.chunks(super::MANY) {
                let found = table::table
                    .filter(table::provider.eq(provider))
                    .filter(table::event_id.eq_any(ids))
                    .select(columns);
                known.extend(found.load::<(String, KnownEvent)>(&mut **c)?);
            }
        }
    }
    Ok(known)
}

/// The outcome of an event that this transaction has claimed, where that is not what it was claimed with.
#[derive(PartialEq, AsChangeset)]
#[diesel(table_name = table, treat_none_as_null = true)]
pub struct Correction<'a> {
    /// In one word.
    pub outcome: &'a Outcome,
    /// Whose it is.
    pub retailer_id: Option<Uuid>,
    /// The order that it is about.
    pub order_id: Option<Uuid>,
    /// Whether it is kept for ever.
    pub lasting: bool,
    /// What the customer is told.
    pub reply: Option<&'a str>,
}

/// Corrects the outcome of an event.
pub fn correct(
    conn: &mut Conn<'_>,
    provider: &str,
    event_id: &str,
    correction: &Correction<'_>,
) -> Result<(), StoreError> {
    let update = Update {
        table: "webhook_event",
        changes: correction.as_changeset(),
        filter: is_event(provider, event_id),
    };
    on_each!(conn, |c| update.execute(c))?;
    Ok(())
}

/// Waits for the transactions that are claiming these events, and has those that come to claim one wait for this one: of
/// two that are about the same event, one sees what the other has done. Claims nothing. SQLite has one writer anyway.
pub fn keep_apart(
    conn: &mut Conn<'_>,
    provider: &str,
    event_ids: &[&str],
    now: Timestamp,
) -> Result<(), StoreError> {
    match conn {
        #[cfg(feature = "sqlite")]
        Conn::Sqlite(_) => {
            let _ = (provider, event_ids, now);
            Ok(())
        }
        #[cfg(feature = "postgres")]
        Conn::Postgres(c) => hold_places(c, provider, event_ids, now),
    }
}

/// Has those who come to claim the same events wait until this transaction ends.
#[cfg(feature = "postgres")]
fn hold_places(
    c: &mut diesel::PgConnection,
    provider: &str,
    event_ids: &[&str],
    now: Timestamp,
) -> Result<(), StoreError> {
    let (payload, nothing) = (Json::of(&crate::json::Value::Null), Digest::of(b""));
    let outcome = Outcome::IGNORED;
    for ids in event_ids.chunks(super::MANY) {
        let places = ids.iter().map(|event_id| NewEvent {
            provider,
            event_id,
            kind: "",
            digest: nothing,
            delivery_fingerprint: nothing,
            delivery_id: None,
            outcome: &outcome,
            retailer_id: None,
            order_id: None,
            lasting: false,
            reply: None,
            payload: &payload,
            created_at: now,
        });
        // Whoever inserts the same waits for whoever has, also where that is deleted again before the end.
        let taken: Vec<String> = diesel::insert_into(table::table)
            .values(places.collect::<Vec<_>>())
            .on_conflict((table::provider, table::event_id))
            .do_nothing()
            .returning(table::event_id)
            .load(c)?;
        diesel::delete(table::table)
            .filter(table::provider.eq(provider))
            .filter(table::event_id.eq_any(taken))
            .execute(c)?;
    }
    Ok(())
}

/// What is stored of events that a delivery told first, by their ids.
pub fn payloads(
    conn: &mut Conn<'_>,
    delivery: Uuid,
    event_ids: &[&str],
) -> Result<HashMap<String, Json>, StoreError> {
    let columns = (table::event_id, table::payload);
    let mut payloads = HashMap::new();
    match conn {
        #[cfg(feature = "sqlite")]
        Conn::Sqlite(c) => {
            for id in event_ids {
                let of_delivery = table::table
                    .filter(is_event_of_anybody(id))
                    .filter(table::delivery_id.eq(delivery))
                    .select(columns);
                payloads.extend(of_delivery.load::<(String, Json)>(*c)?);
            }
        }
        #[cfg(feature = "postgres")]
        Conn::Postgres(c) => {
            for ids in event_ids.chunks(super::MANY) {
                let of_delivery = table::table
                    .filter(table::event_id.eq_any(ids))
                    .filter(table::delivery_id.eq(delivery))
                    .select(columns);
                payloads.extend(of_delivery.load::<(String, Json)>(&mut **c)?);
            }
        }
    }
    Ok(payloads)
}

/// Says that an event is noted on an order.
pub fn note(
    conn: &mut Conn<'_>,
    provider: &str,
    event_id: &str,
    outcome: &Outcome,
    order_id: Uuid,
) -> Result<(), StoreError> {
    on_each!(conn, |c| diesel::update(
        table::table.filter(is_event(provider, event_id))
    )
    .set((table::outcome.eq(outcome), table::order_id.eq(order_id)))
    .execute(c))?;
    Ok(())
}
