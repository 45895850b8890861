//! Idempotency for handlers of one's own, as actix middleware: each key's work is done once, and its answer replayed.
//! Only HTTP; the work's two phases are in [`crate::idempotency::two_phase`].

mod capture;
mod coding;
mod finality;
mod replay;
mod run;
mod settings;

use actix_web::{
    Error,
    body::MessageBody,
    dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready},
};
use futures_util::future::LocalBoxFuture;
use std::{
    future::{Ready, ready},
    rc::Rc,
    sync::Arc,
};

#[cfg(doc)]
use crate::idempotency::StoredReply;
use run::ToTheEnd;
use settings::Settings;

pub use finality::{UnreadableRequest, is_final, unread, was_refused};

/// Middleware around an `App`, a `Scope`, a `Resource` or a `Route`: a request that carries an idempotency key reaches
/// the handler once, and every repetition of it gets the first answer, byte for byte.
///
/// ```no_run
/// # use actix_web::{App, Error, HttpResponse, HttpServer, body::MessageBody, dev::{ServiceRequest, ServiceResponse}, middleware::{Next, from_fn}, web};
/// # use hookonce::{store::Store, web::Idempotency};
/// # async fn charge() -> HttpResponse { HttpResponse::Created().finish() }
/// # fn client(_: &ServiceRequest) -> Result<String, Error> { Ok(String::new()) }
/// # async fn authenticate(request: ServiceRequest, next: Next<impl MessageBody>) -> Result<ServiceResponse<impl MessageBody>, Error> { next.call(request).await }
/// # fn serve(store: Store) {
/// let idempotency = Idempotency::new(store).scope(client);
/// HttpServer::new(move || {
///     let charges = web::resource("/charges").route(web::post().to(charge));
///     // The last that is wrapped comes first: who asks is checked before an answer is replayed.
///     App::new().service(charges.wrap(idempotency.clone()).wrap(from_fn(authenticate)))
/// });
/// # }
/// ```
///
/// **Not exactly once.** The handler's work and its stored answer are not one transaction, even if the handler writes to
/// the same database through the same [`Store`](crate::store::Store): a process that dies between the two leaves the work
/// without its answer, and once the lease has run out the same request does it again. What the handler does is done at least once where
/// processes die, and once where they do not. Work that is in the database alone belongs into the transaction of its
/// answer: see [`crate::idempotency`], *In one transaction*. Work that is elsewhere is given the key on its way.
///
/// **What goes around what.** A replay does not reach what is within the middleware. So authentication, rate limits and
/// whatever else may refuse goes around it; within it, whoever knows a key reads its answer without a token. And keys are
/// to have a [`scope`](Self::scope) for each client, or one reads what another was answered. Compression goes around it as
/// well: within it the handler's answer is stored as it is compressed, and undone for clients that cannot read it.
///
/// Build it once, where the server is started, and clone it into each worker's application: leases are then renewed
/// beside the workers, and a handler that blocks its worker's thread keeps its key. One around a handler is enough: a
/// second one within the first that finds the same scope and key lets the request through, and says so in the log once.
///
/// | what comes | what happens |
/// | --- | --- |
/// | another method than [`methods`](Self::methods) | passes through |
/// | no key | 400 `IDEMPOTENCY_KEY_REQUIRED`, or passes through: [`required`](Self::required) |
/// | a new key | it is claimed in the database, the handler runs, its answer is stored and sent with `Idempotent-Replayed: false` |
/// | a known key, the same request | the stored answer with `Idempotent-Replayed: true` |
/// | a known key, another request | 409 `IDEMPOTENCY_KEY_MISMATCH` |
/// | a known key whose handler still runs | 409 `REQUEST_PROCESSING` with `Retry-After` |
/// | the database is away | 503 `STORE_UNAVAILABLE`; the handler does not run |
///
/// The same request has the same method, path, query, content type and body. What is meant counts: white space and the
/// order of members do not in a JSON body (members that come twice do), nor does the boundary of a multipart body, nor
/// whether and how a body is compressed with gzip or deflate. A key stands for the first request until it expires, also
/// where that one failed or died: the same request does the work again, another is a mismatch.
///
/// What is not stored, so that the same request runs the handler again: a panic, an answer that says to come again
/// (5xx, 408, 423, 425, 429, a 4xx with `Retry-After`; see [`is_final`] and [`stores`](Self::stores)), and a body that breaks off, is
/// larger than [`StoredReply::MAX_BYTES`] or does not end within [`answer_timeout`](Self::answer_timeout). The last three are answered with a
/// 500, **though the handler has run**. What says that the request could not be read or was not let in (401, 403, 413,
/// 415, what an extractor refuses; see [`was_refused`]) gives the key back as if it had never been used. A panic and an error of
/// another middleware take the request with them, so they leave this one as an `Err`.
///
/// A handler runs to its end though its client goes away, and its answer is stored; what task-locals an outer middleware
/// has set are there until then. Where its process dies, the key
/// comes free when its [`lease`](Self::lease) runs out, and the same request runs the handler again. What a handler
/// does outside the database may so be done twice: let it pass the key on to whatever it calls. It finds the key in
/// `web::ReqData<IdempotencyKey>`.
#[derive(Clone)]
pub struct Idempotency(Arc<Settings>);

impl<S, B> Transform<S, ServiceRequest> for Idempotency
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse;
    type Error = Error;
    type Transform = IdempotencyService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(IdempotencyService {
            settings: self.0.clone(),
            service: Rc::new(service),
        }))
    }
}

/// A service with [`Idempotency`] around it.
pub struct IdempotencyService<S> {
    settings: Arc<Settings>,
    service: Rc<S>,
}

impl<S, B> Service<ServiceRequest> for IdempotencyService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse;
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<ServiceResponse, Error>>;

    forward_ready!(service);

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        let (settings, service) = (self.settings.clone(), self.service.clone());
        Box::pin(async move {
            match settings.keyed(&mut request).await {
                Ok(None) => Ok(service.call(request).await?.map_into_boxed_body()),
                // actix drops this future where the client goes away. What has begun is finished all the same.
                Ok(Some(keyed)) => ToTheEnd::of(settings.answer(service, request, keyed)).await,
                Err(error) => Ok(request.error_response(error)),
            }
        })
    }
}
