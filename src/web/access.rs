//! Asks for a bearer token, and tells the handler whose it is.

use actix_web::{
    Error, FromRequest, HttpMessage as _, HttpRequest,
    body::{EitherBody, MessageBody},
    dev::{Payload, Service, ServiceRequest, ServiceResponse, Transform, forward_ready},
    http::header::AUTHORIZATION,
    web::Data,
};
use futures_util::future::LocalBoxFuture;
use std::{
    future::{Ready, ready},
    rc::Rc,
};

use super::{
    State,
    problem::{ErrorCode, Problem},
    rate_limit::mark_verified,
    request_log::RequestNotes,
};
use crate::access::{self, Caller, Scope, Token};

/// Lets through what has a token with this scope (RFC 6750); the handler gets the [`Caller`]. For a route, a resource
/// or a scope of them: `web::post().to(handler).wrap(access::require(Scope::OrdersWrite))`.
pub fn require(scope: Scope) -> Require {
    Require(scope)
}

/// See [`require`].
#[derive(Clone, Copy, Debug)]
pub struct Require(Scope);

impl<S, B> Transform<S, ServiceRequest> for Require
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Transform = Guarded<S>;
    type InitError = ();
    type Future = Ready<Result<Guarded<S>, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(Guarded {
            needed: self.0,
            service: Rc::new(service),
        }))
    }
}

/// A service behind [`require`].
pub struct Guarded<S> {
    needed: Scope,
    service: Rc<S>,
}

impl<S, B> Service<ServiceRequest> for Guarded<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Error>>;

    forward_ready!(service);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let (needed, service) = (self.needed, self.service.clone());
        Box::pin(async move {
            match admit(request.request(), needed).await {
                Ok(caller) => {
                    request.extensions_mut().insert(caller);
                    Ok(service.call(request).await?.map_into_left_body())
                }
                // As an answer, not as an error, which would pass the log by.
                Err(problem) => Ok(request.error_response(problem).map_into_right_body()),
            }
        })
    }
}

/// Finds out who sends the request and whether they may.
async fn admit(request: &HttpRequest, needed: Scope) -> Result<Caller, Problem> {
    let state = request
        .app_data::<Data<State>>()
        .ok_or_else(|| Problem::internal(NoState))?;
    let token = bearer(request)?;
    let look_up = state.store.read(move |conn| access::caller(conn, &token));
    let found = tokio::time::timeout(state.config.load().request_timeout, look_up)
        .await
        .map_err(Problem::unavailable)??;
    let caller = found.ok_or_else(|| invalid("the token is unknown or revoked"))?;
    mark_verified(request);
    RequestNotes::of(request).client(&caller);
    state.limits.count_client(caller.client_id)?;
    if !caller.may(needed) {
        return Err(Problem::new(
            ErrorCode::ScopeMissing,
            format!("the token needs the scope {needed}"),
        ));
    }
    Ok(caller)
}

/// The token of the `Authorization` header.
fn bearer(request: &HttpRequest) -> Result<Token, Problem> {
    let mut headers = request.headers().get_all(AUTHORIZATION);
    let (first, another) = (headers.next(), headers.next());
    if another.is_some() {
        return Err(invalid("there are two Authorization headers"));
    }
    let bytes = first.map(|header| header.as_bytes()).unwrap_or_default();
    let text = bytes.trim_ascii();
    let end = text.iter().position(u8::is_ascii_whitespace);
    let (scheme, token) = text.split_at(end.unwrap_or(text.len()));
    if !scheme.eq_ignore_ascii_case(b"Bearer") {
        return Err(Problem::new(
            ErrorCode::TokenMissing,
            "send a token: Authorization: Bearer hk_…",
        ));
    }
    let token = std::str::from_utf8(token.trim_ascii()).unwrap_or_default();
    token
        .parse()
        .map_err(|_malformed| invalid("the token does not have the form of one"))
}

fn invalid(message: &str) -> Problem {
    Problem::new(ErrorCode::TokenInvalid, message)
}

/// The routes were put into an application without [`super::routes()`].
#[derive(Debug, thiserror::Error)]
#[error("the application has no state")]
struct NoState;

/// The route is not wrapped in [`require`].
#[derive(Debug, thiserror::Error)]
#[error("the route asks for no token, and yet for its caller")]
struct NotRequired;

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let caller = request.extensions().get::<Self>().cloned();
        ready(caller.ok_or_else(|| Problem::internal(NotRequired)))
    }
}
