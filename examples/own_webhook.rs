//! A source of one's own, and work of one's own, once for each event, in the transaction that also keeps the answer:
//!
//!     SECRET=hunter2 cargo run --example own_webhook
//!     BODY='{"id":"e1","type":"points","customer":"ana","points":5}'
//!     SIGNATURE=$(printf %s "$BODY" | openssl dgst -sha256 -hmac hunter2 -hex | sed 's/.* //')
//!     curl -i 127.0.0.1:8080/webhooks/points -H "X-Signature: sha256=$SIGNATURE" --json "$BODY"
use actix_web::{App, HttpServer};
use diesel::{RunQueryDsl as _, connection::SimpleConnection as _, sql_query, sql_types::Text};
use hookonce::{
    handler::{Handled, Handler, HandlerError, Outcome, Task},
    json::Value,
    provider::{Hmac, event::Event},
    receiver::Receiver,
    store::{Conn, Store, StoreError, StoreOptions},
};
use std::{env, error};

struct Points;

impl Handler for Points {
    fn wants(&self, event: &Event) -> bool {
        event.kind == "points"
    }

    fn apply(&self, conn: &mut Conn<'_>, task: &Task<'_>) -> Result<Handled, HandlerError> {
        let event = task.work.event;
        let customer = event.payload.get("customer").and_then(Value::as_str);
        let customer =
            customer.ok_or_else(|| HandlerError::failed("the event names no customer"))?;
        let insert = sql_query("INSERT INTO points (event, customer) VALUES ($1, $2)")
            .bind::<Text, _>(&event.id)
            .bind::<Text, _>(customer);
        match conn {
            Conn::Sqlite(conn) => insert.execute(*conn)?,
            Conn::Postgres(conn) => insert.execute(&mut **conn)?,
        };
        Ok(Handled::new(Outcome::new("points_given")))
    }
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn error::Error>> {
    let or = |variable: &str, default: &str| env::var(variable).unwrap_or_else(|_| default.into());
    let url = or("DATABASE_URL", "sqlite://points.db").parse()?;
    let store = Store::open(&url, &StoreOptions::default()).await?;
    const TABLE: &str =
        "CREATE TABLE IF NOT EXISTS points (event TEXT NOT NULL, customer TEXT NOT NULL)";
    let make = |conn: &mut Conn<'_>| Ok::<_, StoreError>(conn.batch_execute(TABLE)?);
    store.write(make).await?;
    let source = Hmac::sha256("points", "X-Signature")
        .prefix("sha256=")
        .secret(env::var("SECRET")?);
    let source = source.id_member("/id").kind_member("/type");
    let receiver = Receiver::of_own(source).handler(Points).build(&store);
    let server = HttpServer::new(move || App::new().service(receiver.clone()))
        .bind(or("BIND", "127.0.0.1:8080"))?;
    println!("listening on http://{}", server.addrs()[0]);
    Ok(server.run().await?)
}
