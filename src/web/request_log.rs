//! Gives each request an id, the log a line for each, and counts them.
//!
//! What the line tells beside status and duration, the handlers note on the way: see [`RequestNotes`]. Nothing that is
//! secret or that a body says is among it.

mod line;
#[cfg(test)]
mod tests;

use actix_web::{
    Error, HttpMessage as _, HttpRequest,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    error::InternalError,
    http::{
        Method, StatusCode, Uri,
        header::{HeaderName, HeaderValue},
    },
    middleware::Next,
    web::Data,
};
use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc, time::Instant};

use self::line::Line;

use super::{
    State,
    observer::{Observer, ObservesRequest},
    problem::{ErrorCode, Problem},
};

use crate::{
    access::{Caller, Token},
    idempotency::{IdempotencyKey, StoredReply},
    intake::{Answer, EventReport},
    provider::Delivery,
    shop::outcomes,
    store::{events, types::Uuid},
};

/// What the lines are filtered by in `RUST_LOG`.
const TARGET: &str = module_path!();

/// The header that carries the id.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The most events whose ids a line holds; a batch may have a thousand.
const MOST_EVENTS: usize = 5;

/// Stands for the route of what is at no path.
const NO_ROUTE: &str = "none";

/// The most bytes of a path that a line holds.
const MOST_PATH: usize = 256;

/// What the handlers tell the log about a request. Cheap to clone; all clones are of one request.
#[derive(Clone, Debug, Default)]
pub struct RequestNotes(Rc<RefCell<Facts>>);

#[derive(Debug, Default)]
struct Facts {
    id: String,
    route: Option<String>,
    outcome: Option<RequestOutcome>,
    error_code: Option<ErrorCode>,
    key: Option<String>,
    event_ids: Vec<String>,
    event_outcomes: Vec<String>,
    events: usize,
    client: Option<(String, Arc<str>)>,
    received: bool,
    duplicate_events: u64,
    conflicts: u64,
    orders: u64,
    edits_noted: u64,
    revokes_noted: u64,
    retailers: Vec<Uuid>,
    unknown_retailers: BTreeMap<String, u64>,
}

/// How many edits and revokes were noted on orders: those that the events tell, and those that came before their orders.
pub fn amendments(answer: &Answer) -> [(&'static str, u64); 2] {
    let told = |outcome: &events::Outcome, kind| {
        let events = answer.events.iter();
        let told = events.filter(|event| event.is_new(outcome.clone()));
        let earlier = answer.notes().filter(|note| note.kind == kind);
        (kind, (told.count() + earlier.count()) as u64)
    };
    [
        told(&outcomes::EDIT_NOTED, outcomes::EDIT),
        told(&outcomes::REVOKE_NOTED, outcomes::REVOKE),
    ]
}

/// The result of a request that was done once for its key or its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestOutcome {
    /// It was done.
    New,
    /// Its key had an answer.
    Replayed,
    /// Its key was new, and all its events were known.
    Duplicate,
    /// An event's id was known with another content.
    Conflict,
}

impl RequestNotes {
    /// Those of a request; notes that nobody reads where it is not logged.
    pub fn of(request: &HttpRequest) -> Self {
        let notes = request.extensions().get::<Self>().cloned();
        notes.unwrap_or_default()
    }

    /// The request's id, which its answer carries; empty where it is not logged.
    pub fn id(&self) -> String {
        self.0.borrow().id.clone()
    }

    /// Whose token the request has.
    pub fn client(&self, caller: &Caller) {
        let client = (caller.client_id.to_string(), caller.client_name.clone());
        self.0.borrow_mut().client = Some(client);
    }

    /// What was sent, before anything came of it.
    pub fn delivery(&self, delivery: &Delivery) {
        let mut facts = self.0.borrow_mut();
        let ids = delivery.events.iter().map(|event| event.id.clone());
        facts.event_ids = ids.take(MOST_EVENTS).collect();
        facts.events = delivery.events.len();
    }

    /// What a delivery was answered.
    pub fn answer(&self, answer: &Answer) {
        let mut facts = self.0.borrow_mut();
        let is_conflict: fn(&EventReport) -> bool =
            |event| event.handled.outcome == events::Outcome::CONFLICT;
        facts.outcome = Some(match answer.replayed {
            _ if answer.events.iter().any(is_conflict) => RequestOutcome::Conflict,
            true if answer.events.is_empty() => RequestOutcome::Replayed,
            true => RequestOutcome::Duplicate,
            false => RequestOutcome::New,
        });
        let outcomes = answer.events.iter().map(|event| match event.handled.known {
            true => "duplicate".to_owned(),
            false => event.handled.outcome.to_string(),
        });
        facts.event_outcomes = outcomes.take(MOST_EVENTS).collect();
        let count = |is: fn(&EventReport) -> bool| {
            answer.events.iter().filter(|event| is(event)).count() as u64
        };
        facts.duplicate_events = count(|event| event.handled.known);
        facts.conflicts = count(is_conflict);
        facts.orders = count(|event| event.is_new(outcomes::ORDER_CREATED));
        facts.retailers.clone_from(&answer.retailers);
        [(_, facts.edits_noted), (_, facts.revokes_noted)] = amendments(answer);
        for note in answer.notes() {
            if let (outcomes::LOST, Some(number)) = (note.kind, &note.about) {
                *facts.unknown_retailers.entry(number.clone()).or_default() += 1;
            }
        }
    }

    /// What a client's request has made, where it was done now.
    pub fn made(&self, orders: u64, retailers: &[Uuid]) {
        let mut facts = self.0.borrow_mut();
        facts.orders = orders;
        facts.retailers = retailers.to_vec();
    }
}

impl ObservesRequest for RequestNotes {
    fn received(&self) {
        self.0.borrow_mut().received = true;
    }

    fn key(&self, key: &IdempotencyKey) {
        self.0.borrow_mut().key = Some(Token::masked_in(key.as_str()));
    }

    fn route(&self, pattern: Option<String>) {
        self.0.borrow_mut().route = pattern;
    }

    fn reply(&self, reply: &StoredReply, replayed: bool) {
        let mut facts = self.0.borrow_mut();
        facts.error_code = ErrorCode::of_stored(reply);
        facts.outcome = Some(match replayed {
            true => RequestOutcome::Replayed,
            false => RequestOutcome::New,
        });
    }
}

/// Answers, then logs: what was asked for, its result, how long it took.
///
/// # Errors
/// The answer to a request that was lost with its handler, as in a panic; carries the request's id.
pub async fn log_request(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let told = RequestGuard::of(&request);
    let (id, notes) = (told.notes.id(), told.notes.clone());
    let observer: Observer = Rc::new(notes.clone());
    request.extensions_mut().insert(notes.clone());
    request.extensions_mut().insert(observer);
    let mut answered = next.call(request).await;
    let (status, problem) = match &mut answered {
        Ok(response) => {
            if let Ok(value) = HeaderValue::from_str(&id) {
                response.headers_mut().insert(REQUEST_ID, value);
            }
            notes.route(response.request().match_pattern());
            (response.status(), response.response().error())
        }
        Err(error) => (error.as_response_error().status_code(), Some(&*error)),
    };
    told.answered(
        status,
        problem.and_then(|error| error.as_error::<Problem>()),
    );
    answered.map_err(|error| with_id(error, &id))
}

/// A request that is told of once: when it is answered, or when it is dropped since its sender went away.
struct RequestGuard {
    begun: Instant,
    method: Method,
    uri: Uri,
    state: Option<Data<State>>,
    notes: RequestNotes,
    is_told: bool,
}

impl RequestGuard {
    fn of(request: &ServiceRequest) -> Self {
        let notes = RequestNotes::default();
        notes.0.borrow_mut().id = uuid::Uuid::new_v4().to_string();
        Self {
            begun: Instant::now(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            state: request.app_data::<Data<State>>().cloned(),
            notes,
            is_told: false,
        }
    }

    fn answered(mut self, status: StatusCode, problem: Option<&Problem>) {
        self.tell(Some(status), problem);
    }

    fn tell(&mut self, status: Option<StatusCode>, problem: Option<&Problem>) {
        self.is_told = true;
        let line = Line {
            method: &self.method,
            uri: &self.uri,
            status,
            problem,
            facts: &self.notes.0.borrow(),
            duration: self.begun.elapsed(),
        };
        if let Some(state) = &self.state {
            line.count(state);
        }
        line.log();
        line.warn_of_unknown_retailers();
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        if !self.is_told {
            self.tell(None, None);
        }
    }
}

/// The same error, answered with the request's id.
fn with_id(error: Error, id: &str) -> Error {
    let mut response = error.error_response();
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    InternalError::from_response(error, response).into()
}
