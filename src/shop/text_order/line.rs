//! One line: a quantity and the product that it names.

use std::iter::successors;

use super::{
    Catalogue, Line, MAX_QUANTITY, Product,
    characters::{is_digit, is_emoji, is_number_mark},
    phrases::{before_closing, without_bullet, without_closing},
};
use crate::shop::fold::digit_value;

/// How many closing phrases a line may end with. It keeps the cost of a text made of nothing but
/// "please" in proportion to its length.
const MAX_CLOSINGS: usize = 6;

/// What may stand between a quantity and a product.
const TIMES: [char; 4] = ['x', 'X', '×', '*'];

/// The quantity and the product of one line, if both are clear. A closing phrase is passed over
/// only if it is not the product's name ("Merci").
pub(super) fn line<'c>(text: &str, catalogue: &'c Catalogue) -> Option<Line<'c>> {
    let written = without_bullet(text).trim_end();
    successors(Some(written), |written| before_closing(written))
        .take(1 + MAX_CLOSINGS)
        .find_map(|written| bare_line(written, catalogue))
}

/// The quantity and the product of a line without bullet and closing phrases.
fn bare_line<'c>(written: &str, catalogue: &'c Catalogue) -> Option<Line<'c>> {
    let (quantity, rest) = split_quantity(written)?;
    // "7up" is either the drink, or seven of the product "Up".
    let attached = !rest.starts_with(char::is_whitespace);
    if attached && catalogue.find(written).is_some() {
        return None;
    }
    let product = named(rest, catalogue)?;
    Some(Line { product, quantity })
}

/// The quantity that a line begins with, and the rest of the line.
fn split_quantity(written: &str) -> Option<(u32, &str)> {
    let (digits, rest) = written.split_at(written.find(|c| !is_digit(c))?);
    let quantity = digits
        .chars()
        .filter_map(digit_value)
        .try_fold(0_u32, |sum, digit| sum.checked_mul(10)?.checked_add(digit))?;
    let clear = (1..=MAX_QUANTITY).contains(&quantity) && rest.starts_with(ends_number);
    clear.then_some((quantity, rest))
}

/// Whether a character after digits shows that the number ended there. A full stop or a slash, for
/// one, does not: it may be a decimal, a time or a date.
fn ends_number(c: char) -> bool {
    c.is_whitespace() || c.is_alphabetic() || TIMES.contains(&c) || is_emoji(c)
}

/// The product that the text after a quantity names, with or without a multiplication sign. `None`
/// if the two are different products ("2 x large": "X Large" or "Large").
fn named<'c>(rest: &str, catalogue: &'c Catalogue) -> Option<&'c Product> {
    let find = |name: &str| begins_name(name).then(|| catalogue.find(name)).flatten();
    let whole = find(rest);
    let multiplied = without_times(rest).and_then(find);
    match (whole, multiplied) {
        (Some(one), Some(other)) if one.id != other.id => None,
        _ => whole.or(multiplied),
    }
}

/// Whether a text begins as a name can. After a quantity, another sign shows that the number may be
/// something else: a price ("5 $"), a percentage, or a number in a list ("1 - pizza").
fn begins_name(text: &str) -> bool {
    text.trim_start().starts_with(|c: char| {
        c.is_alphabetic() || is_digit(c) || is_emoji(c) || is_opening_mark(c)
    })
}

/// Whether a character opens a bracket, a quotation, or what WhatsApp shows in another type.
fn is_opening_mark(c: char) -> bool {
    const BRACKETS: &str = "([{（［【〈《「『";
    const QUOTES: &str = "\"'“”„‘’‚«»‹›";
    const TYPE: &str = "*_`";
    [BRACKETS, QUOTES, TYPE]
        .iter()
        .any(|marks| marks.contains(c))
}

/// What follows the multiplication sign, which touches the quantity or stands alone.
fn without_times(rest: &str) -> Option<&str> {
    let name = rest.trim_start().strip_prefix(TIMES)?;
    let touches_quantity = !rest.starts_with(char::is_whitespace);
    let stands_alone = !name.starts_with(char::is_alphabetic);
    (touches_quantity || stands_alone).then_some(name)
}

/// The product that a line, not understood, may have meant.
pub(super) fn nearest<'c>(text: &str, catalogue: &'c Catalogue) -> Option<&'c Product> {
    let written = without_closing(without_bullet(text));
    let rest = written.trim_start_matches(|c: char| c.is_numeric() || is_number_mark(c));
    let name = without_times(rest).unwrap_or(rest);
    // What looks like a quantity may be how the name begins ("7up").
    catalogue.find(written).or_else(|| catalogue.nearest(name))
}
