//! Gathers deliveries that come at the same time, so that one transaction acts on many of them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, oneshot},
};

use super::{
    IntakeError,
    bulk::{self, Setback},
    transaction::{Done, Transaction},
};
use crate::{
    causes::with_causes,
    store::{Store, StoreError, bulk::Bulk},
};

/// How many transactions are under way at once: while one waits for the disk, the next is gathered and the other runs.
const WORKERS: usize = 2;
/// How many that are not plain are acted on at once, each in a transaction of its own.
const ALONE: usize = 4;
/// How many of them may wait for what others hold for longer than a moment: the rest must not wait behind them.
const BLOCKED: usize = 2;

/// Gathers deliveries. Whoever brings one while others are being acted on waits for the next transaction.
pub(super) struct Gatherer {
    store: Store,
    bulk: Bulk,
    /// The most deliveries in a transaction.
    limit: usize,
    queue: Mutex<Queue>,
    alone: Semaphore,
    blocked: Semaphore,
    runtime: Handle,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Job>,
    working: usize,
}

struct Job {
    transaction: Transaction,
    answer: oneshot::Sender<Result<Done, IntakeError>>,
}

impl Gatherer {
    /// Over a store where it pays to gather; none over another, nor where each is to have its own transaction. Works in
    /// the runtime that this is called in, whoever asks; none outside of one.
    pub fn new(store: &Store, limit: usize) -> Option<Arc<Self>> {
        if limit <= 1 {
            return None;
        }
        Some(Arc::new(Self {
            bulk: Bulk::of(store)?,
            store: store.clone(),
            limit,
            queue: Mutex::default(),
            alone: Semaphore::new(ALONE),
            blocked: Semaphore::new(BLOCKED),
            runtime: Handle::try_current().ok()?,
        }))
    }

    /// How many deliveries wait.
    pub fn waiting(&self) -> usize {
        self.queue().waiting.len()
    }

    /// Acts on a delivery, with others if it may be plain and there are any.
    pub async fn run(self: &Arc<Self>, transaction: Transaction) -> Result<Done, IntakeError> {
        let (answer, answered) = oneshot::channel();
        if bulk::only_event(&transaction).is_some() {
            self.queue().waiting.push_back(Job {
                transaction,
                answer,
            });
            self.call_worker();
        } else {
            self.act_alone(transaction, answer);
        }
        answered
            .await
            .unwrap_or_else(|_died| Err(StoreError::Closed.into()))
    }

    /// Sees to it that somebody works while there is work.
    fn call_worker(self: &Arc<Self>) {
        let mut queue = self.queue();
        if queue.working < WORKERS && !queue.waiting.is_empty() {
            queue.working += 1;
            self.runtime.spawn(self.clone().work());
        }
    }

    async fn work(self: Arc<Self>) {
        loop {
            let jobs = self.gather();
            if jobs.is_empty() {
                return;
            }
            self.call_worker();
            // In a task of its own, where a panic ends: whoever waits for it is told, and the work goes on.
            let acting = self.runtime.spawn(self.clone().act_on(jobs));
            let _ = acting.await;
        }
    }

    /// Takes what waits. Ends the work where nothing does.
    fn gather(&self) -> Vec<Job> {
        let mut queue = self.queue();
        let mut jobs = Vec::new();
        while jobs.len() < self.limit
            && let Some(job) = queue.waiting.pop_front()
        {
            // Nobody waits any more, and nothing was begun: the sender will come again.
            if !job.answer.is_closed() {
                jobs.push(job);
            }
        }
        if jobs.is_empty() {
            queue.working -= 1;
        }
        jobs
    }

    async fn act_on(self: Arc<Self>, jobs: Vec<Job>) {
        let (transactions, answers): (Vec<_>, Vec<_>) = jobs
            .into_iter()
            .map(|job| (job.transaction, job.answer))
            .unzip();
        let transactions: Arc<[Transaction]> = transactions.into();
        let shared = transactions.clone();
        let acting = self
            .bulk
            .write(shared.len(), move |conn| bulk::run(conn, &shared));
        match acting.await {
            Ok(fates) => {
                let each = transactions.iter().zip(answers).zip(fates);
                for ((transaction, answer), fate) in each {
                    match fate {
                        Some(outcome) => drop(answer.send(outcome)),
                        None => self.act_alone(transaction.clone(), answer),
                    }
                }
            }
            // Each would have to find out for itself, one after another.
            Err(Setback::Store(error)) if error.is_unavailable() && !error.is_blocked() => {
                for answer in answers {
                    let _ = answer.send(Err(error.for_another().into()));
                }
            }
            // One of them is not as it can be, or must wait for somebody: the others need not.
            Err(error) => {
                log::warn!(
                    "deliveries are acted on one by one: {}",
                    with_causes(&error)
                );
                for (transaction, answer) in transactions.iter().zip(answers) {
                    self.act_alone(transaction.clone(), answer);
                }
            }
        }
    }

    /// Acts on a delivery in a transaction of its own, for as long as somebody waits for it. What has begun is finished
    /// all the same.
    fn act_alone(
        self: &Arc<Self>,
        transaction: Transaction,
        mut answer: oneshot::Sender<Result<Done, IntakeError>>,
    ) {
        let this = self.clone();
        self.runtime.spawn(async move {
            let outcome = tokio::select! {
                () = answer.closed() => return,
                outcome = this.alone(transaction) => outcome,
            };
            // An error says that nobody waits any more.
            let _ = answer.send(outcome);
        });
    }

    async fn alone(&self, transaction: Transaction) -> Result<Done, IntakeError> {
        let again = transaction.clone();
        let permit = self.alone.acquire().await;
        let acting = self
            .bulk
            .write(1, move |conn| transaction.run(&mut conn.conn()));
        match acting.await {
            Err(IntakeError::Store(error)) if error.is_blocked() => {}
            settled => return settled,
        }
        drop(permit);
        let _permit = self.blocked.acquire().await;
        self.store.write(move |conn| again.run(conn)).await
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
