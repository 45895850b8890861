//! What an administrator sets going.

use actix_web::HttpResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    call::{Call, ok},
    envelope::Envelope,
};
use crate::{
    access::Scope,
    store::{
        cleanup::{CleanupRun, Trigger},
        types::Timestamp,
    },
    web::problem::Problem,
};

/// What a clean-up did.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Cleanup)]
pub struct CleanupResource {
    id: uuid::Uuid,
    /// The process that did it.
    instance: uuid::Uuid,
    /// Why it was begun: `start`, `schedule`, `takeover`, `command` or `request`.
    #[schema(example = "request")]
    trigger: &'static str,
    #[schema(format = DateTime)]
    started_at: String,
    #[schema(format = DateTime)]
    finished_at: Option<String>,
    duration_ms: Option<u64>,
    /// Expired records that are gone.
    deleted_records: i64,
    /// Events past their retention that are gone.
    deleted_events: i64,
    /// Unfinished requests that were given back, since whoever did them is gone.
    released: i64,
    /// Expired records that are still there: those of requests that go on.
    remaining: Option<i64>,
    /// What went wrong.
    error: Option<String>,
}

impl From<CleanupRun> for CleanupResource {
    fn from(run: CleanupRun) -> Self {
        let duration = run.duration();
        Self {
            id: run.id.0,
            instance: run.instance.0,
            trigger: run.trigger.as_str(),
            started_at: run.started_at.to_string(),
            finished_at: run.finished_at.map(|at| at.to_string()),
            duration_ms: duration.map(|span| span.as_millis() as u64),
            deleted_records: run.deleted_records,
            deleted_events: run.deleted_events,
            released: run.released,
            remaining: run.remaining,
            error: run.error,
        }
    }
}

/// Clean up now
///
/// Deletes what has expired and answers when that is done, however long it takes: REQUEST_TIMEOUT does not bound it. It
/// goes on if the client does not wait. 409 while another clean-up is running. With a token that is not bound to a
/// retailer.
#[utoipa::path(
    post, path = "/api/v1/admin/cleanup", operation_id = "cleanUp", tag = "operations",
    responses((status = 200, description = "What was deleted", body = Envelope<'static, CleanupResource>)),
    security(("token" = ["admin"])),
)]
pub async fn clean_up(call: Call) -> Result<HttpResponse, Problem> {
    call.needs_unbound(Scope::Admin)?;
    let running = call
        .state
        .cleanup
        .run(Trigger::Request, None, Timestamp::now());
    let report = running.await?;
    match report.failure {
        Some(failure) => Err(failure.into()),
        None => ok("Cleaned up", &CleanupResource::from(report.run)),
    }
}
