//! What is owed to a retailer, entry by entry: above zero where more is owed, below where less.

use diesel::{dsl::sql, prelude::*, sql_types::BigInt};

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
        /// An order that nobody will do: its total is no longer owed. At most one for each order.
        Cancellation => "cancellation",
        /// A payment: so much less is owed. One for each payment.
        Payment => "payment",
        /// A refund: so much is owed again. One for each refund.
        Refund => "refund",
    }
}

/// One amount.
#[derive(Clone, Debug, PartialEq, Insertable)]
#[diesel(table_name = table, treat_none_as_default_value = false)]
pub struct LedgerEntry<'a> {
    /// That of what is entered: the order, the payment or the refund.
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

/// The sum of a retailer's entries of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct LedgerSum {
    /// Why.
    pub kind: EntryKind,
    /// ISO 4217 code.
    pub currency: String,
    /// In minor units of `currency`; may be larger than a single amount can be.
    pub amount_minor: i128,
}

/// Enters an amount.
pub fn insert(conn: &mut Conn<'_>, entry: &LedgerEntry<'_>) -> Result<(), StoreError> {
    on_each!(conn, |c| diesel::insert_into(table::table)
        .values(entry)
        .execute(c))?;
    Ok(())
}

/// Enters amounts.
pub fn insert_all(conn: &mut Conn<'_>, entries: &[LedgerEntry<'_>]) -> Result<(), StoreError> {
    match conn {
        #[cfg(feature = "sqlite")]
        Conn::Sqlite(_) => entries.iter().try_for_each(|entry| insert(conn, entry)),
        #[cfg(feature = "postgres")]
        Conn::Postgres(c) => {
            for entries in entries.chunks(super::MANY) {
                diesel::insert_into(table::table)
                    .values(entries)
                    .execute(&mut **c)?;
            }
            Ok(())
        }
    }
}

/// The sums of a retailer's entries, by kind and currency.
pub fn sums(conn: &mut Conn<'_>, retailer: Uuid) -> Result<Vec<LedgerSum>, StoreError> {
    // Two large orders come to more than 64 bits hold, and SQLite has no wider numbers: their upper and their lower
    // digits are summed apart.
    const BASE: i64 = 1_000_000_000;
    let sum = |digits: &str| {
        sql::<BigInt>(&format!(
            "CAST(sum(amount_minor {digits} {BASE}) AS BIGINT)"
        ))
    };
    let rows: Vec<(EntryKind, String, i64, i64)> = on_each!(conn, |c| table::table
        .filter(table::retailer_id.eq(retailer))
        .group_by((table::kind, table::currency))
        .select((table::kind, table::currency, sum("/"), sum("%")))
        .load(c))?;
    let whole = |upper: i64, lower: i64| i128::from(upper) * i128::from(BASE) + i128::from(lower);
    let rows = rows.into_iter();
    Ok(rows
        .map(|(kind, currency, upper, lower)| LedgerSum {
            kind,
            currency,
            amount_minor: whole(upper, lower),
        })
        .collect())
}
