//! A client of the API, with a token of its own, and the bodies that it sends.

use hookonce::{
    access,
    store::{Store, types::Timestamp},
};
use serde_json::{Value, json};

use super::{
    app::App,
    database::Database,
    process::{self, Program},
    requests::{Call, Reply},
};

/// What a client of the tests says of itself in its token: it may do everything.
const EVERYTHING: &str = "admin";

#[derive(Clone)]
pub struct Client {
    pub url: String,
    token: String,
    http: reqwest::Client,
}

impl Client {
    /// A new client of the service, who speaks for the shop of the tests.
    pub async fn new(app: &App) -> Self {
        Self::with_scopes(app, EVERYTHING).await
    }

    /// The same, with less to do.
    pub async fn with_scopes(app: &App, scopes: &str) -> Self {
        let token = new_token(&app.store, &app.database, scopes).await;
        Self::with_token(&app.url, &token)
    }

    /// A new client of a service in a process of its own.
    pub async fn of(program: &Program, shop: &str, url: &str) -> Self {
        let create = ["token", "create", "--name", "pos", "--scope", EVERYTHING];
        let bound = ["--retailer", shop];
        let token = program.must(&[&create[..], &bound].concat()).await;
        Self::with_token(url, token.trim())
    }

    pub fn with_token(url: &str, token: &str) -> Self {
        Self {
            url: url.to_owned(),
            token: token.to_owned(),
            http: process::client(),
        }
    }

    /// The same client, at another instance.
    pub fn at(&self, url: &str) -> Self {
        Self {
            url: url.to_owned(),
            ..self.clone()
        }
    }

    /// A POST before it is sent, without a key.
    pub fn call(&self, path: &str, body: &Value) -> Call {
        Call {
            path: path.to_owned(),
            headers: vec![
                ("Content-Type".to_owned(), "application/json".to_owned()),
                self.authorization(),
            ],
            body: body.to_string().into_bytes(),
        }
    }

    pub async fn send(&self, call: &Call) -> Reply {
        call.send(&self.http, &self.url).await.expect("an answer")
    }

    /// Sends a POST that may get no answer.
    pub async fn try_send(&self, call: &Call) -> reqwest::Result<Reply> {
        call.send(&self.http, &self.url).await
    }

    pub async fn post(&self, path: &str, key: &str, body: &Value) -> Reply {
        self.send(&self.call(path, body).key(key)).await
    }

    pub async fn patch(&self, path: &str, key: &str, body: &Value) -> Reply {
        let text = body.to_string();
        self.request("PATCH", path, key, Some(text.into_bytes()))
            .await
    }

    pub async fn get(&self, path: &str) -> Reply {
        let request = self.http.get(format!("{}{path}", self.url));
        let response = request.bearer_auth(&self.token).send().await;
        Reply::of(response.expect("an answer"))
            .await
            .expect("a body")
    }

    /// Any method with a key; a body is called JSON, whatever it is.
    pub async fn request(
        &self,
        method: &str,
        path: &str,
        key: &str,
        body: Option<Vec<u8>>,
    ) -> Reply {
        let method = method.parse().expect("a method");
        let request = self.http.request(method, format!("{}{path}", self.url));
        let request = request.bearer_auth(&self.token);
        let mut request = request.header("X-Idempotency-Key", key);
        if let Some(body) = body {
            request = request
                .header("Content-Type", "application/json")
                .body(body);
        }
        let response = request.send().await.expect("an answer");
        Reply::of(response).await.expect("a body")
    }

    fn authorization(&self) -> (String, String) {
        ("Authorization".to_owned(), format!("Bearer {}", self.token))
    }
}

async fn new_token(store: &Store, database: &Database, scopes: &str) -> String {
    let ids = database.texts("SELECT CAST(id AS TEXT) AS t FROM v_retailers");
    let shop = ids[0].as_ref().expect("a shop").parse::<uuid::Uuid>();
    let shop = hookonce::store::types::Uuid(shop.expect("an id"));
    let scopes = scopes.parse().expect("scopes");
    let issued = store.write(move |conn| {
        access::create_client(conn, "pos", Some(shop), scopes, Timestamp::now())
    });
    issued.await.expect("a token").token.expose().to_owned()
}

/// An order of so many bottles of cola, at 1.75 each.
pub fn order(quantity: u32) -> Value {
    json!({
        "customer": {"name": "Zoë 🍕", "phone": "+14155550100"},
        "items": [{"sku": "COLA", "quantity": quantity}],
    })
}

pub fn payment(order_id: &str, amount: &str) -> Value {
    json!({"order_id": order_id, "amount": amount, "currency": "USD", "method": "card"})
}

pub fn refund(payment_id: &str, amount: &str) -> Value {
    json!({"payment_id": payment_id, "amount": amount, "currency": "USD", "reason": "cold"})
}

pub fn booking(customer: &str) -> Value {
    json!({"service": "A fitting", "customer_name": customer, "date": "2999-12-01", "time": "10:00"})
}

/// The id of what an answer tells.
pub fn id(reply: &Reply) -> String {
    let id = reply.json()["data"]["id"].as_str().map(str::to_owned);
    id.unwrap_or_else(|| panic!("no id: {reply:?}"))
}
