//! Whether an answer is the last word on a request.

use actix_multipart::MultipartError;
use actix_web::{
    Error, HttpResponse, ResponseError,
    error::{
        ContentTypeError, InternalError, JsonPayloadError, ParseError, PathError, PayloadError,
        QueryPayloadError, ReadlinesError, UrlencodedError,
    },
    http::{StatusCode, header::RETRY_AFTER},
};
use std::fmt;

use crate::web::problem::Problem;

/// Whether an answer is the last word on its request, rather than an invitation to come again (5xx, 408, 423, 425, 429, a
/// 4xx with `Retry-After`) or a refusal of what was not even tried ([`was_refused`]). What the middleware stores, where
/// [`stores`](super::Idempotency::stores) says nothing else.
pub fn is_final(response: &HttpResponse) -> bool {
    let status = response.status();
    let comes_again = matches!(status.as_u16(), 408 | 423 | 425 | 429 | 500..)
        || (status.is_client_error() && response.headers().contains_key(RETRY_AFTER));
    !comes_again && !was_refused(response)
}

/// Whether an answer says that who asks was not let in (401, 403), or that the request could not be read: 413, 415, and
/// the errors of extractors, of actix's own (`Json`, `Form`, `Query`, `Path`, `Bytes`, `Header`, multipart) and of error handlers that wrap
/// them ([`InternalError`], [`unread`]).
pub fn was_refused(response: &HttpResponse) -> bool {
    matches!(response.status().as_u16(), 401 | 403 | 413 | 415)
        || response.error().is_some_and(is_about_reading)
}

fn is_about_reading(error: &Error) -> bool {
    let problem = error.as_error::<Problem>();
    problem.is_some_and(|problem| problem.code.leaves_unread())
        || error.as_error::<UnreadableRequest>().is_some()
        || is::<JsonPayloadError>(error)
        || is::<UrlencodedError>(error)
        || is::<QueryPayloadError>(error)
        || is::<PathError>(error)
        // What `Path` fails with where it has no error handler.
        || error.as_error::<InternalError<serde::de::value::Error>>().is_some()
        || is::<PayloadError>(error)
        || is::<ReadlinesError>(error)
        || is::<ContentTypeError>(error)
        || is::<ParseError>(error)
        || is::<MultipartError>(error)
}

/// Whether it is such an error, or wraps one as `ErrorBadRequest(error)` and `InternalError::from_response` do.
fn is<T: ResponseError + 'static>(error: &Error) -> bool {
    error.as_error::<T>().is_some() || error.as_error::<InternalError<T>>().is_some()
}

/// Marks an error of one's own as one of a request that could not be read, and leaves it as it is otherwise:
///
/// ```
/// # use actix_web::{error::ErrorUnprocessableEntity, web::JsonConfig};
/// # use hookonce::web::unread;
/// JsonConfig::default().error_handler(|error, _| unread(ErrorUnprocessableEntity(error.to_string())));
/// ```
pub fn unread(error: impl Into<Error>) -> Error {
    UnreadableRequest(error.into()).into()
}

/// An error of a request that could not be read.
#[derive(Debug)]
pub struct UnreadableRequest(Error);

impl fmt::Display for UnreadableRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ResponseError for UnreadableRequest {
    fn status_code(&self) -> StatusCode {
        self.0.as_response_error().status_code()
    }

    fn error_response(&self) -> HttpResponse {
        self.0.as_response_error().error_response()
    }
}
