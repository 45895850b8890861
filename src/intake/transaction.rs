//! The one transaction in which a delivery is acted on, or a piece of one that tells of very many events.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
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
    provider::{
        Provider, ReplyForm,
        event::{Address, Amendment, Content, Event, MessageChange, StatusChange},
    },
    store::{
        Conn, StoreError,
        amendments::{AmendmentKind, Noted},
        events::{self, KnownEvent, NewEvent, Outcome},
        message_status::{self, MessageStatus},
        orders,
        retailers::Retailer,
        types::{Digest, Json, Timestamp, Uuid},
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
    pub piece: Piece,
    /// The plan for each event of the piece, where it could be made before.
    pub foreseen: Vec<Option<Foreseen>>,
    /// The payload of each event of the piece, as it is stored.
    pub payloads: Arc<[Json]>,
    pub now: Timestamp,
}

/// What of a delivery a transaction acts on.
#[derive(Clone, Default)]
pub(super) struct Piece {
    /// The places of its events in the delivery, in the order of their ids.
    pub places: Vec<usize>,
    /// The key, where an earlier piece has claimed it.
    pub held: Option<Held>,
    /// What became of the events of the earlier pieces, by their places.
    pub before: Arc<Vec<(usize, Told)>>,
    /// Whether others follow, so that there is nothing to answer yet.
    pub is_followed: bool,
}

/// A key that is claimed.
#[derive(Clone, Copy)]
pub(super) struct Held {
    /// None: keys do not count.
    pub owned: Option<Owned>,
    /// Whether it is the request's own.
    is_kept: bool,
}

impl Piece {
    /// All of a delivery. Events are claimed in the order of their ids, so that two deliveries that overlap wait for each
    /// other instead of locking each other out.
    pub fn whole(events: &[Event]) -> Self {
        let mut places: Vec<usize> = (0..events.len()).collect();
        places.sort_by_key(|&place| &events[place].id);
        Self {
            places,
            ..Self::default()
        }
    }
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
    /// A piece that others follow: what became of its events, or why some could not be acted on. The key is still held.
    Piece {
        held: Held,
        told: Result<Vec<(usize, Told)>, IntakeError>,
    },
}

/// What became of an event, with all that an answer may need.
#[derive(Clone)]
pub(super) struct Told {
    pub report: EventReport,
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
        let held = match self.hold_key(conn)? {
            Ok(held) => held,
            Err((answered, is_kept)) => return Ok(Done::Replayed { answered, is_kept }),
        };
        let Held { owned, is_kept } = held;
        let told = self.tell_all(conn, held)?;
        if self.piece.is_followed {
            return Ok(Done::Piece { held, told });
        }
        let told = match told {
            Ok(told) => told,
            Err(failure) => {
                if let Some(owned) = owned {
                    idempotency::release(conn, owned, &with_causes(&failure))?;
                }
                return Ok(Done::InPart(failure));
            }
        };
        let mut told = self.in_order(told);
        self.look_again_at_amendments(conn, &mut told)?;
        let settled = self.settle(told)?;
        if let Some(owned) = owned
            && !idempotency::complete(conn, owned, settled.conclusion())?
        {
            // Cannot be: the claim is of this transaction, or was renewed in it. If it were, all of it must go.
            return Err(IntakeError::KeyMismatch);
        }
        let answer = settled.answer;
        let owned = owned.filter(|_| is_kept);
        Ok(Done::Answered {
            kept: owned.map(|owned| owned.answered(answer.reply.clone())),
            answer,
        })
    }

    /// Claims the key, or makes sure that it is still held; else gives the answer that it stands for, and whether that
    /// is the one of the request's own key.
    fn hold_key(&self, conn: &mut Conn<'_>) -> Result<Result<Held, (Answered, bool)>, IntakeError> {
        if let Some(held) = self.piece.held {
            let lease = self.terms.lease;
            return match held.owned {
                Some(owned) if !idempotency::renew(conn, owned, lease, self.now)? => {
                    // Somebody took it for abandoned, and goes on where this one is.
                    Err(IntakeError::InProgress {
                        retry_after: Duration::ZERO,
                    })
                }
                _ => Ok(Ok(held)),
            };
        }
        let (claim, is_kept) = self.claim_key(conn)?;
        let owned = match claim {
            Some(Claim::Replay(answered)) => return Ok(Err((answered, is_kept))),
            Some(Claim::InProgress { retry_after }) => {
                return Err(IntakeError::InProgress { retry_after });
            }
            Some(Claim::Mismatch) => return Err(IntakeError::KeyMismatch),
            Some(Claim::Ours(owned)) => Some(owned),
            None => None,
        };
        Ok(Ok(Held { owned, is_kept }))
    }

    /// All that became of the delivery's events, in its order.
    fn in_order(&self, told: Vec<(usize, Told)>) -> Vec<Told> {
        let mut all = Vec::clone(&self.piece.before);
        all.extend(told);
        all.sort_by_key(|(place, _)| *place);
        tell_repeats(&mut all);
        all.into_iter().map(|(_, told)| told).collect()
    }

    /// What is answered and stored, where this became of its events.
    pub fn settle(&self, told: Vec<Told>) -> Result<Settled, IntakeError> {
        let reply = (self.encode)(self.reply(&told));
        // A report is bounded, and so is what a text can be answered: no delivery is to be refused for its answer.
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
                unknown_retailers: self.unknown_retailers(&told),
                events: told.into_iter().map(|told| told.report).collect(),
            },
        })
    }

    /// How many of the delivery's messages, all of which are told in its order, were written to which numbers that no
    /// retailer has.
    fn unknown_retailers(&self, told: &[Told]) -> BTreeMap<String, u64> {
        let mut unknown = BTreeMap::new();
        for (told, event) in told.iter().zip(&self.inbound.delivery.events) {
            if told.report.outcome == Outcome::UnknownRetailer && !told.report.known {
                let number = event.ours.as_ref().map_or("", Address::as_str);
                let number = shown(number);
                *unknown.entry(number).or_default() += 1;
            }
        }
        unknown
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
        let content = request.fingerprint.to_string();
        let own = KeyedRequest {
            key: format!("{}.{content:.16}", request.key).parse()?,
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

    /// Acts on each event of the piece. Claims them in the order of their ids, and touches what they share only then, in
    /// an order too. The inner error is that of an event that failed alone.
    fn tell_all(
        &self,
        conn: &mut Conn<'_>,
        held: Held,
    ) -> Result<Result<Vec<(usize, Told)>, IntakeError>, IntakeError> {
        let retailers = Retailers::of(conn, self.piece_events())?;
        if let [place] = self.piece.places[..] {
            let retailer = retailers.find(self.event(0));
            let mut told = vec![(place, self.tell(conn, 0, retailer, held)?)];
            self.note_amendments(conn, &mut told)?;
            self.advance_statuses(conn, &told)?;
            return Ok(Ok(told));
        }
        match conn.savepoint(|conn| self.tell_together(conn, &retailers, held)) {
            Err(IntakeError::Store(error)) if !error.is_unavailable() => {
                log::warn!("events are acted on one by one: {}", with_causes(&error));
                self.tell_one_by_one(conn, &retailers, held)
            }
            told => told.map(Ok),
        }
    }

    /// Acts on each event in a savepoint, so that one that fails costs the others nothing.
    fn tell_one_by_one(
        &self,
        conn: &mut Conn<'_>,
        retailers: &Retailers,
        held: Held,
    ) -> Result<Result<Vec<(usize, Told)>, IntakeError>, IntakeError> {
        let mut told = Vec::with_capacity(self.piece.places.len());
        let mut failure = None;
        for (at, &place) in self.piece.places.iter().enumerate() {
            let event = self.event(at);
            let retailer = retailers.find(event);
            match conn.savepoint(|conn| self.tell(conn, at, retailer, held)) {
                Ok(one) => told.push((place, one)),
                Err(IntakeError::Store(error)) if !error.is_unavailable() => {
                    log::error!("event {:?} failed: {}", event.id, with_causes(&error));
                    failure = Some(IntakeError::Store(error));
                }
                Err(error) => return Err(error),
            }
        }
        self.note_amendments(conn, &mut told)?;
        self.advance_statuses(conn, &told)?;
        Ok(match failure {
            Some(failure) => Err(failure),
            None => Ok(told),
        })
    }

    /// Acts on all events of the piece, with a statement for many where there is one. An error says nothing about which
    /// of them it is about.
    fn tell_together(
        &self,
        conn: &mut Conn<'_>,
        retailers: &Retailers,
        held: Held,
    ) -> Result<Vec<(usize, Told)>, IntakeError> {
        let record = held.owned.map(|owned| owned.id);
        let mut plans = Vec::with_capacity(self.piece.places.len());
        for (at, event) in self.piece_events().enumerate() {
            plans.push(self.plan(conn, at, event, retailers.find(event))?);
        }
        let each = self.piece_events().zip(&plans).enumerate();
        let rows: Vec<_> = each
            .map(|(at, (event, plan))| self.row(at, event, plan, record))
            .collect();
        let mut new = events::claim_all(conn, &rows)?;
        let ordered = self.ordered(conn, &plans)?;
        let mut told = Vec::with_capacity(plans.len());
        let mut known = Vec::new();
        for (at, (event, plan)) in self.piece_events().zip(plans).enumerate() {
            // Of two with one id the first is the one that was claimed.
            if !new.remove(&event.id) {
                known.push((at, event, plan.retailer_id));
                continue;
            }
            let may_have_ordered = ordered.contains(&event.id);
            let one = self.carry_out(conn, event, plan, may_have_ordered, record)?;
            told.push((self.piece.places[at], one));
        }
        let ids: Vec<_> = known.iter().map(|(_, event, _)| &*event.id).collect();
        let found = match ids.is_empty() {
            true => HashMap::new(),
            false => events::find_all(conn, self.provider().name(), &ids)?,
        };
        for (at, event, retailer) in known {
            let one = self.recall(event, found.get(&event.id).cloned(), retailer, held)?;
            told.push((self.piece.places[at], one));
        }
        self.note_amendments(conn, &mut told)?;
        self.advance_statuses(conn, &told)?;
        Ok(told)
    }

    /// Those of the messages that have made an order though they are to make none now.
    fn ordered(&self, conn: &mut Conn<'_>, plans: &[Plan]) -> Result<HashSet<String>, StoreError> {
        let messages: Vec<_> = self
            .piece_events()
            .zip(plans)
            .filter(|(event, plan)| event.content.may_order() && plan.order.is_none())
            .map(|(event, _)| &*event.id)
            .collect();
        match messages.is_empty() {
            true => Ok(HashSet::new()),
            false => orders::ordered(conn, &plan::order_source(self.provider()), &messages),
        }
    }

    /// The events of the piece, in the order of their ids.
    fn piece_events(&self) -> impl Iterator<Item = &Event> {
        let events = &self.inbound.delivery.events;
        self.piece.places.iter().map(move |&place| &events[place])
    }

    /// An event of the piece.
    fn event(&self, at: usize) -> &Event {
        &self.inbound.delivery.events[self.piece.places[at]]
    }

    fn tell(
        &self,
        conn: &mut Conn<'_>,
        at: usize,
        retailer: Option<&Retailer>,
        held: Held,
    ) -> Result<Told, IntakeError> {
        let event = self.event(at);
        let plan = self.plan(conn, at, event, retailer)?;
        let record = held.owned.map(|owned| owned.id);
        if events::claim(conn, &self.row(at, event, &plan, record))? {
            Ok(self.carry_out(conn, event, plan, true, record)?)
        } else {
            let known = events::find(conn, self.provider().name(), &event.id)?;
            self.recall(event, known, plan.retailer_id, held)
        }
    }

    /// The row of an event of the piece that is new; `record` is that of the delivery.
    pub fn row<'a>(
        &'a self,
        at: usize,
        event: &'a Event,
        plan: &'a Plan,
        record: Option<Uuid>,
    ) -> NewEvent<'a> {
        NewEvent {
            provider: self.provider().name(),
            event_id: &event.id,
            kind: &event.kind,
            digest: Digest::spelled(&event.digest),
            delivery_fingerprint: self.inbound.fingerprint.digest(),
            delivery_id: record,
            outcome: plan.outcome,
            retailer_id: plan.retailer_id,
            order_id: plan.order.as_ref().map(|placed| placed.order.id),
            reply: plan.reply.as_deref(),
            payload: &self.payloads[at],
            created_at: self.now,
        }
    }

    /// What is to be done about an event of the piece that names `retailer`'s number.
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

    /// Does what was planned for an event that is ours. Without an order it is looked whether its message
    /// `may_have_ordered` before. `record` is that of the delivery.
    fn carry_out(
        &self,
        conn: &mut Conn<'_>,
        event: &Event,
        mut plan: Plan,
        may_have_ordered: bool,
        record: Option<Uuid>,
    ) -> Result<Told, StoreError> {
        let placement = match &plan.order {
            Some(planned) => ordering::place(conn, planned)?,
            None if may_have_ordered => self.earlier_order(conn, event)?,
            None => Placement::AsPlanned,
        };
        let known = matches!(placement, Placement::Earlier(_));
        let noted = match (&placement, &plan.order) {
            (Placement::AsPlanned, Some(placed)) => amendments::note_earlier(conn, &placed.order)?,
            (Placement::Renumbered(placed), _) => amendments::note_earlier(conn, &placed.order)?,
            (Placement::AsPlanned, None) | (Placement::Earlier(_), _) => Vec::new(),
        };
        let noted_earlier = self.told_by_others(conn, &noted, record)?;
        if let Placement::Renumbered(placed) | Placement::Earlier(placed) = placement {
            let reply = reply::order_received(&placed.order, &placed.items);
            let provider = self.provider().name();
            events::amend(conn, provider, &event.id, placed.order.id, &reply)?;
            plan = Plan {
                outcome: Outcome::OrderCreated,
                retailer_id: Some(placed.order.retailer_id),
                reply: Some(reply),
                order: Some(*placed),
            };
        }
        let mut told = Told::planned(event, plan, known);
        told.report.noted_earlier = noted_earlier;
        Ok(told)
    }

    /// The order that a message made before its event was forgotten, though today it would make none.
    fn earlier_order(&self, conn: &mut Conn<'_>, event: &Event) -> Result<Placement, StoreError> {
        if !event.content.may_order() {
            return Ok(Placement::AsPlanned);
        }
        let source = plan::order_source(self.provider());
        let earlier = ordering::earlier(conn, &source, &event.id)?;
        Ok(earlier.map_or(Placement::AsPlanned, |placed| {
            Placement::Earlier(Box::new(placed))
        }))
    }

    /// Tells what became of an event that was known before; `retailer` has the number that it names.
    fn recall(
        &self,
        event: &Event,
        known: Option<KnownEvent>,
        retailer: Option<Uuid>,
        held: Held,
    ) -> Result<Told, IntakeError> {
        let Some(known) = known else {
            // It was forgotten between our claim and this look: worth another try.
            return Err(IntakeError::InProgress {
                retry_after: Duration::ZERO,
            });
        };
        if known.digest != Digest::spelled(&event.digest) {
            log::warn!(
                "{} event {:?} came with another content: nothing was done",
                self.provider().name(),
                event.id
            );
            return Ok(Told::conflict(event, retailer));
        }
        Ok(self.known(event, known, retailer, held))
    }

    fn known(&self, event: &Event, known: KnownEvent, retailer: Option<Uuid>, held: Held) -> Told {
        // The same delivery under another key gets the answer of the first time; another delivery that tells the
        // event again learns that it is old.
        let same_delivery = known.delivery_fingerprint == self.inbound.fingerprint.digest();
        // Where its delivery was begun and not answered, this is the first time that somebody is told.
        let resumed = held.owned.filter(|owned| owned.resumes);
        let is_news = resumed.is_some_and(|owned| known.delivery_id == Some(owned.id));
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
                known: !is_news,
                noted_earlier: Noted::default(),
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
        let events = &self.inbound.delivery.events;
        let news = told.iter_mut().filter_map(|(place, told)| {
            let event = &events[*place];
            let amendment = told.unnoted_amendment(event)?;
            Some((*place, event, amendment, told.retailer_id?, told))
        });
        let news: Vec<_> = news.collect();
        let messages = news
            .iter()
            .map(|(_, _, amendment, _, _)| &*amendment.message_id);
        let source = plan::order_source(self.provider());
        amendments::keep_apart(conn, source, messages.collect(), self.now)?;
        for (place, event, amendment, retailer, told) in news {
            let at = self.piece.places.iter().position(|&at| at == place);
            let payload = at.and_then(|at| self.payloads.get(at));
            let new = self.amendment(payload, event, amendment, retailer);
            let kind = new.kind;
            if let Some(order) = amendments::note(conn, new, self.now)? {
                told.report.outcome = amendments::outcome(kind);
                told.report.order_id = Some(order.id);
                told.report.order_number = Some(order.order_number);
            }
        }
        Ok(())
    }

    /// What is kept of an amendment. Its text is that of the payload as it is stored, masked where that is.
    fn amendment<'a>(
        &self,
        payload: Option<&Json>,
        event: &'a Event,
        amendment: &'a Amendment,
        retailer_id: Uuid,
    ) -> NewAmendment<'a> {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let (kind, text) = match &amendment.change {
            MessageChange::Edited { text_at } => {
                let payload = payload.and_then(|json| serde_json::from_str(json.as_str()).ok());
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
        let steps: Vec<_> = changes
            .into_iter()
            .map(|change| self.step(change))
            .collect();
        match &steps[..] {
            [] => Ok(()),
            [step] => message_status::advance(conn, step),
            steps => message_status::advance_all(conn, steps),
        }
    }

    fn step<'a>(&self, change: &'a StatusChange) -> MessageStatus<'a> {
        MessageStatus {
            provider: self.provider().name(),
            message_id: &change.message_id,
            status: &change.status,
            rank: change.rank,
            error_code: change.error_code.as_deref(),
            updated_at: self.now,
        }
    }

    fn reply(&self, told: &[Told]) -> Reply {
        match self.inbound.delivery.reply_form {
            ReplyForm::Document(form) => Reply::Document {
                content_type: form.content_type,
                body: (form.write)(told.iter().find_map(|told| told.reply.as_deref())),
            },
            ReplyForm::Empty => Reply::Empty,
            ReplyForm::Report => report(told),
        }
    }

    pub fn provider(&self) -> &'static dyn Provider {
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
                noted_earlier: Noted::default(),
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
                noted_earlier: Noted::default(),
            },
            reply: None,
            retailer_id: retailer,
        }
    }
}

/// A number or an id as it may stand in a log: what was signed may hold anything.
fn shown(number: &str) -> String {
    const MOST: usize = 40;
    let shown = number.chars().take(MOST).flat_map(char::escape_debug);
    match number.is_empty() {
        true => "none".to_owned(),
        false => shown.collect(),
    }
}

/// What is answered of the events: of very many, or very long ones, the first and how many more there are. All of them
/// are kept with the record.
fn report(told: &[Told]) -> Reply {
    /// Meta promises that a delivery has no more.
    const MOST: usize = 1_000;
    const MOST_BYTES: usize = StoredReply::MAX_BYTES / 2;
    let mut bytes = 0;
    let fits = |told: &&Told| {
        bytes += told.report.size();
        bytes <= MOST_BYTES
    };
    let events: Vec<_> = told
        .iter()
        .take(MOST)
        .take_while(fits)
        .map(|told| told.report.clone())
        .collect();
    Reply::Report {
        more: told.len() - events.len(),
        events,
    }
}

/// What a delivery tells twice is a duplicate the second time.
fn tell_repeats(told: &mut [(usize, Told)]) {
    let mut seen = HashSet::new();
    for (_, told) in told {
        let is_new = seen.insert(told.report.id.clone());
        if !is_new && told.report.outcome != Outcome::Conflict {
            told.report.outcome = Outcome::Duplicate;
            told.report.known = true;
        }
    }
}
