//! The API for clients of the business: each route with the scope that its token needs.

pub mod bookings;
mod call;
mod envelope;
mod money;
pub mod orders;
mod parameters;
pub mod payments;
pub mod retailers;
mod schema;
mod texts;

use actix_web::web;

use super::{access::require, at, get};
use crate::access::Scope;

/// Puts the routes into an actix application.
pub fn routes(app: &mut web::ServiceConfig) {
    use Scope::{
        BookingsRead, BookingsWrite, CatalogueRead, CatalogueWrite, LedgerRead, OrdersRead,
        OrdersWrite, PaymentsRead, PaymentsWrite, RefundsRead, RefundsWrite,
    };
    app.service(
        at("/api/v1/orders", "GET, HEAD, POST")
            .route(get().to(orders::list).wrap(require(OrdersRead)))
            .route(web::post().to(orders::create).wrap(require(OrdersWrite))),
    )
    .service(
        at("/api/v1/orders/status/{key}", "GET, HEAD")
            .route(get().to(orders::key_status).wrap(require(OrdersRead))),
    )
    .service(
        at("/api/v1/orders/{id}", "GET, HEAD, PATCH")
            .route(get().to(orders::show).wrap(require(OrdersRead)))
            .route(web::patch().to(orders::change).wrap(require(OrdersWrite))),
    )
    .service(
        at("/api/v1/payments", "POST")
            .route(web::post().to(payments::pay).wrap(require(PaymentsWrite))),
    )
    .service(
        at("/api/v1/payments/{id}", "GET, HEAD")
            .route(get().to(payments::show).wrap(require(PaymentsRead))),
    )
    .service(
        at("/api/v1/refunds", "POST")
            .route(web::post().to(payments::refund).wrap(require(RefundsWrite))),
    )
    .service(
        at("/api/v1/refunds/{id}", "GET, HEAD")
            .route(get().to(payments::show_refund).wrap(require(RefundsRead))),
    )
    .service(
        at("/api/v1/bookings", "POST")
            .route(web::post().to(bookings::book).wrap(require(BookingsWrite))),
    )
    .service(
        at("/api/v1/bookings/{id}", "GET, HEAD")
            .route(get().to(bookings::show).wrap(require(BookingsRead))),
    )
    .service(
        at("/api/v1/retailers", "GET, HEAD, POST")
            .route(get().to(retailers::list).wrap(require(CatalogueRead)))
            .route(web::post().to(retailers::add).wrap(require(CatalogueWrite))),
    )
    .service(
        at("/api/v1/retailers/{id}", "GET, HEAD, PUT")
            .route(get().to(retailers::show).wrap(require(CatalogueRead)))
            .route(
                web::put()
                    .to(retailers::change)
                    .wrap(require(CatalogueWrite)),
            ),
    )
    .service(
        at("/api/v1/retailers/{id}/balance", "GET, HEAD")
            .route(get().to(retailers::balance).wrap(require(LedgerRead))),
    )
    .service(
        at("/api/v1/retailers/{id}/products", "GET, HEAD, POST")
            .route(
                get()
                    .to(retailers::list_products)
                    .wrap(require(CatalogueRead)),
            )
            .route(
                web::post()
                    .to(retailers::add_product)
                    .wrap(require(CatalogueWrite)),
            ),
    )
    .service(
        at(
            "/api/v1/retailers/{id}/products/{product_id}",
            "GET, HEAD, PUT",
        )
        .route(
            get()
                .to(retailers::show_product)
                .wrap(require(CatalogueRead)),
        )
        .route(
            web::put()
                .to(retailers::change_product)
                .wrap(require(CatalogueWrite)),
        ),
    );
}
