//! What is done about events: the one place where work of one's own goes. The shop ([`crate::shop`]) is one handler.
//!
//! A handler works twice on an event: [`Handler::plan`] before the transaction, where time costs nobody anything, and
//! [`Handler::apply`] within it, after the event was claimed. What it writes there, the event, and the answer to its
//! delivery are committed together or not at all. What is to leave the process must not be sent from there, for the
//! transaction may be done again, or not at all.

use std::{any::Any, error::Error, sync::Arc};

use crate::{
    provider::{Provider, event::Event},
    store::{
        Conn, StoreError,
        types::{Digest, Json, Timestamp, Uuid},
    },
};

pub use crate::store::outcome::Outcome;

/// Acts on events.
pub trait Handler: Send + Sync + 'static {
    /// Whether it acts on this event. Of several handlers the first that wants an event has it; one that nobody wants is
    /// stored and answered, with the outcome [`Outcome::IGNORED`].
    fn wants(&self, event: &Event) -> bool;

    /// What it comes to, as far as that can be told without the database. Whatever is decided here, the transaction need
    /// not; what turns out otherwise there costs a statement.
    fn plan(&self, work: &Work<'_>) -> Plan {
        let _ = work;
        Plan::default()
    }

    /// Does what is to be done, in the transaction that has claimed the event. An error undoes what was done about this
    /// event, and its delivery is to come again.
    ///
    /// # Errors
    /// Whatever keeps the work from being done.
    fn apply(&self, conn: &mut Conn<'_>, task: &Task<'_>) -> Result<Handled, HandlerError>;

    /// Does it for many events, in the order of their ids: a handler that can with a statement for all of them. An error
    /// undoes all of it, and each event is tried again by itself.
    ///
    /// # Errors
    /// As [`Handler::apply`].
    fn apply_all(
        &self,
        conn: &mut Conn<'_>,
        tasks: &[Task<'_>],
    ) -> Result<Vec<Handled>, HandlerError> {
        tasks.iter().map(|task| self.apply(conn, task)).collect()
    }

    /// Adds what its events came to before and what is not kept with them.
    ///
    /// # Errors
    /// Where the database refuses.
    fn load_known(&self, conn: &mut Conn<'_>, known: &mut [Handled]) -> Result<(), HandlerError> {
        let _ = (conn, known);
        Ok(())
    }
}

/// An event, and what is known of its delivery.
#[derive(Clone, Copy)]
pub struct Work<'a> {
    /// Who told it.
    pub provider: &'static dyn Provider,
    /// What was told.
    pub event: &'a Event,
    /// What is stored of it: masked where that is asked for.
    pub payload: &'a Json,
    /// What its delivery says, all of it.
    pub fingerprint: Digest,
    /// When its delivery came.
    pub now: Timestamp,
}

/// An event that is to be acted on.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    /// The event.
    pub work: Work<'a>,
    /// The record of its delivery, where keys are kept.
    pub delivery_id: Option<Uuid>,
    /// What was planned.
    pub plan: &'a Plan,
}

/// The outcome that an event is expected to have.
#[derive(Clone, Default)]
pub struct Plan {
    /// What it comes to, if all is as it was when this was planned.
    pub expected: Handled,
    /// What [`Handler::apply`] is to know of how it was planned.
    pub details: Option<Arc<dyn Any + Send + Sync>>,
}

/// The outcome of an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Handled {
    /// In one word.
    pub outcome: Outcome,
    /// What whoever wrote is told, where the provider's answer can say it.
    pub reply: Option<String>,
    /// The retailer whose business it is.
    pub retailer_id: Option<Uuid>,
    /// The order that it is about.
    pub order_id: Option<Uuid>,
    /// Whether its event is kept for ever, and so known however late it comes again. One with an order is in any case; others
    /// are forgotten once no provider sends them again.
    pub lasting: bool,
    /// That order's number.
    pub order_number: Option<String>,
    /// Whether it was done before, and its event forgotten since, so that nothing was done now.
    pub known: bool,
    /// What the operator's counters are to know of it.
    pub notes: Vec<Note>,
}

/// Something that the operator counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What it is: one of few words, for each has a counter.
    pub kind: &'static str,
    /// What it is about, as it may be shown.
    pub about: Option<String>,
}

impl Handled {
    /// What came to no more than a word.
    pub fn new(outcome: Outcome) -> Self {
        Self {
            outcome,
            reply: None,
            retailer_id: None,
            order_id: None,
            lasting: false,
            order_number: None,
            known: false,
            notes: Vec::new(),
        }
    }
}

impl Default for Handled {
    fn default() -> Self {
        Self::new(Outcome::IGNORED)
    }
}

/// Why a handler did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// The database did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Anything else.
    #[error("the handler failed")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
}

impl HandlerError {
    /// Of whatever failed.
    pub fn failed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed(error.into())
    }
}

impl From<diesel::result::Error> for HandlerError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Store(error.into())
    }
}
