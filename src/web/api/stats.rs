//! The statistics.

use actix_web::HttpResponse;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::{call::Call, parameters::Parameters};
use crate::{
    access::Scope,
    statistics::{self, Report, Window},
    store::types::Timestamp,
    web::problem::Problem,
};

/// The statistics, all of them at one moment.
#[derive(Serialize, ToSchema)]
pub struct StatisticsAnswer {
    /// Always true; errors have false.
    success: bool,
    #[serde(flatten)]
    report: Report,
}

/// How far back.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code)] // For the OpenAPI document.
pub struct StatisticsParameters {
    /// Whole hours, as in `24h`, for the series and the latencies: from `1h` to `720h`, 30 days.
    #[param(
        pattern = "^([1-9][0-9]?|[1-6][0-9]{2}|7[01][0-9]|720)h$",
        default = "24h"
    )]
    window: Option<String>,
}

/// Show the statistics
///
/// With a token that is not bound to a retailer.
#[utoipa::path(
    get, path = "/api/v1/stats", operation_id = "getStatistics", tag = "operations",
    params(StatisticsParameters),
    responses((status = 200, description = "The statistics", body = StatisticsAnswer)),
    security(("token" = ["stats:read"])),
)]
pub async fn show(call: Call) -> Result<HttpResponse, Problem> {
    call.needs_unbound(Scope::StatsRead)?;
    let mut parameters = Parameters::of(call.request.query_string());
    let window = parameters.take("window", |text| {
        text.parse::<Window>().map_err(str::to_owned)
    });
    parameters.finish()?;
    let window = window.unwrap_or_default();
    let state = &call.state;
    let (engine, schedule) = (
        state.store.engine(),
        state.config.load().cleanup_schedule.clone(),
    );
    let ours = state.traffic.rows();
    let looking = state.store.snapshot(move |conn| {
        statistics::report(conn, engine, &schedule, &ours, window, Timestamp::now())
    });
    let report = tokio::time::timeout(state.config.load().request_timeout, looking).await;
    let mut report = report.map_err(Problem::unavailable)??;
    let failing = state.store.health().failing_lately();
    if let Some(alert) = statistics::writes_failing(failing.as_ref())
        && let Some(failing) = failing
    {
        report.add(alert, failing.since);
    }
    Ok(HttpResponse::Ok().json(StatisticsAnswer {
        success: true,
        report,
    }))
}
