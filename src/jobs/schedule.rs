//! When clean-ups are done: at the start, and by a cron schedule. Knows neither HTTP nor SQL.

use tokio::{sync::mpsc, task::JoinHandle};
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

use super::cleanup::Cleanup;
use crate::{
    schedule::Schedule,
    store::{cleanup::Trigger, types::Timestamp},
};

/// Cleans up by the schedule until the clean-up is stopped, and at once where it is told to.
///
/// # Errors
/// Where the scheduler does not start.
pub async fn start(
    cleanup: Cleanup,
    schedule: Schedule,
    at_once: bool,
) -> Result<JoinHandle<()>, JobSchedulerError> {
    // One that comes while a run goes on waits for it; more than one would say nothing new.
    let (due, ticks) = mpsc::channel(1);
    let job = Job::new_async(schedule.with_seconds(), move |_, _| {
        // An error says that one waits already, or that nobody listens any more.
        let _ = due.try_send(());
        Box::pin(std::future::ready(()))
    })?;
    let scheduler = JobScheduler::new().await?;
    scheduler.add(job).await?;
    scheduler.start().await?;
    Ok(tokio::spawn(async move {
        follow(ticks, &cleanup, &schedule, at_once).await;
        end(scheduler).await;
    }))
}

async fn follow(
    mut ticks: mpsc::Receiver<()>,
    cleanup: &Cleanup,
    schedule: &Schedule,
    at_once: bool,
) {
    if at_once {
        cleanup.run_or_watch(Trigger::Start, None).await;
    }
    loop {
        tokio::select! {
            biased;
            () = cleanup.stopped() => return,
            _tick = ticks.recv() => {}
        }
        // The same in all instances, whenever their timers fire.
        let tick = schedule.latest(Timestamp::now());
        cleanup.run_or_watch(Trigger::Schedule, tick).await;
    }
}

async fn end(mut scheduler: JobScheduler) {
    if let Err(error) = scheduler.shutdown().await {
        log::warn!("the scheduler could not be stopped: {error}");
    }
}
