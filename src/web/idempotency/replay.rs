//! Gives answers: the first one as it came, a stored one so that its client can read it.

use actix_web::{
    Error, HttpRequest, HttpResponse,
    dev::ServiceResponse,
    error::InternalError,
    http::header::{CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue},
};

use super::{coding, settings::Settings};
use crate::{
    idempotency::Answered,
    store::types::Timestamp,
    web::{problem::Problem, reply},
};

const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

impl Settings {
    /// The stored answer, for a client that accepts this.
    pub(super) fn replay(
        &self,
        answered: &Answered,
        accepted: &HeaderMap,
    ) -> Result<HttpResponse, Problem> {
        /// What a stored answer may come to.
        const MOST: usize = 64 * 1024 * 1024;
        if let Some(replays) = &self.replays {
            replays.note(answered.record, Timestamp::now());
        }
        let mut stored = answered.reply.clone();
        let codings = stored.headers.get(CONTENT_ENCODING.as_str());
        if let Some(codings) = codings.filter(|codings| !coding::is_read_by(accepted, codings))
            && let Some(plain) = coding::undo(codings, &stored.body, MOST)
        {
            stored.body = plain.into_owned().into();
            stored.headers.remove(CONTENT_ENCODING.as_str());
        }
        reply::stored(&stored, true)
    }
}

pub(super) fn first(mut response: HttpResponse) -> HttpResponse {
    let headers = response.headers_mut();
    headers.insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("false"));
    response
}

/// An answer to the request, or an error where the request was lost.
pub(super) fn send(
    request: Option<HttpRequest>,
    answer: Result<HttpResponse, Problem>,
) -> Result<ServiceResponse, Error> {
    match (request, answer) {
        (Some(request), Ok(response)) => Ok(ServiceResponse::new(request, response)),
        (Some(request), Err(problem)) => Ok(ServiceResponse::from_err(problem, request)),
        (None, Ok(response)) => Err(InternalError::from_response("an error", response).into()),
        (None, Err(problem)) => Err(problem.into()),
    }
}
