//! An order while its text is being read.

use super::{
    Catalogue, Line, MAX_LINES, MAX_QUANTITY, MAX_SUGGESTIONS, NotUnderstood, Product, Reading,
    line::nearest, segment::Segment,
};

/// How much of a piece that was not understood is quoted, in characters.
const MAX_QUOTED_CHARS: usize = 80;

/// An order being read.
pub(super) struct OrderDraft<'c> {
    catalogue: &'c Catalogue,
    lines: Vec<Line<'c>>,
    misreads: Vec<NotUnderstood<'c>>,
    /// How many lines were read, understood or not.
    lines_read: usize,
}

impl<'c> OrderDraft<'c> {
    pub fn new(catalogue: &'c Catalogue) -> Self {
        Self {
            catalogue,
            lines: Vec::new(),
            misreads: Vec::new(),
            lines_read: 0,
        }
    }

    pub fn read_segment(&mut self, segment: &Segment) {
        let mut next = 0;
        while next < segment.pieces.len() && self.lines_read <= MAX_LINES {
            if segment.is_courtesy(next) {
                next += 1;
                continue;
            }
            self.lines_read += 1;
            next += self.read_line(segment, next);
        }
    }

    /// Reads the line that begins at a piece, and returns how many pieces it took.
    fn read_line(&mut self, segment: &Segment, first: usize) -> usize {
        let (count, understood) = match segment.longest_line(first, self.catalogue) {
            Some((count, line)) => (count, self.add(line)),
            None => (segment.misread_length(first), false),
        };
        if !understood {
            self.misread(segment.joined(first, count).unwrap_or_default());
        }
        count
    }

    /// Adds a line to the order, or to the earlier line for the same product; `false`, and no
    /// change, if the order would then exceed [`MAX_LINES`] or [`MAX_QUANTITY`].
    fn add(&mut self, line: Line<'c>) -> bool {
        if self.lines_read > MAX_LINES {
            return false;
        }
        let same_product = |earlier: &&mut Line| earlier.product.id == line.product.id;
        let Some(earlier) = self.lines.iter_mut().find(same_product) else {
            self.lines.push(line);
            return true;
        };
        let sum = earlier.quantity.saturating_add(line.quantity);
        let fits = sum <= MAX_QUANTITY;
        if fits {
            earlier.quantity = sum;
        }
        fits
    }

    fn misread(&mut self, text: &str) {
        self.misreads.push(NotUnderstood {
            text: quoted(text),
            nearest: self.suggestion(text),
        });
    }

    fn suggestion(&self, text: &str) -> Option<&'c Product> {
        let may_suggest = self.misreads.len() < MAX_SUGGESTIONS;
        may_suggest.then(|| nearest(text, self.catalogue)).flatten()
    }

    pub fn finish(self) -> Reading<'c> {
        if self.misreads.is_empty() {
            Reading::Order(self.lines)
        } else {
            Reading::Misunderstood(self.misreads)
        }
    }
}

/// A piece of a customer's text as it may be quoted back.
fn quoted(text: &str) -> String {
    let quotation: String = text
        .trim()
        .chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|c| !c.is_control())
        .take(MAX_QUOTED_CHARS)
        .collect();
    quotation.trim_end().to_owned()
}
