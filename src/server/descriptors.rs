//! How many descriptors the process may have open: each connection takes one, and so do files and databases.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of this process as far as it may by itself, to the hard limit.
pub fn raise() {
    let limit = getrlimit(Resource::Nofile);
    // Not asked for where it changes nothing: a sandbox may end who asks.
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        log::warn!("the limit of open files stays as it is: {error}");
    }
}

/// How many this process may have; none where there is no limit.
pub fn most() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}
