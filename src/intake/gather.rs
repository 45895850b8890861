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
    RequestError,
    batch::{self, JobResult},
    job::{Job, Processed},
};
use crate::{
    causes::with_causes,
    store::{Conn, Store, StoreError},
};

/// How many transactions are under way at once: while one waits for the disk, the next is gathered and the other runs.
const WORKERS: usize = 2;
/// How many jobs outside of a batch are acted on at once, each in its own transaction.
const ALONE: usize = 4;
/// How many of them may wait for what others hold for longer than a moment: the rest must not wait behind them.
const BLOCKED: usize = 2;

/// Gathers deliveries. Whoever brings one while others are being acted on waits for the next transaction.
pub(super) struct Gatherer {
    store: Store,
    /// The most deliveries in a transaction; 1 gives each its own.
    limit: usize,
    queue: Mutex<Queue>,
    alone: Semaphore,
    blocked: Semaphore,
    /// The runtime that it works in, whoever calls it. `None` if it was created outside of a runtime.
    runtime: Option<Handle>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    working: usize,
}

/// A job, and who waits for it.
struct Waiting {
    job: Job,
    answer: oneshot::Sender<Result<Processed, RequestError>>,
}

impl Gatherer {
    /// Over a store. Works in the runtime that this is called in.
    pub fn new(store: &Store, limit: usize) -> Arc<Self> {
        let alone = match store.gathers() {
            true => Semaphore::MAX_PERMITS,
            false => ALONE,
        };
        Arc::new(Self {
            store: store.clone(),
            limit,
            queue: Mutex::default(),
            alone: Semaphore::new(alone),
            blocked: Semaphore::new(BLOCKED),
            runtime: Handle::try_current().ok(),
        })
    }

    /// How many deliveries wait.
    pub fn waiting(&self) -> usize {
        self.queue().waiting.len()
    }

    /// Acts on a job, with others if there are any.
    pub async fn run(self: &Arc<Self>, job: Job) -> Result<Processed, RequestError> {
        let Some(runtime) = self.runtime.as_ref().filter(|_| self.limit > 1) else {
            return self.patiently(job).await;
        };
        let (answer, answered) = oneshot::channel();
        self.queue().waiting.push_back(Waiting { job, answer });
        self.call_worker(runtime);
        let outcome = answered.await;
        outcome.unwrap_or_else(|_died| Err(StoreError::Closed.into()))
    }

    /// Starts a worker if there is work for one.
    fn call_worker(self: &Arc<Self>, runtime: &Handle) {
        let mut queue = self.queue();
        if queue.working < WORKERS && !queue.waiting.is_empty() {
            queue.working += 1;
            runtime.spawn(self.clone().work(runtime.clone()));
        }
    }

    async fn work(self: Arc<Self>, runtime: Handle) {
        loop {
            let jobs = self.gather();
            if jobs.is_empty() {
                return;
            }
            self.call_worker(&runtime);
            // In a task of its own, where a panic ends: whoever waits for it is told, and the work goes on.
            let acting = runtime.spawn(self.clone().act_on(jobs, runtime.clone()));
            let _ = acting.await;
        }
    }

    /// Takes the jobs that wait. Ends the worker if there are none.
    fn gather(&self) -> Vec<Waiting> {
        let mut queue = self.queue();
        let (mut jobs, mut events) = (Vec::<Waiting>::new(), 0);
        while let Some(waiting) = queue.waiting.pop_front() {
            // Nobody waits any more, and nothing was begun: the sender will come again.
            if waiting.answer.is_closed() {
                continue;
            }
            events += waiting.job.piece.places.len();
            if !jobs.is_empty() && events > self.limit {
                queue.waiting.push_front(waiting);
                break;
            }
            jobs.push(waiting);
        }
        if jobs.is_empty() {
            queue.working -= 1;
        }
        jobs
    }

    async fn act_on(self: Arc<Self>, waiting: Vec<Waiting>, runtime: Handle) {
        let (jobs, answers): (Vec<_>, Vec<_>) =
            waiting.into_iter().map(|it| (it.job, it.answer)).unzip();
        let jobs: Arc<[Job]> = jobs.into();
        let shared = jobs.clone();
        let acting = self
            .store
            .write_together(jobs.len(), move |conn| batch::act(conn, &shared));
        let results: Vec<JobResult> = match acting.await {
            Ok(results) => results,
            // A job that was alone gets the error: there is nothing to separate.
            Err(error) if jobs.len() == 1 && !is_blocked(&error) => vec![Some(Err(error))],
            // Tried alone, each job would only get the same error, one after another.
            Err(RequestError::Store(error)) if error.is_unavailable() && !error.is_blocked() => {
                let told = |_| Some(Err(error.for_another().into()));
                jobs.iter().map(told).collect()
            }
            // One job is faulty or must wait for another transaction. The others need not.
            Err(error) => {
                let cause = with_causes(&error);
                log::warn!("deliveries are acted on one by one: {cause}");
                jobs.iter().map(|_| None).collect()
            }
        };
        for ((job, answer), result) in jobs.iter().zip(answers).zip(results) {
            match result {
                // An error says that nobody waits any more.
                Some(outcome) => drop(answer.send(outcome)),
                None => drop(runtime.spawn(self.clone().act_alone(job.clone(), answer))),
            }
        }
    }

    /// Acts on a job in a transaction of its own, for as long as somebody waits for it. What has begun is finished all the
    /// same.
    async fn act_alone(
        self: Arc<Self>,
        job: Job,
        mut answer: oneshot::Sender<Result<Processed, RequestError>>,
    ) {
        let outcome = tokio::select! {
            () = answer.closed() => return,
            outcome = self.alone(job) => outcome,
        };
        // An error says that nobody waits any more.
        let _ = answer.send(outcome);
    }

    async fn alone(&self, job: Job) -> Result<Processed, RequestError> {
        let permit = self.alone.acquire().await;
        let alone = job.clone();
        let act = move |conn: &mut Conn<'_>| batch::act_on_one(conn, alone);
        match self.store.write_together(1, act).await {
            Err(error) if is_blocked(&error) => {}
            settled => return settled,
        }
        drop(permit);
        let _permit = self.blocked.acquire().await;
        self.patiently(job).await
    }

    /// Acts on a job, and waits for whatever others hold.
    async fn patiently(&self, job: Job) -> Result<Processed, RequestError> {
        let acting = move |conn: &mut Conn<'_>| batch::act_on_one(conn, job);
        self.store.write(acting).await
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_blocked(error: &RequestError) -> bool {
    matches!(error, RequestError::Store(error) if error.is_blocked())
}
