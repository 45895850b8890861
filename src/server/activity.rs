//! What a connection is doing, for how long it has, and how much memory it holds meanwhile.

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
    /// Bytes that were read since it was last looked at what has been read.
    fresh: usize,
    /// A request was begun since then.
    has_begun: bool,
    /// A request has come that may not begin yet, and others may have come behind it.
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

    /// What has been read was looked at.
    pub fn looked(&mut self) {
        self.fresh = 0;
        self.has_begun = false;
    }

    /// What may be read now. Who is parked is woken by `waker`.
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
            // Who does not read answers asks for no more.
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

    /// Of a body more than of heads.
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

    /// Nothing more before what was read is looked at.
    pub fn read_enough(&mut self) {
        self.fresh = self.fresh.max(Limits::READ_BODY);
    }

    /// Whether the next request may be begun: not while much waits to be sent, and one at a time, so that the requests
    /// of others come between many of one connection. Who may not is woken by `waker`.
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    fn limits() -> Limits {
        Limits {
            most: 10,
            most_per_address: None,
            trusted_proxies: Vec::new(),
            timeout: 10 * SECOND,
            keep_alive: 75 * SECOND,
            stop: 9 * SECOND,
        }
    }

    struct Clocked {
        activity: Activity,
        now: Instant,
    }

    impl Clocked {
        fn new() -> Self {
            let now = Instant::now();
            Self {
                activity: Activity::new(now),
                now,
            }
        }

        fn after(&mut self, seconds: u32) -> Option<Reason> {
            self.now += seconds * SECOND;
            self.activity.overdue(&limits(), self.now)
        }

        fn request(&mut self, has_body: bool) {
            self.activity.looked();
            self.activity.read(100, self.now);
            self.activity.begins(has_body, self.now);
        }

        fn whole_request(&mut self) {
            self.request(false);
            self.activity.answers();
            self.activity.answered();
            self.activity.sent(200, self.now);
            self.activity.flushed(self.now);
        }

        fn may_read(&mut self) -> Reading {
            self.activity.may_read(Waker::noop())
        }
    }

    #[test]
    fn a_first_head_is_bounded_from_the_beginning_of_its_connection() {
        let mut silent = Clocked::new();
        assert_eq!(silent.after(10), None);
        assert_eq!(silent.after(1), Some(Reason::Head));
        let mut dripping = Clocked::new();
        for _ in 0..10 {
            assert_eq!(dripping.after(1), None);
            dripping.activity.read(1, dripping.now);
        }
        assert_eq!(dripping.after(1), Some(Reason::Head));
    }

    #[test]
    fn a_second_head_is_bounded_from_its_first_byte() {
        let mut idle = Clocked::new();
        idle.whole_request();
        assert_eq!(idle.after(74), None);
        idle.activity.read(1, idle.now);
        assert_eq!(idle.after(9), None);
        assert_eq!(idle.after(2), Some(Reason::Head));
    }

    #[test]
    fn the_time_between_two_requests_is_bounded() {
        let mut idle = Clocked::new();
        idle.whole_request();
        assert_eq!(idle.after(75), None);
        assert_eq!(idle.after(1), Some(Reason::Idle));
    }

    #[test]
    fn a_handler_may_take_its_time_unless_it_waits_for_a_body() {
        let mut working = Clocked::new();
        working.request(true);
        assert_eq!(working.after(3600), None);
        let mut waiting = Clocked::new();
        waiting.request(true);
        waiting.activity.waits();
        assert_eq!(waiting.after(10), None);
        assert_eq!(waiting.after(1), Some(Reason::Body));
    }

    #[test]
    fn an_answer_is_to_be_read_at_a_least_rate() {
        let mut deaf = Clocked::new();
        deaf.request(false);
        deaf.activity.answers();
        assert_eq!(deaf.after(3600), None, "nothing has stalled yet");
        deaf.activity.stalls(deaf.now);
        assert_eq!(deaf.after(10), None);
        assert_eq!(deaf.after(1), Some(Reason::Unread));

        let mut dripping = Clocked::new();
        dripping.request(false);
        dripping.activity.answers();
        let mut ended = None;
        let mut seconds = 0;
        while ended.is_none() && seconds < 100 {
            dripping.activity.stalls(dripping.now);
            ended = dripping.after(1);
            dripping.activity.sent(1024, dripping.now);
            seconds += 1;
        }
        assert_eq!((ended, seconds), (Some(Reason::Unread), 11));

        let mut slow = Clocked::new();
        slow.request(false);
        slow.activity.answers();
        for _ in 0..100 {
            slow.activity.stalls(slow.now);
            assert_eq!(slow.after(1), None);
            slow.activity.sent(16 * 1024, slow.now);
        }
    }

    #[test]
    fn a_large_head_is_not_read_to_its_end_but_what_is_left_of_a_body_is() {
        let mut large = Clocked::new();
        let mut read = 0;
        while let Reading::Upto(bytes) = large.may_read() {
            large.activity.read(bytes, large.now);
            read += bytes;
            assert_eq!(large.may_read(), Reading::Later);
            large.activity.looked();
        }
        assert_eq!((large.may_read(), read), (Reading::TooLarge, Limits::HEAD));
        let mut draining = Clocked::new();
        draining.request(true);
        draining.activity.answers();
        draining.activity.answered();
        draining.activity.flushed(draining.now);
        for _ in 0..50 {
            draining.activity.looked();
            draining.activity.read(Limits::READ, draining.now);
        }
        draining.activity.looked();
        assert_eq!(draining.may_read(), Reading::Upto(Limits::READ));
        assert_eq!(draining.after(11), Some(Reason::Body));
    }

    #[test]
    fn no_more_of_a_body_is_read_than_the_handler_takes() {
        let mut request = Clocked::new();
        request.request(true);
        request.activity.looked();
        request.activity.read(Limits::READ_BODY, request.now);
        request.activity.looked();
        assert_eq!(request.may_read(), Reading::Parked);
        request.activity.took(1000);
        assert_eq!(request.may_read(), Reading::Upto(Limits::READ_BODY));
        request.activity.read(Limits::READ_BODY, request.now);
        request.activity.looked();
        // All was taken, and the rest was the lengths of chunks.
        request.activity.took(10_000);
        request.activity.waits();
        assert_eq!(request.may_read(), Reading::Upto(Limits::READ_BODY));
    }

    #[test]
    fn who_does_not_read_answers_is_neither_read_nor_answered_further() {
        let mut deaf = Clocked::new();
        deaf.request(false);
        deaf.activity.answers();
        assert!(!deaf.activity.may_begin(Waker::noop()), "one at a time");
        deaf.activity.looked();
        assert_eq!(deaf.may_read(), Reading::Parked, "others are before it");
        assert!(deaf.activity.may_begin(Waker::noop()));
        deaf.activity.adds(Limits::UNSENT);
        deaf.activity.answered();
        deaf.activity.looked();
        deaf.activity.stalls(deaf.now);
        assert_eq!(deaf.may_read(), Reading::Parked);
        assert!(!deaf.activity.may_begin(Waker::noop()));
        deaf.activity.sent(Limits::UNSENT, deaf.now);
        deaf.activity.flushed(deaf.now);
        assert!(deaf.activity.may_begin(Waker::noop()));
        assert_eq!(deaf.may_read(), Reading::Upto(Limits::READ));
    }
}
