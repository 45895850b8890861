//! The retailers: who they are, what they sell one by one, and what is owed to them. Whole catalogues come in through
//! [`super::import`].

use super::{
    amount::Amount,
    error::{FieldError, ShopError},
    money::Currency,
    tenant_scope::TenantScope,
};
use crate::{
    identity::PhoneNumber,
    store::{
        Conn, StoreError,
        ledger::{self, EntryKind},
        products::{self, Product},
        retailers::{self, Retailer},
        types::{Json, Timestamp, Uuid},
    },
};

/// What a retailer is to be.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRetailer {
    /// What it is called.
    pub name: String,
    /// The number that customers write to.
    pub phone: PhoneNumber,
    /// The same number's id at Meta.
    pub phone_number_id: Option<String>,
    /// The currency of all its prices.
    pub currency: Currency,
}

/// A product to be added, or as it is to be after a change.
#[derive(Clone, Debug, PartialEq)]
pub struct NewProduct {
    /// Its code, unique for the retailer.
    pub sku: String,
    /// What it is called.
    pub name: String,
    /// Other names.
    pub aliases: Vec<String>,
    /// Price of one, decimal.
    pub price: String,
    /// ISO 4217 code, where it is told: the retailer's.
    pub currency: Option<String>,
}

/// What is owed to a retailer, and how it came about, in minor units of its currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    /// The currency of all these.
    pub currency: Currency,
    /// The totals of all orders.
    pub ordered: i128,
    /// The totals of those that were cancelled.
    pub cancelled: i128,
    /// All payments.
    pub paid: i128,
    /// All refunds.
    pub refunded: i128,
    /// What is owed: the sum of the ledger.
    pub owed: i128,
}

/// Adds a retailer, its catalogue still empty.
///
/// # Errors
/// Where its phone or phone number id belongs to another; or the database's own.
pub fn add(conn: &mut Conn<'_>, new: NewRetailer, now: Timestamp) -> Result<Retailer, ShopError> {
    let retailer = Retailer {
        id: Uuid::in_order(),
        name: new.name,
        phone: new.phone.as_str().to_owned(),
        phone_number_id: new.phone_number_id,
        currency: new.currency.code().to_owned(),
        catalogue_version: Uuid::random(),
        created_at: now,
        updated_at: now,
    };
    retailers::insert(conn, &retailer).map_err(number_taken)?;
    Ok(retailer)
}

/// Changes a retailer. Its currency stays, for its prices and its ledger are in it. Only a caller who reaches all
/// retailers may change its numbers.
///
/// # Errors
/// Where there is none within reach, its number belongs to another, or the currency differs; or the database's own.
pub fn change(
    conn: &mut Conn<'_>,
    id: Uuid,
    new: &NewRetailer,
    tenants: TenantScope,
    now: Timestamp,
) -> Result<Retailer, ShopError> {
    let retailer = tenants.retailer(conn, id)?;
    if retailer.currency != new.currency.code() {
        let message = format!("stays {}", retailer.currency);
        return Err(FieldError::new("/currency", "foreign_currency", message).into());
    }
    let (phone, phone_number_id) = (new.phone.as_str(), new.phone_number_id.as_deref());
    let moves = phone != retailer.phone || phone_number_id != retailer.phone_number_id.as_deref();
    if moves && tenants != TenantScope::All {
        // The messages written to a number go to the retailer that has it.
        let message = "the numbers stay, for the token is bound to the retailer";
        return Err(FieldError::new("/phone", "fixed", message).into());
    }
    retailers::update(conn, id, &new.name, phone, phone_number_id, now).map_err(number_taken)?;
    tenants.retailer(conn, id)
}

fn number_taken(error: StoreError) -> ShopError {
    match error.is_taken() {
        true => FieldError::new(
            "/phone",
            "taken",
            "the phone or the phone number id belongs to another retailer",
        )
        .into(),
        false => error.into(),
    }
}

/// The retailers within reach, the newest first, that come after the retailer `after`; at most `limit`.
///
/// # Errors
/// The database's own.
pub fn list(
    conn: &mut Conn<'_>,
    tenants: TenantScope,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Retailer>, StoreError> {
    let only = match tenants {
        TenantScope::All => None,
        TenantScope::Only(id) => Some(id),
    };
    retailers::page(conn, only, after, limit)
}

/// What is owed to a retailer, from its ledger.
///
/// # Errors
/// Where there is none within reach; or the database's own.
pub fn balance(conn: &mut Conn<'_>, id: Uuid, tenants: TenantScope) -> Result<Balance, ShopError> {
    let retailer = tenants.retailer(conn, id)?;
    let sums = ledger::sums(conn, id)?;
    let sum = |kind| -> i128 {
        let of_kind = sums.iter().filter(|sum| sum.kind == kind);
        of_kind.map(|sum| sum.amount_minor).sum()
    };
    Ok(Balance {
        currency: Currency::stored(&retailer.currency)?,
        ordered: sum(EntryKind::Order),
        cancelled: -sum(EntryKind::Cancellation),
        paid: -sum(EntryKind::Payment),
        refunded: sum(EntryKind::Refund),
        owed: sums.iter().map(|sum| sum.amount_minor).sum(),
    })
}

/// Adds a product to a retailer's catalogue.
///
/// # Errors
/// Where there is no such retailer within reach, or the product cannot be; or the database's own.
pub fn add_product(
    conn: &mut Conn<'_>,
    retailer: Uuid,
    new: &NewProduct,
    tenants: TenantScope,
    now: Timestamp,
) -> Result<Product, ShopError> {
    let retailer = tenants.retailer(conn, retailer)?;
    let product = Product {
        id: Uuid::in_order(),
        retailer_id: retailer.id,
        sku: new.sku.clone(),
        name: new.name.clone(),
        aliases: aliases(new),
        price_minor: price(new, &retailer)?,
        created_at: now,
        updated_at: now,
    };
    products::insert(conn, &product).map_err(sku_taken)?;
    retailers::touch_catalogue(conn, retailer.id, Uuid::random(), now)?;
    Ok(product)
}

/// Changes a product of a retailer's catalogue.
///
/// # Errors
/// Where there is none within reach, or it cannot be so; or the database's own.
pub fn change_product(
    conn: &mut Conn<'_>,
    retailer: Uuid,
    id: Uuid,
    new: &NewProduct,
    tenants: TenantScope,
    now: Timestamp,
) -> Result<Product, ShopError> {
    let retailer = tenants.retailer(conn, retailer)?;
    let known = find_product(conn, retailer.id, id, tenants)?;
    let product = Product {
        sku: new.sku.clone(),
        name: new.name.clone(),
        aliases: aliases(new),
        price_minor: price(new, &retailer)?,
        updated_at: now,
        ..known
    };
    products::update(conn, &product).map_err(sku_taken)?;
    retailers::touch_catalogue(conn, retailer.id, Uuid::random(), now)?;
    Ok(product)
}

fn aliases(new: &NewProduct) -> Json {
    Json::of(&new.aliases.iter().map(String::as_str).collect())
}

fn price(new: &NewProduct, retailer: &Retailer) -> Result<i64, ShopError> {
    let currency = Currency::stored(&retailer.currency)?;
    let told = new.currency.as_deref();
    let price = Amount {
        amount: new.price.clone(),
        currency: told.unwrap_or(currency.code()).to_owned(),
    };
    Ok(price.minor_units_or_zero("/price", currency)?)
}

fn sku_taken(error: StoreError) -> ShopError {
    match error.is_taken() {
        true => FieldError::new("/sku", "taken", "the retailer has a product with it").into(),
        false => error.into(),
    }
}

/// The product with this id.
///
/// # Errors
/// Where there is none of this retailer within reach; or the database's own.
pub fn find_product(
    conn: &mut Conn<'_>,
    retailer: Uuid,
    id: Uuid,
    tenants: TenantScope,
) -> Result<Product, ShopError> {
    products::find(conn, id)?
        .filter(|product| product.retailer_id == retailer && tenants.covers(retailer))
        .ok_or(ShopError::NotFound("product"))
}

/// A retailer's products, the newest first, that come after the product `after`; at most `limit`.
///
/// # Errors
/// Where there is no such retailer within reach; or the database's own.
pub fn list_products(
    conn: &mut Conn<'_>,
    retailer: Uuid,
    tenants: TenantScope,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Product>, ShopError> {
    let retailer = tenants.retailer(conn, retailer)?;
    Ok(products::page(conn, retailer.id, after, limit)?)
}
