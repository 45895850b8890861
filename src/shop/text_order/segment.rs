//! Where a text is cut: at separators into segments, and those at "and" and at quantities into pieces.

use std::{iter::once, ops::Range};

use super::{
    Catalogue, Line,
    characters::{is_digit, is_number_mark},
    line::line,
    phrases::{says_anything, without_bullet, without_closing, without_opening},
};

/// How many pieces around the word "and" may be one product's name ("salt and pepper and lime").
/// It keeps the cost of a text made of nothing but "and" in proportion to its length.
const MAX_JOINED: usize = 4;

pub(super) fn is_separator(c: char) -> bool {
    let ends_line = matches!(c, '\n'..='\r' | '\u{85}' | '\u{2028}' | '\u{2029}');
    ends_line || matches!(c, ',' | '،' | '、' | '，' | ';' | '؛' | '；')
}

/// The text between two separators, and where its pieces between [`joints`] are. It keeps the whole
/// text because a product's name can have a joint in it ("fish and chips", "No. 5").
pub(super) struct Segment<'t> {
    text: &'t str,
    pub pieces: Vec<Range<usize>>,
}

impl<'t> Segment<'t> {
    pub fn new(text: &'t str) -> Self {
        let starts = once(0).chain(joints(text).map(|joint| joint.end));
        let ends = joints(text)
            .map(|joint| joint.start)
            .chain(once(text.len()));
        let pieces = starts
            .zip(ends)
            .map(|(start, end)| start..end)
            .filter(|piece| text.get(piece.clone()).is_some_and(says_anything))
            .collect();
        Self { text, pieces }
    }

    /// So many pieces joined as they were written; `None` if there are not that many.
    pub fn joined(&self, first: usize, count: usize) -> Option<&'t str> {
        let pieces = self.pieces.get(first..first.checked_add(count)?)?;
        self.text.get(pieces.first()?.start..pieces.last()?.end)
    }

    pub fn has_quantity(&self) -> bool {
        (0..self.pieces.len()).any(|piece| self.begins_with_quantity(piece))
    }

    fn begins_with_quantity(&self, piece: usize) -> bool {
        self.joined(piece, 1).is_some_and(begins_with_quantity)
    }

    /// Whether a piece can be left out of the order: it only greets, asks or thanks.
    pub fn is_courtesy(&self, piece: usize) -> bool {
        self.joined(piece, 1).is_some_and(is_courtesy)
    }

    /// The line that takes the most pieces, and how many it takes.
    pub fn longest_line<'c>(
        &self,
        first: usize,
        catalogue: &'c Catalogue,
    ) -> Option<(usize, Line<'c>)> {
        (1..=MAX_JOINED).rev().find_map(|count| {
            let line = line(self.joined(first, count)?, catalogue)?;
            Some((count, line))
        })
    }

    /// How many pieces a line that is not understood takes: up to the next quantity, because the
    /// "and"s before it may belong to a misspelt name.
    pub fn misread_length(&self, first: usize) -> usize {
        let following = first + 1..self.pieces.len();
        1 + following
            .take_while(|&piece| !self.begins_with_quantity(piece) && !self.is_courtesy(piece))
            .count()
    }
}

/// Where a text may be cut, in bytes: each "and", and the place where a quantity follows a full
/// stop.
fn joints(text: &str) -> impl Iterator<Item = Range<usize>> {
    // In other texts a number after a full stop is seldom a quantity: "See you at 5. 2 of us come".
    let may_have_stops = begins_with_quantity(text);
    let mut end = 0;
    text.split_inclusive(char::is_whitespace)
        .filter_map(move |word| {
            let start = end;
            end += word.len();
            let before = text.get(..start).filter(|_| may_have_stops);
            let length = and_length(word.trim_end()).or_else(|| stop_length(before?, word))?;
            Some(start..start + length)
        })
}

/// How many bytes of a word are "and": all of it, or the letter that Arabic writes together with
/// the quantity after it.
fn and_length(word: &str) -> Option<usize> {
    const ARABIC_AND: char = 'و';
    if word.eq_ignore_ascii_case("and") || matches!(word, "&" | "+" | "و") {
        return Some(word.len());
    }
    let quantity = word.strip_prefix(ARABIC_AND)?;
    quantity
        .starts_with(is_digit)
        .then_some(ARABIC_AND.len_utf8())
}

/// No bytes, if a word is a quantity and a line that ends with a full stop is before it.
fn stop_length(before: &str, word: &str) -> Option<usize> {
    const STOPS: [char; 2] = ['.', '۔'];
    if !word.starts_with(is_digit) {
        return None;
    }
    // A number alone is no line: "1. 5" may be a decimal or begin a list.
    let line = before.trim_end().strip_suffix(STOPS)?;
    line.contains(char::is_alphabetic).then_some(0)
}

fn is_courtesy(piece: &str) -> bool {
    !says_anything(without_closing(without_opening(piece)))
}

/// Whether a line tries to give a quantity, even one that cannot be ordered ("-2", ".5", "½").
fn begins_with_quantity(text: &str) -> bool {
    let written = without_bullet(text);
    written
        .strip_prefix(is_number_mark)
        .unwrap_or(written)
        .starts_with(char::is_numeric)
}
