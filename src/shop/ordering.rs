//! Turns what a customer wants into an order: first decided without touching anything, then written.

use super::{
    catalogue::Product,
    money, order_number, reply,
    shops::Shop,
    text_order::{self, MAX_QUANTITY, MAX_SUGGESTIONS, Reading},
};
use crate::{
    identity::{PhoneNumber, UserId},
    store::{
        amendments::Amendment,
        orders::{Order, OrderItem, OrderSource, OrderStatus},
        types::{Timestamp, Uuid},
    },
};

/// The most lines of a cart; WhatsApp's own carts are far shorter.
const MAX_CART_LINES: usize = 1_000;

/// What a customer wants, as the message has it.
#[derive(Clone, Copy, Debug)]
pub enum OrderRequest<'a> {
    /// A text to be read line by line.
    Text(&'a str),
    /// A cart of a catalogue.
    Cart {
        /// What is in it.
        lines: &'a [RequestedLine],
        /// What the customer wrote beside it.
        note: Option<&'a str>,
    },
}

/// One line of a cart, its numbers as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestedLine {
    /// Code of the product.
    pub sku: String,
    /// How many, as written.
    pub quantity: String,
    /// Price of one, as written.
    pub price: Option<String>,
    /// ISO 4217 code of that price.
    pub currency: Option<String>,
}

/// Who wants it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Customer {
    /// The number, where it is told.
    pub phone: Option<PhoneNumber>,
    /// WhatsApp's business-scoped user id, where it is told.
    pub user_id: Option<UserId>,
    /// Name as the provider tells it.
    pub name: Option<String>,
}

/// Where an order comes from.
#[derive(Clone, Debug)]
pub struct Origin<'a> {
    /// By which way.
    pub source: OrderSource,
    /// The message that makes it, unique for the source.
    pub message_id: Option<&'a str>,
}

/// What is to be done about a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Take this order.
    Take(Draft),
    /// Do nothing: the message orders nothing.
    NotAnOrder,
    /// Only reply with this text: some lines were not understood.
    NotUnderstood(String),
}

/// An order that nobody has numbered yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    lines: Vec<(Product, u32)>,
    work: Option<Work>,
    total_minor: i64,
    note: Option<String>,
    price_note: Option<String>,
}

/// Work made to measure, with its price.
#[derive(Clone, Debug, PartialEq)]
struct Work {
    service_type: String,
    description: String,
}

/// An order with its items.
#[derive(Clone, Debug, PartialEq)]
pub struct PlacedOrder {
    /// The order.
    pub order: Order,
    /// Its items, in their order.
    pub items: Vec<OrderItem>,
    /// What was done to its message afterwards, as far as that was looked up.
    pub amendments: Vec<Amendment>,
}

/// Decides what to do about a request. Touches nothing.
pub fn decide(request: OrderRequest<'_>, shop: &Shop) -> Decision {
    match request {
        OrderRequest::Text(text) => decide_text(text, shop),
        OrderRequest::Cart { lines: [], .. } => Decision::NotAnOrder,
        OrderRequest::Cart { lines, .. } if lines.len() > MAX_CART_LINES => {
            Decision::NotUnderstood(reply::too_large())
        }
        OrderRequest::Cart { lines, note } => decide_cart(lines, note, shop),
    }
}

fn decide_text(text: &str, shop: &Shop) -> Decision {
    match text_order::read(text, &shop.catalogue) {
        Reading::Conversation => Decision::NotAnOrder,
        Reading::Misunderstood(misreads) => {
            let misreads = misreads.iter().map(|m| (m.text.as_str(), m.nearest));
            Decision::NotUnderstood(reply::not_understood(misreads))
        }
        Reading::Order(lines) => {
            let lines = lines.into_iter().map(|l| (l.product.clone(), l.quantity));
            draft(lines.collect(), None, None)
        }
    }
}

fn decide_cart(cart: &[RequestedLine], note: Option<&str>, shop: &Shop) -> Decision {
    let mut lines = Vec::new();
    let mut unknown = Vec::new();
    let mut differing = Vec::new();
    for line in cart {
        match (shop.catalogue.by_sku(&line.sku), quantity(&line.quantity)) {
            (Some(product), Some(quantity)) => {
                differing.extend(price_difference(line, product, shop));
                lines.push((product.clone(), quantity));
            }
            (product, _) => unknown.push((line, product)),
        }
    }
    if !unknown.is_empty() {
        let unknown: Vec<_> = unknown
            .into_iter()
            .enumerate()
            .map(|(at, (line, product))| {
                // Each search walks the whole catalogue.
                let search =
                    || (at < MAX_SUGGESTIONS).then(|| shop.catalogue.nearest(&line.sku))?;
                let nearest = product.or_else(search);
                (format!("{} {}", line.quantity, line.sku), nearest)
            })
            .collect();
        let unknown = unknown
            .iter()
            .map(|(text, nearest)| (text.as_str(), *nearest));
        return Decision::NotUnderstood(reply::not_understood(unknown));
    }
    let price_note = (!differing.is_empty()).then(|| differing.join("; "));
    draft(lines, note.map(str::to_owned), price_note)
}

fn draft(lines: Vec<(Product, u32)>, note: Option<String>, price_note: Option<String>) -> Decision {
    match Draft::of_lines(lines, note, price_note) {
        Some(draft) => Decision::Take(draft),
        None => Decision::NotUnderstood(reply::too_large()),
    }
}

/// A quantity from its text; `2.0` is 2.
fn quantity(text: &str) -> Option<u32> {
    let number = money::decimal(text)?.normalize();
    let whole = (number.scale() == 0).then(|| u32::try_from(number).ok())??;
    (1..=MAX_QUANTITY).contains(&whole).then_some(whole)
}

/// Logs a price of the message that differs from the catalogue's. The catalogue's price counts.
fn price_difference(line: &RequestedLine, product: &Product, shop: &Shop) -> Option<String> {
    let written = line.price.as_deref()?;
    let currency = line.currency.as_deref().unwrap_or(shop.currency.code());
    let same = currency == shop.currency.code()
        && shop.currency.minor_units(written) == Ok(product.price_minor);
    (!same).then(|| {
        let ours = shop.currency.show(product.price_minor);
        format!(
            "{}: message {written} {currency}, catalogue {ours}",
            line.sku
        )
    })
}

impl Draft {
    /// An order of products, at the catalogue's prices. `None` where the total is more than can be counted.
    pub fn of_lines(
        lines: Vec<(Product, u32)>,
        note: Option<String>,
        price_note: Option<String>,
    ) -> Option<Self> {
        let total_minor = lines.iter().try_fold(0i64, |sum, (product, quantity)| {
            sum.checked_add(product.price_minor.checked_mul((*quantity).into())?)
        })?;
        Some(Self {
            lines,
            work: None,
            total_minor,
            note,
            price_note,
        })
    }

    /// An order of work made to measure, at a price in minor units of the shop's currency.
    pub fn of_work(
        service_type: String,
        description: String,
        price_minor: i64,
        note: Option<String>,
    ) -> Self {
        Self {
            lines: Vec::new(),
            work: Some(Work {
                service_type,
                description,
            }),
            total_minor: price_minor,
            note,
            price_note: None,
        }
    }

    /// Gives the order an id and a number.
    pub fn number(
        self,
        shop: &Shop,
        origin: Origin<'_>,
        customer: &Customer,
        now: Timestamp,
    ) -> PlacedOrder {
        let id = Uuid::in_order();
        let (service_type, description) = match self.work {
            Some(work) => (Some(work.service_type), Some(work.description)),
            None => (None, None),
        };
        let order = Order {
            id,
            order_number: order_number::new(now),
            retailer_id: shop.retailer_id,
            source: origin.source,
            message_id: origin.message_id.map(str::to_owned),
            status: OrderStatus::Pending,
            customer_phone: customer.phone.as_ref().map(ToString::to_string),
            customer_user_id: customer.user_id.as_ref().map(ToString::to_string),
            customer_name: customer.name.clone(),
            note: self.note,
            price_note: self.price_note,
            total_minor: self.total_minor,
            currency: shop.currency.code().to_owned(),
            created_at: now,
            updated_at: now,
            paid_minor: 0,
            service_type,
            description,
        };
        let item = |(position, (product, quantity)): (i32, (Product, u32))| OrderItem {
            order_id: id,
            position,
            product_id: Uuid(product.id),
            sku: product.sku,
            name: product.name,
            quantity: quantity.cast_signed(),
            unit_price_minor: product.price_minor,
        };
        let items = (0..).zip(self.lines).map(item).collect();
        PlacedOrder {
            order,
            items,
            amendments: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shop::catalogue::Catalogue;

    fn shop() -> Shop {
        let product = |sku: &str, name: &str, price_minor| Product {
            id: uuid::Uuid::new_v4(),
            sku: sku.into(),
            name: name.into(),
            aliases: vec![],
            price_minor,
        };
        Shop {
            retailer_id: Uuid::in_order(),
            version: Uuid::random(),
            currency: "USD".parse().unwrap(),
            catalogue: Catalogue::new(vec![
                product("PIZZA", "Pizza", 850),
                product("COLA", "Cola", 175),
                product("YACHT", "Yacht", i64::MAX / 2),
            ]),
        }
    }

    fn line(sku: &str, quantity: &str, price: Option<&str>) -> RequestedLine {
        RequestedLine {
            sku: sku.into(),
            quantity: quantity.into(),
            price: price.map(Into::into),
            currency: Some("USD".into()),
        }
    }

    fn cart(lines: &[RequestedLine]) -> Decision {
        decide(OrderRequest::Cart { lines, note: None }, &shop())
    }

    #[test]
    fn a_cart_costs_what_the_catalogue_says_and_notes_what_the_message_said() {
        let lines = [
            line("PIZZA", "2", Some("7.99")),
            line("COLA", "1", Some("1.750")),
        ];
        let Decision::Take(draft) = cart(&lines) else {
            panic!("no order")
        };
        assert_eq!(draft.total_minor, 2 * 850 + 175);
        assert_eq!(
            draft.price_note.as_deref(),
            Some("PIZZA: message 7.99 USD, catalogue 8.50 USD")
        );
    }

    #[test]
    fn a_cart_with_an_unknown_product_or_a_bad_quantity_is_no_order() {
        for bad in [
            line("PIZA", "1", None),
            line("PIZZA", "0", None),
            line("PIZZA", "-1", None),
            line("PIZZA", "1.5", None),
            line("PIZZA", "10000", None),
            line("PIZZA", "99999999999999999999999999999999", None),
            line("PIZZA", "", None),
        ] {
            let Decision::NotUnderstood(reply) = cart(&[line("COLA", "1", None), bad.clone()])
            else {
                panic!("{bad:?} was taken")
            };
            assert!(reply.contains("Pizza"), "{reply}");
        }
        assert!(matches!(
            cart(&[line("PIZZA", "2.0", None)]),
            Decision::Take(_)
        ));
    }

    #[test]
    fn an_order_beyond_what_can_be_counted_is_refused() {
        let Decision::NotUnderstood(reply) = cart(&[line("YACHT", "3", None)]) else {
            panic!()
        };
        assert!(reply.contains("too large"));
    }

    #[test]
    fn an_empty_cart_orders_nothing() {
        assert_eq!(cart(&[]), Decision::NotAnOrder);
    }
}
