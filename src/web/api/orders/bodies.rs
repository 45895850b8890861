//! What clients send of orders.

use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    super::{
        schema::RequestBody,
        texts::{AmountText, CurrencyCode, Line, Phone, Quantity, Text},
    },
    Status,
};

use crate::{
    json::Value,
    shop::{
        amount::Amount,
        ordering::Customer,
        orders::{Content, NewOrder},
    },
    store::types::Uuid,
};

/// An order of products.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewOrder)]
pub struct ItemsBody {
    /// The retailer; required unless the token is bound to one.
    #[schema(format = Uuid)]
    retailer_id: Option<uuid::Uuid>,
    customer: CustomerBody,
    /// The products, at the catalogue's prices.
    #[schema(min_items = 1, max_items = 200)]
    items: Vec<ItemBody>,
    /// What is to be said beside it.
    note: Option<Text>,
}

/// An order of work made to measure.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewCustomOrder)]
pub struct WorkBody {
    /// The retailer; required unless the token is bound to one.
    #[schema(format = Uuid)]
    retailer_id: Option<uuid::Uuid>,
    customer: CustomerBody,
    /// What kind of work.
    service_type: Line,
    /// What is to be made.
    description: Text,
    /// What it will cost: more than zero.
    estimated_price: AmountText,
    /// The retailer's currency.
    currency: CurrencyCode,
    /// What is to be said beside it.
    note: Option<Text>,
}

/// Who orders.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewCustomer)]
struct CustomerBody {
    /// What they are called.
    name: Line,
    /// Where they can be reached.
    phone: Option<Phone>,
}

/// A product and how many of it.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewOrderItem)]
struct ItemBody {
    /// The product's code in the retailer's catalogue.
    sku: Line,
    /// How many.
    quantity: Quantity,
}

/// Either kind of order.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = AnyNewOrder)]
pub enum OrderBody {
    /// Products.
    Items(ItemsBody),
    /// Work.
    Work(WorkBody),
}

impl RequestBody for OrderBody {
    const SCHEMAS: &'static [&'static str] = &["NewOrder", "NewCustomOrder"];

    /// By what is there, so that errors speak of what was meant.
    fn choose(document: &Value) -> &'static str {
        let [items, work] = [Self::SCHEMAS[0], Self::SCHEMAS[1]];
        let has = |name| document.get(name).is_some();
        let means_work = has("service_type") || has("description") || has("estimated_price");
        if means_work && !has("items") {
            work
        } else {
            items
        }
    }
}

impl From<OrderBody> for NewOrder {
    fn from(body: OrderBody) -> Self {
        match body {
            OrderBody::Items(body) => Self {
                retailer_id: body.retailer_id.map(Uuid),
                customer: body.customer.into(),
                content: Content::Items(
                    body.items
                        .into_iter()
                        .map(|item| (item.sku.0, item.quantity.0))
                        .collect(),
                ),
                note: body.note.map(|note| note.0),
            },
            OrderBody::Work(body) => Self {
                retailer_id: body.retailer_id.map(Uuid),
                customer: body.customer.into(),
                content: Content::Work {
                    service_type: body.service_type.0,
                    description: body.description.0,
                    estimated_price: Amount {
                        amount: body.estimated_price.0,
                        currency: body.currency.0,
                    },
                },
                note: body.note.map(|note| note.0),
            },
        }
    }
}

impl From<CustomerBody> for Customer {
    fn from(body: CustomerBody) -> Self {
        Self {
            phone: body.phone.map(|phone| phone.0),
            user_id: None,
            name: Some(body.name.0),
        }
    }
}

/// A step of an order.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OrderChange)]
pub struct ChangeBody {
    /// What the order becomes.
    pub status: Status,
}

impl RequestBody for ChangeBody {
    const SCHEMAS: &'static [&'static str] = &["OrderChange"];
}
