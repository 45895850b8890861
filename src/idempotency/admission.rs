//! Who may wait for the database: where more comes than it gets done in time, new work is refused at once, so that what is
//! taken is answered in time.
//!
//! As many may wait as it has begun of late in the time that they may wait (Little's law), and a few in any case: a disk
//! that halts for a moment keeps few waiting. Nobody is refused before the first of them has waited for half of that
//! time: many that come at once after a silence are no overload yet.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long is counted for, to tell how many are begun in a second.
const WINDOW: Duration = Duration::from_millis(100);
/// How much of a rate is left of it after a window in which less was begun: a halt is forgotten, and so is a rush.
const KEPT: f64 = 0.9;

/// More wait than the database gets done in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overloaded;

/// Who waits for the database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admission(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// How long whoever comes may have to wait. None: however long.
    longest: Option<Duration>,
    /// So many may always wait.
    few: usize,
    queue: Mutex<Queue>,
}

#[derive(Debug)]
struct Queue {
    next: u64,
    /// Since when each waits, by its number: in the order in which they came.
    waiting: BTreeMap<u64, Instant>,
    /// How many were begun since `since`.
    begun: u32,
    since: Instant,
    /// How many are begun in a second where there is enough to do.
    rate: f64,
}

/// A place among those that wait, until the work begins or nobody waits for it any more.
#[derive(Debug)]
pub struct Ticket {
    admission: Arc<Inner>,
    number: u64,
}

impl Admission {
    /// Refuses who would wait for longer than `longest`, while more than `few` wait.
    pub fn new(longest: Option<Duration>, few: usize) -> Self {
        Self::new_at(longest, few, Instant::now())
    }

    fn new_at(longest: Option<Duration>, few: usize, now: Instant) -> Self {
        Self(Arc::new(Inner {
            longest,
            few,
            queue: Mutex::new(Queue {
                next: 0,
                waiting: BTreeMap::new(),
                begun: 0,
                since: now,
                rate: 0.0,
            }),
        }))
    }

    /// A place among those that wait.
    ///
    /// # Errors
    /// Where there is none.
    pub fn enter(&self) -> Result<Arc<Ticket>, Overloaded> {
        self.enter_at(Instant::now())
    }

    fn enter_at(&self, now: Instant) -> Result<Arc<Ticket>, Overloaded> {
        let mut queue = self.0.queue();
        let (longest, few) = (self.0.longest, self.0.few);
        if longest.is_some_and(|longest| queue.is_full(longest, few, now)) {
            return Err(Overloaded);
        }
        let number = queue.next;
        queue.next += 1;
        queue.waiting.insert(number, now);
        Ok(Arc::new(Ticket {
            admission: self.0.clone(),
            number,
        }))
    }
}

/// Everybody may wait.
impl Default for Admission {
    fn default() -> Self {
        Self::new(None, 0)
    }
}

impl Inner {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn is_full(&self, longest: Duration, few: usize, now: Instant) -> bool {
        let most = (self.rate * longest.as_secs_f64()) as usize;
        let first = self.waiting.first_key_value();
        self.waiting.len() > few.max(most)
            && first.is_some_and(|(_, &since)| now.saturating_duration_since(since) > longest / 2)
    }

    fn begin(&mut self, number: u64, now: Instant) {
        if self.waiting.remove(&number).is_none() {
            return;
        }
        self.begun += 1;
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= WINDOW {
            let rate = f64::from(self.begun) / elapsed.as_secs_f64();
            self.rate = rate.max(self.rate * KEPT);
            (self.begun, self.since) = (0, now);
        }
    }
}

impl Ticket {
    /// The work begins: it waits no more.
    pub fn begin(&self) {
        self.begin_at(Instant::now());
    }

    fn begin_at(&self, now: Instant) {
        self.admission.queue().begin(self.number, now);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.admission.queue().waiting.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn whoever_comes_is_refused_while_more_than_a_few_wait_and_the_first_for_too_long() {
        let begun = Instant::now();
        let admission = Admission::new_at(Some(millis(100)), 2, begun);
        let after = |span| admission.enter_at(begun + millis(span));
        let mut waiting: Vec<_> = (0..3).map(|_| after(0).unwrap()).collect();
        waiting.push(after(50).unwrap());
        assert_eq!(after(51).unwrap_err(), Overloaded);
        // One begins, in whatever order: two that came at once are first now.
        waiting.remove(1).begin_at(begun + millis(51));
        assert_eq!(after(51).unwrap_err(), Overloaded);
        // A few may wait for however long.
        waiting.remove(0).begin_at(begun + millis(51));
        waiting.push(after(5_000).unwrap());
        assert_eq!(after(5_000).unwrap_err(), Overloaded);
        // Nobody waits any more for the one that came first: the next has come later.
        drop(waiting.remove(0));
        waiting.push(after(100).unwrap());
        assert_eq!(after(101).unwrap_err(), Overloaded);
    }

    #[test]
    fn as_many_may_wait_as_are_begun_in_that_time() {
        let start = Instant::now();
        let admission = Admission::new_at(Some(millis(100)), 2, start);
        // Ten in each of ten windows: a hundred a second, ten of which are ten in the time that they may wait.
        for at in 0..10 {
            let now = start + millis(100 * (at + 1));
            let tickets: Vec<_> = (0..10).map(|_| admission.enter_at(now).unwrap()).collect();
            tickets.iter().for_each(|ticket| ticket.begin_at(now));
        }
        let now = start + millis(1_000);
        let enter = |at| admission.enter_at(now + millis(at));
        let waiting: Vec<_> = (0..11).map(|_| enter(0).unwrap()).collect();
        assert_eq!(enter(51).unwrap_err(), Overloaded);
        waiting[0].begin_at(now);
        assert!(enter(51).is_ok());
        // A halt: what was done before it counts less and less.
        waiting[1].begin_at(now + millis(2_000));
        assert_eq!(admission.0.queue().rate, 90.0);
    }

    #[test]
    fn whoever_begins_or_leaves_waits_no_more() {
        let begun = Instant::now();
        let admission = Admission::new_at(Some(Duration::ZERO), 0, begun);
        let after = |seconds| admission.enter_at(begun + Duration::from_secs(seconds));
        let first = after(0).unwrap();
        assert_eq!(after(1).unwrap_err(), Overloaded);
        first.begin();
        let second = after(2).unwrap();
        drop(first);
        assert_eq!(after(3).unwrap_err(), Overloaded, "the second still waits");
        drop(second);
        assert!(after(4).is_ok());
    }

    #[test]
    fn by_default_everybody_may_wait() {
        let admission = Admission::default();
        let begun = Instant::now();
        let after = |seconds| admission.enter_at(begun + Duration::from_secs(seconds));
        let waiting: Vec<_> = (0..1_000).map(after).collect();
        assert!(waiting.iter().all(Result::is_ok));
    }
}
