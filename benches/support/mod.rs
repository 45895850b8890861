//! What the benchmarks share: signed requests, many connections, and the real program.
#![allow(dead_code)] // Each benchmark takes a part of it.

pub mod postgres;

use hookonce::{
    provider::{form::Form, twilio::signature},
    secret::Secret,
};
use std::{
    fs::File,
    path::Path,
    process::{Child, Command},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep_until},
};

pub const CONNECTIONS: usize = 64;
pub const TOKEN: &str = "bench-token";
pub const PUBLIC_URL: &str = "https://hooks.example.com";

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Sends requests over all connections and gives the answers a second. Every answer must have the expected status.
pub async fn rate(
    address: &str,
    status: &'static str,
    count: usize,
    request: impl FnMut() -> Vec<u8>,
) -> f64 {
    load(address, status, count, request).await.0
}

/// The same, with how long each answer took, sorted.
pub async fn load(
    address: &str,
    status: &'static str,
    count: usize,
    mut request: impl FnMut() -> Vec<u8>,
) -> (f64, Vec<Duration>) {
    let each = count / CONNECTIONS;
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let requests: Vec<_> = (0..each).map(|_| request()).collect();
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("nodelay");
        connections.push((stream, requests));
    }
    let begun = Instant::now();
    let senders: Vec<_> = connections
        .into_iter()
        .map(|(stream, requests)| tokio::spawn(send(stream, requests, status)))
        .collect();
    let mut waits = Vec::with_capacity(each * CONNECTIONS);
    for sender in senders {
        waits.extend(sender.await.expect("every answer is as expected"));
    }
    let rate = waits.len() as f64 / begun.elapsed().as_secs_f64();
    waits.sort_unstable();
    (rate, waits)
}

async fn send(mut stream: TcpStream, requests: Vec<Vec<u8>>, status: &str) -> Vec<Duration> {
    let mut waits = Vec::with_capacity(requests.len());
    for request in requests {
        let begun = Instant::now();
        let answer = exchange(&mut stream, &request).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{answer}");
        waits.push(begun.elapsed());
    }
    waits
}

/// Sends requests at a steady pace while `work` goes on: so many a second over so many connections. Gives its outcome, and
/// what each request waited for its answer from the moment at which it was due, sorted. Every answer must be 200.
pub async fn waits<T>(
    address: &str,
    (a_second, connections): (u32, u32),
    request: impl FnMut() -> Vec<u8> + Clone + Send + 'static,
    work: impl Future<Output = T>,
) -> (T, Vec<Duration>) {
    let (end, ended) = watch::channel(());
    let begun = Instant::now();
    let every = Duration::from_secs(1) * connections / a_second;
    let mut senders = Vec::new();
    for connection in 0..connections {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("nodelay");
        let first = begun + every * connection / connections;
        let (request, ended) = (request.clone(), ended.clone());
        senders.push(tokio::spawn(pace(stream, request, first, every, ended)));
    }
    let outcome = work.await;
    drop(end);
    let mut waits = Vec::new();
    for sender in senders {
        waits.extend(sender.await.expect("every answer is 200"));
    }
    waits.sort_unstable();
    (outcome, waits)
}

async fn pace(
    mut stream: TcpStream,
    mut request: impl FnMut() -> Vec<u8>,
    first: Instant,
    every: Duration,
    end: watch::Receiver<()>,
) -> Vec<Duration> {
    let mut waits = Vec::new();
    let mut due = first;
    while end.has_changed().is_ok() {
        sleep_until(due).await;
        let answer = exchange(&mut stream, &request()).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        waits.push(due.elapsed());
        due += every;
    }
    waits
}

/// What a share of all did not exceed.
pub fn at(sorted: &[Duration], share: f64) -> Duration {
    let last = sorted.len() - 1;
    sorted[(last as f64 * share).round() as usize]
}

/// Sends a request and gives its whole answer.
pub async fn exchange(stream: &mut TcpStream, request: &[u8]) -> String {
    stream.write_all(request).await.expect("sent");
    let (mut answer, mut buffer) = (Vec::new(), [0; 16 * 1024]);
    loop {
        let read = stream.read(&mut buffer).await.expect("answered");
        assert!(read > 0, "the server hung up");
        answer.extend_from_slice(&buffer[..read]);
        if let Some(answer) = whole(&answer) {
            return answer;
        }
    }
}

fn whole(answer: &[u8]) -> Option<String> {
    let answer = String::from_utf8_lossy(answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let head = head.to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
        .unwrap_or(0);
    (body.len() >= length).then(|| answer.clone().into_owned())
}

/// A Twilio message that orders two products, with an id of its own.
pub fn request(genuine: bool) -> Vec<u8> {
    let id = uuid::Uuid::new_v4().simple();
    let body = format!(
        "SmsMessageSid=SM{id}&NumMedia=0&ProfileName=Ana&MessageType=text&SmsSid=SM{id}&WaId=14155550100\
         &SmsStatus=received&Body=2+pizzas+and+1+cola&To=whatsapp%3A%2B14155238886&NumSegments=1\
         &ReferralNumMedia=0&MessageSid=SM{id}&AccountSid=AC{id}&From=whatsapp%3A%2B14155550100&ApiVersion=2010-04-01"
    );
    let token = Secret::new(if genuine { TOKEN } else { "another" });
    let form = Form::parse(body.as_bytes()).expect("a form");
    let signature = signature::sign_form(&token, &format!("{PUBLIC_URL}/webhooks/twilio"), &form);
    format!(
        "POST /webhooks/twilio HTTP/1.1\r\nHost: hooks.example.com\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         X-Twilio-Signature: {signature}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The real program.
pub struct Server {
    process: Child,
    pub address: String,
    /// From the start of the process until it took connections.
    pub started_in: Duration,
    folder: tempfile::TempDir,
}

impl Server {
    /// On a SQLite file of its own unless a variable says otherwise.
    pub fn start(variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        open_shop(folder.path(), variables);
        Self::start_in(folder, variables)
    }

    /// The same, in a folder whose shop is open.
    pub fn start_in(folder: tempfile::TempDir, variables: &[(&str, &str)]) -> Self {
        // Logs as it does out of the box, into a file as under a service manager.
        let log = folder.path().join("log");
        let begun = Instant::now();
        let process = program(folder.path(), variables)
            .stderr(File::create(&log).expect("a log"))
            .spawn()
            .expect("the server starts");
        let address = loop {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "it does not start"
            );
            std::thread::sleep(Duration::from_millis(2));
            let text = std::fs::read_to_string(&log).expect("the log");
            if let Some((_, rest)) = text.split_once("listening on http://") {
                break rest.lines().next().unwrap_or_default().to_owned();
            }
        };
        Self {
            process,
            address,
            started_in: begun.elapsed(),
            folder,
        }
    }

    /// What the process takes of the memory, in MB; Linux tells it.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
        kilobytes.unwrap_or_default() / 1024
    }

    /// Ends it as a service manager does, and gives its folder back.
    pub fn stop(self) -> tempfile::TempDir {
        let _ = Command::new("kill")
            .arg(self.process.id().to_string())
            .status();
        self.end()
    }

    /// Ends it as a lost machine does, and gives its folder back.
    pub fn kill(mut self) -> tempfile::TempDir {
        let _ = self.process.kill();
        self.end()
    }

    fn end(mut self) -> tempfile::TempDir {
        let _ = self.process.wait();
        let empty = tempfile::tempdir().expect("a folder");
        std::mem::replace(&mut self.folder, empty)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The program in a folder.
pub fn program(folder: &Path, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hookonce"));
    command
        .current_dir(folder)
        .env("BIND", "127.0.0.1:0")
        .env("DATABASE_URL", "sqlite://bench.db")
        .env("PUBLIC_BASE_URL", PUBLIC_URL)
        .env("RATE_LIMIT", "off")
        .env("TWILIO_AUTH_TOKEN", TOKEN)
        .envs(variables.iter().copied());
    command
}

/// Adds the retailer that the requests are written to, unless a server before this one has.
pub fn open_shop(folder: &Path, variables: &[(&str, &str)]) {
    let catalogue = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/catalogue.csv");
    let added = program(folder, variables)
        .args([
            "retailer",
            "add",
            "--name",
            "Bench",
            "--phone",
            "+14155238886",
            "--currency",
            "USD",
        ])
        .output()
        .expect("a retailer");
    if !added.status.success() {
        return;
    }
    let retailer: serde_json::Value = serde_json::from_slice(&added.stdout).expect("its JSON");
    let imported = program(folder, variables)
        .args(["catalog", "import", catalogue, "--retailer"])
        .arg(retailer["id"].as_str().expect("its id"))
        .output()
        .expect("a catalogue");
    assert!(imported.status.success());
}

pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
