//! Orders: created, read, listed, moved on, and asked after by their keys.

pub mod bodies;
pub mod key_status;
mod resource;

use actix_web::{HttpResponse, web::Payload};
use utoipa::IntoParams;

pub use self::resource::OrderResource;
use self::{
    bodies::{ChangeBody, OrderBody},
    resource::Status,
};

use super::{
    call::Call,
    envelope::{Envelope, Page},
    kind::Kind,
    parameters::{self, PageRequest, Parameters},
    senders,
    work::{Changed, Created},
};

use crate::{
    shop::orders,
    store::orders::{OrderFilter, OrderSource, OrderStatus},
    web::problem::Problem,
};

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
        let placed = orders::create(conn, &at.shops, body.into(), at.tenants, at.now)?;
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
        Ok(OrderResource::of(orders::find(conn, id, at.tenants)?)?)
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
            let placed = orders::change_status(conn, id, to, at.tenants, at.now)?;
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
    let part = PageRequest::take(&mut parameters);
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
            at.tenants,
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
