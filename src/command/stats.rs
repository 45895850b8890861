//! `hookonce stats`: what was received and with which results, how much there is, what is the matter.

use clap::Parser;
use comfy_table::{Cell, CellAlignment, Table, presets::NOTHING};
use std::fmt::{Display, Write as _};

use super::{CommandError, init_log, output::Output};
use crate::{
    app::{self, Opening},
    config::Config,
    printable::printable,
    statistics::{self, LatencyReport, Percentiles, Report, TrafficReport, Window},
    store::types::Timestamp,
};

#[derive(Debug, Parser)]
pub struct Args {
    /// Print all of it as JSON, as `GET /api/v1/stats` answers it
    #[arg(long)]
    json: bool,
    /// How far back the series and the latencies reach, in whole hours up to 720h
    #[arg(long, default_value = "24h")]
    window: Window,
}

pub async fn run(args: Args, config: Config) -> Result<(), CommandError> {
    init_log(&config);
    let store = app::open_store_once(&config, Opening::Read).await?;
    let (engine, schedule, window) = (store.engine(), config.cleanup_schedule, args.window);
    let looking = store.snapshot(move |conn| {
        // What was counted in the last second may not be written down yet.
        statistics::report(conn, engine, &schedule, &[], window, Timestamp::now())
    });
    let looked = looking.await;
    store.close().await;
    let report = looked?;
    match args.json {
        true => Output::default().json(&report),
        false => Output::default().line(tables(&report)),
    }
}

fn tables(report: &Report) -> String {
    let store = &report.store;
    let log = store.log_bytes;
    let log = log.map_or(String::new(), |bytes| format!(", with a log of {bytes}"));
    let mut out = format!(
        "{}, {} bytes{log}, at {}",
        store.engine, store.size_bytes, report.generated_at
    );
    add_keys(&mut out, report);
    add_traffic(&mut out, &report.traffic);
    add_latencies(&mut out, &report.latency_ms);
    add_rest(&mut out, report);
    out
}

fn add_keys(out: &mut String, report: &Report) {
    let keys = &report.keys;
    section(
        out,
        "Keys",
        &[
            "active",
            "expired",
            "in progress",
            "completed",
            "failed",
            "total",
        ],
        [vec![
            keys.active.to_string(),
            keys.expired.to_string(),
            keys.in_progress.to_string(),
            keys.completed.to_string(),
            keys.failed.to_string(),
            keys.total.to_string(),
        ]],
    );
    let headers = |first| [first, "active", "expired", "total", "replays"];
    let groups = |name: &str, groups: &statistics::Groups| {
        let counts = [groups.active, groups.expired, groups.total, groups.replays];
        let counts = counts.iter().map(ToString::to_string);
        [name.to_owned()]
            .into_iter()
            .chain(counts)
            .collect::<Vec<_>>()
    };
    let by_type = report.by_type.iter();
    section(
        out,
        "Keys by type",
        &headers("type"),
        by_type.map(|one| groups(&one.webhook_type, &one.records)),
    );
    let by_retailer = report.by_retailer.iter();
    section(
        out,
        "Keys by retailer",
        &headers("retailer"),
        by_retailer.map(|one| groups(one.name.as_deref().unwrap_or("none"), &one.records)),
    );
}

fn add_traffic(out: &mut String, traffic: &TrafficReport) {
    section(
        out,
        "Traffic since the first start",
        &["", ""],
        [
            ("received", traffic.received),
            ("first", traffic.first),
            ("replayed", traffic.replayed),
            ("mismatched", traffic.mismatched),
            ("in progress", traffic.in_progress_rejected),
            ("signature rejected", traffic.signature_rejected),
            ("malformed", traffic.malformed),
            ("failed", traffic.failed),
            ("duplicate events", traffic.duplicate_events),
            ("conflicts", traffic.conflicts),
            ("edits noted", traffic.edits_noted),
            ("revokes noted", traffic.revokes_noted),
            ("to unknown retailers", traffic.unknown_retailers),
        ]
        .map(|(name, count)| vec![name.to_owned(), count.to_string()]),
    );
}

fn add_latencies(out: &mut String, latency: &LatencyReport) {
    section(
        out,
        "Latency in ms",
        &["", "p50", "p95", "p99", "max"],
        [
            ("first", latency.first),
            ("replayed", latency.replayed),
            ("look-up", latency.lookup),
        ]
        .map(|(name, percentiles)| latencies(name, percentiles)),
    );
}

fn add_rest(out: &mut String, report: &Report) {
    let cleanup = &report.cleanup;
    section(
        out,
        "Clean-up",
        &[
            "schedule",
            "last",
            "took ms",
            "deleted",
            "error",
            "next",
            "deleted in all",
        ],
        [vec![
            cleanup.schedule.clone(),
            or_none(cleanup.last_run_at.as_ref()),
            or_none(cleanup.last_duration_ms),
            or_none(cleanup.last_deleted),
            or_none(cleanup.last_error.as_ref()),
            or_none(cleanup.next_run_at.as_ref()),
            cleanup.deleted_total.to_string(),
        ]],
    );
    let alerts = report.alerts.iter();
    section(
        out,
        "Alerts",
        &["alert", "firing since", ""],
        alerts.map(|alert| {
            vec![
                alert.name.to_owned(),
                or_none(alert.since.as_ref()),
                alert.detail.clone().unwrap_or_default(),
            ]
        }),
    );
    let series = report.series.iter().filter(|hour| hour.received > 0);
    section(
        out,
        "Hour by hour, where something came",
        &["hour", "received", "first", "replayed", "orders"],
        series.map(|hour| {
            let counts = [hour.received, hour.first, hour.replayed, hour.orders];
            let counts = counts.iter().map(ToString::to_string);
            [hour.hour.clone()].into_iter().chain(counts).collect()
        }),
    );
}

fn latencies(name: &str, percentiles: Percentiles) -> Vec<String> {
    let all = [
        percentiles.p50,
        percentiles.p95,
        percentiles.p99,
        percentiles.max,
    ];
    [name.to_owned()]
        .into_iter()
        .chain(all.map(or_none))
        .collect()
}

fn or_none(value: Option<impl Display>) -> String {
    value.map_or("-".to_owned(), |value| value.to_string())
}

/// A table whose first column is to the left and whose numbers are to the right.
fn section(
    out: &mut String,
    title: &str,
    headers: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
) {
    let is_number = |text: &str| text.parse::<f64>().is_ok();
    let cell = |text: &String| {
        let to = match is_number(text) {
            true => CellAlignment::Right,
            false => CellAlignment::Left,
        };
        Cell::new(printable(text)).set_alignment(to)
    };
    let mut table = Table::new();
    table.load_style(NOTHING);
    if headers.iter().any(|header| !header.is_empty()) {
        table.set_header(headers);
    }
    for row in rows {
        table.add_row(row.iter().map(cell));
    }
    // A String takes everything.
    let _ = write!(out, "\n\n{title}\n{table}");
}
