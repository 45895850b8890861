//! PostgreSQL: a pool of connections, used from threads that may block.

use diesel::{
    connection::SimpleConnection as _,
    r2d2::{HandleError, Pool},
    result::{DatabaseErrorKind, Error as QueryError},
};
use std::{
    error::Error,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Semaphore;

use self::session::{Connector, GuardedConnector, PoolConnector};
use super::{
    Conn, Health, SchemaName, StoreError, StoreOptions, Trouble, blocking,
    cached::Fixed,
    guarded, in_transaction,
    load::{Load, PoolLoad},
    trouble::is_collision,
};
use crate::causes::with_causes;

mod session;

pub(super) use session::Access;
#[cfg(feature = "server")]
pub(super) use session::connect;
pub use session::{PgConn, Session};

/// A PostgreSQL server.
#[derive(Clone)]
pub struct Postgres {
    pool: Pool<PoolConnector>,
    door: Arc<GuardedConnector>,
    /// How long a connection is waited for, and a lock where a transaction does not say.
    patience: Duration,
    // A permit before a thread: waiting requests cost a queue entry, not a blocked thread.
    permits: Arc<Semaphore>,
    /// How many wait for a permit.
    waiting: Arc<AtomicUsize>,
    health: Health,
}

impl Postgres {
    pub(super) fn open(
        url: &str,
        schema: Option<SchemaName>,
        options: &StoreOptions,
        access: Access,
    ) -> Result<Self, StoreError> {
        let connector = Connector::open(with_defaults(url), schema, options.timeout, access)?;
        let door = Arc::new(GuardedConnector::new(connector));
        let pool = Pool::builder()
            .max_size(options.connections)
            // How long is waited for one is said with each wait. This bounds the pause after a failure, which doubles
            // with each, to a half of it.
            .connection_timeout(2 * LONGEST_PAUSE)
            .error_handler(Box::new(Failures::of(door.clone())))
            .build_unchecked(PoolConnector(door.clone()));
        Ok(Self {
            pool,
            door,
            patience: options.timeout,
            permits: Arc::new(Semaphore::new(options.connections as usize)),
            waiting: Arc::default(),
            health: Health::default(),
        })
    }
    pub(super) fn load(&self) -> Load {
        Load {
            queue: self.waiting.load(Ordering::Relaxed),
            pool: Some(PoolLoad::of(&self.pool)),
        }
    }

    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    /// Does the `work` of `count` requests in a transaction that begins so.
    pub(super) async fn write<T, E, F>(&self, count: usize, begin: Begin, work: F) -> Result<T, E>
    where
        F: FnOnce(&mut Conn<'_>) -> Result<T, E> + Clone + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Error + Send + 'static,
    {
        self.health.gathered(count);
        let deadline = Instant::now() + self.patience;
        let (patience, health) = (self.patience, self.health.clone());
        let write = move |session: &mut Session| {
            let mut attempt = 1;
            loop {
                let is_last = attempt == ATTEMPTS || Instant::now() >= deadline;
                session.begins(begin.lock_timeout.unwrap_or(patience));
                match transaction(session, begin, &health, work.clone()) {
                    Err(error) if !is_last && is_collision(&error) => {
                        log::debug!("a transaction collided with another, and is tried again");
                        std::thread::sleep(pause(attempt));
                        attempt += 1;
                    }
                    settled => return settled,
                }
            }
        };
        let health = self.health.clone();
        self.with(write, move |error| note(&health, error)).await
    }

    pub(super) async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&mut Conn<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Error + Send + 'static,
    {
        let patience = self.patience;
        let read = move |session: &mut Session| {
            session.begins(patience);
            let outcome = guarded(work, &mut Conn::from(&mut *session));
            outcome.map_err(|error| session.understood(error))
        };
        self.with(read, |_| {}).await
    }

    pub(super) async fn snapshot<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&mut Conn<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Error + Send + 'static,
    {
        const BEGIN: Fixed = Fixed("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
        self.read(|conn| in_transaction(conn, BEGIN, work)).await
    }

    /// Waits for the work that has begun and for the connections that are being made, then lets none begin.
    pub(super) async fn close(&self) {
        let _all = self.permits.acquire_many(self.pool.max_size()).await;
        self.permits.close();
        let door = self.door.clone();
        // An error says that the runtime is ending: then nobody waits for anything.
        let _ = tokio::task::spawn_blocking(move || door.close()).await;
    }

    /// Does `work` with a connection; `failed` is told why it was not done.
    async fn with<T, E, F, N>(&self, work: F, failed: N) -> Result<T, E>
    where
        F: FnOnce(&mut Session) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Error + Send + 'static,
        N: FnOnce(&(dyn Error + 'static)) + Send + 'static,
    {
        let waiting = Waiting::new(&self.waiting);
        let permit = self.permits.clone().acquire_owned().await;
        drop(waiting);
        let permit = permit.map_err(|_closed| StoreError::Closed)?;
        let (pool, patience) = (self.pool.clone(), self.patience);
        blocking(move || {
            let outcome = match pool.get_timeout(patience) {
                Ok(mut session) => work(&mut session).inspect_err(|error| failed(error)),
                Err(none) => {
                    let error = StoreError::from(none);
                    failed(&error);
                    Err(error.into())
                }
            };
            // The connection is back in the pool before the permit is.
            drop(permit);
            outcome
        })
        .await
    }
}

/// Notes that a write was not made durable, where that is not its own fault.
fn note(health: &Health, error: &(dyn Error + 'static)) {
    if let Some(trouble) = Trouble::of(error) {
        health.failed(trouble, with_causes(error));
    }
}

/// The longest pause between two attempts to connect: so soon is the pool back after the server.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The address with what it does not say for itself. Without these a server that vanished, instead of saying farewell, is
/// waited for as long as the system's own patience goes, which is minutes to hours.
fn with_defaults(url: &str) -> String {
    const DEFAULTS: [(&str, &str); 6] = [
        ("connect_timeout", "2"),
        ("keepalives_idle", "2"),
        ("keepalives_interval", "1"),
        ("keepalives_count", "2"),
        // In milliseconds.
        ("tcp_user_timeout", "4000"),
        ("application_name", "hookonce"),
    ];
    // A password may hold what looks like a parameter. As libpq has it, it ends at the first @ before any slash.
    let begin = url.find("://").map_or(0, |at| at + "://".len());
    let password_end = url[begin..]
        .find(['@', '/'])
        .filter(|&at| url[begin + at..].starts_with('@'));
    let begin = begin + password_end.unwrap_or(0);
    let (address, parameters) = match url[begin..].find('?') {
        Some(at) => url.split_at(begin + at),
        None => (url, ""),
    };
    let mut all: Vec<String> = parameters
        .split(['?', '&'])
        .filter(|parameter| !parameter.is_empty())
        .map(str::to_owned)
        .collect();
    for (name, value) in DEFAULTS {
        let is_there = |parameter: &String| {
            let (there, _) = parameter.split_once('=').unwrap_or((parameter, ""));
            there == name
        };
        if !all.iter().any(is_there) {
            all.push(format!("{name}={value}"));
        }
    }
    format!("{address}?{}", all.join("&"))
}

/// Tells of failures to connect, not of each.
struct Failures {
    last: Mutex<Option<Instant>>,
    door: Arc<GuardedConnector>,
}

impl Failures {
    fn of(door: Arc<GuardedConnector>) -> Self {
        Self {
            last: Mutex::default(),
            door,
        }
    }
}

impl std::fmt::Debug for Failures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Failures").finish_non_exhaustive()
    }
}

impl HandleError<diesel::r2d2::Error> for Failures {
    fn handle_error(&self, error: diesel::r2d2::Error) {
        const EVERY: Duration = Duration::from_secs(10);
        if self.door.is_closed() {
            return;
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= EVERY) {
            *last = Some(Instant::now());
            log::warn!("PostgreSQL: {error}");
        }
    }
}

/// How a transaction begins.
#[derive(Clone, Copy)]
pub(super) struct Begin {
    pub statements: &'static str,
    /// How long it waits for a lock; `None`: as long as it may.
    pub lock_timeout: Option<Duration>,
}

/// As most do.
pub(super) const BEGIN: Begin = Begin {
    statements: "BEGIN",
    lock_timeout: None,
};

/// Long enough for another transaction of many requests. What holds a lock for longer holds up those alone who need it:
/// they are not to keep the rest waiting.
pub(super) const BEGIN_BRIEFLY: Begin = Begin {
    statements: "BEGIN; SET LOCAL lock_timeout = 300",
    lock_timeout: Some(Duration::from_millis(300)),
};

/// How often a transaction is tried that collides with others.
const ATTEMPTS: u32 = 5;

/// Longer each time, and of another length for each that collided.
fn pause(attempt: u32) -> Duration {
    let most = 10 << attempt;
    Duration::from_millis(rand::random_range(most / 2..most))
}

/// Does `work` in a transaction that begins so, once.
fn transaction<T, E, F>(
    session: &mut Session,
    begin: Begin,
    health: &Health,
    work: F,
) -> Result<T, E>
where
    F: FnOnce(&mut Conn<'_>) -> Result<T, E>,
    E: From<StoreError> + Error + 'static,
{
    if let Err(error) = session.batch_execute(begin.statements) {
        // The first of its statements may have worked.
        let _ = session.batch_execute("ROLLBACK");
        return Err(session.understood(StoreError::from(error)).into());
    }
    let outcome = guarded(work, &mut Conn::from(&mut *session));
    let outcome = outcome.map_err(|error| session.understood(error));
    let is_news = outcome.is_ok() && health.is_failing() && session.has_written() == Ok(true);
    let ended = match outcome {
        // COMMIT alone would not tell that a statement has failed and the transaction was lost with it.
        Ok(_) => session.batch_execute("SAVEPOINT whole; COMMIT"),
        Err(_) => session.batch_execute("ROLLBACK"),
    };
    match (outcome, ended) {
        (Ok(value), Ok(())) => {
            if is_news {
                health.committed();
            }
            Ok(value)
        }
        (Ok(_), Err(error)) => {
            // Fails where the connection is gone, and the transaction with it.
            let _ = session.batch_execute("ROLLBACK");
            if is_refusal(&error) {
                return Err(StoreError::from(error).into());
            }
            // What it is called hides what it was.
            note(health, &error);
            Err(StoreError::Commit(error.to_string()).into())
        }
        (Err(error), _) => Err(error),
    }
}

/// Whether the server said no to a commit, so that it is known not to be done.
fn is_refusal(error: &QueryError) -> bool {
    use DatabaseErrorKind::{
        CheckViolation, ForeignKeyViolation, NotNullViolation, UniqueViolation,
    };
    let of_constraint = matches!(
        error,
        QueryError::DatabaseError(
            CheckViolation | ForeignKeyViolation | NotNullViolation | UniqueViolation,
            _
        )
    );
    of_constraint || is_collision(error)
}

/// Counts itself while it lives: who waits may be dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_address_says_for_itself_stands() {
        let url = with_defaults("postgres://a,b:5433/shop?connect_timeout=7&sslmode=require");
        assert!(url.starts_with("postgres://a,b:5433/shop?connect_timeout=7&sslmode=require&"));
        assert_eq!(url.matches("connect_timeout=").count(), 1);
        assert!(url.contains("&keepalives_idle=2&"), "{url}");
        assert!(with_defaults("postgres://a").starts_with("postgres://a?connect_timeout=2&"));
        assert!(with_defaults("postgres://a/b?").starts_with("postgres://a/b?connect_timeout=2&"));
        let user = with_defaults("postgres://h/b?user=shop@h&sslmode=require");
        assert!(
            user.starts_with("postgres://h/b?user=shop@h&sslmode=require&connect_timeout=2&"),
            "{user}"
        );
        let password = with_defaults("postgres://u:w?keepalives_idle=9&@a/b");
        assert!(password.starts_with(
            "postgres://u:w?keepalives_idle=9&@a/b?connect_timeout=2&keepalives_idle=2&"
        ));
    }
}
