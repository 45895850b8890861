//! What the log and the counters are told of a request.

use actix_web::http::{Method, StatusCode, Uri};
use log::Level;
use serde_json::json;
use std::time::Duration;

use super::{
    super::{
        State,
        problem::{ErrorCode, Problem},
    },
    Facts, MOST_EVENTS, MOST_PATH, NO_ROUTE, RequestOutcome, TARGET,
};

use crate::{
    access::Token,
    logging::{self, Fields},
    statistics::{RequestSample, TrafficClass},
    store::types::Timestamp,
};

/// All that is told of a request.
pub(super) struct Line<'a> {
    pub method: &'a Method,
    pub uri: &'a Uri,
    /// `None` where nobody waited for the answer.
    pub status: Option<StatusCode>,
    pub problem: Option<&'a Problem>,
    pub facts: &'a Facts,
    pub duration: Duration,
}

impl Line<'_> {
    pub fn count(&self, state: &State) {
        if let Some(problem) = self.problem {
            state.metrics.count_refusal(problem.code);
        }
        let route = self.facts.route.as_deref().unwrap_or(NO_ROUTE);
        let metrics = &state.metrics;
        metrics.count_request(route, self.outcome(), self.duration);
        if self.facts.received {
            let received = RequestSample {
                class: self.traffic_class(),
                took: self.duration,
                duplicate_events: self.facts.duplicate_events,
                conflicts: self.facts.conflicts,
                orders: self.facts.orders,
                edits_noted: self.facts.edits_noted,
                revokes_noted: self.facts.revokes_noted,
                retailers: self.facts.retailers.clone(),
                unknown_retailers: self.facts.unknown_retailers.clone(),
            };
            state.traffic.count(&received, Timestamp::now());
        }
    }

    /// Its result, of the seven things that may.
    fn traffic_class(&self) -> TrafficClass {
        let is_failure = self.status.is_none_or(|status| status.is_server_error());
        match (self.problem, self.facts.outcome) {
            _ if is_failure => TrafficClass::Failed,
            (_, Some(RequestOutcome::Replayed | RequestOutcome::Duplicate)) => {
                TrafficClass::Replayed
            }
            (_, Some(RequestOutcome::New | RequestOutcome::Conflict)) | (None, None) => {
                TrafficClass::First
            }
            (Some(problem), None) => match problem.code {
                ErrorCode::IdempotencyKeyMismatch => TrafficClass::Mismatched,
                ErrorCode::RequestProcessing => TrafficClass::InProgressRejected,
                // An address has its limit for what nobody has signed.
                ErrorCode::SignatureMissing
                | ErrorCode::SignatureInvalid
                | ErrorCode::RateLimited => TrafficClass::SignatureRejected,
                _ => TrafficClass::Malformed,
            },
        }
    }

    pub fn log(&self) {
        // That there is no room is a refusal like any other: nothing broke.
        let is_refusal = self
            .problem
            .is_some_and(|problem| problem.code == ErrorCode::Overloaded);
        let level = match self.status.map(|status| status.as_u16()) {
            Some(500..) if !is_refusal => Level::Error,
            Some(400..) | None => Level::Warn,
            Some(_) => Level::Info,
        };
        if !log::log_enabled!(level) {
            return;
        }
        let path = self.path();
        let route = self.facts.route.as_deref().unwrap_or(&path);
        let (method, outcome) = (self.method, self.outcome());
        // Nothing that strangers choose: neither a path where there is nothing, nor a method.
        let known = self.facts.route.as_deref().unwrap_or(NO_ROUTE);
        let code = self.problem.map(|problem| problem.code.name());
        let kind = format_args!("{known} {:?} {outcome} {code:?}", self.status);
        let log = |line| {
            let fields = || self.fields(&path);
            logging::log(level, TARGET, kind, line, fields);
        };
        match self.status.map(|status| status.as_u16()) {
            Some(status) => log(format_args!("{method} {route} {status} {outcome}")),
            None => log(format_args!("{method} {route} {outcome}")),
        }
    }

    /// Says which numbers of a message no retailer has: whoever wrote there waits in vain.
    pub fn warn_of_unknown_retailers(&self) {
        let unknown = &self.facts.unknown_retailers;
        let count: u64 = unknown.values().sum();
        if count == 0 || !log::log_enabled!(Level::Warn) {
            return;
        }
        let numbers: Vec<_> = unknown.keys().take(MOST_EVENTS).collect();
        let more = unknown.len() - numbers.len();
        let fields = || {
            Fields::from([
                ("request_id", json!(self.facts.id)),
                ("messages", json!(count)),
                ("numbers", json!(numbers)),
                ("numbers_more", json!((more > 0).then_some(more))),
            ])
        };
        logging::log(
            Level::Warn,
            TARGET,
            format_args!("unknown retailer"),
            format_args!(
                "no retailer has the number that was written to: nothing became of the message"
            ),
            fields,
        );
    }

    /// What is known. What is not is left out.
    fn fields(&self, path: &str) -> Fields {
        let facts = self.facts;
        let code = self.problem.map(|problem| problem.code);
        let code = code.or(facts.error_code).map(ErrorCode::name);
        let more = facts.events.saturating_sub(facts.event_ids.len());
        let client = facts.client.as_ref();
        // Three digits are enough, and no more are true.
        let duration = (self.duration.as_secs_f64() * 1e6).round() / 1e3;
        Fields::from([
            ("request_id", json!(facts.id)),
            ("method", json!(self.method.as_str())),
            ("route", json!(facts.route)),
            ("path", json!(path)),
            ("status", json!(self.status.map(|status| status.as_u16()))),
            ("outcome", json!(self.outcome())),
            ("error_code", json!(code)),
            ("error", json!(self.problem.map(Problem::for_log))),
            ("key", json!(facts.key)),
            ("client", json!(client.map(|(_, name)| &**name))),
            ("client_id", json!(client.map(|(id, _)| id))),
            ("event_ids", json!(facts.event_ids)),
            ("event_outcomes", json!(facts.event_outcomes)),
            ("events_more", json!((more > 0).then_some(more))),
            ("duration_ms", json!(duration)),
        ])
    }

    /// The path without its query, which may hold a token.
    fn path(&self) -> String {
        let path = Token::masked_in(self.uri.path());
        match path.char_indices().find(|(at, _)| *at >= MOST_PATH) {
            Some((end, _)) => format!("{}…", &path[..end]),
            None => path,
        }
    }

    /// Its result, in the word that an operator looks for.
    fn outcome(&self) -> &'static str {
        let Some(status) = self.status else {
            return "abandoned";
        };
        match (self.problem, self.facts.outcome) {
            (Some(problem), _) => match problem.code {
                ErrorCode::IdempotencyKeyMismatch => "mismatch",
                ErrorCode::RequestProcessing => "in progress",
                _ => by_status(status),
            },
            (None, Some(RequestOutcome::New)) => "new",
            (None, Some(RequestOutcome::Replayed)) => "replayed",
            (None, Some(RequestOutcome::Duplicate)) => "duplicate",
            (None, Some(RequestOutcome::Conflict)) => "conflict",
            (None, None) => by_status(status),
        }
    }
}

pub(super) fn by_status(status: StatusCode) -> &'static str {
    match status.as_u16() {
        500.. => "failed",
        400.. => "refused",
        _ => "ok",
    }
}
