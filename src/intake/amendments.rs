//! What is told, and counted, of the edits and revokes of a delivery: each once, with the order that it is noted on.

use super::transaction::{Told, Transaction};
use crate::{
    provider::event::{self, Content, Event},
    store::{
        Conn, StoreError,
        amendments::{Amendment, Noted},
        events::{self, Outcome},
        types::Uuid,
    },
};

impl Transaction {
    /// How many of the amendments other deliveries have told than this one, whose record is `record`. Its own count with
    /// their own events.
    pub fn told_by_others(
        &self,
        conn: &mut Conn<'_>,
        amendments: &[Amendment],
        record: Option<Uuid>,
    ) -> Result<Noted, StoreError> {
        let ids: Vec<_> = amendments.iter().map(|one| &*one.event_id).collect();
        let events = events::find_all(conn, self.provider().name(), &ids)?;
        let is_ours = |amendment: &&Amendment| {
            events.get(&amendment.event_id).is_some_and(|event| {
                event.delivery_id == record
                    && event.delivery_fingerprint == self.inbound.fingerprint.digest()
            })
        };
        let others = amendments.iter().filter(|amendment| !is_ours(amendment));
        Ok(others.map(|amendment| amendment.kind.into()).sum())
    }

    /// Tells of what customers changed of their messages as it is now, where a later piece than its own made the order.
    pub fn look_again_at_amendments(
        &self,
        conn: &mut Conn<'_>,
        told: &mut [Told],
    ) -> Result<(), StoreError> {
        if self.piece.before.is_empty() {
            return Ok(());
        }
        let each = told.iter_mut().zip(&self.inbound.delivery.events);
        let unnoted: Vec<_> = each
            .filter(|(told, event)| told.unnoted_amendment(event).is_some())
            .collect();
        let ids: Vec<_> = unnoted.iter().map(|(_, event)| &*event.id).collect();
        let mut now = events::find_all(conn, self.provider().name(), &ids)?;
        for (told, event) in unnoted {
            if let Some(known) = now.remove(&event.id) {
                told.report.outcome = known.outcome;
                told.report.order_id = known.order_id;
                told.report.order_number = known.order_number;
            }
        }
        Ok(())
    }
}

impl Told {
    /// The amendment that the event tells, where that is news and noted on no order so far.
    pub fn unnoted_amendment<'a>(&self, event: &'a Event) -> Option<&'a event::Amendment> {
        match &event.content {
            Content::Amended(amendment)
                if self.report.outcome == Outcome::Ignored && !self.report.known =>
            {
                Some(amendment)
            }
            _ => None,
        }
    }
}
