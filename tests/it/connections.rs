//! Strangers hold connections, in every way that costs them nothing. What is signed is answered all the same, and each of
//! their connections ends within its bound.

use futures_util::future::join_all;
use hookonce::server::descriptors;
use std::{ops::Range, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use crate::support::{
    database::{Database, Engine},
    process::{Program, Server, client},
    requests::{Call, new_sid},
    wait::until,
};

/// What a process may have open that nobody has given more.
const DESCRIPTORS: u32 = 1024;
/// What of them a stranger takes.
const ATTACKERS: usize = 995;
const MOST_MEMORY: u64 = 300_000_000;
/// What a signed request may take on a machine that is busy with other things, and with the attack.
const PROMPT: Duration = Duration::from_secs(5);
const LARGEST: &str = "/docs/swagger-ui-bundle.js";

#[actix_web::test]
async fn signed_requests_are_answered_while_strangers_send_half_of_a_second_request() {
    withstands(ATTACKERS, async |stream, _| {
        stream.write_all(get("/health/live").as_bytes()).await?;
        read_answer(stream).await?;
        stream
            .write_all(b"POST /webhooks/twilio HTTP/1.1\r\nHost: x\r\n")
            .await
    })
    .await;
}

#[actix_web::test]
async fn signed_requests_are_answered_while_strangers_drip_their_first() {
    withstands(ATTACKERS, async |stream, _| {
        for byte in
            b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX-Slow: a-long-way-to-go".repeat(20)
        {
            stream.write_all(&[byte]).await?;
            sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    })
    .await;
}

#[actix_web::test]
async fn signed_requests_are_answered_while_strangers_stall_their_bodies() {
    let paths = [
        "/webhooks/twilio",
        "/webhooks/whatsapp",
        "/api/v1/orders",
        "/nowhere",
    ];
    withstands(ATTACKERS, async move |stream, number| {
        let framing = ["Content-Length: 3000000", "Transfer-Encoding: chunked"][number / 4 % 2];
        let path = paths[number % 4];
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(b"5\r\nhello\r\n").await
    })
    .await;
}

#[actix_web::test]
async fn signed_requests_are_answered_while_strangers_do_not_read_answers() {
    withstands(ATTACKERS, async |stream, _| {
        stream.write_all(get(LARGEST).as_bytes()).await
    })
    .await;
}

#[actix_web::test]
async fn signed_requests_are_answered_while_strangers_ask_much_and_read_nothing() {
    let many = get("/health/live").repeat(1000);
    // Each costs as much as many that send nothing.
    withstands(100, async move |stream, _| {
        stream.write_all(many.as_bytes()).await
    })
    .await;
}

#[actix_web::test]
async fn signed_requests_are_answered_while_strangers_send_endless_heads() {
    let head = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nX-Large: {}",
        "a".repeat(120_000)
    );
    withstands(ATTACKERS, async move |stream, _| {
        stream.write_all(head.as_bytes()).await
    })
    .await;
}

/// Attacks with as many connections as there are descriptors, and more, for longer than each may last.
async fn withstands(
    strangers: usize,
    attack: impl AsyncFn(&mut TcpStream, usize) -> std::io::Result<()> + Clone + 'static,
) {
    descriptors::raise();
    let database = Database::new(Engine::Sqlite);
    let program = program(&database).after(&format!("ulimit -n {DESCRIPTORS}"));
    program.open_shop().await;
    let server = program.serve().await;
    let mut held = Strangers::attack(&server, 0..strangers, attack.clone()).await;
    let before = Instant::now();
    let mut round = 0;
    while before.elapsed() < Duration::from_secs(4) {
        answers_signed_requests(&server).await;
        // Whoever was thrown out comes again.
        let first = strangers * (round + 1);
        let numbers = first..first + strangers / 10;
        held.join(Strangers::attack(&server, numbers, attack.clone()).await);
        round += 1;
    }
    let peak = server.peak_rss();
    assert!(peak < MOST_MEMORY, "{peak} bytes");
    let log = server.log();
    assert!(log.contains("at most 872 connections, not 2048"), "{log}");
    assert_eq!(
        log.matches(" connections in all is reached").count(),
        usize::from(strangers == ATTACKERS),
        "{log}"
    );
    until("all strangers are gone", async || open(&server).await <= 1).await;
    answers_signed_requests(&server).await;
}

#[actix_web::test]
async fn half_of_a_request_ends_within_its_time_whichever_it_is() {
    let (server, _database) = serve(&[("REQUEST_TIMEOUT", "1s")]).await;
    let _first = Strangers::attack(&server, 0..5, async |stream, _| {
        stream
            .write_all(b"POST /webhooks/twilio HTTP/1.1\r\n")
            .await
    })
    .await;
    let mut second = Strangers::attack(&server, 0..5, async |stream, _| {
        stream.write_all(get("/health/live").as_bytes()).await?;
        read_answer(stream).await?;
        stream
            .write_all(b"POST /webhooks/twilio HTTP/1.1\r\n")
            .await
    })
    .await;
    let answer = second.streams[0].rest().await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    gone(&server, "head", 5..11).await;
}

#[actix_web::test]
async fn a_head_without_end_is_refused() {
    let (server, _database) = serve(&[]).await;
    let mut stream = connect(&server).await.expect("a connection");
    let head = format!("GET / HTTP/1.1\r\nX-Large: {}", "a".repeat(40_000));
    stream.write_all(head.as_bytes()).await.expect("sent");
    // What was sent after the bound was reached may cost the answer, not the end.
    let answer = rest(&mut stream).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431 "),
        "{answer}"
    );
    gone(&server, "large_head", 1..2).await;
    let mut stream = connect(&server).await.expect("a connection");
    let cookie = "a".repeat(20_000);
    let large = format!("GET /health/live HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n\r\n");
    stream.write_all(large.as_bytes()).await.expect("sent");
    let answer = read_answer(&mut stream).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[actix_web::test]
async fn a_connection_without_a_further_request_ends() {
    let (server, _database) = serve(&[("KEEP_ALIVE", "1s")]).await;
    let mut stream = connect(&server).await.expect("a connection");
    for _ in 0..2 {
        stream
            .write_all(get("/health/live").as_bytes())
            .await
            .expect("sent");
        let answer = read_answer(&mut stream).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        sleep(Duration::from_millis(300)).await;
    }
    let before = Instant::now();
    assert_eq!(rest(&mut stream).await, "");
    assert!(before.elapsed() < 2 * PROMPT, "{:?}", before.elapsed());
}

#[actix_web::test]
async fn an_answer_that_is_not_read_ends_and_one_that_is_read_slowly_does_not() {
    let (server, _database) = serve(&[("REQUEST_TIMEOUT", "1s")]).await;
    let _deaf = Strangers::attack(&server, 0..5, async |stream, _| {
        stream.write_all(get(LARGEST).as_bytes()).await
    })
    .await;
    let mut slow = connect(&server).await.expect("a connection");
    slow.write_all(get(LARGEST).as_bytes()).await.expect("sent");
    let (mut read, mut buffer) = (0, vec![0; 64 * 1024]);
    while read < 1_000_000 {
        let count = slow.read(&mut buffer).await.expect("some of the answer");
        assert!(count > 0, "the answer ended after {read} bytes");
        read += count;
        // Some seconds in all.
        sleep(Duration::from_millis(count as u64 / 256)).await;
    }
    gone(&server, "unread", 5..6).await;
}

#[actix_web::test]
async fn requests_that_come_at_once_are_answered_in_their_order() {
    let (server, _database) = serve(&[]).await;
    let mut stream = connect(&server).await.expect("a connection");
    let order = Call::twilio_text(&new_sid(), "2 pizza");
    let order = String::from_utf8(order.to_bytes()).expect("text");
    let order = order.replace("Connection: close\r\n", "");
    let close = get("/health/live").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let requests = [get("/nowhere"), order, get(LARGEST), close].concat();
    stream.write_all(requests.as_bytes()).await.expect("sent");
    let answers = rest(&mut stream).await;
    let places = [
        "HTTP/1.1 404 ",
        "<Response>",
        "SwaggerUIBundle",
        "{\"status\":\"ok\"}",
    ]
    .map(|answer| {
        answers
            .find(answer)
            .unwrap_or_else(|| panic!("no {answer}"))
    });
    assert!(places.is_sorted(), "{places:?}");
}

#[actix_web::test]
async fn an_address_has_its_share_and_what_it_sends_genuine_is_answered() {
    let (server, _database) =
        serve(&[("RATE_LIMIT", "on"), ("MAX_CONNECTIONS_PER_ADDRESS", "20")]).await;
    let _strangers = Strangers::attack(&server, 0..200, async |stream, _| {
        stream.write_all(b"GET /").await
    })
    .await;
    until("the others are closed", async || open(&server).await <= 20).await;
    answers_signed_requests(&server).await;
    let log = server.log();
    assert!(
        log.contains("the bound of 20 connections of one address, as 127.0.0.1, is reached"),
        "{log}"
    );
}

#[actix_web::test]
async fn a_trusted_proxy_may_have_more_connections_than_an_address() {
    let (server, _database) = serve(&[
        ("RATE_LIMIT", "on"),
        ("MAX_CONNECTIONS_PER_ADDRESS", "20"),
        ("TRUSTED_PROXIES", "127.0.0.1"),
    ])
    .await;
    let _proxied = Strangers::attack(&server, 0..200, async |stream, _| {
        stream.write_all(b"GET /").await
    })
    .await;
    until("all are open", async || open(&server).await > 200).await;
    answers_signed_requests(&server).await;
}

#[actix_web::test]
async fn whoever_finds_no_room_is_told_to_come_again() {
    let (server, _database) = serve(&[("MAX_CONNECTIONS", "2"), ("REQUEST_TIMEOUT", "30s")]).await;
    let call = Call::twilio_text(&new_sid(), "2 pizza");
    let request = String::from_utf8(call.to_bytes()).expect("text");
    let request = request.replace("Connection: close\r\n", "");
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = connect(&server).await.expect("a connection");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let answer = read_answer(&mut stream).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        // Genuine, and at work again.
        let again = request.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
        let half = &again[..again.len() - 5];
        stream.write_all(half.as_bytes()).await.expect("sent");
        let mut ready = [0; 25];
        stream.read_exact(&mut ready).await.expect("its word");
        assert!(ready.starts_with(b"HTTP/1.1 100 "));
        held.push(stream);
    }
    let mut newcomer = connect(&server).await.expect("a connection");
    let answer = rest(&mut newcomer).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
    drop(held);
    until("there is room", async || {
        let client = client().get(format!("{}/health/live", server.url));
        client.send().await.is_ok_and(|reply| reply.status() == 200)
    })
    .await;
}

#[actix_web::test]
async fn strangers_do_not_hold_up_a_stop() {
    let bound = Duration::from_secs(4);
    let (mut server, _database) = serve(&[("REQUEST_TIMEOUT", "4s")]).await;
    let heads = [
        "GET /",
        "POST /webhooks/twilio HTTP/1.1\r\nContent-Length: 9\r\n\r\n",
    ];
    let _strangers = Strangers::attack(&server, 0..300, async move |stream, number| {
        let deaf = get(LARGEST);
        let request = heads.get(number % 3).copied().unwrap_or(&deaf);
        stream.write_all(request.as_bytes()).await
    })
    .await;
    server.signal("TERM");
    let status = server.exit(bound + PROMPT).await;
    assert!(status.success(), "{status}:\n{}", server.log());
}

fn program(database: &Database) -> Program {
    Program::new(database).set("REQUEST_TIMEOUT", "2s")
}

async fn serve(variables: &[(&str, &str)]) -> (Server, Database) {
    let database = Database::new(Engine::Sqlite);
    let program = variables
        .iter()
        .fold(program(&database), |program, (name, value)| {
            program.set(name, value)
        });
    program.open_shop().await;
    (program.serve().await, database)
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// Connections that do what strangers do, each by itself.
struct Strangers {
    streams: Vec<Stranger>,
}

/// Does what it does until it is through, then holds its connection.
struct Stranger(Option<JoinHandle<TcpStream>>);

impl Strangers {
    /// Begins, and waits until most are at it.
    async fn attack(
        server: &Server,
        numbers: Range<usize>,
        attack: impl AsyncFn(&mut TcpStream, usize) -> std::io::Result<()> + Clone + 'static,
    ) -> Self {
        let streams = join_all(numbers.map(async |number| {
            let mut stream = connect(server).await.ok()?;
            let attack = attack.clone();
            Some(Stranger(Some(actix_web::rt::spawn(async move {
                // Errors where it was thrown out.
                let _ = attack(&mut stream, number).await;
                stream
            }))))
        }))
        .await;
        // None where it was thrown out before it was in.
        let streams = streams.into_iter().flatten().collect();
        Self { streams }
    }

    fn join(&mut self, others: Self) {
        self.streams.extend(others.streams);
    }
}

impl Stranger {
    /// What comes until its connection is closed.
    async fn rest(&mut self) -> String {
        let attacking = self.0.take().expect("a stranger");
        rest(&mut attacking.await.expect("a stranger")).await
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        if let Some(attacking) = &self.0 {
            attacking.abort();
        }
    }
}

/// Takes little of what is not read, so that the server has the rest.
async fn connect(server: &Server) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let address = server.address().parse().expect("an address");
    let connected = timeout(6 * PROMPT, socket.connect(address)).await;
    connected.expect("in time")
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = timeout(6 * PROMPT, stream.read_to_end(&mut bytes)).await;
    // Errors where the connection was reset.
    let _ = read.expect("its end in time");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One answer that ends in a body without a line break.
async fn read_answer(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).await?;
        text.extend_from_slice(&buffer[..count]);
        let answer = String::from_utf8_lossy(&text);
        if count == 0 || answer.contains("\"ok\"}") || answer.contains("</Response>") {
            return Ok(answer.into_owned());
        }
    }
}

/// Each over a connection of its own, as providers do.
async fn answers_signed_requests(server: &Server) {
    for _ in 0..5 {
        let request = Call::twilio_text(&new_sid(), "2 pizza").to_bytes();
        let answered = timeout(PROMPT, async {
            let mut stream = connect(server).await.expect("a connection");
            stream.write_all(&request).await.expect("sent");
            rest(&mut stream).await
        })
        .await;
        let answer = answered.expect("an answer in time");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

/// How many connections are open, with the one that asks.
async fn open(server: &Server) -> u64 {
    metric(server, "hookonce_connections ").await
}

/// Waits until so many connections were ended for the reason, and no more are open than the one that asks.
async fn gone(server: &Server, reason: &str, count: Range<u64>) {
    let name = format!("hookonce_connections_ended_total{{reason=\"{reason}\"}} ");
    until(&name, async || count.contains(&metric(server, &name).await)).await;
    until("all are gone", async || open(server).await <= 1).await;
}

async fn metric(server: &Server, name: &str) -> u64 {
    let shown = client().get(format!("{}/metrics", server.url)).send().await;
    let shown = shown.expect("the metrics").text().await.expect("text");
    let line = shown.lines().find_map(|line| line.strip_prefix(name));
    let value = line.unwrap_or_else(|| panic!("no {name}in\n{shown}"));
    value.parse().expect("a number")
}
