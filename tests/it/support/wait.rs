//! Waiting for what comes when it comes.

use std::time::Duration;
use tokio::time::{Instant, sleep};

/// For what takes as long as the machine is busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub async fn until(what: &str, mut met: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !met().await {
        assert!(begun.elapsed() < PATIENCE, "it never came: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}
