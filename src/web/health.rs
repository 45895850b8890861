//! Whether the service lives, is ready, and what it is configured for.

use actix_web::{HttpResponse, web::Data};
use serde_json::json;

use super::{State, problem::Problem};
use crate::store::totals;

/// Tell whether the process answers
#[utoipa::path(
    get, path = "/health/live", operation_id = "isLive", tag = "operations",
    responses((status = 200, description = "It does", body = Object)),
)]
pub async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "ok"}))
}

/// Tell whether the database can be written to
#[utoipa::path(
    get, path = "/health/ready", operation_id = "isReady", tag = "operations",
    responses((status = 200, description = "It can", body = Object)),
)]
pub async fn ready(state: Data<State>) -> Result<HttpResponse, Problem> {
    // Through the writer: a database that can only be read is not ready for webhooks.
    let ping = state.store.write(totals::ping);
    tokio::time::timeout(state.config.request_timeout, ping)
        .await
        .map_err(Problem::unavailable)??;
    Ok(HttpResponse::Ok().json(json!({"status": "ok"})))
}

/// Show what is configured
///
/// And never a secret.
#[utoipa::path(
    get, path = "/api/v1/whatsapp/test", operation_id = "getConfiguration", tag = "operations",
    responses((status = 200, description = "Providers, headers, times, database", body = Object)),
)]
pub async fn configured(state: Data<State>) -> HttpResponse {
    let config = &state.config;
    HttpResponse::Ok().json(json!({
        "success": true,
        "engine": state.store.engine(),
        "providers": {
            "twilio": !config.twilio_auth_tokens.is_empty(),
            "whatsapp": !config.whatsapp_app_secrets.is_empty(),
            "whatsapp_verification": config.whatsapp_verify_token.is_some(),
        },
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
