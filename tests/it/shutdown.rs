//! Told to stop, the process takes nothing new, finishes what it holds, and exits with 0 in time.

use futures_util::future::join_all;
use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};
use tokio::time::{Instant, sleep};

use crate::support::{
    database::{Database, Engine, on_both},
    process::{self, Program, Server},
    requests::{Call, new_sid},
};

/// `REQUEST_TIMEOUT` of these tests: what a stop may take.
const TIMEOUT: Duration = Duration::from_secs(4);
/// For the test's own waiting on a machine that is busy with other things.
const SLACK: Duration = Duration::from_secs(1);

on_both! {
    on_sigterm_the_request_under_way_is_finished_and_nothing_new_is_taken
    on_sigint_the_request_under_way_is_finished_and_nothing_new_is_taken
    everything_that_was_accepted_is_answered_and_everything_answered_is_kept
}

async fn on_sigterm_the_request_under_way_is_finished_and_nothing_new_is_taken(engine: Engine) {
    finishes_on("TERM", engine).await;
}

async fn on_sigint_the_request_under_way_is_finished_and_nothing_new_is_taken(engine: Engine) {
    finishes_on("INT", engine).await;
}

async fn finishes_on(signal: &str, engine: Engine) {
    let database = Database::new(engine);
    let mut server = serve(&database).await;
    let held = HeldRequest::begin(&server, &order());
    stop(&mut server, signal).await;
    refuses_connections(&server).await;
    assert_eq!(orders(&database), 0, "half a request is none");
    let answer = held.finish();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("Order "), "{answer}");
    exits_well(&mut server).await;
    assert_eq!(orders(&database), 1);
}

async fn everything_that_was_accepted_is_answered_and_everything_answered_is_kept(engine: Engine) {
    const HELD: usize = 24;
    let database = Database::new(engine);
    let mut server = serve(&database).await;
    let held: Vec<_> = (0..HELD)
        .map(|_| HeldRequest::begin(&server, &order()))
        .collect();
    stop(&mut server, "TERM").await;
    for request in held {
        let answer = request.finish();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    exits_well(&mut server).await;
    assert_eq!(orders(&database), HELD as i64);
}

#[actix_web::test]
async fn a_stop_under_load_keeps_what_was_answered() {
    let database = Database::new(Engine::Sqlite);
    let mut server = serve(&database).await;
    let (client, url) = (process::client(), server.url.clone());
    let senders = (0..8).map(async |_| {
        let mut answered = 0;
        // Ends with the first request that the stopped service does not take.
        while let Ok(reply) = order().send(&client, &url).await {
            assert_eq!(reply.status, 200, "{reply:?}");
            answered += 1;
        }
        answered
    });
    let stopping = async {
        while orders(&database) < 20 {
            sleep(Duration::from_millis(5)).await;
        }
        stop(&mut server, "TERM").await;
        exits_well(&mut server).await;
    };
    let (answered, ()) = tokio::join!(join_all(senders), stopping);
    let answered: i64 = answered.iter().sum();
    assert!(orders(&database) >= answered, "{answered} were answered");
}

#[actix_web::test]
async fn a_connection_that_is_kept_open_does_not_hold_up_a_stop() {
    let database = Database::new(Engine::Sqlite);
    let mut server = serve(&database).await;
    let mut idle = connect(&server);
    idle.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .expect("a request");
    assert!(read_until(&mut idle, "\"ok\"}").starts_with("HTTP/1.1 200 OK\r\n"));
    stop(&mut server, "TERM").await;
    exits_well(&mut server).await;
}

#[actix_web::test]
async fn a_request_that_never_ends_does_not_hold_up_a_stop() {
    let database = Database::new(Engine::Sqlite);
    let mut server = serve(&database).await;
    let held = HeldRequest::begin(&server, &order());
    stop(&mut server, "TERM").await;
    exits_well(&mut server).await;
    drop(held);
    assert_eq!(orders(&database), 0);
}

async fn serve(database: &Database) -> Server {
    let seconds = format!("{}s", TIMEOUT.as_secs());
    let program = Program::new(database).set("REQUEST_TIMEOUT", &seconds);
    program.open_shop().await;
    program.serve().await
}

fn order() -> Call {
    Call::twilio_text(&new_sid(), "2 pizza and 1 cola")
}

fn orders(database: &Database) -> i64 {
    database.count("SELECT count(*) AS n FROM orders")
}

/// Sends the signal and waits until the process knows.
async fn stop(server: &mut Server, signal: &str) {
    server.signal(signal);
    server.logged(&format!("SIG{signal}: finishing")).await;
}

async fn exits_well(server: &mut Server) {
    let status = server.exit(TIMEOUT + SLACK).await;
    assert!(status.success(), "{status}:\n{}", server.log());
    assert!(server.log().contains("stopped"), "{}", server.log());
}

async fn refuses_connections(server: &Server) {
    let begun = Instant::now();
    while TcpStream::connect(server.address()).is_ok() {
        assert!(
            begun.elapsed() < TIMEOUT / 2,
            "it still accepts connections"
        );
        sleep(Duration::from_millis(5)).await;
    }
}

/// A request whose headers the server has read, and half of whose body.
struct HeldRequest {
    stream: TcpStream,
    rest: Vec<u8>,
}

impl HeldRequest {
    fn begin(server: &Server, call: &Call) -> Self {
        let mut stream = connect(server);
        let (first, rest) = call.body.split_at(call.body.len() / 2);
        let mut head = format!("POST {} HTTP/1.1\r\nHost: localhost\r\n", call.path);
        for (name, value) in &call.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let length = call.body.len();
        // With the server's word that it is ready for the body, the request is surely in its hands.
        head.push_str(&format!(
            "Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
        ));
        stream.write_all(head.as_bytes()).expect("the headers");
        let ready = read_until(&mut stream, "\r\n\r\n");
        assert!(ready.starts_with("HTTP/1.1 100"), "{ready}");
        stream.write_all(first).expect("half of the body");
        Self {
            stream,
            rest: rest.to_vec(),
        }
    }

    /// Sends the rest and gives the whole answer.
    fn finish(mut self) -> String {
        self.stream
            .write_all(&self.rest)
            .expect("the rest of the body");
        read_until(&mut self.stream, "</Response>")
    }
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).expect("a connection");
    stream
        .set_read_timeout(Some(TIMEOUT))
        .expect("a bound for each read");
    stream
}

/// Reads up to where the text ends with `end`, or the connection does.
fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 1024];
    while !text.ends_with(end.as_bytes()) {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => text.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&text)),
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}
