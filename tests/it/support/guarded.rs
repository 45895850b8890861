//! Routes that ask for tokens, over the state of the real service: they answer whom the token speaks for.

use actix_web::{App, HttpResponse, HttpServer, dev::ServerHandle, middleware::from_fn, web};
use hookonce::{
    access::{self, Caller, Issued, Scope},
    app,
    config::Config,
    idempotency::Cache,
    store::{
        Store,
        types::{Timestamp, Uuid},
    },
    web::{self as hookonce_web, access::require},
};
use std::sync::Arc;

use super::{
    app::config,
    database::{Database, Engine},
    process,
};

pub struct Guarded {
    pub url: String,
    pub client: reqwest::Client,
    pub store: Store,
    pub database: Database,
    handle: ServerHandle,
}

impl Guarded {
    pub async fn new(engine: Engine) -> Self {
        Self::with(engine, |_| {}).await
    }

    /// With a configuration that differs.
    pub async fn with(engine: Engine, change: impl FnOnce(&mut Config)) -> Self {
        let database = Database::new(engine);
        let mut config = Config {
            database_url: database.parsed(),
            ..config()
        };
        change(&mut config);
        let store = app::open_store(&config).await.expect("a database");
        let state = Arc::new(app::state(config, store.clone(), Cache::default()).expect("a state"));
        let server = HttpServer::new(move || {
            App::new()
                .wrap(from_fn(hookonce_web::limit_addresses))
                .wrap(from_fn(hookonce_web::log_request))
                .configure(hookonce_web::routes(
                    state.clone(),
                    hookonce_web::RouteSet::All,
                ))
                .configure(routes)
        });
        let server = server.workers(2).disable_signals();
        let server = server.bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Self {
            url,
            client: process::client(),
            store,
            database,
            handle,
        }
    }

    /// A new client's token.
    pub async fn token(&self, scopes: &str) -> Issued {
        let scopes = scopes.parse().expect("scopes");
        let issued = self
            .store
            .write(move |conn| access::create_client(conn, "pos", None, scopes, Timestamp::now()));
        issued.await.expect("a token")
    }

    /// Another token of a client.
    pub async fn another_token(&self, client: Uuid, scopes: &str) -> Issued {
        let scopes = scopes.parse().expect("scopes");
        let issued = self
            .store
            .write(move |conn| access::add_token(conn, client, scopes, Timestamp::now()));
        issued.await.expect("a token")
    }

    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().expect("a method");
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// Sends `GET /api/v1/test/orders`, which asks for `orders:read`.
    pub async fn get_with(&self, token: &str) -> reqwest::Response {
        let request = self
            .request("GET", "/api/v1/test/orders")
            .bearer_auth(token);
        request.send().await.expect("an answer")
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // Without waiting: the test is over.
        drop(self.handle.stop(false));
    }
}

fn routes(app: &mut web::ServiceConfig) {
    app.service(
        web::resource("/api/v1/test/orders")
            .route(web::get().to(whoami).wrap(require(Scope::OrdersRead)))
            .route(web::post().to(whoami).wrap(require(Scope::OrdersWrite))),
    )
    .service(
        web::resource("/api/v1/test/stats")
            .wrap(require(Scope::StatsRead))
            .route(web::get().to(whoami)),
    )
    .service(
        web::scope("/api/v1/test/admin")
            .wrap(require(Scope::Admin))
            .route("/cleanup", web::post().to(whoami)),
    )
    .route("/api/v1/test/forgotten", web::get().to(whoami));
}

async fn whoami(caller: Caller) -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({
        "client_id": caller.client_id.to_string(),
        "client_name": &*caller.client_name,
        "retailer": caller.retailer.map(|id| id.to_string()),
        "key_scope": caller.key_scope(),
        "may_write": caller.may(Scope::OrdersWrite),
    }))
}
