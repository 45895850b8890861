//! What the benchmarks share: signed requests, many connections, and the real program.

use hookonce::{
    provider::twilio::{form::Form, signature},
    secret::Secret,
};
use std::{
    fs::File,
    path::Path,
    process::{Child, Command},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

pub const CONNECTIONS: usize = 64;
const TOKEN: &str = "bench-token";
const PUBLIC_URL: &str = "https://hooks.example.com";

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
    mut request: impl FnMut() -> Vec<u8>,
) -> f64 {
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
    for sender in senders {
        sender.await.expect("every answer is as expected");
    }
    (each * CONNECTIONS) as f64 / begun.elapsed().as_secs_f64()
}

async fn send(mut stream: TcpStream, requests: Vec<Vec<u8>>, status: &str) {
    let mut answer = vec![0; 16 * 1024];
    for request in requests {
        stream.write_all(&request).await.expect("sent");
        let mut length = 0;
        while !is_whole(&answer[..length]) {
            let read = stream.read(&mut answer[length..]).await.expect("answered");
            assert!(read > 0, "the server hung up");
            length += read;
        }
        let line = String::from_utf8_lossy(&answer[..length.min(64)]);
        assert_eq!(line.split(' ').nth(1), Some(status), "{line}");
    }
}

fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
        .unwrap_or(0);
    answer.len() >= end + 4 + length
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
    _folder: tempfile::TempDir,
}

impl Server {
    /// On a SQLite file of its own unless a variable says otherwise.
    pub fn start(variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        open_shop(folder.path(), variables);
        // Logs as it does out of the box, into a file as under a service manager.
        let log = folder.path().join("log");
        let process = program(folder.path(), variables)
            .stderr(File::create(&log).expect("a log"))
            .spawn()
            .expect("the server starts");
        let address = loop {
            std::thread::sleep(Duration::from_millis(20));
            let text = std::fs::read_to_string(&log).expect("the log");
            if let Some((_, rest)) = text.split_once("listening on http://") {
                break rest.lines().next().unwrap_or_default().to_owned();
            }
        };
        Self {
            process,
            address,
            _folder: folder,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn program(folder: &Path, variables: &[(&str, &str)]) -> Command {
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

fn open_shop(folder: &Path, variables: &[(&str, &str)]) {
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
        // A server before this one has opened it.
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
