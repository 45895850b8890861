//! Whether the database can do its work, by what the writes of requests have met and by what is tried here. Asked every
//! second or so, so it is asked cheaply, answers in a bounded time whatever is stuck, and writes little: now and then,
//! and while writes fail, for where no request comes nothing else would tell that they no longer do.

use diesel::{RunQueryDsl as _, sql_query, sql_types::Text};
use std::{
    fmt,
    future::Future,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{sync::Mutex as AsyncMutex, task::JoinHandle};

use super::{Conn, FileFault, Store, StoreError, migrations, totals, write_probe};
use crate::causes::with_causes;

/// How long the schema is taken for what it was when it was last looked at.
const SCHEMA_MEMORY: Duration = Duration::from_secs(5);

/// How long writes are taken to go well without one being made.
const WRITE_MEMORY: Duration = Duration::from_secs(30);

/// Looks at one database. What it asks is under way once at most: while something is stuck, each probe waits for the
/// same answer instead of adding a connection or a thread to those that hang.
pub struct Probe {
    store: Store,
    least_disk: u64,
    patience: Duration,
    reading: SingleFlight<Result<bool, StoreError>>,
    writing: SingleFlight<Result<bool, StoreError>>,
    measuring: SingleFlight<Result<Option<u64>, FileFault>>,
    current_at: Arc<Mutex<Option<Instant>>>,
    written_at: Arc<Mutex<Option<Instant>>>,
}

/// What was found. All of it must be fine for the service to be ready.
#[derive(Debug)]
pub struct Findings {
    /// The database answers.
    pub database: CheckResult,
    /// It has every migration of this program, whatever it has beside.
    pub migrations: CheckResult,
    /// It takes writes, through whatever all of them go through.
    pub writer: CheckResult,
    /// There is room to write to. Not known of a server, nor asked of memory.
    pub disk: CheckResult,
}

/// The result of a check.
#[derive(Debug)]
pub enum CheckResult {
    /// It is as it should be.
    Fine,
    /// There is nothing to check, or another failure hides it.
    Unknown,
    /// It is not.
    Faulty(ReadinessFault),
}

/// Why the service is not ready.
#[derive(Debug)]
pub struct ReadinessFault {
    /// For whoever asks: names no host, no path and no secret.
    pub reason: &'static str,
    /// For the log.
    pub cause: Option<String>,
}

impl Probe {
    /// Looks at `store`, waiting for `patience` at most; `least_disk` bytes must be free beside a SQLite file.
    pub fn new(store: Store, least_disk: u64, patience: Duration) -> Self {
        Self {
            store,
            least_disk,
            patience,
            reading: SingleFlight::default(),
            writing: SingleFlight::default(),
            measuring: SingleFlight::default(),
            current_at: Arc::default(),
            written_at: Arc::default(),
        }
    }

    /// Looks now.
    pub async fn look(&self) -> Findings {
        let ((database, migrations), writer, disk) =
            tokio::join!(self.database(), self.writer(), self.disk());
        Findings {
            database,
            migrations,
            writer,
            disk,
        }
    }

    async fn database(&self) -> (CheckResult, CheckResult) {
        let (store, current_at) = (self.store.clone(), self.current_at.clone());
        let question = async move {
            let known = *current_at.lock().unwrap_or_else(PoisonError::into_inner);
            if known.is_some_and(|at| at.elapsed() < SCHEMA_MEMORY) {
                return store.read(totals::ping).await.map(|()| true);
            }
            let is_current = store.read(migrations::is_current).await?;
            let at = is_current.then(Instant::now);
            *current_at.lock().unwrap_or_else(PoisonError::into_inner) = at;
            Ok(is_current)
        };
        match self.reading.ask(question, self.patience).await {
            Ok(Ok(true)) => (CheckResult::Fine, CheckResult::Fine),
            Ok(Ok(false)) => (
                CheckResult::Fine,
                CheckResult::fault("the schema lacks a migration of this version"),
            ),
            Ok(Err(error)) if !error.is_unavailable() => (
                CheckResult::Fine,
                CheckResult::caused("the schema cannot be read", &error),
            ),
            Ok(Err(error)) => (
                CheckResult::caused("the database cannot be read", &error),
                CheckResult::Unknown,
            ),
            Err(NoAnswer) => (
                CheckResult::fault("the database does not answer in time"),
                CheckResult::Unknown,
            ),
        }
    }

    async fn writer(&self) -> CheckResult {
        let (store, written_at) = (self.store.clone(), self.written_at.clone());
        let question = async move {
            let last = *written_at.lock().unwrap_or_else(PoisonError::into_inner);
            let attempt = match store.health().failing() {
                Some(failing) if failing.outweighs() => Attempt::None,
                Some(_) => Attempt::Large,
                None if last.is_some_and(|at| at.elapsed() < WRITE_MEMORY) => Attempt::None,
                None => Attempt::Small,
            };
            let takes_writes = store.write(move |conn| try_writing(conn, attempt)).await?;
            if takes_writes && attempt == Attempt::Large {
                store.health().found_room();
            }
            if takes_writes && attempt != Attempt::None {
                let now = Some(Instant::now());
                *written_at.lock().unwrap_or_else(PoisonError::into_inner) = now;
            }
            Ok(takes_writes)
        };
        match self.writing.ask(question, self.patience).await {
            // How the writes of requests went counts for more than this probe.
            Ok(Ok(true)) => match self.store.health().failing() {
                None => CheckResult::Fine,
                Some(failing) => CheckResult::Faulty(ReadinessFault {
                    reason: failing.trouble.reason(),
                    cause: Some(format!("since {}: {}", failing.since, failing.cause)),
                }),
            },
            Ok(Ok(false)) => CheckResult::fault("the database can only be read"),
            Ok(Err(error)) => CheckResult::caused("the database takes no writes", &error),
            Err(NoAnswer) => CheckResult::fault("the database does not take a write in time"),
        }
    }

    async fn disk(&self) -> CheckResult {
        let store = self.store.clone();
        let question = async move {
            let measured = tokio::task::spawn_blocking(move || store.free_disk()).await;
            measured.unwrap_or_else(|died| Err(FileFault::Unusable(io::Error::other(died))))
        };
        match self.measuring.ask(question, self.patience).await {
            Ok(Ok(None)) => CheckResult::Unknown,
            Ok(Ok(Some(free))) if free >= self.least_disk => CheckResult::Fine,
            Ok(Ok(Some(free))) => CheckResult::Faulty(ReadinessFault {
                reason: "the disk is almost full",
                cause: Some(format!("{free} bytes are free")),
            }),
            Ok(Err(fault)) => CheckResult::caused(fault.reason(), &fault),
            Err(NoAnswer) => CheckResult::fault("the disk does not answer in time"),
        }
    }
}

impl Findings {
    /// Each check with its name.
    pub fn each(&self) -> [(&'static str, &CheckResult); 4] {
        [
            ("database", &self.database),
            ("migrations", &self.migrations),
            ("writer", &self.writer),
            ("disk", &self.disk),
        ]
    }

    /// What is not as it should be.
    pub fn faults(&self) -> Vec<&ReadinessFault> {
        let findings = self.each().into_iter();
        findings
            .filter_map(|(_, finding)| match finding {
                CheckResult::Faulty(fault) => Some(fault),
                CheckResult::Fine | CheckResult::Unknown => None,
            })
            .collect()
    }
}

impl CheckResult {
    /// The word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Unknown => "unknown",
            Self::Faulty(_) => "failed",
        }
    }

    fn fault(reason: &'static str) -> Self {
        Self::Faulty(ReadinessFault {
            reason,
            cause: None,
        })
    }

    fn caused(reason: &'static str, error: &dyn std::error::Error) -> Self {
        Self::Faulty(ReadinessFault {
            reason,
            cause: Some(with_causes(error)),
        })
    }
}

impl fmt::Display for ReadinessFault {
    /// For the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Some(cause) => write!(f, "{} ({cause})", self.reason),
            None => f.write_str(self.reason),
        }
    }
}

/// What is written to see whether it can be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attempt {
    None,
    Small,
    Large,
}

/// `false`: nothing can be written here.
fn try_writing(conn: &mut Conn<'_>, attempt: Attempt) -> Result<bool, StoreError> {
    if !may_write(conn)? {
        return Ok(false);
    }
    match attempt {
        Attempt::None => {}
        Attempt::Small => write_probe::small(conn)?,
        Attempt::Large => write_probe::large(conn)?,
    }
    Ok(true)
}

/// Whether a transaction may write: a standby of PostgreSQL begins transactions, too, but refuses writes.
fn may_write(conn: &mut Conn<'_>) -> Result<bool, StoreError> {
    #[derive(diesel::QueryableByName)]
    struct Setting {
        #[diesel(sql_type = Text)]
        value: String,
    }
    match conn {
        // Its writer begins each transaction with the lock, which a database that can only be read does not give.
        Conn::Sqlite(_) => totals::ping(conn).map(|()| true),
        Conn::Postgres(c) => {
            let asked = sql_query("SELECT current_setting('transaction_read_only') AS value");
            let setting: Setting = asked.get_result(&mut **c)?;
            Ok(setting.value == "off")
        }
    }
}

/// A question that is asked again only when it has been answered.
struct SingleFlight<T>(AsyncMutex<Option<JoinHandle<T>>>);

impl<T> Default for SingleFlight<T> {
    fn default() -> Self {
        Self(AsyncMutex::default())
    }
}

/// There was no answer in time, or the task that was asked has panicked.
struct NoAnswer;

impl<T: Send + 'static> SingleFlight<T> {
    async fn ask(
        &self,
        question: impl Future<Output = T> + Send + 'static,
        patience: Duration,
    ) -> Result<T, NoAnswer> {
        let answer = async {
            let mut flight = self.0.lock().await;
            // An answer that nobody waited for is of the past.
            if flight.as_ref().is_some_and(JoinHandle::is_finished) {
                *flight = None;
            }
            let answer = flight.get_or_insert_with(|| tokio::spawn(question)).await;
            *flight = None;
            answer
        };
        match tokio::time::timeout(patience, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_died)) => Err(NoAnswer),
            Err(_elapsed) => Err(NoAnswer),
        }
    }
}
