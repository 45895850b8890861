//! Statements of one's own: exactly once in the transaction of their answer, at least once behind the middleware.

use diesel::{PgConnection, RunQueryDsl as _, sql_query};
use hookonce::{
    idempotency::{
        Claim, KeyedRequest, Lifetimes, LookupTimer, Settlement, StoredReply, claim, complete,
        fingerprint,
    },
    store::{Conn, Store, StoreError, types::Timestamp},
};
use std::time::Duration;

use crate::support::{
    database::{Database, Engine, on_both},
    handlers::{Host, Work},
};

on_both! {
    statements_in_the_transaction_of_their_answer_are_done_once_wherever_it_breaks
}

/// Where a run ends before its time.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Breaks {
    AfterTheClaim,
    AfterTheWork,
    AfterTheAnswer,
    Never,
}

fn request() -> KeyedRequest {
    let asked = fingerprint("POST", "/charges", "", "", b"500");
    KeyedRequest::new("own", "K".parse().expect("a key"), "own", asked)
}

/// Whether it is a replay.
async fn charge(store: &Store, breaks: Breaks) -> Result<bool, StoreError> {
    let here = move |place| assert!(breaks != place, "the process dies {place:?}");
    let lifetimes = Lifetimes {
        ttl: Duration::from_secs(3600),
        lease: Duration::from_secs(30),
    };
    let work = move |conn: &mut Conn<'_>| {
        let owned = match claim(
            conn,
            &request(),
            lifetimes,
            &LookupTimer::default(),
            Timestamp::now(),
        )? {
            Claim::Acquired(owned) => owned,
            Claim::Replay(_) => return Ok(true),
            other => panic!("{other:?}"),
        };
        here(Breaks::AfterTheClaim);
        let insert = sql_query("INSERT INTO charges (amount) VALUES (500)");
        match conn {
            Conn::Sqlite(conn) => insert.execute(*conn)?,
            Conn::Postgres(conn) => {
                let conn: &mut PgConnection = conn;
                insert.execute(conn)?
            }
        };
        here(Breaks::AfterTheWork);
        let reply = StoredReply {
            status: 201,
            ..StoredReply::default()
        };
        let settlement = Settlement {
            reply: &reply,
            retailer: None,
            order: None,
            events: None,
            body: None,
        };
        assert!(complete(conn, owned, settlement)?);
        here(Breaks::AfterTheAnswer);
        Ok(false)
    };
    store.write(work).await
}

async fn statements_in_the_transaction_of_their_answer_are_done_once_wherever_it_breaks(
    engine: Engine,
) {
    let database = Database::new(engine);
    let host = Host::new(&database, &Work::counting(), |it| it).await;
    database.execute("CREATE TABLE charges (amount INTEGER NOT NULL)");
    let charges = || database.count("SELECT count(*) AS n FROM charges");
    for place in [
        Breaks::AfterTheClaim,
        Breaks::AfterTheWork,
        Breaks::AfterTheAnswer,
    ] {
        assert!(charge(&host.store, place).await.is_err());
        assert_eq!(charges(), 0, "{place:?}");
    }
    for replayed in [false, true, true] {
        let done = charge(&host.store, Breaks::Never).await.expect("an answer");
        assert_eq!((done, charges()), (replayed, 1));
    }
}
