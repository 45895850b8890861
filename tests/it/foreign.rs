//! A PostgreSQL that speaks German, to a role that may not choose: what it means is understood all the same.

use diesel::{Connection as _, PgConnection, RunQueryDsl as _, sql_query};
use std::time::Duration;
use tokio::time::sleep;

use crate::{
    outages::{AT_ONCE, IN_TIME, RECOVERY, SENDERS, Shop, an_order, under_load_on},
    support::{
        database::Database,
        requests::{Call, new_wamid, told, whatsapp_text},
        servers::PostgresServer,
        wait::until,
    },
};

/// A database whose server speaks German to its owner.
fn german(server: &PostgresServer) -> Database {
    let database = Database::of_role(server, "laden", "geheim");
    database.alone("ALTER DATABASE hookonce SET lc_messages = 'de_DE.UTF-8'");
    let mut conn = PgConnection::establish(&database.url).expect("PostgreSQL");
    let said = sql_query("SELECT 1 / 0").execute(&mut conn);
    let said = said.expect_err("nothing is divided by zero").to_string();
    assert_eq!(
        said, "Division durch Null",
        "PostgreSQL speaks no German here: run scripts/test, or install the locale de_DE.UTF-8 (Debian: locales-all) and \
         PostgreSQL's message catalogue (/usr/share/locale/de/LC_MESSAGES/postgres-*.mo)"
    );
    database
}

#[actix_web::test]
async fn a_restart_under_load_loses_nothing() {
    under_load_on(german, async |server, shop| {
        server.stop_fast().await;
        shop.tells_that_the_database_is_away().await;
        server.start_again().await;
        shop.recovers_within(RECOVERY).await;
    })
    .await;
}

#[actix_web::test]
async fn connections_that_are_terminated_under_load_are_replaced_at_once() {
    under_load_on(german, async |server, shop| {
        for _ in 0..8 {
            server.terminate_connections();
            sleep(Duration::from_millis(100)).await;
        }
        server.terminate_connections();
        shop.recovers_within(AT_ONCE).await;
    })
    .await;
}

#[actix_web::test]
async fn a_database_that_no_longer_answers_keeps_nobody_waiting() {
    under_load_on(german, async |server, shop| {
        server.freeze();
        shop.tells_that_the_database_is_away().await;
        let before = shop.put_off();
        sleep(2 * IN_TIME).await;
        assert!(shop.put_off() - before >= SENDERS);
        server.thaw();
        shop.recovers_within(RECOVERY).await;
    })
    .await;
}

#[actix_web::test]
async fn requests_that_wait_for_a_lock_are_put_off_in_time_and_done_once() {
    let server = PostgresServer::start().await;
    let shop = Shop::over(german(&server)).await;
    let lock = shop.database.lock();
    let calls: Vec<_> = (0..40).map(|_| an_order()).collect();
    shop.are_put_off(&calls).await;
    lock.release();
    shop.recovers_within(RECOVERY).await;
    shop.are_done_once(&calls).await;
}

/// What it says where transactions were in each other's way, and its code for it.
const PASSING: [(&str, &str); 2] = [
    (
        "konnte Zugriff nicht serialisieren wegen gleichzeitiger Aktualisierung",
        "40001",
    ),
    ("Verklemmung entdeckt", "40P01"),
];

#[actix_web::test]
async fn what_fails_in_passing_is_answered_as_if_it_had_not() {
    let server = PostgresServer::start().await;
    let shop = Shop::over(german(&server)).await;
    shop.database.execute("CREATE SEQUENCE tries");
    for (message, code) in PASSING {
        let messages = [new_wamid(), new_wamid()].map(|id| whatsapp_text(&id, "1 cola"));
        for call in [
            an_order(),
            Call::whatsapp_messages(messages.to_vec().into()),
        ] {
            shop.database.execute("ALTER SEQUENCE tries RESTART");
            let raise = format!("RAISE EXCEPTION '{message}' USING ERRCODE = '{code}'");
            let then = format!("IF nextval('tries') <= 2 THEN {raise}; END IF");
            shop.database.trigger("INSERT ON orders", &then);
            let (first, _) = shop.send_timed(&call).await;
            assert_eq!(told(&first), (200, Some("false")), "{message}: {first:?}");
            let (again, _) = shop.send_timed(&call).await;
            assert_eq!(told(&again), (200, Some("true")), "{message}: {again:?}");
            shop.database.mend("orders");
        }
    }
    let orders = shop.database.count("SELECT count(*) AS n FROM orders");
    assert_eq!(orders, 6);
}

#[actix_web::test]
async fn a_disk_that_is_full_is_told() {
    let server = PostgresServer::start().await;
    let shop = Shop::over(german(&server)).await;
    shop.database.trigger(
        "INSERT ON orders",
        "RAISE EXCEPTION 'konnte Datei »base/5/16384« nicht erweitern: Auf dem Gerät ist kein Speicherplatz mehr verfügbar'
         USING ERRCODE = 'disk_full'",
    );
    let order = an_order();
    shop.are_put_off(std::slice::from_ref(&order)).await;
    // The sender is put off in time, whatever is still tried for it.
    until("it is told", async || {
        shop.ready().await.body.contains("writes fail")
    })
    .await;
    shop.database.mend("orders");
    until("ready", async || shop.ready().await.status == 200).await;
    shop.are_done_once(&[order]).await;
}

/// Whose right it is to choose is spoken to in English.
#[actix_web::test]
async fn a_role_that_may_choose_the_language_is_told_apart_what_it_is_told() {
    let server = PostgresServer::start().await;
    let database = german(&server);
    server.execute("ALTER ROLE laden SUPERUSER");
    let shop = Shop::over(database).await;
    shop.database.break_writes("INSERT ON orders", "broken");
    // On a machine that is busy with other things an order may not be tried in time.
    until("it is told", async || {
        shop.send_timed(&an_order()).await.0.status == 500
    })
    .await;
}
