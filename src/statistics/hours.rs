//! Counts of requests, hour by hour.

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    latency::{Latencies, Percentiles},
    window::Window,
};

use crate::store::{
    Conn, StoreError,
    statistics::{self as rows, Counts, Snapshot, TrafficHour},
    types::{Timestamp, Uuid},
};

/// How long things took.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LatencyStatistics)]
pub struct LatencyReport {
    /// First answers.
    pub first: Percentiles,
    /// Replays.
    pub replayed: Percentiles,
    /// Look-ups of keys.
    pub lookup: Percentiles,
}

/// An hour.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HourStatistics)]
pub struct SeriesReport {
    /// When it began.
    #[schema(format = DateTime)]
    pub hour: String,
    /// What came.
    pub received: i64,
    /// What was acted on.
    pub first: i64,
    /// What was replayed.
    pub replayed: i64,
    /// The orders made.
    pub orders: i64,
    /// The messages to numbers that no retailer has.
    pub unknown_retailers: i64,
    /// How many records there were after the hour's clean-up; null where there was none.
    #[schema(required)]
    pub keys: Option<i64>,
    /// How large the database was then.
    #[schema(required)]
    pub size_bytes: Option<i64>,
}

/// What came, and the hours of the window one by one.
pub(super) struct Hours {
    pub all: Counts,
    window: Vec<TrafficHour>,
}

impl Hours {
    pub fn read(
        conn: &mut Conn<'_>,
        ours: &[TrafficHour],
        begins: Timestamp,
    ) -> Result<Self, StoreError> {
        // Ours may be older, where a clock was set back or the database was away for long.
        let first = ours.iter().map(|row| row.hour).chain([begins]).min();
        let first = first.unwrap_or(begins);
        let ids: Vec<Uuid> = ours.iter().map(|row| row.id).collect();
        let mut all = rows::counts_before(conn, first)?;
        let mut hours = rows::hours_from(conn, first, &ids)?;
        hours.extend_from_slice(ours);
        all += hours.iter().map(|row| row.counts).sum();
        hours.retain(|row| row.hour >= begins);
        Ok(Self { all, window: hours })
    }

    pub fn latencies(&self) -> Result<LatencyReport, StoreError> {
        let percentiles = |bytes: fn(&TrafficHour) -> &[u8]| -> Result<Percentiles, StoreError> {
            let mut latencies = Latencies::default();
            for row in &self.window {
                latencies.add_bytes(bytes(row))?;
            }
            Ok(latencies.percentiles())
        };
        Ok(LatencyReport {
            first: percentiles(|row| &row.first_latency)?,
            replayed: percentiles(|row| &row.replayed_latency)?,
            lookup: percentiles(|row| &row.lookup_latency)?,
        })
    }

    pub fn series(
        &self,
        window: Window,
        now: Timestamp,
        snapshots: &[Snapshot],
    ) -> Vec<SeriesReport> {
        let hours = window.hours(now).map(|hour| {
            let rows = self.window.iter().filter(|row| row.hour == hour);
            let counts: Counts = rows.map(|row| row.counts).sum();
            let snapshot = snapshots.iter().find(|snapshot| snapshot.hour == hour);
            SeriesReport {
                hour: hour.to_string(),
                received: counts.received,
                first: counts.first,
                replayed: counts.replayed,
                orders: counts.orders,
                unknown_retailers: counts.unknown_retailers,
                keys: snapshot.map(|snapshot| snapshot.total),
                size_bytes: snapshot.map(|snapshot| snapshot.size_bytes),
            }
        });
        hours.collect()
    }
}
