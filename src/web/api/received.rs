//! Looks back at what was received: the records of requests, of providers and of clients alike, and their results.

use super::whole_body;
use crate::{
    idempotency::StoredReply,
    provider::REGISTRY,
    shop::{error::ShopError, ordering::PlacedOrder, orders, tenant_scope::TenantScope},
    store::{
        Conn, StoreError,
        deliveries::{self, Delivery, DeliveryFilter, DeliveryPage, Position},
        types::{Json, Uuid},
    },
};

/// A request and its results.
#[derive(Clone, Debug)]
pub struct FoundDelivery {
    /// Its record.
    pub delivery: Delivery,
    /// Its body, as it is kept.
    pub body: Option<Json>,
    /// What was answered; none where it was not answered yet, or failed.
    pub reply: Option<StoredReply>,
    /// The order that it is about.
    pub order: Option<PlacedOrder>,
}

/// Looks for the deliveries of a filter within reach, the newest first, that come after a position; at most `limit`.
///
/// # Errors
/// The database's own.
pub fn list(
    conn: &mut Conn<'_>,
    filter: &DeliveryFilter,
    tenants: TenantScope,
    after: Option<Position>,
    limit: usize,
) -> Result<DeliveryPage, StoreError> {
    let Some(retailer_id) = tenants.confine(filter.retailer_id) else {
        return Ok(DeliveryPage::default());
    };
    let webhook_types = REGISTRY
        .iter()
        .flat_map(|provider| provider.webhook_types());
    let filter = DeliveryFilter {
        retailer_id,
        webhook_types: webhook_types.copied().collect(),
        ..filter.clone()
    };
    deliveries::list(conn, &filter, after, limit)
}

/// The delivery with this id. What belongs to no retailer is within the reach of those alone who may see all.
///
/// # Errors
/// Where there is none within reach; or the database's own.
pub fn find(
    conn: &mut Conn<'_>,
    id: Uuid,
    tenants: TenantScope,
) -> Result<FoundDelivery, ShopError> {
    let is_within_reach = |delivery: &Delivery| match delivery.retailer_id {
        Some(retailer) => tenants.covers(retailer),
        None => tenants == TenantScope::All,
    };
    let found = deliveries::find(conn, id)?.filter(|found| is_within_reach(&found.delivery));
    let found = found.ok_or(ShopError::NotFound("delivery"))?;
    let is_answered = found.record.response_status.is_some();
    let reply = is_answered.then(|| StoredReply::from_record(&found.record));
    Ok(FoundDelivery {
        body: whole_body::whole(conn, &found)?,
        reply: reply.transpose()?,
        order: order(conn, &found.delivery, tenants)?,
        delivery: found.delivery,
    })
}

fn order(
    conn: &mut Conn<'_>,
    delivery: &Delivery,
    tenants: TenantScope,
) -> Result<Option<PlacedOrder>, StoreError> {
    let Some(id) = delivery.order_id else {
        return Ok(None);
    };
    match orders::find(conn, id, tenants) {
        Ok(placed) => Ok(Some(placed)),
        Err(ShopError::Store(error)) => Err(error),
        Err(ShopError::NotFound(_) | ShopError::Invalid(_)) => Ok(None),
    }
}
