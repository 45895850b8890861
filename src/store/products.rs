//! What the retailers sell.

use diesel::{prelude::*, upsert::excluded};

use super::{
    Conn, StoreError, on_each,
    schema::products as table,
    types::{Json, Timestamp, Uuid},
};

/// One thing that a retailer sells.
#[derive(Clone, Debug, PartialEq, Queryable, Selectable, Insertable)]
#[diesel(table_name = table, check_for_backend(crate::store::Checked), treat_none_as_default_value = false)]
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

/// Adds a product.
///
/// # Errors
/// [`StoreError::is_taken`] where the retailer has its SKU already.
pub fn insert(conn: &mut Conn<'_>, product: &Product) -> Result<(), StoreError> {
    on_each!(conn, |c| diesel::insert_into(table::table)
        .values(product)
        .execute(c))?;
    Ok(())
}

/// Changes all of a product but whose it is and when it was added.
///
/// # Errors
/// [`StoreError::is_taken`] where another product of the retailer has its SKU.
pub fn update(conn: &mut Conn<'_>, product: &Product) -> Result<(), StoreError> {
    on_each!(conn, |c| diesel::update(table::table.find(product.id))
        .set((
            table::sku.eq(&product.sku),
            table::name.eq(&product.name),
            table::aliases.eq(&product.aliases),
            table::price_minor.eq(product.price_minor),
            table::updated_at.eq(product.updated_at),
        ))
        .execute(c))?;
    Ok(())
}

/// The product with this id.
pub fn find(conn: &mut Conn<'_>, id: Uuid) -> Result<Option<Product>, StoreError> {
    Ok(on_each!(conn, |c| table::table
        .find(id)
        .select(Product::as_select())
        .get_result(c)
        .optional())?)
}

/// A retailer's products, the newest first, that come after the product `after`; at most `limit`.
pub fn page(
    conn: &mut Conn<'_>,
    retailer: Uuid,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Product>, StoreError> {
    Ok(on_each!(conn, |c| {
        let mut query = table::table.select(Product::as_select()).into_boxed();
        query = query.filter(table::retailer_id.eq(retailer));
        if let Some(after) = after {
            query = query.filter(table::id.lt(after));
        }
        query.order(table::id.desc()).limit(limit).load(c)
    })?)
}
