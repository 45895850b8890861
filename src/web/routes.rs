//! All routes of the service.

use actix_web::{Resource, Route, guard, web};
use std::sync::Arc;

use super::{
    State, api, docs, health, metrics, openapi,
    problem::{ErrorCode, Problem},
    webhooks,
};

/// Which routes a socket serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteSet {
    /// All of them.
    All,
    /// Those for providers and clients.
    Public,
    /// Those for operators.
    Operations,
}

/// Puts a part of the routes into an actix application; at all others there is nothing.
pub fn routes(state: Arc<State>, part: RouteSet) -> impl FnOnce(&mut web::ServiceConfig) {
    // Whoever tries a route out sends to the address that the pages are from.
    let can_try = part == RouteSet::All;
    move |app| {
        app.app_data(state.bodies.clone());
        app.app_data(web::Data::from(state));
        if part != RouteSet::Operations {
            app.configure(webhooks::routes).configure(api::routes);
        }
        if part != RouteSet::Public {
            let pages = at("/docs/{path:.*}", "GET, HEAD").route(get().to(docs::serve));
            app.configure(operations)
                .service(pages.app_data(docs::settings(can_try)));
        }
        app.default_service(web::to(not_found));
    }
}

fn operations(app: &mut web::ServiceConfig) {
    app.service(at("/api/v1/whatsapp/test", "GET, HEAD").route(get().to(health::configured)))
        .service(at("/health/live", "GET, HEAD").route(get().to(health::live)))
        .service(at("/health/ready", "GET, HEAD").route(get().to(health::ready)))
        .service(at("/metrics", "GET, HEAD").route(get().to(metrics::show)))
        .service(at("/openapi.json", "GET, HEAD").route(get().to(openapi::serve)))
        .service(web::redirect("/docs", "/docs/"));
}

/// A path, which answers methods other than the allowed ones with a problem.
pub(super) fn at(path: &str, allow: &'static str) -> Resource {
    web::resource(path).default_service(web::to(move || async move {
        Err::<&str, _>(Problem::method_not_allowed(allow))
    }))
}

/// GET, and HEAD as HTTP asks of whoever answers GET.
pub(super) fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

async fn not_found() -> Result<&'static str, Problem> {
    Err(not_found_here())
}

pub(super) fn not_found_here() -> Problem {
    Problem::new(ErrorCode::NotFound, "there is nothing at this path")
}
