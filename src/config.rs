//! The configuration: a plain struct. Only [`Environment`] reads the environment.

mod environment;

use ipnet::IpNet;
use std::{cell::RefCell, fmt, net::SocketAddr, num::NonZeroU32, str::FromStr, time::Duration};

use crate::{
    idempotency::cache::{InvalidRedisUrl, RedisUrl},
    logging::LogFormat,
    provider::{self, setting::Settings},
    redaction::{InvalidName, Redaction},
    schedule::Schedule,
    store::{DatabaseUrl, SchemaName},
};

pub use environment::{Environment, Reading};

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

/// The URL that providers call, its scheme in small letters and without a slash at its end. Shows itself without the credentials it may hold.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// The very text that was configured but for the case of its scheme, for that is what providers sign.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PublicUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const ALLOWED: &str =
            "allowed is the URL that providers call, as in https://hooks.example.com";
        let url = url::Url::parse(text).map_err(|_| ALLOWED)?;
        // What the parser would forgive is signed as it is, and shown by looking for its parts.
        let rest = text.split_once("://").map_or("/", |(_, rest)| rest);
        let usable = matches!(url.scheme(), "http" | "https")
            && !rest.starts_with('/')
            && !text.contains(|c: char| c == '\\' || c.is_whitespace() || c.is_control())
            && !url.path().contains('@')
            && url.has_host()
            && url.query().is_none()
            && url.fragment().is_none();
        let (_, rest) = text.split_once("://").filter(|_| usable).ok_or(ALLOWED)?;
        Ok(Self(format!(
            "{}://{}",
            url.scheme(),
            rest.trim_end_matches('/')
        )))
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or_default();
        let end = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let host = authority.rsplit('@').next().unwrap_or_default();
        write!(f, "{scheme}://{host}{path}")
    }
}

impl fmt::Debug for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A variable that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Its value does not parse.
    #[error("{variable}{shown} cannot be used: {allowed}")]
    Invalid {
        /// Which.
        variable: &'static str,
        /// What it holds, after an equals sign; of an address, which may hold a password, the scheme at most.
        shown: String,
        /// What it may hold.
        allowed: String,
    },
    /// It is not UTF-8.
    #[error("{0} is not UTF-8")]
    NotUnicode(&'static str),
    /// The `.env` file cannot be read.
    #[error("the .env file cannot be read: {0}")]
    DotEnv(String),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            database_url: DatabaseUrl::Sqlite {
                path: Some("hookonce.db".into()),
            },
            database_connections: 8,
            write_batch: 256,
            redis_url: None,
            cache_bytes: 64 * 1024 * 1024,
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
            max_body_bytes: 3_145_728,
            body_budget_bytes: 64 * 1024 * 1024,
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
        const OTHERS: [&str; 3] = ["PUBLIC_BASE_URL", "TRUSTED_PROXIES", "RUST_LOG"];
        let mut providers = provider::settings();
        OTHERS.contains(&variable) || providers.any(|setting| setting.variable == variable)
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
        variable: impl FnMut(&'static str) -> Result<Option<String>, ConfigError>,
    ) -> Result<Self, ConfigError> {
        let variable = RefCell::new(variable);
        let get = |name| -> Result<Option<String>, ConfigError> {
            let value = (variable.borrow_mut())(name)?;
            Ok(value.filter(|value| !value.trim().is_empty()))
        };
        let mut config = Self::default();
        read(get, "DATABASE_URL", &mut config.database_url, database_url)?;
        let database = config.database_url.clone();
        read(get, "DATABASE_SCHEMA", &mut config.database_url, |text| {
            in_schema(database.clone(), text)
        })?;
        read(
            get,
            "DATABASE_CONNECTIONS",
            &mut config.database_connections,
            positive,
        )?;
        read(get, "WRITE_BATCH", &mut config.write_batch, positive)?;
        read(get, "REDIS_URL", &mut config.redis_url, redis_url)?;
        read(get, "CACHE_BYTES", &mut config.cache_bytes, whole)?;
        read(get, "BIND", &mut config.bind, address)?;
        let bind = config.bind;
        read(
            get,
            "OPERATIONS_BIND",
            &mut config.operations_bind,
            |text| another_address(text, bind),
        )?;
        read(
            get,
            "PUBLIC_BASE_URL",
            &mut config.public_base_url,
            base_url,
        )?;
        read(
            get,
            "TRUSTED_PROXIES",
            &mut config.trusted_proxies,
            networks,
        )?;
        read_providers(get, &mut config.providers)?;
        read(
            get,
            "IDEMPOTENCY_ENABLED",
            &mut config.idempotency_enabled,
            |text| parsed(text, "true or false"),
        )?;
        read(
            get,
            "IDEMPOTENCY_HEADER",
            &mut config.idempotency_header,
            header_name,
        )?;
        read(
            get,
            "IDEMPOTENCY_TTL",
            &mut config.idempotency_ttl,
            retention,
        )?;
        read(
            get,
            "IDEMPOTENCY_TTL_ORDERS",
            &mut config.idempotency_ttl_orders,
            retention,
        )?;
        read(
            get,
            "IDEMPOTENCY_TTL_PAYMENTS",
            &mut config.idempotency_ttl_payments,
            retention,
        )?;
        read(
            get,
            "IDEMPOTENCY_TTL_REFUNDS",
            &mut config.idempotency_ttl_refunds,
            retention,
        )?;
        read(
            get,
            "IDEMPOTENCY_TTL_BOOKINGS",
            &mut config.idempotency_ttl_bookings,
            retention,
        )?;
        read(
            get,
            "IDEMPOTENCY_LEASE",
            &mut config.idempotency_lease,
            retention,
        )?;
        read(get, "REDACT_FIELDS", &mut config.redact_fields, redaction)?;
        read(
            get,
            "EVENT_RETENTION",
            &mut config.event_retention,
            retention,
        )?;
        read(
            get,
            "CLEANUP_SCHEDULE",
            &mut config.cleanup_schedule,
            str::parse,
        )?;
        read(
            get,
            "CLEANUP_ON_START",
            &mut config.cleanup_on_start,
            |text| parsed(text, "true or false"),
        )?;
        read(get, "CLEANUP_BATCH", &mut config.cleanup_batch, positive)?;
        read(
            get,
            "ALERT_TABLE_BYTES",
            &mut config.alert_table_bytes,
            whole,
        )?;
        read(get, "ALERT_LOOKUP_MS", &mut config.alert_lookup, |text| {
            positive(text).map(|ms: u32| Duration::from_millis(ms.into()))
        })?;
        read(
            get,
            "ALERT_SIGNATURE_FAILURES",
            &mut config.alert_signature_failures,
            whole,
        )?;
        read(get, "ALERT_SILENCE", &mut config.alert_silence, retention)?;
        read(get, "MAX_BODY_BYTES", &mut config.max_body_bytes, positive)?;
        let largest = config.max_body_bytes;
        read(
            get,
            "BODY_BUDGET_BYTES",
            &mut config.body_budget_bytes,
            |text| budget(text, largest),
        )?;
        read(
            get,
            "REQUEST_TIMEOUT",
            &mut config.request_timeout,
            patience,
        )?;
        read(get, "KEEP_ALIVE", &mut config.keep_alive, patience)?;
        read(
            get,
            "MAX_CONNECTIONS",
            &mut config.max_connections,
            connections,
        )?;
        read(
            get,
            "MAX_CONNECTIONS_PER_ADDRESS",
            &mut config.max_connections_per_address,
            connections,
        )?;
        read(get, "RATE_LIMIT", &mut config.rate_limit, switch)?;
        read(
            get,
            "RATE_LIMIT_CLIENT",
            &mut config.rate_limit_client,
            rate,
        )?;
        read(
            get,
            "RATE_LIMIT_CLIENT_BURST",
            &mut config.rate_limit_client_burst,
            rate,
        )?;
        read(
            get,
            "RATE_LIMIT_ADDRESS",
            &mut config.rate_limit_address,
            rate,
        )?;
        read(
            get,
            "RATE_LIMIT_ADDRESS_BURST",
            &mut config.rate_limit_address_burst,
            rate,
        )?;
        read(
            get,
            "READY_MIN_DISK_BYTES",
            &mut config.ready_min_disk_bytes,
            whole,
        )?;
        read(get, "LOG_FORMAT", &mut config.log_format, |text| {
            text.parse().map_err(str::to_owned)
        })?;
        read(get, "RUST_LOG", &mut config.log_filter, log_filter)?;
        Ok(config)
    }
}

/// Reads one variable into its field. `parse` says what is allowed where the value does not parse.
fn read<T>(
    get: impl Fn(&'static str) -> Result<Option<String>, ConfigError>,
    variable: &'static str,
    field: &mut T,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<(), ConfigError> {
    if let Some(value) = get(variable)? {
        *field = parse(value.trim()).map_err(|allowed| ConfigError::Invalid {
            variable,
            shown: shown(variable, &value),
            allowed,
        })?;
    }
    Ok(())
}

/// Reads what the providers are configured by. None of it is ever shown.
fn read_providers(
    get: impl Fn(&'static str) -> Result<Option<String>, ConfigError>,
    settings: &mut Settings,
) -> Result<(), ConfigError> {
    for setting in provider::settings() {
        let value = get(setting.variable)?.unwrap_or_default();
        let set = settings.set(setting, value.trim());
        set.map_err(|allowed| ConfigError::Invalid {
            variable: setting.variable,
            shown: String::new(),
            allowed: allowed.to_owned(),
        })?;
    }
    Ok(())
}

/// A value as it may be shown. Of an address nobody can tell where the password is, since it does not parse.
fn shown(variable: &str, value: &str) -> String {
    let is_host = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
    let is_scheme = |text: &&str| {
        (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase())
    };
    let scheme = value.trim().split_once("://").map(|(scheme, _)| scheme);
    match (variable, scheme.filter(is_scheme)) {
        ("DATABASE_URL" | "REDIS_URL" | "PUBLIC_BASE_URL", Some(scheme)) => {
            format!("={scheme}://…")
        }
        ("PUBLIC_BASE_URL", None) if value.contains('.') && value.chars().all(is_host) => {
            format!("={value:?}")
        }
        ("DATABASE_URL" | "REDIS_URL" | "PUBLIC_BASE_URL", None) => String::new(),
        _ => format!("={value:?}"),
    }
}

fn parsed<T: FromStr>(text: &str, allowed: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("allowed is {allowed}"))
}

fn address(text: &str) -> Result<SocketAddr, String> {
    parsed(text, "an address and a port, as in 127.0.0.1:8080")
}

/// Port 0 is another port each time.
fn another_address(text: &str, bind: SocketAddr) -> Result<Option<SocketAddr>, String> {
    match address(text)? {
        same if same == bind && bind.port() != 0 => Err(format!(
            "allowed is another address than BIND, which is {bind}"
        )),
        other => Ok(Some(other)),
    }
}

/// A database with its tables in a schema.
fn in_schema(database: DatabaseUrl, schema: &str) -> Result<DatabaseUrl, String> {
    let schema = schema.parse::<SchemaName>()?;
    Ok(database.in_schema(schema)?)
}

fn database_url(text: &str) -> Result<DatabaseUrl, String> {
    text.parse().map_err(str::to_owned)
}

fn redis_url(text: &str) -> Result<Option<RedisUrl>, String> {
    let url = text.parse().map(Some);
    url.map_err(|error: InvalidRedisUrl| error.to_string())
}

fn positive<T: FromStr + PartialOrd + From<u8>>(text: &str) -> Result<T, String> {
    const ALLOWED: &str = "a whole number of at least 1";
    parsed(text, ALLOWED).and_then(|number: T| {
        (number >= T::from(1))
            .then_some(number)
            .ok_or_else(|| format!("allowed is {ALLOWED}"))
    })
}

/// A quarter of it is for small bodies.
fn budget(text: &str, largest: usize) -> Result<usize, String> {
    let least = largest.saturating_mul(2);
    positive(text)
        .ok()
        .filter(|bytes| *bytes >= least)
        .ok_or_else(|| {
            format!("allowed is a number of bytes, at least twice MAX_BODY_BYTES: {least}")
        })
}

fn whole(text: &str) -> Result<u64, String> {
    parsed(text, "a whole number")
}

fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("allowed is on or off".to_owned()),
    }
}

/// How many requests, a second or at once. The bound keeps the time between two of them measurable.
fn rate(text: &str) -> Result<NonZeroU32, String> {
    const MOST: u32 = 1_000_000;
    let number = text
        .parse()
        .ok()
        .filter(|number| (1..=MOST).contains(number));
    number
        .and_then(NonZeroU32::new)
        .ok_or_else(|| format!("allowed is a whole number from 1 to {MOST}"))
}

/// How many connections there may be.
fn connections(text: &str) -> Result<usize, String> {
    const MOST: usize = 1_000_000;
    let number = text.parse().ok();
    number
        .filter(|number| (1..=MOST).contains(number))
        .ok_or_else(|| format!("allowed is a whole number from 1 to {MOST}"))
}

/// How long something is kept.
fn retention(text: &str) -> Result<Duration, String> {
    const TEN_YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
    duration(
        text,
        TEN_YEARS,
        "30s, 24h or 30d, of at least 100ms and at most 10 years",
    )
}

/// How long something is waited for.
fn patience(text: &str) -> Result<Duration, String> {
    duration(
        text,
        HOUR,
        "500ms, 10s or 2m, of at least 100ms and at most 1h",
    )
}

fn duration(text: &str, most: Duration, allowed: &str) -> Result<Duration, String> {
    const LEAST: Duration = Duration::from_millis(100);
    match humantime::parse_duration(text) {
        Ok(span) if (LEAST..=most).contains(&span) => Ok(span),
        _ => Err(format!("allowed is a time, as in {allowed}")),
    }
}

fn base_url(text: &str) -> Result<Option<PublicUrl>, String> {
    text.parse().map(Some).map_err(str::to_owned)
}

/// Checked here, for the logger would go on with what it understood.
fn log_filter(text: &str) -> Result<String, String> {
    match env_filter::Builder::new().try_parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!(
            "allowed is what env_logger takes, as in info: {error}"
        )),
    }
}

fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    let network = |piece: &str| {
        let alone = || {
            piece
                .parse()
                .map(|address: std::net::IpAddr| address.into())
        };
        piece.parse().or_else(|_| alone())
    };
    pieces(text)
        .map(network)
        .collect::<Result<_, _>>()
        .map_err(|_| "allowed are addresses and networks, as in 10.0.0.0/8,192.0.2.7".to_owned())
}

fn redaction(text: &str) -> Result<Redaction, String> {
    text.parse()
        .map_err(|error: InvalidName| format!("allowed are {error}"))
}

fn header_name(text: &str) -> Result<String, String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    text.bytes()
        .all(token)
        .then(|| text.to_owned())
        .ok_or_else(|| "allowed is the name of a header".to_owned())
}

fn pieces(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|piece| !piece.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, value: &str) -> Result<Config, ConfigError> {
        Config::from_variables(|variable| Ok((variable == name).then(|| value.to_owned())))
    }

    #[test]
    fn what_is_unset_or_empty_keeps_its_default() {
        let config = with("BIND", " ").unwrap();
        assert_eq!(config.bind.to_string(), "127.0.0.1:8080");
        assert_eq!(config.idempotency_ttl, Duration::from_secs(86_400));
        assert_eq!(config.database_url.to_string(), "sqlite://hookonce.db");
    }

    #[test]
    fn a_value_that_does_not_parse_is_named_with_what_is_allowed() {
        let cases = [
            ("DATABASE_URL", "mysql://root:hunter2@x"),
            ("DATABASE_SCHEMA", "hooks"),
            ("DATABASE_CONNECTIONS", "0"),
            ("WRITE_BATCH", "many"),
            ("REDIS_URL", "memcached://:hunter2@x"),
            ("REDIS_URL", "redis://:hunter2@x:port"),
            ("CACHE_BYTES", "64MiB"),
            ("BIND", "8080"),
            ("OPERATIONS_BIND", "8081"),
            ("OPERATIONS_BIND", "127.0.0.1:8080"),
            ("DATABASE_URL", "postgres://u:a@hunter2@h"),
            ("DATABASE_URL", "u:hunter2@h"),
            ("DATABASE_URL", "host=h password=hunter2"),
            ("DATABASE_URL", "u:hunter2://h"),
            ("REDIS_URL", "redis:/u:hunter2@h"),
            ("REDIS_URL", "hunter2"),
            ("PUBLIC_BASE_URL", "https:/u:hunter2@h"),
            ("PUBLIC_BASE_URL", "https:///u:hunter2@h"),
            ("PUBLIC_BASE_URL", "https:u:hunter2@h"),
            ("PUBLIC_BASE_URL", "https:\\\\u:hunter2@h"),
            ("PUBLIC_BASE_URL", "https://u:hunter2/x@h"),
            ("PUBLIC_BASE_URL", "https://u:80/hunter2@h"),
            ("PUBLIC_BASE_URL", "u:hunter2@h"),
            ("PUBLIC_BASE_URL", "hooks.example.com"),
            ("PUBLIC_BASE_URL", "https://a.example/?x=1"),
            ("TRUSTED_PROXIES", "10.0.0.0/33"),
            ("IDEMPOTENCY_ENABLED", "yes"),
            ("IDEMPOTENCY_HEADER", "X Key"),
            ("IDEMPOTENCY_TTL", "24"),
            ("IDEMPOTENCY_LEASE", "0s"),
            ("REDACT_FIELDS", "phone name"),
            ("REDACT_FIELDS", "phone;name"),
            ("EVENT_RETENTION", "30"),
            ("CLEANUP_SCHEDULE", "hourly"),
            ("CLEANUP_SCHEDULE", "@hourly"),
            ("CLEANUP_SCHEDULE", "0 * * *"),
            ("CLEANUP_SCHEDULE", "61 * * * *"),
            ("CLEANUP_SCHEDULE", "0 0 * * * * 2030"),
            ("CLEANUP_SCHEDULE", "0 0 30 2 *"),
            ("CLEANUP_ON_START", "yes"),
            ("CLEANUP_BATCH", "0"),
            ("ALERT_TABLE_BYTES", "500MB"),
            ("ALERT_LOOKUP_MS", "0"),
            ("ALERT_SIGNATURE_FAILURES", "-1"),
            ("ALERT_SILENCE", "12"),
            ("MAX_BODY_BYTES", "3MB"),
            ("BODY_BUDGET_BYTES", "64MiB"),
            ("BODY_BUDGET_BYTES", "6291455"),
            ("IDEMPOTENCY_TTL", "300years"),
            ("REQUEST_TIMEOUT", "-1s"),
            ("REQUEST_TIMEOUT", "2h"),
            ("IDEMPOTENCY_TTL_ORDERS", "3 suns"),
            ("KEEP_ALIVE", "75"),
            ("MAX_CONNECTIONS", "0"),
            ("MAX_CONNECTIONS_PER_ADDRESS", "many"),
            ("RATE_LIMIT", "true"),
            ("RATE_LIMIT_CLIENT", "0"),
            ("RATE_LIMIT_CLIENT_BURST", "-1"),
            ("RATE_LIMIT_ADDRESS", "1.5"),
            ("RATE_LIMIT_ADDRESS_BURST", "1000001"),
            ("READY_MIN_DISK_BYTES", "64MiB"),
            ("LOG_FORMAT", "JSON"),
            ("TWILIO_SHARED_KEYS", "eu:x,hunter2"),
            ("RUST_LOG", "nonsense=loud"),
        ];
        for (name, value) in cases {
            let message = with(name, value).unwrap_err().to_string();
            assert!(
                message.contains(name) && message.contains("allowed"),
                "{message}"
            );
            assert!(!message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn what_configures_a_provider_is_read_and_never_shown() {
        for setting in provider::settings() {
            let config = with(setting.variable, "eu:hunter2, us:hunter3").unwrap();
            let shown = format!("{config:?}");
            assert!(!shown.contains("hunter"), "{shown}");
            assert_ne!(shown, format!("{:?}", Config::default()));
        }
        let config = with("TWILIO_AUTH_TOKEN", "hunter2, hunter3,").unwrap();
        assert_eq!(config.providers.secrets("TWILIO_AUTH_TOKEN").len(), 2);
    }

    #[test]
    fn the_names_of_members_to_mask_are_taken_apart() {
        let config = with("REDACT_FIELDS", "Phone, name,").unwrap();
        assert!(config.redact_fields.covers("phone") && config.redact_fields.covers("NAME"));
        assert!(Config::default().redact_fields.is_empty());
    }

    #[test]
    fn credentials_in_the_public_url_are_signed_and_never_shown() {
        let config = with("PUBLIC_BASE_URL", "https://shop:hunter2@a.example/in/").unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
        let url = config.public_base_url.unwrap();
        assert_eq!(url.as_str(), "https://shop:hunter2@a.example/in");
        assert_eq!(url.to_string(), "https://a.example/in");
    }

    #[test]
    fn what_is_reloaded_is_taken_over_and_nothing_else_is() {
        let values = [
            ("PUBLIC_BASE_URL", "https://new.example"),
            ("TRUSTED_PROXIES", "10.0.0.0/8"),
            ("RUST_LOG", "warn"),
            ("BIND", "127.0.0.1:1"),
            ("EVENT_RETENTION", "9d"),
        ];
        let shown = |config: &Config| format!("{config:?}");
        let secrets = provider::settings().map(|setting| (setting.variable, "name:new"));
        for (name, value) in values.into_iter().chain(secrets) {
            let new = with(name, value).unwrap();
            let reloaded = Config::default().reloaded(&new);
            let expected = match Config::is_reloaded(name) {
                true => new,
                false => Config::default(),
            };
            assert_eq!(shown(&reloaded), shown(&expected), "{name}");
        }
    }

    #[test]
    fn a_proxy_is_an_address_or_a_network() {
        let config = with("TRUSTED_PROXIES", "10.0.0.0/8, ::1").unwrap();
        assert!(config.trusted_proxies[1].contains(&"::1".parse::<std::net::IpAddr>().unwrap()));
    }

    #[test]
    fn what_providers_say_of_their_variables_is_in_the_example_and_the_documentation() {
        let example = include_str!("../.env.example");
        let documentation = include_str!("../docs/operations.md");
        for setting in provider::settings() {
            let (variable, about) = (setting.variable, setting.about);
            let listed = format!("# {about}\n#{variable}=\n");
            assert!(example.contains(&listed), "{listed}");
            assert!(
                documentation.contains(&format!("`{variable}`")),
                "{variable}"
            );
        }
    }

    #[test]
    fn the_example_lists_every_variable_with_its_default() {
        let example = include_str!("../.env.example");
        let asked = std::cell::RefCell::new(Vec::new());
        Config::from_variables(|variable| {
            asked.borrow_mut().push(variable);
            Ok(None)
        })
        .unwrap();
        let listed: Vec<_> = example
            .lines()
            .filter_map(|line| line.strip_prefix('#').unwrap_or(line).split_once('='))
            .filter(|(name, _)| !name.contains(' '))
            .collect();
        let names: Vec<_> = listed.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, asked.into_inner());
        let defaults = Config::from_variables(|variable| {
            let default = listed.iter().find(|(name, _)| *name == variable);
            Ok(default.map(|(_, value)| (*value).to_owned()))
        });
        assert_eq!(
            format!("{:?}", defaults.unwrap()),
            format!("{:?}", Config::default())
        );
    }
}
