//! How long things took: histograms that can be kept, added up, and asked for percentiles.

use hdrhistogram::{
    Histogram,
    serialization::{Deserializer, Serializer as _, V2Serializer},
};
use std::time::Duration;

use crate::store::StoreError;

/// A histogram of durations in microseconds, true to two digits (HdrHistogram, <https://hdrhistogram.org>).
#[derive(Clone)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        const LONGEST: Duration = Duration::from_secs(60 * 60);
        const DIGITS: u8 = 2;
        let longest = LONGEST.as_micros() as u64;
        Self(Histogram::new_with_bounds(1, longest, DIGITS).expect("bounds of a histogram"))
    }
}

/// What so many of a hundred took at most, in milliseconds; none where nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, utoipa::ToSchema)]
pub struct Percentiles {
    /// Half of them.
    #[schema(required)]
    pub p50: Option<f64>,
    /// 95 of a hundred.
    #[schema(required)]
    pub p95: Option<f64>,
    /// 99 of a hundred.
    #[schema(required)]
    pub p99: Option<f64>,
    /// All of them.
    #[schema(required)]
    pub max: Option<f64>,
}

impl Latencies {
    /// Takes in how long one took. What took more than an hour counts as an hour.
    pub fn record(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(micros);
    }

    /// Takes in all of another.
    pub fn add(&mut self, other: &Self) {
        // Both have the same bounds, so there is nothing that does not fit.
        let _ = self.0.add(&other.0);
    }

    /// How many were measured.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The form in which it is kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A vector takes whatever is written to it.
        let _ = V2Serializer::new().serialize(&self.0, &mut bytes);
        bytes
    }

    /// Takes in what was kept.
    ///
    /// # Errors
    /// Where the bytes are not a histogram that this code wrote.
    pub fn add_bytes(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let kept: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes)
            .map_err(StoreError::unreadable)?;
        self.0.add(&kept).map_err(StoreError::unreadable)
    }

    /// What so many of a hundred took at most.
    pub fn percentiles(&self) -> Percentiles {
        if self.0.is_empty() {
            return Percentiles::default();
        }
        let ms = |micros: u64| Some(micros as f64 / 1000.0);
        Percentiles {
            p50: ms(self.0.value_at_quantile(0.50)),
            p95: ms(self.0.value_at_quantile(0.95)),
            p99: ms(self.0.value_at_quantile(0.99)),
            max: ms(self.0.max()),
        }
    }
}

impl std::fmt::Debug for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.percentiles().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(millis: impl IntoIterator<Item = u64>) -> Latencies {
        let mut latencies = Latencies::default();
        for ms in millis {
            latencies.record(Duration::from_millis(ms));
        }
        latencies
    }

    #[test]
    fn what_is_kept_comes_back_and_adds_up() {
        let (low, high) = (of(1..=50), of(51..=100));
        let mut all = Latencies::default();
        all.add_bytes(&low.to_bytes()).unwrap();
        all.add_bytes(&high.to_bytes()).unwrap();
        assert_eq!(all.count(), 100);
        assert_eq!(all.percentiles(), of(1..=100).percentiles());
        let percentiles = all.percentiles();
        let near = |found: Option<f64>, wanted: f64| (found.unwrap() / wanted - 1.0).abs() < 0.01;
        assert!(near(percentiles.p50, 50.0), "{percentiles:?}");
        assert!(near(percentiles.p95, 95.0), "{percentiles:?}");
        assert!(near(percentiles.max, 100.0), "{percentiles:?}");
    }

    #[test]
    fn nothing_measured_is_not_nothing_taken() {
        assert_eq!(of([]).percentiles(), Percentiles::default());
        let mut empty = Latencies::default();
        empty.add_bytes(&[]).unwrap();
        empty.add_bytes(&of([]).to_bytes()).unwrap();
        assert_eq!(empty.count(), 0);
    }

    #[test]
    fn what_is_no_histogram_is_refused() {
        assert!(Latencies::default().add_bytes(b"rubbish").is_err());
    }

    #[test]
    fn what_is_beyond_the_bounds_counts_at_them() {
        let mut latencies = Latencies::default();
        latencies.record(Duration::ZERO);
        latencies.record(Duration::MAX);
        assert_eq!(latencies.count(), 2);
    }
}
