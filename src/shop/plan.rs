//! What is to be done about an event, decided before anything is written.

use std::sync::Arc;

use super::{
    ordering::{self, Customer, Decision, OrderRequest, Origin, PlacedOrder, RequestedLine},
    outcomes, reply,
    shops::Shop,
};
use crate::{
    handler::{Handled, Note, Outcome, Work},
    provider::{
        Provider,
        event::{self, Address, Content, Sender},
    },
    store::{
        orders::{Order, OrderSource},
        retailers::Retailer,
        types::Uuid,
    },
};

/// What is to be done about an event, and the shop that it holds for.
#[derive(Clone, Debug)]
pub(super) struct Decided {
    /// `None`: without a catalogue.
    pub shop: Option<Arc<Shop>>,
    pub handled: Handled,
    pub order: Option<PlacedOrder>,
}

impl Decided {
    /// The plan for an event that needs no catalogue. `retailer` has the number that the event names; `None` where nobody
    /// has it.
    pub fn without_shop(work: &Work<'_>, retailer: Option<Uuid>) -> Self {
        let outcome = match work.event.content {
            Content::Status(_) => outcomes::STATUS_RECORDED,
            Content::Text { .. } | Content::Cart { .. } => outcomes::UNKNOWN_RETAILER,
            // No retailer has the number: what the customer did is lost, which the operator is told.
            Content::Amended(_) | Content::Message if retailer.is_none() => {
                outcomes::UNKNOWN_RETAILER
            }
            // The order that the amendment is about is looked up once its event is claimed.
            Content::Amended(_) | Content::Message | Content::Other => Outcome::IGNORED,
        };
        let lost = (outcome == outcomes::UNKNOWN_RETAILER).then(|| Note {
            kind: outcomes::LOST,
            about: Some(shown(work.event.ours.as_ref())),
        });
        Self {
            shop: None,
            handled: Handled {
                retailer_id: retailer,
                notes: lost.into_iter().collect(),
                ..Handled::new(outcome)
            },
            order: None,
        }
    }

    /// The plan for an event at the shop whose number it names.
    pub fn at_shop(work: &Work<'_>, shop: Arc<Shop>) -> Self {
        match &work.event.content {
            Content::Text { from, text } => {
                Self::ordered(work, from, OrderRequest::Text(text), shop)
            }
            Content::Cart { from, lines, note } => {
                let lines: Vec<_> = lines.iter().map(cart_line).collect();
                let request = OrderRequest::Cart {
                    lines: &lines,
                    note: note.as_deref(),
                };
                Self::ordered(work, from, request, shop)
            }
            Content::Status(_) | Content::Amended(_) | Content::Message | Content::Other => {
                Self::without_shop(work, Some(shop.retailer_id))
            }
        }
    }

    fn ordered(work: &Work<'_>, from: &Sender, request: OrderRequest<'_>, shop: Arc<Shop>) -> Self {
        let (outcome, reply, order) = match ordering::decide(request, &shop) {
            Decision::NotAnOrder => (outcomes::NOT_AN_ORDER, None, None),
            Decision::NotUnderstood(reply) => (outcomes::UNKNOWN_PRODUCT, Some(reply), None),
            Decision::Take(draft) => {
                let origin = Origin {
                    source: order_source(work.provider),
                    message_id: Some(&work.event.id),
                };
                let placed = draft.number(&shop, origin, &customer(from), work.now);
                let reply = reply::order_received(&placed.order, &placed.items);
                (outcomes::ORDER_CREATED, Some(reply), Some(placed))
            }
        };
        let numbered = order.as_ref().map(|placed| &placed.order);
        Self {
            handled: Handled {
                reply,
                retailer_id: Some(shop.retailer_id),
                order_id: numbered.map(|order| order.id),
                order_number: numbered.map(|order| order.order_number.clone()),
                ..Handled::new(outcome)
            },
            shop: Some(shop),
            order,
        }
    }

    /// Sets the order that the message makes, or made before.
    pub fn is_of(&mut self, placed: PlacedOrder, known: bool) {
        self.handled = Handled {
            reply: Some(reply::order_received(&placed.order, &placed.items)),
            retailer_id: Some(placed.order.retailer_id),
            order_id: Some(placed.order.id),
            order_number: Some(placed.order.order_number.clone()),
            known,
            ..Handled::new(outcomes::ORDER_CREATED)
        };
        self.order = Some(placed);
    }

    /// The order that is made now.
    pub fn new_order(&self) -> Option<&Order> {
        let placed = self.order.as_ref().filter(|_| !self.handled.known);
        placed.map(|placed| &placed.order)
    }

    /// Whether it still holds; `retailer` has the number that the event names.
    pub fn is_current(&self, work: &Work<'_>, retailer: Option<&Retailer>) -> bool {
        match (&self.shop, retailer) {
            (Some(shop), Some(retailer)) => shop.is_current(retailer),
            (Some(_), None) => false,
            (None, _) => {
                let may_order = retailer.is_some() && work.event.content.may_order();
                !may_order && self.handled.retailer_id == retailer.map(|retailer| retailer.id)
            }
        }
    }
}

/// What orders from a provider's messages are marked with.
pub(super) fn order_source(provider: &dyn Provider) -> OrderSource {
    OrderSource::of(provider.name())
}

/// A number or an id as it may stand in a log: what was signed may hold anything.
fn shown(ours: Option<&Address>) -> String {
    const MOST: usize = 40;
    let Some(number) = ours.map(Address::as_str).filter(|it| !it.is_empty()) else {
        return "none".to_owned();
    };
    let shown = number.chars().take(MOST).flat_map(char::escape_debug);
    shown.collect()
}

fn customer(from: &Sender) -> Customer {
    Customer {
        phone: from.phone.clone(),
        user_id: from.user_id.clone(),
        name: from.name.clone(),
    }
}

fn cart_line(line: &event::CartLine) -> RequestedLine {
    RequestedLine {
        sku: line.sku.clone(),
        quantity: line.quantity.clone(),
        price: line.price.clone(),
        currency: line.currency.clone(),
    }
}
