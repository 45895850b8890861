//! The clean-up: takes away what has expired, in small transactions with room for requests between them. Knows neither
//! HTTP nor SQL.
//!
//! Of all processes that share a database, one does it at a time. It holds a lease, and renews it in the same transaction
//! as each batch, so that a run that was taken for dead and comes back can do nothing more. A process that sees the lease
//! run out goes on where the dead run stopped. There is nothing to repair, because every batch is whole.

mod report;

use std::{sync::Arc, time::Duration};
use tokio::{
    runtime::Handle,
    sync::{RwLock, watch},
    time::{Instant, sleep},
};

pub use self::report::{Failure, Refused, Report};

use super::batch_sizer::BatchSizer;

use crate::{
    causes::with_causes,
    idempotency::Cache,
    store::{
        Conn, Store, StoreError, WriteLoad, alerts, amendments,
        cleanup::{self as rows, CleanupRun, Space, Trigger},
        job_lease::{self, LeaseRequest},
        statistics::{self, Snapshot},
        types::{Timestamp, Uuid},
    },
};

/// The job's name among the leases.
const JOB: &str = "cleanup";
/// How long a run counts as alive without renewing its lease.
const LEASE: Duration = Duration::from_secs(30);
/// How many runs are remembered.
const KEPT_RUNS: i64 = 1_000;
/// How often a run of another process is looked at, to go on where it dies.
const LOOK: Duration = Duration::from_secs(1);
/// The outcome of a request whose owner let its lease run out, for the operator.
const OWNER_GONE: &str = "whoever did this is gone: its lease ran out before it had an answer";
/// The outcome of a run that let its lease run out.
const RUN_GONE: &str = "whoever did this is gone: its lease ran out before the end";

/// How it is done.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The most rows in one transaction.
    pub batch: u32,
    /// How long an event is known that no order refers to.
    pub event_retention: Duration,
}

/// Does clean-ups for one process. Cheap to clone.
#[derive(Clone)]
pub struct Cleanup(Arc<Inner>);

struct Inner {
    store: Store,
    settings: Settings,
    instance: Uuid,
    cache: Cache,
    stopping: watch::Sender<bool>,
    /// Shared by the runs that go on.
    going_on: RwLock<()>,
    runtime: Option<Handle>,
}

impl Cleanup {
    /// Over a store, with the answers that are kept in front of it. `instance` tells this process from others. Runs go
    /// on in the runtime that this is called in, if any, whoever asks for them.
    pub fn new(store: Store, settings: Settings, instance: Uuid, cache: Cache) -> Self {
        Self(Arc::new(Inner {
            store,
            settings,
            instance,
            cache,
            stopping: watch::Sender::new(false),
            going_on: RwLock::new(()),
            runtime: Handle::try_current().ok(),
        }))
    }

    /// Takes away what had expired by `now`, and goes on when nobody waits for it any more. `tick` is the scheduled time
    /// that this answers; no two runs answer the same.
    ///
    /// # Errors
    /// Where it was not begun. What goes wrong later is in the report.
    pub async fn run(
        &self,
        trigger: Trigger,
        tick: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Report, Refused> {
        let this = self.clone();
        let runtime = self.0.runtime.clone().unwrap_or_else(Handle::current);
        let running = runtime.spawn(async move { this.perform(trigger, tick, now).await });
        let died = |_| Err(StoreError::Closed.into());
        running.await.unwrap_or_else(died)
    }

    /// Cleans up, unless another does. Waits for the other then, and goes on in its place if it dies.
    pub async fn run_or_watch(&self, trigger: Trigger, tick: Option<Timestamp>) {
        let mut outcome = self.run(trigger, tick, Timestamp::now()).await;
        while let Err(Refused::Running { holder }) = outcome {
            log::debug!("a clean-up is running already");
            if !self.dies(holder).await {
                return;
            }
            log::warn!("a clean-up was left unfinished, and is taken over");
            outcome = self.run(Trigger::Takeover, None, Timestamp::now()).await;
        }
        match outcome {
            Err(Refused::Store(error)) => log::error!("cleanup failed: {}", with_causes(&error)),
            Err(Refused::Done) => log::debug!("another instance has cleaned up"),
            // Logged when it ended.
            Ok(_) | Err(Refused::Running { .. }) => {}
        }
    }

    /// Waits for the end of a run. `true`: its process died.
    async fn dies(&self, holder: Uuid) -> bool {
        while self.pause(LOOK).await.is_ok() {
            let looking = self.0.store.read(|conn| job_lease::find(conn, JOB));
            match looking.await {
                Ok(Some(lease)) if lease.holder == Some(holder) => {
                    if lease.expires_at <= Timestamp::now() {
                        return true;
                    }
                }
                Ok(_ended) => return false,
                Err::<_, StoreError>(error) => {
                    log::warn!("a clean-up cannot be watched: {}", with_causes(&error));
                }
            }
        }
        false
    }

    /// Ends all runs at their next batch, and lets none begin.
    pub fn stop(&self) {
        self.0.stopping.send_replace(true);
    }

    /// Waits until it is to stop.
    pub async fn stopped(&self) {
        let mut stopping = self.0.stopping.subscribe();
        // Cannot fail: the sender is here.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }

    /// Waits until no run goes on.
    pub async fn finished(&self) {
        drop(self.0.going_on.write().await);
    }

    async fn perform(
        &self,
        trigger: Trigger,
        tick: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Report, Refused> {
        let _going_on = self.0.going_on.read().await;
        let begun = Instant::now();
        let mut run = CleanupRun {
            id: Uuid::in_order(),
            instance: self.0.instance,
            trigger,
            tick,
            started_at: now,
            finished_at: None,
            deleted_records: 0,
            deleted_events: 0,
            released: 0,
            remaining: None,
            error: None,
        };
        let new = run.clone();
        self.0.store.write(move |conn| begin(conn, &new)).await?;
        let failure = self.work(&mut run).await.err();
        // By the monotonic clock, which nobody sets: the duration is that of the work.
        run.finished_at = Some(run.started_at.after(begun.elapsed()));
        run.error = failure.as_ref().map(|failure| with_causes(failure));
        self.end(&run).await;
        log_end(&run, failure.as_ref());
        Ok(Report { run, failure })
    }

    /// The steps of a run, one after another.
    async fn work(&self, run: &mut CleanupRun) -> Result<(), Failure> {
        let begun = Instant::now();
        let now = run.started_at;
        let until = now.before(self.0.settings.event_retention);
        self.forget_answers(run);
        self.in_batches(
            run,
            |run| &mut run.deleted_records,
            move |conn, most| rows::delete_records(conn, now, most),
        )
        .await?;
        self.in_batches(
            run,
            |run| &mut run.deleted_events,
            move |conn, most| rows::delete_events(conn, until, most),
        )
        .await?;
        self.forget_amendments(run, until).await?;
        self.in_batches(
            run,
            |run| &mut run.released,
            move |conn, most| rows::release_leases(conn, OWNER_GONE, now, most),
        )
        .await?;
        let counting = self
            .0
            .store
            .read(move |conn| rows::count_expired(conn, now));
        run.remaining = Some(counting.await?);
        self.keep_statistics(run).await?;
        self.give_space_back(run, begun.elapsed()).await
    }

    /// Forgets what customers changed of messages that made no order: few rows, and counted with their events.
    async fn forget_amendments(&self, run: &CleanupRun, until: Timestamp) -> Result<(), Failure> {
        const BATCH: i64 = 100;
        let forget =
            move |conn: &mut Conn<'_>, _: WriteLoad| amendments::delete_unused(conn, until, BATCH);
        while self.alone(run.id, forget).await? >= BATCH {
            self.pause(BatchSizer::PAUSE).await?;
        }
        Ok(())
    }

    /// Has the caches forget what is to be deleted, and all else where an operator asks for the run: records may have been
    /// changed by hand.
    fn forget_answers(&self, run: &CleanupRun) {
        self.0.cache.forget_expired(run.started_at);
        if run.trigger == Trigger::Request {
            self.0.cache.distrust(Timestamp::now());
        }
    }

    /// Does `work` again and again, each time for as many rows at most as it is told, until fewer are left.
    async fn in_batches<W>(
        &self,
        run: &mut CleanupRun,
        count: fn(&mut CleanupRun) -> &mut i64,
        work: W,
    ) -> Result<(), Failure>
    where
        W: Fn(&mut Conn<'_>, i64) -> Result<i64, StoreError> + Clone + Send + 'static,
    {
        let mut sizer = BatchSizer::new(self.0.settings.batch);
        loop {
            let (mut next, work) = (run.clone(), work.clone());
            let batch = self.alone(run.id, move |conn, demand| {
                let begun = Instant::now();
                let most = sizer.rows(demand);
                let done = work(conn, most)?;
                if done > 0 {
                    *count(&mut next) += done;
                    rows::update_run(conn, &next)?;
                }
                sizer.learn(most, begun.elapsed());
                Ok((next, done < most, sizer))
            });
            let is_last;
            (*run, is_last, sizer) = batch.await?;
            if is_last {
                return Ok(());
            }
            self.pause(BatchSizer::PAUSE).await?;
        }
    }

    /// Adds up what was counted apart, takes the snapshot of this hour, and forgets what is too old to be shown.
    async fn keep_statistics(&self, run: &CleanupRun) -> Result<(), Failure> {
        /// The series reach back 30 days.
        const KEPT: Duration = Duration::from_secs(31 * 24 * 60 * 60);
        /// Much longer than an alert counts as current without being seen again.
        const ALERTS_KEPT: Duration = Duration::from_secs(60 * 60);
        /// Enough that the counts are added up faster than requests add new ones, however small the batches are.
        const FOLDED: i64 = 1_000;
        let fold = |conn: &mut Conn<'_>, _: WriteLoad| statistics::fold_counts(conn, FOLDED);
        while self.alone(run.id, fold).await? >= FOLDED {
            self.pause(BatchSizer::PAUSE).await?;
        }
        let now = Timestamp::now();
        let looking = self.0.store.snapshot(move |conn| {
            let records = statistics::records(conn, now)?.into_values().sum();
            let size = statistics::size(conn)?;
            Ok::<_, StoreError>(Snapshot::of(records, size, now))
        });
        let snapshot = looking.await?;
        self.alone(run.id, move |conn, _| {
            statistics::put_snapshot(conn, &snapshot)?;
            statistics::forget_snapshots(conn, now.before(KEPT))?;
            statistics::fold_hours(conn, now.before(KEPT).hour())?;
            alerts::forget(conn, now.before(ALERTS_KEPT))
        })
        .await
    }

    /// Gives SQLite's empty pages back to the file system, for a tenth of the time that the run took so far: to move a
    /// page SQLite reads through its list of empty ones, and after much was deleted that is long. The next run goes on.
    async fn give_space_back(&self, run: &CleanupRun, so_far: Duration) -> Result<(), Failure> {
        /// Few enough that moving them does not delay a request.
        const PAGES: u32 = 256;
        /// The shortest time for it, however quick the run was.
        const LEAST: Duration = Duration::from_secs(2);
        let deadline = Instant::now() + (so_far / 10).max(LEAST);
        let mut sizer = BatchSizer::new(PAGES);
        loop {
            let surplus = match self.0.store.read(rows::free_space).await? {
                Space::Managed | Space::Pages(0) => return Ok(()),
                Space::Fixed => {
                    log::debug!("SQLite's file keeps its size: it was made without auto_vacuum");
                    return Ok(());
                }
                Space::Pages(surplus) => surplus,
            };
            if Instant::now() >= deadline {
                log::info!("{surplus} empty pages are left for the next clean-up to give back");
                return Ok(());
            }
            let step = self.alone(run.id, move |conn, demand| {
                let begun = Instant::now();
                let most = sizer.rows(demand).min(surplus);
                rows::give_back_space(conn, most)?;
                sizer.learn(most, begun.elapsed());
                Ok(sizer)
            });
            sizer = step.await?;
            self.pause(BatchSizer::PAUSE).await?;
        }
    }

    /// Does `work` in a transaction in which nobody else can take the clean-up over.
    async fn alone<T, W>(&self, holder: Uuid, work: W) -> Result<T, Failure>
    where
        W: FnOnce(&mut Conn<'_>, WriteLoad) -> Result<T, StoreError> + Clone + Send + 'static,
        T: Send + 'static,
    {
        let transaction = self.0.store.write_in_background(move |conn, demand| {
            let lease_ends = Timestamp::now().after(LEASE);
            if !job_lease::renew(conn, JOB, holder, lease_ends)? {
                return Err(Failure::TakenOver);
            }
            Ok(work(conn, demand)?)
        });
        transaction.await
    }

    /// Pauses, so that others can write.
    async fn pause(&self, pause: Duration) -> Result<(), Failure> {
        tokio::select! {
            biased;
            () = self.stopped() => Err(Failure::Stopped),
            () = sleep(pause) => Ok(()),
        }
    }

    /// Writes down how the run ended, and lets others begin.
    async fn end(&self, run: &CleanupRun) {
        let (ended, holder) = (run.clone(), run.id);
        let ending = self.0.store.write(move |conn| {
            rows::update_run(conn, &ended)?;
            rows::forget_runs(conn, JOB, KEPT_RUNS)?;
            job_lease::give_back(conn, JOB, holder)
        });
        if let Err(error) = ending.await {
            log::error!(
                "the end of a clean-up could not be stored: {}",
                with_causes(&error)
            );
        }
    }
}

/// Claims the job for a run, and writes down that it begins.
fn begin(conn: &mut Conn<'_>, run: &CleanupRun) -> Result<(), Refused> {
    let now = Timestamp::now();
    let wanted = LeaseRequest {
        holder: run.id,
        tick: run.tick,
        expires_at: now.after(LEASE),
    };
    if job_lease::claim(conn, JOB, wanted, now)? {
        // Nobody else is at work now.
        rows::end_runs(conn, RUN_GONE, now)?;
        rows::insert_run(conn, run)?;
        return Ok(());
    }
    let holder = job_lease::find(conn, JOB)?.and_then(|lease| lease.holder);
    Err(match holder {
        Some(holder) => Refused::Running { holder },
        None => Refused::Done,
    })
}

fn log_end(run: &CleanupRun, failure: Option<&Failure>) {
    let took = run.finished_at.map(|end| run.started_at.until(end));
    let did = format!(
        "{} records and {} events deleted, {} released, {} expired remain, {:.3} s",
        run.deleted_records,
        run.deleted_events,
        run.released,
        run.remaining
            .map_or("an unknown number of".to_owned(), |n| n.to_string()),
        took.unwrap_or_default().as_secs_f64()
    );
    match failure {
        None => log::info!("cleanup completed: {did}"),
        Some(Failure::Stopped) => log::info!("cleanup stopped: {did}"),
        Some(failure) => log::error!("cleanup failed: {}: {did}", with_causes(failure)),
    }
}
