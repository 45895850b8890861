//! What others tell of what they do, counted for Prometheus.

use prometheus::{Histogram, HistogramOpts, IntCounterVec, Opts, Registry};

use super::{from_zero, registered};
use crate::{
    idempotency::cache,
    store::{self, Trouble},
};

/// What the store tells of its writes.
pub(super) struct WriteMetrics {
    sizes: Histogram,
    failures: IntCounterVec,
}

impl WriteMetrics {
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        const SIZES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];
        let about = "How many writes shared a transaction.";
        let sizes = HistogramOpts::new("hookonce_writer_batch_size", about);
        let about =
            "Writes that could not be made durable, by what was the matter with the database.";
        let failures = Opts::new("hookonce_write_failures_total", about);
        let failures = IntCounterVec::new(failures, &["reason"])?;
        let reasons: Vec<_> = Trouble::ALL.iter().map(|it| it.as_str()).collect();
        Ok(Self {
            sizes: registered(
                registry,
                Histogram::with_opts(sizes.buckets(SIZES.to_vec()))?,
            )?,
            failures: registered(registry, from_zero(failures, &reasons))?,
        })
    }
}

impl store::Listener for WriteMetrics {
    fn gathered(&self, writes: usize) {
        self.sizes.observe(writes as f64);
    }

    fn failed(&self, trouble: Trouble) {
        self.failures.with_label_values(&[trouble.as_str()]).inc();
    }
}

/// What the caches tell of looks into them.
pub(super) struct CacheMetrics(IntCounterVec);

impl CacheMetrics {
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let about = "Look-ups of answers in the caches in front of the database, by cache and what came of them.";
        let opts = Opts::new("hookonce_cache_lookups_total", about);
        let counters = IntCounterVec::new(opts, &["cache", "result"])?;
        Ok(Self(registered(registry, counters)?))
    }
}

impl cache::Listener for CacheMetrics {
    fn looked(&self, cache: &str, result: &str) {
        self.0.with_label_values(&[cache, result]).inc();
    }
}
