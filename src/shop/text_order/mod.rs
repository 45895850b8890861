//! Reads the order out of a customer's text: which products, and how many of each. It must not
//! know how the text arrived, who sent it, or what happens to the order.
//!
//! A text is cut into segments and pieces (`segment.rs`), greetings and thanks are passed over (`phrases.rs`), and what is
//! left is read as lines (`line.rs`) with a quantity and a product each, which a draft gathers (`draft.rs`).

mod characters;
mod draft;
mod line;
mod phrases;
mod segment;
#[cfg(test)]
mod tests;

use self::{
    draft::OrderDraft,
    phrases::without_opening,
    segment::{Segment, is_separator},
};
use super::{
    catalogue::{Catalogue, Product},
    fold::is_invisible,
};

/// The most of one product that one text can order.
pub const MAX_QUANTITY: u32 = 9_999;

/// The most lines that one text can order; [`read`] says what becomes of more.
pub const MAX_LINES: usize = 100;

/// The longest text that is read, in characters: WhatsApp's own limit for a text.
pub const MAX_TEXT_CHARS: usize = 4_096;

/// How many lines that were not understood get a suggestion, for which the whole catalogue is
/// searched.
pub const MAX_SUGGESTIONS: usize = 3;

/// One line of an order.
#[derive(Debug, PartialEq)]
pub struct Line<'c> {
    /// What is ordered.
    pub product: &'c Product,
    /// How many, from 1 to [`MAX_QUANTITY`].
    pub quantity: u32,
}

/// A piece of an order that was not understood.
#[derive(Debug, PartialEq)]
pub struct NotUnderstood<'c> {
    /// The piece as the customer wrote it, without control and invisible characters, and no longer
    /// than 80 characters.
    pub text: String,
    /// The product it may have meant; only the first [`MAX_SUGGESTIONS`] misreads of a text
    /// have one.
    pub nearest: Option<&'c Product>,
}

/// What a text turned out to be.
#[derive(Debug, PartialEq)]
pub enum Reading<'c> {
    /// Not an order: no piece of it begins with a quantity.
    Conversation,
    /// An order that was understood whole: each product once, in the order they were written.
    Order(Vec<Line<'c>>),
    /// An order with pieces that were not understood. None of it should be acted on.
    Misunderstood(Vec<NotUnderstood<'c>>),
}

/// Reads a text as an order for products in the catalogue.
///
/// The text is cut at line ends, commas, semicolons and "and", and where a quantity follows a full
/// stop; each piece is a quantity and a product. A piece that only greets or thanks is passed over.
/// If more than [`MAX_LINES`] are written, the text is misunderstood: the first one too many is the
/// last misread, and nothing after it is read. A text longer than [`MAX_TEXT_CHARS`] is a
/// conversation.
pub fn read<'c>(text: &str, catalogue: &'c Catalogue) -> Reading<'c> {
    if text.chars().nth(MAX_TEXT_CHARS).is_some() {
        return Reading::Conversation;
    }
    let visible: String = text.chars().filter(|&c| !is_invisible(c)).collect();
    let segments: Vec<Segment> = without_opening(&visible)
        .split(is_separator)
        .map(Segment::new)
        .collect();
    if !segments.iter().any(Segment::has_quantity) {
        return Reading::Conversation;
    }
    let mut draft = OrderDraft::new(catalogue);
    for segment in &segments {
        draft.read_segment(segment);
    }
    draft.finish()
}
