//! What is owed to a retailer, entry by entry.

use diesel::prelude::*;

use super::{
    Conn, StoreError, on_each,
    schema::ledger_entries as table,
    types::{Timestamp, Uuid, text_enum},
};

text_enum! {
    /// Why an amount is in the ledger.
    EntryKind {
        /// An order: its total is owed. One for each order.
        Order => "order",
    }
}

/// One amount.
#[derive(Clone, Debug, PartialEq, Insertable)]
#[diesel(table_name = table, treat_none_as_default_value = false)]
pub struct LedgerEntry<'a> {
    /// Its id.
    pub id: Uuid,
    /// Whose ledger.
    pub retailer_id: Uuid,
    /// The order that it is about.
    pub order_id: Uuid,
    /// Why.
    pub kind: EntryKind,
    /// In minor units of `currency`.
    pub amount_minor: i64,
    /// ISO 4217 code.
    pub currency: &'a str,
    /// When.
    pub created_at: Timestamp,
}

/// Enters an amount.
pub fn insert(conn: &mut Conn<'_>, entry: &LedgerEntry<'_>) -> Result<(), StoreError> {
    on_each!(conn, |c| diesel::insert_into(table::table)
        .values(entry)
        .execute(c))?;
    Ok(())
}
