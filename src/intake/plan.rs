//! What is to be done about an event, decided before anything is written.

use std::{panic::AssertUnwindSafe, sync::Arc};

use crate::{
    commerce::{
        ordering::{self, CartLine, Customer, Decision, Origin, PlacedOrder, Wish},
        reply,
        shop::{Shop, Shops},
    },
    provider::{self, Address, Content, Delivery, Event, Provider, Sender},
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

/// Plans each event of a delivery with the shops as they were last seen, so that the one thread that writes need not.
/// What it cannot foresee is left to the transaction: unknown shops, and long batches, which would keep other
/// connections waiting.
pub(super) fn foresee(delivery: &Delivery, shops: &Shops, now: Timestamp) -> Vec<Option<Foreseen>> {
    const MOST: usize = 8;
    let foresee = |event| -> Option<Foreseen> {
        let shop = shops.recall(recipient(event)?)?;
        // A panic here would take the connection down. The transaction will meet it again, and can tell of it.
        let plan = std::panic::catch_unwind(AssertUnwindSafe(|| {
            Plan::new(delivery.provider, event, Some(&shop), now)
        }));
        let plan = plan.ok()?;
        Some(Foreseen { shop, plan })
    };
    if delivery.events.len() > MOST {
        return Vec::new();
    }
    delivery.events.iter().map(foresee).collect()
}

/// Where a customer wrote to.
pub(super) fn address(event: &Event) -> Option<&Address> {
    match &event.content {
        Content::Text { to, .. } | Content::Cart { to, .. } => Some(to),
        Content::Status(_) | Content::Other => None,
    }
}

/// The number or the id that a customer wrote to.
pub(super) fn recipient(event: &Event) -> Option<&str> {
    match address(event)? {
        Address::Phone(text) | Address::PhoneNumberId(text) => Some(text),
    }
}

impl Plan {
    /// Plans an event; `shop` is the one that its customer wrote to, if there is one.
    pub fn new(provider: Provider, event: &Event, shop: Option<&Shop>, now: Timestamp) -> Self {
        match (&event.content, shop) {
            (Content::Status(_), _) => Self::nothing(Outcome::StatusRecorded),
            (Content::Other, _) => Self::nothing(Outcome::Ignored),
            (Content::Text { .. } | Content::Cart { .. }, None) => {
                Self::nothing(Outcome::UnknownRetailer)
            }
            (Content::Text { from, text, .. }, Some(shop)) => {
                Self::order(provider, event, from, Wish::Text(text), shop, now)
            }
            (
                Content::Cart {
                    from, lines, note, ..
                },
                Some(shop),
            ) => {
                let lines: Vec<_> = lines.iter().map(cart_line).collect();
                let note = note.as_deref();
                Self::order(
                    provider,
                    event,
                    from,
                    Wish::Cart {
                        lines: &lines,
                        note,
                    },
                    shop,
                    now,
                )
            }
        }
    }

    fn order(
        provider: Provider,
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

    fn nothing(outcome: Outcome) -> Self {
        Self {
            outcome,
            retailer_id: None,
            reply: None,
            order: None,
        }
    }
}

/// What orders from a provider's messages are marked with.
pub(super) fn order_source(provider: Provider) -> OrderSource {
    match provider {
        Provider::Twilio => OrderSource::Twilio,
        Provider::WhatsApp => OrderSource::WhatsApp,
    }
}

fn customer(from: &Sender) -> Customer {
    Customer {
        phone: from.phone.clone(),
        user_id: from.user_id.clone(),
        name: from.name.clone(),
    }
}

fn cart_line(line: &provider::CartLine) -> CartLine {
    CartLine {
        sku: line.sku.clone(),
        quantity: line.quantity.clone(),
        price: line.price.clone(),
        currency: line.currency.clone(),
    }
}
