//! Lines that wait to be written. Whoever adds one never waits; there is room for so many, and what comes beyond them is
//! dropped and counted.

use std::{
    io::{self, ErrorKind},
    mem,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// The most lines that wait or are being written.
const LINES: usize = 20_000;
/// And the most bytes.
const BYTES: usize = 8 * 1024 * 1024;

/// How long few lines are gathered before they are written: a thread that is woken for each costs more than the line.
const GATHERING: Duration = Duration::from_millis(5);
/// From so many bytes on nothing more is waited for.
const MUCH: usize = 64 * 1024;

/// The lines. Written by one thread: see [`Queue::write`].
#[derive(Default)]
pub struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    text: Vec<u8>,
    lines: usize,
    /// What the thread has taken, and may be stuck with.
    taken_bytes: usize,
    taken_lines: usize,
    is_busy: bool,
    dropped: u64,
    /// Of them, those that nobody has been told of.
    untold: u64,
    /// The last line that was written has no end.
    is_broken: bool,
}

impl Queue {
    /// Adds a line, which ends with a new line.
    pub fn push(&self, line: &[u8]) {
        let mut waiting = self.lock();
        let bytes = waiting.text.len() + waiting.taken_bytes + line.len();
        if bytes > BYTES || waiting.lines + waiting.taken_lines >= LINES {
            waiting.drop_lines(1);
            return;
        }
        waiting.text.extend_from_slice(line);
        waiting.lines += 1;
        let is_first = waiting.lines == 1;
        drop(waiting);
        if is_first {
            self.changed.notify_all();
        }
    }

    /// How many lines were dropped so far.
    pub fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// Waits until everything is written, at most for `bound`.
    pub fn flush(&self, bound: Duration) {
        let deadline = Instant::now() + bound;
        let mut waiting = self.lock();
        while waiting.lines > 0 || waiting.is_busy {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let woken = self.changed.wait_timeout(waiting, left);
            (waiting, _) = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for lines, at most for `tick`, and writes all that there are. Gives how many were dropped since it last said
    /// so, once something could be written again.
    pub fn write(&self, tick: Duration, to: &mut impl io::Write) -> u64 {
        let Some((text, was_broken)) = self.take(tick) else {
            return 0;
        };
        let written = write(&text, was_broken, to);
        let mut waiting = self.lock();
        (waiting.taken_bytes, waiting.taken_lines) = (0, 0);
        let rest = &text[written.min(text.len())..];
        if rest.is_empty() {
            waiting.is_broken = false;
            return mem::take(&mut waiting.untold);
        }
        waiting.is_broken = match written {
            0 => was_broken,
            _ => text[written - 1] != b'\n',
        };
        waiting.drop_lines(rest.iter().filter(|byte| **byte == b'\n').count() as u64);
        0
    }

    fn take(&self, tick: Duration) -> Option<(Vec<u8>, bool)> {
        let mut waiting = self.lock();
        if waiting.lines == 0 {
            waiting.is_busy = false;
            self.changed.notify_all();
            let woken = self
                .changed
                .wait_timeout_while(waiting, tick, |waiting| waiting.lines == 0);
            (waiting, _) = woken.unwrap_or_else(PoisonError::into_inner);
        }
        if waiting.lines == 0 {
            return None;
        }
        waiting.is_busy = true;
        if waiting.text.len() < MUCH {
            drop(waiting);
            thread::sleep(GATHERING);
            waiting = self.lock();
        }
        waiting.taken_bytes = waiting.text.len();
        waiting.taken_lines = mem::take(&mut waiting.lines);
        Some((mem::take(&mut waiting.text), waiting.is_broken))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn drop_lines(&mut self, count: u64) {
        self.dropped += count;
        self.untold += count;
    }
}

/// Writes a text, after the end of a line that has none. Gives how many of its bytes were written.
fn write(text: &[u8], was_broken: bool, to: &mut impl io::Write) -> usize {
    if was_broken && write_all(b"\n", to) == 0 {
        return 0;
    }
    write_all(text, to)
}

fn write_all(text: &[u8], to: &mut impl io::Write) -> usize {
    /// Whoever shares standard error may have told it not to block.
    const PAUSE: Duration = Duration::from_millis(10);
    let mut written = 0;
    while written < text.len() {
        match to.write(&text[written..]) {
            Ok(0) => break,
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(PAUSE),
            Err(_unwritable) => break,
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(1);

    /// Takes so many bytes, then fails until it is given more room.
    #[derive(Default)]
    struct Disk {
        text: Vec<u8>,
        room: usize,
    }

    impl io::Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.room);
            if count == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.room -= count;
            self.text.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn there_is_room_for_so_many_lines_and_bytes_and_the_rest_is_counted() {
        let queue = Queue::default();
        for _ in 0..LINES + 3 {
            queue.push(b"a\n");
        }
        assert_eq!(queue.dropped(), 3);
        let queue = Queue::default();
        let long = [b'a'; 64 * 1024];
        for _ in 0..BYTES / long.len() + 5 {
            queue.push(&long);
        }
        assert_eq!(queue.dropped(), 5);
    }

    #[test]
    fn what_was_dropped_is_told_once_when_something_is_written_again() {
        let queue = Queue::default();
        let mut disk = Disk::default();
        for _ in 0..LINES + 3 {
            queue.push(b"a\n");
        }
        assert_eq!(queue.write(SOON, &mut disk), 0, "nothing was written");
        disk.room = 100;
        queue.push(b"b\n");
        assert_eq!(queue.write(SOON, &mut disk), LINES as u64 + 3);
        assert_eq!(disk.text, b"b\n");
        queue.push(b"c\n");
        assert_eq!(queue.write(SOON, &mut disk), 0);
        assert_eq!(queue.write(SOON, &mut disk), 0, "nothing waits");
    }

    #[test]
    fn a_line_that_was_cut_is_ended_before_the_next() {
        let queue = Queue::default();
        let mut disk = Disk {
            room: 5,
            ..Disk::default()
        };
        queue.push(b"abc\n");
        queue.push(b"def\n");
        assert_eq!(queue.write(SOON, &mut disk), 0);
        disk.room = 100;
        queue.push(b"ghi\n");
        assert_eq!(queue.write(SOON, &mut disk), 1);
        assert_eq!(disk.text, b"abc\nd\nghi\n");
    }

    #[test]
    fn nobody_waits_for_long_for_what_cannot_be_written() {
        let queue = Queue::default();
        queue.flush(Duration::from_secs(600));
        queue.push(b"a\n");
        queue.flush(SOON);
        queue.write(SOON, &mut io::sink());
        assert_eq!(queue.write(SOON, &mut io::sink()), 0);
        queue.flush(Duration::from_secs(600));
    }
}
