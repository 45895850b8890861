//! The gauges: what was last seen of the database, of the clean-up, and of the load.

use prometheus::{Gauge, GaugeVec, IntCounter, Registry};

use super::{gauge, gauges, registered};
use crate::{
    idempotency::{Cache, cache::RedisState},
    jobs::watch::StatusSnapshot,
    statistics::AlertName,
    store::{Health, Load, types::Timestamp},
    web::body_budget::BodyBudget,
};

/// What was last seen.
pub(super) struct LastSample {
    database: DatabaseSample,
    cleanup: CleanupSample,
    load: LoadSample,
}

/// What a look at the database found.
struct DatabaseSample {
    at: Gauge,
    keys: GaugeVec,
    keys_expired: Gauge,
    store_bytes: Gauge,
    log_bytes: Gauge,
    records_bytes: Gauge,
    alerts: GaugeVec,
}

impl DatabaseSample {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            at: gauge(
                registry,
                "hookonce_observed_timestamp_seconds",
                "When the database was last looked at for the values that follow from it.",
            )?,
            keys: gauges(
                registry,
                "hookonce_keys",
                "Idempotency records, by status.",
                &["status"],
            )?,
            keys_expired: gauge(
                registry,
                "hookonce_keys_expired",
                "Idempotency records past their time, not deleted yet.",
            )?,
            store_bytes: gauge(
                registry,
                "hookonce_store_size_bytes",
                "The size of the database.",
            )?,
            log_bytes: gauge(
                registry,
                "hookonce_store_log_size_bytes",
                "What SQLite's log takes of the disk; 0 in memory and with PostgreSQL.",
            )?,
            records_bytes: gauge(
                registry,
                "hookonce_records_size_bytes",
                "The size of the idempotency records with their indexes; of SQLite, of all that is in use.",
            )?,
            alerts: gauges(
                registry,
                "hookonce_alert_firing",
                "Whether this instance sees the alert firing: 1 or 0.",
                &["name"],
            )?,
        })
    }
}

/// The last clean-up that ended.
struct CleanupSample {
    began: Gauge,
    took: Gauge,
    succeeded: Gauge,
    deleted: IntCounter,
}

impl CleanupSample {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            began: gauge(
                registry,
                "hookonce_cleanup_last_run_timestamp_seconds",
                "When the last clean-up that ended began, in any instance.",
            )?,
            took: gauge(
                registry,
                "hookonce_cleanup_last_duration_seconds",
                "How long the last clean-up took, in any instance.",
            )?,
            succeeded: gauge(
                registry,
                "hookonce_cleanup_last_success",
                "Whether the last clean-up went well: 1 or 0.",
            )?,
            deleted: registered(
                registry,
                IntCounter::new(
                    "hookonce_cleanup_deleted_records_total",
                    "Records that clean-ups have deleted, in all instances since the first start.",
                )?,
            )?,
        })
    }
}

/// How busy the store and this process are now.
struct LoadSample {
    writes_failing: Gauge,
    queue: Gauge,
    connections: GaugeVec,
    connections_most: Gauge,
    cache_bytes: Gauge,
    redis_up: Gauge,
    body_bytes: Gauge,
    body_bytes_most: Gauge,
}

impl LoadSample {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            writes_failing: gauge(
                registry,
                "hookonce_writes_failing",
                "Whether writes fail: 1 or 0; also within the minute after.",
            )?,
            queue: gauge(
                registry,
                "hookonce_writer_queue_length",
                "Writes that wait for the database.",
            )?,
            connections: gauges(
                registry,
                "hookonce_pool_connections",
                "Connections of the pool, by state: with PostgreSQL all, with SQLite those that read.",
                &["state"],
            )?,
            connections_most: gauge(
                registry,
                "hookonce_pool_connections_max",
                "The most connections that the pool may have.",
            )?,
            cache_bytes: gauge(
                registry,
                "hookonce_cache_size_bytes",
                "What the answers in this process's memory take, about.",
            )?,
            redis_up: gauge(
                registry,
                "hookonce_redis_up",
                "Whether Redis works: 1 or 0; 1 where there is none.",
            )?,
            body_bytes: gauge(
                registry,
                "hookonce_body_bytes",
                "What the bodies of requests under way take.",
            )?,
            body_bytes_most: gauge(
                registry,
                "hookonce_body_bytes_max",
                "The most that the bodies of requests may take together.",
            )?,
        })
    }
}

impl LastSample {
    /// # Errors
    /// Where two have one name.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            database: DatabaseSample::new(registry)?,
            cleanup: CleanupSample::new(registry)?,
            load: LoadSample::new(registry)?,
        })
    }

    pub fn show_load(&self, load: Load, gathering: usize) {
        self.load.queue.set((load.queue + gathering) as f64);
        if let Some(pool) = load.pool {
            let connections = |state| self.load.connections.with_label_values(&[state]);
            connections("in_use").set(pool.in_use.into());
            connections("idle").set(pool.idle.into());
            self.load.connections_most.set(pool.most.into());
        }
    }

    pub fn show_health(&self, health: &Health) {
        let is_failing = health.failing_lately().is_some();
        self.load.writes_failing.set(f64::from(is_failing));
    }

    pub fn show_cache(&self, cache: &Cache) {
        self.load.cache_bytes.set(cache.bytes() as f64);
        let is_away = cache.redis() == RedisState::Away;
        self.load.redis_up.set(f64::from(!is_away));
    }

    pub fn show_bodies(&self, bodies: &BodyBudget) {
        let (held, most) = bodies.fill();
        self.load.body_bytes.set(held as f64);
        self.load.body_bytes_most.set(most as f64);
    }

    pub fn show(&self, found: &StatusSnapshot) {
        let (records, size) = (found.observed.records, found.observed.size);
        self.database.at.set(seconds(found.at));
        for (status, count) in [
            ("in_progress", records.in_progress),
            ("completed", records.completed),
            ("failed", records.failed),
        ] {
            self.database
                .keys
                .with_label_values(&[status])
                .set(count as f64);
        }
        self.database.keys_expired.set(records.expired as f64);
        self.database.store_bytes.set(size.store as f64);
        self.database
            .log_bytes
            .set(size.log.unwrap_or_default() as f64);
        self.database.records_bytes.set(size.records as f64);
        if let Some(run) = &found.observed.last_run {
            self.cleanup.began.set(seconds(run.started_at));
            self.cleanup
                .took
                .set(run.duration().unwrap_or_default().as_secs_f64());
            self.cleanup.succeeded.set(f64::from(!run.is_failure()));
        }
        // It only grows, in the database too.
        self.cleanup.deleted.reset();
        self.cleanup
            .deleted
            .inc_by(found.deleted_total.unsigned_abs());
        for name in AlertName::ALL {
            let fires = found.firing.iter().any(|alert| alert.name == *name);
            let alert = self.database.alerts.with_label_values(&[name.as_str()]);
            alert.set(f64::from(fires));
        }
    }
}

fn seconds(at: Timestamp) -> f64 {
    at.seconds() as f64
}
