//! How busy the database's connections are. Knows no table.

use diesel::r2d2::{ManageConnection, Pool};

/// How busy a database is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// How many writes wait for the writer.
    pub queue: usize,
    /// Its connections. None for a SQLite database in memory, which has no pool.
    pub pool: Option<PoolLoad>,
}

/// How busy a pool of connections is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLoad {
    /// Connections at work.
    pub in_use: u32,
    /// Connections without work.
    pub idle: u32,
    /// The most that there may be.
    pub most: u32,
}

impl PoolLoad {
    pub(super) fn of<M: ManageConnection>(pool: &Pool<M>) -> Self {
        let state = pool.state();
        Self {
            in_use: state.connections - state.idle_connections,
            idle: state.idle_connections,
            most: pool.max_size(),
        }
    }
}

/// Whether others write too, and would have to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteLoad {
    /// Nobody has for a while.
    Idle,
    /// Somebody has, or might have.
    Busy,
}
