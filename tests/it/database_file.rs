//! A SQLite file that is not what it was under a service that runs: nothing is acknowledged that nobody would find, and
//! the service says what is the matter and what to do.

use hookonce::store::{Conn, Store, StoreError, StoreOptions, statistics};
use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::PathBuf,
    process::Command,
    time::Duration,
};

use crate::support::{
    api::{Client, order},
    database::{Database, Engine},
    process::{Program, Server, client},
    requests::{Call, Reply, new_sid, told},
    shop::Service,
    wait::until,
};

/// What a stop may take on a machine that is busy with other things.
const STOP: Duration = Duration::from_secs(12);
const MEBIBYTE: u64 = 1024 * 1024;

struct Shop {
    database: Database,
    program: Program,
    shop: String,
}

impl Shop {
    async fn new() -> Self {
        let database = Database::new(Engine::Sqlite);
        let program = Program::new(&database);
        let shop = program.open_shop().await;
        Self {
            database,
            program,
            shop,
        }
    }

    fn file(&self, end: &str) -> PathBuf {
        let path = self.database.url.trim_start_matches("sqlite://");
        format!("{path}{end}").into()
    }

    fn orders(&self) -> i64 {
        self.database.count("SELECT count(*) AS n FROM orders")
    }
}

async fn send(server: &Server) -> Reply {
    let call = Call::twilio_text(&new_sid(), "1 cola");
    call.send(&client(), &server.url).await.expect("an answer")
}

async fn get(server: &Server, path: &str) -> Reply {
    let response = client().get(format!("{}{path}", server.url)).send().await;
    Reply::of(response.expect("an answer"))
        .await
        .expect("a body")
}

/// What everybody is told who wants something of it.
async fn refuses(server: &Server, why: &str) {
    for _ in 0..3 {
        let reply = send(server).await;
        assert_eq!(
            (reply.status, &*reply.error_code()),
            (503, "STORE_UNAVAILABLE"),
            "{reply:?}"
        );
        assert!(reply.retry_after.is_some(), "{reply:?}");
    }
    let ready = get(server, "/health/ready").await;
    assert_eq!(ready.status, 503, "{ready:?}");
    let reason = ready.json()["detail"]
        .as_str()
        .expect("a detail")
        .to_owned();
    assert!(reason.contains(why), "{reason}");
    assert!(!reason.contains('/'), "it names no path: {reason}");
    assert_eq!(get(server, "/health/live").await.status, 200);
}

/// Runs a line as an operator types it, with the database as `$DB`.
fn shell(shop: &Shop, line: &str) {
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).env("DB", shop.file(""));
    assert!(shell.status().expect("a shell").success(), "{line}");
}

#[actix_web::test]
async fn nothing_is_acknowledged_into_a_file_that_nobody_will_find() {
    let other = Shop::new().await;
    let other = fs::read(other.file("")).expect("another database");
    for line in [
        "rm $DB",
        "mv $DB $DB.away",
        "rm $DB $DB-wal $DB-shm",
        "rm $DB-wal",
        "rm $DB-shm",
        "cp $DB.other $DB.new && mv $DB.new $DB",
        "cp $DB.other $DB",
        ": > $DB",
        "truncate -s 4096 $DB",
        "truncate -s 40000 $DB",
        "truncate -s -4096 $DB",
        "head -c 100000 /dev/urandom > $DB",
    ] {
        let shop = Shop::new().await;
        fs::write(shop.file(".other"), &other).expect("a copy");
        let mut server = shop.program.serve().await;
        let token = Client::of(&shop.program, &shop.shop, &server.url).await;
        assert_eq!(told(&send(&server).await), (200, Some("false")));
        shell(&shop, line);
        let size = || fs::metadata(shop.file("")).map(|file| file.len()).ok();
        let found = size();
        refuses(&server, "stop the service, then put the file back").await;
        let reply = token.post("/api/v1/orders", "k", &order(1)).await;
        assert_eq!(reply.status, 503, "{line}: {reply:?}");
        server.signal("TERM");
        server.exit(STOP).await;
        if !line.starts_with("rm $DB-") {
            assert_eq!(size(), found, "{line}: what is there is left as it is");
        }
        if line == "cp $DB.other $DB" {
            assert!(
                fs::read(shop.file("")).expect("a file") == other,
                "also by the end"
            );
        }
    }
}

#[actix_web::test]
async fn a_file_that_is_put_back_as_it_was_is_served_again() {
    let shop = Shop::new().await;
    let server = shop.program.serve().await;
    assert_eq!(told(&send(&server).await), (200, Some("false")));
    let (file, away) = (shop.file(""), shop.file(".away"));
    fs::rename(&file, &away).expect("a file to move");
    refuses(&server, "the database file is not there").await;
    fs::rename(&away, &file).expect("a file to move");
    assert_eq!(told(&send(&server).await), (200, Some("false")));
    until("it is ready", async || {
        get(&server, "/health/ready").await.status == 200
    })
    .await;
    assert_eq!(shop.orders(), 2);
}

/// Whoever reads is not shown another database, and makes no new one.
#[actix_web::test]
async fn what_is_read_is_never_another_file() {
    let service = Service::new(Engine::Sqlite).await;
    let client = service.pos().await;
    let order = client.order_of("10.00").await;
    let path = service
        .database()
        .url
        .trim_start_matches("sqlite://")
        .to_owned();
    fs::rename(&path, format!("{path}.away")).expect("a file to move");
    // More than there are connections, so that new ones are opened.
    let reads = (0..20).map(|_| client.get("/api/v1/orders"));
    for answer in futures_util::future::join_all(reads).await {
        answer.must(503);
    }
    assert!(!fs::exists(&path).expect("an answer"), "none was made");
    fs::rename(format!("{path}.away"), &path).expect("a file to move");
    client
        .get(&format!("/api/v1/orders/{order}"))
        .await
        .must(200);
}

#[actix_web::test]
async fn damage_is_told_once_with_what_to_do_and_what_meets_it_is_unavailable() {
    let shop = Shop::new().await;
    let root = "SELECT rootpage AS n FROM sqlite_schema WHERE name = 'orders'";
    let page = u64::try_from(shop.database.count(root)).expect("a page");
    let file = File::options()
        .write(true)
        .open(shop.file(""))
        .expect("the file");
    file.write_all_at(&[0xa5; 4096], (page - 1) * 4096)
        .expect("garbage");
    let server = shop.program.serve().await;
    let reply = send(&server).await;
    assert_eq!(
        (reply.status, &*reply.error_code()),
        (503, "STORE_UNAVAILABLE"),
        "{reply:?}"
    );
    refuses(&server, "the database is damaged: run hookonce check").await;
    let log = server.log();
    let lines = log
        .lines()
        .filter(|line| line.contains("run hookonce check, then stop"));
    let lines = lines.filter(|line| !line.contains("/health/ready"));
    assert_eq!(lines.count(), 1, "{log}");
    let checked = shop.program.run(&["check"]).await;
    assert_eq!(checked.code, Some(1), "{checked:?}");
    assert!(checked.stderr.contains("restore a backup"), "{checked:?}");
}

#[actix_web::test]
async fn what_the_log_took_of_the_disk_is_given_back_and_shown() {
    let database = Database::new(Engine::Sqlite);
    let options = StoreOptions::default();
    let store = Store::open(&database.parsed(), &options)
        .await
        .expect("a store");
    database.execute("CREATE TABLE pile (content BLOB)");
    let path = format!("{}-wal", database.url.trim_start_matches("sqlite://"));
    let on_disk = || fs::metadata(&path).expect("a log").len();
    for _ in 0..10 {
        let written = store.write(|conn| fill(conn, 2));
        written.await.expect("done");
    }
    assert!(on_disk() > 8 * MEBIBYTE, "{} bytes", on_disk());
    let shown = store.snapshot(statistics::size).await.expect("a size").log;
    assert!(
        shown.is_some_and(|bytes| bytes > 8 * MEBIBYTE as i64),
        "{shown:?}"
    );
    until("what the log took is given back", async || {
        on_disk() < MEBIBYTE
    })
    .await;
    // It goes on as before.
    let written = store.write(|conn| fill(conn, 2));
    written.await.expect("done");
    store.close().await;
    assert!(!fs::exists(&path).expect("an answer"), "all is in one file");
}

fn fill(conn: &mut Conn<'_>, mebibytes: u32) -> Result<(), StoreError> {
    use diesel::RunQueryDsl as _;
    let Conn::Sqlite(conn) = conn else {
        panic!("this is about SQLite");
    };
    for _ in 0..mebibytes {
        diesel::sql_query("INSERT INTO pile VALUES (zeroblob(1048576))").execute(*conn)?;
    }
    Ok(())
}

#[actix_web::test]
async fn the_statistics_show_the_log_where_there_is_one() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let service = Service::new(engine).await;
        let client = service.head_office().await;
        let store = client.get("/api/v1/stats").await.must(200).json()["store"].clone();
        match engine {
            Engine::Sqlite => assert!(store["log_bytes"].as_i64() > Some(0), "{store}"),
            Engine::Postgres => assert!(store["log_bytes"].is_null(), "{store}"),
        }
        let metrics = service.app.get("/metrics").await.body;
        assert!(
            metrics.contains("hookonce_store_log_size_bytes "),
            "{metrics}"
        );
    }
}
