//! What was paid for orders, and what was given back.

use diesel::prelude::*;

use super::{
    Conn, StoreError, on_each,
    schema::{payments as table, refunds},
    types::{Timestamp, Uuid, text_enum},
};

text_enum! {
    /// How it was paid.
    PaymentMethod {
        /// In cash, on delivery.
        Cod => "cod",
        /// By card.
        Card => "card",
        /// By bank transfer.
        Transfer => "transfer",
    }
}

/// Money that was paid for an order.
#[derive(Clone, Debug, PartialEq, Queryable, Selectable, Insertable)]
#[diesel(table_name = table, check_for_backend(crate::store::Checked))]
pub struct Payment {
    /// Its id.
    pub id: Uuid,
    /// What was paid for.
    pub order_id: Uuid,
    /// To whom.
    pub retailer_id: Uuid,
    /// How much, in minor units of `currency`.
    pub amount_minor: i64,
    /// ISO 4217 code.
    pub currency: String,
    /// How.
    pub method: PaymentMethod,
    /// How much of it was given back, in minor units.
    pub refunded_minor: i64,
    /// When.
    pub created_at: Timestamp,
}

/// Money of a payment that was given back.
#[derive(Clone, Debug, PartialEq, Queryable, Selectable, Insertable)]
#[diesel(table_name = refunds, check_for_backend(crate::store::Checked))]
pub struct Refund {
    /// Its id.
    pub id: Uuid,
    /// Of which payment.
    pub payment_id: Uuid,
    /// For which order.
    pub order_id: Uuid,
    /// By whom.
    pub retailer_id: Uuid,
    /// How much, in minor units of `currency`.
    pub amount_minor: i64,
    /// ISO 4217 code.
    pub currency: String,
    /// Why.
    pub reason: String,
    /// When.
    pub created_at: Timestamp,
}

/// Adds a payment.
pub fn insert(conn: &mut Conn<'_>, payment: &Payment) -> Result<(), StoreError> {
    on_each!(conn, |c| diesel::insert_into(table::table)
        .values(payment)
        .execute(c))?;
    Ok(())
}

/// The payment with this id.
pub fn find(conn: &mut Conn<'_>, id: Uuid) -> Result<Option<Payment>, StoreError> {
    Ok(on_each!(conn, |c| table::table
        .find(id)
        .select(Payment::as_select())
        .get_result(c)
        .optional())?)
}

/// Counts a refund. `false`: it is more than is left of the payment, and nothing was done. Of refunds that come at
/// once, the second waits here for the first, and then counts with it.
pub fn add_refunded(conn: &mut Conn<'_>, id: Uuid, minor: i64) -> Result<bool, StoreError> {
    let rows = on_each!(conn, |c| diesel::update(table::table.find(id))
        .filter(table::refunded_minor.le(table::amount_minor - minor))
        .set(table::refunded_minor.eq(table::refunded_minor + minor))
        .execute(c))?;
    Ok(rows == 1)
}

/// Adds a refund.
pub fn insert_refund(conn: &mut Conn<'_>, refund: &Refund) -> Result<(), StoreError> {
    on_each!(conn, |c| diesel::insert_into(refunds::table)
        .values(refund)
        .execute(c))?;
    Ok(())
}

/// The refund with this id.
pub fn find_refund(conn: &mut Conn<'_>, id: Uuid) -> Result<Option<Refund>, StoreError> {
    Ok(on_each!(conn, |c| refunds::table
        .find(id)
        .select(Refund::as_select())
        .get_result(c)
        .optional())?)
}
