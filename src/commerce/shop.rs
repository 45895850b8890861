//! A retailer with the catalogue it sells from. Catalogues are kept in memory between messages.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    catalogue::{Catalogue, Product},
    money::{Currency, MoneyError},
};
use crate::store::{Conn, StoreError, products, retailers::Retailer, types::Uuid};

/// A retailer and what it sells.
#[derive(Clone, Debug)]
pub struct Shop {
    /// Its id.
    pub retailer_id: Uuid,
    /// The currency of all its prices.
    pub currency: Currency,
    /// What it sells.
    pub catalogue: Arc<Catalogue>,
}

/// The catalogues that were used lately, by retailer.
#[derive(Debug, Default)]
pub struct Catalogues(Mutex<HashMap<Uuid, (Uuid, Arc<Catalogue>)>>);

impl Catalogues {
    /// How many are kept: bounds the memory.
    const MOST: usize = 10_000;

    /// The shop of a retailer as this transaction sees it: the version in the retailer's row says whether the
    /// catalogue in memory is still the one in the database.
    ///
    /// # Errors
    /// Where the database refuses.
    pub fn shop(&self, conn: &mut Conn<'_>, retailer: &Retailer) -> Result<Shop, StoreError> {
        let currency = retailer.currency.parse().map_err(|error: MoneyError| {
            StoreError::Query(diesel::result::Error::DeserializationError(error.into()))
        })?;
        let catalogue = match self.kept(retailer) {
            Some(catalogue) => catalogue,
            None => self.keep(retailer, load(conn, retailer.id)?),
        };
        Ok(Shop {
            retailer_id: retailer.id,
            currency,
            catalogue,
        })
    }

    fn kept(&self, retailer: &Retailer) -> Option<Arc<Catalogue>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(&retailer.id)
            .filter(|(version, _)| *version == retailer.catalogue_version)
            .map(|(_, catalogue)| catalogue.clone())
    }

    fn keep(&self, retailer: &Retailer, catalogue: Catalogue) -> Arc<Catalogue> {
        let catalogue = Arc::new(catalogue);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= Self::MOST {
            kept.clear();
        }
        kept.insert(retailer.id, (retailer.catalogue_version, catalogue.clone()));
        catalogue
    }
}

fn load(conn: &mut Conn<'_>, retailer: Uuid) -> Result<Catalogue, StoreError> {
    let rows = products::of_retailer(conn, retailer)?;
    let products: Result<Vec<_>, _> = rows.into_iter().map(product).collect();
    Ok(Catalogue::new(products?))
}

fn product(row: products::Product) -> Result<Product, StoreError> {
    let aliases = serde_json::from_str(row.aliases.as_str()).map_err(|error| {
        StoreError::Query(diesel::result::Error::DeserializationError(error.into()))
    })?;
    Ok(Product {
        id: row.id.0,
        sku: row.sku,
        name: row.name,
        aliases,
        price_minor: row.price_minor,
    })
}
