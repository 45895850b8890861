//! Orders as clients of the API make, read and change them. Orders from messages are read in [`super::ordering`].

use std::collections::HashMap;

use super::{
    amendments,
    amount::Amount,
    error::{FieldError, ShopError},
    ordering::{Customer, Draft, Origin, PlacedOrder},
    placing,
    shops::{Shop, Shops},
    tenant_scope::TenantScope,
};
use crate::store::{
    Conn, StoreError,
    ledger::{self, EntryKind},
    orders::{self, Order, OrderFilter, OrderItem, OrderSource, OrderStatus},
    types::{Timestamp, Uuid},
};

/// An order that a client asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct NewOrder {
    /// The retailer. Not needed where the client reaches only one.
    pub retailer_id: Option<Uuid>,
    /// For whom.
    pub customer: Customer,
    /// What.
    pub content: Content,
    /// A note.
    pub note: Option<String>,
}

/// What is ordered.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Products of the catalogue, with how many of each.
    Items(Vec<(String, u32)>),
    /// Work made to measure.
    Work {
        /// What kind.
        service_type: String,
        /// What is to be made.
        description: String,
        /// What it will cost.
        estimated_price: Amount,
    },
}

/// Creates an order, with its items and its ledger entry.
///
/// # Errors
/// Where it cannot be; or the database's own.
pub fn create(
    conn: &mut Conn<'_>,
    shops: &Shops,
    new: NewOrder,
    tenants: TenantScope,
    now: Timestamp,
) -> Result<PlacedOrder, ShopError> {
    let retailer = tenants.choose(conn, new.retailer_id)?;
    let shop = shops.current(conn, &retailer.id.to_string(), &retailer)?;
    let draft = draft(new.content, new.note, &shop)?;
    let origin = Origin {
        source: OrderSource::API,
        message_id: None,
    };
    let placed = draft.number(&shop, origin, &new.customer, now);
    Ok(match placing::place(conn, &placed)? {
        placing::Placement::AsPlanned => placed,
        placing::Placement::Renumbered(placed) | placing::Placement::Earlier(placed) => *placed,
    })
}

fn draft(content: Content, note: Option<String>, shop: &Shop) -> Result<Draft, ShopError> {
    match content {
        Content::Items(items) => {
            let lines = lines(&items, shop)?;
            Draft::of_lines(lines, note, None).ok_or_else(|| {
                FieldError::new("/items", "too_large", "the total is too large").into()
            })
        }
        Content::Work {
            service_type,
            description,
            estimated_price,
        } => {
            let price = estimated_price.minor_units("/estimated_price", shop.currency)?;
            Ok(Draft::of_work(service_type, description, price, note))
        }
    }
}

type Lines = Vec<(super::catalogue::Product, u32)>;

fn lines(items: &[(String, u32)], shop: &Shop) -> Result<Lines, Vec<FieldError>> {
    let mut errors = Vec::new();
    let mut lines = Vec::new();
    for (at, (sku, quantity)) in items.iter().enumerate() {
        match shop.catalogue.by_sku(sku) {
            Some(product) => lines.push((product.clone(), *quantity)),
            None => errors.push(FieldError::new(
                format!("/items/{at}/sku"),
                "unknown_product",
                "the retailer has no such product",
            )),
        }
    }
    match errors.is_empty() {
        true => Ok(lines),
        false => Err(errors),
    }
}

/// The order with this id.
///
/// # Errors
/// Where there is none within reach; or the database's own.
pub fn find(conn: &mut Conn<'_>, id: Uuid, tenants: TenantScope) -> Result<PlacedOrder, ShopError> {
    let order = find_alone(conn, id, tenants)?;
    let items = orders::items(conn, id)?;
    let mut placed = PlacedOrder {
        order,
        items,
        amendments: Vec::new(),
    };
    amendments::show(conn, std::slice::from_mut(&mut placed))?;
    Ok(placed)
}

/// The order with this id, without its items.
pub(super) fn find_alone(
    conn: &mut Conn<'_>,
    id: Uuid,
    tenants: TenantScope,
) -> Result<Order, ShopError> {
    orders::find(conn, id)?
        .filter(|order| tenants.covers(order.retailer_id))
        .ok_or(ShopError::NotFound("order"))
}

/// The orders of a filter within reach, the newest first, that come after the order `after`; at most `limit`.
///
/// # Errors
/// The database's own.
pub fn list(
    conn: &mut Conn<'_>,
    filter: &OrderFilter,
    tenants: TenantScope,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<PlacedOrder>, StoreError> {
    let Some(retailer_id) = tenants.confine(filter.retailer_id) else {
        return Ok(Vec::new());
    };
    let filter = OrderFilter {
        retailer_id,
        ..filter.clone()
    };
    let orders = orders::list(conn, &filter, after, limit)?;
    let ids: Vec<_> = orders.iter().map(|order| order.id).collect();
    let mut items: HashMap<Uuid, Vec<OrderItem>> = HashMap::new();
    for item in orders::items_of(conn, &ids)? {
        items.entry(item.order_id).or_default().push(item);
    }
    let with_items = |order: Order| PlacedOrder {
        items: items.remove(&order.id).unwrap_or_default(),
        amendments: Vec::new(),
        order,
    };
    let mut placed: Vec<_> = orders.into_iter().map(with_items).collect();
    amendments::show(conn, &mut placed)?;
    Ok(placed)
}

/// Moves an order to another status; to the one that it has is no change. A cancelled order is no longer owed.
///
/// # Errors
/// Where there is none within reach, or the step makes no sense; or the database's own.
pub fn change_status(
    conn: &mut Conn<'_>,
    id: Uuid,
    to: OrderStatus,
    tenants: TenantScope,
    now: Timestamp,
) -> Result<PlacedOrder, ShopError> {
    loop {
        let order = find_alone(conn, id, tenants)?;
        if order.status == to {
            break;
        }
        check_step(order.status, to)?;
        // A change at the same time makes this read again. Each change is a step forward, so the loop ends.
        if orders::change_status(conn, id, order.status, to, now)? {
            if to == OrderStatus::Cancelled {
                let cancelled =
                    placing::ledger_entry(&order, EntryKind::Cancellation, -order.total_minor, now);
                ledger::insert(conn, &cancelled)?;
            }
            break;
        }
    }
    find(conn, id, tenants)
}

fn check_step(from: OrderStatus, to: OrderStatus) -> Result<(), FieldError> {
    let steps = steps(from);
    if steps.contains(&to) {
        return Ok(());
    }
    let steps: Vec<_> = steps.iter().map(|step| step.as_str()).collect();
    let message = match steps.as_slice() {
        [] => format!("an order that is {from} stays so"),
        steps => format!("an order that is {from} can become {}", steps.join(" or ")),
    };
    Err(FieldError::new("/status", "impossible_step", message))
}

/// What an order can become.
fn steps(from: OrderStatus) -> &'static [OrderStatus] {
    use OrderStatus::{Cancelled, Confirmed, Delivered, Pending, Preparing, Ready};
    match from {
        Pending => &[Confirmed, Cancelled],
        Confirmed => &[Preparing, Cancelled],
        Preparing => &[Ready, Cancelled],
        Ready => &[Delivered, Cancelled],
        Delivered | Cancelled => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_ends_and_none_comes_back() {
        for from in OrderStatus::ALL {
            for to in steps(*from) {
                assert!(to > from, "{from} to {to}");
            }
        }
    }
}
