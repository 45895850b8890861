//! Orders: created, read, listed, moved on, and asked after by their keys.

use actix_web::{HttpResponse, web::Payload};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    call::{Call, Changed, Created, Kind},
    envelope::{Envelope, Page, with_document},
    money::{Money, decimal},
    parameters::{self, Parameters, Part},
    schema::RequestBody,
    senders,
    texts::{AmountText, CurrencyCode, Line, Phone, Quantity, Text},
};
use crate::{
    idempotency::{self, IdempotencyKey, KeyStatus},
    json::Value,
    shop::{
        amount::Amount,
        ordering::{Customer, PlacedOrder},
        orders::{self, Content, NewOrder},
    },
    store::{
        StoreError,
        orders::{OrderFilter, OrderItem, OrderSource, OrderStatus},
        types::Uuid,
    },
    web::problem::Problem,
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
    status: Status,
}

impl RequestBody for ChangeBody {
    const SCHEMAS: &'static [&'static str] = &["OrderChange"];
}

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

/// What became of a message.
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

/// Create an order
///
/// Of products by SKU, at the catalogue's prices, or of work made to measure.
#[utoipa::path(
    post, path = "/api/v1/orders", operation_id = "createOrder", tag = "orders",
    request_body = OrderBody,
    responses((status = 201, description = "The order", body = Envelope<'static, OrderResource>)),
    security(("token" = ["orders:write"])),
)]
pub async fn create(call: Call, payload: Payload) -> Result<HttpResponse, Problem> {
    call.create(payload, Kind::Orders, |conn, body: OrderBody, at| {
        let placed = orders::create(conn, &at.shops, body.into(), at.reach, at.now)?;
        let order = &placed.order;
        Ok(Created {
            location: format!("/api/v1/orders/{}", order.id),
            message: format!("Order {} created", order.order_number),
            retailer_id: Some(order.retailer_id),
            order_id: Some(order.id),
            data: OrderResource::of(placed)?,
        })
    })
    .await
}

/// Show an order
#[utoipa::path(
    get, path = "/api/v1/orders/{id}", operation_id = "getOrder", tag = "orders",
    params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The order", body = Envelope<'static, OrderResource>)),
    security(("token" = ["orders:read"])),
)]
pub async fn show(call: Call) -> Result<HttpResponse, Problem> {
    let id = call.id("id")?;
    call.read("Order", move |conn, at| {
        Ok(OrderResource::of(orders::find(conn, id, at.reach)?)?)
    })
    .await
}

/// Move an order on
///
/// pending → confirmed → preparing → ready → delivered; each but the last can become cancelled instead. To move it to
/// where it is changes nothing.
#[utoipa::path(
    patch, path = "/api/v1/orders/{id}", operation_id = "changeOrder", tag = "orders",
    params(("id" = uuid::Uuid, Path)),
    request_body = ChangeBody,
    responses((status = 200, description = "The order", body = Envelope<'static, OrderResource>)),
    security(("token" = ["orders:write"])),
)]
pub async fn change(call: Call, payload: Payload) -> Result<HttpResponse, Problem> {
    let id = call.id("id")?;
    call.change(
        payload,
        Kind::Orders,
        "Order changed",
        move |conn, body: ChangeBody, at| {
            let to = body.status.into();
            let placed = orders::change_status(conn, id, to, at.reach, at.now)?;
            Ok(Changed {
                retailer_id: placed.order.retailer_id,
                order_id: Some(placed.order.id),
                data: OrderResource::of(placed)?,
            })
        },
    )
    .await
}

/// Which orders.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code)] // For the OpenAPI document; `list` reads each by itself, to tell all that is wrong.
pub struct ListParameters {
    /// Of this retailer.
    retailer_id: Option<uuid::Uuid>,
    /// In this status.
    #[param(inline)]
    status: Option<Status>,
    /// From there.
    #[param(inline)]
    source: Option<senders::OrderSource>,
    /// With this number.
    #[param(pattern = r"^[^\x00]*$")]
    order_number: Option<String>,
    /// Of this customer, E.164 with `+`.
    #[param(pattern = r"^[^\x00]*$")]
    customer_phone: Option<String>,
    /// Of this customer, by WhatsApp's business-scoped user id.
    #[param(pattern = r"^[^\x00]*$")]
    customer_user_id: Option<String>,
    /// Created then or later.
    #[param(format = DateTime)]
    created_from: Option<String>,
    /// Created before then.
    #[param(format = DateTime)]
    created_before: Option<String>,
    /// How many on a page.
    #[param(minimum = 1, maximum = 100, default = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[param(pattern = "^[0-9a-f]{32}$")]
    cursor: Option<String>,
}

/// List orders
///
/// The newest first.
#[utoipa::path(
    get, path = "/api/v1/orders", operation_id = "listOrders", tag = "orders",
    params(ListParameters),
    responses((status = 200, description = "A page of orders", body = Page<'static, OrderResource>)),
    security(("token" = ["orders:read"])),
)]
pub async fn list(call: Call) -> Result<HttpResponse, Problem> {
    let mut parameters = Parameters::of(call.request.query_string());
    let part = Part::take(&mut parameters);
    let filter = OrderFilter {
        retailer_id: parameters.take("retailer_id", parameters::uuid),
        status: parameters.take("status", |text| parameters::word(text, OrderStatus::ALL)),
        source: parameters.take("source", |text| {
            let name = parameters::name(text, senders::names())?;
            Ok(OrderSource::of(name))
        }),
        order_number: parameters.take("order_number", parameters::text),
        customer_phone: parameters.take("customer_phone", parameters::text),
        customer_user_id: parameters.take("customer_user_id", parameters::text),
        created_from: parameters.take("created_from", parameters::instant),
        created_before: parameters.take("created_before", parameters::instant),
    };
    parameters.finish()?;
    let looking = call.look_up(move |conn, at| {
        Ok(orders::list(
            conn,
            &filter,
            at.reach,
            part.after,
            part.fetch(),
        )?)
    });
    let mut rows = looking.await?;
    let next_cursor = part.cut(&mut rows, |placed| placed.order.id);
    let data: Result<Vec<_>, _> = rows.into_iter().map(OrderResource::of).collect();
    Ok(HttpResponse::Ok().json(Page {
        success: true,
        message: "Orders",
        data: data?,
        next_cursor,
    }))
}

/// What became of the request with a key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KeyStatus)]
pub struct KeyStatusResource {
    /// Always true; errors have false.
    success: bool,
    /// The key.
    key: String,
    status: KeyState,
    /// What that means.
    message: &'static str,
    /// What was answered, where it is completed.
    #[schema(required)]
    result: Option<ResultResource>,
}

/// How far a request has come.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum KeyState {
    /// Answered.
    Completed,
    /// Claimed, and not answered yet.
    InProgress,
    /// Failed: send it again.
    Failed,
    /// Never seen, or forgotten.
    NotFound,
}

/// What was answered.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KeyResult)]
struct ResultResource {
    /// HTTP status.
    #[schema(example = 201)]
    status: i16,
    /// The body, where it was JSON.
    #[schema(required, value_type = Option<Object>)]
    body: Option<serde_json::Value>,
}

/// Ask after a key
///
/// Of any request of this client: for one that never heard an answer. A key whose request is being done in a
/// transaction that has not ended is not found yet.
#[utoipa::path(
    get, path = "/api/v1/orders/status/{key}", operation_id = "getKeyStatus", tag = "orders",
    params(("key" = String, Path, description = "The idempotency key", pattern = "^[A-Za-z0-9._:-]{1,128}$")),
    responses((status = 200, description = "What became of it", body = KeyStatusResource)),
    security(("token" = ["orders:read"])),
)]
pub async fn key_status(call: Call) -> Result<HttpResponse, Problem> {
    let key: IdempotencyKey = call.request.match_info().query("key").parse()?;
    let scope = call.caller.key_scope();
    let wanted = key.clone();
    let looking =
        call.look_up(move |conn, at| Ok(idempotency::key_status(conn, &scope, &wanted, at.now)?));
    let mut body = Value::Null;
    let (status, message, result) = match looking.await? {
        KeyStatus::Unknown => (KeyState::NotFound, "no request has this key", None),
        KeyStatus::InProgress => (KeyState::InProgress, "still in progress", None),
        KeyStatus::Failed => (KeyState::Failed, "failed: send it again", None),
        KeyStatus::Completed { path, .. } if !super::may_read(&call.caller, &path) => (
            KeyState::Completed,
            "done; to read the answer takes another scope",
            None,
        ),
        KeyStatus::Completed { reply, .. } => {
            body = Value::parse(&reply.body).unwrap_or(Value::Null);
            let result = ResultResource {
                status: reply.status,
                body: None,
            };
            (
                KeyState::Completed,
                "done: this was the answer",
                Some(result),
            )
        }
    };
    let answer = KeyStatusResource {
        success: true,
        key: key.to_string(),
        status,
        message,
        result,
    };
    with_document(&answer, &["result", "body"], body)
}
