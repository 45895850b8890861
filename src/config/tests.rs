//! What each variable accepts, and what is told of it.

use std::time::Duration;

use super::*;
use crate::provider;

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
        ("MAX_QUEUE_TIME", "5ms"),
        ("MAX_QUEUE_TIME", "2m"),
        ("MAX_QUEUE_TIME", "on"),
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

/// What `.env.example` says: each variable with its default.
fn listed() -> Vec<(&'static str, &'static str)> {
    let lines = include_str!("../../.env.example").lines();
    lines
        .filter_map(|line| line.strip_prefix('#').unwrap_or(line).split_once('='))
        .filter(|(name, _)| !name.contains(' '))
        .collect()
}

#[test]
fn the_example_says_of_the_variables_of_providers_what_the_providers_do() {
    let example = include_str!("../../.env.example");
    for setting in provider::settings() {
        let listed = format!("# {}\n#{}=\n", setting.about, setting.variable);
        assert!(example.contains(&listed), "{listed}");
    }
}

#[test]
fn the_example_lists_every_variable_with_its_default() {
    let names: Vec<_> = listed().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, table().map(|entry| entry.name()).collect::<Vec<_>>());
    let defaults = Config::from_variables(|variable| {
        let listed = listed();
        let default = listed.iter().find(|(name, _)| *name == variable);
        Ok(default.map(|(_, value)| (*value).to_owned()))
    });
    assert_eq!(
        format!("{:?}", defaults.unwrap()),
        format!("{:?}", Config::default())
    );
}

#[test]
fn the_documentation_lists_every_variable_with_its_default() {
    let table = include_str!("../../docs/operations.md")
        .lines()
        .skip_while(|line| !line.starts_with("| variable | default |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let mut documented = Vec::new();
    for line in table {
        let mut cells = line.split('|').skip(1).map(str::trim);
        let mut quoted = || {
            cells
                .next()
                .unwrap_or_default()
                .split('`')
                .skip(1)
                .step_by(2)
        };
        let (names, defaults): (Vec<_>, Vec<_>) = (quoted().collect(), quoted().collect());
        // Several that have none say so once.
        let mut defaults = defaults.into_iter();
        documented.extend(
            names
                .into_iter()
                .map(|name| (name, defaults.next().unwrap_or_default())),
        );
        assert_eq!(defaults.next(), None, "{line}");
    }
    let sorted = |mut variables: Vec<_>| {
        variables.sort_unstable();
        variables
    };
    assert_eq!(sorted(documented), sorted(listed()));
}
