//! What a customer is told, as plain text. The same order gives the same text, whenever it is asked for.

use super::{catalogue::Product, money::Currency};
use crate::store::orders::{Order, OrderItem};

/// Twilio sends at most 1,600 characters; the rest is room for the lines around the list.
const MAX_LIST_CHARS: usize = 1_300;

/// An order was taken: its number, its items, its total.
pub fn order_received(order: &Order, items: &[OrderItem]) -> String {
    let show = |minor: i64| match order.currency.parse::<Currency>() {
        Ok(currency) => currency.show(minor),
        Err(_) => format!("{minor} {}", order.currency),
    };
    let lines = items.iter().map(|item| {
        let price = item.unit_price_minor.saturating_mul(item.quantity.into());
        format!(
            "{} × {}: {}",
            item.quantity,
            shorten(&item.name),
            show(price)
        )
    });
    format!(
        "Order {} received.\n{}\nTotal: {}",
        order.order_number,
        list(lines),
        show(order.total_minor)
    )
}

/// Some lines were not understood: which, and what the catalogue has nearest to each.
pub fn not_understood<'a>(lines: impl Iterator<Item = (&'a str, Option<&'a Product>)>) -> String {
    let lines = lines.map(|(text, nearest)| match nearest {
        Some(product) => format!(
            "“{}” (did you mean {}?)",
            shorten(text),
            shorten(&product.name)
        ),
        None => format!("“{}”", shorten(text)),
    });
    format!(
        "Sorry, nothing was ordered. We did not understand:\n{}\nPlease send the whole order again, one line for each item, such as: 2 x product",
        list(lines)
    )
}

/// An order beyond what can be counted.
pub fn too_large() -> String {
    "Sorry, nothing was ordered: the order is too large.".to_owned()
}

/// As many lines as a message holds, and how many are left.
fn list(lines: impl Iterator<Item = String>) -> String {
    let lines: Vec<_> = lines.collect();
    let mut length = 0;
    let fitting = lines
        .iter()
        .take_while(|line| {
            length += line.chars().count() + 1;
            length <= MAX_LIST_CHARS
        })
        .count();
    let mut text = lines[..fitting].join("\n");
    if fitting < lines.len() {
        text.push_str(&format!("\n… and {} more", lines.len() - fitting));
    }
    text
}

/// At most 80 characters of a name or a line.
fn shorten(text: &str) -> String {
    const MOST: usize = 80;
    let mut short: String = text.chars().take(MOST).collect();
    if text.chars().nth(MOST).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_fits_into_a_message_however_long_the_order() {
        let name = "x".repeat(300);
        let lines: Vec<_> = (0..100).map(|_| (name.as_str(), None)).collect();
        let reply = not_understood(lines.into_iter());
        assert!(reply.chars().count() <= 1_600);
        assert!(reply.contains("more"), "{reply}");
    }
}
