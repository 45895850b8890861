//! HTTP: routes, headers, bodies, statuses. Alone knows them; the work is done by [`crate::intake`].

pub mod access;
pub mod api;
mod body;
pub mod body_budget;
pub mod diagnosis;
mod docs;
mod health;
pub mod idempotency;
pub(crate) mod key;
pub mod metrics;
pub mod openapi;
pub mod origin;
pub mod problem;
pub mod rate_limit;
pub mod reply;
mod request_log;
mod security_headers;
pub(crate) mod signed_request;
mod webhooks;

use actix_web::{Resource, Route, guard, web};
use arc_swap::ArcSwap;
use std::sync::Arc;

use crate::{
    commerce::shop::Shops,
    config::Config,
    intake::Intake,
    jobs::{cleanup::Cleanup, watch::Board},
    server::Connections,
    statistics::Traffic,
    store::{Store, readiness::Probe},
};
use api::schema::Schemas;
use body_budget::BodyBudget;
use metrics::Metrics;
use problem::{ErrorCode, Problem};
use rate_limit::RateLimits;

pub use idempotency::{Idempotency, is_final, unread, was_refused};
pub use rate_limit::limit_addresses;
pub use request_log::log_request;
pub use security_headers::add_security_headers;

/// What the handlers share.
pub struct State {
    /// The configuration. A request keeps the one that it began with.
    pub config: ArcSwap<Config>,
    /// The database.
    pub store: Store,
    /// Whether the database can do its work.
    pub probe: Probe,
    /// Where deliveries are acted on.
    pub intake: Intake,
    /// The shops that were used lately.
    pub shops: Arc<Shops>,
    /// What the bodies of clients' requests are held against.
    pub schemas: Schemas,
    /// Around what clients change outside the intake.
    pub once: Idempotency,
    /// Where what has expired is taken away.
    pub cleanup: Cleanup,
    /// What is counted for the statistics.
    pub traffic: Arc<Traffic>,
    /// What is counted for Prometheus.
    pub metrics: Metrics,
    /// What was last seen of the database.
    pub board: Board,
    /// How many signatures are looked into.
    pub diagnoses: diagnosis::Budget,
    /// How much memory the bodies of requests may take.
    pub bodies: Arc<BodyBudget>,
    /// How much each may ask for.
    pub limits: RateLimits,
    /// The connections that all this comes by.
    pub connections: Arc<Connections>,
}

impl State {
    /// Takes over from `new` what can change while requests are answered; see [`Config::is_reloaded`].
    pub fn reconfigure(&self, new: &Config) {
        let config = self.config.load().reloaded(new);
        self.once.trust(config.trusted_proxies.clone());
        self.connections.trust(config.trusted_proxies.clone());
        self.config.store(Arc::new(config));
    }
}

/// Which routes a socket serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of them.
    All,
    /// Those for providers and clients.
    Public,
    /// Those for operators.
    Operations,
}

/// Puts a part of the routes into an actix application; at all others there is nothing.
pub fn routes(state: Arc<State>, part: Part) -> impl FnOnce(&mut web::ServiceConfig) {
    let once = state.once.clone();
    // Whoever tries a route out sends to the address that the pages are from.
    let can_try = part == Part::All;
    move |app| {
        app.app_data(web::Data::from(state));
        if part != Part::Operations {
            app.configure(webhooks::routes)
                .configure(|app| api::routes(app, &once));
        }
        if part != Part::Public {
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
fn at(path: &str, allow: &'static str) -> Resource {
    web::resource(path).default_service(web::to(move || async move {
        Err::<&str, _>(Problem::method_not_allowed(allow))
    }))
}

/// GET, and HEAD as HTTP asks of whoever answers GET.
fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

async fn not_found() -> Result<&'static str, Problem> {
    Err(not_found_here())
}

fn not_found_here() -> Problem {
    Problem::new(ErrorCode::NotFound, "there is nothing at this path")
}
