//! Puts the parts together: configuration in, a bound server out.

use actix_web::{
    App,
    dev::{Server, ServerHandle},
    middleware::from_fn,
};
use arc_swap::ArcSwap;
use std::{
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock, Weak},
    time::{Duration, Instant},
};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    config::Config,
    handler::Handler,
    idempotency::{
        Cache, Lifetimes, LookupTimer, admission::Admission, transactional::Transactional,
    },
    intake::{Intake, Settings},
    jobs::{
        self,
        cleanup::Cleanup,
        watch::{LatestStatus, Watch},
    },
    server::{self, Connections, descriptors},
    shop::{handler::ShopHandler, shops::Shops},
    statistics::{Limits, Traffic},
    store::{Store, StoreError, StoreOptions, installation, readiness::Probe, types::Uuid},
    web::{
        self, RouteSet, State,
        api::schema::{BadSchema, Schemas},
        body_budget::BodyBudget,
        diagnosis::Budget,
        metrics::Metrics,
        rate_limit::RateLimits,
    },
};

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database is not usable.
    #[error("the database cannot be used")]
    Store(#[from] StoreError),
    /// The address is not usable.
    #[error("{0} cannot be listened on")]
    Bind(SocketAddr, #[source] io::Error),
    /// The OpenAPI document is not usable.
    #[error("the bodies of requests cannot be checked")]
    Schema(#[from] BadSchema),
    /// The clean-ups are not to be had.
    #[error("the clean-ups cannot be scheduled")]
    Schedule(#[from] tokio_cron_scheduler::JobSchedulerError),
    /// The metrics are not usable.
    #[error("the metrics cannot be set up")]
    Metrics(#[from] prometheus::Error),
}

/// The longest that a question for readiness is kept waiting.
const PROBING: Duration = Duration::from_secs(2);

/// So many requests may wait for the database in any case: a disk that halts for a moment is no overload.
const FEW: usize = 256;

/// What a shutdown leaves of `REQUEST_TIMEOUT` to the jobs and the database at least.
const CLOSING: Duration = Duration::from_secs(1);

/// The most connections to an address that is for operators alone.
const OPERATORS: usize = 64;

/// A service that listens, and answers once it runs.
pub struct Application {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where it listens for operators, if elsewhere.
    pub operations_address: Option<SocketAddr>,
    server: Server,
    operations: Option<Server>,
    store: Store,
    cleanup: Cleanup,
    stop_jobs: watch::Sender<()>,
    jobs: [JoinHandle<()>; 3],
    /// What a shutdown may take.
    timeout: Duration,
    stopped_at: Arc<OnceLock<Instant>>,
    state: Weak<State>,
}

/// What stops a service, and changes it while it runs. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    server: ServerHandle,
    operations: Option<ServerHandle>,
    cleanup: Cleanup,
    stopped_at: Arc<OnceLock<Instant>>,
    // The database closes with the last who holds it.
    state: Weak<State>,
}

impl Handle {
    /// Stops the service; gracefully it finishes what it holds. Begins at once, whether waited for or not.
    pub fn stop(&self, graceful: bool) -> impl Future<Output = ()> + use<> {
        self.stopped_at.get_or_init(Instant::now);
        // Before the server, which waits for the request of whoever waits for a clean-up.
        self.cleanup.stop();
        let operations = self.operations.as_ref().map(|it| it.stop(graceful));
        let server = self.server.stop(graceful);
        async move {
            server.await;
            if let Some(operations) = operations {
                operations.await;
            }
        }
    }

    /// Takes over what of a configuration can change while requests are answered, and counts that it was read again;
    /// counts a refusal where there is none.
    pub fn reconfigure(&self, new: Option<&Config>) {
        if let Some(state) = self.state.upgrade() {
            state.metrics.count_reload(new.is_some());
            if let Some(new) = new {
                state.reconfigure(new);
            }
        }
    }
}

/// What somebody wants of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// To write to it; it is made where there is none.
    Make,
    /// To change what is in it, so that there must be one.
    Change,
    /// To read it as it is. Nothing is made or changed, its schema neither.
    Read,
}

/// Opens the database that the configuration names with all connections that it may have, and migrates it.
///
/// # Errors
/// Where it cannot be reached or migrated.
pub async fn open_store(config: &Config) -> Result<Store, StoreError> {
    Store::open(&config.database_url, &store_options(config)).await
}

/// Opens it with one connection, for whoever does one thing after another.
///
/// # Errors
/// Where it cannot be reached, or is not there, or is not as it must be.
pub async fn open_store_once(config: &Config, opening: Opening) -> Result<Store, StoreError> {
    let options = StoreOptions {
        connections: 1,
        ..store_options(config)
    };
    let url = &config.database_url;
    match opening {
        Opening::Make => Store::open(url, &options).await,
        Opening::Change => Store::open_existing(url, &options).await,
        Opening::Read => Store::open_to_read(url, &options).await,
    }
}

fn store_options(config: &Config) -> StoreOptions {
    StoreOptions {
        connections: config.database_connections,
        write_batch: config.write_batch,
        timeout: config.request_timeout,
    }
}

/// Opens the database and takes the address; see [`Application::run`].
///
/// # Errors
/// Where either is not usable.
pub async fn build(config: Config) -> Result<Application, StartError> {
    let store = open_store(&config).await?;
    let cache = open_cache(&config, &store).await?;
    let (schedule, at_once) = (config.cleanup_schedule.clone(), config.cleanup_on_start);
    let timeout = config.request_timeout;
    let state = Arc::new(state(config, store.clone(), cache)?);
    let cleanup = state.cleanup.clone();
    let (stop_jobs, stopped) = watch::channel(());
    let (replays, traffic) = (state.keys.replays.clone(), state.traffic.clone());
    let watching = watching(&state);
    let handed_on = Arc::downgrade(&state);
    let config = state.config.load_full();
    let bind = config.bind;
    let (server, address, operations) = match config.operations_bind {
        None => {
            let (server, address) = listen(state, bind, RouteSet::All)?;
            (server, address, None)
        }
        Some(apart) => {
            // Bound first: a service that nobody can look at is not to take anything.
            let operations = listen(state.clone(), apart, RouteSet::Operations)?;
            let (server, address) = listen(state, bind, RouteSet::Public)?;
            (server, address, Some(operations))
        }
    };
    let (operations, operations_address) = operations.unzip();
    let counting = jobs::counters::run(replays, traffic, store.clone(), stopped.clone());
    let jobs = [
        tokio::spawn(counting),
        tokio::spawn(watching.run(stopped)),
        jobs::schedule::start(cleanup.clone(), schedule, at_once).await?,
    ];
    Ok(Application {
        address,
        operations_address,
        server,
        operations,
        store,
        cleanup,
        stop_jobs,
        jobs,
        timeout,
        stopped_at: Arc::default(),
        state: handed_on,
    })
}

/// Opens the caches that the configuration asks for. Redis is not waited for.
///
/// # Errors
/// Where the database does not say which it is.
async fn open_cache(config: &Config, store: &Store) -> Result<Cache, StoreError> {
    let Some(url) = &config.redis_url else {
        return Ok(Cache::new(config.cache_bytes));
    };
    let installation = store.read(installation::id).await?;
    Ok(Cache::with_redis(config.cache_bytes, url, &installation))
}

fn keys(config: &Config, store: &Store, traffic: &Arc<Traffic>, cache: Cache) -> Transactional {
    let lifetimes = Lifetimes {
        ttl: config.idempotency_ttl,
        lease: config.idempotency_lease,
    };
    let lookups = LookupTimer::counted_by(traffic.clone());
    let mut keys = Transactional::new(store.clone(), lifetimes, lookups, cache);
    keys.admission = Admission::new(config.max_queue_time, config.write_batch.max(FEW));
    keys
}

/// What the handlers share, over a database that is open, with the answers that are kept in front of it.
///
/// # Errors
/// Where the metrics cannot be set up.
pub fn state(config: Config, store: Store, cache: Cache) -> Result<State, StartError> {
    let connections = Connections::new(limits(&config))?;
    let settings = Settings {
        keys_enabled: config.idempotency_enabled,
        redaction: config.redact_fields.clone(),
        batch: config.write_batch,
    };
    let instance = Uuid::random();
    log::info!("this is instance {instance}");
    let traffic = Arc::new(Traffic::new(instance));
    let cleanup = cleanup(&config, store.clone(), instance, cache.clone());
    let metrics = Metrics::new(&store, &traffic, &cache, &connections)?;
    let shops = Arc::new(Shops::default());
    let handlers: Vec<Arc<dyn Handler>> = vec![Arc::new(ShopHandler::new(shops.clone()))];
    let keys = keys(&config, &store, &traffic, cache);
    let encode = web::reply::encode;
    let intake = Intake::new(&store, settings, handlers, encode, keys.clone());
    let patience = config.request_timeout.min(PROBING);
    Ok(State {
        probe: Probe::new(store.clone(), config.ready_min_disk_bytes, patience),
        bodies: Arc::new(BodyBudget::new(config.body_budget_bytes)),
        diagnoses: Budget::default(),
        cleanup,
        limits: RateLimits::new(&config),
        intake,
        keys,
        shops,
        metrics,
        traffic,
        latest_status: LatestStatus::default(),
        schemas: Schemas::of(&web::openapi::document())?,
        connections,
        config: ArcSwap::from_pointee(config),
        store,
    })
}

/// What looks at the service of this process.
fn watching(state: &State) -> Watch {
    let config = state.config.load();
    Watch {
        store: state.store.clone(),
        traffic: state.traffic.clone(),
        limits: Limits {
            table_bytes: config.alert_table_bytes,
            lookup: config.alert_lookup,
            signature_failures: config.alert_signature_failures,
            silence: config.alert_silence,
        },
        schedule: config.cleanup_schedule.clone(),
        latest_status: state.latest_status.clone(),
    }
}

/// Does the clean-ups of a process, which `instance` tells from others; `cache` is to know of them.
pub fn cleanup(config: &Config, store: Store, instance: Uuid, cache: Cache) -> Cleanup {
    let settings = jobs::cleanup::Settings {
        batch: config.cleanup_batch,
        // Its record has what is around what an event tells.
        event_retention: config.event_retention.max(config.idempotency_ttl),
    };
    Cleanup::new(store, settings, instance, cache)
}

fn listen(
    state: Arc<State>,
    bind: SocketAddr,
    part: RouteSet,
) -> Result<(Server, SocketAddr), StartError> {
    let (workers, connections) = match part {
        RouteSet::Operations => {
            let limits = server::Limits {
                most: OPERATORS,
                most_per_address: None,
                ..state.connections.limits().clone()
            };
            (1, Connections::new(limits)?)
        }
        RouteSet::All | RouteSet::Public => {
            let workers = std::thread::available_parallelism().map_or(1, usize::from);
            (workers, state.connections.clone())
        }
    };
    let app = move || {
        App::new()
            .wrap(from_fn(web::limit_addresses))
            // Outside of it, so that what is refused there is logged and counted too.
            .wrap(from_fn(web::log_request))
            .wrap(from_fn(web::add_security_headers))
            .configure(web::routes(state.clone(), part))
    };
    server::listen(bind, workers, &connections, app).map_err(|error| StartError::Bind(bind, error))
}

/// What connections may take, with the descriptors that this process may have.
fn limits(config: &Config) -> server::Limits {
    let wanted = config.max_connections;
    let descriptors = descriptors::most();
    let operators = config.operations_bind.map_or(0, |_| OPERATORS);
    // Each to the database may be several files.
    let others = 4 * config.database_connections as usize + operators;
    let most = server::Limits::most_with(wanted, descriptors, others);
    let of_an_address = config
        .rate_limit
        .then_some(config.max_connections_per_address);
    if most < wanted {
        log::warn!(
            "at most {most} connections, not {wanted} (MAX_CONNECTIONS): this process may have {} open files (ulimit -n)",
            descriptors.unwrap_or_default()
        );
    } else {
        log::info!("at most {most} connections");
    }
    server::Limits {
        most,
        most_per_address: of_an_address,
        trusted_proxies: config.trusted_proxies.clone(),
        timeout: config.request_timeout,
        keep_alive: config.keep_alive,
        stop: config.request_timeout.saturating_sub(CLOSING),
    }
}

impl Application {
    /// The database, for whoever shares the process.
    pub fn store(&self) -> Store {
        self.store.clone()
    }

    /// What stops and changes the service.
    pub fn handle(&self) -> Handle {
        Handle {
            server: self.server.handle(),
            operations: self.operations.as_ref().map(Server::handle),
            cleanup: self.cleanup.clone(),
            stopped_at: Arc::clone(&self.stopped_at),
            state: self.state.clone(),
        }
    }

    /// Answers requests until it is stopped, then finishes what it holds.
    ///
    /// # Errors
    /// Where the server breaks.
    pub async fn run(self) -> io::Result<()> {
        let operations = async {
            match self.operations {
                Some(server) => server.await,
                None => Ok(()),
            }
        };
        let (outcome, operations) = tokio::join!(self.server, operations);
        let outcome = outcome.and(operations);
        let since = self
            .stopped_at
            .get()
            .map_or(Duration::ZERO, Instant::elapsed);
        let bound = self.timeout.saturating_sub(since).max(CLOSING);
        let close = async {
            // The jobs first, for they still write.
            self.cleanup.stop();
            let _ = self.stop_jobs.send(());
            for job in self.jobs {
                let _ = job.await;
            }
            self.cleanup.finished().await;
            self.store.close().await;
        };
        if tokio::time::timeout(bound, close).await.is_err() {
            log::error!(
                "the database did not finish in time; what was not answered may not be done"
            );
        }
        outcome
    }
}
