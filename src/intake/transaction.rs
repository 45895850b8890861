//! The one transaction in which a delivery is acted on.

use std::sync::Arc;

use super::{
    Answer, EventReport, Inbound, IntakeError, Reply,
    plan::{self, Foreseen, Plan},
};
use crate::{
    commerce::{
        ordering::{self, Placement},
        reply,
        shop::Shops,
    },
    idempotency::{self, Claim, KeyedRequest, Owned, StoredReply, Terms},
    provider::{Address, Content, Event, Provider, ReplyForm, StatusChange},
    store::{
        Conn, StoreError,
        events::{self, KnownEvent, NewEvent, Outcome},
        message_status::{self, MessageStatus},
        retailers::{self, Retailer},
        types::{Json, Timestamp, Uuid},
    },
};

/// All that the transaction needs, taken along to the thread that runs it.
pub(super) struct Transaction {
    pub inbound: Arc<Inbound>,
    pub request: Option<KeyedRequest>,
    pub terms: Terms,
    pub encode: fn(Reply) -> StoredReply,
    pub shops: Arc<Shops>,
    /// The plan for each event, where it could be made before.
    pub foreseen: Vec<Option<Foreseen>>,
    pub now: Timestamp,
}

/// What the transaction did.
pub(super) struct Done {
    pub answer: Answer,
    /// The record whose answer was replayed.
    pub replayed_record: Option<Uuid>,
}

/// What became of an event, with all that an answer may need.
struct Told {
    report: EventReport,
    reply: Option<String>,
    retailer_id: Option<Uuid>,
}

impl Transaction {
    pub fn run(mut self, conn: &mut Conn<'_>) -> Result<Done, IntakeError> {
        let owned = match self.claim_key(conn)? {
            Some(Claim::Replay { record, reply }) => return Ok(Done::replay(record, reply)),
            Some(Claim::InProgress { remaining }) => {
                return Err(IntakeError::InProgress {
                    retry_after: remaining,
                });
            }
            // A header's key is the sender's word. A derived one only repeats what the events say themselves, and
            // they tell a conflict from a duplicate.
            Some(Claim::Mismatch) if self.inbound.key.is_some() => {
                return Err(IntakeError::KeyMismatch);
            }
            Some(Claim::Mismatch) | None => None,
            Some(Claim::Ours(owned)) => Some(owned),
        };
        let told = self.tell_all(conn, owned)?;
        let reply = (self.encode)(self.reply(&told));
        if reply.body.len() > StoredReply::MAX_BYTES {
            return Err(IntakeError::ReplyTooLarge);
        }
        if let Some(owned) = owned {
            self.complete(conn, owned, &reply, &told)?;
        }
        Ok(Done {
            answer: Answer {
                reply,
                replayed: !told.is_empty() && told.iter().all(|told| told.report.known),
                events: told.into_iter().map(|told| told.report).collect(),
            },
            replayed_record: None,
        })
    }

    fn claim_key(&self, conn: &mut Conn<'_>) -> Result<Option<Claim>, StoreError> {
        self.request
            .as_ref()
            .map(|request| idempotency::claim(conn, request, self.terms, self.now))
            .transpose()
    }

    fn complete(
        &self,
        conn: &mut Conn<'_>,
        owned: Owned,
        reply: &StoredReply,
        told: &[Told],
    ) -> Result<(), IntakeError> {
        let retailer = told.iter().find_map(|told| told.retailer_id);
        let order = told.iter().find_map(|told| told.report.order_id);
        if idempotency::complete(conn, owned, reply, retailer, order)? {
            Ok(())
        } else {
            // Cannot be: the claim is of this transaction. If it were, all of it must go.
            Err(IntakeError::KeyMismatch)
        }
    }

    /// Acts on each event. Always in the order of their ids, so that two batches that overlap wait for each other
    /// instead of locking each other out; told in the order of the delivery.
    fn tell_all(
        &mut self,
        conn: &mut Conn<'_>,
        owned: Option<Owned>,
    ) -> Result<Vec<Told>, StoreError> {
        let inbound = self.inbound.clone();
        let events = &inbound.delivery.events;
        let mut order: Vec<usize> = (0..events.len()).collect();
        order.sort_by_key(|&at| &events[at].id);
        let mut told: Vec<(usize, Told)> = order
            .into_iter()
            .map(|at| Ok((at, self.tell(conn, at, &events[at], owned)?)))
            .collect::<Result<_, StoreError>>()?;
        told.sort_by_key(|(at, _)| *at);
        Ok(told.into_iter().map(|(_, told)| told).collect())
    }

    fn tell(
        &mut self,
        conn: &mut Conn<'_>,
        at: usize,
        event: &Event,
        owned: Option<Owned>,
    ) -> Result<Told, StoreError> {
        let plan = self.plan(conn, at, event)?;
        let payload = Json::of(&event.payload);
        let claimed = events::claim(
            conn,
            &NewEvent {
                provider: self.provider().as_str(),
                event_id: &event.id,
                kind: &event.kind,
                digest: &event.digest,
                delivery_fingerprint: self.inbound.fingerprint.as_str(),
                delivery_id: owned.map(|owned| owned.id),
                outcome: plan.outcome,
                retailer_id: plan.retailer_id,
                order_id: plan.order.as_ref().map(|placed| placed.order.id),
                reply: plan.reply.as_deref(),
                payload: &payload,
                created_at: self.now,
            },
        )?;
        if claimed {
            self.carry_out(conn, event, plan)
        } else {
            self.recall(conn, event)
        }
    }

    fn plan(&mut self, conn: &mut Conn<'_>, at: usize, event: &Event) -> Result<Plan, StoreError> {
        let retailer = find_retailer(conn, event)?;
        let (Some(retailer), Some(address)) = (retailer, plan::recipient(event)) else {
            return Ok(Plan::new(self.provider(), event, None, self.now));
        };
        let foreseen = self.foreseen.get_mut(at).and_then(Option::take);
        if let Some(foreseen) = foreseen.filter(|foreseen| foreseen.shop.is_current(&retailer)) {
            return Ok(foreseen.plan);
        }
        let shop = self.shops.current(conn, address, &retailer)?;
        Ok(Plan::new(self.provider(), event, Some(&shop), self.now))
    }

    /// Does what was planned for an event that is ours.
    fn carry_out(
        &self,
        conn: &mut Conn<'_>,
        event: &Event,
        mut plan: Plan,
    ) -> Result<Told, StoreError> {
        if let Content::Status(change) = &event.content {
            self.advance(conn, change)?;
        }
        let placement = plan
            .order
            .as_ref()
            .map(|planned| ordering::place(conn, planned));
        if let Some(Placement::Otherwise(placed)) = placement.transpose()? {
            let reply = reply::order_received(&placed);
            let provider = self.provider().as_str();
            events::amend(conn, provider, &event.id, placed.order.id, &reply)?;
            plan.reply = Some(reply);
            plan.order = Some(*placed);
        }
        let order = plan.order.map(|placed| placed.order);
        Ok(Told {
            report: EventReport {
                id: event.id.clone(),
                outcome: plan.outcome,
                order_id: order.as_ref().map(|order| order.id),
                order_number: order.map(|order| order.order_number),
                known: false,
            },
            reply: plan.reply,
            retailer_id: plan.retailer_id,
        })
    }

    /// Tells what became of an event that was known before.
    fn recall(&self, conn: &mut Conn<'_>, event: &Event) -> Result<Told, StoreError> {
        let known = events::find(conn, self.provider().as_str(), &event.id)?
            .ok_or(StoreError::Query(diesel::result::Error::NotFound))?;
        if known.digest != event.digest {
            log::warn!(
                "{} event {:?} came with another content: nothing was done",
                self.provider().as_str(),
                event.id
            );
            return Ok(Told::conflict(event));
        }
        Ok(self.known(event, known))
    }

    fn known(&self, event: &Event, known: KnownEvent) -> Told {
        // The same delivery under another key gets the answer of the first time; another delivery that tells the
        // event again learns that it is old.
        let same_delivery = known.delivery_fingerprint == self.inbound.fingerprint.as_str();
        Told {
            report: EventReport {
                id: event.id.clone(),
                outcome: if same_delivery {
                    known.outcome
                } else {
                    Outcome::Duplicate
                },
                order_id: known.order_id,
                order_number: known.order_number,
                known: true,
            },
            reply: known.reply,
            retailer_id: known.retailer_id,
        }
    }

    fn advance(&self, conn: &mut Conn<'_>, change: &StatusChange) -> Result<(), StoreError> {
        message_status::advance(
            conn,
            &MessageStatus {
                provider: self.provider().as_str(),
                message_id: &change.message_id,
                status: &change.status,
                rank: change.rank(),
                error_code: change.error_code.as_deref(),
                updated_at: self.now,
            },
        )
    }

    fn reply(&self, told: &[Told]) -> Reply {
        match self.inbound.delivery.reply_form {
            ReplyForm::Twiml => Reply::Twiml(told.iter().find_map(|told| told.reply.clone())),
            ReplyForm::Empty => Reply::Empty,
            ReplyForm::Report => {
                Reply::Report(told.iter().map(|told| told.report.clone()).collect())
            }
        }
    }

    fn provider(&self) -> Provider {
        self.inbound.delivery.provider
    }
}

impl Done {
    fn replay(record: Uuid, reply: StoredReply) -> Self {
        Self {
            answer: Answer {
                reply,
                replayed: true,
                events: Vec::new(),
            },
            replayed_record: Some(record),
        }
    }
}

impl Told {
    fn conflict(event: &Event) -> Self {
        Self {
            report: EventReport {
                id: event.id.clone(),
                outcome: Outcome::Conflict,
                order_id: None,
                order_number: None,
                known: false,
            },
            reply: None,
            retailer_id: None,
        }
    }
}

/// The retailer that an event was written to.
fn find_retailer(conn: &mut Conn<'_>, event: &Event) -> Result<Option<Retailer>, StoreError> {
    match &event.content {
        Content::Text { to, .. } | Content::Cart { to, .. } => match to {
            Address::Phone(phone) => retailers::by_phone(conn, phone),
            Address::PhoneNumberId(id) => retailers::by_phone_number_id(conn, id),
        },
        Content::Status(_) | Content::Other => Ok(None),
    }
}
