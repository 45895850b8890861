//! Runs the handler of a request that has its key, and settles its result.

use actix_web::{
    Error, HttpRequest, HttpResponse,
    body::{BoxBody, MessageBody, to_bytes_limited},
    dev::{Service, ServiceRequest, ServiceResponse},
    http::header::{self, HeaderMap},
    rt,
};
use futures_util::FutureExt as _;
use std::{
    panic::AssertUnwindSafe,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::timeout;

use super::{
    coding::text,
    replay::{first, send},
    settings::Settings,
    was_refused,
};
use crate::{
    causes::panic_message,
    idempotency::{
        KeyedRequest, StoredReply,
        two_phase::{Begun, CompletionResult, Running},
    },
    web::{
        observer::{ObservesRequest, observer_of},
        problem::Problem,
    },
};

/// A future that comes to its end though nobody waits for it any more: dropped half-way, it goes on in a task of its own.
/// Until then it runs in the task that waits for it, and so finds that one's task-locals.
pub(super) struct ToTheEnd<F: Future + 'static>(Option<Pin<Box<F>>>);

impl<F: Future + 'static> ToTheEnd<F> {
    pub fn of(future: F) -> Self {
        Self(Some(Box::pin(future)))
    }
}

impl<F: Future + 'static> Future for ToTheEnd<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // Taken out meanwhile: one that panics is over.
        let Some(mut future) = self.0.take() else {
            return Poll::Pending;
        };
        let polled = future.as_mut().poll(context);
        if polled.is_pending() {
            self.0 = Some(future);
        }
        Poll::Ready(ready!(polled))
    }
}

impl<F: Future + 'static> Drop for ToTheEnd<F> {
    fn drop(&mut self) {
        if let Some(future) = self.0.take() {
            rt::spawn(future);
        }
    }
}

/// The outcome of a request in its handler.
enum HandlerResult {
    /// An answer to store.
    Answered(HttpResponse, StoredReply),
    /// An answer that is not stored: the same request may come again.
    Again(HttpResponse),
    /// An answer that is not stored: nothing was tried, and any request may have the key.
    Refused(HttpResponse),
    /// No answer.
    Failed(Failure),
}

/// Why a handler has no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the handler panicked: {0}")]
    Died(String),
    #[error("the reply broke off: {0}")]
    BrokeOff(String),
    #[error(
        "the reply is larger than the {} bytes that are stored",
        StoredReply::MAX_BYTES
    )]
    TooLarge,
    #[error("the reply has not come to its end within {0:?}")]
    Endless(Duration),
}

impl Settings {
    /// Answers a request with a key. Not to be dropped half-way.
    pub(super) async fn answer<S, B>(
        self: Arc<Self>,
        service: Rc<S>,
        request: ServiceRequest,
        keyed: KeyedRequest,
    ) -> Result<ServiceResponse, Error>
    where
        S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
        B: MessageBody + 'static,
    {
        let running = match self.two_phase.begin(keyed).await {
            Ok(Begun::Acquired(running)) => running,
            Ok(Begun::Replay(answered)) => {
                let (request, _read) = request.into_parts();
                observer_of(&request).reply(&answered.reply, true);
                let reply = self.replay(&answered, request.headers());
                return send(Some(request), reply);
            }
            Err(error) => return Ok(request.error_response(Problem::from(error))),
        };
        let observer = observer_of(request.request());
        let accepted = request.headers().clone();
        let handler = AssertUnwindSafe(self.run(service, request)).catch_unwind();
        let (request, outcome) = match handler.await {
            Ok(ran) => ran,
            Err(panic) => (
                None,
                HandlerResult::Failed(Failure::Died(panic_message(&*panic))),
            ),
        };
        let answer = self.settle(*running, outcome, &*observer, &accepted).await;
        send(request, answer)
    }

    /// Runs the handler. Gives the request back with its result, unless an error took it along.
    async fn run<S, B>(
        &self,
        service: Rc<S>,
        request: ServiceRequest,
    ) -> (Option<HttpRequest>, HandlerResult)
    where
        S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
        B: MessageBody + 'static,
    {
        let (request, response) = match service.call(request).await {
            Ok(response) => {
                let (request, response) = response.into_parts();
                (Some(request), response.map_into_boxed_body())
            }
            Err(error) => (None, HttpResponse::from_error(error)),
        };
        let outcome = match () {
            () if (self.refuses)(&response) => HandlerResult::Refused(response),
            () if (self.stores)(&response) => self.collect(response).await,
            () if was_refused(&response) => HandlerResult::Refused(response),
            () => HandlerResult::Again(response),
        };
        (request, outcome)
    }

    /// Reads the answer into memory, if it is not larger than what is stored.
    async fn collect(&self, response: HttpResponse) -> HandlerResult {
        let (head, body) = response.into_parts();
        let reading = to_bytes_limited(body, StoredReply::MAX_BYTES);
        let body = match timeout(self.answer_timeout, reading).await {
            Ok(Ok(Ok(body))) => body,
            Ok(Ok(Err(error))) => {
                return HandlerResult::Failed(Failure::BrokeOff(error.to_string()));
            }
            Ok(Err(_larger)) => return HandlerResult::Failed(Failure::TooLarge),
            Err(_elapsed) => return HandlerResult::Failed(Failure::Endless(self.answer_timeout)),
        };
        let names = self.replayed_headers.iter();
        let headers = names
            .chain([&header::CONTENT_ENCODING])
            .filter_map(|name| Some((name.to_string(), text(head.headers(), name)?)));
        let reply = StoredReply {
            status: head.status().as_u16().cast_signed(),
            content_type: text(head.headers(), &header::CONTENT_TYPE),
            headers: headers.collect(),
            body: body.clone(),
        };
        HandlerResult::Answered(head.set_body(BoxBody::new(body)), reply)
    }

    /// Stores the answer or gives the key back, and says what is sent.
    async fn settle(
        &self,
        running: Running,
        outcome: HandlerResult,
        observer: &dyn ObservesRequest,
        accepted: &HeaderMap,
    ) -> Result<HttpResponse, Problem> {
        match outcome {
            HandlerResult::Answered(response, reply) => {
                observer.reply(&reply, false);
                match running.complete(reply).await? {
                    CompletionResult::Stored => Ok(first(response)),
                    CompletionResult::Overtaken(answered) => {
                        observer.reply(&answered.reply, true);
                        self.replay(&answered, accepted)
                    }
                }
            }
            HandlerResult::Again(response) => {
                running.release(&reason(&response)).await;
                Ok(first(response))
            }
            HandlerResult::Refused(response) => {
                running.withdraw(&reason(&response)).await;
                Ok(first(response))
            }
            HandlerResult::Failed(failure) => {
                running.release(&failure.to_string()).await;
                Err(Problem::internal(failure))
            }
        }
    }
}

/// Why an answer was not stored, for the operator.
fn reason(response: &HttpResponse) -> String {
    match response.error() {
        Some(error) => format!("answered {}: {error}", response.status()),
        None => format!("answered {}", response.status()),
    }
}
