//! What is counted and measured, for Prometheus.

mod listeners;
mod sample;

use actix_web::{HttpResponse, http::header::CONTENT_TYPE, web::Data};
use prometheus::{
    Encoder as _, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry,
    TextEncoder, core::Collector,
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use self::{
    listeners::{CacheMetrics, WriteMetrics},
    sample::LastSample,
};
use super::{
    State,
    problem::{ErrorCode, Problem},
    request_log,
};
use crate::{
    idempotency::Cache,
    intake::Answer,
    logging::{self, Missing},
    provider::Provider,
    server::Connections,
    statistics::Traffic,
    store::Store,
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
    seen: LastSample,
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
        register_others(&registry, store, traffic, cache, connections)?;
        let counters = |name: &str, about: &str, labels: &[&str]| {
            registered(
                &registry,
                IntCounterVec::new(Opts::new(name, about), labels)?,
            )
        };
        Ok(Self {
            requests: counters(
                "hookonce_requests_total",
                "Requests answered, by route and outcome.",
                &["route", "outcome"],
            )?,
            durations: durations(&registry)?,
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
            seen: LastSample::new(&registry)?,
            registry,
        })
    }

    /// Counts a request: the pattern of its path, its result, how long it took.
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

fn durations(registry: &Registry) -> Result<HistogramVec, prometheus::Error> {
    let seconds = HistogramOpts::new(
        "hookonce_request_duration_seconds",
        "How long requests took, by route and outcome.",
    );
    let seconds = seconds.buckets(SECONDS.to_vec());
    registered(registry, HistogramVec::new(seconds, &["route", "outcome"])?)
}

/// Registers what others count, and what never changes.
fn register_others(
    registry: &Registry,
    store: &Store,
    traffic: &Traffic,
    cache: &Cache,
    connections: &Connections,
) -> Result<(), prometheus::Error> {
    store
        .health()
        .listen(Arc::new(WriteMetrics::new(registry)?));
    registered(registry, traffic.lookup_seconds())?;
    cache.listen(Arc::new(CacheMetrics::new(registry)?));
    registered(registry, connections.open_now())?;
    registered(registry, connections.refused())?;
    registered(registry, connections.ended())?;
    let most = "The most connections that there may be.";
    let most = registered(registry, Gauge::new("hookonce_connections_max", most)?)?;
    most.set(connections.limits().most as f64);
    let build = gauges(
        registry,
        "hookonce_build_info",
        "Always 1; its label is the version.",
        &["version"],
    )?;
    build
        .with_label_values(&[env!("CARGO_PKG_VERSION")])
        .set(1.0);
    Ok(())
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

fn gauge(registry: &Registry, name: &str, about: &str) -> Result<Gauge, prometheus::Error> {
    registered(registry, Gauge::new(name, about)?)
}

fn gauges(
    registry: &Registry,
    name: &str,
    about: &str,
    labels: &[&str],
) -> Result<GaugeVec, prometheus::Error> {
    registered(registry, GaugeVec::new(Opts::new(name, about), labels)?)
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
    if let Some(found) = state.latest_status.read() {
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
