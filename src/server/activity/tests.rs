//! What a connection is taken to be doing.

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
