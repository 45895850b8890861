//! Takes a verified delivery and acts on it exactly once: one transaction claims the key, claims each event, does the
//! work and stores the reply. Does the same for what a client asks for. Knows neither HTTP nor SQL.

mod answer;
mod batch;
mod body;
mod events;
mod gather;
mod job;
mod keys;
mod pieces;
pub mod request;
mod result;
#[cfg(feature = "server")]
pub mod whole_body;

pub use answer::{Answer, EventReport, Reply};

use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

use self::{
    gather::Gatherer,
    job::{Job, Piece, Processed},
};
use crate::{
    causes::with_causes,
    handler::{Handler, HandlerError},
    idempotency::{
        self, Answered, Cache, Fingerprint, IdempotencyKey, InvalidKey, KeyedRequest, Lifetimes,
        LookupTimer, ReplayTally, StoredReply, cache::Wanted,
    },
    provider::Delivery,
    redaction::Redaction,
    store::{
        Store, StoreError,
        types::{Json, Timestamp},
    },
};

/// How deliveries are taken in.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether keys count. Events count once either way.
    pub keys_enabled: bool,
    /// How long an answer is replayed, and an unfinished request kept from others.
    pub lifetimes: Lifetimes,
    /// What is masked in what is stored of a delivery.
    pub redaction: Redaction,
    /// The most deliveries that are acted on in one transaction.
    pub batch: usize,
}

/// The place where deliveries are acted on.
#[derive(Clone)]
pub struct Intake {
    store: Store,
    settings: Settings,
    encode: fn(Reply) -> StoredReply,
    handlers: Arc<[Arc<dyn Handler>]>,
    replays: Arc<ReplayTally>,
    lookups: LookupTimer,
    cache: Cache,
    gatherer: Arc<Gatherer>,
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

/// Why a delivery was not acted on.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The key stands for another request.
    #[error("the idempotency key was used for another request")]
    KeyMismatch,
    /// The key's first request is still being done.
    #[error("the first request with this key is still in progress")]
    InProgress {
        /// When it is worth coming again.
        retry_after: Duration,
    },
    /// No key could be derived from the delivery.
    #[error(transparent)]
    Key(#[from] InvalidKey),
    /// The reply is larger than what is kept.
    #[error("the reply is too large to be stored")]
    ReplyTooLarge,
    /// It took longer than it may. What has begun is still finished, and the next request gets its answer.
    #[error("the database did not finish in time")]
    Timeout,
    /// A handler did not do it.
    #[error("an event could not be acted on")]
    Handler(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Intake {
    /// Builds the intake over a store; `handlers` act on events, `encode` puts a reply into the form in which it is stored
    /// and sent. `lookups` is told how long keys are looked up for; `cache` is asked for answers before the database.
    pub fn new(
        store: Store,
        settings: Settings,
        handlers: Vec<Arc<dyn Handler>>,
        encode: fn(Reply) -> StoredReply,
        lookups: LookupTimer,
        cache: Cache,
    ) -> Self {
        Self {
            gatherer: Gatherer::new(&store, settings.batch),
            store,
            settings,
            encode,
            handlers: handlers.into(),
            replays: Arc::default(),
            lookups,
            cache,
        }
    }

    /// The replays that wait to be written to their records.
    pub fn replays(&self) -> Arc<ReplayTally> {
        self.replays.clone()
    }

    /// Who is told how long keys are looked up for.
    pub fn lookups(&self) -> LookupTimer {
        self.lookups.clone()
    }

    /// What is asked for answers before the database.
    pub fn cache(&self) -> Cache {
        self.cache.clone()
    }

    /// How many deliveries wait for the transaction that takes them along.
    pub fn waiting(&self) -> usize {
        self.gatherer.waiting()
    }

    /// Acts on a delivery that came at `now`, or gives the answer that it got before. Waits until `deadline` for
    /// another with the same key.
    ///
    /// # Errors
    /// Where nothing was done: see [`IntakeError`].
    pub async fn receive(
        &self,
        inbound: Inbound,
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Answer, IntakeError> {
        let key = self.key(&inbound)?;
        if let Some(key) = &key
            && let Some(answer) = self.cached_answer(&inbound, key, now).await
        {
            return Ok(answer);
        }
        let inbound = Arc::new(inbound);
        let request = match key {
            Some(key) => Some(Arc::new(self.keyed(&inbound, key).await?)),
            None => None,
        };
        let attempt = self.until_settled(&inbound, &request, now, deadline);
        let outcome = match tokio::time::timeout_at(deadline, attempt).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(IntakeError::Timeout),
        };
        if let (Err(error), Some(request)) = (&outcome, request)
            && error.is_failure()
        {
            let lifetimes = self.settings.lifetimes;
            self.record_failure(request, error, lifetimes, now).await;
        }
        outcome
    }

    /// Tries until the key's first request is done. A provider that timed out and came again gets its reply.
    async fn until_settled(
        &self,
        inbound: &Arc<Inbound>,
        request: &Option<Arc<KeyedRequest>>,
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Answer, IntakeError> {
        const PAUSE: Duration = Duration::from_millis(50);
        let begun = Instant::now();
        let base = Job {
            inbound: inbound.clone(),
            request: request.clone(),
            lifetimes: self.settings.lifetimes,
            lookups: self.lookups.clone(),
            encode: self.encode,
            handlers: self.handlers.clone(),
            piece: Piece::whole(&inbound.delivery.events),
            redaction: self.settings.redaction.clone(),
            prepared: Arc::default(),
            now,
        };
        let mut whole = None;
        loop {
            let attempt = match (&whole, pieces::are_wanted(&inbound.delivery)) {
                (_, true) => self.in_pieces(&base, begun, deadline).await,
                (Some(prepared), false) => self.attempt(again(prepared, begun)).await,
                (None, false) => {
                    let prepared = self.prepare(base.clone()).await?;
                    self.attempt(again(whole.insert(prepared), begun)).await
                }
            };
            match attempt {
                Err(IntakeError::InProgress { .. }) if Instant::now() + 2 * PAUSE < deadline => {
                    tokio::time::sleep(PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Does what can be done before the transaction is: on SQLite one thread runs them all.
    async fn prepare(&self, mut job: Job) -> Result<Job, IntakeError> {
        examine(job.piece.places.len(), move || {
            job.prepare();
            job
        })
        .await
    }

    async fn attempt(&self, job: Job) -> Result<Answer, IntakeError> {
        let (now, request) = (job.now, job.request.clone());
        let done = self.gatherer.run(job).await?;
        self.answer(done, request.as_deref(), now)
    }

    /// The answer that a transaction came to. Keeps it in the caches, where it is that of the request's key.
    fn answer(
        &self,
        done: Processed,
        request: Option<&KeyedRequest>,
        now: Timestamp,
    ) -> Result<Answer, IntakeError> {
        let keep = |answered: &Answered| {
            if let Some(request) = request {
                self.cache.keep(request.wanted(), answered, now);
            }
        };
        match done {
            Processed::Answered { answer, kept } => {
                kept.as_ref().map(keep);
                Ok(*answer)
            }
            Processed::Replayed { answered, is_kept } => {
                if is_kept {
                    keep(&answered);
                }
                Ok(self.replay(answered, now))
            }
            Processed::InPart(error) => Err(error),
            // Cannot be: it has no answer, and another follows it.
            Processed::Piece { .. } => Err(StoreError::Closed.into()),
        }
    }

    /// The answer that the caches have.
    async fn cached_answer(
        &self,
        inbound: &Inbound,
        key: &IdempotencyKey,
        now: Timestamp,
    ) -> Option<Answer> {
        let wanted = Wanted {
            scope: inbound.delivery.provider.scope(),
            key,
            fingerprint: &inbound.fingerprint,
        };
        let answered = self.cache.find(wanted, &self.lookups, now).await?;
        Some(self.replay(answered, now))
    }

    fn replay(&self, answered: Answered, now: Timestamp) -> Answer {
        self.replays.note(answered.record, now);
        Answer::replay(answered.reply)
    }

    /// The key that a header names, else that of the delivery; none where keys do not count.
    fn key(&self, inbound: &Inbound) -> Result<Option<IdempotencyKey>, IntakeError> {
        if !self.settings.keys_enabled {
            return Ok(None);
        }
        Ok(Some(match &inbound.key {
            Some(key) => key.clone(),
            None => inbound.delivery.derived_key.parse()?,
        }))
    }

    async fn keyed(
        &self,
        inbound: &Arc<Inbound>,
        key: IdempotencyKey,
    ) -> Result<KeyedRequest, IntakeError> {
        let (inbound, redaction) = (inbound.clone(), self.settings.redaction.clone());
        let count = inbound.delivery.events.len();
        examine(count, move || KeyedRequest {
            scope: inbound.delivery.provider.scope().into(),
            key,
            webhook_type: inbound.delivery.webhook_type,
            method: inbound.method.clone(),
            path: inbound.path.clone(),
            fingerprint: inbound.fingerprint,
            body: Some(Json::of(&redaction.of(&inbound.delivery.body))),
            source_ip: inbound.source_ip.clone(),
        })
        .await
    }

    /// Writes down for the operator that a request failed. Whoever sent it is not kept waiting for it.
    async fn record_failure(
        &self,
        request: Arc<KeyedRequest>,
        error: &IntakeError,
        lifetimes: Lifetimes,
        now: Timestamp,
    ) {
        const PATIENCE: Duration = Duration::from_secs(2);
        let message = with_causes(error);
        let written = self.store.write(move |conn| {
            idempotency::record_failure(conn, &request, lifetimes, &message, now)
        });
        match tokio::time::timeout(PATIENCE, written).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => log::error!(
                "a failed request could not be recorded: {}",
                with_causes(&error)
            ),
            Err(_elapsed) => log::error!("a failed request could not be recorded in time"),
        }
    }
}

impl IntakeError {
    /// Whether the work itself failed, rather than the database being away or the request being refused.
    fn is_failure(&self) -> bool {
        match self {
            Self::Store(error) => !error.is_unavailable(),
            Self::ReplyTooLarge | Self::Handler(_) => true,
            Self::KeyMismatch | Self::InProgress { .. } | Self::Key(_) | Self::Timeout => false,
        }
    }

    /// Whether it may be the fault of one event, and the others can be acted on without it.
    fn is_about_one_event(&self) -> bool {
        match self {
            Self::Store(error) => !error.is_unavailable(),
            Self::Handler(_) => true,
            _ => false,
        }
    }
}

impl From<HandlerError> for IntakeError {
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
) -> Result<T, IntakeError> {
    const MANY: usize = 8;
    if count <= MANY {
        return Ok(look());
    }
    let looked = tokio::task::spawn_blocking(look).await;
    looked.map_err(|died| StoreError::Panicked(died.to_string()).into())
}

/// What is tried later than it was prepared.
fn again(prepared: &Job, begun: Instant) -> Job {
    Job {
        now: prepared.now.after(begun.elapsed()),
        ..prepared.clone()
    }
}
