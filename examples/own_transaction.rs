//! Work of one's own in a transaction of one's own pool, done once for its key, with its answer:
//!
//!     cargo run --example own_transaction
//!     curl -i 127.0.0.1:8080/transfers -H 'Idempotency-Key: a1' -d '5'
//!
//! The pool is the program's own, and so are its tables; hookonce's lie beside them. SQLite takes one writer: so the
//! transaction is IMMEDIATE, and whoever comes second waits (`busy_timeout`).
use actix_web::{
    App, Error, HttpRequest, HttpResponse, HttpServer,
    error::{ErrorBadRequest, ErrorConflict, ErrorInternalServerError},
    web::{self, Bytes, Data},
};
use diesel::{
    RunQueryDsl as _, SqliteConnection,
    connection::SimpleConnection as _,
    r2d2::{ConnectionManager, Pool},
    sql_query,
    sql_types::BigInt,
};
use hookonce::{
    idempotency::{Key, Once, OnceError, StoredReply, fingerprint, once},
    store::{Conn, Store, StoreError, StoreOptions},
};
use std::{env, error};

type Connections = Pool<ConnectionManager<SqliteConnection>>;

/// Transfers once for its key. The error of the outer transaction is the one of `once`.
fn transfer(
    conn: &mut SqliteConnection,
    key: &Key,
    body: &[u8],
    cents: i64,
) -> Result<Once, OnceError> {
    let asked = fingerprint("POST", "/transfers", "", "text/plain", body);
    conn.immediate_transaction(|conn| {
        once(&mut Conn::from(conn), key, asked, |conn| {
            let insert =
                sql_query("INSERT INTO transfers (cents) VALUES (?)").bind::<BigInt, _>(cents);
            insert.execute(conn.sqlite()?)?;
            let body = format!("{cents} cents transferred\n").into();
            Ok(StoredReply {
                status: 201,
                body,
                ..StoredReply::default()
            })
        })
    })
}

async fn transfers(
    request: HttpRequest,
    body: Bytes,
    pool: Data<Connections>,
) -> Result<HttpResponse, Error> {
    let key = request
        .headers()
        .get("Idempotency-Key")
        .and_then(|key| key.to_str().ok());
    let key = Key::new("transfers", key.unwrap_or_default()).map_err(ErrorBadRequest)?;
    let cents = std::str::from_utf8(&body)
        .map_err(ErrorBadRequest)?
        .trim()
        .parse()
        .map_err(ErrorBadRequest)?;
    let done = web::block(move || {
        let mut conn = pool.get().map_err(StoreError::from)?;
        transfer(&mut conn, &key, &body, cents)
    });
    match done.await? {
        Ok(done) => Ok(HttpResponse::Created().body(done.reply().body.clone())),
        Err(error @ OnceError::Mismatch) => Err(ErrorConflict(error)),
        Err(error) => Err(ErrorInternalServerError(error)),
    }
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn error::Error>> {
    let or = |variable: &str, default: &str| env::var(variable).unwrap_or_else(|_| default.into());
    let file = or("DATABASE_FILE", "transfers.db");
    // Makes hookonce's tables, and is not needed any more.
    Store::open(
        &format!("sqlite://{file}").parse()?,
        &StoreOptions::default(),
    )
    .await?
    .close()
    .await;
    let pool = Pool::new(ConnectionManager::<SqliteConnection>::new(file))?;
    pool.get()?
        .batch_execute("CREATE TABLE IF NOT EXISTS transfers (cents INTEGER NOT NULL)")?;
    let app = move || {
        App::new()
            .app_data(Data::new(pool.clone()))
            .route("/transfers", web::post().to(transfers))
    };
    let server = HttpServer::new(app).bind(or("BIND", "127.0.0.1:8080"))?;
    println!("listening on http://{}", server.addrs()[0]);
    Ok(server.run().await?)
}
