//! Whether the service lives, is ready, and what it is configured for.

use actix_web::{HttpResponse, web::Data};
use serde_json::json;

use super::{State, problem::Problem};
use crate::store::totals;

/// The process answers.
pub async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "ok"}))
}

/// The database answers too.
pub async fn ready(state: Data<State>) -> Result<HttpResponse, Problem> {
    // Through the writer: a database that can only be read is not ready for webhooks.
    let ping = state.store.write(totals::ping);
    tokio::time::timeout(state.config.request_timeout, ping)
        .await
        .map_err(Problem::unavailable)??;
    Ok(HttpResponse::Ok().json(json!({"status": "ok"})))
}

/// What is configured, and never a secret.
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
            "lease_seconds": config.idempotency_lease.as_secs(),
        },
        "public_base_url": config.public_base_url.as_ref().map(ToString::to_string),
    }))
}
