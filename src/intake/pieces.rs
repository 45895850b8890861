//! Acts on a delivery that tells of very many events in pieces, each in a transaction of its own, so that others pass
//! between them and what is done stays done.
//!
//! The first piece claims the key, each of the others makes sure that it is still held, and the last stores the reply. Who
//! comes meanwhile waits; where this process dies, its lease runs out soon, and whoever comes next goes on: the events that
//! are done are known by their ids, with the outcomes that they had.

use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

use super::{
    Answer, EventReport, Intake, RequestError, examine,
    job::{HeldKey, Job, Piece, Processed},
};
use crate::{idempotency::Lifetimes, provider::Delivery, store::StoreError};

/// The most events of a piece: SQLite takes some hundredths of a second for them, for which all others wait.
const MOST: usize = 100;

/// For how long a piece has the key to itself. The next renews it; who takes over too early only does it twice.
const LEASE: Duration = Duration::from_secs(2);

/// Whether a delivery tells of more than one transaction should act on.
pub(super) fn are_wanted(delivery: &Delivery) -> bool {
    delivery.events.len() > MOST
}

impl Intake {
    /// Acts on a delivery piece by piece; `base` is of the whole of it. Stops before a piece that would most likely end
    /// after the `deadline`, and gives the key back for whoever comes next.
    pub(super) async fn in_pieces(
        &self,
        base: &Job,
        begun: Instant,
        deadline: Instant,
    ) -> Result<Answer, RequestError> {
        let request = &base.request;
        // The record keeps the body, which may be large: the first piece alone needs it.
        let blank = Job {
            request: None,
            piece: Piece::default(),
            ..base.clone()
        };
        let mut progress = Progress::default();
        let mut pieces = base.piece.places.chunks(MOST).peekable();
        let mut slowest = Duration::ZERO;
        while let Some(places) = pieces.next() {
            let started = Instant::now();
            if progress.held.is_some() && started + slowest > deadline {
                return self
                    .given_back(progress.held, Err(RequestError::Timeout))
                    .await;
            }
            let is_last = pieces.peek().is_none();
            let job = Job {
                request: request.clone().filter(|_| progress.held.is_none()),
                piece: progress.next(places, is_last),
                lifetimes: Lifetimes {
                    lease: base.lifetimes.lease.min(LEASE),
                    ..base.lifetimes
                },
                ..blank.later(begun)
            };
            let now = job.now;
            let preparing = examine(places.len(), || job.prepared());
            let acting = async { self.gatherer.run(preparing.await?).await };
            let done = self.given_back(progress.held, acting.await).await?;
            slowest = slowest.max(started.elapsed());
            match done {
                Processed::Piece { held, events } => progress.add(held, events),
                done => return self.answer(done, request.as_deref(), now),
            }
        }
        match progress.failure {
            Some(failure) => self.given_back(progress.held, Err(failure)).await,
            // Cannot be: the last piece has an answer.
            None => Err(StoreError::Closed.into()),
        }
    }

    /// Gives the key back where the work itself failed or ran out of time: the next may go on at once, and the operator
    /// sees why.
    async fn given_back<T>(
        &self,
        held: Option<HeldKey>,
        outcome: Result<T, RequestError>,
    ) -> Result<T, RequestError> {
        if let (Err(error), Some(lease)) = (&outcome, held.and_then(|held| held.lease))
            && (error.is_failure() || matches!(error, RequestError::Timeout))
        {
            self.keys.release(lease, error).await?;
        }
        outcome
    }
}

/// How far it has come.
#[derive(Default)]
struct Progress {
    held: Option<HeldKey>,
    events: Vec<(usize, EventReport)>,
    failure: Option<RequestError>,
}

impl Progress {
    fn next(&mut self, places: &[usize], is_last: bool) -> Piece {
        let is_followed = !is_last || self.failure.is_some();
        Piece {
            places: places.to_vec(),
            held: self.held,
            before: match is_followed {
                true => Arc::default(),
                false => Arc::new(std::mem::take(&mut self.events)),
            },
            is_followed,
        }
    }

    fn add(&mut self, held: HeldKey, events: Result<Vec<(usize, EventReport)>, RequestError>) {
        self.held = Some(held);
        match events {
            Ok(events) => self.events.extend(events),
            Err(failure) => self.failure = Some(failure),
        }
    }
}
