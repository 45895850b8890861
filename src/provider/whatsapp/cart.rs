//! Meta's carts, wherever they are passed on.

use crate::{
    json::Value,
    provider::{
        event::CartLine,
        value::{as_written, text},
    },
};

/// The lines of Meta's `product_items`.
pub(in crate::provider) fn cart_lines(items: &Value) -> Vec<CartLine> {
    let line = |item: &Value| CartLine {
        sku: text(item, "product_retailer_id").unwrap_or_default(),
        quantity: as_written(item.get("quantity")).unwrap_or_default(),
        price: as_written(item.get("item_price")),
        currency: text(item, "currency"),
    };
    items.as_array().into_iter().flatten().map(line).collect()
}
