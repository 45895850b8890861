//! The bounds, and how many connections the descriptors of the process allow.

use ipnet::IpNet;
use std::time::Duration;

/// What connections may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The most connections at a time.
    pub most: usize,
    /// The most of one address; none where addresses are not told apart.
    pub most_per_address: Option<usize>,
    /// Proxies, which have no bound per address: all clients come through them.
    pub trusted_proxies: Vec<IpNet>,
    /// How long a head may take from its first byte (the first one from the beginning of its connection), how long a
    /// handler may wait for a body, and how long nothing of an answer may be read.
    pub timeout: Duration,
    /// How long a connection may wait for its next request.
    pub keep_alive: Duration,
    /// How long a stop may wait for what is under way.
    pub stop: Duration,
}

impl Limits {
    /// The largest head, in bytes.
    pub(super) const HEAD: usize = 32 * 1024;
    /// The most bytes that are read at once, and that are held while a request is under way.
    pub(super) const READ: usize = 4 * 1024;
    /// The same of a body, for a handler that does not take it.
    pub(super) const READ_BODY: usize = 16 * 1024;
    /// The most bytes of an answer that are handed on at once.
    pub(super) const PIECE: usize = 32 * 1024;
    /// The most bytes of answers that wait to be sent while the next request of the connection is begun.
    pub(super) const UNSENT: usize = 64 * 1024;
    /// What the system holds of an answer that nobody reads, in bytes.
    pub(super) const SEND_BUFFER: u32 = 64 * 1024;
    /// The slowest that an answer may be read once it had `timeout` in all, in bytes a second.
    pub(super) const LEAST_RATE: u64 = 16 * 1024;
    /// What actix has in addition to end a connection in its own, more polite way.
    pub(super) const GRACE: Duration = Duration::from_millis(500);
    /// How many more connections than `most` may be on their way to being refused.
    pub(super) const REFUSING: usize = 64;

    /// What the process has open whatever it does: its log, its threads' queues, what comes and goes.
    const RESERVE: usize = 64 + Self::REFUSING;

    /// The most connections, of so many wanted, where the process may have `descriptors` and needs so many for `others`.
    pub fn most_with(wanted: usize, descriptors: Option<u64>, others: usize) -> usize {
        let Some(descriptors) = descriptors else {
            return wanted;
        };
        let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
        let left = descriptors.saturating_sub(Self::RESERVE.saturating_add(others));
        // Even where there are too few descriptors for the rest, some connections are allowed.
        let left = left.max(descriptors / 4).max(1);
        wanted.min(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_keeps_descriptors_for_itself() {
        assert_eq!(Limits::most_with(2048, None, 32), 2048);
        assert_eq!(Limits::most_with(2048, Some(1_048_576), 32), 2048);
        assert_eq!(Limits::most_with(2048, Some(1024), 32), 1024 - 160);
        assert_eq!(Limits::most_with(100, Some(1024), 32), 100);
        assert_eq!(Limits::most_with(2048, Some(64), 32), 16);
        assert_eq!(Limits::most_with(2048, Some(0), 32), 1);
    }
}
