//! An order as clients are told of it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::money::{Money, decimal};

use crate::{
    shop::ordering::PlacedOrder,
    store::{
        StoreError,
        orders::{OrderItem, OrderStatus},
    },
};

/// How far an order has come.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = OrderStatus)]
pub enum Status {
    /// Received.
    Pending,
    /// The shop will do it.
    Confirmed,
    /// The shop is doing it.
    Preparing,
    /// It can be fetched or brought.
    Ready,
    /// The customer has it.
    Delivered,
    /// Nobody will do it.
    Cancelled,
}

impl From<Status> for OrderStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Pending => Self::Pending,
            Status::Confirmed => Self::Confirmed,
            Status::Preparing => Self::Preparing,
            Status::Ready => Self::Ready,
            Status::Delivered => Self::Delivered,
            Status::Cancelled => Self::Cancelled,
        }
    }
}

impl From<OrderStatus> for Status {
    fn from(status: OrderStatus) -> Self {
        match status {
            OrderStatus::Pending => Self::Pending,
            OrderStatus::Confirmed => Self::Confirmed,
            OrderStatus::Preparing => Self::Preparing,
            OrderStatus::Ready => Self::Ready,
            OrderStatus::Delivered => Self::Delivered,
            OrderStatus::Cancelled => Self::Cancelled,
        }
    }
}

/// An order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Order)]
pub struct OrderResource {
    id: uuid::Uuid,
    /// The number that people use.
    #[schema(example = "7K3M-Q9TX")]
    order_number: String,
    retailer_id: uuid::Uuid,
    status: Status,
    /// The provider whose message made it, or `api`.
    #[schema(example = "api")]
    source: String,
    customer: CustomerResource,
    /// Empty where work is made to measure.
    items: Vec<ItemResource>,
    /// The kind of work made to measure.
    #[schema(required)]
    service_type: Option<String>,
    /// What is made to measure.
    #[schema(required)]
    description: Option<String>,
    #[schema(required)]
    note: Option<String>,
    total: Money,
    /// What was paid and not refunded, in the currency of the total.
    #[schema(example = "0.00")]
    paid: String,
    /// What the customer edited or took back of the message that made the order, in the order of time.
    amendments: Vec<AmendmentResource>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

/// Who ordered.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Customer)]
struct CustomerResource {
    #[schema(required)]
    name: Option<String>,
    /// E.164 with `+`, where the number is told.
    #[schema(required)]
    phone: Option<String>,
    /// WhatsApp's business-scoped user id, where it is told.
    #[schema(required)]
    user_id: Option<String>,
}

/// What the customer changed of the message that made an order. The order stays as it is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OrderAmendment)]
struct AmendmentResource {
    #[schema(value_type = AmendmentKind)]
    kind: &'static str,
    /// What the message says now; null where it was taken back, or says nothing.
    #[schema(required)]
    text: Option<String>,
    /// When the customer did it.
    #[schema(format = DateTime)]
    at: String,
}

/// The outcome of a message.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[allow(dead_code)] // For the OpenAPI document.
enum AmendmentKind {
    /// It says something else now.
    Edit,
    /// It was taken back.
    Revoke,
}

/// A line of an order, with name and price as they were.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OrderItem)]
struct ItemResource {
    sku: String,
    name: String,
    quantity: i32,
    /// In the currency of the order's total.
    #[schema(example = "8.50")]
    unit_price: String,
}

impl OrderResource {
    /// What is shown of an order.
    ///
    /// # Errors
    /// Where its currency is none.
    pub fn of(placed: PlacedOrder) -> Result<Self, StoreError> {
        let PlacedOrder {
            order,
            items,
            amendments,
        } = placed;
        let currency = order.currency.as_str();
        let item = |item: OrderItem| {
            Ok(ItemResource {
                unit_price: decimal(item.unit_price_minor, currency)?,
                sku: item.sku,
                name: item.name,
                quantity: item.quantity,
            })
        };
        Ok(Self {
            id: order.id.0,
            retailer_id: order.retailer_id.0,
            status: order.status.into(),
            source: order.source.as_str().to_owned(),
            items: items
                .into_iter()
                .map(item)
                .collect::<Result<_, StoreError>>()?,
            total: Money::of(order.total_minor, currency)?,
            paid: decimal(order.paid_minor, currency)?,
            amendments: amendments
                .into_iter()
                .map(|amendment| AmendmentResource {
                    kind: amendment.kind.as_str(),
                    text: amendment.text,
                    at: amendment.amended_at.to_string(),
                })
                .collect(),
            created_at: order.created_at.to_string(),
            updated_at: order.updated_at.to_string(),
            order_number: order.order_number,
            customer: CustomerResource {
                name: order.customer_name,
                phone: order.customer_phone,
                user_id: order.customer_user_id,
            },
            service_type: order.service_type,
            description: order.description,
            note: order.note,
        })
    }
}
