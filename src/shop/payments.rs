//! Payments for orders, and refunds of payments: never more than is owed, never more than was paid.

use super::{
    amount::Amount,
    error::{FieldError, ShopError},
    money::Currency,
    orders, placing,
    tenant_scope::TenantScope,
};
use crate::store::{
    Conn, StoreError,
    ledger::{self, EntryKind, LedgerEntry},
    orders::{self as order_rows, Order, OrderStatus},
    payments::{self as rows, Payment, PaymentMethod, Refund},
    types::{Timestamp, Uuid},
};

/// A payment that a client tells of.
#[derive(Clone, Debug, PartialEq)]
pub struct NewPayment {
    /// What is paid for.
    pub order_id: Uuid,
    /// How much.
    pub amount: Amount,
    /// How.
    pub method: PaymentMethod,
}

/// A refund that a client tells of.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRefund {
    /// Of which payment.
    pub payment_id: Uuid,
    /// How much.
    pub amount: Amount,
    /// Why.
    pub reason: String,
}

/// Takes a payment, with its ledger entry.
///
/// # Errors
/// Where there is no such order within reach, or the amount is not owed; or the database's own.
pub fn pay(
    conn: &mut Conn<'_>,
    new: NewPayment,
    tenants: TenantScope,
    now: Timestamp,
) -> Result<Payment, ShopError> {
    let order = orders::find_alone(conn, new.order_id, tenants)?;
    let minor = read(&new.amount, &order.currency)?;
    if !order_rows::add_paid(conn, order.id, minor, now)? {
        // Another payment may have come since the order was read.
        let order = orders::find_alone(conn, order.id, tenants)?;
        return Err(more_than(
            "more_than_owed",
            "owed",
            owed(&order),
            &order.currency,
        )?);
    }
    let payment = Payment {
        id: Uuid::in_order(),
        order_id: order.id,
        retailer_id: order.retailer_id,
        amount_minor: minor,
        currency: order.currency.clone(),
        method: new.method,
        refunded_minor: 0,
        created_at: now,
    };
    rows::insert(conn, &payment)?;
    let entry = placing::ledger_entry(&order, EntryKind::Payment, -minor, now);
    enter(conn, payment.id, entry)?;
    Ok(payment)
}

/// Gives back some or all of a payment, with its ledger entry.
///
/// # Errors
/// Where there is no such payment within reach, or the amount was not paid; or the database's own.
pub fn refund(
    conn: &mut Conn<'_>,
    new: NewRefund,
    tenants: TenantScope,
    now: Timestamp,
) -> Result<Refund, ShopError> {
    let payment = find(conn, new.payment_id, tenants)?;
    let minor = read(&new.amount, &payment.currency)?;
    if !rows::add_refunded(conn, payment.id, minor)? {
        // Another refund may have come since the payment was read.
        let payment = find(conn, payment.id, tenants)?;
        let left = payment.amount_minor - payment.refunded_minor;
        return Err(more_than(
            "more_than_paid",
            "left of the payment",
            left,
            &payment.currency,
        )?);
    }
    let order = orders::find_alone(conn, payment.order_id, tenants)?;
    order_rows::take_off_paid(conn, order.id, minor, now)?;
    let refund = Refund {
        id: Uuid::in_order(),
        payment_id: payment.id,
        order_id: order.id,
        retailer_id: order.retailer_id,
        amount_minor: minor,
        currency: payment.currency,
        reason: new.reason,
        created_at: now,
    };
    rows::insert_refund(conn, &refund)?;
    let entry = placing::ledger_entry(&order, EntryKind::Refund, minor, now);
    enter(conn, refund.id, entry)?;
    Ok(refund)
}

/// The payment with this id.
///
/// # Errors
/// Where there is none within reach; or the database's own.
pub fn find(conn: &mut Conn<'_>, id: Uuid, tenants: TenantScope) -> Result<Payment, ShopError> {
    rows::find(conn, id)?
        .filter(|payment| tenants.covers(payment.retailer_id))
        .ok_or(ShopError::NotFound("payment"))
}

/// The refund with this id.
///
/// # Errors
/// Where there is none within reach; or the database's own.
pub fn find_refund(
    conn: &mut Conn<'_>,
    id: Uuid,
    tenants: TenantScope,
) -> Result<Refund, ShopError> {
    rows::find_refund(conn, id)?
        .filter(|refund| tenants.covers(refund.retailer_id))
        .ok_or(ShopError::NotFound("refund"))
}

/// Enters a payment or a refund under its own id: the ledger has each once.
fn enter(conn: &mut Conn<'_>, id: Uuid, entry: LedgerEntry<'_>) -> Result<(), StoreError> {
    ledger::insert(conn, &LedgerEntry { id, ..entry })
}

fn read(amount: &Amount, currency: &str) -> Result<i64, ShopError> {
    Ok(amount.minor_units("/amount", Currency::stored(currency)?)?)
}

/// What is still owed for an order.
fn owed(order: &Order) -> i64 {
    match order.status {
        OrderStatus::Cancelled => 0,
        _ => order.total_minor - order.paid_minor,
    }
}

fn more_than(
    code: &'static str,
    what: &str,
    most: i64,
    currency: &str,
) -> Result<ShopError, StoreError> {
    let most = Currency::stored(currency)?.show(most);
    Ok(FieldError::new("/amount", code, format!("is more than the {most} {what}")).into())
}
