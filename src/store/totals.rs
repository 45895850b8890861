//! How much of everything there is.

use diesel::prelude::*;

use super::{
    Conn, StoreError, on_each,
    schema::{ledger_entries, order_items, orders, webhook_event, webhook_idempotency},
};

/// How many rows each table holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Orders.
    pub orders: i64,
    /// Their items.
    pub order_items: i64,
    /// Ledger entries.
    pub ledger_entries: i64,
    /// Events.
    pub events: i64,
    /// Idempotency records.
    pub records: i64,
}

/// Counts every table, row by row: for small databases.
pub fn count(conn: &mut Conn<'_>) -> Result<Totals, StoreError> {
    Ok(Totals {
        orders: on_each!(conn, |c| orders::table.count().get_result(c))?,
        order_items: on_each!(conn, |c| order_items::table.count().get_result(c))?,
        ledger_entries: on_each!(conn, |c| ledger_entries::table.count().get_result(c))?,
        events: on_each!(conn, |c| webhook_event::table.count().get_result(c))?,
        records: on_each!(conn, |c| webhook_idempotency::table.count().get_result(c))?,
    })
}

/// Whether the database answers.
pub fn ping(conn: &mut Conn<'_>) -> Result<(), StoreError> {
    on_each!(conn, |c| diesel::select(
        1i32.into_sql::<diesel::sql_types::Integer>()
    )
    .execute(c))?;
    Ok(())
}
