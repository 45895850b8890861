//! Counts what comes, in memory: a request never waits for a count to be written. The counts of an hour are written as
//! they stand, into a row that nobody else writes, so a write that is repeated, or whose result got lost, does no harm.

#[cfg(test)]
mod tests;

use prometheus::{Histogram, HistogramOpts};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::latency::Latencies;
use crate::{
    idempotency::CountsLookups,
    store::{
        Store, StoreError,
        statistics::{self as rows, Counts, TrafficHour},
        types::{Timestamp, Uuid},
    },
};

/// The result of a request. Each that is received has one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrafficClass {
    /// It was acted on, and its answer is the first.
    First,
    /// It got the answer of its first time.
    Replayed,
    /// Its key stands for another request.
    Mismatched,
    /// Its first time was still going on.
    InProgressRejected,
    /// It was not signed by whom it should.
    SignatureRejected,
    /// It could not be read.
    Malformed,
    /// It was answered that something broke or is away, or its sender went away before it was answered.
    Failed,
}

/// A request that was received, and its result.
#[derive(Clone, Debug)]
pub struct RequestSample {
    /// Its result.
    pub class: TrafficClass,
    /// How long it took.
    pub took: Duration,
    /// How many of its events were known before.
    pub duplicate_events: u64,
    /// How many of its events were known with another content.
    pub conflicts: u64,
    /// How many orders it made.
    pub orders: u64,
    /// The edits that it had noted on orders.
    pub edits_noted: u64,
    /// The revokes that it had noted on orders.
    pub revokes_noted: u64,
    /// The retailers that it was for.
    pub retailers: Vec<Uuid>,
    /// How many of its messages were written to which numbers that no retailer has.
    pub unknown_retailers: BTreeMap<String, u64>,
}

/// What this process has counted.
pub struct Traffic {
    instance: Uuid,
    counted: Mutex<Counted>,
    lookup_seconds: Histogram,
}

struct Counted {
    hour: Hour,
    /// Those that are over, and not written down since.
    over: Vec<Hour>,
    /// When something last came for a retailer, where that is not written down.
    retailers: HashMap<Uuid, Timestamp>,
    minutes: Minutes,
    strangers: UnknownNumbers,
}

/// What was counted in an hour.
#[derive(Clone)]
struct Hour {
    id: Uuid,
    hour: Timestamp,
    counts: Counts,
    first: Latencies,
    replayed: Latencies,
    lookup: Latencies,
    /// Raised with every change.
    version: u64,
    /// The version that is written down.
    written: u64,
}

/// What the database does not hold yet.
struct UnwrittenCounts {
    /// Which version of each hour that is.
    versions: Vec<(Uuid, u64)>,
    rows: Vec<TrafficHour>,
    retailers: HashMap<Uuid, Timestamp>,
}

/// What happened lately.
#[derive(Clone, Debug)]
pub struct Recent {
    /// How long look-ups of keys took.
    pub lookups: Latencies,
    /// How many signatures were refused in the busiest of these minutes.
    pub signatures_rejected: u64,
    /// The numbers that messages of the last hour were written to and no retailer has, the last first.
    pub unknown_retailers: Vec<String>,
}

impl Traffic {
    /// Nothing has come yet. `instance` tells this process from others.
    pub fn new(instance: Uuid) -> Self {
        Self {
            instance,
            counted: Mutex::new(Counted {
                hour: Hour::new(Timestamp::now().hour()),
                over: Vec::new(),
                retailers: HashMap::new(),
                minutes: Minutes::default(),
                strangers: UnknownNumbers::default(),
            }),
            lookup_seconds: lookup_seconds(),
        }
    }

    /// How long keys were looked up for, for Prometheus.
    pub fn lookup_seconds(&self) -> Histogram {
        self.lookup_seconds.clone()
    }

    /// This process among others.
    pub fn instance(&self) -> Uuid {
        self.instance
    }

    /// Counts a request that was answered at `now`.
    pub fn count(&self, received: &RequestSample, now: Timestamp) {
        let mut counted = self.counted();
        if received.class == TrafficClass::SignatureRejected {
            counted.minutes.current(now).signatures_rejected += 1;
        }
        for retailer in &received.retailers {
            let last = counted.retailers.entry(*retailer).or_insert(now);
            *last = now.max(*last);
        }
        counted
            .strangers
            .note(received.unknown_retailers.keys(), now);
        counted.hour_of(now).count(received);
    }

    /// What happened in the last minutes before `now`.
    pub fn recent(&self, now: Timestamp) -> Recent {
        let counted = self.counted();
        Recent {
            unknown_retailers: counted.strangers.recent(now),
            ..counted.minutes.recent(now)
        }
    }

    /// The rows of this process as they stand, of which the database may hold older ones or none.
    pub fn rows(&self) -> Vec<TrafficHour> {
        let counted = self.counted();
        let hours = counted.over.iter().chain([&counted.hour]);
        hours.map(|hour| hour.row(self.instance)).collect()
    }

    /// Writes down what is not written yet.
    ///
    /// # Errors
    /// Where the database does not take it; the next time all of it is written.
    pub async fn flush(&self, store: &Store) -> Result<(), StoreError> {
        let UnwrittenCounts {
            versions,
            rows,
            retailers,
        } = self.unwritten();
        if rows.is_empty() && retailers.is_empty() {
            return Ok(());
        }
        let mut active: Vec<_> = retailers.iter().map(|(id, at)| (*id, *at)).collect();
        // Sorted, so that two instances lock rows in the same order.
        active.sort_unstable_by_key(|(id, _)| *id);
        let writing = store.write(move |conn| {
            for row in &rows {
                rows::put_hour(conn, row)?;
            }
            for (retailer, at) in active {
                rows::note_activity(conn, retailer, at)?;
            }
            Ok::<_, StoreError>(())
        });
        let outcome = writing.await;
        let mut counted = self.counted();
        match &outcome {
            Ok(()) => counted.forget(&versions),
            Err(_) => counted.remember(retailers),
        }
        outcome
    }

    fn unwritten(&self) -> UnwrittenCounts {
        let mut counted = self.counted();
        let retailers = std::mem::take(&mut counted.retailers);
        let hours = counted.over.iter().chain([&counted.hour]);
        let changed: Vec<_> = hours.filter(|hour| hour.version > hour.written).collect();
        let versions = changed.iter().map(|hour| (hour.id, hour.version));
        let rows = changed.iter().map(|hour| hour.row(self.instance));
        UnwrittenCounts {
            versions: versions.collect(),
            rows: rows.collect(),
            retailers,
        }
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CountsLookups for Traffic {
    fn looked_up(&self, took: Duration, now: Timestamp) {
        self.lookup_seconds.observe(took.as_secs_f64());
        let mut counted = self.counted();
        counted.minutes.current(now).lookups.record(took);
        let hour = counted.hour_of(now);
        hour.lookup.record(took);
        hour.version += 1;
    }
}

fn lookup_seconds() -> Histogram {
    const SECONDS: [f64; 10] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];
    let about = "How long idempotency keys were looked up for.";
    let opts = HistogramOpts::new("hookonce_key_lookup_duration_seconds", about);
    Histogram::with_opts(opts.buckets(SECONDS.to_vec())).expect("the options of a histogram")
}

impl Counted {
    /// The hour to count in. Where the clock was set back, a new row of an hour that has been.
    fn hour_of(&mut self, now: Timestamp) -> &mut Hour {
        let hour = now.hour();
        if self.hour.hour != hour {
            let over = std::mem::replace(&mut self.hour, Hour::new(hour));
            if over.version > over.written {
                self.over.push(over);
            }
        }
        &mut self.hour
    }

    fn forget(&mut self, written: &[(Uuid, u64)]) {
        for (id, version) in written {
            if self.hour.id == *id {
                self.hour.written = *version;
            }
            self.over
                .retain(|hour| hour.id != *id || hour.version > *version);
        }
    }

    fn remember(&mut self, retailers: HashMap<Uuid, Timestamp>) {
        for (retailer, at) in retailers {
            let last = self.retailers.entry(retailer).or_insert(at);
            *last = at.max(*last);
        }
    }
}

impl Hour {
    fn new(hour: Timestamp) -> Self {
        Self {
            id: Uuid::random(),
            hour,
            counts: Counts::default(),
            first: Latencies::default(),
            replayed: Latencies::default(),
            lookup: Latencies::default(),
            version: 0,
            written: 0,
        }
    }

    fn count(&mut self, received: &RequestSample) {
        let counts = &mut self.counts;
        counts.received += 1;
        let one = match received.class {
            TrafficClass::First => &mut counts.first,
            TrafficClass::Replayed => &mut counts.replayed,
            TrafficClass::Mismatched => &mut counts.mismatched,
            TrafficClass::InProgressRejected => &mut counts.in_progress_rejected,
            TrafficClass::SignatureRejected => &mut counts.signature_rejected,
            TrafficClass::Malformed => &mut counts.malformed,
            TrafficClass::Failed => &mut counts.failed,
        };
        *one += 1;
        counts.duplicate_events += received.duplicate_events.cast_signed();
        counts.conflicts += received.conflicts.cast_signed();
        counts.orders += received.orders.cast_signed();
        counts.edits_noted += received.edits_noted.cast_signed();
        counts.revokes_noted += received.revokes_noted.cast_signed();
        let unknown = received.unknown_retailers.values().sum::<u64>();
        counts.unknown_retailers += unknown.cast_signed();
        match received.class {
            TrafficClass::First => self.first.record(received.took),
            TrafficClass::Replayed => self.replayed.record(received.took),
            _ => {}
        }
        self.version += 1;
    }

    fn row(&self, instance: Uuid) -> TrafficHour {
        TrafficHour {
            id: self.id,
            hour: self.hour,
            instance,
            counts: self.counts,
            first_latency: self.first.to_bytes(),
            replayed_latency: self.replayed.to_bytes(),
            lookup_latency: self.lookup.to_bytes(),
        }
    }
}

/// The last few minutes, each for itself.
#[derive(Default)]
struct Minutes(VecDeque<Minute>);

struct Minute {
    begins: Timestamp,
    lookups: Latencies,
    signatures_rejected: u64,
}

impl Minutes {
    /// How many there are.
    const KEPT: usize = 5;

    fn current(&mut self, now: Timestamp) -> &mut Minute {
        let begins = now.minute();
        if self.0.back().is_none_or(|last| last.begins != begins) {
            if self.0.len() == Self::KEPT {
                self.0.pop_front();
            }
            self.0.push_back(Minute {
                begins,
                lookups: Latencies::default(),
                signatures_rejected: 0,
            });
        }
        let last = self.0.len() - 1;
        &mut self.0[last]
    }

    fn recent(&self, now: Timestamp) -> Recent {
        let span = Duration::from_secs(60) * Self::KEPT as u32;
        let mut recent = Recent {
            lookups: Latencies::default(),
            signatures_rejected: 0,
            unknown_retailers: Vec::new(),
        };
        for minute in self
            .0
            .iter()
            .filter(|minute| minute.begins.until(now) < span)
        {
            recent.lookups.add(&minute.lookups);
            let rejected = minute.signatures_rejected;
            recent.signatures_rejected = recent.signatures_rejected.max(rejected);
        }
        recent
    }
}

/// The numbers that messages were written to and no retailer has, each with its last time.
#[derive(Default)]
struct UnknownNumbers(Vec<(String, Timestamp)>);

impl UnknownNumbers {
    /// How many are kept: bounds the memory, and tells that there are more than an alert names.
    const KEPT: usize = 16;
    /// For how long.
    const FOR: Duration = Duration::from_secs(60 * 60);

    fn note<'a>(&mut self, numbers: impl Iterator<Item = &'a String>, now: Timestamp) {
        for number in numbers {
            self.0.retain(|(known, _)| known != number);
            self.0.insert(0, (number.clone(), now));
            self.0.truncate(Self::KEPT);
        }
    }

    fn recent(&self, now: Timestamp) -> Vec<String> {
        let recent = self.0.iter().filter(|(_, at)| at.until(now) < Self::FOR);
        recent.map(|(number, _)| number.clone()).collect()
    }
}
