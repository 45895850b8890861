//! Writes down what was counted in memory, now and then.

use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

use crate::{idempotency::ReplayTally, statistics::Traffic, store::Store};

/// How often. What was counted since is lost where the process is killed.
const EVERY: Duration = Duration::from_secs(1);

/// Flushes until `stop` changes, and once more then.
pub async fn run(
    replays: Arc<ReplayTally>,
    traffic: Arc<Traffic>,
    store: Store,
    mut stop: watch::Receiver<()>,
) {
    loop {
        let stopping = tokio::select! {
            () = tokio::time::sleep(EVERY) => false,
            _changed = stop.changed() => true,
        };
        if let Err(error) = replays.flush(&store).await {
            log::warn!("replays could not be counted: {error}");
        }
        if let Err(error) = traffic.flush(&store).await {
            log::warn!("what was counted could not be written down yet: {error}");
        }
        if stopping {
            return;
        }
    }
}
