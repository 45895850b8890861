//! Takes a verified delivery and acts on it exactly once: one transaction claims the key, claims each event, has the
//! handlers do their work, and stores the reply. Knows neither HTTP nor SQL.

mod answer;
mod batch;
mod events;
mod gather;
mod job;
mod keys;
mod pieces;
mod result;

pub use answer::{Answer, EventReport, Reply};

use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

use self::{
    gather::Gatherer,
    job::{Job, Piece, Processed},
};
use crate::{
    handler::{Handler, HandlerError},
    idempotency::{
        Answered, Fingerprint, IdempotencyKey, InvalidKey, KeyedRequest, LookupTimer, RequestError,
        StoredReply,
        admission::Ticket,
        transactional::{Entry, Transactional},
    },
    provider::Delivery,
    redaction::Redaction,
    store::{
        self, Store, StoreError,
        types::{Json, Timestamp},
    },
};

/// How deliveries are taken in.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether keys count. Events count once either way.
    pub keys_enabled: bool,
    /// What is masked in what is stored of a delivery.
    pub redaction: Redaction,
    /// The most events that are acted on in one transaction.
    pub batch: usize,
}

/// The place where deliveries are acted on.
#[derive(Clone)]
pub struct Intake {
    shared: Arc<Shared>,
    keys: Transactional,
    gatherer: Arc<Gatherer>,
}

/// What all jobs have in common.
struct Shared {
    settings: Settings,
    handlers: Vec<Arc<dyn Handler>>,
    encode: fn(Reply) -> StoredReply,
    lookups: LookupTimer,
}

/// A delivery with what its request says beside the body.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// What was sent.
    pub delivery: Delivery,
    /// The key that a header names.
    pub key: Option<IdempotencyKey>,
    /// The request's method.
    pub method: String,
    /// The request's path.
    pub path: String,
    /// What the request says.
    pub fingerprint: Fingerprint,
    /// Where it came from.
    pub source_ip: Option<String>,
}

impl Intake {
    /// Builds the intake over a store and its keys. `handlers` act on events; `encode` puts a reply into the form in which
    /// it is stored and sent.
    pub fn new(
        store: &Store,
        settings: Settings,
        handlers: Vec<Arc<dyn Handler>>,
        encode: fn(Reply) -> StoredReply,
        keys: Transactional,
    ) -> Self {
        Self {
            gatherer: Gatherer::new(store, settings.batch),
            shared: Arc::new(Shared {
                settings,
                handlers,
                encode,
                lookups: keys.lookups.clone(),
            }),
            keys,
        }
    }

    /// How many deliveries wait for a transaction.
    pub fn waiting(&self) -> usize {
        self.gatherer.waiting()
    }

    /// Acts on a delivery that came at `now`, or gives the answer that it got before. Waits until `deadline` for
    /// another with the same key.
    ///
    /// # Errors
    /// Where nothing was done: see [`RequestError`].
    pub async fn receive(
        &self,
        inbound: Inbound,
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Answer, RequestError> {
        let request = self.request(&inbound)?;
        let ticket = match self.keys.enter(request.as_ref(), now).await? {
            Entry::Known(reply) => return Ok(Answer::replay(reply)),
            Entry::Waits(ticket) => ticket,
        };
        let job = self.job(inbound, request, ticket, now).await?;
        let attempts = self.attempts(&job, deadline);
        let in_time = tokio::time::timeout_at(deadline, attempts).await;
        let outcome = in_time.unwrap_or(Err(RequestError::Timeout));
        if let (Err(error), Some(request)) = (&outcome, &job.request) {
            let (keys, lifetimes) = (&self.keys, job.lifetimes);
            keys.record_failure(request, error, lifetimes, now).await;
        }
        outcome
    }

    /// Does what can be done before the transaction: on SQLite one thread runs them all.
    async fn job(
        &self,
        inbound: Inbound,
        request: Option<KeyedRequest>,
        ticket: Arc<Ticket>,
        now: Timestamp,
    ) -> Result<Job, RequestError> {
        let (shared, lifetimes) = (self.shared.clone(), self.keys.lifetimes);
        examine(inbound.delivery.events.len(), move || {
            let request = request.map(|request| Arc::new(shared.kept(request, &inbound)));
            let job = Job {
                piece: Piece::whole(&inbound.delivery.events),
                shared,
                request,
                lifetimes,
                prepared: Arc::default(),
                ticket,
                now,
                inbound: Arc::new(inbound),
            };
            match pieces::are_wanted(&job.inbound.delivery) {
                true => job,
                false => job.prepared(),
            }
        })
        .await
    }

    /// Tries until the key's first request is done. A provider that timed out and came again gets its reply.
    async fn attempts(&self, job: &Job, deadline: Instant) -> Result<Answer, RequestError> {
        const PAUSE: Duration = Duration::from_millis(50);
        let begun = Instant::now();
        loop {
            let attempt = match pieces::are_wanted(&job.inbound.delivery) {
                true => self.in_pieces(job, begun, deadline).await,
                false => self.attempt(job.later(begun)).await,
            };
            match attempt {
                Err(RequestError::InProgress { .. }) if Instant::now() + 2 * PAUSE < deadline => {
                    tokio::time::sleep(PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn attempt(&self, job: Job) -> Result<Answer, RequestError> {
        let (now, request) = (job.now, job.request.clone());
        let processed = self.gatherer.run(job).await?;
        self.answer(processed, request.as_deref(), now)
    }

    /// The answer that a transaction came to. The caches keep it where it is that of the request's own key.
    fn answer(
        &self,
        processed: Processed,
        request: Option<&KeyedRequest>,
        now: Timestamp,
    ) -> Result<Answer, RequestError> {
        let keep = |answered: Option<&Answered>| {
            if let (Some(answered), Some(request)) = (answered, request) {
                self.keys.cache.keep(request.lookup(), answered, now);
            }
        };
        match processed {
            Processed::Answered { answer, kept } => {
                keep(kept.as_ref());
                Ok(*answer)
            }
            Processed::Replayed { answered, is_kept } => {
                keep(Some(&answered).filter(|_| is_kept));
                Ok(Answer::replay(self.keys.replay(answered, now)))
            }
            Processed::InPart(error) => Err(error),
            // Cannot be: a piece that others follow has no answer.
            Processed::Piece { .. } => Err(StoreError::Closed.into()),
        }
    }

    /// Under the key that a header names, else that of the delivery; none where keys do not count.
    fn request(&self, inbound: &Inbound) -> Result<Option<KeyedRequest>, InvalidKey> {
        let delivery = &inbound.delivery;
        let key = match &inbound.key {
            _ if !self.shared.settings.keys_enabled => return Ok(None),
            Some(key) => key.clone(),
            None => delivery.derived_key.parse()?,
        };
        let (scope, kind) = (delivery.provider.scope(), delivery.webhook_type);
        let request = KeyedRequest::new(scope, key, kind, inbound.fingerprint);
        Ok(Some(request))
    }
}

impl Shared {
    /// With what is kept for the operator.
    fn kept(&self, request: KeyedRequest, inbound: &Inbound) -> KeyedRequest {
        let delivery = &inbound.delivery;
        KeyedRequest {
            method: inbound.method.clone(),
            path: inbound.path.clone(),
            body: Some(Json::of(&self.settings.redaction.of(&delivery.body))),
            source_ip: inbound.source_ip.clone(),
            ..request
        }
    }
}

impl From<HandlerError> for RequestError {
    fn from(error: HandlerError) -> Self {
        match error {
            HandlerError::Store(error) => Self::Store(error),
            HandlerError::Failed(error) => Self::Handler(error),
        }
    }
}

/// Looks at `count` events; at many on a thread that may be kept busy.
async fn examine<T: Send + 'static>(
    count: usize,
    look: impl FnOnce() -> T + Send + 'static,
) -> Result<T, RequestError> {
    const MANY: usize = 8;
    match count <= MANY {
        true => Ok(look()),
        false => store::blocking(move || Ok(look())).await,
    }
}
