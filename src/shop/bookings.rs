//! Bookings: a service of a retailer at a time. No money moves, so none has a ledger entry.

use super::{error::ShopError, tenant_scope::TenantScope};
use crate::store::{
    Conn,
    bookings::{self as rows, Booking},
    types::{Timestamp, Uuid},
};

/// A booking that a client asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct NewBooking {
    /// The retailer. Not needed where the client reaches only one.
    pub retailer_id: Option<Uuid>,
    /// The service.
    pub service: String,
    /// The customer.
    pub customer_name: String,
    /// The day by the retailer's calendar, `YYYY-MM-DD`.
    pub date: String,
    /// The time by the retailer's clock, `HH:MM`.
    pub time: String,
}

/// Books.
///
/// # Errors
/// Where there is no such retailer within reach; or the database's own.
pub fn book(
    conn: &mut Conn<'_>,
    new: NewBooking,
    tenants: TenantScope,
    now: Timestamp,
) -> Result<Booking, ShopError> {
    let retailer = tenants.choose(conn, new.retailer_id)?;
    let booking = Booking {
        id: Uuid::in_order(),
        retailer_id: retailer.id,
        service: new.service,
        customer_name: new.customer_name,
        date: new.date,
        time: new.time,
        created_at: now,
    };
    rows::insert(conn, &booking)?;
    Ok(booking)
}

/// The booking with this id.
///
/// # Errors
/// Where there is none within reach; or the database's own.
pub fn find(conn: &mut Conn<'_>, id: Uuid, tenants: TenantScope) -> Result<Booking, ShopError> {
    rows::find(conn, id)?
        .filter(|booking| tenants.covers(booking.retailer_id))
        .ok_or(ShopError::NotFound("booking"))
}
