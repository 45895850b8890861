//! Gives each request an id, and the log a line for each.

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::header::{HeaderName, HeaderValue},
    middleware::Next,
    web::Data,
};
use log::Level;
use std::time::Instant;

use super::{State, problem::Problem, reply::REPLAYED};

/// The header that carries the id.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Answers, then logs: method, path, status, what came of it, how long it took.
///
/// # Errors
/// The handler's own.
pub async fn log_request(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let begun = Instant::now();
    let id = uuid::Uuid::new_v4().to_string();
    let mut response = next.call(request).await?;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let problem = response
        .response()
        .error()
        .and_then(|error| error.as_error::<Problem>());
    if let (Some(problem), Some(state)) = (problem, response.request().app_data::<Data<State>>()) {
        state.metrics.count_refusal(problem.code);
    }
    let status = response.status();
    let level = match status.as_u16() {
        500.. => Level::Error,
        400.. => Level::Warn,
        _ => Level::Info,
    };
    log::log!(
        level,
        "{} {} {} {} in {:.1?} id={id}",
        response.request().method(),
        response.request().path(),
        status.as_u16(),
        problem.map_or_else(|| result(&response).to_owned(), ToString::to_string),
        begun.elapsed(),
    );
    Ok(response)
}

fn result(response: &ServiceResponse<impl MessageBody>) -> &'static str {
    match response.headers().get(REPLAYED) {
        Some(value) if value == "true" => "replayed",
        Some(_) => "new",
        None => "ok",
    }
}
