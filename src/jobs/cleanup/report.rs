//! The result of a clean-up.

use crate::store::{
    StoreError,
    cleanup::{self as rows, CleanupRun},
    types::Uuid,
};

/// The result of a run.
#[derive(Debug)]
pub struct Report {
    /// What it did.
    pub run: CleanupRun,
    /// Why it did not come to its end.
    pub failure: Option<Failure>,
}

/// Why a run did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The process is to end.
    #[error("{}", rows::STOPPED)]
    Stopped,
    /// Another has taken it over.
    #[error("the clean-up was taken over by another, for its lease had run out")]
    TakenOver,
    /// The database did not do it.
    #[error("the clean-up failed")]
    Store(#[from] StoreError),
}

/// Why a run was not begun.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// One is going on, here or in another process.
    #[error("a clean-up is running already")]
    Running {
        /// Which.
        holder: Uuid,
    },
    /// Another has done what was due at this time.
    #[error("this clean-up is done already")]
    Done,
    /// The database did not say.
    #[error("the clean-up could not be begun")]
    Store(#[from] StoreError),
}
