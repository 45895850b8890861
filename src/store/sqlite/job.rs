//! What the writer is told to do.

use diesel::SqliteConnection;
use std::error::Error;
use tokio::sync::oneshot;

use crate::{
    causes::with_causes,
    store::{Conn, StoreError, Trouble, WriteLoad, guarded},
};

/// What the writer is told.
pub(super) enum Message {
    /// To do this.
    Job(Box<dyn Job>),
    /// To do this when no request waits.
    Background(Box<dyn Job>),
    /// That there is room in the log, perhaps.
    LogMoved,
    /// To do what it was told before, and end.
    Stop,
}

/// A write that waits for the writer, whatever it gives back.
pub(super) trait Job: Send {
    /// How many requests it is of.
    fn count(&self) -> usize;
    /// Whether nobody waits for it any more.
    fn is_abandoned(&self) -> bool;
    /// Does the work. `false`: it failed, and what it has written is to be rolled back.
    fn run(&mut self, conn: &mut SqliteConnection, demand: WriteLoad) -> bool;
    /// Why it could not be made durable, where that is not its own fault, and what was said.
    fn trouble(&self) -> Option<(Trouble, String)>;
    /// Tells whoever asked, now that it is known whether the transaction was committed.
    fn answer(self: Box<Self>, committed: Result<(), &StoreError>);
}

pub(super) struct Pending<T, E, F> {
    count: usize,
    work: Option<F>,
    outcome: Option<Result<T, E>>,
    trouble: Option<(Trouble, String)>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<T, E, F> Pending<T, E, F> {
    pub(super) fn new(count: usize, work: F, reply: oneshot::Sender<Result<T, E>>) -> Self {
        Self {
            count,
            work: Some(work),
            outcome: None,
            trouble: None,
            reply,
        }
    }
}

impl<T, E, F> Job for Pending<T, E, F>
where
    F: FnOnce(&mut Conn<'_>, WriteLoad) -> Result<T, E> + Send,
    T: Send,
    E: From<StoreError> + Error + Send + 'static,
{
    fn count(&self) -> usize {
        self.count
    }

    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn run(&mut self, conn: &mut SqliteConnection, demand: WriteLoad) -> bool {
        let Some(work) = self.work.take() else {
            return true;
        };
        let outcome = guarded(|conn| work(conn, demand), &mut Conn::Sqlite(conn));
        if let Err(error) = &outcome {
            self.trouble = Trouble::of(error).map(|trouble| (trouble, with_causes(error)));
        }
        self.outcome.insert(outcome).is_ok()
    }

    fn trouble(&self) -> Option<(Trouble, String)> {
        self.trouble.clone()
    }

    fn answer(self: Box<Self>, committed: Result<(), &StoreError>) {
        let answer = match (self.outcome, committed) {
            (Some(Err(error)), _) => Err(error),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (_, Err(error)) => Err(StoreError::Commit(with_causes(error)).into()),
            (None, Ok(())) => Err(StoreError::Closed.into()),
        };
        // An error says that nobody waits any more.
        let _ = self.reply.send(answer);
    }
}
