//! Bookings.

use actix_web::{HttpResponse, web::Payload};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    call::Call,
    envelope::Envelope,
    kind::Kind,
    schema::RequestBody,
    texts::{Line, TimeOfDay},
    work::Created,
};
use crate::{
    shop::bookings::{self, NewBooking},
    store::{bookings::Booking, types::Uuid},
    web::problem::Problem,
};

/// A booking to make.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewBooking)]
pub struct BookingBody {
    /// The retailer; required unless the token is bound to one.
    #[schema(format = Uuid)]
    retailer_id: Option<uuid::Uuid>,
    /// What.
    service: Line,
    /// For whom.
    customer_name: Line,
    /// a day by the retailer's calendar, as in 2026-12-01
    #[schema(format = Date, example = "2026-12-01")]
    date: String,
    /// By the retailer's clock.
    time: TimeOfDay,
}

impl RequestBody for BookingBody {
    const SCHEMAS: &'static [&'static str] = &["NewBooking"];
}

impl From<BookingBody> for NewBooking {
    fn from(body: BookingBody) -> Self {
        Self {
            retailer_id: body.retailer_id.map(Uuid),
            service: body.service.0,
            customer_name: body.customer_name.0,
            date: body.date,
            time: body.time.0,
        }
    }
}

/// A booking.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Booking)]
pub struct BookingResource {
    id: uuid::Uuid,
    retailer_id: uuid::Uuid,
    service: String,
    customer_name: String,
    #[schema(format = Date)]
    date: String,
    #[schema(example = "10:00")]
    time: String,
    #[schema(format = DateTime)]
    created_at: String,
}

impl From<Booking> for BookingResource {
    fn from(booking: Booking) -> Self {
        Self {
            id: booking.id.0,
            retailer_id: booking.retailer_id.0,
            service: booking.service,
            customer_name: booking.customer_name,
            date: booking.date,
            time: booking.time,
            created_at: booking.created_at.to_string(),
        }
    }
}

/// Book a service
#[utoipa::path(
    post, path = "/api/v1/bookings", operation_id = "createBooking", tag = "bookings",
    request_body = BookingBody,
    responses((status = 201, description = "The booking", body = Envelope<'static, BookingResource>)),
    security(("token" = ["bookings:write"])),
)]
pub async fn book(call: Call, payload: Payload) -> Result<HttpResponse, Problem> {
    call.create(payload, Kind::Bookings, |conn, body: BookingBody, at| {
        let booking = bookings::book(conn, body.into(), at.tenants, at.now)?;
        Ok(Created {
            location: format!("/api/v1/bookings/{}", booking.id),
            message: "Booked".to_owned(),
            retailer_id: Some(booking.retailer_id),
            order_id: None,
            data: BookingResource::from(booking),
        })
    })
    .await
}

/// Show a booking
#[utoipa::path(
    get, path = "/api/v1/bookings/{id}", operation_id = "getBooking", tag = "bookings",
    params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The booking", body = Envelope<'static, BookingResource>)),
    security(("token" = ["bookings:read"])),
)]
pub async fn show(call: Call) -> Result<HttpResponse, Problem> {
    let id = call.id("id")?;
    call.read("Booking", move |conn, at| {
        Ok(BookingResource::from(bookings::find(conn, id, at.tenants)?))
    })
    .await
}
