//! Whoever reads what the program writes may stop reading, or go away: it neither waits for them nor breaks.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Stdio},
    time::Duration,
};

use crate::support::{
    database::{Database, Engine},
    process::{self, CATALOGUE, Program, ended},
    requests::{Call, SHOP_PHONE, new_sid},
    wait::PATIENCE,
};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures");

/// `REQUEST_TIMEOUT` of these tests: what a stop may take.
const TIMEOUT: Duration = Duration::from_secs(4);

/// A service whose log nobody reads any more.
struct Unread {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
    url: String,
    client: reqwest::Client,
}

impl Unread {
    fn new(program: &Program) -> Self {
        let seconds = format!("{}s", TIMEOUT.as_secs());
        let mut command = program.command(&["serve"]);
        let command = command.env("REQUEST_TIMEOUT", seconds);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("a service");
        let mut log = BufReader::new(child.stderr.take().expect("its log"));
        let url = loop {
            let mut line = String::new();
            let length = log.read_line(&mut line).expect("a line");
            assert_ne!(length, 0, "it ended");
            if let Some((_, address)) = line.split_once("listening on ") {
                break address.trim().to_owned();
            }
        };
        let client = process::client();
        Self {
            child,
            log,
            url,
            client,
        }
    }

    async fn order(&self) {
        let call = Call::twilio_text(&new_sid(), "1 cola");
        let answered = tokio::time::timeout(TIMEOUT, call.send(&self.client, &self.url)).await;
        let reply = answered.expect("in time").expect("an answer");
        assert_eq!(reply.status, 200, "{reply:?}");
    }

    async fn metric(&self, name: &str) -> u64 {
        let asked = self.client.get(format!("{}/metrics", self.url)).send();
        let metrics = asked.await.expect("an answer").text().await.expect("text");
        let mut lines = metrics.lines();
        let value = lines.find_map(|line| line.strip_prefix(name));
        value.expect("the metric").trim().parse().expect("a number")
    }

    async fn stop(&mut self) {
        let pid = self.child.id().to_string();
        let told = std::process::Command::new("kill")
            .args(["-TERM", &pid])
            .status();
        assert!(told.expect("kill").success());
        let status = ended(&mut self.child, TIMEOUT + Duration::from_secs(1)).await;
        assert!(status.success(), "{status}");
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        // Errors where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[actix_web::test]
async fn a_log_that_nobody_reads_holds_up_neither_requests_nor_the_stop() {
    let database = Database::new(Engine::Sqlite);
    let program = Program::new(&database).set("RUST_LOG", "trace");
    program.open_shop().await;
    let mut service = Unread::new(&program);
    // A pipe holds 64 KiB, and the level makes many lines of each request.
    for _ in 0..200 {
        service.order().await;
    }
    service.stop().await;
}

#[actix_web::test]
async fn lines_that_found_no_room_are_counted_and_told_of_once_when_somebody_reads_again() {
    const DROPPED: &str = "hookonce_log_lines_dropped_total{reason=\"unwritten\"}";
    let database = Database::new(Engine::Sqlite);
    let program = Program::new(&database).set("RUST_LOG", "trace");
    program.open_shop().await;
    let mut service = Unread::new(&program);
    let mut sent = 0;
    while service.metric(DROPPED).await == 0 {
        for _ in 0..100 {
            service.order().await;
        }
        sent += 100;
        assert!(sent < 20_000, "nothing was ever dropped");
    }
    let mut told = 0;
    let mut line = Vec::new();
    // What was kept comes first, then how much is missing.
    while told == 0 {
        line.clear();
        let length = service.log.read_until(b'\n', &mut line).expect("a line");
        assert_ne!(length, 0, "it ended");
        let line = String::from_utf8_lossy(&line);
        if let Some((_, count)) = line.split_once(" lines of the log were dropped here dropped=") {
            told = count.trim().parse().expect("a number");
        }
    }
    let counted = service.metric(DROPPED).await;
    assert_eq!(told, counted, "all that were dropped are told of");
    let mut log = service.child.stderr.take();
    assert!(log.is_none(), "it is read already");
    let pid = service.child.id().to_string();
    let told = std::process::Command::new("kill")
        .args(["-TERM", &pid])
        .status();
    assert!(told.expect("kill").success());
    let mut rest = String::new();
    service.log.read_to_string(&mut rest).expect("the rest");
    assert!(rest.contains("stopped"), "the end is told of");
    assert!(
        !rest.contains("were dropped here"),
        "and nothing was dropped since"
    );
    log.take();
    ended(&mut service.child, TIMEOUT).await;
}

#[actix_web::test]
async fn a_log_that_cannot_be_written_holds_up_nothing() {
    let database = Database::new(Engine::Sqlite);
    let program = Program::new(&database);
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("its address").to_string();
    drop(free);
    let full = fs::File::options()
        .write(true)
        .open("/dev/full")
        .expect("a full disk");
    let mut command = program.command(&["serve"]);
    let mut child = command
        .env("BIND", &address)
        .stderr(full)
        .spawn()
        .expect("a service");
    let client = process::client();
    let live = format!("http://{address}/health/live");
    crate::support::wait::until("it answers", async || {
        client.get(&live).send().await.is_ok()
    })
    .await;
    let metrics = client.get(format!("http://{address}/metrics")).send().await;
    let metrics = metrics.expect("an answer").text().await.expect("text");
    let lost = "hookonce_log_lines_dropped_total{reason=\"unwritten\"} ";
    let lost = metrics.lines().find_map(|line| line.strip_prefix(lost));
    assert_ne!(lost, Some("0"), "{metrics}");
    let pid = child.id().to_string();
    let told = std::process::Command::new("kill")
        .args(["-TERM", &pid])
        .status();
    assert!(told.expect("kill").success());
    assert!(ended(&mut child, PATIENCE).await.success());
}

#[actix_web::test]
async fn what_fails_again_and_again_is_said_a_few_times_and_counted() {
    const TIMES: usize = 120;
    let database = Database::new(Engine::Sqlite);
    let program = Program::new(&database).set("LOG_FORMAT", "json");
    let mut server = program.serve().await;
    let client = process::client();
    let forged = Call::twilio_text(&new_sid(), "hi").instead("X-Twilio-Signature", "AAAA");
    for at in 0..TIMES {
        let reply = forged.send(&client, &server.url).await.expect("an answer");
        assert_eq!(reply.status, 401);
        // A stranger chooses paths, and even methods.
        let path = format!("{}/nowhere/{at}", server.url);
        let method = reqwest::Method::from_bytes(format!("M{at}").as_bytes()).expect("a method");
        let answered = client.request(method, path).send().await;
        assert_eq!(answered.expect("an answer").status(), 404);
    }
    let metrics = client.get(format!("{}/metrics", server.url)).send().await;
    let metrics = metrics.expect("an answer").text().await.expect("text");
    server.signal("TERM");
    server.logged("stopped").await;
    assert!(server.exit(PATIENCE).await.success());
    let log = server.log();
    let of = |words: &str| {
        let lines = log.lines().filter(|line| line.contains(words));
        let lines: Vec<serde_json::Value> = lines
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        let held = lines.iter().filter_map(|line| line["repeated"].as_u64());
        let held: u64 = held.sum();
        let said = lines
            .iter()
            .filter(|line| line["repeated"].is_null())
            .count();
        (said, held as usize)
    };
    let mut all_held = 0;
    for words in [" signature refused: ", " 401 refused", " 404 refused"] {
        let (said, held) = of(words);
        assert_eq!(said + held, TIMES, "{words}: each is said or counted");
        // The minute may have turned in between.
        assert!((20..=40).contains(&said), "{words}: {said} are said");
        all_held += held;
    }
    let counted = format!("hookonce_log_lines_dropped_total{{reason=\"repeated\"}} {all_held}");
    assert!(metrics.contains(&counted), "{counted}: {metrics}");
}

#[actix_web::test]
async fn whoever_reads_no_further_ends_no_command_badly() {
    let database = Database::new(Engine::Sqlite);
    let program = Program::new(&database);
    let shop = program.open_shop().await;
    program
        .must(&["token", "create", "--name", "n", "--scope", "admin"])
        .await;
    let saved = Call::twilio_text(&new_sid(), "hi").instead("X-Twilio-Signature", "AAAA");
    fs::write(program.folder.path().join("saved"), saved.to_bytes()).expect("a file");
    let number = SHOP_PHONE.replace("886", "887");
    for (args, code) in [
        (&["stats"][..], 0),
        (&["stats", "--json"], 0),
        (&["openapi"], 0),
        (&["retailer", "list"], 0),
        (
            &[
                "retailer",
                "add",
                "--name",
                "n",
                "--phone",
                &number,
                "--currency",
                "USD",
            ],
            0,
        ),
        (&["token", "list"], 0),
        (&["catalog", "import", CATALOGUE, "--retailer", &shop], 0),
        (&["migrate"], 0),
        (&["cleanup"], 0),
        (&["demo"], 0),
        // Without end, were it not for the reader.
        (
            &["replay", FIXTURES, "--dry-run", "--times", "4000000000"],
            0,
        ),
        (&["--help"], 0),
        // What it found out is in its exit code.
        (&["explain", "saved"], 1),
        // A token is shown this once.
        (&["token", "create", "--name", "n", "--scope", "admin"], 1),
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = program.command(args);
        let command = command.stdout(writer).stderr(Stdio::piped());
        let mut child = command.spawn().expect("a command");
        // Ours would keep the pipe open.
        *command = program.command(args);
        let status = ended(&mut child, PATIENCE).await;
        let mut errors = String::new();
        let mut stderr = child.stderr.take().expect("its errors");
        stderr.read_to_string(&mut errors).expect("text");
        assert_eq!(status.code(), Some(code), "{args:?}: {errors}");
        assert!(
            !errors.contains("panicked") && !errors.contains("pipe"),
            "{args:?}: {errors}"
        );
    }
}

#[actix_web::test]
async fn results_that_cannot_be_written_are_a_failure() {
    let program = Program::bare();
    let full = fs::File::options()
        .write(true)
        .open("/dev/full")
        .expect("a full disk");
    let mut command = program.command(&["openapi"]);
    let output = command.stdout(full).stderr(Stdio::piped()).output();
    let output = output.expect("a command");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("cannot be written"), "{errors}");
}
