//! What is said again and again: a few times in a minute, then only counted, and told with its number when the minute is
//! over.

use log::Level;
use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher as _, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// For how long lines of one kind are counted together.
const WINDOW: Duration = Duration::from_secs(60);
/// How many of them are said.
const SAID: u32 = 20;
/// How many kinds are told apart. What comes beyond them is counted with all else that its part of the program says.
const KINDS: usize = 256;

/// What makes lines of one level and target alike.
#[derive(Clone, Copy)]
pub enum LineKind<'a> {
    /// The line of the source that says it. The same words, but for numbers, are said once.
    Place(Option<&'a str>, Option<u32>),
    /// Its name; each of its lines tells something of its own.
    Named(fmt::Arguments<'a>),
}

/// A minute that is over, in which lines were held back.
pub struct EndedWindow {
    pub level: Level,
    pub target: String,
    /// What the first of them said.
    pub message: String,
    pub held: u64,
    /// How long it really took.
    pub over: Duration,
}

/// What was said lately.
#[derive(Default)]
pub struct Repeats {
    windows: Mutex<HashMap<u64, Window>>,
    hasher: RandomState,
}

struct Window {
    since: Instant,
    level: Level,
    target: String,
    said: u32,
    /// What its last line said; of [`LineKind::Place`] alone.
    last: Option<u64>,
    held: u64,
    message: String,
}

impl Repeats {
    /// Whether the line is to be said; if not, it is counted.
    pub fn admits(
        &self,
        level: Level,
        target: &str,
        kind: LineKind<'_>,
        message: fmt::Arguments<'_>,
        now: Instant,
    ) -> bool {
        let (key, last) = match kind {
            LineKind::Place(file, line) => {
                let key = self.hasher.hash_one((level, target, file, line));
                (key, Some(self.words(message)))
            }
            LineKind::Named(name) => (
                self.hasher.hash_one((level, target, name.to_string())),
                None,
            ),
        };
        let mut windows = self.lock();
        let key = match windows.len() < KINDS || windows.contains_key(&key) {
            true => key,
            false => self.hasher.hash_one((level, target)),
        };
        let window = windows.entry(key).or_insert_with(|| Window {
            since: now,
            level,
            target: target.to_owned(),
            said: 0,
            last: None,
            held: 0,
            message: String::new(),
        });
        let is_same = last.is_some() && window.last == last;
        if window.said < SAID && !is_same {
            window.said += 1;
            window.last = last;
            return true;
        }
        if window.held == 0 {
            window.message = message.to_string();
        }
        window.held += 1;
        false
    }

    /// Begins anew with all kinds whose minute is over.
    pub fn ended(&self, now: Instant) -> Vec<EndedWindow> {
        self.take(now, WINDOW)
    }

    /// Begins anew with all kinds.
    pub fn all(&self, now: Instant) -> Vec<EndedWindow> {
        self.take(now, Duration::ZERO)
    }

    fn take(&self, now: Instant, age: Duration) -> Vec<EndedWindow> {
        let is_over = |_: &u64, window: &mut Window| now.duration_since(window.since) >= age;
        let mut windows = self.lock();
        let over: Vec<_> = windows.extract_if(is_over).collect();
        drop(windows);
        let held = over.into_iter().filter(|(_, window)| window.held > 0);
        held.map(|(_, window)| EndedWindow {
            level: window.level,
            target: window.target,
            message: window.message,
            held: window.held,
            over: now.duration_since(window.since),
        })
        .collect()
    }

    /// The words of a message, without its numbers.
    fn words(&self, message: fmt::Arguments<'_>) -> u64 {
        let mut text = message.to_string();
        text.retain(|c| !c.is_ascii_digit());
        self.hasher.hash_one(text)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Window>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: LineKind<'_> = LineKind::Place(Some("a.rs"), Some(1));

    fn says(repeats: &Repeats, kind: LineKind<'_>, message: &str, now: Instant) -> bool {
        repeats.admits(Level::Error, "t", kind, format_args!("{message}"), now)
    }

    #[test]
    fn the_same_words_are_said_once_a_minute_and_counted() {
        let (repeats, begun) = (Repeats::default(), Instant::now());
        assert!(says(&repeats, HERE, "lost 7 writes: full", begun));
        for count in 0..1000 {
            let message = format!("lost {count} writes: full");
            assert!(!says(&repeats, HERE, &message, begun));
        }
        assert!(says(&repeats, HERE, "lost 7 writes: locked", begun));
        let later = begun + WINDOW;
        assert!(repeats.ended(later - Duration::from_secs(1)).is_empty());
        let ended = repeats.ended(later);
        assert_eq!((ended.len(), ended[0].held), (1, 1000));
        assert_eq!(ended[0].message, "lost 0 writes: full");
        assert_eq!(ended[0].over, WINDOW);
        assert!(says(&repeats, HERE, "lost 7 writes: full", later));
    }

    #[test]
    fn of_what_tells_something_of_its_own_a_few_are_said() {
        let (repeats, now) = (Repeats::default(), Instant::now());
        let say = |name: &str| says(&repeats, LineKind::Named(format_args!("{name}")), "m", now);
        let said = (0..100).filter(|_| say("503")).count();
        assert_eq!(said, SAID as usize);
        assert!(say("500"), "another kind has its own minute");
        let place = |at: usize| says(&repeats, HERE, &format!("event {}", "x".repeat(at)), now);
        let said = (0..100).filter(|at| place(*at)).count();
        assert_eq!(said, SAID as usize, "however different its words are");
        let held: Vec<_> = repeats.all(now).iter().map(|ended| ended.held).collect();
        assert_eq!(held, [80, 80]);
        assert!(say("503"));
    }

    #[test]
    fn whoever_says_something_new_each_time_is_bounded_too() {
        let (repeats, now) = (Repeats::default(), Instant::now());
        let say = |at: usize| says(&repeats, LineKind::Named(format_args!("{at}")), "m", now);
        let said = (0..100_000).filter(|at| say(*at)).count();
        assert_eq!(said, KINDS + SAID as usize);
        assert!(repeats.lock().len() <= KINDS + 1);
    }
}
