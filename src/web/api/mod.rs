//! The API for clients of the business: each route with the scope that its token needs.

pub mod admin;
pub mod bookings;
mod call;
pub mod deliveries;
mod envelope;
mod instance;
mod kind;
mod money;
pub mod orders;
mod parameters;
pub mod payments;
mod received;
pub mod retailers;
pub mod schema;
mod senders;
pub mod stats;
mod texts;
mod whole_body;
mod work;

use actix_web::{
    Route,
    web::{self, patch, post, put},
};

use super::{access::require, at, get};
use crate::{
    access::{Caller, Scope},
    config::Config,
    json::Bounds,
};

/// The largest body of a request to the API, in bytes. What its schemas allow is some times smaller.
const LARGEST_BODY: usize = 64 * 1024;

/// The same where bodies of providers may not even be so large.
fn largest_body(config: &Config) -> usize {
    config.max_body_bytes.min(LARGEST_BODY)
}

/// What a body may hold: a list of 200 items, and texts.
const BOUNDS: Bounds = Bounds {
    values: 4_000,
    members: 256,
    digits: 100,
};

/// Whether a caller may read what a request to this path was answered.
fn may_read(caller: &Caller, path: &str) -> bool {
    let scopes = [
        ("/api/v1/orders", Scope::OrdersRead),
        ("/api/v1/payments", Scope::PaymentsRead),
        ("/api/v1/refunds", Scope::RefundsRead),
        ("/api/v1/bookings", Scope::BookingsRead),
        ("/api/v1/retailers", Scope::CatalogueRead),
    ];
    let found = scopes.iter().find(|(start, _)| path.starts_with(start));
    found.is_some_and(|(_, scope)| caller.may(*scope))
}

/// Puts the routes into an actix application.
pub fn routes(app: &mut web::ServiceConfig) {
    shop_routes(app);
    catalogue_routes(app);
    operation_routes(app);
}

fn may(scope: Scope, route: Route) -> Route {
    route.wrap(require(scope))
}

/// Orders, payments, refunds and bookings.
fn shop_routes(app: &mut web::ServiceConfig) {
    use Scope::{
        BookingsRead, BookingsWrite, OrdersRead, OrdersWrite, PaymentsRead, PaymentsWrite,
        RefundsRead, RefundsWrite,
    };
    app.service(
        at("/api/v1/orders", "GET, HEAD, POST")
            .route(may(OrdersRead, get().to(orders::list)))
            .route(may(OrdersWrite, post().to(orders::create))),
    )
    .service(
        at("/api/v1/orders/status/{key}", "GET, HEAD")
            .route(may(OrdersRead, get().to(orders::key_status::show))),
    )
    .service(
        at("/api/v1/orders/{id}", "GET, HEAD, PATCH")
            .route(may(OrdersRead, get().to(orders::show)))
            .route(may(OrdersWrite, patch().to(orders::change))),
    )
    .service(at("/api/v1/payments", "POST").route(may(PaymentsWrite, post().to(payments::pay))))
    .service(
        at("/api/v1/payments/{id}", "GET, HEAD").route(may(PaymentsRead, get().to(payments::show))),
    )
    .service(at("/api/v1/refunds", "POST").route(may(RefundsWrite, post().to(payments::refund))))
    .service(
        at("/api/v1/refunds/{id}", "GET, HEAD")
            .route(may(RefundsRead, get().to(payments::show_refund))),
    )
    .service(at("/api/v1/bookings", "POST").route(may(BookingsWrite, post().to(bookings::book))))
    .service(
        at("/api/v1/bookings/{id}", "GET, HEAD").route(may(BookingsRead, get().to(bookings::show))),
    );
}

/// Retailers and their products.
fn catalogue_routes(app: &mut web::ServiceConfig) {
    use Scope::{CatalogueRead, CatalogueWrite, LedgerRead};
    app.service(
        at("/api/v1/retailers", "GET, HEAD, POST")
            .route(may(CatalogueRead, get().to(retailers::list)))
            .route(may(CatalogueWrite, post().to(retailers::add))),
    )
    .service(
        at("/api/v1/retailers/{id}", "GET, HEAD, PUT")
            .route(may(CatalogueRead, get().to(retailers::show)))
            .route(may(CatalogueWrite, put().to(retailers::change))),
    )
    .service(
        at("/api/v1/retailers/{id}/balance", "GET, HEAD")
            .route(may(LedgerRead, get().to(retailers::balance))),
    )
    .service(
        at("/api/v1/retailers/{id}/products", "GET, HEAD, POST")
            .route(may(CatalogueRead, get().to(retailers::list_products)))
            .route(may(CatalogueWrite, post().to(retailers::add_product))),
    )
    .service(
        at(
            "/api/v1/retailers/{id}/products/{product_id}",
            "GET, HEAD, PUT",
        )
        .route(may(CatalogueRead, get().to(retailers::show_product)))
        .route(may(CatalogueWrite, put().to(retailers::change_product))),
    );
}

/// What an operator looks at and does.
fn operation_routes(app: &mut web::ServiceConfig) {
    use Scope::{Admin, DeliveriesRead, StatsRead};
    app.service(at("/api/v1/stats", "GET, HEAD").route(may(StatsRead, get().to(stats::show))))
        .service(
            at("/api/v1/deliveries", "GET, HEAD")
                .route(may(DeliveriesRead, get().to(deliveries::list))),
        )
        .service(
            at("/api/v1/deliveries/{id}", "GET, HEAD")
                .route(may(DeliveriesRead, get().to(deliveries::show))),
        )
        .service(at("/api/v1/admin/cleanup", "POST").route(may(Admin, post().to(admin::clean_up))));
}
