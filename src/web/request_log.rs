//! Gives each request an id, and the log a line for each.

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    error::InternalError,
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
/// That of a handler which took its request along, as a panic does; with its id.
pub async fn log_request(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let begun = Instant::now();
    let id = uuid::Uuid::new_v4().to_string();
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let state = request.app_data::<Data<State>>().cloned();
    let mut response = match next.call(request).await {
        Ok(response) => response,
        Err(error) => {
            if let (Some(problem), Some(state)) = (error.as_error::<Problem>(), state) {
                state.metrics.count_refusal(problem.code);
            }
            let status = error.as_response_error().status_code();
            log::error!(
                "{method} {} {} {error} in {:.1?} id={id}",
                uri.path(),
                status.as_u16(),
                begun.elapsed(),
            );
            return Err(with_id(error, &id));
        }
    };
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let problem = response
        .response()
        .error()
        .and_then(|error| error.as_error::<Problem>());
    if let (Some(problem), Some(state)) = (problem, state) {
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

/// The same error, answered with the request's id.
fn with_id(error: Error, id: &str) -> Error {
    let mut response = error.error_response();
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    InternalError::from_response(error, response).into()
}

fn result(response: &ServiceResponse<impl MessageBody>) -> &'static str {
    match response.headers().get(REPLAYED) {
        Some(value) if value == "true" => "replayed",
        Some(_) => "new",
        None => "ok",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::{App, HttpResponse, middleware::from_fn, test, web};
    use std::io;

    async fn lose(
        _request: ServiceRequest,
        _next: Next<impl MessageBody>,
    ) -> Result<ServiceResponse, Error> {
        Err(Problem::internal(io::Error::other("the handler died")).into())
    }

    #[actix_web::test]
    async fn an_error_that_took_its_request_along_has_an_id_too() {
        let app = App::new()
            .route("/", web::post().to(HttpResponse::Ok))
            .wrap(from_fn(lose))
            .wrap(from_fn(log_request));
        let app = test::init_service(app).await;
        let request = test::TestRequest::post().uri("/").to_request();
        let answer = test::try_call_service(&app, request).await;
        let error = answer.err().expect("an error");
        let response = error.error_response();
        assert_eq!(response.status(), 500);
        assert!(response.headers().contains_key(REQUEST_ID));
        let content_type = response.headers().get("Content-Type").unwrap();
        assert_eq!(content_type, "application/problem+json");
    }
}
