//! How much memory strangers can make the service take: little, and those who are known are answered meanwhile.

use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use crate::support::{
    app::App,
    database::{Database, Engine},
    process::{Program, client},
    requests::{Call, Reply, new_sid, new_wamid, whatsapp_text},
    shop::{Answer, Service, items, new_key},
};

/// What the service may take, whatever is sent.
const MOST_RSS: u64 = 300 * 1024 * 1024;
const MEBIBYTE: usize = 1024 * 1024;

/// A body as large as may be, in Meta's form, of many messages that order nothing.
fn large_batch() -> Call {
    let text = "word ".repeat(550);
    let messages: Vec<_> = (0..1_000)
        .map(|_| whatsapp_text(&new_wamid(), &text))
        .collect();
    let call = Call::whatsapp_messages(json!(messages));
    assert!((2 * MEBIBYTE..3 * MEBIBYTE).contains(&call.body.len()));
    call
}

/// A body of which nothing is as large as what is made of it: objects of one member each.
fn bushy_batch(id: usize) -> Call {
    let bush = vec![r#"{"a":1}"#; 120_000].join(",");
    let padding = " ".repeat(MEBIBYTE);
    Call::whatsapp(format!(
        r#"{{"object":"whatsapp_business_account","entry":[{{"id":"{id}","changes":[{{"field":"x","value":{{"bush":[{bush}]{padding}}}}}]}}]}}"#
    ))
}

/// Sends a request but for its last byte, and holds the connection until the service ends it.
async fn stall(address: String, call: Call) {
    let Ok(mut stream) = TcpStream::connect(address).await else {
        return;
    };
    let mut bytes = call.to_bytes();
    bytes.pop();
    // Errors where it is told to go away before all of it was sent.
    if stream.write_all(&bytes).await.is_ok() {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
}

/// Sends until told to stop, and gives the worst of the answers and how long the slowest took.
async fn keep_ordering(url: &str, until: Instant) -> (usize, Duration) {
    let client = client();
    let (mut count, mut slowest) = (0, Duration::ZERO);
    while Instant::now() < until || count < 10 {
        let begun = Instant::now();
        let message = whatsapp_text(&new_wamid(), "1 cola");
        for call in [
            Call::twilio_text(&new_sid(), "1 cola"),
            Call::whatsapp_messages(json!([message])),
        ] {
            let reply = call.send(&client, url).await.expect("an answer");
            assert_eq!(reply.status, 200, "{reply:?}");
        }
        slowest = slowest.max(begun.elapsed());
        count += 1;
    }
    (count, slowest)
}

/// What a gauge says, in bytes.
async fn gauge(url: &str, name: &str) -> usize {
    let metrics = client().get(format!("{url}/metrics")).send().await;
    let metrics = metrics.unwrap().text().await.unwrap();
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    metrics.lines().find_map(value).expect("a gauge")
}

#[actix_web::test]
async fn bodies_that_stall_take_little_memory_and_hold_nobody_up() {
    let database = Database::new(Engine::Sqlite);
    let program = Program::new(&database);
    program.open_shop().await;
    let server = program.serve().await;
    let bogus = format!("sha256={}", "0".repeat(64));
    let call = Call::whatsapp(" ".repeat(3 * MEBIBYTE)).instead("X-Hub-Signature-256", &bogus);
    let mut stalled = JoinSet::new();
    for _ in 0..300 {
        stalled.spawn(stall(server.address().to_owned(), call.clone()));
    }
    let until = Instant::now() + Duration::from_secs(5);
    let (answered, slowest) = keep_ordering(&server.url, until).await;
    println!(
        "{answered} answered, the slowest in {slowest:?}; {} MiB",
        server.peak_rss() >> 20
    );
    assert!(server.peak_rss() < MOST_RSS, "{} bytes", server.peak_rss());
    let most = gauge(&server.url, "hookonce_body_bytes_max").await;
    assert_eq!(most, 64 * MEBIBYTE);
    let held = gauge(&server.url, "hookonce_body_bytes").await;
    assert!((MEBIBYTE..=most).contains(&held));
    // Who made way is told of as refused: nothing broke.
    let log = server.log();
    let refused = log
        .lines()
        .filter(|line| line.contains("error_code=OVERLOADED"));
    let levels: Vec<_> = refused.map(|line| line.contains(" WARN ")).collect();
    assert!(!levels.is_empty() && levels.iter().all(|is_warning| *is_warning));
    // A large one that is genuine finds its place among them.
    let reply = large_batch().send(&client(), &server.url).await.unwrap();
    assert_eq!(reply.status, 200, "{reply:?}");
    stalled.shutdown().await;
}

#[actix_web::test]
async fn large_bodies_that_are_signed_are_worked_on_within_bounds() {
    let database = Database::new(Engine::Sqlite);
    let program = Program::new(&database).set("REQUEST_TIMEOUT", "25s");
    program.open_shop().await;
    let server = program.serve().await;
    let mut sending = JoinSet::new();
    for n in 0..12 {
        let (url, call) = (
            server.url.clone(),
            if n % 2 == 0 {
                large_batch()
            } else {
                bushy_batch(n)
            },
        );
        sending.spawn(async move { call.send(&client(), &url).await });
    }
    let (answered, slowest) = keep_ordering(&server.url, Instant::now()).await;
    let mut done = 0;
    while let Some(reply) = sending.join_next().await {
        // Whoever has no place may be told so before all is sent.
        let Ok(reply) = reply.unwrap() else { continue };
        assert!(matches!(reply.status, 200 | 503), "{reply:?}");
        assert_eq!(reply.status == 503, reply.retry_after.is_some());
        done += usize::from(reply.status == 200);
    }
    println!(
        "{done} of 12 done, {answered} answered, the slowest in {slowest:?}; {} MiB",
        server.peak_rss() >> 20
    );
    assert!(done > 3, "{done}");
    assert!(server.peak_rss() < MOST_RSS, "{} bytes", server.peak_rss());
}

#[actix_web::test]
async fn large_bodies_for_the_api_are_refused_for_their_size_alone() {
    let service = Service::new(Engine::Sqlite).await;
    let pos = service.pos().await;
    let announced = format!("[{}", "1,".repeat(MEBIBYTE));
    for _ in 0..40 {
        let request = pos
            .request("POST", "/api/v1/orders")
            .body(announced.clone());
        let request = request.header("Content-Type", "application/json");
        // The service may hang up while it is sent.
        if let Ok(answer) = request.header("Idempotency-Key", new_key()).send().await {
            let reply = Reply::of(answer).await.expect("a body");
            assert_eq!(
                (reply.status, reply.error_code()),
                (413, "BODY_TOO_LARGE".into())
            );
        }
    }
    pos.create("/api/v1/orders", &items(&[("COLA", 1)])).await;
}

#[actix_web::test]
async fn what_would_become_large_is_refused_before_it_does() {
    let service = Service::new(Engine::Sqlite).await;
    let pos = service.pos().await;
    let order = |more: &str| {
        format!(r#"{{"customer":{{"name":"Ana"}},"items":[{{"sku":"COLA","quantity":1}}]{more}}}"#)
    };
    let members: Vec<_> = (0..300).map(|n| format!(r#","m{n}":1"#)).collect();
    let spread = vec!["[1,2,3,4,5,6,7,8,9]"; 500].join(",");
    let spread: Vec<_> = (0..3)
        .map(|n| format!(r#","m{n}":[[{}],[{}]]"#, &spread[..3_999], &spread[..3_999]))
        .collect();
    for (what, body) in [
        ("256 values", order(&members.concat())),
        (
            "100 digits",
            order(&format!(r#","note":{}"#, "9".repeat(101))),
        ),
        (
            "nested deeper",
            order(&format!(r#","note":{}"#, "[".repeat(30_000))),
        ),
        ("4000 values", order(&spread.concat())),
    ] {
        assert!(body.len() < 64 * 1024, "{what}");
        let request = pos.request("POST", "/api/v1/orders").body(body);
        let request = request.header("Content-Type", "application/json");
        let answer = Answer::to(request.header("Idempotency-Key", new_key())).await;
        assert_eq!(answer.status, 400, "{what}: {answer:?}");
        assert_eq!(answer.error_code(), "BODY_MALFORMED", "{what}: {answer:?}");
        assert!(answer.body.contains(what), "{what}: {answer:?}");
    }
    let app = &service.app;
    let wide = format!(r#"{{"a":[{}0]}}"#, "0,".repeat(1_400_000));
    let deep = "[".repeat(3 * MEBIBYTE);
    for body in [wide, deep] {
        let reply = app.send(&Call::whatsapp(body)).await;
        assert_eq!(
            (reply.status, reply.error_code()),
            (400, "BODY_MALFORMED".into())
        );
    }
}

#[actix_web::test]
async fn where_there_is_no_room_for_a_body_it_is_put_off() {
    let app = App::with(Engine::Sqlite, |config| {
        config.max_body_bytes = 2 * MEBIBYTE;
        config.body_budget_bytes = MEBIBYTE;
    })
    .await;
    let reply = Call::whatsapp(" ".repeat(MEBIBYTE))
        .send(&app.client, &app.url)
        .await;
    // It may be told to come again before it has sent everything.
    if let Ok(reply) = reply {
        assert_eq!(
            (reply.status, reply.error_code()),
            (503, "OVERLOADED".into())
        );
        assert_eq!(reply.retry_after.as_deref(), Some("1"));
    }
    let message = json!([whatsapp_text(&new_wamid(), "1 tea")]);
    assert_eq!(
        app.send(&Call::whatsapp_messages(message)).await.status,
        200
    );
}

/// A control group that gives its processes so much memory and no more, as a container has one; gone with the value.
struct Container(PathBuf);

impl Container {
    /// `None` where this machine lets us make none.
    fn new(bytes: usize) -> Option<Self> {
        let name = format!("hookonce-{}", uuid::Uuid::new_v4().simple());
        for (folder, limit) in [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
        ] {
            let group = Path::new(folder).join(&name);
            if !Path::new(folder).join("cgroup.procs").exists() || fs::create_dir(&group).is_err() {
                continue;
            }
            let container = Self(group);
            if fs::write(container.0.join(limit), bytes.to_string()).is_ok() {
                return Some(container);
            }
        }
        None
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Left empty where the kernel has not noticed yet that its processes are gone.
        let _ = fs::remove_dir(&self.0);
    }
}

#[actix_web::test]
async fn in_a_container_of_128_mb_a_shop_is_served() {
    const MOST: usize = 128 * MEBIBYTE;
    const ORDERS: usize = 12_000;
    const CONNECTIONS: usize = 16;
    let database = Database::new(Engine::Sqlite);
    let mut program = Program::new(&database).set("RUST_LOG", "warn,hookonce::command::serve=info");
    program.open_shop().await;
    let container = Container::new(MOST);
    match &container {
        Some(Container(group)) => {
            let enter = format!("echo $$ > {}/cgroup.procs", group.display());
            program = program.after(&enter);
        }
        None => println!("no control groups: the memory is measured, not limited"),
    }
    let server = program.serve().await;
    if container.is_some() {
        // What may be taken is a part of what there is, and not of what the machine has.
        let bodies = gauge(&server.url, "hookonce_body_bytes_max").await;
        assert_eq!(bodies, MOST / 4);
    }
    let mut senders = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let url = server.url.clone();
        senders.spawn(async move {
            let client = client();
            for _ in 0..ORDERS / CONNECTIONS {
                let call = Call::twilio_text(&new_sid(), "2 cola\n1 margherita pizza");
                let reply = call.send(&client, &url).await.expect("an answer");
                assert_eq!(reply.status, 200, "{reply:?}");
            }
        });
    }
    while let Some(sender) = senders.join_next().await {
        sender.expect("a sender");
    }
    let peak = server.peak_rss();
    println!("{} MiB", peak >> 20);
    assert!(peak < MOST as u64, "{peak} bytes");
    let orders = "SELECT count(*) AS n FROM orders";
    assert_eq!(database.count(orders), ORDERS as i64);
    drop(server);
    drop(container);
}
