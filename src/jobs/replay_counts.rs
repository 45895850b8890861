//! Writes the counted replays to their records, now and then.

use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

use crate::{idempotency::ReplayTally, store::Store};

/// How often.
const EVERY: Duration = Duration::from_secs(1);

/// Flushes until `stop` changes, and once more then.
pub async fn run(replays: Arc<ReplayTally>, store: Store, mut stop: watch::Receiver<()>) {
    loop {
        let stopping = tokio::select! {
            () = tokio::time::sleep(EVERY) => false,
            _changed = stop.changed() => true,
        };
        if let Err(error) = replays.flush(&store).await {
            log::warn!("replays could not be counted: {error}");
        }
        if stopping {
            return;
        }
    }
}
