//! A retailer with the catalogue it sells from, kept in memory between messages.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    catalogue::{Catalogue, Product},
    money::Currency,
};
use crate::store::{Conn, StoreError, products, retailers::Retailer, types::Uuid};

/// A retailer and what it sells.
#[doc(hidden)]
#[derive(Debug)]
pub struct Shop {
    /// Its id.
    pub retailer_id: Uuid,
    /// The version of its catalogue.
    pub version: Uuid,
    /// The currency of all its prices.
    pub currency: Currency,
    /// What it sells.
    pub catalogue: Catalogue,
}

impl Shop {
    /// Whether this is the shop that a retailer's row speaks of.
    pub fn is_current(&self, retailer: &Retailer) -> bool {
        self.retailer_id == retailer.id && self.version == retailer.catalogue_version
    }
}

/// The shops that were used lately, by the number or the id that customers write to.
#[derive(Debug, Default)]
pub struct Shops(Mutex<HashMap<String, Arc<Shop>>>);

impl Shops {
    /// How many are kept: bounds the memory.
    const MOST: usize = 10_000;

    /// The shop as it was when it was used last: it may have changed since.
    #[doc(hidden)]
    pub fn recall(&self, address: &str) -> Option<Arc<Shop>> {
        self.kept().get(address).cloned()
    }

    /// The shop of a retailer as this transaction sees it: the version in the retailer's row says whether the
    /// catalogue in memory is still the one in the database.
    ///
    /// # Errors
    /// Where the database refuses.
    #[doc(hidden)]
    pub fn current(
        &self,
        conn: &mut Conn<'_>,
        address: &str,
        retailer: &Retailer,
    ) -> Result<Arc<Shop>, StoreError> {
        if let Some(shop) = self
            .recall(address)
            .filter(|shop| shop.is_current(retailer))
        {
            return Ok(shop);
        }
        let shop = Arc::new(load(conn, retailer)?);
        let mut kept = self.kept();
        if kept.len() >= Self::MOST {
            kept.clear();
        }
        kept.insert(address.to_owned(), shop.clone());
        Ok(shop)
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<String, Arc<Shop>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn load(conn: &mut Conn<'_>, retailer: &Retailer) -> Result<Shop, StoreError> {
    let currency = retailer.currency.parse().map_err(StoreError::unreadable)?;
    let rows = products::of_retailer(conn, retailer.id)?;
    let products: Result<Vec<_>, _> = rows.into_iter().map(product).collect();
    Ok(Shop {
        retailer_id: retailer.id,
        version: retailer.catalogue_version,
        currency,
        catalogue: Catalogue::new(products?),
    })
}

fn product(row: products::Product) -> Result<Product, StoreError> {
    Ok(Product {
        id: row.id.0,
        sku: row.sku,
        name: row.name,
        aliases: serde_json::from_str(row.aliases.as_str()).map_err(StoreError::unreadable)?,
        price_minor: row.price_minor,
    })
}
