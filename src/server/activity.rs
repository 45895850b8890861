//! What a connection is doing, for how long it has, and how much memory it holds meanwhile.

#[cfg(test)]
mod tests;

use std::{mem, task::Waker, time::Instant};

use super::{limits::Limits, reading::Reading, reason::Reason, sending::Sending};

/// What a connection is doing.
#[derive(Debug)]
enum Phase {
    /// Its first head is awaited, or a head has begun.
    Head { since: Instant, bytes: usize },
    /// It waits for another request.
    Idle { since: Instant },
    /// A handler has a request. `waits` for more of its body, which is not there; `held` are bytes that it has not taken.
    Request {
        since: Instant,
        waits: bool,
        held: usize,
    },
    /// An answer is being sent.
    Answer(Sending),
}

impl Phase {
    fn head(since: Instant, bytes: usize) -> Self {
        Self::Head { since, bytes }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Activity {
    phase: Phase,
    /// A body was not taken to its end; what is left of it is thrown away.
    draining: bool,
    /// Bytes that were read and that actix has not parsed yet.
    fresh: usize,
    /// A request has begun since actix last parsed.
    has_begun: bool,
    /// A request waits that may not begin yet, perhaps with others behind it.
    is_queued: bool,
    /// Bytes of answers that were handed over since all was last sent.
    unsent: usize,
    reader: Option<Waker>,
    starter: Option<Waker>,
}

impl Activity {
    /// A connection that has just begun.
    pub fn new(now: Instant) -> Self {
        Self {
            phase: Phase::head(now, 0),
            draining: false,
            fresh: 0,
            has_begun: false,
            is_queued: false,
            unsent: 0,
            reader: None,
            starter: None,
        }
    }

    /// Actix has parsed what was read.
    pub fn looked(&mut self) {
        self.fresh = 0;
        self.has_begun = false;
    }

    /// What may be read now. Where that is nothing, `waker` wakes the reader later.
    pub fn may_read(&mut self, waker: &Waker) -> Reading {
        let most = self.most_at_once();
        let is_parked = match &self.phase {
            Phase::Head { bytes, .. } => {
                if *bytes >= Limits::HEAD && self.fresh == 0 && !self.draining {
                    return Reading::TooLarge;
                }
                false
            }
            Phase::Idle { .. } => false,
            Phase::Request { held, .. } => *held >= most,
            // A client that does not read its answers may send no more requests.
            Phase::Answer(sending) => sending.is_stalled(),
        };
        // Actix would take apart all that is read, however many requests it is.
        if is_parked || self.is_queued {
            self.reader = Some(waker.clone());
            return Reading::Parked;
        }
        match most.saturating_sub(self.fresh) {
            0 => Reading::Later,
            bytes => Reading::Upto(bytes),
        }
    }

    /// How much may be read: more of a body than of heads.
    fn most_at_once(&self) -> usize {
        match self.phase {
            Phase::Request { .. } if self.draining => Limits::READ_BODY,
            _ => Limits::READ,
        }
    }

    /// So many bytes were read.
    pub fn read(&mut self, count: usize, now: Instant) {
        self.fresh += count;
        match &mut self.phase {
            Phase::Head { bytes, .. } => *bytes += count,
            Phase::Idle { .. } if count > 0 => {
                self.phase = Phase::head(now, count);
            }
            Phase::Request { held, .. } => *held += count,
            _ => {}
        }
    }

    /// Stops reading until actix has parsed what was read.
    pub fn read_enough(&mut self) {
        self.fresh = self.fresh.max(Limits::READ_BODY);
    }

    /// Whether the next request may begin: not while much waits to be sent, and one at a time, so that many requests of one
    /// connection do not hold up the others. Where it may not, `waker` wakes it later.
    pub fn may_begin(&mut self, waker: &Waker) -> bool {
        let is_full = self.unsent >= Limits::UNSENT;
        self.is_queued = is_full || self.has_begun;
        if is_full {
            self.starter = Some(waker.clone());
        } else if self.has_begun {
            waker.wake_by_ref();
        }
        !self.is_queued
    }

    /// A handler has a request.
    pub fn begins(&mut self, has_body: bool, now: Instant) {
        self.draining = has_body;
        self.has_begun = true;
        self.phase = Phase::Request {
            since: now,
            waits: false,
            held: 0,
        };
    }

    /// The handler took so much of the body.
    pub fn took(&mut self, count: usize) {
        if let Phase::Request { waits, held, .. } = &mut self.phase {
            *waits = false;
            *held = held.saturating_sub(count);
        }
        wake(&mut self.reader);
    }

    /// The handler took all that was there, and waits for more.
    pub fn waits(&mut self) {
        if let Phase::Request { waits, held, .. } = &mut self.phase {
            *waits = true;
            // What is held of a body in chunks is more than what can be taken of it.
            *held = 0;
        }
        wake(&mut self.reader);
    }

    /// The handler has the whole body.
    pub fn has_body(&mut self) {
        self.draining = false;
        self.took(0);
    }

    /// The handler has answered.
    pub fn answers(&mut self) {
        self.unsent += Self::HEADERS;
        self.phase = Phase::Answer(Sending::default());
        wake(&mut self.reader);
    }

    /// What the headers of an answer take, about.
    const HEADERS: usize = 512;

    /// So many bytes of the answer are handed over.
    pub fn adds(&mut self, count: usize) {
        self.unsent += count;
    }

    /// All of the answer is handed over.
    pub fn answered(&mut self) {
        if let Phase::Answer(sending) = &mut self.phase {
            sending.complete = true;
        }
    }

    /// The system took so many bytes.
    pub fn sent(&mut self, count: usize, now: Instant) {
        if let Phase::Answer(sending) = &mut self.phase {
            sending.sent(count, now);
        }
        wake(&mut self.reader);
    }

    /// The system takes no more.
    pub fn stalls(&mut self, now: Instant) {
        if let Phase::Answer(sending) = &mut self.phase {
            sending.stalls(now);
        }
    }

    /// The system has all that was handed over.
    pub fn flushed(&mut self, now: Instant) {
        self.unsent = 0;
        if let Phase::Answer(sending) = &self.phase
            && sending.complete
        {
            self.phase = match self.draining {
                // The rest of the body comes before another head, and in the same time.
                true => Phase::head(now, 0),
                false => Phase::Idle { since: now },
            };
        }
        wake(&mut self.starter);
    }

    /// Whether an answer is on its way.
    pub fn is_answering(&self) -> bool {
        matches!(self.phase, Phase::Answer(_))
    }

    /// Since when nothing has been under way, if so.
    pub fn idle_since(&self) -> Option<Instant> {
        match self.phase {
            Phase::Idle { since } => Some(since),
            _ => None,
        }
    }

    /// Why the connection is to be ended, if it is.
    pub fn overdue(&self, limits: &Limits, now: Instant) -> Option<Reason> {
        let timeout = limits.timeout + Limits::GRACE;
        let keep_alive = limits.keep_alive + Limits::GRACE;
        let since = |since| now.saturating_duration_since(since);
        let (is_late, reason) = match &self.phase {
            Phase::Head { since: begun, .. } if self.draining => {
                (since(*begun) > timeout, Reason::Body)
            }
            Phase::Head { since: begun, .. } => (since(*begun) > timeout, Reason::Head),
            Phase::Idle { since: begun } => (since(*begun) > keep_alive, Reason::Idle),
            Phase::Request {
                since: begun,
                waits,
                ..
            } => (*waits && since(*begun) > timeout, Reason::Body),
            Phase::Answer(sending) => (sending.is_late(limits, now), Reason::Unread),
        };
        is_late.then_some(reason)
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = mem::take(waker) {
        waker.wake();
    }
}
