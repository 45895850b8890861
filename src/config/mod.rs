//! The configuration: a plain struct. Only [`Environment`] reads the environment. Each file has the variables of one
//! concern; the table of all of them is in `table.rs`.

mod addresses;
mod deduplication;
mod environment;
mod error;
mod jobs;
mod limits;
mod log;
mod public_url;
mod storage;
mod table;
#[cfg(test)]
mod tests;
mod values;
mod variable;

use ipnet::IpNet;
use std::{net::SocketAddr, num::NonZeroU32, time::Duration};

use self::{table::table, variable::Variable};
use crate::{
    idempotency::cache::RedisUrl, logging::LogFormat, memory, provider::setting::Settings,
    redaction::Redaction, schedule::Schedule, store::DatabaseUrl,
};

pub use self::{
    environment::{Environment, LoadedConfig},
    error::ConfigError,
    public_url::PublicUrl,
};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Everything that can be set. `.env.example` tells each variable's meaning.
#[derive(Clone, Debug)]
pub struct Config {
    /// `DATABASE_URL`
    pub database_url: DatabaseUrl,
    /// `DATABASE_CONNECTIONS`
    pub database_connections: u32,
    /// `WRITE_BATCH`
    pub write_batch: usize,
    /// `REDIS_URL`
    pub redis_url: Option<RedisUrl>,
    /// `CACHE_BYTES`
    pub cache_bytes: u64,
    /// `BIND`
    pub bind: SocketAddr,
    /// `OPERATIONS_BIND`, for what operators ask for; none where that is served at `BIND` too.
    pub operations_bind: Option<SocketAddr>,
    /// `PUBLIC_BASE_URL`, without a slash at its end.
    pub public_base_url: Option<PublicUrl>,
    /// `TRUSTED_PROXIES`
    pub trusted_proxies: Vec<IpNet>,
    /// What each provider says that it is configured by.
    pub providers: Settings,
    /// `IDEMPOTENCY_ENABLED`
    pub idempotency_enabled: bool,
    /// `IDEMPOTENCY_HEADER`
    pub idempotency_header: String,
    /// `IDEMPOTENCY_TTL`
    pub idempotency_ttl: Duration,
    /// `IDEMPOTENCY_TTL_ORDERS`
    pub idempotency_ttl_orders: Duration,
    /// `IDEMPOTENCY_TTL_PAYMENTS`
    pub idempotency_ttl_payments: Duration,
    /// `IDEMPOTENCY_TTL_REFUNDS`
    pub idempotency_ttl_refunds: Duration,
    /// `IDEMPOTENCY_TTL_BOOKINGS`
    pub idempotency_ttl_bookings: Duration,
    /// `IDEMPOTENCY_LEASE`
    pub idempotency_lease: Duration,
    /// `REDACT_FIELDS`
    pub redact_fields: Redaction,
    /// `EVENT_RETENTION`
    pub event_retention: Duration,
    /// `CLEANUP_SCHEDULE`
    pub cleanup_schedule: Schedule,
    /// `CLEANUP_ON_START`
    pub cleanup_on_start: bool,
    /// `CLEANUP_BATCH`
    pub cleanup_batch: u32,
    /// `ALERT_TABLE_BYTES`
    pub alert_table_bytes: u64,
    /// `ALERT_LOOKUP_MS`
    pub alert_lookup: Duration,
    /// `ALERT_SIGNATURE_FAILURES`, in a minute.
    pub alert_signature_failures: u64,
    /// `ALERT_SILENCE`
    pub alert_silence: Duration,
    /// `MAX_BODY_BYTES`
    pub max_body_bytes: usize,
    /// `BODY_BUDGET_BYTES`
    pub body_budget_bytes: usize,
    /// `MAX_QUEUE_TIME`; `None`: however long
    pub max_queue_time: Option<Duration>,
    /// `REQUEST_TIMEOUT`
    pub request_timeout: Duration,
    /// `KEEP_ALIVE`
    pub keep_alive: Duration,
    /// `MAX_CONNECTIONS`
    pub max_connections: usize,
    /// `MAX_CONNECTIONS_PER_ADDRESS`
    pub max_connections_per_address: usize,
    /// `RATE_LIMIT`
    pub rate_limit: bool,
    /// `RATE_LIMIT_CLIENT`, requests a second.
    pub rate_limit_client: NonZeroU32,
    /// `RATE_LIMIT_CLIENT_BURST`, requests at once.
    pub rate_limit_client_burst: NonZeroU32,
    /// `RATE_LIMIT_ADDRESS`, requests a second.
    pub rate_limit_address: NonZeroU32,
    /// `RATE_LIMIT_ADDRESS_BURST`, requests at once.
    pub rate_limit_address_burst: NonZeroU32,
    /// `READY_MIN_DISK_BYTES`
    pub ready_min_disk_bytes: u64,
    /// `LOG_FORMAT`
    pub log_format: LogFormat,
    /// `RUST_LOG`
    pub log_filter: String,
}

/// What Meta sends at most.
const MAX_BODY: usize = 3_145_728;

impl Default for Config {
    fn default() -> Self {
        Self {
            database_url: DatabaseUrl::Sqlite {
                path: Some("hookonce.db".into()),
            },
            database_connections: 8,
            write_batch: 256,
            redis_url: None,
            cache_bytes: memory::at_most(64 * 1024 * 1024, 8),
            bind: SocketAddr::from(([127, 0, 0, 1], 8080)),
            operations_bind: None,
            public_base_url: None,
            trusted_proxies: Vec::new(),
            providers: Settings::default(),
            idempotency_enabled: true,
            idempotency_header: "X-Idempotency-Key".to_owned(),
            idempotency_ttl: 24 * HOUR,
            idempotency_ttl_orders: 72 * HOUR,
            idempotency_ttl_payments: 24 * HOUR,
            idempotency_ttl_refunds: 168 * HOUR,
            idempotency_ttl_bookings: HOUR,
            idempotency_lease: Duration::from_secs(30),
            redact_fields: Redaction::default(),
            event_retention: 30 * 24 * HOUR,
            cleanup_schedule: Schedule::hourly(),
            cleanup_on_start: true,
            cleanup_batch: 1_000,
            alert_table_bytes: 500_000_000,
            alert_lookup: Duration::from_millis(100),
            alert_signature_failures: 60,
            alert_silence: 12 * HOUR,
            max_body_bytes: MAX_BODY,
            body_budget_bytes: (memory::at_most(64 * 1024 * 1024, 4) as usize).max(2 * MAX_BODY),
            max_queue_time: Some(Duration::from_millis(50)),
            request_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            max_connections: 2048,
            max_connections_per_address: 256,
            rate_limit: true,
            rate_limit_client: const { NonZeroU32::new(100).unwrap() },
            rate_limit_client_burst: const { NonZeroU32::new(200).unwrap() },
            rate_limit_address: const { NonZeroU32::new(10).unwrap() },
            rate_limit_address_burst: const { NonZeroU32::new(100).unwrap() },
            ready_min_disk_bytes: 64 * 1024 * 1024,
            log_format: LogFormat::Text,
            log_filter: "info".to_owned(),
        }
    }
}

impl Config {
    /// Whether a service which runs takes a variable over when it is told to read them again: those of the providers, and
    /// some others.
    pub fn is_reloaded(variable: &str) -> bool {
        table().any(|entry| entry.name() == variable && entry.is_reloaded())
    }

    /// This configuration with what [is reloaded](Self::is_reloaded) as it is in `new`.
    pub fn reloaded(&self, new: &Self) -> Self {
        Self {
            public_base_url: new.public_base_url.clone(),
            trusted_proxies: new.trusted_proxies.clone(),
            providers: new.providers.clone(),
            log_filter: new.log_filter.clone(),
            ..self.clone()
        }
    }

    /// Builds the configuration from a look-up of variables; one that is unset or empty keeps its default.
    fn from_variables(
        mut variable: impl FnMut(&'static str) -> Result<Option<String>, ConfigError>,
    ) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        for entry in table() {
            let value = variable(entry.name())?;
            if let Some(value) = value.filter(|value| !value.trim().is_empty()) {
                entry.read(&mut config, &value)?;
            }
        }
        Ok(config)
    }
}
