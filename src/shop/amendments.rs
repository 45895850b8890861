//! What customers edit or take back of messages that made an order: noted on the order, whichever of the two comes first.
//! Where both come at the very same moment, one waits for the other, so that the other is seen.

use std::collections::{BTreeSet, HashMap};

use super::{ordering::PlacedOrder, outcomes};
use crate::{
    handler::{Note, Outcome},
    store::{
        Conn, StoreError,
        amendments::{self as rows, Amendment, AmendmentKind},
        events,
        orders::{self, Order, OrderSource},
        types::{Timestamp, Uuid},
    },
};

/// The most characters of a text that are kept: WhatsApp's own limit.
const MAX_TEXT: usize = 4_096;

/// What a customer changed of a message, as an event tells it.
#[derive(Clone, Debug)]
pub struct NewAmendment<'a> {
    /// Where the message came from.
    pub source: OrderSource,
    /// The message.
    pub message_id: &'a str,
    /// The event.
    pub event_id: &'a str,
    /// The outcome of the message.
    pub kind: AmendmentKind,
    /// Whose number it was written to.
    pub retailer_id: Uuid,
    /// What the message says now.
    pub text: Option<String>,
    /// When the customer did it, where that is told.
    pub amended_at: Option<Timestamp>,
}

/// The outcome of the event of an amendment that is noted on an order.
pub fn outcome(kind: AmendmentKind) -> Outcome {
    match kind {
        AmendmentKind::Edit => outcomes::EDIT_NOTED,
        AmendmentKind::Revoke => outcomes::REVOKE_NOTED,
    }
}

/// Locks messages until the transaction ends, so that a message and its amendment are never taken in at the same time by
/// two transactions that do not see each other. Call it before amendments of these messages are stored.
///
/// # Errors
/// The database's own.
pub fn keep_apart(
    conn: &mut Conn<'_>,
    source: &OrderSource,
    mut message_ids: Vec<&str>,
    now: Timestamp,
) -> Result<(), StoreError> {
    // In an order, as events are claimed.
    message_ids.sort_unstable();
    message_ids.dedup();
    match message_ids.is_empty() {
        true => Ok(()),
        false => events::keep_apart(conn, source.as_str(), &message_ids, now),
    }
}

/// Stores an amendment, and notes it on the order that its message made. Returns that order; `None` while there is none.
///
/// # Errors
/// The database's own.
pub fn note(
    conn: &mut Conn<'_>,
    new: NewAmendment<'_>,
    now: Timestamp,
) -> Result<Option<Order>, StoreError> {
    let amendment = Amendment {
        source: new.source.clone(),
        message_id: new.message_id.to_owned(),
        event_id: new.event_id.to_owned(),
        kind: new.kind,
        retailer_id: new.retailer_id,
        text: new.text.as_deref().map(shortened),
        amended_at: new.amended_at.unwrap_or(now),
        created_at: now,
        order_id: None,
    };
    if !rows::insert(conn, &amendment)? {
        return Ok(None);
    }
    let order = orders::by_message(conn, &new.source, new.message_id)?;
    let order = order.filter(|order| is_about(&amendment, order));
    if let Some(order) = &order {
        connect(conn, &amendment, order)?;
    }
    Ok(order)
}

fn shortened(text: &str) -> String {
    let text = text.chars().filter(|char| *char != '\0');
    text.take(MAX_TEXT).collect()
}

/// A message's id is the provider's word, and the number may have been given to another retailer since.
fn is_about(amendment: &Amendment, order: &Order) -> bool {
    amendment.retailer_id == order.retailer_id
}

fn connect(conn: &mut Conn<'_>, amendment: &Amendment, order: &Order) -> Result<(), StoreError> {
    rows::link(conn, amendment, order)?;
    let (provider, event_id) = (amendment.source.as_str(), &amendment.event_id);
    events::note(conn, provider, event_id, &outcome(amendment.kind), order.id)
}

/// What is counted of an amendment that is noted on an order.
pub fn counted(kind: AmendmentKind) -> Note {
    let kind = match kind {
        AmendmentKind::Edit => outcomes::EDIT,
        AmendmentKind::Revoke => outcomes::REVOKE,
    };
    Note { kind, about: None }
}

/// Notes on new orders the amendments that arrived before their messages. Returns them, by order.
///
/// # Errors
/// The database's own.
pub fn note_earlier(
    conn: &mut Conn<'_>,
    orders: &[&Order],
) -> Result<HashMap<Uuid, Vec<Amendment>>, StoreError> {
    let mut earlier = of_all(conn, orders.iter().copied())?;
    for order in orders {
        if let Some(amendments) = earlier.get_mut(&order.id) {
            amendments.retain(|amendment| amendment.order_id.is_none());
            for amendment in amendments {
                connect(conn, amendment, order)?;
            }
        }
    }
    Ok(earlier)
}

/// Adds to orders what is noted on them.
///
/// # Errors
/// The database's own.
pub(super) fn show(conn: &mut Conn<'_>, placed: &mut [PlacedOrder]) -> Result<(), StoreError> {
    let mut noted = of_all(conn, placed.iter().map(|placed| &placed.order))?;
    for placed in placed {
        placed.amendments = noted.remove(&placed.order.id).unwrap_or_default();
    }
    Ok(())
}

/// What is known of the messages of orders, by order.
fn of_all<'a>(
    conn: &mut Conn<'_>,
    orders: impl Iterator<Item = &'a Order> + Clone,
) -> Result<HashMap<Uuid, Vec<Amendment>>, StoreError> {
    let mut found: HashMap<Uuid, Vec<Amendment>> = HashMap::new();
    let sources: BTreeSet<&OrderSource> = orders.clone().map(|order| &order.source).collect();
    for source in sources {
        let of_source = orders.clone().filter(|order| order.source == *source);
        let with_message =
            of_source.filter_map(|order| Some((order.message_id.as_deref()?, order)));
        let by_message: HashMap<&str, &Order> = with_message.collect();
        if by_message.is_empty() {
            continue;
        }
        let ids: Vec<_> = by_message.keys().copied().collect();
        for amendment in rows::of_messages(conn, source, &ids)? {
            let order = by_message.get(amendment.message_id.as_str());
            if let Some(order) = order.filter(|order| is_about(&amendment, order)) {
                found.entry(order.id).or_default().push(amendment);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_as_far_as_a_message_can_be_and_without_nul() {
        assert_eq!(shortened("2 \0cola"), "2 cola");
        assert_eq!(shortened(&"é".repeat(9_000)).chars().count(), MAX_TEXT);
    }
}
