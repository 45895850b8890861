//! Whether the service lives, is ready, and what it is configured for.

use actix_web::{HttpResponse, web::Data};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use utoipa::ToSchema;

use super::{State, problem::Problem};
use crate::{
    idempotency::cache::RedisState,
    provider::{REGISTRY, setting::Settings},
};

/// Tell whether the process answers
#[utoipa::path(
    get, path = "/health/live", operation_id = "isLive", tag = "operations",
    responses((status = 200, description = "It does", body = Object)),
)]
pub async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "ok"}))
}

/// Tell whether webhooks can be taken
///
/// The database answers, has this version's schema, takes writes, and has room on its disk. Else `detail` says what is
/// the matter. Where Redis is away they can all the same, and the status is `degraded`.
#[utoipa::path(
    get, path = "/health/ready", operation_id = "isReady", tag = "operations",
    responses((status = 200, description = "They can", body = ReadySchema)),
)]
pub async fn ready(state: Data<State>) -> Result<HttpResponse, Problem> {
    let findings = state.probe.look().await;
    let faults = findings.faults();
    if !faults.is_empty() {
        let reasons: Vec<_> = faults.iter().map(|fault| fault.reason).collect();
        let causes: Vec<_> = faults.iter().map(ToString::to_string).collect();
        return Err(Problem::not_ready(reasons.join("; "), causes.join("; ")));
    }
    let checks = findings.each();
    let mut checks: BTreeMap<_, _> = checks.map(|(name, found)| (name, found.as_str())).into();
    let (status, redis) = match state.keys.cache.redis() {
        RedisState::Unused => ("ok", "unknown"),
        RedisState::Up => ("ok", "ok"),
        RedisState::Away => ("degraded", "failed"),
    };
    checks.insert("redis", redis);
    Ok(HttpResponse::Ok().json(json!({"status": status, "checks": checks})))
}

/// Webhooks can be taken.
#[derive(ToSchema)]
#[schema(as = Ready)]
#[allow(dead_code)] // Shows what `ready` writes.
pub struct ReadySchema {
    /// `ok`, or `degraded` where Redis is away; errors have their status.
    status: String,
    checks: ChecksSchema,
}

/// `ok` each, or `unknown` where it cannot be seen from here or there is none; Redis may have `failed`.
#[derive(ToSchema)]
#[schema(as = ReadyChecks)]
#[allow(dead_code)] // Shows what `ready` writes.
struct ChecksSchema {
    /// It answers.
    database: String,
    /// It has every migration of this version.
    migrations: String,
    /// It takes writes.
    writer: String,
    /// There is room beside a SQLite file; `unknown` with PostgreSQL.
    disk: String,
    /// It works; `unknown` where none is configured.
    redis: String,
}

/// Show what is configured
///
/// And never a secret.
#[utoipa::path(
    get, path = "/api/v1/whatsapp/test", operation_id = "getConfiguration", tag = "operations",
    responses((status = 200, description = "Providers, headers, times, database", body = Object)),
)]
pub async fn configured(state: Data<State>) -> HttpResponse {
    let config = state.config.load();
    HttpResponse::Ok().json(json!({
        "success": true,
        "engine": state.store.engine(),
        "redis": config.redis_url.is_some(),
        "providers": providers(&config.providers),
        "idempotency": {
            "enabled": config.idempotency_enabled,
            "headers": [config.idempotency_header, "Idempotency-Key"],
            "ttl_seconds": config.idempotency_ttl.as_secs(),
            "ttl_seconds_by_kind": {
                "orders": config.idempotency_ttl_orders.as_secs(),
                "payments": config.idempotency_ttl_payments.as_secs(),
                "refunds": config.idempotency_ttl_refunds.as_secs(),
                "bookings": config.idempotency_ttl_bookings.as_secs(),
            },
            "lease_seconds": config.idempotency_lease.as_secs(),
        },
        "public_base_url": config.public_base_url.as_ref().map(ToString::to_string),
    }))
}

/// Which providers can be verified, and which of their handshakes can be answered.
fn providers(settings: &Settings) -> Map<String, Value> {
    let mut shown = Map::new();
    for provider in REGISTRY {
        let name = provider.name();
        let count = settings.count_secrets(provider.settings());
        shown.insert(name.to_owned(), (count > 0).into());
        if let Some(handshake) = provider.handshake() {
            let is_set = settings.token(handshake.variable).is_some();
            shown.insert(format!("{name}_verification"), is_set.into());
        }
    }
    shown
}
