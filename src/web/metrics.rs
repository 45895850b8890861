//! What is counted, for Prometheus.

use actix_web::{HttpResponse, http::header::CONTENT_TYPE, web::Data};
use prometheus::{Encoder as _, IntCounterVec, Opts, Registry, TextEncoder};

use super::{
    State,
    problem::{ErrorCode, Problem},
};
use crate::{intake::Answer, provider::Provider};

/// The counters of this process; they begin at zero with it.
pub struct Metrics {
    registry: Registry,
    deliveries: IntCounterVec,
    events: IntCounterVec,
    refusals: IntCounterVec,
}

impl Metrics {
    /// All at zero.
    ///
    /// # Errors
    /// Where two have one name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        Ok(Self {
            deliveries: counter(
                "hookonce_deliveries_total",
                "Deliveries answered, by provider and whether the answer was new or replayed.",
                &["provider", "result"],
            )?,
            events: counter(
                "hookonce_events_total",
                "Events looked at, by provider and outcome; an event that was known before is a duplicate_event.",
                &["provider", "outcome"],
            )?,
            refusals: counter(
                "hookonce_refusals_total",
                "Requests answered with an error, by its code.",
                &["error_code"],
            )?,
            registry,
        })
    }

    /// Counts a delivery and its events.
    pub fn count_answer(&self, provider: Provider, answer: &Answer) {
        let provider = provider.as_str();
        let result = if answer.replayed { "replayed" } else { "new" };
        self.deliveries.with_label_values(&[provider, result]).inc();
        for event in &answer.events {
            let outcome = match event.known {
                true => "duplicate_event",
                false => event.outcome.as_str(),
            };
            self.events.with_label_values(&[provider, outcome]).inc();
        }
    }

    /// Counts a request that was answered with an error.
    pub fn count_refusal(&self, code: ErrorCode) {
        self.refusals.with_label_values(&[code.name()]).inc();
    }
}

/// Show the metrics
///
/// In Prometheus' text format.
#[utoipa::path(
    get, path = "/metrics", operation_id = "getMetrics", tag = "operations",
    responses((status = 200, description = "The metrics", body = String, content_type = "text/plain")),
)]
pub async fn show(state: Data<State>) -> Result<HttpResponse, Problem> {
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    encoder
        .encode(&state.metrics.registry.gather(), &mut text)
        .map_err(Problem::internal)?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, encoder.format_type()))
        .body(text))
}
