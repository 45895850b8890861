//! The events that deliveries told, each known once by its provider and id.

use diesel::prelude::*;
use std::collections::{HashMap, HashSet};

use super::{
    Conn, StoreError, on_each,
    schema::{orders, webhook_event as table},
    types::{Digest, Json, Timestamp, Uuid, text_enum},
};

text_enum! {
    /// What became of an event.
    Outcome {
        /// It made an order.
        OrderCreated => "order_created",
        /// It was known before.
        Duplicate => "duplicate",
        /// A text that orders nothing.
        NotAnOrder => "not_an_order",
        /// Written to a number that no retailer has.
        UnknownRetailer => "unknown_retailer",
        /// An order of something that the retailer does not sell, or that was not understood.
        UnknownProduct => "unknown_product",
        /// How far a message of ours has come.
        StatusRecorded => "status_recorded",
        /// A message that made an order says something else now: noted on the order.
        EditNoted => "edit_noted",
        /// A message that made an order was taken back: noted on the order.
        RevokeNoted => "revoke_noted",
        /// Stored, and nothing else.
        Ignored => "ignored",
        /// Its id is known with another content: nothing was done.
        Conflict => "conflict",
    }
}

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
    /// What becomes of it.
    pub outcome: Outcome,
    /// Whose it is.
    pub retailer_id: Option<Uuid>,
    /// The order that it makes.
    pub order_id: Option<Uuid>,
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
    /// What became of it.
    pub outcome: Outcome,
    /// Whose it is.
    pub retailer_id: Option<Uuid>,
    /// The order that it made.
    pub order_id: Option<Uuid>,
    /// That order's number.
    pub order_number: Option<String>,
    /// What the customer was told.
    pub reply: Option<String>,
}

/// Claims an event. `false`: it was there before, and nothing was done.
/// Waits for another transaction that is claiming the same.
pub fn claim(conn: &mut Conn<'_>, event: &NewEvent<'_>) -> Result<bool, StoreError> {
    let rows = on_each!(conn, |c| diesel::insert_into(table::table)
        .values(event)
        .on_conflict((table::provider, table::event_id))
        .do_nothing()
        .execute(c))?;
    Ok(rows == 1)
}

/// Claims events of one provider, in the order of their ids. Gives the ids of those that were not there before. Waits
/// for other transactions that are claiming the same.
pub fn claim_all(
    conn: &mut Conn<'_>,
    events: &[NewEvent<'_>],
) -> Result<HashSet<String>, StoreError> {
    let mut new = HashSet::new();
    match conn {
        Conn::Sqlite(_) => {
            // Nothing is saved there by doing many at once: it is the rows that cost.
            for event in events {
                if claim(conn, event)? {
                    new.insert(event.event_id.to_owned());
                }
            }
        }
        Conn::Postgres(c) => {
            let c: &mut diesel::PgConnection = c;
            for events in events.chunks(MANY) {
                let ids: Vec<String> = diesel::insert_into(table::table)
                    .values(events)
                    .on_conflict((table::provider, table::event_id))
                    .do_nothing()
                    .returning(table::event_id)
                    .load(c)?;
                new.extend(ids);
            }
        }
    }
    Ok(new)
}

/// The most events of one statement.
const MANY: usize = 500;

/// Those of [`KnownEvent`].
#[diesel::dsl::auto_type(no_type_alias)]
fn known_columns() -> _ {
    (
        table::digest,
        table::delivery_fingerprint,
        table::delivery_id,
        table::outcome,
        table::retailer_id,
        table::order_id,
        orders::order_number.nullable(),
        table::reply,
    )
}

/// What is known of events, by their ids.
pub fn find_all(
    conn: &mut Conn<'_>,
    provider: &str,
    event_ids: &[&str],
) -> Result<HashMap<String, KnownEvent>, StoreError> {
    let mut known = HashMap::new();
    for ids in event_ids.chunks(MANY) {
        let rows: Vec<(String, KnownEvent)> = on_each!(conn, |c| table::table
            .left_join(orders::table)
            .filter(table::provider.eq(provider))
            .filter(table::event_id.eq_any(ids))
            .select((table::event_id, known_columns(),))
            .load(c))?;
        known.extend(rows);
    }
    Ok(known)
}

/// What is known of an event.
pub fn find(
    conn: &mut Conn<'_>,
    provider: &str,
    event_id: &str,
) -> Result<Option<KnownEvent>, StoreError> {
    Ok(on_each!(conn, |c| table::table
        .find((provider, event_id))
        .left_join(orders::table)
        .select(known_columns())
        .get_result(c)
        .optional())?)
}

/// Waits for the transactions that are claiming these events, and has those that come to claim one wait for this one: of
/// two that are about the same event, one sees what the other has done. Claims nothing. SQLite has one writer anyway.
pub fn keep_apart(
    conn: &mut Conn<'_>,
    provider: &str,
    event_ids: &[&str],
    now: Timestamp,
) -> Result<(), StoreError> {
    let Conn::Postgres(c) = conn else {
        return Ok(());
    };
    let c: &mut diesel::PgConnection = c;
    let (payload, nothing) = (Json::of(&crate::json::Value::Null), Digest::of(b""));
    for ids in event_ids.chunks(MANY) {
        let places = ids.iter().map(|event_id| NewEvent {
            provider,
            event_id,
            kind: "",
            digest: nothing,
            delivery_fingerprint: nothing,
            delivery_id: None,
            outcome: Outcome::Ignored,
            retailer_id: None,
            order_id: None,
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

/// Says that an event is noted on an order.
pub fn note(
    conn: &mut Conn<'_>,
    provider: &str,
    event_id: &str,
    outcome: Outcome,
    order_id: Uuid,
) -> Result<(), StoreError> {
    on_each!(conn, |c| diesel::update(
        table::table.find((provider, event_id))
    )
    .set((table::outcome.eq(outcome), table::order_id.eq(order_id)))
    .execute(c))?;
    Ok(())
}

/// Corrects what became of an event that this transaction has claimed.
pub fn amend(
    conn: &mut Conn<'_>,
    provider: &str,
    event_id: &str,
    order_id: Uuid,
    reply: &str,
) -> Result<(), StoreError> {
    on_each!(conn, |c| diesel::update(
        table::table.find((provider, event_id))
    )
    .set((table::order_id.eq(order_id), table::reply.eq(reply)))
    .execute(c))?;
    Ok(())
}
