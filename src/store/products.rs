//! What the retailers sell.

use diesel::{prelude::*, upsert::excluded};

use super::{
    Conn, StoreError, on_each,
    schema::products as table,
    types::{Json, Timestamp, Uuid},
};

/// One thing that a retailer sells.
#[derive(Clone, Debug, PartialEq, Queryable, Selectable, Insertable)]
#[diesel(table_name = table, check_for_backend(diesel::sqlite::Sqlite, diesel::pg::Pg), treat_none_as_default_value = false)]
pub struct Product {
    /// Its id; kept when an import changes the rest.
    pub id: Uuid,
    /// Whose it is.
    pub retailer_id: Uuid,
    /// Its code, unique for the retailer.
    pub sku: String,
    /// What it is called.
    pub name: String,
    /// Other names, a JSON array of strings.
    pub aliases: Json,
    /// Price in minor units of the retailer's currency.
    pub price_minor: i64,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// Adds a product, or changes the one with the same SKU.
pub fn upsert(conn: &mut Conn<'_>, product: &Product) -> Result<(), StoreError> {
    on_each!(conn, |c| diesel::insert_into(table::table)
        .values(product)
        .on_conflict((table::retailer_id, table::sku))
        .do_update()
        .set((
            table::name.eq(excluded(table::name)),
            table::aliases.eq(excluded(table::aliases)),
            table::price_minor.eq(excluded(table::price_minor)),
            table::updated_at.eq(excluded(table::updated_at)),
        ))
        .execute(c))?;
    Ok(())
}

/// A retailer's products, by SKU.
pub fn of_retailer(conn: &mut Conn<'_>, retailer: Uuid) -> Result<Vec<Product>, StoreError> {
    Ok(on_each!(conn, |c| table::table
        .filter(table::retailer_id.eq(retailer))
        .order(table::sku)
        .select(Product::as_select())
        .load(c))?)
}
