//! What was booked with the retailers.

use diesel::prelude::*;

use super::{
    Conn, StoreError, on_each,
    schema::bookings as table,
    types::{Timestamp, Uuid},
};

/// A service at a time.
#[derive(Clone, Debug, PartialEq, Queryable, Selectable, Insertable)]
#[diesel(table_name = table, check_for_backend(crate::store::Checked))]
pub struct Booking {
    /// Its id.
    pub id: Uuid,
    /// With whom.
    pub retailer_id: Uuid,
    /// What.
    pub service: String,
    /// For whom.
    pub customer_name: String,
    /// The day by the retailer's calendar, `YYYY-MM-DD`.
    pub date: String,
    /// The time by the retailer's clock, `HH:MM`.
    pub time: String,
    /// When it was booked.
    pub created_at: Timestamp,
}

/// Adds a booking.
pub fn insert(conn: &mut Conn<'_>, booking: &Booking) -> Result<(), StoreError> {
    on_each!(conn, |c| diesel::insert_into(table::table)
        .values(booking)
        .execute(c))?;
    Ok(())
}

/// The booking with this id.
pub fn find(conn: &mut Conn<'_>, id: Uuid) -> Result<Option<Booking>, StoreError> {
    Ok(on_each!(conn, |c| table::table
        .find(id)
        .select(Booking::as_select())
        .get_result(c)
        .optional())?)
}
