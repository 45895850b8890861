//! The one transaction in which a delivery is acted on.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use super::{
    Answer, EventReport, Inbound, IntakeError, Reply,
    plan::{self, Foreseen, Plan},
    retailers::Retailers,
};
use crate::{
    causes::with_causes,
    commerce::{
        amendments::{self, NewAmendment},
        ordering::{self, Placement},
        reply,
        shop::Shops,
    },
    idempotency::{
        self, Answered, Claim, Conclusion, KeyedRequest, Lookups, Owned, StoredReply, Terms,
    },
    provider::{self, Content, Event, MessageChange, Provider, ReplyForm, StatusChange},
    store::{
        Conn, StoreError,
        amendments::{AmendmentKind, Noted},
        events::{self, KnownEvent, NewEvent, Outcome},
        message_status::{self, MessageStatus},
        retailers::Retailer,
        types::{Json, Timestamp, Uuid},
    },
};

/// All that the transaction needs, taken along to the thread that runs it.
#[derive(Clone)]
pub(super) struct Transaction {
    pub inbound: Arc<Inbound>,
    pub request: Option<KeyedRequest>,
    pub terms: Terms,
    pub lookups: Lookups,
    pub encode: fn(Reply) -> StoredReply,
    pub shops: Arc<Shops>,
    /// The plan for each event, where it could be made before.
    pub foreseen: Vec<Option<Foreseen>>,
    /// The payload of each event, as it is stored.
    pub payloads: Arc<[Json]>,
    pub now: Timestamp,
}

/// What the transaction did.
pub(super) enum Done {
    /// The delivery was acted on.
    Answered {
        answer: Answer,
        /// What the record of the request's key says now, where it has one.
        kept: Option<Answered>,
    },
    /// A record had the answer.
    Replayed {
        answered: Answered,
        /// Whether it is that of the request's key.
        is_kept: bool,
    },
    /// Some of a batch's events could not be acted on. The others are kept and will be known when the batch comes
    /// again; the key is given back for that.
    InPart(IntakeError),
}

/// What became of an event, with all that an answer may need.
#[derive(Clone)]
pub(super) struct Told {
    report: EventReport,
    reply: Option<String>,
    retailer_id: Option<Uuid>,
}

/// What a delivery comes to.
pub(super) struct Settled {
    pub answer: Answer,
    retailer: Option<Uuid>,
    order: Option<Uuid>,
    events: Json,
}

impl Settled {
    pub fn conclusion(&self) -> Conclusion<'_> {
        Conclusion {
            reply: &self.answer.reply,
            retailer: self.retailer,
            order: self.order,
            events: Some(&self.events),
        }
    }
}

impl Transaction {
    pub fn run(self, conn: &mut Conn<'_>) -> Result<Done, IntakeError> {
        let (claim, is_kept) = self.claim_key(conn)?;
        let owned = match claim {
            Some(Claim::Replay(answered)) => return Ok(Done::Replayed { answered, is_kept }),
            Some(Claim::InProgress { retry_after }) => {
                return Err(IntakeError::InProgress { retry_after });
            }
            Some(Claim::Mismatch) => return Err(IntakeError::KeyMismatch),
            Some(Claim::Ours(owned)) => Some(owned),
            None => None,
        };
        let told = match self.tell_all(conn, owned)? {
            Ok(told) => told,
            Err(failure) => {
                if let Some(owned) = owned {
                    idempotency::release(conn, owned, &with_causes(&failure))?;
                }
                return Ok(Done::InPart(failure));
            }
        };
        let settled = self.settle(told)?;
        if let Some(owned) = owned
            && !idempotency::complete(conn, owned, settled.conclusion())?
        {
            // Cannot be: the claim is of this transaction. If it were, all of it must go.
            return Err(IntakeError::KeyMismatch);
        }
        let answer = settled.answer;
        let owned = owned.filter(|_| is_kept);
        Ok(Done::Answered {
            kept: owned.map(|owned| owned.answered(answer.reply.clone())),
            answer,
        })
    }

    /// What is answered and stored, where this became of its events.
    pub fn settle(&self, told: Vec<Told>) -> Result<Settled, IntakeError> {
        let reply = (self.encode)(self.reply(&told));
        if reply.body.len() > StoredReply::MAX_BYTES {
            return Err(IntakeError::ReplyTooLarge);
        }
        let reports: Vec<_> = told.iter().map(|told| &told.report).collect();
        let events = Json::written(&reports);
        let retailers: BTreeSet<_> = told.iter().filter_map(|told| told.retailer_id).collect();
        Ok(Settled {
            events: events.map_err(|error| StoreError::Unreadable(error.into()))?,
            retailer: self.retailer(&told),
            order: told.iter().find_map(|told| told.report.order_id),
            answer: Answer {
                reply,
                replayed: !told.is_empty() && told.iter().all(|told| told.report.known),
                retailers: retailers.into_iter().collect(),
                events: told.into_iter().map(|told| told.report).collect(),
            },
        })
    }

    /// Claims the key. A header's key is the sender's word: where it stands for another request, that is told. A
    /// derived one may be taken by a header that somebody made up, or by the same id with another content: then the
    /// delivery gets a key that its content is part of, and its events tell a conflict from a duplicate. `true`: it is
    /// the request's own key that was claimed.
    fn claim_key(&self, conn: &mut Conn<'_>) -> Result<(Option<Claim>, bool), IntakeError> {
        let Some(request) = &self.request else {
            return Ok((None, false));
        };
        let (terms, lookups) = (self.terms, &self.lookups);
        let claim = idempotency::claim(conn, request, terms, lookups, self.now)?;
        if claim != Claim::Mismatch || self.inbound.key.is_some() {
            return Ok((Some(claim), true));
        }
        let (content, _) = request.fingerprint.as_str().split_at(16);
        let own = KeyedRequest {
            key: format!("{}.{content}", request.key).parse()?,
            ..request.clone()
        };
        let claim = idempotency::claim(conn, &own, terms, lookups, self.now)?;
        Ok((Some(claim), false))
    }

    /// Whose a delivery is. Nobody's where it names numbers of several, or one that nobody has: who may see the one's
    /// messages must not see another's.
    fn retailer(&self, told: &[Told]) -> Option<Uuid> {
        let first = told.iter().find_map(|told| told.retailer_id)?;
        let events = self.inbound.delivery.events.iter();
        let is_theirs = |(event, told): (&Event, &Told)| match told.retailer_id {
            Some(retailer) => retailer == first,
            None => event.ours.is_none(),
        };
        events.zip(told).all(is_theirs).then_some(first)
    }

    /// Acts on each event. Claims them in the order of their ids, and touches what they share only then, in an order
    /// too, so that two batches that overlap wait for each other instead of locking each other out. Tells of them in
    /// the order of the delivery; the inner error is that of an event that failed alone.
    fn tell_all(
        &self,
        conn: &mut Conn<'_>,
        owned: Option<Owned>,
    ) -> Result<Result<Vec<Told>, IntakeError>, IntakeError> {
        let events = &self.inbound.delivery.events;
        let retailers = Retailers::of(conn, events)?;
        let mut order: Vec<usize> = (0..events.len()).collect();
        order.sort_by_key(|&at| &events[at].id);
        let mut told = Vec::with_capacity(events.len());
        let mut failure = None;
        for at in order {
            match self.tell_apart(conn, at, retailers.find(&events[at]), owned) {
                Ok(one) => told.push((at, one)),
                Err(IntakeError::Store(error)) if events.len() > 1 && !error.is_unavailable() => {
                    log::error!("event {:?} failed: {}", events[at].id, with_causes(&error));
                    failure = Some(IntakeError::Store(error));
                }
                Err(error) => return Err(error),
            }
        }
        told.sort_by_key(|(at, _)| *at);
        tell_repeats(&mut told);
        self.note_amendments(conn, &mut told)?;
        self.advance_statuses(conn, &told)?;
        Ok(match failure {
            Some(failure) => Err(failure),
            None => Ok(told.into_iter().map(|(_, told)| told).collect()),
        })
    }

    /// Acts on an event; on one of several in a savepoint, so that it costs the others nothing where it fails.
    fn tell_apart(
        &self,
        conn: &mut Conn<'_>,
        at: usize,
        retailer: Option<&Retailer>,
        owned: Option<Owned>,
    ) -> Result<Told, IntakeError> {
        if self.inbound.delivery.events.len() == 1 {
            self.tell(conn, at, retailer, owned)
        } else {
            conn.savepoint(|conn| self.tell(conn, at, retailer, owned))
        }
    }

    fn tell(
        &self,
        conn: &mut Conn<'_>,
        at: usize,
        retailer: Option<&Retailer>,
        owned: Option<Owned>,
    ) -> Result<Told, IntakeError> {
        let event = &self.inbound.delivery.events[at];
        let plan = self.plan(conn, at, event, retailer)?;
        let record = owned.map(|owned| owned.id);
        if events::claim(conn, &self.row(at, event, &plan, record))? {
            Ok(self.carry_out(conn, event, plan)?)
        } else {
            self.recall(conn, event, plan.retailer_id)
        }
    }

    /// The row of an event that is new; `record` is that of the delivery.
    pub fn row<'a>(
        &'a self,
        at: usize,
        event: &'a Event,
        plan: &'a Plan,
        record: Option<Uuid>,
    ) -> NewEvent<'a> {
        NewEvent {
            provider: self.provider().as_str(),
            event_id: &event.id,
            kind: &event.kind,
            digest: &event.digest,
            delivery_fingerprint: self.inbound.fingerprint.as_str(),
            delivery_id: record,
            outcome: plan.outcome,
            retailer_id: plan.retailer_id,
            order_id: plan.order.as_ref().map(|placed| placed.order.id),
            reply: plan.reply.as_deref(),
            payload: &self.payloads[at],
            created_at: self.now,
        }
    }

    /// What is to be done about an event that names `retailer`'s number.
    pub fn plan(
        &self,
        conn: &mut Conn<'_>,
        at: usize,
        event: &Event,
        retailer: Option<&Retailer>,
    ) -> Result<Plan, StoreError> {
        let wanted = event.ours.as_ref().filter(|_| event.content.may_order());
        let (Some(retailer), Some(address)) = (retailer, wanted) else {
            return Ok(Plan::without_shop(
                event,
                retailer.map(|retailer| retailer.id),
            ));
        };
        let foreseen = self.foreseen.get(at).and_then(Option::as_ref);
        if let Some(foreseen) = foreseen.filter(|foreseen| foreseen.shop.is_current(retailer)) {
            return Ok(foreseen.plan.clone());
        }
        let shop = self.shops.current(conn, address.as_str(), retailer)?;
        Ok(Plan::at_shop(self.provider(), event, &shop, self.now))
    }

    /// Does what was planned for an event that is ours.
    fn carry_out(
        &self,
        conn: &mut Conn<'_>,
        event: &Event,
        mut plan: Plan,
    ) -> Result<Told, StoreError> {
        let placement = match &plan.order {
            Some(planned) => ordering::place(conn, planned)?,
            None => self.earlier_order(conn, event)?,
        };
        let known = matches!(placement, Placement::Earlier(_));
        let noted = match (&placement, &plan.order) {
            (Placement::AsPlanned, Some(placed)) => amendments::note_earlier(conn, &placed.order)?,
            (Placement::Renumbered(placed), _) => amendments::note_earlier(conn, &placed.order)?,
            (Placement::AsPlanned, None) | (Placement::Earlier(_), _) => Noted::default(),
        };
        if let Placement::Renumbered(placed) | Placement::Earlier(placed) = placement {
            let reply = reply::order_received(&placed.order, &placed.items);
            let provider = self.provider().as_str();
            events::amend(conn, provider, &event.id, placed.order.id, &reply)?;
            plan = Plan {
                outcome: Outcome::OrderCreated,
                retailer_id: Some(placed.order.retailer_id),
                reply: Some(reply),
                order: Some(*placed),
            };
        }
        let mut told = Told::planned(event, plan, known);
        told.report.noted = noted;
        Ok(told)
    }

    /// The order that a message made before its event was forgotten, though today it would make none.
    fn earlier_order(&self, conn: &mut Conn<'_>, event: &Event) -> Result<Placement, StoreError> {
        if !event.content.may_order() {
            return Ok(Placement::AsPlanned);
        }
        let source = plan::order_source(self.provider());
        let earlier = ordering::earlier(conn, source, &event.id)?;
        Ok(earlier.map_or(Placement::AsPlanned, |placed| {
            Placement::Earlier(Box::new(placed))
        }))
    }

    /// Tells what became of an event that was known before; `retailer` has the number that it names.
    fn recall(
        &self,
        conn: &mut Conn<'_>,
        event: &Event,
        retailer: Option<Uuid>,
    ) -> Result<Told, IntakeError> {
        let Some(known) = events::find(conn, self.provider().as_str(), &event.id)? else {
            // It was forgotten between our claim and this look: worth another try.
            return Err(IntakeError::InProgress {
                retry_after: Duration::ZERO,
            });
        };
        if known.digest != event.digest {
            log::warn!(
                "{} event {:?} came with another content: nothing was done",
                self.provider().as_str(),
                event.id
            );
            return Ok(Told::conflict(event, retailer));
        }
        Ok(self.known(event, known, retailer))
    }

    fn known(&self, event: &Event, known: KnownEvent, retailer: Option<Uuid>) -> Told {
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
                noted: Noted::default(),
            },
            reply: known.reply,
            // The number may have been given to a retailer since.
            retailer_id: known.retailer_id.or(retailer),
        }
    }

    /// Keeps what customers changed of their messages, those of this delivery that were news, and notes it on the orders
    /// that the messages made: last, so that the message of an order may come in the same delivery.
    fn note_amendments(
        &self,
        conn: &mut Conn<'_>,
        told: &mut [(usize, Told)],
    ) -> Result<(), StoreError> {
        let is_news = |told: &Told| told.report.outcome == Outcome::Ignored && !told.report.known;
        for (at, told) in told.iter_mut().filter(|(_, told)| is_news(told)) {
            let event = &self.inbound.delivery.events[*at];
            let (Content::Amended(amendment), Some(retailer)) = (&event.content, told.retailer_id)
            else {
                continue;
            };
            let new = self.amendment(*at, event, amendment, retailer);
            let kind = new.kind;
            if let Some(order) = amendments::note(conn, new, self.now)? {
                told.report.outcome = amendments::outcome(kind);
                told.report.order_id = Some(order.id);
                told.report.order_number = Some(order.order_number);
                told.report.noted = kind.into();
            }
        }
        Ok(())
    }

    /// What is kept of an amendment. Its text is that of the payload as it is stored, masked where that is.
    fn amendment<'a>(
        &self,
        at: usize,
        event: &'a Event,
        amendment: &'a provider::Amendment,
        retailer_id: Uuid,
    ) -> NewAmendment<'a> {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let (kind, text) = match &amendment.change {
            MessageChange::Edited { text_at } => {
                let payload = serde_json::from_str(self.payloads[at].as_str());
                let payload: serde_json::Value = payload.unwrap_or_default();
                let text = text_at
                    .iter()
                    .fold(&payload, |value, member| &value[member]);
                (AmendmentKind::Edit, text.as_str().map(str::to_owned))
            }
            MessageChange::Revoked => (AmendmentKind::Revoke, None),
        };
        let told_at = amendment.at_s.and_then(|at_s| at_s.checked_mul(1_000_000));
        let told_at = told_at.and_then(Timestamp::from_microseconds);
        // The provider's clock is believed, but not that it knows the future.
        let latest = self.now.after(DAY);
        NewAmendment {
            source: plan::order_source(self.provider()),
            message_id: &amendment.message_id,
            event_id: &event.id,
            kind,
            retailer_id,
            text,
            amended_at: told_at.filter(|at| (Timestamp::beginning()..latest).contains(at)),
        }
    }

    /// Records how far our messages have come, those of this delivery that were news.
    pub fn advance_statuses(
        &self,
        conn: &mut Conn<'_>,
        told: &[(usize, Told)],
    ) -> Result<(), StoreError> {
        let events = &self.inbound.delivery.events;
        let is_news =
            |told: &Told| told.report.outcome == Outcome::StatusRecorded && !told.report.known;
        let news = told.iter().filter(|(_, told)| is_news(told));
        let mut changes: Vec<&StatusChange> = news
            .filter_map(|(at, _)| match &events.get(*at)?.content {
                Content::Status(change) => Some(change),
                _ => None,
            })
            .collect();
        changes.sort_by_key(|change| &change.message_id);
        changes
            .into_iter()
            .try_for_each(|change| self.advance(conn, change))
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

    pub fn provider(&self) -> Provider {
        self.inbound.delivery.provider
    }
}

impl Told {
    /// That the plan was carried out; `known`: before.
    pub fn planned(event: &Event, plan: Plan, known: bool) -> Self {
        let order = plan.order.map(|placed| placed.order);
        Self {
            report: EventReport {
                id: event.id.clone(),
                outcome: plan.outcome,
                order_id: order.as_ref().map(|order| order.id),
                order_number: order.map(|order| order.order_number),
                known,
                noted: Noted::default(),
            },
            reply: plan.reply,
            retailer_id: plan.retailer_id,
        }
    }

    fn conflict(event: &Event, retailer: Option<Uuid>) -> Self {
        Self {
            report: EventReport {
                id: event.id.clone(),
                outcome: Outcome::Conflict,
                order_id: None,
                order_number: None,
                known: false,
                noted: Noted::default(),
            },
            reply: None,
            retailer_id: retailer,
        }
    }
}

/// What a delivery tells twice is a duplicate the second time.
fn tell_repeats(told: &mut [(usize, Told)]) {
    let mut seen = HashSet::new();
    for (_, told) in told {
        let is_new = seen.insert(told.report.id.clone());
        if !is_new && told.report.outcome != Outcome::Conflict {
            told.report.outcome = Outcome::Duplicate;
        }
    }
}
