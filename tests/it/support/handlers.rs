//! Programs that use the middleware around handlers of their own: in this process, and the example as one of its own.

use actix_web::{
    App, Error, HttpRequest, HttpResponse, HttpServer,
    dev::{Server, ServerHandle, Service as _},
    http::Method,
    rt,
    web::{self, Bytes, Data},
};
use hookonce::{
    idempotency::IdempotencyKey,
    store::{Store, StoreOptions},
    web::Idempotency,
};
use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    sync::Semaphore,
    time::{Instant, sleep},
};

use super::{
    database::Database,
    process::{Program, Server as Process, client},
    requests::{Call, Reply, processing, refused},
    wait::{PATIENCE, until},
};

/// Longer than any test: what such a lease would free is stuck.
pub const LONG: Duration = Duration::from_secs(3600);

/// What the handlers of a test do.
pub struct Work {
    runs: AtomicUsize,
    /// Each run takes a permit and keeps it; closed where there is none.
    gate: Semaphore,
    /// The key that each run was given.
    keys: Mutex<Vec<String>>,
    /// Connections whose request was given up before it was answered.
    gone: AtomicUsize,
    answer: Box<Answer>,
}

/// By the number of the run and the body.
type Answer = dyn Fn(usize, Bytes) -> Result<HttpResponse, Error> + Send + Sync;

impl Work {
    pub fn new<F>(answer: F) -> Arc<Self>
    where
        F: Fn(usize, Bytes) -> Result<HttpResponse, Error> + Send + Sync + 'static,
    {
        Arc::new(Self {
            runs: AtomicUsize::new(0),
            gate: Semaphore::new(1_000),
            keys: Mutex::default(),
            gone: AtomicUsize::new(0),
            answer: Box::new(answer),
        })
    }

    /// Answers 201 with the number of the run.
    pub fn counting() -> Arc<Self> {
        Self::new(|run, _| Ok(HttpResponse::Created().json(run)))
    }

    /// The same, but no run ends before [`Work::open`].
    pub fn behind_a_gate() -> Arc<Self> {
        let work = Self::counting();
        work.close();
        work
    }

    /// From now on no run ends before [`Work::open`].
    pub fn close(&self) {
        self.gate.forget_permits(1_000);
    }

    pub fn open(&self) {
        self.gate.add_permits(1_000);
    }

    pub fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }

    /// The key that each run was given, as it came.
    pub fn keys(&self) -> Vec<String> {
        self.keys.lock().expect("keys").clone()
    }

    pub async fn has_run(&self, times: usize) {
        until("the handler runs", async || self.runs() >= times).await;
        assert_eq!(self.runs(), times);
    }
}

pub async fn handler(
    request: HttpRequest,
    work: Data<Work>,
    body: Bytes,
) -> Result<HttpResponse, Error> {
    if let Some(key) = request.headers().get("X-Idempotency-Key") {
        let key = key.to_str().expect("a key").to_owned();
        work.keys.lock().expect("keys").push(key);
    }
    let run = work.runs.fetch_add(1, Ordering::SeqCst) + 1;
    let permit = work.gate.acquire().await.expect("a gate");
    permit.forget();
    (work.answer)(run, body)
}

async fn key(key: web::ReqData<IdempotencyKey>) -> String {
    key.to_string()
}

/// A program that uses the library, in this process.
pub struct Host {
    pub url: String,
    client: reqwest::Client,
    pub store: Store,
    pub handle: ServerHandle,
}

impl Host {
    /// `work` at every path, behind the middleware as `change` leaves it.
    pub async fn new<F>(database: &Database, work: &Arc<Work>, change: F) -> Self
    where
        F: FnOnce(Idempotency) -> Idempotency,
    {
        let options = StoreOptions {
            connections: 6,
            ..StoreOptions::default()
        };
        Self::with(database, &options, work, change).await
    }

    pub async fn with<F>(
        database: &Database,
        options: &StoreOptions,
        work: &Arc<Work>,
        change: F,
    ) -> Self
    where
        F: FnOnce(Idempotency) -> Idempotency,
    {
        let store = Store::open(&database.parsed(), options).await.unwrap();
        let idempotency = change(Idempotency::new(store.clone()).lease(LONG));
        let work = work.clone();
        let server = HttpServer::new(move || {
            let gone = work.clone();
            App::new()
                .app_data(Data::from(work.clone()))
                .app_data(web::PayloadConfig::new(1_000_000))
                .service(
                    web::scope("/scope")
                        .app_data(Data::new(()))
                        .service(web::resource("/in").route(web::post().to(handler))),
                )
                .route("/key", web::post().to(key))
                .default_service(web::to(handler))
                .wrap(idempotency.clone())
                .wrap_fn(move |request, service| {
                    let watch = Watch(Some(gone.clone()));
                    let answer = service.call(request);
                    async move {
                        let answer = answer.await;
                        watch.answered();
                        answer
                    }
                })
        });
        let server = server.workers(2).disable_signals();
        let server = server.bind("127.0.0.1:0").unwrap();
        let address = server.addrs()[0];
        Self::run(store, format!("http://{address}"), server.run())
    }

    pub fn run(store: Store, url: String, server: Server) -> Self {
        let handle = server.handle();
        rt::spawn(server);
        Self {
            url,
            client: client(),
            store,
            handle,
        }
    }

    pub async fn send(&self, call: &Call) -> Reply {
        call.send(&self.client, &self.url).await.expect("an answer")
    }

    /// Sends it in a task of its own.
    pub fn sending(&self, call: &Call) -> rt::task::JoinHandle<Reply> {
        let (call, client, url) = (call.clone(), self.client.clone(), self.url.clone());
        rt::spawn(async move { call.send(&client, &url).await.expect("an answer") })
    }

    pub async fn raw(&self, call: &Call) -> reqwest::Response {
        let request = self.client.post(format!("{}{}", self.url, call.path));
        let request = call.headers.iter().fold(request, |request, (name, value)| {
            request.header(name, value)
        });
        request.body(call.body.clone()).send().await.unwrap()
    }

    pub async fn method(&self, method: Method, path: &str, key: &str) -> Reply {
        let method = reqwest::Method::from_bytes(method.as_str().as_bytes()).unwrap();
        let request = self.client.request(method, format!("{}{path}", self.url));
        let request = request.header("Idempotency-Key", key);
        let request = request.header("Content-Type", "application/json");
        let response = request.body(r#"{"a":1}"#).send().await.unwrap();
        Reply::of(response).await.unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Without waiting: the test is over.
        drop(self.handle.stop(false));
    }
}

/// Counts a request as gone where it is dropped before it was answered.
struct Watch(Option<Arc<Work>>);

impl Watch {
    fn answered(mut self) {
        self.0 = None;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(work) = &self.0 {
            work.gone.fetch_add(1, Ordering::SeqCst);
        }
    }
}

pub fn call(key: &str) -> Call {
    Call {
        path: "/things".to_owned(),
        headers: Vec::new(),
        body: br#"{"a":1}"#.to_vec(),
    }
    .header("Content-Type", "application/json")
    .key(key)
}

/// Sends a request and drops the connection once `when` is met: with a reset, which a server notices at once.
pub async fn send_and_vanish(host: &Host, call: &Call, work: &Work, when: impl AsyncFnOnce()) {
    let address = host.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&call.to_bytes()).await.unwrap();
    when().await;
    stream.set_zero_linger().unwrap();
    drop(stream);
    until("the server has noticed", async || {
        work.gone.load(Ordering::SeqCst) == 1
    })
    .await;
}

/// The example program on a database; its leases last two seconds.
pub async fn example(database: &Database) -> (Program, [Process; 2]) {
    let program = Program::example("idempotent_handler")
        .set("DATABASE_URL", &database.url)
        .set("BIND", "127.0.0.1:0")
        .set("CLIENTS", "ana=token-of-ana,ben=token-of-ben");
    let mut processes = [program.spawn_with(&[]), program.spawn_with(&[])];
    for process in &mut processes {
        let line = process.printed("listening on http://").await;
        process.url = line.trim_start_matches("listening on ").to_owned();
    }
    (program, processes)
}

pub fn charge(key: &str) -> Call {
    charge_of("ana", key)
}

/// A charge that a client of the example asks for.
pub fn charge_of(client: &str, key: &str) -> Call {
    Call {
        path: "/charges".to_owned(),
        body: br#"{"amount": 500, "takes_ms": 1000}"#.to_vec(),
        ..call(key).header("Authorization", &format!("Bearer token-of-{client}"))
    }
}

/// The ids of the charges that were made.
pub fn charges(program: &Program) -> Vec<String> {
    let text = fs::read_to_string(program.folder.path().join("charges.log")).unwrap_or_default();
    let ids = text.lines().filter_map(|line| line.split(' ').next());
    ids.map(str::to_owned).collect()
}

pub fn sending(process: &Process, call: &Call) -> rt::task::JoinHandle<reqwest::Result<Reply>> {
    let (call, url) = (call.clone(), process.url.clone());
    rt::spawn(async move { call.send(&client(), &url).await })
}

/// Sends until the lease of another has run out and this request has been done; gives its answer.
pub async fn take_over(process: &Process, call: &Call) -> Reply {
    let (client, begun) = (client(), Instant::now());
    let mut waited = 0;
    loop {
        let reply = call.send(&client, &process.url).await.unwrap();
        if reply.status == 201 {
            assert_eq!(reply.replayed.as_deref(), Some("false"));
            assert!(waited > 0, "the key was kept for the length of the lease");
            return reply;
        }
        assert_eq!(refused(&reply), processing());
        assert!(reply.retry_after.is_some());
        assert!(begun.elapsed() < PATIENCE, "the lease never ends");
        waited += 1;
        sleep(Duration::from_millis(50)).await;
    }
}
