//! How much memory the bodies of all requests may take together.
//!
//! Bytes count as they arrive, whatever length was announced. Nobody waits for room: where there is none, the body that
//! has been coming for the longest loses its place. So those that stall, or trickle in, make way for those that come,
//! and nobody can keep the room. A quarter of it is for small bodies alone.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    sync::{Semaphore, SemaphorePermit, oneshot},
    time::{Instant, timeout_at},
};

use super::problem::Problem;

/// Up to here a body is small, and read where it arrives.
pub const SMALL: usize = 64 * 1024;

/// The memory of all bodies.
#[derive(Debug)]
pub struct BodyBudget {
    places: Mutex<Admission>,
    work: Semaphore,
    most_work: u32,
}

#[derive(Debug)]
struct Admission {
    most: usize,
    most_large: usize,
    held: usize,
    held_large: usize,
    next: u64,
    /// Those that still arrive, by age, the small and the large.
    small: BTreeMap<u64, ArrivingBody>,
    large: BTreeMap<u64, ArrivingBody>,
}

/// A body that still arrives.
#[derive(Debug)]
struct ArrivingBody {
    bytes: usize,
    /// Dropped with the place, which its reader then hears.
    _stay: oneshot::Sender<()>,
}

/// There is no room, or not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NoRoom;

impl BodyBudget {
    /// What a byte of a large body may become until it is stored: a tree of it, copies, texts for the database.
    const GROWTH: usize = 20;

    /// Room for `bytes` of bodies, and for about as much that is made of large ones.
    pub fn new(bytes: usize) -> Self {
        let kibibytes = u32::try_from(bytes / 1024).unwrap_or(u32::MAX).max(1);
        Self {
            places: Mutex::new(Admission {
                most: bytes,
                most_large: most_large(bytes),
                held: 0,
                held_large: 0,
                next: 0,
                small: BTreeMap::new(),
                large: BTreeMap::new(),
            }),
            work: Semaphore::new(kibibytes as usize),
            most_work: kibibytes,
        }
    }

    /// A place for a body of which nothing has come yet.
    pub fn place(self: &Arc<Self>) -> BodyPermit {
        let (stay, lost) = oneshot::channel();
        BodyPermit {
            budget: self.clone(),
            state: Holding::Nothing(Some(stay)),
            lost,
        }
    }

    /// Waits until a body of `size` bytes may be read: large ones a few at a time, since what is made of one is many
    /// times as large. To be kept until it is answered.
    ///
    /// # Errors
    /// Where it has not come to that by `deadline`.
    pub async fn work(
        &self,
        size: usize,
        deadline: Instant,
    ) -> Result<Option<SemaphorePermit<'_>>, Problem> {
        if size <= SMALL {
            return Ok(None);
        }
        let needed = u32::try_from(size * Self::GROWTH / 1024).unwrap_or(u32::MAX);
        let acquiring = self.work.acquire_many(needed.min(self.most_work));
        match timeout_at(deadline, acquiring).await {
            Ok(Ok(permit)) => Ok(Some(permit)),
            Ok(Err(_)) | Err(_) => Err(Problem::no_room()),
        }
    }

    /// The bytes that bodies take now, and the most that they may.
    pub fn fill(&self) -> (usize, usize) {
        let places = self.places();
        (places.held, places.most)
    }

    fn places(&self) -> MutexGuard<'_, Admission> {
        // Nothing in there panics half-way.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of `bytes` in all, what large bodies may take.
pub const fn most_large(bytes: usize) -> usize {
    bytes / 4 * 3
}

impl Admission {
    /// Puts a body on the list, as the youngest.
    fn enter(&mut self, stay: oneshot::Sender<()>) -> u64 {
        let id = self.next;
        self.next += 1;
        let coming = ArrivingBody {
            bytes: 0,
            _stay: stay,
        };
        self.small.insert(id, coming);
        id
    }

    /// Gives a body that still arrives room for `bytes` in all.
    fn grow(&mut self, id: u64, bytes: usize) -> Result<(), NoRoom> {
        let is_large = bytes > SMALL;
        if bytes > self.most || (is_large && bytes > self.most_large) {
            // Nobody else is to lose anything for it.
            self.remove(id);
            return Err(NoRoom);
        }
        loop {
            let had = match (self.small.get(&id), self.large.get(&id)) {
                (Some(small), _) => (small.bytes, 0),
                (None, Some(large)) => (large.bytes, large.bytes),
                (None, None) => return Err(NoRoom),
            };
            let fits = self.held - had.0 + bytes <= self.most;
            let fits_large = !is_large || self.held_large - had.1 + bytes <= self.most_large;
            if fits && fits_large {
                break;
            }
            self.evict(!fits_large)?;
        }
        let Some(mut coming) = self.remove(id) else {
            return Err(NoRoom);
        };
        coming.bytes = bytes;
        self.held += bytes;
        match is_large {
            true => {
                self.held_large += bytes;
                self.large.insert(id, coming);
            }
            false => {
                self.small.insert(id, coming);
            }
        }
        Ok(())
    }

    /// Takes its place from the body that has been coming for the longest.
    fn evict(&mut self, large_alone: bool) -> Result<(), NoRoom> {
        let small = self.small.keys().next().filter(|_| !large_alone);
        let oldest = small.into_iter().chain(self.large.keys().next()).min();
        let oldest = *oldest.ok_or(NoRoom)?;
        self.remove(oldest);
        Ok(())
    }

    /// Takes a body off the list, and out of what is held.
    fn remove(&mut self, id: u64) -> Option<ArrivingBody> {
        if let Some(small) = self.small.remove(&id) {
            self.held -= small.bytes;
            return Some(small);
        }
        let large = self.large.remove(&id)?;
        self.held -= large.bytes;
        self.held_large -= large.bytes;
        Some(large)
    }
}

/// The room that a body has, from its first byte until it is dropped with its request.
#[derive(Debug)]
pub struct BodyPermit {
    budget: Arc<BodyBudget>,
    state: Holding,
    lost: oneshot::Receiver<()>,
}

#[derive(Debug)]
enum Holding {
    /// Nothing has come yet: what it enters the list with.
    Nothing(Option<oneshot::Sender<()>>),
    /// It comes, under this number of the list.
    Part(u64),
    /// It has arrived with so many bytes, which nobody can take from it any more.
    Whole(usize),
}

impl BodyPermit {
    /// Makes room for `bytes` in all.
    ///
    /// # Errors
    /// Where there is none, or the body has lost its place to another.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Problem> {
        let mut places = self.budget.places();
        if let Holding::Nothing(stay) = &mut self.state
            && let Some(stay) = stay.take()
        {
            self.state = Holding::Part(places.enter(stay));
        }
        match self.state {
            Holding::Part(id) => places.grow(id, bytes),
            Holding::Nothing(_) | Holding::Whole(_) => Err(NoRoom),
        }
        .map_err(|NoRoom| Problem::no_room())
    }

    /// Waits until the place is lost to another body.
    pub async fn lost(&mut self) -> Problem {
        let _ = poll_fn(|cx| Pin::new(&mut self.lost).poll(cx)).await;
        Problem::no_room()
    }

    /// The body has arrived: its place cannot be lost any more.
    ///
    /// # Errors
    /// Where it was lost before.
    pub fn arrived(&mut self) -> Result<(), Problem> {
        let Holding::Part(id) = self.state else {
            return Ok(());
        };
        let mut places = self.budget.places();
        let bytes = places.remove(id).ok_or_else(Problem::no_room)?.bytes;
        places.held += bytes;
        if bytes > SMALL {
            places.held_large += bytes;
        }
        self.state = Holding::Whole(bytes);
        Ok(())
    }
}

impl Drop for BodyPermit {
    fn drop(&mut self) {
        let mut places = self.budget.places();
        match self.state {
            Holding::Nothing(_) => {}
            Holding::Part(id) => drop(places.remove(id)),
            Holding::Whole(bytes) => {
                places.held -= bytes;
                if bytes > SMALL {
                    places.held_large -= bytes;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    const MEBIBYTE: usize = 1024 * 1024;

    fn held(budget: &BodyBudget) -> (usize, usize) {
        let places = budget.places();
        (places.held, places.held_large)
    }

    fn budget() -> Arc<BodyBudget> {
        Arc::new(BodyBudget::new(4 * MEBIBYTE))
    }

    #[test]
    fn the_body_that_has_been_coming_for_the_longest_loses_its_place() {
        let budget = budget();
        let mut places: Vec<_> = (0..3).map(|_| budget.place()).collect();
        for place in &mut places {
            place.grow(MEBIBYTE).unwrap();
        }
        let mut newest = budget.place();
        assert!(newest.grow(MEBIBYTE).is_ok());
        assert!(places[0].lost().now_or_never().is_some());
        assert!(places[1].lost().now_or_never().is_none());
        assert!(places[0].grow(MEBIBYTE + 1).is_err() && places[0].arrived().is_err());
        assert_eq!(held(&budget), (3 * MEBIBYTE, 3 * MEBIBYTE));
        drop((places, newest));
        assert_eq!(held(&budget), (0, 0));
    }

    #[test]
    fn a_body_that_has_arrived_keeps_its_place_and_a_new_one_is_refused() {
        let budget = budget();
        let mut places: Vec<_> = (0..3).map(|_| budget.place()).collect();
        for place in &mut places {
            place.grow(MEBIBYTE).unwrap();
            place.arrived().unwrap();
        }
        let mut newest = budget.place();
        assert!(newest.grow(MEBIBYTE).is_err());
        assert_eq!(held(&budget), (3 * MEBIBYTE, 3 * MEBIBYTE));
        drop(places);
        // Where its place is lost, it is lost.
        assert_eq!(held(&budget), (0, 0));
        assert!(budget.place().grow(3 * MEBIBYTE).is_ok());
    }

    #[test]
    fn large_bodies_leave_room_for_small_ones() {
        let budget = budget();
        let mut large: Vec<_> = (0..3).map(|_| budget.place()).collect();
        for place in &mut large {
            place.grow(MEBIBYTE).unwrap();
            place.arrived().unwrap();
        }
        let mut small: Vec<_> = (0..17).map(|_| budget.place()).collect();
        for place in &mut small {
            place.grow(SMALL).unwrap();
        }
        assert!(small[0].arrived().is_err(), "the oldest made way");
        assert!(small[1..].iter_mut().all(|place| place.arrived().is_ok()));
        assert!(budget.place().grow(1).is_err());
    }

    #[test]
    fn a_body_that_alone_is_too_large_is_refused_and_takes_no_place_from_others() {
        let budget = budget();
        let (mut one, mut other) = (budget.place(), budget.place());
        one.grow(100).unwrap();
        other.grow(MEBIBYTE).unwrap();
        assert!(other.grow(4 * MEBIBYTE).is_err());
        assert!(one.arrived().is_ok());
        assert_eq!(held(&budget), (100, 0));
        assert_eq!(budget.fill(), (100, 4 * MEBIBYTE));
    }

    #[actix_web::test]
    async fn large_bodies_are_worked_on_a_few_at_a_time() {
        let budget = BodyBudget::new(64 * MEBIBYTE);
        let soon = || Instant::now() + std::time::Duration::from_millis(20);
        let first = budget.work(3 * MEBIBYTE, soon()).await.unwrap();
        assert!(budget.work(3 * MEBIBYTE, soon()).await.is_err());
        assert!(budget.work(100, soon()).await.unwrap().is_none());
        drop(first);
        // However large, it is worked on some time.
        assert!(budget.work(300 * MEBIBYTE, soon()).await.unwrap().is_some());
    }
}
