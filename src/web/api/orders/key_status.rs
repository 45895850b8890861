//! The outcome of the request with a key.

use actix_web::HttpResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::{call::Call, envelope::with_document};

use crate::{
    idempotency::{self, IdempotencyKey, KeyStatus},
    json::Value,
    web::problem::Problem,
};

/// The outcome of the request with a key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KeyStatus)]
pub struct KeyStatusResource {
    /// Always true; errors have false.
    success: bool,
    /// The key.
    key: String,
    status: KeyState,
    /// What that means.
    message: &'static str,
    /// What was answered, where it is completed.
    #[schema(required)]
    result: Option<ResultResource>,
}

/// How far a request has come.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum KeyState {
    /// Answered.
    Completed,
    /// Claimed, and not answered yet.
    InProgress,
    /// Failed: send it again.
    Failed,
    /// Never seen, or forgotten.
    NotFound,
}

/// What was answered.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KeyResult)]
struct ResultResource {
    /// HTTP status.
    #[schema(example = 201)]
    status: i16,
    /// The body, where it was JSON.
    #[schema(required, value_type = Option<Object>)]
    body: Option<serde_json::Value>,
}

/// Ask after a key
///
/// Of any request of this client: for one that never heard an answer. A key whose request is being done in a
/// transaction that has not ended is not found yet.
#[utoipa::path(
    get, path = "/api/v1/orders/status/{key}", operation_id = "getKeyStatus", tag = "orders",
    params(("key" = String, Path, description = "The idempotency key", pattern = "^[A-Za-z0-9._:-]{1,128}$")),
    responses((status = 200, description = "What became of it", body = KeyStatusResource)),
    security(("token" = ["orders:read"])),
)]
pub async fn show(call: Call) -> Result<HttpResponse, Problem> {
    let key: IdempotencyKey = call.request.match_info().query("key").parse()?;
    let scope = call.caller.key_scope();
    let wanted = key.clone();
    let looking =
        call.look_up(move |conn, at| Ok(idempotency::key_status(conn, &scope, &wanted, at.now)?));
    let mut body = Value::Null;
    let (status, message, result) = match looking.await? {
        KeyStatus::Unknown => (KeyState::NotFound, "no request has this key", None),
        KeyStatus::InProgress => (KeyState::InProgress, "still in progress", None),
        KeyStatus::Failed => (KeyState::Failed, "failed: send it again", None),
        KeyStatus::Completed { path, .. } if !crate::web::api::may_read(&call.caller, &path) => (
            KeyState::Completed,
            "done; to read the answer takes another scope",
            None,
        ),
        KeyStatus::Completed { reply, .. } => {
            body = Value::parse(&reply.body).unwrap_or(Value::Null);
            let result = ResultResource {
                status: reply.status,
                body: None,
            };
            (
                KeyState::Completed,
                "done: this was the answer",
                Some(result),
            )
        }
    };
    let answer = KeyStatusResource {
        success: true,
        key: key.to_string(),
        status,
        message,
        result,
    };
    with_document(&answer, &["result", "body"], body)
}
