//! Charges once for each idempotency key, with a handler that knows nothing of keys:
//!
//!     curl -i 127.0.0.1:8080/charges -H 'Idempotency-Key: a1' --json '{"amount": 500, "takes_ms": 100}'
//!
//! Guaranteed: one run for each key, however often, at once or through however many instances on one database the request
//! comes, and for each repetition the bytes of the first answer. After a panic, a 5xx or the death of its process the
//! next identical request runs the handler again: after a death once the lease, here two seconds, has run out; 409 before.
//!
//! Not guaranteed: that what the handler does outside the database happens once. The line that it writes is in no
//! transaction with the stored answer: a process that dies between the two, or hangs for longer than its lease, leaves a
//! line, and the next run writes another. So pass the key on downstream (`web::ReqData<IdempotencyKey>`).
use actix_web::{App, Error, HttpResponse, HttpServer, web};
use hookonce::{
    store::{Store, StoreOptions},
    web::Idempotency,
};
use serde_json::json;
use std::{env, error, fs::OpenOptions, io, io::Write as _, time::Duration};

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

#[actix_web::main]
async fn main() -> Result<(), Box<dyn error::Error>> {
    let url = or("DATABASE_URL", "sqlite://charges.db").parse()?;
    let store = Store::open(&url, &StoreOptions::default()).await?;
    let idempotency = Idempotency::new(store).lease(Duration::from_secs(2));
    let charges = move || {
        let charges = web::resource("/charges").route(web::post().to(charge));
        App::new().service(charges.wrap(idempotency.clone()))
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
