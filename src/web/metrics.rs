//! What is counted and measured, for Prometheus.

mod listeners;

use actix_web::{HttpResponse, http::header::CONTENT_TYPE, web::Data};
use prometheus::{
    Encoder as _, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts,
    Registry, TextEncoder, core::Collector,
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use self::listeners::{Looks, Writes};
use super::{
    State,
    body_budget::BodyBudget,
    problem::{ErrorCode, Problem},
    request_log,
};
use crate::{
    idempotency::{Cache, cache::RedisState},
    intake::Answer,
    jobs::watch::Found,
    logging::{self, Missing},
    provider::Provider,
    server::Connections,
    statistics::{AlertName, Traffic},
    store::{Health, Load, Store, types::Timestamp},
};

/// The bounds of what a request may take, in seconds.
const SECONDS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// What comes of reading the configuration again.
const RELOADS: [&str; 2] = ["done", "refused"];

/// Why lines are not in the log.
const MISSING: [&str; 2] = ["unwritten", "repeated"];

/// The counters of this process, which begin at zero with it, and what it last saw of the database.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    durations: HistogramVec,
    deliveries: IntCounterVec,
    events: IntCounterVec,
    amendments: IntCounterVec,
    refusals: IntCounterVec,
    reloads: IntCounterVec,
    // Two who ask at once must not add the same twice.
    missing_lines: Mutex<IntCounterVec>,
    seen: Seen,
}

/// What was last seen of the database.
struct Seen {
    at: Gauge,
    keys: GaugeVec,
    keys_expired: Gauge,
    store_bytes: Gauge,
    log_bytes: Gauge,
    records_bytes: Gauge,
    cleanup_began: Gauge,
    cleanup_took: Gauge,
    cleanup_succeeded: Gauge,
    deleted: IntCounter,
    alerts: GaugeVec,
    writes_failing: Gauge,
    queue: Gauge,
    connections: GaugeVec,
    connections_most: Gauge,
    cache_bytes: Gauge,
    redis_up: Gauge,
    body_bytes: Gauge,
    body_bytes_most: Gauge,
}

impl Metrics {
    /// All at zero, with what the store, the traffic, the caches and the connections measure by themselves.
    ///
    /// # Errors
    /// Where two have one name.
    pub fn new(
        store: &Store,
        traffic: &Traffic,
        cache: &Cache,
        connections: &Connections,
    ) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        store.health().listen(Arc::new(Writes::new(&registry)?));
        registered(&registry, traffic.lookup_seconds())?;
        cache.listen(Arc::new(Looks::new(&registry)?));
        registered(&registry, connections.open_now())?;
        registered(&registry, connections.refused())?;
        registered(&registry, connections.ended())?;
        let most = "The most connections that there may be.";
        let most = registered(&registry, Gauge::new("hookonce_connections_max", most)?)?;
        most.set(connections.limits().most as f64);
        let counters = |name: &str, about: &str, labels: &[&str]| {
            registered(
                &registry,
                IntCounterVec::new(Opts::new(name, about), labels)?,
            )
        };
        let build = gauges(
            &registry,
            "hookonce_build_info",
            "Always 1; its label is the version.",
            &["version"],
        )?;
        build
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1.0);
        let seconds = HistogramOpts::new(
            "hookonce_request_duration_seconds",
            "How long requests took, by route and outcome.",
        );
        Ok(Self {
            requests: counters(
                "hookonce_requests_total",
                "Requests answered, by route and outcome.",
                &["route", "outcome"],
            )?,
            durations: registered(
                &registry,
                HistogramVec::new(seconds.buckets(SECONDS.to_vec()), &["route", "outcome"])?,
            )?,
            deliveries: counters(
                "hookonce_deliveries_total",
                "Deliveries answered, by provider and whether the answer was new or replayed.",
                &["provider", "result"],
            )?,
            events: counters(
                "hookonce_events_total",
                "Events looked at, by provider and outcome; an event that was known before is a duplicate_event.",
                &["provider", "outcome"],
            )?,
            amendments: counters(
                "hookonce_order_amendments_total",
                "Edits and revokes of messages that made an order, by provider and kind.",
                &["provider", "kind"],
            )?,
            refusals: counters(
                "hookonce_refusals_total",
                "Requests answered with an error, by its code.",
                &["error_code"],
            )?,
            reloads: from_zero(
                counters(
                    "hookonce_config_reloads_total",
                    "How often the configuration was read again, by what came of it.",
                    &["result"],
                )?,
                &RELOADS,
            ),
            missing_lines: Mutex::new(from_zero(
                counters(
                    "hookonce_log_lines_dropped_total",
                    "Lines that are not in the log since nobody read it or it could not be written, and since others \
                     had said the same.",
                    &["reason"],
                )?,
                &MISSING,
            )),
            seen: Seen::new(&registry)?,
            registry,
        })
    }

    /// Counts a request: the pattern of its path, what came of it, how long it took.
    pub fn count_request(&self, route: &str, outcome: &str, took: Duration) {
        let labels = [route, outcome];
        self.requests.with_label_values(&labels).inc();
        let durations = self.durations.with_label_values(&labels);
        durations.observe(took.as_secs_f64());
    }

    /// Counts a delivery and its events.
    pub fn count_answer(&self, provider: &dyn Provider, answer: &Answer) {
        let provider = provider.name();
        let result = if answer.replayed { "replayed" } else { "new" };
        self.deliveries.with_label_values(&[provider, result]).inc();
        for event in &answer.events {
            let outcome = match event.handled.known {
                true => "duplicate_event",
                false => event.handled.outcome.as_str(),
            };
            self.events.with_label_values(&[provider, outcome]).inc();
        }
        for (kind, count) in request_log::amendments(answer) {
            if count > 0 {
                let amendments = self.amendments.with_label_values(&[provider, kind]);
                amendments.inc_by(count);
            }
        }
    }

    /// Counts that the configuration was read again, and whether it was taken over.
    pub fn count_reload(&self, done: bool) {
        let [taken, refused] = RELOADS;
        let result = if done { taken } else { refused };
        self.reloads.with_label_values(&[result]).inc();
    }

    /// Shows how much is not in the log. It only grows.
    fn show_missing_lines(&self, missing: Missing) {
        let counters = self.missing_lines.lock();
        let counters = counters.unwrap_or_else(PoisonError::into_inner);
        for (reason, count) in MISSING.into_iter().zip([missing.dropped, missing.repeated]) {
            let lines = counters.with_label_values(&[reason]);
            lines.inc_by(count.saturating_sub(lines.get()));
        }
    }

    /// Counts a request that was answered with an error.
    pub fn count_refusal(&self, code: ErrorCode) {
        self.refusals.with_label_values(&[code.name()]).inc();
    }
}

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

/// The same, and zero is shown of each: an increase from nothing would be seen by nobody.
fn from_zero(counters: IntCounterVec, values: &[&str]) -> IntCounterVec {
    for value in values {
        counters.with_label_values(&[*value]).inc_by(0);
    }
    counters
}

fn gauges(
    registry: &Registry,
    name: &str,
    about: &str,
    labels: &[&str],
) -> Result<GaugeVec, prometheus::Error> {
    registered(registry, GaugeVec::new(Opts::new(name, about), labels)?)
}

impl Seen {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, about: &str| registered(registry, Gauge::new(name, about)?);
        let gauges =
            |name: &str, about: &str, labels: &[&str]| gauges(registry, name, about, labels);
        Ok(Self {
            at: gauge(
                "hookonce_observed_timestamp_seconds",
                "When the database was last looked at for the values that follow from it.",
            )?,
            keys: gauges(
                "hookonce_keys",
                "Idempotency records, by status.",
                &["status"],
            )?,
            keys_expired: gauge(
                "hookonce_keys_expired",
                "Idempotency records past their time, not deleted yet.",
            )?,
            store_bytes: gauge("hookonce_store_size_bytes", "The size of the database.")?,
            log_bytes: gauge(
                "hookonce_store_log_size_bytes",
                "What SQLite's log takes of the disk; 0 in memory and with PostgreSQL.",
            )?,
            records_bytes: gauge(
                "hookonce_records_size_bytes",
                "The size of the idempotency records with their indexes; of SQLite, of all that is in use.",
            )?,
            cleanup_began: gauge(
                "hookonce_cleanup_last_run_timestamp_seconds",
                "When the last clean-up that ended began, in any instance.",
            )?,
            cleanup_took: gauge(
                "hookonce_cleanup_last_duration_seconds",
                "How long the last clean-up took, in any instance.",
            )?,
            cleanup_succeeded: gauge(
                "hookonce_cleanup_last_success",
                "Whether the last clean-up went well: 1 or 0.",
            )?,
            deleted: registered(
                registry,
                IntCounter::new(
                    "hookonce_cleanup_deleted_records_total",
                    "Records that clean-ups have deleted, in all instances since the first start.",
                )?,
            )?,
            alerts: gauges(
                "hookonce_alert_firing",
                "Whether this instance sees the alert firing: 1 or 0.",
                &["name"],
            )?,
            writes_failing: gauge(
                "hookonce_writes_failing",
                "Whether writes fail: 1 or 0; also within the minute after.",
            )?,
            queue: gauge(
                "hookonce_writer_queue_length",
                "Writes that wait for the database.",
            )?,
            connections: gauges(
                "hookonce_pool_connections",
                "Connections of the pool, by state: with PostgreSQL all, with SQLite those that read.",
                &["state"],
            )?,
            connections_most: gauge(
                "hookonce_pool_connections_max",
                "The most connections that the pool may have.",
            )?,
            cache_bytes: gauge(
                "hookonce_cache_size_bytes",
                "What the answers in this process's memory take, about.",
            )?,
            redis_up: gauge(
                "hookonce_redis_up",
                "Whether Redis works: 1 or 0; 1 where there is none.",
            )?,
            body_bytes: gauge(
                "hookonce_body_bytes",
                "What the bodies of requests under way take.",
            )?,
            body_bytes_most: gauge(
                "hookonce_body_bytes_max",
                "The most that the bodies of requests may take together.",
            )?,
        })
    }

    fn show_load(&self, load: Load, gathering: usize) {
        self.queue.set((load.queue + gathering) as f64);
        if let Some(pool) = load.pool {
            let connections = |state| self.connections.with_label_values(&[state]);
            connections("in_use").set(pool.in_use.into());
            connections("idle").set(pool.idle.into());
            self.connections_most.set(pool.most.into());
        }
    }

    fn show_health(&self, health: &Health) {
        let is_failing = health.failing_lately().is_some();
        self.writes_failing.set(f64::from(is_failing));
    }

    fn show_cache(&self, cache: &Cache) {
        self.cache_bytes.set(cache.bytes() as f64);
        let is_away = cache.redis() == RedisState::Away;
        self.redis_up.set(f64::from(!is_away));
    }

    fn show_bodies(&self, bodies: &BodyBudget) {
        let (held, most) = bodies.fill();
        self.body_bytes.set(held as f64);
        self.body_bytes_most.set(most as f64);
    }

    fn show(&self, found: &Found) {
        let (records, size) = (found.observed.records, found.observed.size);
        self.at.set(seconds(found.at));
        for (status, count) in [
            ("in_progress", records.in_progress),
            ("completed", records.completed),
            ("failed", records.failed),
        ] {
            self.keys.with_label_values(&[status]).set(count as f64);
        }
        self.keys_expired.set(records.expired as f64);
        self.store_bytes.set(size.store as f64);
        self.log_bytes.set(size.log.unwrap_or_default() as f64);
        self.records_bytes.set(size.records as f64);
        if let Some(run) = &found.observed.last_run {
            self.cleanup_began.set(seconds(run.started_at));
            self.cleanup_took
                .set(run.duration().unwrap_or_default().as_secs_f64());
            self.cleanup_succeeded.set(f64::from(!run.is_failure()));
        }
        // It only grows, in the database too.
        self.deleted.reset();
        self.deleted.inc_by(found.deleted_total.unsigned_abs());
        for name in AlertName::ALL {
            let fires = found.firing.iter().any(|alert| alert.name == *name);
            let alert = self.alerts.with_label_values(&[name.as_str()]);
            alert.set(f64::from(fires));
        }
    }
}

fn seconds(at: Timestamp) -> f64 {
    at.seconds() as f64
}

/// Show the metrics
///
/// In Prometheus' text format.
#[utoipa::path(
    get, path = "/metrics", operation_id = "getMetrics", tag = "operations",
    responses((status = 200, description = "The metrics", body = String, content_type = "text/plain")),
)]
pub async fn show(state: Data<State>) -> Result<HttpResponse, Problem> {
    let metrics = &state.metrics;
    metrics
        .seen
        .show_load(state.store.load(), state.intake.waiting());
    metrics.seen.show_health(state.store.health());
    metrics.seen.show_cache(&state.keys.cache);
    metrics.seen.show_bodies(&state.bodies);
    metrics.show_missing_lines(logging::missing());
    if let Some(found) = state.board.read() {
        metrics.seen.show(&found);
    }
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    encoder
        .encode(&metrics.registry.gather(), &mut text)
        .map_err(Problem::internal)?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, encoder.format_type()))
        .body(text))
}
