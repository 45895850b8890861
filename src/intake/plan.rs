//! What is to be done about an event, decided before anything is written.

use std::{panic::AssertUnwindSafe, sync::Arc};

use crate::{
    commerce::{
        ordering::{self, CartLine, Customer, Decision, Origin, PlacedOrder, Wish},
        reply,
        shop::{Shop, Shops},
    },
    provider::{
        Delivery, Provider,
        event::{self, Content, Event, Sender},
    },
    store::{
        events::Outcome,
        orders::OrderSource,
        types::{Timestamp, Uuid},
    },
};

/// What is to be done about an event.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub outcome: Outcome,
    pub retailer_id: Option<Uuid>,
    pub reply: Option<String>,
    pub order: Option<PlacedOrder>,
}

/// A plan made before the transaction, and the shop that it holds for.
#[derive(Clone, Debug)]
pub(super) struct Foreseen {
    pub shop: Arc<Shop>,
    pub plan: Plan,
}

/// Plans events of a delivery, by their places, with the shops as they were last seen, so that the one thread that writes
/// need not. What it cannot foresee is left to the transaction: unknown shops.
pub(super) fn foresee(
    delivery: &Delivery,
    places: &[usize],
    shops: &Shops,
    now: Timestamp,
) -> Vec<Option<Foreseen>> {
    let foresee = |&place: &usize| -> Option<Foreseen> {
        let event = &delivery.events[place];
        let address = event.ours.as_ref().filter(|_| event.content.may_order())?;
        let shop = shops.recall(address.as_str())?;
        // A panic here would take the connection down. The transaction will meet it again, and can tell of it.
        let plan = std::panic::catch_unwind(AssertUnwindSafe(|| {
            Plan::at_shop(delivery.provider, event, &shop, now)
        }));
        let plan = plan.ok()?;
        Some(Foreseen { shop, plan })
    };
    places.iter().map(foresee).collect()
}

impl Plan {
    /// Plans an event for which no catalogue is needed; `retailer` is the one whose number it names, if there is one.
    pub fn without_shop(event: &Event, retailer: Option<Uuid>) -> Self {
        let outcome = match event.content {
            Content::Status(_) => Outcome::StatusRecorded,
            Content::Text { .. } | Content::Cart { .. } => Outcome::UnknownRetailer,
            // Whatever a customer wrote is lost on a number that nobody has.
            Content::Amended(_) | Content::Message if retailer.is_none() => {
                Outcome::UnknownRetailer
            }
            // An order that it is about is noted once its event is claimed.
            Content::Amended(_) | Content::Message | Content::Other => Outcome::Ignored,
        };
        Self {
            outcome,
            retailer_id: retailer,
            reply: None,
            order: None,
        }
    }

    /// Plans an event of the shop whose number it names.
    pub fn at_shop(
        provider: &'static dyn Provider,
        event: &Event,
        shop: &Shop,
        now: Timestamp,
    ) -> Self {
        match &event.content {
            Content::Text { from, text } => {
                Self::order(provider, event, from, Wish::Text(text), shop, now)
            }
            Content::Cart { from, lines, note } => {
                let lines: Vec<_> = lines.iter().map(cart_line).collect();
                let wish = Wish::Cart {
                    lines: &lines,
                    note: note.as_deref(),
                };
                Self::order(provider, event, from, wish, shop, now)
            }
            Content::Status(_) | Content::Amended(_) | Content::Message | Content::Other => {
                Self::without_shop(event, Some(shop.retailer_id))
            }
        }
    }

    fn order(
        provider: &'static dyn Provider,
        event: &Event,
        from: &Sender,
        wish: Wish<'_>,
        shop: &Shop,
        now: Timestamp,
    ) -> Self {
        let (outcome, reply, order) = match ordering::decide(wish, shop) {
            Decision::NotAnOrder => (Outcome::NotAnOrder, None, None),
            Decision::NotUnderstood(reply) => (Outcome::UnknownProduct, Some(reply), None),
            Decision::Take(draft) => {
                let origin = Origin {
                    source: order_source(provider),
                    message_id: Some(&event.id),
                };
                let placed = draft.number(shop, origin, &customer(from), now);
                let reply = reply::order_received(&placed.order, &placed.items);
                (Outcome::OrderCreated, Some(reply), Some(placed))
            }
        };
        Self {
            outcome,
            retailer_id: Some(shop.retailer_id),
            reply,
            order,
        }
    }
}

/// What orders from a provider's messages are marked with.
pub(super) fn order_source(provider: &'static dyn Provider) -> OrderSource {
    OrderSource::of(provider.name())
}

fn customer(from: &Sender) -> Customer {
    Customer {
        phone: from.phone.clone(),
        user_id: from.user_id.clone(),
        name: from.name.clone(),
    }
}

fn cart_line(line: &event::CartLine) -> CartLine {
    CartLine {
        sku: line.sku.clone(),
        quantity: line.quantity.clone(),
        price: line.price.clone(),
        currency: line.currency.clone(),
    }
}
