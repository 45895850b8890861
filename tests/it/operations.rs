//! What operators ask for, at an address of its own; and what every answer tells a browser.

use crate::support::{
    app::App,
    database::{Database, Engine},
    process::{Program, Server, client},
    requests::{Call, Then, new_sid, raw},
};

const ROUTES: [&str; 6] = [
    "/health/live",
    "/health/ready",
    "/metrics",
    "/openapi.json",
    "/docs/",
    "/api/v1/whatsapp/test",
];

async fn status(url: &str) -> u16 {
    let answer = client().get(url).send().await.expect("an answer");
    answer.status().as_u16()
}

async fn operations_url(server: &mut Server) -> String {
    let line = server.logged("operations on http://").await;
    let address = line.split("http://").nth(1).expect("an address");
    format!("http://{}", address.trim())
}

#[actix_web::test]
async fn what_operators_ask_for_is_served_at_its_own_address_and_nowhere_else() {
    let database = Database::new(Engine::Sqlite);
    let program = Program::new(&database).set("OPERATIONS_BIND", "127.0.0.1:0");
    program.open_shop().await;
    let mut server = program.serve().await;
    let operations = operations_url(&mut server).await;
    for path in ROUTES {
        assert_eq!(status(&format!("{operations}{path}")).await, 200, "{path}");
        assert_eq!(
            status(&format!("{}{path}", server.url)).await,
            404,
            "{path}"
        );
    }
    let call = Call::twilio_text(&new_sid(), "1 cola");
    let there = call.send(&client(), &operations).await.unwrap();
    assert_eq!(there.status, 404, "{there:?}");
    let public = call.send(&client(), &server.url).await.unwrap();
    assert_eq!(public.status, 200, "{public:?}");
    // Both are counted and logged alike.
    let metrics = client().get(format!("{operations}/metrics")).send().await;
    let metrics = metrics.unwrap().text().await.unwrap();
    for route in ["/webhooks/twilio", "/health/ready"] {
        let counted = format!(
            "hookonce_requests_total{{outcome=\"{}\",route=\"{route}\"}} 1",
            match route {
                "/health/ready" => "ok",
                _ => "new",
            }
        );
        assert!(metrics.contains(&counted), "{counted}\n{metrics}");
    }
    server.logged("GET /health/ready 200").await;
    server.signal("TERM");
    let ended = server.exit(std::time::Duration::from_secs(20)).await;
    assert!(ended.success(), "{ended}");
}

#[actix_web::test]
async fn without_an_address_of_their_own_they_are_where_all_else_is() {
    let app = App::new(Engine::Sqlite).await;
    for path in ROUTES {
        assert_eq!(app.get(path).await.status, 200, "{path}");
    }
}

#[actix_web::test]
async fn an_address_that_cannot_be_taken_stops_the_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let program = || Program::bare().set("BIND", "127.0.0.1:0");
    let refused = program()
        .set("OPERATIONS_BIND", &address)
        .run(&["serve"])
        .await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains(&address), "{refused:?}");
    let same = program()
        .set("BIND", &address)
        .set("OPERATIONS_BIND", &address)
        .run(&["serve"])
        .await;
    assert_eq!(same.code, Some(2), "{same:?}");
    for words in ["OPERATIONS_BIND", "another address than BIND"] {
        assert!(same.stderr.contains(words), "{same:?}");
    }
}

#[actix_web::test]
async fn whoever_is_open_to_the_world_is_told_so() {
    const WARNING: &str = "set OPERATIONS_BIND";
    let started = async |bind: &str, operations: &str| {
        let program = Program::bare()
            .set("BIND", bind)
            .set("OPERATIONS_BIND", operations);
        program.serve().await.log()
    };
    assert!(started("0.0.0.0:0", "").await.contains(WARNING));
    assert!(!started("127.0.0.1:0", "").await.contains(WARNING));
    assert!(!started("0.0.0.0:0", "127.0.0.1:0").await.contains(WARNING));
}

/// Of requests that no application has seen.
#[actix_web::test]
async fn also_answers_to_what_is_no_request_keep_browsers_from_doing_anything() {
    let app = App::new(Engine::Sqlite).await;
    let large = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nX-Large: {}\r\n\r\n",
        "x".repeat(200_000)
    );
    for (bytes, status) in [
        ("nonsense\r\n\r\n", "400"),
        ("GET / HTTP/9.9\r\n\r\n", "400"),
        (&large, "431"),
    ] {
        let answer = raw(&app.url, bytes.into(), Then::Listen).await;
        let answer = answer.to_lowercase();
        assert!(
            answer.starts_with(&format!("http/1.1 {status}")),
            "{answer}"
        );
        for header in [
            "\r\ncontent-security-policy: default-src 'none'; frame-ancestors 'none'",
            "\r\nx-frame-options: deny\r\n",
            "\r\nx-content-type-options: nosniff\r\n",
            "\r\nreferrer-policy: no-referrer\r\n",
        ] {
            assert_eq!(answer.matches(header).count(), 1, "{header}: {answer}");
        }
    }
}

#[actix_web::test]
async fn every_answer_keeps_browsers_from_doing_anything_with_it() {
    let app = App::new(Engine::Sqlite).await;
    let get = async |path: &str| {
        let answer = app.client.get(format!("{}{path}", app.url)).send().await;
        answer.expect("an answer").headers().clone()
    };
    let always = [
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
    ];
    let paths = [
        "/nothing",
        "/webhooks/twilio",
        "/api/v1/orders",
        "/api/v1/orders/%ff",
    ];
    for path in ROUTES.iter().chain(&paths) {
        let headers = get(path).await;
        for (name, value) in always {
            assert_eq!(
                headers.get(name).map(|it| it.as_bytes()),
                Some(value.as_bytes()),
                "{path}"
            );
        }
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'"), "{path}: {policy}");
        assert!(
            policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        assert_eq!(
            policy.contains("script-src 'self'"),
            *path == "/docs/",
            "{path}: {policy}"
        );
        assert!(
            !policy.contains("script-src 'self' 'unsafe"),
            "{path}: {policy}"
        );
    }
}

#[actix_web::test]
async fn the_pages_need_no_script_that_stands_within_them() {
    let app = App::new(Engine::Sqlite).await;
    let page = app.get("/docs/").await.body;
    for script in page.split("<script").skip(1) {
        let (tag, rest) = script.split_once('>').expect("a tag");
        assert!(tag.contains("src="), "{page}");
        assert!(rest.trim_start().starts_with("</script>"), "{page}");
    }
    assert!(!page.contains("<style"), "{page}");
}
