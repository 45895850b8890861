//! Logs once that a bound is reached, and once that it is over.

use std::time::{Duration, Instant};

/// How long the bound must not be met until it counts as over.
const QUIET: Duration = Duration::from_secs(10);

/// How often a bound was met since it was first met.
#[derive(Debug)]
pub struct Pressure {
    begun: Instant,
    last: Instant,
    displaced: u64,
    refused: u64,
}

impl Pressure {
    /// Notes that somebody met the bound, and whether room was made. True where it is the first.
    pub fn note(pressure: &mut Option<Self>, made_room: bool, now: Instant) -> bool {
        let is_first = pressure.is_none();
        let known = pressure.get_or_insert(Self {
            begun: now,
            last: now,
            displaced: 0,
            refused: 0,
        });
        known.last = now;
        match made_room {
            true => known.displaced += 1,
            false => known.refused += 1,
        }
        is_first
    }

    /// What to log once it is over.
    pub fn over(pressure: &mut Option<Self>, now: Instant) -> Option<String> {
        let is_over = |known: &mut Self| now.saturating_duration_since(known.last) >= QUIET;
        let known = pressure.take_if(is_over)?;
        let took = known.last.saturating_duration_since(known.begun).as_secs();
        Some(format!(
            "within {took}s {} gave way to others and {} were refused",
            known.displaced, known.refused
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_told_of_when_it_is_reached_and_when_it_is_quiet() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut pressure = None;
        assert!(Pressure::over(&mut pressure, now).is_none());
        assert!(Pressure::note(&mut pressure, true, at(0)));
        assert!(!Pressure::note(&mut pressure, true, at(5)));
        assert!(!Pressure::note(&mut pressure, false, at(7)));
        assert!(Pressure::over(&mut pressure, at(16)).is_none());
        let told = Pressure::over(&mut pressure, at(17)).unwrap();
        assert_eq!(told, "within 7s 2 gave way to others and 1 were refused");
        assert!(Pressure::note(&mut pressure, true, at(18)));
    }
}
