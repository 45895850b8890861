//! Charges once for each idempotency key of a client, with a handler that knows nothing of keys:
//!
//!     CLIENTS=ana=s3cret,ben=other cargo run --example idempotent_handler
//!     curl -i 127.0.0.1:8080/charges -H 'Authorization: Bearer s3cret' -H 'Idempotency-Key: a1' \
//!         --json '{"amount": 500, "takes_ms": 100}'
//!
//! Guaranteed: one run at a time for each key, however often, at once or through however many instances on one database the
//! request comes, and for each repetition the bytes of the first answer. After a panic, a 5xx or the death of its process the
//! same request runs the handler again: after a death once the lease, here two seconds, has run out; 409 before.
//!
//! Not guaranteed: that what the handler does happens once. The line that it writes is in no transaction with the stored
//! answer: a process that dies between the two, or hangs for longer than its lease, leaves a line, and the next run writes
//! another. So pass the key on downstream (`web::ReqData<IdempotencyKey>`). Work that is in the database alone needs no
//! middleware: see `hookonce::idempotency`, "In one transaction".
//!
//! Authentication is around the middleware: a replay does not reach what is within. And each client has keys of its own.
use actix_web::{
    App, Error, HttpMessage as _, HttpResponse, HttpServer,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    error::ErrorUnauthorized,
    http::header::AUTHORIZATION,
    middleware::{Next, from_fn},
    web,
};
use hookonce::{
    store::{Store, StoreOptions},
    web::Idempotency,
};
use serde_json::json;
use std::{env, error, fs::OpenOptions, io, io::Write as _, time::Duration};
use subtle::ConstantTimeEq as _;

#[derive(serde::Deserialize)]
struct Charge {
    amount: u64,
    #[serde(default)]
    takes_ms: u64,
}

async fn charge(charge: web::Json<Charge>) -> Result<HttpResponse, Error> {
    tokio::time::sleep(Duration::from_millis(charge.takes_ms)).await;
    let id = uuid::Uuid::new_v4();
    let line = format!("{id} {}\n", charge.amount);
    web::block(move || append(&line)).await??;
    Ok(HttpResponse::Created()
        .insert_header(("Location", format!("/charges/{id}")))
        .json(json!({"id": id.to_string(), "amount": charge.amount})))
}

/// Who a token belongs to.
#[derive(Clone)]
struct Client(String);

/// Lets in whoever has a token of CLIENTS, which is `name=token,name=token`.
async fn authenticate(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let header = request.headers().get(AUTHORIZATION);
    let token = header.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let clients = or("CLIENTS", "");
    let mut clients = clients
        .split(',')
        .filter_map(|client| client.split_once('='));
    let is_theirs =
        |theirs: &str| token.is_some_and(|it| it.as_bytes().ct_eq(theirs.as_bytes()).into());
    let client =
        clients.find_map(|(name, theirs)| is_theirs(theirs).then(|| Client(name.to_owned())));
    let client = client.ok_or_else(|| ErrorUnauthorized("who are you?"))?;
    request.extensions_mut().insert(client);
    next.call(request).await
}

/// A key counts for its client alone.
fn scope(request: &ServiceRequest) -> Result<String, Error> {
    let client = request.extensions().get::<Client>().cloned();
    let Client(name) = client.ok_or_else(|| ErrorUnauthorized("who are you?"))?;
    Ok(format!("client:{name}"))
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn error::Error>> {
    let url = or("DATABASE_URL", "sqlite://charges.db").parse()?;
    let store = Store::open(&url, &StoreOptions::default()).await?;
    let idempotency = Idempotency::new(store)
        .lease(Duration::from_secs(2))
        .scope(scope);
    let charges = move || {
        let charges = web::resource("/charges").route(web::post().to(charge));
        // The last that is wrapped comes first.
        App::new().service(
            charges
                .wrap(idempotency.clone())
                .wrap(from_fn(authenticate)),
        )
    };
    let server = HttpServer::new(charges).bind(or("BIND", "127.0.0.1:8080"))?;
    println!("listening on http://{}", server.addrs()[0]);
    Ok(server.run().await?)
}

fn append(line: &str) -> io::Result<()> {
    let path = or("CHARGES_FILE", "charges.log");
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    file.write_all(line.as_bytes())
}

fn or(variable: &str, default: &str) -> String {
    env::var(variable).unwrap_or_else(|_| default.to_owned())
}
