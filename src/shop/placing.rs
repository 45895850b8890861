//! Writes an order that was decided: itself, its items and its ledger entry.

use std::collections::HashSet;

use super::{order_number, ordering::PlacedOrder};
use crate::store::{
    Conn, StoreError,
    ledger::{self, EntryKind, LedgerEntry},
    orders::{self, Order, OrderSource},
    types::{Timestamp, Uuid},
};

/// How the writing of an order went.
#[derive(Clone, Debug, PartialEq)]
pub enum Placement {
    /// As it was planned.
    AsPlanned,
    /// Its number was taken, so it got another.
    Renumbered(Box<PlacedOrder>),
    /// Its message made this order before: nothing was written.
    Earlier(Box<PlacedOrder>),
}

/// Writes an order, its items and its ledger entry. An order number that is taken is replaced, and a message that
/// has made an order before makes no other.
///
/// # Errors
/// Where the database refuses.
pub fn place(conn: &mut Conn<'_>, planned: &PlacedOrder) -> Result<Placement, StoreError> {
    if orders::insert(conn, &planned.order)? {
        write_rest(conn, &[planned])?;
        return Ok(Placement::AsPlanned);
    }
    if let Some(message_id) = &planned.order.message_id
        && let Some(earlier) = earlier(conn, &planned.order.source, message_id)?
    {
        return Ok(Placement::Earlier(Box::new(earlier)));
    }
    let mut renumbered = planned.clone();
    loop {
        // 25 random bits for orders of two seconds: a second round is all but impossible.
        renumbered.order.order_number = order_number::new(planned.order.created_at);
        if orders::insert(conn, &renumbered.order)? {
            write_rest(conn, &[&renumbered])?;
            return Ok(Placement::Renumbered(Box::new(renumbered)));
        }
    }
}

/// Writes orders, their items and their ledger entries. Gives those that were not written, for their number is taken or
/// their message has made an order before: each is to be [placed](place) by itself.
///
/// # Errors
/// Where the database refuses.
pub fn place_all(
    conn: &mut Conn<'_>,
    planned: &[&PlacedOrder],
) -> Result<HashSet<Uuid>, StoreError> {
    if planned.is_empty() {
        return Ok(HashSet::new());
    }
    let orders: Vec<_> = planned.iter().map(|placed| &placed.order).collect();
    let added = orders::insert_all(conn, &orders)?;
    let (written, taken): (Vec<_>, Vec<_>) =
        planned.iter().zip(added).partition(|(_, added)| *added);
    let written: Vec<_> = written.into_iter().map(|(placed, _)| *placed).collect();
    write_rest(conn, &written)?;
    Ok(taken.iter().map(|(placed, _)| placed.order.id).collect())
}

fn write_rest(conn: &mut Conn<'_>, placed: &[&PlacedOrder]) -> Result<(), StoreError> {
    let items: Vec<_> = placed.iter().flat_map(|placed| &placed.items).collect();
    orders::insert_items(conn, &items)?;
    let entries: Vec<_> = placed.iter().map(|placed| owed(&placed.order)).collect();
    ledger::insert_all(conn, &entries)
}

/// What an order adds to the ledger.
pub fn owed(order: &Order) -> LedgerEntry<'_> {
    ledger_entry(order, EntryKind::Order, order.total_minor, order.created_at)
}

/// An entry about an order, in minor units of its currency.
pub(super) fn ledger_entry(
    order: &Order,
    kind: EntryKind,
    amount_minor: i64,
    now: Timestamp,
) -> LedgerEntry<'_> {
    LedgerEntry {
        id: order.id,
        retailer_id: order.retailer_id,
        order_id: order.id,
        kind,
        amount_minor,
        currency: &order.currency,
        created_at: now,
    }
}

/// The order that a message has made before.
fn earlier(
    conn: &mut Conn<'_>,
    source: &OrderSource,
    message_id: &str,
) -> Result<Option<PlacedOrder>, StoreError> {
    let order = orders::by_message(conn, source, message_id)?;
    order.map(|order| with_items(conn, order)).transpose()
}

/// An order with its items.
///
/// # Errors
/// Where the database refuses.
pub(super) fn with_items(conn: &mut Conn<'_>, order: Order) -> Result<PlacedOrder, StoreError> {
    let items = orders::items(conn, order.id)?;
    Ok(PlacedOrder {
        order,
        items,
        amendments: Vec::new(),
    })
}
