//! Takes orders from messages: what the shop does about events, with a statement for all of them.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use super::{
    amendments::{self, NewAmendment},
    numbers::Retailers,
    ordering::PlacedOrder,
    placing::{self, Placement},
    plan::{Decided, order_source},
    shops::Shops,
};
use crate::{
    handler::{Handled, Handler, HandlerError, Note, Plan, Task, Work},
    provider::event::{self, Content, Event, MessageChange},
    store::{
        Conn, StoreError,
        amendments::{Amendment, AmendmentKind},
        events,
        message_status::{self, MessageStatus},
        orders::{self, OrderSource},
        types::{Timestamp, Uuid},
    },
};

/// Takes orders, and keeps the statuses and amendments of their messages.
pub struct ShopHandler {
    shops: Arc<Shops>,
}

impl Handler for ShopHandler {
    fn wants(&self, event: &Event) -> bool {
        event.ours.is_some() || event.content != Content::Other
    }

    /// Planned with the shop as it was last seen, which the transaction makes sure of.
    fn plan(&self, work: &Work<'_>) -> Plan {
        let address = work.event.ours.as_ref();
        let shop = address.and_then(|address| self.shops.recall(address.as_str()));
        let decided = match shop {
            Some(shop) => Decided::at_shop(work, shop),
            None => Decided::without_shop(work, None),
        };
        Plan {
            expected: decided.handled.clone(),
            details: Some(Arc::new(decided)),
        }
    }

    fn apply(&self, conn: &mut Conn<'_>, task: &Task<'_>) -> Result<Handled, HandlerError> {
        let handled = self.apply_all(conn, std::slice::from_ref(task))?.pop();
        handled.ok_or_else(|| HandlerError::failed("nothing came of an event"))
    }

    fn apply_all(
        &self,
        conn: &mut Conn<'_>,
        tasks: &[Task<'_>],
    ) -> Result<Vec<Handled>, HandlerError> {
        let mut decided = self.decide(conn, tasks)?;
        place_orders(conn, &mut decided)?;
        find_earlier_orders(conn, tasks, &mut decided)?;
        note_earlier_amendments(conn, tasks, &mut decided)?;
        note_amendments(conn, tasks, &mut decided)?;
        advance_statuses(conn, tasks)?;
        Ok(decided.into_iter().map(|decided| decided.handled).collect())
    }

    fn load_known(&self, conn: &mut Conn<'_>, known: &mut [Handled]) -> Result<(), HandlerError> {
        let ids: HashSet<_> = known.iter().filter_map(|event| event.order_id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let numbers = orders::numbers(conn, &Vec::from_iter(ids))?;
        for event in known {
            let number = event.order_id.and_then(|id| numbers.get(&id));
            event.order_number = number.cloned();
        }
        Ok(())
    }
}

impl ShopHandler {
    /// A handler that keeps this cache of shops.
    pub fn new(shops: Arc<Shops>) -> Self {
        Self { shops }
    }

    /// The plans of events: those made before the transaction where the shops have not changed since, new ones elsewhere.
    fn decide(&self, conn: &mut Conn<'_>, tasks: &[Task<'_>]) -> Result<Vec<Decided>, StoreError> {
        let retailers = Retailers::of(conn, tasks.iter().map(|task| task.work.event))?;
        let mut all = Vec::with_capacity(tasks.len());
        for Task { work, plan, .. } in tasks {
            let retailer = retailers.find(work.event);
            let details = plan.details.as_deref();
            let planned = details.and_then(|details| details.downcast_ref::<Decided>());
            all.push(match (planned, retailer, &work.event.ours) {
                (Some(planned), _, _) if planned.is_current(work, retailer) => planned.clone(),
                (_, Some(retailer), Some(address)) => {
                    let shop = self.shops.current(conn, address.as_str(), retailer)?;
                    Decided::at_shop(work, shop)
                }
                _ => Decided::without_shop(work, None),
            });
        }
        Ok(all)
    }
}

/// Writes the orders, their items and what they add to the ledger. Where a number is taken, or a message has made an order
/// that its event does not know of, that order is placed by itself.
fn place_orders(conn: &mut Conn<'_>, decided: &mut [Decided]) -> Result<(), StoreError> {
    let planned: Vec<_> = decided.iter().filter_map(|it| it.order.as_ref()).collect();
    let taken = placing::place_all(conn, &planned)?;
    for decided in decided {
        let is_taken = |placed: &mut PlacedOrder| taken.contains(&placed.order.id);
        if let Some(planned) = decided.order.take_if(is_taken) {
            match placing::place(conn, &planned)? {
                Placement::AsPlanned => decided.order = Some(planned),
                Placement::Renumbered(placed) => decided.is_of(*placed, false),
                Placement::Earlier(placed) => decided.is_of(*placed, true),
            }
        }
    }
    Ok(())
}

/// Finds orders that messages made before their events were forgotten, though today they would make none.
fn find_earlier_orders(
    conn: &mut Conn<'_>,
    tasks: &[Task<'_>],
    decided: &mut [Decided],
) -> Result<(), StoreError> {
    let mut messages: HashMap<OrderSource, Vec<&str>> = HashMap::new();
    for (task, decided) in tasks.iter().zip(&*decided) {
        let event = task.work.event;
        if event.content.may_order() && decided.order.is_none() && !decided.handled.known {
            let of_source = messages.entry(order_source(task.work.provider));
            of_source.or_default().push(&event.id);
        }
    }
    for (source, messages) in messages {
        for order in orders::by_messages(conn, &source, &messages)? {
            let is_its = |task: &Task<'_>| {
                let is_of_source = order_source(task.work.provider) == source;
                is_of_source && Some(&task.work.event.id) == order.message_id.as_ref()
            };
            if let Some(at) = tasks.iter().position(is_its) {
                decided[at].is_of(placing::with_items(conn, order)?, true);
            }
        }
    }
    Ok(())
}

/// Notes on new orders the amendments that arrived before their messages. Counts those of other deliveries only: those of
/// this delivery count with its own events.
fn note_earlier_amendments(
    conn: &mut Conn<'_>,
    tasks: &[Task<'_>],
    decided: &mut [Decided],
) -> Result<(), StoreError> {
    let orders: Vec<_> = decided.iter().filter_map(Decided::new_order).collect();
    let mut noted = amendments::note_earlier(conn, &orders)?;
    for (task, decided) in tasks.iter().zip(decided) {
        let order = decided.new_order();
        if let Some(amendments) = order.and_then(|order| noted.remove(&order.id)) {
            let notes = told_by_others(conn, task, &amendments)?;
            decided.handled.notes.extend(notes);
        }
    }
    Ok(())
}

fn told_by_others(
    conn: &mut Conn<'_>,
    task: &Task<'_>,
    amendments: &[Amendment],
) -> Result<Vec<Note>, StoreError> {
    let ids: Vec<_> = amendments.iter().map(|one| &*one.event_id).collect();
    let events = events::find_all(conn, task.work.provider.name(), &ids)?;
    let is_ours = |amendment: &&Amendment| {
        events.get(&amendment.event_id).is_some_and(|event| {
            event.delivery_id == task.delivery_id
                && event.delivery_fingerprint == task.work.fingerprint
        })
    };
    let others = amendments.iter().filter(|amendment| !is_ours(amendment));
    Ok(others
        .map(|amendment| amendments::counted(amendment.kind))
        .collect())
}

/// Keeps what customers changed of their messages, and notes it on the orders that the messages made: after the orders, so
/// that the message of an order may be told with its amendment.
fn note_amendments(
    conn: &mut Conn<'_>,
    tasks: &[Task<'_>],
    decided: &mut [Decided],
) -> Result<(), StoreError> {
    let mut all = Vec::new();
    for (task, decided) in tasks.iter().zip(decided) {
        if let (Content::Amended(amendment), Some(retailer)) =
            (&task.work.event.content, decided.handled.retailer_id)
        {
            all.push((
                task.work,
                amendment_of(&task.work, amendment, retailer),
                decided,
            ));
        }
    }
    let mut messages: BTreeMap<OrderSource, (Timestamp, Vec<&str>)> = BTreeMap::new();
    for (work, new, _) in &all {
        let of_source = messages.entry(new.source.clone());
        let (_, of_source) = of_source.or_insert_with(|| (work.now, Vec::new()));
        of_source.push(new.message_id);
    }
    for (source, (now, messages)) in messages {
        amendments::keep_apart(conn, &source, messages, now)?;
    }
    for (work, new, decided) in all {
        let kind = new.kind;
        if let Some(order) = amendments::note(conn, new, work.now)? {
            let handled = &mut decided.handled;
            handled.outcome = amendments::outcome(kind);
            handled.order_id = Some(order.id);
            handled.order_number = Some(order.order_number);
        }
    }
    Ok(())
}

/// The amendment as it is stored. Its text is taken from the stored payload, so it is masked where the payload is.
fn amendment_of<'a>(
    work: &Work<'a>,
    amendment: &'a event::Amendment,
    retailer_id: Uuid,
) -> NewAmendment<'a> {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let (kind, text) = match &amendment.change {
        MessageChange::Edited { text_at } => {
            let payload = serde_json::from_str(work.payload.as_str());
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
    // A time more than a day ahead comes of a clock that is wrong, and is left out.
    let latest = work.now.after(DAY);
    NewAmendment {
        source: order_source(work.provider),
        message_id: &amendment.message_id,
        event_id: &work.event.id,
        kind,
        retailer_id,
        text,
        amended_at: told_at.filter(|at| (Timestamp::beginning()..latest).contains(at)),
    }
}

/// Records how far our messages have come.
fn advance_statuses(conn: &mut Conn<'_>, tasks: &[Task<'_>]) -> Result<(), StoreError> {
    let mut steps: Vec<_> = tasks.iter().filter_map(|task| step(&task.work)).collect();
    steps.sort_by_key(|step| (step.provider, step.message_id));
    message_status::advance_all(conn, &steps)
}

fn step<'a>(work: &Work<'a>) -> Option<MessageStatus<'a>> {
    let Content::Status(change) = &work.event.content else {
        return None;
    };
    Some(MessageStatus {
        provider: work.provider.name(),
        message_id: &change.message_id,
        status: &change.status,
        rank: change.rank,
        error_code: change.error_code.as_deref(),
        updated_at: work.now,
    })
}
