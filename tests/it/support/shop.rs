//! The service with a shop, clients of its API, and the books that must balance whatever they do at once.

use hookonce::{
    access,
    config::Config,
    store::types::{Timestamp, Uuid},
};
use reqwest::{RequestBuilder, header::HeaderMap};
use serde_json::{Value, json};

use super::{
    app::App,
    database::{Database, Engine},
    process,
};

/// All that a client may need, and no administrator.
pub const EVERYTHING: &str = "orders:write,payments:write,refunds:write,bookings:write,\
                              catalogue:write,ledger:read,stats:read,deliveries:read";

/// The service, open on a free port, with the shop of the fixtures.
pub struct Service {
    pub app: App,
    /// The id of the shop of the fixtures, which sells in USD.
    pub kitchen: String,
}

impl Service {
    pub async fn new(engine: Engine) -> Self {
        Self::with(engine, |_| {}).await
    }

    /// With a configuration that differs.
    pub async fn with(engine: Engine, change: impl FnOnce(&mut Config)) -> Self {
        let app = App::with(engine, change).await;
        let ids = app
            .database
            .texts("SELECT CAST(id AS TEXT) AS t FROM v_retailers");
        let kitchen = ids.into_iter().flatten().next().expect("a shop");
        Self { app, kitchen }
    }

    /// A new client, bound to a retailer or to none.
    pub async fn client(&self, retailer: Option<&str>, scopes: &str) -> Client {
        let retailer = retailer.map(|id| Uuid(id.parse().expect("a UUID")));
        let scopes = scopes.parse().expect("scopes");
        let created = self.app.store.write(move |conn| {
            access::create_client(conn, "pos", retailer, scopes, Timestamp::now())
        });
        let issued = created.await.expect("a token");
        Client {
            http: process::client(),
            url: self.app.url.clone(),
            token: issued.token.expose().to_owned(),
            id: issued.client_id.to_string(),
        }
    }

    /// The same client with another token.
    pub async fn narrowed(&self, client: &Client, scopes: &str) -> Client {
        let id = Uuid(client.id.parse().expect("a UUID"));
        let scopes = scopes.parse().expect("scopes");
        let store = &self.app.store;
        let adding = store.write(move |conn| access::add_token(conn, id, scopes, Timestamp::now()));
        let issued = adding.await.expect("a token");
        Client {
            http: process::client(),
            url: self.app.url.clone(),
            token: issued.token.expose().to_owned(),
            id: client.id.clone(),
        }
    }

    /// A new client of the shop of the fixtures.
    pub async fn pos(&self) -> Client {
        self.client(Some(&self.kitchen), EVERYTHING).await
    }

    /// A new client that is bound to no retailer.
    pub async fn head_office(&self) -> Client {
        self.client(None, EVERYTHING).await
    }

    pub fn database(&self) -> &Database {
        &self.app.database
    }

    /// How many rows the tables have that a request could have changed.
    pub fn rows(&self) -> Vec<(&'static str, i64)> {
        const TABLES: [&str; 9] = [
            "orders",
            "order_items",
            "payments",
            "refunds",
            "bookings",
            "ledger_entries",
            "retailers",
            "products",
            "webhook_idempotency",
        ];
        let rows = |table| self.count(table);
        TABLES.map(|table| (table, rows(table))).to_vec()
    }

    /// How many rows there are, such as `orders WHERE status = 'pending'`.
    pub fn count(&self, rows: &str) -> i64 {
        let database = self.database();
        database.count(&format!("SELECT count(*) AS n FROM {rows}"))
    }
}

/// A client of the API with its token.
#[derive(Clone)]
pub struct Client {
    pub http: reqwest::Client,
    pub url: String,
    pub token: String,
    pub id: String,
}

impl Client {
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = method.parse().expect("a method");
        let request = self.http.request(method, format!("{}{path}", self.url));
        request.bearer_auth(&self.token)
    }

    /// A request with a JSON body.
    pub fn telling(&self, method: &str, path: &str, body: &Value) -> RequestBuilder {
        let request = self.request(method, path);
        let request = request.header("Content-Type", "application/json");
        request.body(body.to_string())
    }

    pub async fn get(&self, path: &str) -> Answer {
        Answer::to(self.request("GET", path)).await
    }

    /// A POST under a key that nobody has used.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_keyed(path, &new_key(), body).await
    }

    pub async fn post_keyed(&self, path: &str, key: &str, body: &Value) -> Answer {
        let request = self.telling("POST", path, body);
        Answer::to(request.header("Idempotency-Key", key)).await
    }

    /// A POST that must make something: its resource.
    pub async fn create(&self, path: &str, body: &Value) -> Value {
        self.post(path, body).await.must(201).data()
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        Answer::to(self.telling("PATCH", path, body)).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        Answer::to(self.telling("PUT", path, body)).await
    }

    /// An order of work at this price, from a client of the shop of the fixtures. Gives its id.
    pub async fn order_of(&self, price: &str) -> String {
        let order = self.create("/api/v1/orders", &work(price)).await;
        text(&order["id"])
    }

    /// A payment for an order that must be taken. Gives its id.
    pub async fn pay(&self, order: &str, amount: &str) -> String {
        let body = payment(order, amount);
        text(&self.create("/api/v1/payments", &body).await["id"])
    }

    /// Moves an order on.
    pub async fn set_status(&self, order: &str, status: &str) -> Answer {
        let body = json!({"status": status});
        self.patch(&format!("/api/v1/orders/{order}"), &body).await
    }
}

/// An answer of the API.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub async fn to(request: RequestBuilder) -> Self {
        Self::of(request.send().await.expect("an answer"))
            .await
            .expect("a body")
    }

    pub async fn of(response: reqwest::Response) -> reqwest::Result<Self> {
        Ok(Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.text().await?,
        })
    }

    /// The same, where it has this status.
    #[track_caller]
    pub fn must(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The resource.
    #[track_caller]
    pub fn data(&self) -> Value {
        self.json()["data"].clone()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    #[track_caller]
    pub fn error_code(&self) -> String {
        text(&self.json()["error_code"])
    }

    /// Each thing that is wrong, once, as `field code`, in the order of the alphabet.
    #[track_caller]
    pub fn errors(&self) -> Vec<String> {
        let problem = self.json();
        let errors = problem["errors"].as_array().into_iter().flatten();
        let name = |error: &Value| format!("{} {}", text(&error["field"]), text(&error["code"]));
        let mut errors: Vec<_> = errors.map(name).collect();
        errors.sort();
        errors.dedup();
        errors
    }

    /// All that a client sees but what differs from request to request.
    pub fn essence(&self) -> (u16, Vec<(String, String)>, &str) {
        let differs = ["x-request-id", "date"];
        let headers = self.headers.iter();
        let headers = headers.filter(|(name, _)| !differs.contains(&name.as_str()));
        let text = |value: &reqwest::header::HeaderValue| {
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        };
        let mut headers: Vec<_> = headers
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect();
        headers.sort();
        (self.status, headers, &self.body)
    }
}

/// A text of a JSON document.
#[track_caller]
pub fn text(value: &Value) -> String {
    let text = value.as_str();
    text.unwrap_or_else(|| panic!("no text: {value}"))
        .to_owned()
}

pub fn new_key() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// An order by SKU.
pub fn items(items: &[(&str, u32)]) -> Value {
    let item = |(sku, quantity): &(&str, u32)| json!({"sku": sku, "quantity": quantity});
    let items: Vec<_> = items.iter().map(item).collect();
    json!({"customer": {"name": "Ana", "phone": "+14155550100"}, "items": items})
}

/// An order of work made to measure, in USD.
pub fn work(price: &str) -> Value {
    json!({
        "customer": {"name": "Ana"}, "service_type": "tailoring", "description": "Shorten two pairs of trousers",
        "estimated_price": price, "currency": "USD",
    })
}

/// A payment in USD.
pub fn payment(order: &str, amount: &str) -> Value {
    json!({"order_id": order, "amount": amount, "currency": "USD", "method": "card"})
}

/// A refund in USD.
pub fn refund(payment: &str, amount: &str) -> Value {
    json!({"payment_id": payment, "amount": amount, "currency": "USD", "reason": "cold"})
}

pub fn booking() -> Value {
    json!({"service": "Haircut", "customer_name": "Ana", "date": "2026-12-01", "time": "10:00"})
}

/// The document with more members, or others.
pub fn with(mut document: Value, members: Value) -> Value {
    let members = members.as_object().expect("members").clone();
    document.as_object_mut().expect("an object").extend(members);
    document
}

/// The document without a member.
pub fn without(mut document: Value, member: &str) -> Value {
    let removed = document.as_object_mut().expect("an object").remove(member);
    assert!(removed.is_some(), "there is no {member}");
    document
}

/// An answer as it can be compared with another day's: ids, times and order numbers by their kind.
pub fn redacted(answer: &Answer) -> String {
    let mut document = answer.json();
    let number = document["data"]["order_number"].as_str();
    let number = number.map(str::to_owned);
    redact(&mut document);
    let shown = serde_json::to_string_pretty(&document).expect("JSON");
    match number {
        Some(number) => shown.replace(&number, "[number]"),
        None => shown,
    }
}

fn redact(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(redact),
        Value::Object(members) => members.values_mut().for_each(redact),
        Value::String(text) if text.parse::<uuid::Uuid>().is_ok() => *text = "[id]".to_owned(),
        Value::String(text) if chrono::DateTime::parse_from_rfc3339(text).is_ok() => {
            *text = "[time]".to_owned();
        }
        _ => {}
    }
}

/// Whatever was done at once: orders, payments, refunds and the ledger say the same.
#[track_caller]
pub fn check_books(database: &Database) {
    for (fault, rows) in FAULTS {
        let faults = database.count(&format!("SELECT count(*) AS n FROM {rows}"));
        assert_eq!(faults, 0, "{fault}");
    }
}

const FAULTS: [(&str, &str); 9] = [
    (
        "orders that count another sum as paid than was paid and not refunded",
        "orders o WHERE o.paid_minor
         <> coalesce((SELECT sum(p.amount_minor) FROM payments p WHERE p.order_id = o.id), 0)
          - coalesce((SELECT sum(r.amount_minor) FROM refunds r WHERE r.order_id = o.id), 0)",
    ),
    (
        "orders whose ledger has other payments and refunds",
        "orders o WHERE -o.paid_minor <> coalesce((SELECT sum(l.amount_minor) FROM ledger_entries l
         WHERE l.order_id = o.id AND l.kind IN ('payment', 'refund')), 0)",
    ),
    (
        "orders that were paid less than nothing, or more than all",
        "orders o WHERE o.paid_minor < 0 OR o.paid_minor > o.total_minor",
    ),
    (
        "orders without the one ledger entry over their total",
        "orders o WHERE 1 <> (SELECT count(*) FROM ledger_entries l WHERE l.order_id = o.id
         AND l.kind = 'order' AND l.amount_minor = o.total_minor AND l.currency = o.currency)",
    ),
    (
        "orders that are cancelled without being taken off the ledger, or the other way round",
        "orders o WHERE (CASE o.status WHEN 'cancelled' THEN 1 ELSE 0 END)
         <> (SELECT count(*) FROM ledger_entries l WHERE l.order_id = o.id
             AND l.kind = 'cancellation' AND l.amount_minor = -o.total_minor)",
    ),
    (
        "payments that count another sum as refunded than was",
        "payments p WHERE p.refunded_minor
         <> coalesce((SELECT sum(r.amount_minor) FROM refunds r WHERE r.payment_id = p.id), 0)",
    ),
    (
        "payments without their one ledger entry",
        "payments p WHERE 1 <> (SELECT count(*) FROM ledger_entries l WHERE l.kind = 'payment' AND l.id = p.id
         AND l.kind = 'payment' AND l.amount_minor = -p.amount_minor AND l.retailer_id = p.retailer_id)",
    ),
    (
        "refunds without their one ledger entry",
        "refunds r WHERE 1 <> (SELECT count(*) FROM ledger_entries l WHERE l.kind = 'refund' AND l.id = r.id
         AND l.kind = 'refund' AND l.amount_minor = r.amount_minor AND l.retailer_id = r.retailer_id)",
    ),
    (
        "records of orders that were made and are not there",
        "webhook_idempotency r WHERE r.order_id IS NOT NULL
         AND NOT EXISTS (SELECT 1 FROM orders o WHERE o.id = r.order_id)",
    ),
];
