//! The retailers and the numbers that their customers write to.

use diesel::prelude::*;

use super::{
    Conn, StoreError, on_each,
    schema::retailers as table,
    types::{Timestamp, Uuid},
};

/// A business that takes orders.
#[derive(Clone, Debug, PartialEq, Queryable, Selectable, Insertable)]
#[diesel(table_name = table, check_for_backend(crate::store::Checked), treat_none_as_default_value = false)]
pub struct Retailer {
    /// Its id.
    pub id: Uuid,
    /// What it is called.
    pub name: String,
    /// The number that customers write to, E.164 with `+`.
    pub phone: String,
    /// The same number's id at Meta.
    pub phone_number_id: Option<String>,
    /// ISO 4217 code of all its prices.
    pub currency: String,
    /// A new random value with every change of its products.
    pub catalogue_version: Uuid,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it or its products last changed.
    pub updated_at: Timestamp,
}

/// The retailers in whose column is one of these texts. SQLite is asked for one after another, for it keeps the prepared
/// statement of a single text; on PostgreSQL each statement would be a round trip.
macro_rules! by_any {
    ($conn:expr, $column:expr, $texts:expr) => {
        match $conn {
            #[cfg(feature = "sqlite")]
            Conn::Sqlite(c) => {
                let mut found = Vec::new();
                for text in $texts {
                    let one = table::table
                        .filter($column.eq(*text))
                        .select(Retailer::as_select())
                        .get_result(*c)
                        .optional()?;
                    found.extend(one);
                }
                Ok(found)
            }
            #[cfg(feature = "postgres")]
            Conn::Postgres(_) if $texts.is_empty() => Ok(Vec::new()),
            #[cfg(feature = "postgres")]
            Conn::Postgres(c) => Ok(table::table
                .filter($column.eq_any($texts))
                .select(Retailer::as_select())
                .load(&mut **c)?),
        }
    };
}

/// Adds a retailer.
///
/// # Errors
/// [`StoreError::is_taken`] where its phone or phone number id belongs to another.
pub fn insert(conn: &mut Conn<'_>, retailer: &Retailer) -> Result<(), StoreError> {
    on_each!(conn, |c| diesel::insert_into(table::table)
        .values(retailer)
        .execute(c))?;
    Ok(())
}

/// All of them, the oldest first.
pub fn list(conn: &mut Conn<'_>) -> Result<Vec<Retailer>, StoreError> {
    Ok(on_each!(conn, |c| table::table
        .order((table::created_at, table::id))
        .select(Retailer::as_select())
        .load(c))?)
}

/// The one with this id.
pub fn find(conn: &mut Conn<'_>, id: Uuid) -> Result<Option<Retailer>, StoreError> {
    Ok(on_each!(conn, |c| table::table
        .find(id)
        .select(Retailer::as_select())
        .get_result(c)
        .optional())?)
}

/// Those whose customers write to one of these numbers (E.164 with `+`).
pub fn by_phones(conn: &mut Conn<'_>, phones: &[&str]) -> Result<Vec<Retailer>, StoreError> {
    by_any!(conn, table::phone, phones)
}

/// Those whose number has one of these ids at Meta.
pub fn by_phone_number_ids(conn: &mut Conn<'_>, ids: &[&str]) -> Result<Vec<Retailer>, StoreError> {
    by_any!(conn, table::phone_number_id, ids)
}

/// Says that a retailer's products have changed.
pub fn touch_catalogue(
    conn: &mut Conn<'_>,
    id: Uuid,
    version: Uuid,
    now: Timestamp,
) -> Result<(), StoreError> {
    on_each!(conn, |c| diesel::update(table::table.find(id))
        .set((
            table::catalogue_version.eq(version),
            table::updated_at.eq(now)
        ))
        .execute(c))?;
    Ok(())
}

/// Changes what a retailer is called and where its customers write. `false`: there is none with this id.
///
/// # Errors
/// [`StoreError::is_taken`] where its phone or phone number id belongs to another.
pub fn update(
    conn: &mut Conn<'_>,
    id: Uuid,
    name: &str,
    phone: &str,
    phone_number_id: Option<&str>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let rows = on_each!(conn, |c| diesel::update(table::table.find(id))
        .set((
            table::name.eq(name),
            table::phone.eq(phone),
            table::phone_number_id.eq(phone_number_id),
            table::updated_at.eq(now),
        ))
        .execute(c))?;
    Ok(rows == 1)
}

/// The retailers, the newest first, that come after the retailer `after`; at most `limit`.
pub fn page(
    conn: &mut Conn<'_>,
    only: Option<Uuid>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Retailer>, StoreError> {
    Ok(on_each!(conn, |c| {
        let mut query = table::table.select(Retailer::as_select()).into_boxed();
        if let Some(only) = only {
            query = query.filter(table::id.eq(only));
        }
        if let Some(after) = after {
            query = query.filter(table::id.lt(after));
        }
        query.order(table::id.desc()).limit(limit).load(c)
    })?)
}
