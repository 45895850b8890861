//! A backup has all that was answered before it began, and what is brought back is that, whatever happens meanwhile.

use futures_util::{StreamExt as _, stream};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tokio::{sync::watch, time::sleep};

use crate::support::{
    database::{Database, Engine, on_both},
    load::{self, Answers, Courier, Deliveries},
    process::{Finished, Program, Server, client},
    requests::{Call, Reply, new_sid, told},
};

const WITHOUT_SHOP: &str =
    include_str!("../../migrations/shop/sqlite/2026-11-26-000011_create_shop/down.sql");
const DOCUMENT: &str = include_str!("../../docs/operations.md");

/// What a stop may take on a machine that is busy with other things.
const STOP: Duration = Duration::from_secs(12);

on_both! {
    a_backup_under_load_has_all_that_was_answered_before_it_began
    a_backup_goes_through_a_pipe
    a_database_is_checked
}

/// A service that was set up, and its files.
struct Shop {
    database: Database,
    program: Program,
}

impl Shop {
    async fn new(engine: Engine) -> Self {
        let database = Database::new(engine);
        let program = Program::new(&database);
        program.open_shop().await;
        Self { database, program }
    }

    /// Nothing but a program and where its database is to be.
    fn empty(engine: Engine) -> Self {
        let database = Database::new(engine);
        let program = Program::new(&database);
        Self { database, program }
    }

    fn orders(&self) -> i64 {
        self.database.count("SELECT count(*) AS n FROM orders")
    }

    /// The path of a SQLite file, or of what lies beside it.
    fn file(&self, end: &str) -> PathBuf {
        let path = self.database.url.trim_start_matches("sqlite://");
        format!("{path}{end}").into()
    }

    /// A file in the folder where the program runs.
    fn here(&self, name: &str) -> PathBuf {
        self.program.folder.path().join(name)
    }

    /// The names in the folder of the database.
    fn names(&self) -> BTreeSet<String> {
        let folder = self.file("");
        let folder = fs::read_dir(folder.parent().expect("a folder")).expect("a folder");
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        folder.map(|entry| name(entry.expect("an entry"))).collect()
    }

    async fn order_through(&self, server: &Server) -> Call {
        let call = Call::twilio_text(&new_sid(), "2 pizza and 1 cola");
        let reply = send(&call, server).await;
        assert_eq!(told(&reply), (200, Some("false")), "{reply:?}");
        call
    }

    /// Orders, then a stop.
    async fn trade(&self, orders: usize) {
        let mut server = self.program.serve().await;
        for _ in 0..orders {
            self.order_through(&server).await;
        }
        stop(&mut server).await;
    }

    async fn refuses(&self, args: &[&str], why: &str) {
        let finished = self.program.run(args).await;
        assert_eq!(finished.code, Some(1), "{args:?}: {finished:?}");
        assert!(finished.stderr.contains(why), "{args:?}: {finished:?}");
    }
}

async fn send(call: &Call, server: &Server) -> Reply {
    call.send(&client(), &server.url).await.expect("an answer")
}

async fn stop(server: &mut Server) {
    server.signal("TERM");
    let status = server.exit(STOP).await;
    assert!(status.success(), "{}", server.log());
}

fn mode(path: &Path) -> u32 {
    let found = fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    found.permissions().mode() & 0o777
}

/// Garbage in place of the page that a table begins with.
fn damage(database: &Database, path: &Path, name: &str) {
    let root = format!("SELECT rootpage AS n FROM sqlite_schema WHERE name = '{name}'");
    let page = u64::try_from(database.count(&root)).expect("a page");
    let file = File::options().write(true).open(path).expect("the file");
    let written = file.write_all_at(&[0xa5; 4096], (page - 1) * 4096);
    written.expect("garbage");
}

#[actix_web::test]
async fn the_walk_in_the_documentation_brings_back_what_was_there() {
    let shop = Shop::new(Engine::Sqlite).await;
    let mut server = Some(shop.program.serve().await);
    let mut sent = Vec::new();
    for _ in 0..3 {
        sent.push(shop.order_through(server.as_ref().unwrap()).await);
    }
    let mut lost = None;
    for line in commands("### SQLite") {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["systemctl", "stop", "hookonce"] => {
                lost = Some(shop.order_through(server.as_ref().unwrap()).await);
                stop(&mut server.take().unwrap()).await;
            }
            ["systemctl", "start", "hookonce"] => server = Some(shop.program.serve().await),
            ["hookonce", ref args @ ..] => drop(shop.program.must(args).await),
            _ => panic!("the tests know nothing of: {line}"),
        }
    }
    assert_eq!(shop.orders(), 3, "what was there at the time of the backup");
    let server = server.expect("the walk ends with a service that runs");
    for call in &sent {
        let reply = send(call, &server).await;
        assert_eq!(told(&reply), (200, Some("true")), "{reply:?}");
    }
    let lost = lost.expect("the walk stops the service");
    let reply = send(&lost, &server).await;
    assert_eq!(
        told(&reply),
        (200, Some("false")),
        "it is new again: {reply:?}"
    );
    let kept = shop
        .names()
        .into_iter()
        .find(|name| name.contains(".replaced-"));
    let kept = shop
        .file("")
        .with_file_name(kept.expect("what was replaced"));
    assert_eq!(count_in(&kept), 4, "with what came after the backup");
}

/// The commands of a section of the documentation.
fn commands(section: &str) -> Vec<String> {
    let (_, text) = DOCUMENT
        .split_once(&format!("\n{section}\n"))
        .expect("the section");
    let text = text.split("\n##").next().unwrap_or(text);
    let blocks = text.split("```").skip(1).step_by(2);
    let lines = blocks.filter_map(|block| block.strip_prefix("sh\n"));
    let lines = lines
        .flat_map(str::lines)
        .map(|line| line.split(" #").next().unwrap_or(line));
    let lines: Vec<_> = lines.map(|line| line.trim().to_owned()).collect();
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("hookonce restore")),
        "{lines:?}"
    );
    lines
}

/// The orders in a file that no service uses.
fn count_in(path: &Path) -> i64 {
    Database::at(path).count("SELECT count(*) AS n FROM orders")
}

async fn a_backup_under_load_has_all_that_was_answered_before_it_began(engine: Engine) {
    let shop = Shop::new(engine).await;
    let mut server = shop.program.serve().await;
    let mut deliveries = Deliveries::new(load::seed());
    for _ in 0..600 {
        deliveries.add();
    }
    let (before, all, courier) = (Answers::default(), Answers::default(), Courier::new());
    let url = watch::Sender::new(server.url.clone());
    let begun = AtomicBool::new(false);
    let sending = stream::iter(0..deliveries.calls.len()).for_each_concurrent(8, async |at| {
        let reply = courier.deliver(&deliveries.calls[at], &url).await;
        if !begun.load(Ordering::SeqCst) {
            before.note(at, reply.clone());
        }
        all.note(at, reply);
    });
    let backing_up = async {
        while before.count() < 50 {
            sleep(Duration::from_millis(5)).await;
        }
        begun.store(true, Ordering::SeqCst);
        shop.program.must(&["backup", "backup.db"]).await;
    };
    tokio::join!(sending, backing_up);
    stop(&mut server).await;
    all.check_kept(&shop.database);

    let another = Shop::empty(engine);
    let backup = shop.here("backup.db");
    let backup = backup.to_str().expect("a path");
    another.program.must(&["restore", backup]).await;
    another.program.must(&["check"]).await;
    before.check_kept(&another.database);
    // All that it has was whole: what was sent again meets it, and what is missing is made.
    let server = another.program.serve().await;
    url.send_replace(server.url.clone());
    stream::iter(&deliveries.calls)
        .for_each_concurrent(8, async |call| drop(courier.deliver(call, &url).await))
        .await;
    deliveries.check_rows(&another.database);
}

async fn a_backup_goes_through_a_pipe(engine: Engine) {
    let shop = Shop::new(engine).await;
    shop.trade(2).await;
    let bytes = shop.program.must_print(&["backup", "-"]).await;
    let piped = shop.here("piped");
    fs::write(&piped, bytes).expect("a file");
    let another = Shop::empty(engine);
    let restored = another.program.run_with(&["restore", "-"], &piped).await;
    assert_eq!(restored.code, Some(0), "{restored:?}");
    assert_eq!(another.orders(), 2);
    let id = "SELECT id AS t FROM installation";
    assert_ne!(
        shop.database.texts(id),
        another.database.texts(id),
        "answers in a cache are those of the first"
    );
}

async fn a_database_is_checked(engine: Engine) {
    let shop = Shop::new(engine).await;
    let _server = shop.program.serve().await;
    let checked = shop.program.must(&["check"]).await;
    assert!(checked.contains("it is sound"), "{checked}");
    shop.database
        .execute("DELETE FROM hookonce_migration WHERE set_name = 'shop'");
    let finished = shop.program.run(&["check"]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(
        finished.stdout.contains("lacks the migration"),
        "{finished:?}"
    );
}

#[actix_web::test]
async fn a_postgres_database_that_is_not_empty_is_not_restored_over() {
    let shop = Shop::new(Engine::Postgres).await;
    shop.program.must(&["backup", "backup.dump"]).await;
    assert_eq!(mode(&shop.here("backup.dump")), 0o600);
    shop.refuses(&["restore", "backup.dump"], "not empty").await;
    let lost = shop.program.set("PATH", "/nowhere");
    for args in [["backup", "other.dump"], ["restore", "backup.dump"]] {
        let finished = lost.run(&args).await;
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert!(finished.stderr.contains("is not installed"), "{finished:?}");
    }
}

#[actix_web::test]
async fn a_backup_that_is_killed_leaves_the_one_before_it() {
    let shop = Shop::new(Engine::Sqlite).await;
    shop.trade(1).await;
    shop.program.must(&["backup", "backup.db"]).await;
    shop.database.execute(
        "CREATE TABLE pile (content BLOB);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 32)
         INSERT INTO pile SELECT randomblob(1048576) FROM n",
    );
    let backup = shop.here("backup.db");
    let first = fs::metadata(&backup).expect("a backup").len();
    let mut cut_short = 0;
    for delay in [0, 5, 10, 20, 40, 80, 120, 160] {
        let mut child = shop.program.spawn_with(&["backup", "backup.db"]);
        sleep(Duration::from_millis(delay)).await;
        child.kill();
        if fs::metadata(&backup).expect("a backup").len() == first {
            cut_short += 1;
            assert_eq!(count_in(&backup), 1);
        }
    }
    assert!(cut_short > 0, "it was never killed in time");
    shop.program.must(&["backup", "backup.db"]).await;
    assert!(fs::metadata(&backup).expect("a backup").len() > 32 * 1024 * 1024);
    assert!(!shop.here("backup.db.part").exists());
}

#[actix_web::test]
async fn a_damaged_database_takes_no_good_backups_place() {
    let shop = Shop::new(Engine::Sqlite).await;
    shop.trade(2).await;
    shop.program.must(&["backup", "backup.db"]).await;
    damage(&shop.database, &shop.file(""), "orders");
    shop.refuses(&["backup", "backup.db"], "damaged").await;
    assert_eq!(count_in(&shop.here("backup.db")), 2);
    shop.refuses(&["check"], "restore a backup").await;
    shop.program.must(&["restore", "backup.db"]).await;
    shop.program.must(&["check"]).await;
    assert_eq!(shop.orders(), 2);
}

#[actix_web::test]
async fn a_database_that_is_open_anywhere_is_not_restored_over() {
    let shop = Shop::new(Engine::Sqlite).await;
    let server = shop.program.serve().await;
    shop.order_through(&server).await;
    shop.program.must(&["backup", "backup.db"]).await;
    // It does nothing at all, and is open.
    shop.refuses(&["restore", "backup.db"], "is in use").await;
    shop.order_through(&server).await;
    assert_eq!(shop.orders(), 2);
    // A server whose file was taken away goes on with it.
    fs::rename(shop.file(""), shop.file(".away")).expect("a file to move");
    shop.refuses(&["restore", "backup.db"], "is in use").await;
    assert!(!shop.file("").exists());
}

#[actix_web::test]
async fn what_is_no_sound_backup_is_refused_and_changes_nothing() {
    let shop = Shop::new(Engine::Sqlite).await;
    shop.trade(1).await;
    shop.program.must(&["backup", "good.db"]).await;
    let good = fs::read(shop.here("good.db")).expect("a backup");
    let make = |name: &str, bytes: &[u8]| fs::write(shop.here(name), bytes).expect("a file");
    make("garbage", &[7; 20_000]);
    make("empty", b"");
    make("cut.db", &good[..good.len() / 2]);
    make("damaged.db", &good);
    damage(
        &Database::at(&shop.here("good.db")),
        &shop.here("damaged.db"),
        "webhook_event",
    );
    for (name, sql) in [
        (
            "newer.db",
            "INSERT INTO hookonce_migration (set_name, version) VALUES ('core', '99991231235959')",
        ),
        ("foreign.db", "DROP TABLE hookonce_migration"),
        (
            "dangling.db",
            "PRAGMA foreign_keys = OFF; DELETE FROM retailers",
        ),
        ("unclaimed.db", "DELETE FROM webhook_claim WHERE kind = 1"),
        (
            "claimed.db",
            "INSERT INTO webhook_claim (id, kind, owner, row) VALUES ('x', 2, 'twilio', 1)",
        ),
    ] {
        make(name, &good);
        Database::at(&shop.here(name)).execute(sql);
    }
    let before = (shop.names(), fs::read(shop.file("")).expect("the database"));
    let itself = shop.file("").display().to_string();
    for (file, why) in [
        ("garbage", "not a database"),
        ("empty", "is no backup"),
        ("cut.db", "damaged"),
        ("damaged.db", "damaged"),
        ("newer.db", "newer version"),
        ("foreign.db", "is no backup"),
        ("dangling.db", "not there"),
        ("unclaimed.db", "have not claimed their ids"),
        ("claimed.db", "1 ids are claimed for rows of orders"),
        ("missing.db", "there is no"),
        (".", "is no file"),
        (&itself, "is the database itself"),
    ] {
        shop.refuses(&["restore", file], why).await;
        let now = (shop.names(), fs::read(shop.file("")).expect("the database"));
        assert!(now == before, "{file} changed something: {:?}", now.0);
    }
    shop.refuses(&["backup", &itself], "is the database itself")
        .await;
    let empty = Shop::empty(Engine::Sqlite);
    empty
        .refuses(&["backup", "backup.db"], "there is no database")
        .await;
    empty.refuses(&["check"], "there is no database").await;
    empty
        .refuses(&["restore", "missing.db"], "there is no")
        .await;
    assert_eq!(empty.names(), BTreeSet::new(), "none is made");
}

#[actix_web::test]
async fn the_log_of_a_server_that_was_killed_is_put_away_with_its_database() {
    let shop = Shop::new(Engine::Sqlite).await;
    let mut server = shop.program.serve().await;
    shop.order_through(&server).await;
    shop.program.must(&["backup", "backup.db"]).await;
    for _ in 0..5 {
        shop.order_through(&server).await;
    }
    server.kill();
    assert!(shop.file("-wal").exists());
    let told = shop.program.must(&["restore", "backup.db"]).await;
    assert!(told.contains(".replaced-"), "{told}");
    assert!(
        !shop.file("-wal").exists(),
        "it would be replayed onto another"
    );
    shop.program.must(&["check"]).await;
    assert_eq!(shop.orders(), 1);
    let kept = shop
        .names()
        .into_iter()
        .find(|name| name.contains(".replaced-"));
    let kept = shop
        .file("")
        .with_file_name(kept.expect("what was replaced").replace("-wal", ""));
    assert_eq!(count_in(&kept), 6, "the file with its log");
}

#[actix_web::test]
async fn a_restore_that_is_killed_leaves_the_old_or_the_new_or_says_so() {
    let shop = Shop::new(Engine::Sqlite).await;
    shop.trade(1).await;
    shop.program.must(&["backup", "backup.db"]).await;
    shop.trade(1).await;
    for delay in [0, 10, 20, 30, 40, 60, 80, 120] {
        let mut child = shop.program.spawn_with(&["restore", "backup.db"]);
        sleep(Duration::from_millis(delay)).await;
        child.kill();
        match shop.program.run(&["check"]).await {
            Finished { code: Some(0), .. } => assert!([1, 2].contains(&shop.orders())),
            refused => assert!(
                refused.stderr.contains("run hookonce restore again"),
                "{refused:?}"
            ),
        }
    }
    // As where it was killed between the two names.
    fs::copy(shop.here("backup.db"), shop.file(".restored")).expect("a copy");
    shop.refuses(&["serve"], "run hookonce restore again").await;
    shop.refuses(&["backup", "other.db"], "run hookonce restore again")
        .await;
    shop.program.must(&["restore", "backup.db"]).await;
    assert_eq!(shop.orders(), 1);
    shop.trade(1).await;
    assert_eq!(shop.orders(), 2);
}

#[actix_web::test]
async fn a_backup_of_an_older_version_is_brought_up_to_date() {
    let shop = Shop::new(Engine::Sqlite).await;
    shop.program.must(&["backup", "backup.db"]).await;
    // Of a program that had no shop.
    let old = Database::at(&shop.here("backup.db"));
    old.execute(WITHOUT_SHOP);
    old.execute("DELETE FROM hookonce_migration WHERE set_name = 'shop'");
    let another = Shop::empty(Engine::Sqlite);
    let backup = shop.here("backup.db").display().to_string();
    let finished = another.program.run(&["restore", &backup]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    another.program.must(&["check"]).await;
    another.program.open_shop().await;
    another.trade(1).await;
    assert_eq!(another.orders(), 1);
}

#[actix_web::test]
async fn a_clean_stop_leaves_one_file_that_is_all_of_it() {
    let shop = Shop::new(Engine::Sqlite).await;
    let mut server = shop.program.serve().await;
    for _ in 0..5 {
        shop.order_through(&server).await;
    }
    // A log that is long, and not moved yet.
    shop.database.execute(
        "PRAGMA wal_autocheckpoint = 0; CREATE TABLE pile (content BLOB);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 48)
         INSERT INTO pile SELECT zeroblob(1048576) FROM n",
    );
    stop(&mut server).await;
    assert_eq!(shop.names(), BTreeSet::from(["hookonce.db".to_owned()]));
    let copy = shop.here("copy.db");
    fs::copy(shop.file(""), &copy).expect("a copy");
    assert_eq!(count_in(&copy), 5);
}

#[actix_web::test]
async fn whoever_closes_it_last_leaves_one_file() {
    let shop = Shop::new(Engine::Sqlite).await;
    assert_eq!(shop.names().len(), 1, "after commands");
    let mut server = shop.program.serve().await;
    shop.order_through(&server).await;
    let held = shop.database.hold();
    stop(&mut server).await;
    assert!(shop.file("-wal").exists(), "somebody still uses it");
    drop(held);
    assert!(!shop.file("-wal").exists(), "it was the last");
    let mut server = shop.program.serve().await;
    shop.order_through(&server).await;
    server.kill();
    assert!(shop.file("-wal").exists(), "nobody closed it");
    for args in [&["stats"][..], &["retailer", "list"], &["check"]] {
        shop.program.must(args).await;
        assert_eq!(shop.names().len(), 1, "{args:?}: {:?}", shop.names());
    }
    assert_eq!(shop.orders(), 2);
}

#[actix_web::test]
async fn its_files_are_their_owners_alone() {
    let shop = Shop::new(Engine::Sqlite).await;
    let server = shop.program.serve().await;
    shop.order_through(&server).await;
    for end in ["", "-wal", "-shm"] {
        assert_eq!(mode(&shop.file(end)), 0o600, "{end}");
    }
    shop.program.must(&["backup", "backup.db"]).await;
    assert_eq!(mode(&shop.here("backup.db")), 0o600);
    let another = Shop::empty(Engine::Sqlite);
    let backup = shop.here("backup.db").display().to_string();
    another.program.must(&["restore", &backup]).await;
    assert_eq!(mode(&another.file("")), 0o600);
    // Who may read it beside its owner is for its owner to say.
    fs::set_permissions(another.file(""), fs::Permissions::from_mode(0o640)).expect("a mode");
    another.program.must(&["restore", &backup]).await;
    let server = another.program.serve().await;
    another.order_through(&server).await;
    for end in ["", "-wal", "-shm"] {
        assert_eq!(mode(&another.file(end)), 0o640, "{end}");
    }
}
