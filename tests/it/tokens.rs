//! Tokens: made and revoked by the real program, asked for over HTTP.

use diesel::{Connection as _, PgConnection, connection::SimpleConnection as _};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::time::Duration;

use crate::support::{
    database::{Database, Engine, on_both},
    guarded::Guarded,
    process::{self, Finished, Program},
    requests::{Reply, SHOP_PHONE, SHOP_PHONE_NUMBER_ID},
};

/// Nobody has this id.
const NOBODY: &str = "0192f0c1-2d3e-7abc-8def-0123456789ab";
/// Has the form of a token, and is none.
const UNKNOWN: &str = "hk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

on_both! {
    a_token_is_printed_once_and_only_its_hash_is_kept
    a_token_that_is_bound_to_a_retailer_says_so
    a_retailer_or_a_client_that_is_not_there_gets_no_token
    a_token_opens_what_its_scopes_reach_and_nothing_else
    what_is_no_valid_token_is_refused
    a_token_that_is_revoked_is_refused_at_once
    a_client_keeps_its_keys_when_its_token_changes
}

async fn a_token_is_printed_once_and_only_its_hash_is_kept(engine: Engine) {
    let database = Database::new(engine);
    let program = Program::new(&database).set("RUST_LOG", "trace");
    let args = ["--name", "pos", "--scope", "stats:read, orders:write"];
    let created = create(&program, &args).await;
    assert_eq!(created.code, Some(0), "{created:?}");
    let token = token_of(&created);
    let random = token.strip_prefix("hk_").expect("the prefix");
    assert_eq!(random.len(), 43);
    assert!(!created.stderr.contains(random), "{created:?}");

    let hash = hex::encode(Sha256::digest(token));
    let kept = "SELECT token_sha256 AS t FROM v_tokens";
    assert_eq!(database.texts(kept), [Some(hash.clone())]);
    let all = "SELECT id || ' ' || client_id || ' ' || scopes || ' ' || created_at AS t FROM v_tokens \
               UNION ALL SELECT id || ' ' || name || ' ' || created_at AS t FROM v_clients";
    for row in database.texts(all).into_iter().flatten() {
        assert!(!row.contains(random), "{row}");
    }

    let listed = program.must(&["token", "list"]).await;
    assert!(!listed.contains(random) && !listed.contains(&hash));
    let listed: Value = serde_json::from_str(&listed).expect("a line of JSON");
    let names: Vec<_> = listed.as_object().unwrap().keys().collect();
    let shown = "client_id created_at id name retailer_id revoked_at scopes";
    assert_eq!(names, shown.split(' ').collect::<Vec<_>>());
    assert_eq!(listed["name"], "pos");
    assert_eq!(
        listed["scopes"],
        serde_json::json!(["orders:write", "stats:read"])
    );
    assert_eq!(listed["retailer_id"], Value::Null);
    assert_eq!(listed["revoked_at"], Value::Null);
    for id in ["id", "client_id"] {
        let id = listed[id].as_str().unwrap();
        assert!(created.stderr.contains(id), "{created:?}");
    }
}

async fn a_token_that_is_bound_to_a_retailer_says_so(engine: Engine) {
    let guarded = Guarded::new(engine).await;
    let program = Program::new(&guarded.database);
    let retailer = program.add_retailer(SHOP_PHONE, SHOP_PHONE_NUMBER_ID).await;
    let args = [
        "--name",
        "pos",
        "--scope",
        "orders:read",
        "--retailer",
        &retailer,
    ];
    let created = create(&program, &args).await;
    let caller = whoami(guarded.get_with(token_of(&created)).await).await;
    assert_eq!(caller["retailer"], *retailer);
    assert_eq!(caller["client_name"], "pos");
    let everywhere = guarded.token("orders:read").await;
    let caller = whoami(guarded.get_with(everywhere.token.expose()).await).await;
    assert_eq!(caller["retailer"], Value::Null);
    assert_eq!(list(&program).await[0]["retailer_id"], *retailer);
}

async fn a_retailer_or_a_client_that_is_not_there_gets_no_token(engine: Engine) {
    let database = Database::new(engine);
    let program = Program::new(&database);
    program.must(&["migrate"]).await;
    for args in [
        &["--name", "pos", "--scope", "admin", "--retailer", NOBODY][..],
        &["--client", NOBODY, "--scope", "admin"],
    ] {
        let finished = create(&program, args).await;
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert_eq!(finished.stdout, "");
        assert!(finished.stderr.contains(NOBODY), "{finished:?}");
    }
    for table in ["api_clients", "api_tokens"] {
        let sql = format!("SELECT count(*) AS n FROM {table}");
        assert_eq!(database.count(&sql), 0);
    }
}

#[actix_web::test]
async fn a_scope_that_there_is_not_is_named_with_those_that_there_are() {
    let program = Program::bare();
    for scopes in ["orders", "orders:write,everything", ""] {
        let finished = create(&program, &["--name", "pos", "--scope", scopes]).await;
        assert_eq!(finished.code, Some(2), "{finished:?}");
        assert_eq!(finished.stdout, "");
        for scope in ["orders:write", "stats:read", "admin"] {
            assert!(finished.stderr.contains(scope), "{finished:?}");
        }
    }
}

async fn a_token_opens_what_its_scopes_reach_and_nothing_else(engine: Engine) {
    const ROUTES: [(&str, &str, &str); 4] = [
        ("GET", "/api/v1/test/orders", "orders:read"),
        ("POST", "/api/v1/test/orders", "orders:write"),
        ("GET", "/api/v1/test/stats", "stats:read"),
        ("POST", "/api/v1/test/admin/cleanup", "admin"),
    ];
    let guarded = Guarded::new(engine).await;
    for (scopes, open) in [
        ("orders:read", [true, false, false, false]),
        ("orders:write", [true, true, false, false]),
        ("stats:read,ledger:read", [false, false, true, false]),
        ("payments:write", [false, false, false, false]),
        ("admin", [true, true, true, true]),
    ] {
        let issued = guarded.token(scopes).await;
        for ((method, path, needed), open) in ROUTES.into_iter().zip(open) {
            let request = guarded.request(method, path);
            let request = request.bearer_auth(issued.token.expose());
            let answer = Reply::of(request.send().await.unwrap()).await.unwrap();
            if open {
                assert_eq!(answer.status, 200, "{scopes} {path}: {answer:?}");
                assert_eq!(answer.json()["client_id"], issued.client_id.to_string());
            } else {
                assert_eq!(answer.status, 403, "{scopes} {path}: {answer:?}");
                assert_eq!(answer.error_code(), "SCOPE_MISSING");
                let message = answer.json()["message"].to_string();
                assert!(message.contains(needed), "{message}");
            }
        }
    }
}

async fn what_is_no_valid_token_is_refused(engine: Engine) {
    let guarded = Guarded::new(engine).await;
    let issued = guarded.token("admin").await;
    let token = issued.token.expose();
    let cases = [
        (vec![], "TOKEN_MISSING"),
        (vec!["Basic dXNlcjpwYXNz".to_owned()], "TOKEN_MISSING"),
        (vec![token.to_owned()], "TOKEN_MISSING"),
        (vec![format!("Bearer{token}")], "TOKEN_MISSING"),
        (vec!["Bearer".to_owned()], "TOKEN_INVALID"),
        (vec![format!("Bearer {UNKNOWN}")], "TOKEN_INVALID"),
        (vec![format!("Bearer {}", &token[3..])], "TOKEN_INVALID"),
        (vec![format!("Bearer {token}x")], "TOKEN_INVALID"),
        (vec![format!("Bearer {token} {token}")], "TOKEN_INVALID"),
        (
            vec![format!("Bearer {token}, Bearer {token}")],
            "TOKEN_INVALID",
        ),
        (vec!["Bearer hk_' OR 1=1 --".to_owned()], "TOKEN_INVALID"),
        (vec![format!("Bearer {token}"); 2], "TOKEN_INVALID"),
    ];
    for (headers, code) in cases {
        for (method, path) in [
            ("GET", "/api/v1/test/orders"),
            ("POST", "/api/v1/test/admin/cleanup"),
        ] {
            let request = headers
                .iter()
                .fold(guarded.request(method, path), |request, value| {
                    request.header("Authorization", value)
                });
            let answer = request.send().await.expect("an answer");
            assert_eq!(answer.headers()["WWW-Authenticate"], "Bearer");
            let answer = Reply::of(answer).await.unwrap();
            assert_eq!(answer.status, 401, "{headers:?}: {answer:?}");
            assert_eq!(answer.error_code(), code, "{headers:?}");
            assert!(!answer.body.contains(&token[3..]), "{answer:?}");
        }
    }
    for scheme in ["Bearer", "bearer", "BEARER "] {
        let request = guarded.request("GET", "/api/v1/test/orders");
        let request = request.header("Authorization", format!("{scheme} {token}"));
        assert_eq!(request.send().await.unwrap().status(), 200, "{scheme}");
    }
}

async fn a_token_that_is_revoked_is_refused_at_once(engine: Engine) {
    let guarded = Guarded::new(engine).await;
    let program = Program::new(&guarded.database);
    let (issued, other) = (guarded.token("admin").await, guarded.token("admin").await);
    let token = issued.token.expose();
    assert_eq!(guarded.get_with(token).await.status(), 200);
    let id = issued.token_id.to_string();
    let printed = program.must(&["token", "revoke", &id]).await;
    assert!(printed.contains(&id), "{printed}");
    let answer = Reply::of(guarded.get_with(token).await).await.unwrap();
    assert_eq!(answer.status, 401);
    assert_eq!(answer.error_code(), "TOKEN_INVALID");
    let other = guarded.get_with(other.token.expose()).await;
    assert_eq!(other.status(), 200);

    let since = list(&program).await[0]["revoked_at"].clone();
    assert!(since.is_string());
    let again = program.must(&["token", "revoke", &id]).await;
    assert!(again.contains("already"), "{again}");
    let listed = list(&program).await;
    assert_eq!(
        listed[0]["revoked_at"], since,
        "it stays revoked since then"
    );
    assert_eq!(listed[1]["revoked_at"], Value::Null);
    let unknown = program.run(&["token", "revoke", NOBODY]).await;
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    assert!(unknown.stderr.contains(NOBODY), "{unknown:?}");
}

async fn a_client_keeps_its_keys_when_its_token_changes(engine: Engine) {
    let guarded = Guarded::new(engine).await;
    let program = Program::new(&guarded.database);
    let args = ["--name", "pos", "--scope", "orders:write"];
    let old = create(&program, &args).await;
    let before = whoami(guarded.get_with(token_of(&old)).await).await;
    let client = before["client_id"].as_str().unwrap();
    assert_eq!(before["key_scope"], format!("client:{client}"));
    let args = ["--client", client, "--scope", "orders:read"];
    let new = create(&program, &args).await;
    assert_ne!(token_of(&new), token_of(&old));
    let after = whoami(guarded.get_with(token_of(&new)).await).await;
    for same in ["client_id", "key_scope", "client_name"] {
        assert_eq!(after[same], before[same], "{same}");
    }
    assert_eq!(
        (&before["may_write"], &after["may_write"]),
        (&true.into(), &false.into())
    );
    let first = list(&program).await[0]["id"].as_str().unwrap().to_owned();
    program.must(&["token", "revoke", &first]).await;
    assert_eq!(guarded.get_with(token_of(&old)).await.status(), 401);
    assert_eq!(guarded.get_with(token_of(&new)).await.status(), 200);
    let stranger = guarded.token("orders:read").await;
    let stranger = whoami(guarded.get_with(stranger.token.expose()).await).await;
    assert_ne!(stranger["key_scope"], before["key_scope"]);
}

#[actix_web::test]
async fn a_database_that_is_away_is_no_wrong_token() {
    let guarded = Guarded::with(Engine::Postgres, |config| {
        config.request_timeout = Duration::from_millis(300);
    })
    .await;
    let issued = guarded.token("admin").await;
    let mut other = PgConnection::establish(&guarded.database.url).expect("a connection");
    let lock = "BEGIN; LOCK TABLE api_tokens IN ACCESS EXCLUSIVE MODE";
    other.batch_execute(lock).expect("a lock");
    let answer = guarded.get_with(issued.token.expose()).await;
    let answer = Reply::of(answer).await.unwrap();
    assert_eq!(
        (answer.status, &*answer.error_code()),
        (503, "STORE_UNAVAILABLE")
    );
    assert!(answer.retry_after.is_some());
    // What is no token at all is known without the database.
    let malformed = Reply::of(guarded.get_with("hunter2").await).await.unwrap();
    assert_eq!(malformed.error_code(), "TOKEN_INVALID");
    other.batch_execute("ROLLBACK").expect("the end of it");
    assert_eq!(guarded.get_with(issued.token.expose()).await.status(), 200);
}

#[actix_web::test]
async fn a_route_that_forgot_to_ask_for_a_token_breaks_instead_of_opening() {
    let guarded = Guarded::new(Engine::Sqlite).await;
    let token = guarded.token("admin").await;
    let request = guarded.request("GET", "/api/v1/test/forgotten");
    let answer = request.bearer_auth(token.token.expose()).send().await;
    let answer = Reply::of(answer.unwrap()).await.unwrap();
    assert_eq!((answer.status, &*answer.error_code()), (500, "INTERNAL"));
}

#[actix_web::test]
async fn no_token_is_ever_logged() {
    let database = Database::new(Engine::Sqlite);
    let program = Program::new(&database).set("RUST_LOG", "trace");
    let created = create(&program, &["--name", "pos", "--scope", "admin"]).await;
    let token = token_of(&created);
    let mut server = program.serve().await;
    for path in [
        "/health/live",
        "/api/v1/orders",
        "/nothing",
        "/webhooks/twilio",
    ] {
        let url = format!("{}{path}", server.url);
        let request = process::client().post(url).bearer_auth(token);
        request.send().await.expect("an answer");
        server.logged(&format!("POST {path}")).await;
    }
    assert!(!server.log().contains(&token[3..]));
}

async fn create(program: &Program, args: &[&str]) -> Finished {
    program
        .run(&[&["token", "create"][..], args].concat())
        .await
}

/// The token, which is all of the standard output.
fn token_of(created: &Finished) -> &str {
    let line = created.stdout.strip_suffix('\n');
    let line = line.unwrap_or_else(|| panic!("no line: {created:?}"));
    assert!(
        line.starts_with("hk_") && !line.contains('\n'),
        "{created:?}"
    );
    line
}

async fn list(program: &Program) -> Vec<Value> {
    let listed = program.must(&["token", "list"]).await;
    let lines = listed.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

async fn whoami(answer: reqwest::Response) -> Value {
    let answer = Reply::of(answer).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}
