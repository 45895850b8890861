//! Work that SQLite's writer does in the background: requests come first, it comes too, and the log stays bounded.

use diesel::{RunQueryDsl as _, SqliteConnection, sql_query, sql_types::BigInt};
use futures_util::future::join_all;
use hookonce::store::{Conn, Store, StoreError, StoreOptions, WriteLoad};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout},
};

use crate::support::{
    database::{Database, Engine, on_both},
    wait::PATIENCE,
};

/// After so long without writes nobody is taken to write.
const QUIET: Duration = Duration::from_secs(1);

on_both! {
    what_is_done_in_the_background_is_committed_or_not_at_all
}

async fn open(database: &Database, write_batch: usize) -> Store {
    let options = StoreOptions {
        connections: 4,
        write_batch,
        timeout: PATIENCE,
    };
    Store::open(&database.parsed(), &options)
        .await
        .expect("a store")
}

fn sqlite<'a>(conn: &'a mut Conn<'_>) -> &'a mut SqliteConnection {
    match conn {
        Conn::Sqlite(conn) => conn,
        Conn::Postgres(_) => panic!("this is about SQLite"),
    }
}

fn run(conn: &mut Conn<'_>, sql: &str) -> Result<(), StoreError> {
    match conn {
        Conn::Sqlite(conn) => sql_query(sql).execute(*conn)?,
        Conn::Postgres(conn) => sql_query(sql).execute(&mut **conn)?,
    };
    Ok(())
}

async fn what_is_done_in_the_background_is_committed_or_not_at_all(engine: Engine) {
    let database = Database::new(engine);
    let store = open(&database, 256).await;
    database.execute("CREATE TABLE told (n INTEGER)");
    let told = || database.count("SELECT count(*) AS n FROM told");
    let work = |fails: bool| {
        store.write_in_background(move |conn, _| {
            run(conn, "INSERT INTO told VALUES (1)")?;
            match fails {
                true => Err(StoreError::Migration("any".into())),
                false => Ok(()),
            }
        })
    };
    assert!(matches!(work(true).await, Err(StoreError::Migration(_))));
    assert_eq!(told(), 0);
    work(false).await.expect("done");
    assert_eq!(told(), 1, "seen by whoever looks, once it is answered");
    let panicked: Result<(), StoreError> = store
        .write_in_background(|conn, _| {
            run(conn, "INSERT INTO told VALUES (1)")?;
            panic!("in the background")
        })
        .await;
    assert!(matches!(panicked, Err(StoreError::Panicked(_))));
    assert_eq!(told(), 1);
    work(false).await.expect("it serves on");
    assert_eq!(told(), 2);
}

#[actix_web::test]
async fn a_request_waits_for_one_job_in_the_background_at_most() {
    let database = Database::new(Engine::Sqlite);
    let store = open(&database, 256).await;
    let done = Arc::new(Mutex::new(Vec::new()));
    let note = |what| {
        let done = Arc::clone(&done);
        move || {
            done.lock().expect("a list").push(what);
            Ok::<_, StoreError>(())
        }
    };
    let in_background = |what| {
        let note = note(what);
        store.write_in_background(move |_, _| note())
    };
    let request = || {
        let note = note("request");
        store.write(move |_| note())
    };
    let (begun, is_begun) = oneshot::channel();
    let (go_on, held) = mpsc::channel();
    let ends = Arc::new(Mutex::new(Some((begun, held))));
    let first = store.write_in_background(move |_, _| {
        let (begun, held) = ends.lock().expect("the ends").take().expect("once");
        begun.send(()).expect("somebody waits for this");
        held.recv_timeout(PATIENCE).expect("told to go on");
        Ok::<_, StoreError>(())
    });
    let others = async {
        is_begun.await.expect("begun");
        let second = in_background("second");
        let third = in_background("third");
        // Polled last, when all the others have been sent.
        let letting_go = async { go_on.send(()) };
        let all = tokio::join!(second, third, request(), request(), letting_go);
        all.0.and(all.1).and(all.2).and(all.3).expect("done");
    };
    let (first, ()) = tokio::join!(first, others);
    first.expect("done");
    let done = done.lock().expect("a list");
    assert_eq!(*done, ["request", "request", "second", "third"]);
}

#[actix_web::test]
async fn work_in_the_background_has_its_turn_where_requests_never_cease() {
    let database = Database::new(Engine::Sqlite);
    let store = open(&database, 1).await;
    let done = AtomicBool::new(false);
    let requests = (0..16).map(async |_| {
        let mut answered = 0;
        while !done.load(Ordering::SeqCst) {
            let request = store.write(|_| {
                std::thread::sleep(Duration::from_millis(2));
                Ok::<_, StoreError>(())
            });
            request.await.expect("an answer");
            answered += 1;
        }
        answered
    });
    let in_background = async {
        sleep(Duration::from_millis(100)).await;
        for _ in 0..3 {
            let work = store.write_in_background(|_, _| Ok::<_, StoreError>(()));
            let turn = timeout(PATIENCE, work).await;
            turn.expect("a turn").expect("done");
        }
        done.store(true, Ordering::SeqCst);
    };
    let (answered, ()) = tokio::join!(join_all(requests), in_background);
    let answered: i32 = answered.into_iter().sum();
    assert!(answered > 30, "requests came in between: {answered}");
}

#[actix_web::test]
async fn it_is_told_whether_others_write_here_or_elsewhere() {
    let database = Database::new(Engine::Sqlite);
    let store = open(&database, 256).await;
    database.execute("CREATE TABLE told (n INTEGER)");
    let demand = || async {
        let asked = store.write_in_background(|_, demand| Ok::<_, StoreError>(demand));
        asked.await.expect("told")
    };
    let request = || async {
        let request = store.write(|_| Ok::<_, StoreError>(()));
        request.await.expect("done");
    };
    assert_eq!(demand().await, WriteLoad::Busy, "nothing is known yet");
    sleep(QUIET).await;
    assert_eq!(demand().await, WriteLoad::Idle);
    assert_eq!(demand().await, WriteLoad::Idle, "its own are not another's");
    request().await;
    assert_eq!(demand().await, WriteLoad::Busy, "a request came");
    sleep(QUIET).await;
    assert_eq!(demand().await, WriteLoad::Idle);
    database.execute("INSERT INTO told VALUES (1)");
    assert_eq!(demand().await, WriteLoad::Busy, "another process wrote");
    sleep(QUIET).await;
    assert_eq!(demand().await, WriteLoad::Idle);
}

#[actix_web::test]
async fn what_a_request_wrote_is_synced_whatever_came_before() {
    #[derive(diesel::QueryableByName)]
    struct Synchronous {
        #[diesel(sql_type = BigInt)]
        n: i64,
    }
    const NORMAL: i64 = 1;
    const FULL: i64 = 2;
    fn synchronous(conn: &mut Conn<'_>) -> Result<i64, StoreError> {
        let ask = sql_query("SELECT synchronous AS n FROM pragma_synchronous");
        Ok(ask.get_result::<Synchronous>(sqlite(conn))?.n)
    }
    let database = Database::new(Engine::Sqlite);
    let store = open(&database, 256).await;
    let in_background = || store.write_in_background(|conn, _| synchronous(conn));
    assert_eq!(in_background().await.expect("told"), FULL, "others write");
    sleep(QUIET).await;
    assert_eq!(in_background().await.expect("told"), NORMAL);
    assert_eq!(store.write(synchronous).await.expect("told"), FULL);
    sleep(QUIET).await;
    assert_eq!(in_background().await.expect("told"), NORMAL);
    assert_eq!(store.write(synchronous).await.expect("told"), FULL);
}

#[actix_web::test]
async fn the_log_stays_bounded_while_much_is_written() {
    const MEBIBYTE: u64 = 1024 * 1024;
    let database = Database::new(Engine::Sqlite);
    let store = open(&database, 256).await;
    database.execute("CREATE TABLE pile (n INTEGER PRIMARY KEY, content BLOB)");
    let path = database.url.strip_prefix("sqlite://").expect("a path");
    let log = || {
        std::fs::metadata(format!("{path}-wal"))
            .expect("a log")
            .len()
    };
    // About 4 MiB, always in the same place.
    let write = |conn: &mut Conn<'_>| {
        run(
            conn,
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4)
             INSERT OR REPLACE INTO pile SELECT i, zeroblob(1048576) FROM n",
        )
    };
    for _ in 0..60 {
        let written = store.write_in_background(move |conn, _| write(conn));
        written.await.expect("done");
        let log = log();
        assert!(
            log < 64 * MEBIBYTE,
            "{log} bytes, of work in the background"
        );
    }
    for _ in 0..60 {
        store.write(write).await.expect("done");
    }
    let log = log();
    assert!(log < 128 * MEBIBYTE, "{log} bytes, of requests");
}

#[actix_web::test]
async fn a_reader_that_stays_holds_the_log_but_no_work_up() {
    let database = Database::new(Engine::Sqlite);
    let store = open(&database, 256).await;
    database.execute("CREATE TABLE pile (n INTEGER PRIMARY KEY, content BLOB)");
    let (go_on, held) = mpsc::channel();
    let reading = store.read(move |conn| {
        run(conn, "SELECT count(*) FROM pile")?;
        run(conn, "BEGIN")?;
        run(conn, "SELECT count(*) FROM pile")?;
        held.recv_timeout(2 * PATIENCE).expect("told to go on");
        run(conn, "COMMIT")
    });
    let writing = async {
        let begun = Instant::now();
        for _ in 0..25 {
            let written = store.write_in_background(|conn, _| {
                run(
                    conn,
                    "INSERT OR REPLACE INTO pile VALUES (1, zeroblob(4194304))",
                )
            });
            written.await.expect("done");
        }
        go_on.send(()).expect("it waits");
        begun.elapsed()
    };
    let (read, took) = tokio::join!(reading, writing);
    read.expect("a look");
    assert!(took < PATIENCE, "{took:?}");
}
