//! The command line, as a shell sees it: standard output, standard error, exit codes.

use futures_util::future::join_all;
use hookonce::provider::{self, REGISTRY};
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path, process::Command};

use crate::support::{
    database::{Database, Engine, on_both},
    process::{self, CATALOGUE, Finished, Program, Server},
    requests::{Call, SHOP_PHONE, SHOP_PHONE_NUMBER_ID, VERIFY_TOKEN, new_sid, provider_secrets},
};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures");

on_both! {
    a_retailer_is_printed_as_json_and_nothing_else
    a_phone_that_is_taken_fails
    a_catalogue_with_bad_lines_names_each_and_imports_nothing
    importing_again_changes_prices_and_keeps_ids
    the_fixtures_can_be_replayed_and_replayed_again
}

#[actix_web::test]
async fn wrong_usage_exits_with_2() {
    let program = Program::bare();
    for args in [
        &["nonsense"][..],
        &["replay"],
        &["retailer"],
        &["retailer", "add", "--name", "N"],
        &["catalog", "import", CATALOGUE, "--retailer", "7"],
    ] {
        let finished = program.run(args).await;
        assert_eq!(finished.code, Some(2), "{args:?}: {finished:?}");
        assert_eq!(finished.stdout, "");
        assert!(finished.stderr.contains("--help"), "{finished:?}");
    }
}

#[actix_web::test]
async fn a_value_that_cannot_be_used_is_named_with_what_is_allowed() {
    for (variable, value, allowed) in [
        ("DATABASE_URL", "mysql://", "postgres://"),
        ("REDIS_URL", "memcached://", "rediss://"),
        ("DATABASE_CONNECTIONS", "0", "at least 1"),
        ("BIND", "8080", "127.0.0.1:8080"),
        ("PUBLIC_BASE_URL", "hooks.example.com", "https://"),
        ("TRUSTED_PROXIES", "10.0.0.0/33", "10.0.0.0/8"),
        ("IDEMPOTENCY_ENABLED", "yes", "true or false"),
        ("IDEMPOTENCY_TTL", "24", "24h"),
        ("MAX_BODY_BYTES", "3MB", "whole number"),
        ("REQUEST_TIMEOUT", "-1s", "10s"),
    ] {
        let program = Program::bare().set(variable, value);
        for command in ["serve", "migrate"] {
            let finished = program.run(&[command]).await;
            assert_eq!(finished.code, Some(2), "{variable}: {finished:?}");
            assert!(says(&finished, &[variable, value, allowed]), "{finished:?}");
        }
        assert!(is_empty(program.folder.path()), "nothing was begun");
    }
}

#[actix_web::test]
async fn a_password_in_a_wrong_address_is_not_shown() {
    let program = Program::bare().set("DATABASE_URL", "mysql://shop:hunter2@localhost/shop");
    let finished = program.run(&["serve"]).await;
    assert_eq!(finished.code, Some(2));
    assert!(says(&finished, &["DATABASE_URL", "mysql"]), "{finished:?}");
    assert!(!finished.stderr.contains("hunter2"), "{finished:?}");
}

/// As they are written by hand: nearly right, so that a part of the password stands where something else is read.
#[actix_web::test]
async fn no_part_of_a_password_in_an_address_that_is_nearly_right_is_shown() {
    const ADDRESSES: [&str; 14] = [
        "://shop:a@S3CRET@127.0.0.1:1/x",
        "://shop:S3CRET/S3CRET@127.0.0.1:1/x",
        "://shop:/S3CRET@127.0.0.1:1/x",
        "://shop:S3CRET?S3CRET/@127.0.0.1:1/x",
        "://shop:S3CRET#S3CRET@127.0.0.1:1/x",
        "://shop:S3CRET%zz@127.0.0.1:1/x",
        "://shop:S3CRET%@127.0.0.1:1/x",
        "://shop:S3CRET%00@127.0.0.1:1/x",
        "://shop%3AS3CRET@127.0.0.1:1/x",
        "://shop:S3CRET",
        "://shop:S3CRET@127.0.0.1:S3CRET/x",
        ":/shop:S3CRET@127.0.0.1:1/x",
        "//shop:S3CRET@127.0.0.1:1/x",
        ":shop:S3CRET@127.0.0.1:1/x",
    ];
    let with = |scheme: &str| ADDRESSES.map(|rest| format!("{scheme}{rest}"));
    let mut cases: Vec<_> = with("postgres").map(|url| ("DATABASE_URL", url)).into();
    // Without an @ it is a file's name.
    let sqlite = with("sqlite").into_iter().filter(|url| url.contains('@'));
    cases.extend(sqlite.map(|url| ("DATABASE_URL", url)));
    cases.extend(with("redis").map(|url| ("REDIS_URL", url)));
    cases.extend(with("https").map(|url| ("PUBLIC_BASE_URL", url)));
    for text in [
        "host=127.0.0.1 password=S3CRET",
        "shop:S3CRET@127.0.0.1",
        "S3CRET",
    ] {
        for variable in ["DATABASE_URL", "REDIS_URL", "PUBLIC_BASE_URL"] {
            cases.push((variable, text.to_owned()));
        }
    }
    for some in cases.chunks(6) {
        let runs = some.iter().map(async |(variable, value)| {
            // One that is taken after all is tried, and cannot bind.
            let program = Program::bare()
                .set(variable, value)
                .set("REQUEST_TIMEOUT", "200ms")
                .set("RUST_LOG", "trace")
                .set("BIND", "192.0.2.1:1");
            let finished = program.run(&["serve"]).await;
            let code = finished.code;
            assert!(matches!(code, Some(1 | 2)), "{value}: {finished:?}");
            let errors = finished.stderr;
            assert!(!errors.contains("S3CRET"), "{variable}={value}: {errors}");
        });
        join_all(runs).await;
    }
}

#[actix_web::test]
async fn names_cannot_move_the_cursor_of_whoever_lists_them() {
    const EVIL: &str = "a\u{1b}[2J\u{202e}b\u{9b}c\nd";
    let database = Database::new(Engine::Sqlite);
    let program = Program::new(&database);
    let mut add = vec!["retailer", "add", "--name", EVIL];
    add.extend(["--phone", SHOP_PHONE, "--currency", "USD"]);
    let added = program.must(&add).await;
    let id: Value = serde_json::from_str(&added).expect("JSON");
    program
        .must(&["token", "create", "--name", EVIL, "--scope", "admin"])
        .await;
    let csv = program.folder.path().join("bad.csv");
    fs::write(
        &csv,
        format!("sku,name,aliases,price\nA,\"{EVIL}\",,{EVIL}\n"),
    )
    .expect("a file");
    let saved = format!("POST /webhooks/twilio HTTP/1.1\r\nHost: h{EVIL}\r\n\r\n");
    fs::write(
        program.folder.path().join("saved"),
        saved.replace("c\n", "c"),
    )
    .expect("a file");
    fs::create_dir(program.folder.path().join("whatsapp")).expect("a folder");
    fs::write(program.folder.path().join("whatsapp/a.json"), EVIL).expect("a file");
    let list = program.must(&["retailer", "list"]).await;
    let listed: Value = serde_json::from_str(&list).expect("JSON");
    assert_eq!(listed["name"], EVIL);
    let csv = csv.to_string_lossy();
    let id = id["id"].as_str().expect("an id");
    for args in [
        &["retailer", "list"][..],
        &["token", "list"],
        &["stats"],
        &["stats", "--json"],
        &["catalog", "import", &csv, "--retailer", id],
        &["explain", "saved"],
        &["replay", "whatsapp", "--dry-run"],
        &["replay", EVIL],
    ] {
        let finished = program.run(args).await;
        for text in [&added, &finished.stdout, &finished.stderr] {
            let odd = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
            assert!(!text.contains(odd), "{args:?}: {text:?}");
        }
        assert!(!finished.stderr.contains("panicked"), "{finished:?}");
    }
}

#[actix_web::test]
async fn a_database_that_is_away_exits_with_1() {
    let program = Program::bare()
        .set("DATABASE_URL", "postgres://shop:hunter2@127.0.0.1:1/shop")
        .set("REQUEST_TIMEOUT", "300ms")
        .set("RUST_LOG", "trace");
    for command in ["serve", "migrate"] {
        let finished = program.run(&[command]).await;
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert!(!finished.stderr.contains("hunter2"), "{finished:?}");
    }
}

#[actix_web::test]
async fn an_address_that_is_taken_exits_with_1_and_is_named() {
    let database = Database::new(Engine::Sqlite);
    let server = Program::new(&database).serve().await;
    let other = Program::bare().set("BIND", server.address());
    let finished = other.run(&["serve"]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(says(&finished, &[server.address()]), "{finished:?}");
}

#[actix_web::test]
async fn a_dotenv_file_is_read_and_the_environment_wins_over_it() {
    let program = Program::bare().set("BIND", "127.0.0.1:0");
    let dotenv = "DATABASE_URL=sqlite://named-in-dotenv.db\nBIND=nonsense\n";
    fs::write(program.folder.path().join(".env"), dotenv).expect("a file");
    let _server = program.serve().await;
    assert!(program.folder.path().join("named-in-dotenv.db").is_file());
}

#[actix_web::test]
async fn with_nothing_configured_it_serves_and_says_what_is_off() {
    let program = Program::bare().set("BIND", "127.0.0.1:0");
    let mut server = program.spawn_with(&[]);
    server.listening().await;
    assert!(program.folder.path().join("hookonce.db").is_file());
    for provider in REGISTRY {
        let handshake = provider.handshake().map(|handshake| handshake.variable);
        for variable in [provider.secret_variable()].into_iter().chain(handshake) {
            server.logged(&format!("{variable} is not set")).await;
        }
    }
}

async fn a_retailer_is_printed_as_json_and_nothing_else(engine: Engine) {
    let database = Database::new(engine);
    let program = Program::new(&database).set("RUST_LOG", "trace");
    program.must(&["migrate"]).await;
    assert_eq!(program.must(&["retailer", "list"]).await, "");
    let first = program.add_retailer(SHOP_PHONE, SHOP_PHONE_NUMBER_ID).await;
    let second = program.add_retailer("+14155238887", "7").await;
    let listed = program.must(&["retailer", "list"]).await;
    let listed: Vec<Value> = listed
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(listed[0]["id"], first);
    assert_eq!(listed[0]["phone"], SHOP_PHONE);
    assert_eq!(listed[0]["phone_number_id"], SHOP_PHONE_NUMBER_ID);
    assert_eq!(listed[0]["currency"], "USD");
    assert_eq!(listed[1]["id"], second);
    assert_eq!(listed.len(), 2);
}

async fn a_phone_that_is_taken_fails(engine: Engine) {
    let database = Database::new(engine);
    let program = Program::new(&database);
    program.add_retailer(SHOP_PHONE, SHOP_PHONE_NUMBER_ID).await;
    let add = ["retailer", "add", "--name", "Other", "--currency", "EUR"];
    for taken in [
        ["--phone", SHOP_PHONE, "--phone-number-id", "1"],
        [
            "--phone",
            "+14155238887",
            "--phone-number-id",
            SHOP_PHONE_NUMBER_ID,
        ],
    ] {
        let finished = program.run(&[&add[..], &taken[..]].concat()).await;
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert_eq!(finished.stdout, "");
        assert!(says(&finished, &["another retailer"]), "{finished:?}");
    }
    assert_eq!(database.count("SELECT count(*) AS n FROM retailers"), 1);
}

async fn a_catalogue_with_bad_lines_names_each_and_imports_nothing(engine: Engine) {
    let database = Database::new(engine);
    let program = Program::new(&database);
    let id = program.add_retailer(SHOP_PHONE, SHOP_PHONE_NUMBER_ID).await;
    let lines = "sku,name,aliases,price\nA,Ayran,,1\n,Bun,,1\nC,Cake,,1.999\nD,Dill,1\n";
    let finished = import(&program, lines, &id).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert_eq!(finished.stdout, "");
    let named = ["line 3:", "line 4:", "line 5:", "nothing was imported"];
    assert!(says(&finished, &named), "{finished:?}");
    assert!(!finished.stderr.contains("line 2:"), "{finished:?}");
    assert_eq!(database.count("SELECT count(*) AS n FROM products"), 0);
}

async fn importing_again_changes_prices_and_keeps_ids(engine: Engine) {
    let database = Database::new(engine);
    let program = Program::new(&database);
    let id = program.open_shop().await;
    let before = products(&database);
    let lines = "sku,name,aliases,price\nCOLA,Cola,coke,2.25\nNEW,Ayran,,1.50\n";
    let finished = import(&program, lines, &id).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let after = products(&database);
    assert_eq!(after.len(), before.len() + 1);
    for (sku, (id, price)) in &before {
        let price = if sku == "COLA" { "225" } else { price };
        assert_eq!(after[sku], (id.clone(), price.to_owned()), "{sku}");
    }
    assert_eq!(after["NEW"].1, "150");
}

#[actix_web::test]
async fn a_catalogue_for_an_unknown_retailer_or_from_no_file_fails() {
    let database = Database::new(Engine::Sqlite);
    let program = Program::new(&database);
    program.must(&["migrate"]).await;
    let nobody = "0192f0c1-2d3e-7abc-8def-0123456789ab";
    for (file, named) in [(CATALOGUE, nobody), ("missing.csv", "missing.csv")] {
        let args = ["catalog", "import", file, "--retailer", nobody];
        let finished = program.run(&args).await;
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert!(says(&finished, &[named]), "{finished:?}");
    }
}

async fn import(program: &Program, lines: &str, retailer: &str) -> Finished {
    fs::write(program.folder.path().join("catalogue.csv"), lines).expect("a file");
    let args = ["catalog", "import", "catalogue.csv", "--retailer", retailer];
    program.run(&args).await
}

/// Id and price in minor units, by SKU.
fn products(database: &Database) -> BTreeMap<String, (String, String)> {
    let sql = "SELECT sku || ' ' || id || ' ' || price_minor AS t FROM v_products";
    let rows = database.texts(sql).into_iter().flatten();
    rows.map(|row| {
        let words: Vec<_> = row.split(' ').map(str::to_owned).collect();
        (words[0].clone(), (words[1].clone(), words[2].clone()))
    })
    .collect()
}

async fn the_fixtures_can_be_replayed_and_replayed_again(engine: Engine) {
    let shop = Shop::open(engine).await;
    let all = shop.replay(&[FIXTURES]).await;
    assert_eq!(all.code, Some(0), "{all:?}");
    assert_eq!(outcomes(&all), BTreeMap::from([("new".into(), fixtures())]));
    assert!(all.stdout.contains("latency"), "{all:?}");
    let orders = shop.orders();
    let again = shop.replay(&[FIXTURES, "--concurrency", "4"]).await;
    assert_eq!(again.code, Some(0), "{again:?}");
    let replayed = BTreeMap::from([("replayed".into(), fixtures())]);
    assert_eq!(outcomes(&again), replayed);
    assert_eq!(shop.orders(), orders);
    assert!(orders > 0);
}

#[actix_web::test]
async fn a_replay_with_unique_ids_makes_new_orders() {
    let shop = Shop::open(Engine::Sqlite).await;
    let fixture = fixture("twilio/text_order.form");
    let several = ["--unique", "--times", "3", "--concurrency", "4"];
    let replay = shop.replay(&[&[&*fixture][..], &several].concat()).await;
    assert_eq!(replay.code, Some(0), "{replay:?}");
    assert_eq!(outcomes(&replay), BTreeMap::from([("new".into(), 3)]));
    assert_eq!(shop.orders(), 3);
    let replay = shop.replay(&[&fixture, "--times", "3"]).await;
    let expected = BTreeMap::from([("new".into(), 1), ("replayed".into(), 2)]);
    assert_eq!(outcomes(&replay), expected);
    assert_eq!(shop.orders(), 4);
}

#[actix_web::test]
async fn a_replay_sends_the_key_that_it_is_given() {
    let shop = Shop::open(Engine::Sqlite).await;
    let order = fixture("whatsapp/text_order.json");
    let replay = shop.replay(&[&order, "--key", "mine"]).await;
    assert_eq!(replay.code, Some(0), "{replay:?}");
    let sql = "SELECT idempotency_key AS t FROM webhook_idempotency";
    assert_eq!(shop.database.texts(sql), [Some("mine".to_owned())]);
    // The key stands for that request, so another one under it is refused.
    let other = fixture("whatsapp/image.json");
    let replay = shop.replay(&[&other, "--key", "mine"]).await;
    assert_eq!(replay.code, Some(1), "{replay:?}");
    assert!(replay.stdout.contains("409 IDEMPOTENCY_KEY_MISMATCH"));
}

#[actix_web::test]
async fn a_replay_that_is_refused_or_not_answered_exits_with_1() {
    let shop = Shop::open(Engine::Sqlite).await;
    let order = fixture("whatsapp/text_order.json");
    let stranger = Program::new(&shop.database).set("WHATSAPP_APP_SECRET", "another");
    let refused = stranger
        .run(&["replay", &order, "--url", &shop.server.url])
        .await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stdout.contains("401 SIGNATURE_INVALID"));
    let nowhere = ["replay", &order, "--url", "http://127.0.0.1:1"];
    assert_eq!(shop.program.run(&nowhere).await.code, Some(1));
    assert_eq!(shop.orders(), 0);
}

#[actix_web::test]
async fn a_replay_without_a_secret_or_a_fixture_exits_with_2() {
    let program = Program::bare();
    let order = fixture("whatsapp/text_order.json");
    for (path, named) in [
        (order.as_str(), "WHATSAPP_APP_SECRET"),
        ("missing.json", "missing.json"),
        (CATALOGUE, "catalogue.csv"),
        (".", "no fixture"),
    ] {
        let finished = program.run(&["replay", path]).await;
        assert_eq!(finished.code, Some(2), "{finished:?}");
        assert!(says(&finished, &[named]), "{finished:?}");
    }
}

#[actix_web::test]
async fn a_dry_run_prints_commands_that_work() {
    let shop = Shop::open(Engine::Sqlite).await;
    let printed = shop.replay(&[FIXTURES, "--dry-run"]).await;
    assert_eq!(printed.code, Some(0), "{printed:?}");
    assert_eq!(shop.orders(), 0, "a dry run sends nothing");
    let commands: Vec<_> = printed.stdout.lines().collect();
    assert_eq!(commands.len(), fixtures());
    for command in commands {
        assert!(matches!(status_of(command).await, 200 | 204), "{command}");
    }
    // They were the requests that a replay sends.
    let again = shop.replay(&[FIXTURES]).await;
    let replayed = BTreeMap::from([("replayed".into(), fixtures())]);
    assert_eq!(outcomes(&again), replayed);
}

#[actix_web::test]
async fn no_secret_is_ever_logged() {
    const PASSWORD: &str = "password-of-the-database";
    let database = Database::new(Engine::Postgres);
    // The server of the tests takes any password.
    let url = with_password(&database.url, PASSWORD);
    let program = Program::new(&database)
        .set("DATABASE_URL", &url)
        .set("RUST_LOG", "trace");
    program.open_shop().await;
    let mut server = program.serve().await;
    let handshake = format!(
        "/webhooks/whatsapp?hub.mode=subscribe&hub.challenge=1&hub.verify_token={VERIFY_TOKEN}"
    );
    let client = process::client();
    for path in [&handshake, "/api/v1/whatsapp/test", "/metrics"] {
        let sent = client.get(format!("{}{path}", server.url)).send();
        assert_eq!(sent.await.expect("an answer").status(), 200);
    }
    let good = Call::twilio_text(&new_sid(), "1 cola");
    let mut bad = good.clone();
    bad.body.push(b'!');
    for (call, status) in [(&good, 200), (&bad, 401), (&good, 200)] {
        let reply = call.send(&client, &server.url).await.expect("an answer");
        assert_eq!(reply.status, status);
    }
    let replay = program
        .run(&["replay", FIXTURES, "--url", &server.url])
        .await;
    assert_eq!(replay.code, Some(0), "{replay:?}");
    server.signal("TERM");
    server.logged("stopped").await;
    for text in [server.log(), replay.stderr, replay.stdout] {
        let secrets = provider_secrets().map(|(_, secret)| secret);
        for secret in secrets.chain([PASSWORD.to_owned()]) {
            let line = text.lines().find(|line| line.contains(&secret));
            assert_eq!(line, None, "{secret} is shown");
        }
    }
}

/// A service with a shop.
struct Shop {
    database: Database,
    program: Program,
    server: Server,
}

impl Shop {
    async fn open(engine: Engine) -> Self {
        let database = Database::new(engine);
        let program = Program::new(&database);
        program.open_shop().await;
        let server = program.serve().await;
        Self {
            database,
            program,
            server,
        }
    }

    async fn replay(&self, args: &[&str]) -> Finished {
        let replay = ["replay", "--url", &self.server.url];
        self.program.run(&[&replay[..], args].concat()).await
    }

    fn orders(&self) -> i64 {
        self.database.count("SELECT count(*) AS n FROM orders")
    }
}

fn says(finished: &Finished, words: &[&str]) -> bool {
    words.iter().all(|word| finished.stderr.contains(word))
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).expect("the folder").next().is_none()
}

fn fixture(path: &str) -> String {
    format!("{FIXTURES}/{path}")
}

/// How many fixtures there are. Beside those of a provider stands what becomes of them.
fn fixtures() -> usize {
    let count = |folder: &str| fs::read_dir(fixture(folder)).expect("fixtures").count() - 1;
    provider::names().map(count).sum()
}

/// How many answers a replay says were new, replayed, or something else.
fn outcomes(replay: &Finished) -> BTreeMap<String, usize> {
    let mut outcomes = BTreeMap::new();
    for line in replay.stdout.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        if let [count, _status, outcome] = words[..]
            && let Ok(count) = count.parse::<usize>()
        {
            *outcomes.entry(outcome.to_owned()).or_default() += count;
        }
    }
    outcomes
}

fn with_password(url: &str, password: &str) -> String {
    let mut url = url::Url::parse(url).expect("a URL");
    url.set_password(Some(password)).expect("room for it");
    url.to_string()
}

/// The status that a curl command is answered with; sent by hand where there is no curl.
async fn status_of(command: &str) -> u16 {
    if Command::new("curl").arg("--version").output().is_err() {
        return send_by_hand(&shell_words(command)).await;
    }
    let mut shell = Command::new("sh");
    let output = shell.args(["-c", command]).env("no_proxy", "*").output();
    let output = output.expect("a shell");
    let answer = String::from_utf8_lossy(&output.stdout);
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
    status.unwrap_or_else(|| panic!("no status: {output:?}"))
}

/// Words of a shell command in which nothing is special outside of single quotes but `\'`.
fn shell_words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for c in command.chars() {
        match c {
            _ if escaped => {
                words.last_mut().unwrap().push(c);
                escaped = false;
            }
            '\'' => quoted = !quoted,
            '\\' if !quoted => escaped = true,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words
}

async fn send_by_hand(words: &[String]) -> u16 {
    let ["curl", "-i", url, ..] = words.iter().map(String::as_str).collect::<Vec<_>>()[..] else {
        panic!("another command: {words:?}");
    };
    let mut request = process::client().post(url);
    for option in words[3..].chunks(2) {
        request = match (option[0].as_str(), option[1].split_once(": ")) {
            ("-H", Some((name, value))) => request.header(name, value),
            ("--data-raw", _) => request.body(option[1].clone()),
            _ => panic!("another option: {option:?}"),
        };
    }
    let answer = request.send().await.expect("an answer");
    answer.status().as_u16()
}

#[test]
fn shell_words_are_read_as_a_shell_reads_them() {
    assert_eq!(
        shell_words(r"curl 'a b' -H 'it'\''s: \n'"),
        ["curl", "a b", "-H", r"it's: \n"]
    );
}
