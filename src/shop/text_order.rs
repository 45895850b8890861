//! Reads the order out of a customer's text: which products, and how many of each. It must not
//! know how the text arrived, who sent it, or what happens to the order.

use std::iter::{once, successors};
use std::ops::Range;

use super::catalogue::{Catalogue, Product};
use super::fold::{digit_value, fold, is_invisible};

/// The most of one product that one text can order.
pub const MAX_QUANTITY: u32 = 9_999;

/// The most lines that one text can order; [`read`] says what becomes of more.
pub const MAX_LINES: usize = 100;

/// The longest text that is read, in characters: WhatsApp's own limit for a text.
pub const MAX_TEXT_CHARS: usize = 4_096;

/// How many lines that were not understood get a suggestion, for which the whole catalogue is
/// searched.
pub const MAX_SUGGESTIONS: usize = 3;

/// How much of a piece that was not understood is quoted, in characters.
const MAX_QUOTED_CHARS: usize = 80;

/// How many pieces around the word "and" may be one product's name ("salt and pepper and lime").
/// It keeps the cost of a text made of nothing but "and" in proportion to its length.
const MAX_JOINED: usize = 4;

/// How many closing phrases a line may end with. It keeps the cost of a text made of nothing but
/// "please" in proportion to its length.
const MAX_CLOSINGS: usize = 6;

/// How far from the end of a text an opening or closing phrase is looked for, in characters.
const MAX_PHRASE_CHARS: usize = 40;

/// What may stand between a quantity and a product.
const TIMES: [char; 4] = ['x', 'X', '×', '*'];

/// What people write before an order, folded: greetings, then requests.
const OPENINGS: &[&str] = &[
    "hi",
    "hi there",
    "hello",
    "hello there",
    "hey",
    "hey there",
    "good morning",
    "good afternoon",
    "good evening",
    "مرحبا",
    "اهلا",
    "اهلا وسهلا",
    "هلا",
    "سلام",
    "سلام عليكم",
    "السلام عليكم",
    "ورحمه الله",
    "و رحمه الله",
    "وبركاته",
    "و بركاته",
    "صباح الخير",
    "مساء الخير",
    "hola",
    "buenos dias",
    "buenas tardes",
    "buenas noches",
    "ola",
    "bom dia",
    "boa tarde",
    "boa noite",
    "bonjour",
    "bonsoir",
    "order",
    "new order",
    "my order",
    "please",
    "pls",
    "plz",
    "i want",
    "we want",
    "i need",
    "we need",
    "i d like",
    "id like",
    "we d like",
    "i would like",
    "we would like",
    "i ll have",
    "i will have",
    "we ll have",
    "we will have",
    "can i have",
    "can we have",
    "could i have",
    "could we have",
    "may i have",
    "can i get",
    "can we get",
    "could i get",
    "can i order",
    "could i order",
    "to order",
    "give me",
    "طلب",
    "طلب جديد",
    "طلبي",
    "اريد",
    "نريد",
    "ابي",
    "ابغي",
    "بدي",
    "عايز",
    "عايزه",
    "عاوز",
    "عاوزه",
    "ممكن",
    "من فضلك",
    "لو سمحت",
    "quiero",
    "quisiera",
    "pedido",
    "por favor",
    "quero",
    "queria",
    "je veux",
    "je voudrais",
    "commande",
    "s il vous plait",
];

/// What people write after an order, or after one line of it, folded.
const CLOSINGS: &[&str] = &[
    "please",
    "pls",
    "plz",
    "thanks",
    "thanks a lot",
    "many thanks",
    "thank you",
    "thank you so much",
    "thank you very much",
    "thx",
    "من فضلك",
    "لو سمحت",
    "شكرا",
    "شكرا جزيلا",
    "شكرا لك",
    "por favor",
    "gracias",
    "muchas gracias",
    "obrigado",
    "obrigada",
    "merci",
    "merci beaucoup",
    "s il vous plait",
];

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
pub struct Misread<'c> {
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
    Misunderstood(Vec<Misread<'c>>),
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
    let mut draft = Draft::new(catalogue);
    for segment in &segments {
        draft.read_segment(segment);
    }
    draft.finish()
}

fn is_separator(c: char) -> bool {
    let ends_line = matches!(c, '\n'..='\r' | '\u{85}' | '\u{2028}' | '\u{2029}');
    ends_line || matches!(c, ',' | '،' | '、' | '，' | ';' | '؛' | '；')
}

/// The text between two separators, and where its pieces between [`joints`] are. It keeps the whole
/// text because a product's name can have a joint in it ("fish and chips", "No. 5").
struct Segment<'t> {
    text: &'t str,
    pieces: Vec<Range<usize>>,
}

impl<'t> Segment<'t> {
    fn new(text: &'t str) -> Self {
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
    fn joined(&self, first: usize, count: usize) -> Option<&'t str> {
        let pieces = self.pieces.get(first..first.checked_add(count)?)?;
        self.text.get(pieces.first()?.start..pieces.last()?.end)
    }

    fn has_quantity(&self) -> bool {
        (0..self.pieces.len()).any(|piece| self.begins_with_quantity(piece))
    }

    fn begins_with_quantity(&self, piece: usize) -> bool {
        self.joined(piece, 1).is_some_and(begins_with_quantity)
    }

    /// Whether a piece can be left out of the order: it only greets, asks or thanks.
    fn is_courtesy(&self, piece: usize) -> bool {
        self.joined(piece, 1).is_some_and(is_courtesy)
    }

    /// The line that takes the most pieces, and how many it takes.
    fn longest_line<'c>(
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
    fn misread_length(&self, first: usize) -> usize {
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

fn says_anything(piece: &str) -> bool {
    !fold(piece).is_empty()
}

fn is_courtesy(piece: &str) -> bool {
    !says_anything(without_closing(without_opening(piece)))
}

/// An order being read.
struct Draft<'c> {
    catalogue: &'c Catalogue,
    lines: Vec<Line<'c>>,
    misreads: Vec<Misread<'c>>,
    /// How many lines were read, understood or not.
    lines_read: usize,
}

impl<'c> Draft<'c> {
    fn new(catalogue: &'c Catalogue) -> Self {
        Self {
            catalogue,
            lines: Vec::new(),
            misreads: Vec::new(),
            lines_read: 0,
        }
    }

    fn read_segment(&mut self, segment: &Segment) {
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
        self.misreads.push(Misread {
            text: quoted(text),
            nearest: self.suggestion(text),
        });
    }

    fn suggestion(&self, text: &str) -> Option<&'c Product> {
        let may_suggest = self.misreads.len() < MAX_SUGGESTIONS;
        may_suggest.then(|| nearest(text, self.catalogue)).flatten()
    }

    fn finish(self) -> Reading<'c> {
        if self.misreads.is_empty() {
            Reading::Order(self.lines)
        } else {
            Reading::Misunderstood(self.misreads)
        }
    }
}

/// The quantity and the product of one line, if both are clear. A closing phrase is passed over
/// only if it is not the product's name ("Merci").
fn line<'c>(text: &str, catalogue: &'c Catalogue) -> Option<Line<'c>> {
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
fn nearest<'c>(text: &str, catalogue: &'c Catalogue) -> Option<&'c Product> {
    let written = without_closing(without_bullet(text));
    let rest = written.trim_start_matches(|c: char| c.is_numeric() || is_number_mark(c));
    let name = without_times(rest).unwrap_or(rest);
    // What looks like a quantity may be how the name begins ("7up").
    catalogue.find(written).or_else(|| catalogue.nearest(name))
}

/// Whether a line tries to give a quantity, even one that cannot be ordered ("-2", ".5", "½").
fn begins_with_quantity(text: &str) -> bool {
    let written = without_bullet(text);
    written
        .strip_prefix(is_number_mark)
        .unwrap_or(written)
        .starts_with(char::is_numeric)
}

/// Whether a character can be the sign or the decimal point of a number.
fn is_number_mark(c: char) -> bool {
    matches!(c, '+' | '-' | '−' | '–' | '—' | '.' | '٫')
}

fn is_digit(c: char) -> bool {
    digit_value(c).is_some()
}

fn is_emoji(c: char) -> bool {
    matches!(c,
        '\u{231A}' | '\u{231B}' | '\u{23E9}'..='\u{23FF}' | '\u{2600}'..='\u{27BF}'
        | '\u{2B00}'..='\u{2BFF}' | '\u{1F000}'..='\u{1FAFF}')
}

/// The text without the list bullets, the emoji and the number in a list that it starts with.
fn without_bullet(text: &str) -> &str {
    let is_bullet = |c: char| matches!(c, '*' | '•' | '▪' | '●' | '◦' | '‣') || is_emoji(c);
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || is_bullet(c));
        // A dash that touches what follows may be a minus.
        match rest.strip_prefix(['-', '–', '—', '·']) {
            Some(item) if item.starts_with(char::is_whitespace) => rest = item,
            _ => return after_list_number(rest).unwrap_or(rest),
        }
    }
}

/// The quantity and the product after a number in a list ("1) 2 pizza").
fn after_list_number(text: &str) -> Option<&str> {
    let (number, rest) = text.split_at(text.find(')')?);
    let item = rest.trim_start_matches(')').trim_start();
    let is_number = !number.is_empty() && number.chars().all(is_digit);
    (is_number && item.starts_with(is_digit)).then_some(item)
}

/// The text without the phrases from [`OPENINGS`] it starts with.
fn without_opening(text: &str) -> &str {
    let mut rest = text.trim_start();
    while let Some(after) = after_opening(rest) {
        rest = after;
    }
    rest
}

fn after_opening(text: &str) -> Option<&str> {
    text.char_indices()
        .map(|(end, _)| end)
        .chain(once(text.len()))
        .take(MAX_PHRASE_CHARS)
        .map(|end| text.split_at(end))
        .filter(|(_, rest)| !rest.starts_with(char::is_alphanumeric))
        // The last is the longest.
        .filter(|(phrase, _)| OPENINGS.contains(&fold(phrase).as_str()))
        .last()
        .map(|(_, rest)| rest.trim_start_matches(|c: char| c == ':' || c.is_whitespace()))
}

/// The text without the phrases from [`CLOSINGS`] it ends with.
fn without_closing(text: &str) -> &str {
    let mut rest = text.trim_end();
    while let Some(before) = before_closing(rest) {
        rest = before;
    }
    rest
}

fn before_closing(text: &str) -> Option<&str> {
    text.char_indices()
        .rev()
        .take(MAX_PHRASE_CHARS)
        .filter(|(start, c)| *start == 0 || !c.is_alphanumeric())
        .map(|(start, _)| text.split_at(start))
        .find(|(_, phrase)| CLOSINGS.contains(&fold(phrase).as_str()))
        .map(|(before, _)| before.trim_end())
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

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn product(sku: &str, aliases: &[&str]) -> Product {
        Product {
            id: Uuid::now_v7(),
            sku: sku.to_owned(),
            name: sku.to_owned(),
            aliases: aliases.iter().map(|&alias| alias.to_owned()).collect(),
            price_minor: 250,
        }
    }

    fn shop() -> Catalogue {
        Catalogue::new(vec![
            product("Pizza", &["بيتزا", "披萨"]),
            product("Margherita", &["بيتزا مارغريتا"]),
            product("Coca-Cola", &["cola", "كولا"]),
            product("Fish and chips", &[]),
            product("Fish", &[]),
            product("Macaroni", &["mac and cheese"]),
            product("Salt and oil and lime", &[]),
            product("7UP", &[]),
            product("Rice", &["أرز"]),
            product("Box", &[]),
            product("Berry", &[]),
            product("Glass", &[]),
            product("XL", &[]),
        ])
    }

    /// The lines of an order as "quantity sku", or nothing if the text is not one.
    fn order(text: &str) -> Vec<String> {
        match read(text, &shop()) {
            Reading::Order(lines) => lines
                .iter()
                .map(|line| format!("{} {}", line.quantity, line.product.sku))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// The texts that were misread, or nothing if none were.
    fn misread(text: &str) -> Vec<String> {
        match read(text, &shop()) {
            Reading::Misunderstood(misreads) => misreads.into_iter().map(|m| m.text).collect(),
            _ => Vec::new(),
        }
    }

    fn suggestion(text: &str) -> Option<String> {
        match read(text, &shop()) {
            Reading::Misunderstood(misreads) => Some(misreads.first()?.nearest?.sku.clone()),
            _ => None,
        }
    }

    #[track_caller]
    fn assert_orders(texts: &[&str], expected: &[&str]) {
        for text in texts {
            assert_eq!(order(text), expected, "{text:?}");
        }
    }

    #[track_caller]
    fn assert_misreads(texts: &[&str]) {
        for text in texts {
            assert_eq!(misread(text), [*text], "{text:?}");
        }
    }

    #[test]
    fn lines_are_cut_at_separators_and_at_and() {
        let texts = [
            "2 pizzas and 3 cola",
            "2 pizzas AND 3 cola and",
            "2 pizza, 3 cola",
            "2 pizza\r\n\r\n3 cola\n",
            "2 pizza; 3 cola",
            "2 pizza & 3 cola",
            "2 pizza + 3 cola",
            "2 pizza، 3 cola",
            "2 pizza؛ 3 cola",
            "2 披萨，3 cola",
        ];
        assert_orders(&texts, &["2 Pizza", "3 Coca-Cola"]);
    }

    #[test]
    fn arabic_is_read_as_english_is() {
        let texts = [
            "٢ بيتزا مارغريتا و ٣ كولا",
            "٢ بيتزا مارغريتا و٣ كولا",
            "أريد ٢ بيتزا مارغريتا، ٣ كولا من فضلك",
            "\u{200F}۲ بيتزا مارغريتا\n\u{200F}۳ كولا",
        ];
        assert_orders(&texts, &["2 Margherita", "3 Coca-Cola"]);
        assert_orders(&["أريد ٢ بيتزا"], &["2 Pizza"]);
        assert_orders(&["طلب: ٢ بيتزات، شكراً"], &["2 Pizza"]);
    }

    #[test]
    fn scripts_may_be_mixed() {
        assert_orders(
            &["٢ pizza و 3 كولا", "２ بيتزا and ३ Coca Cola"],
            &["2 Pizza", "3 Coca-Cola"],
        );
    }

    #[test]
    fn a_plural_orders_the_singular() {
        assert_orders(
            &["2 pizzas, 3 boxes, 4 berries, 5 glasses, 6 margheritas"],
            &["2 Pizza", "3 Box", "4 Berry", "5 Glass", "6 Margherita"],
        );
    }

    #[test]
    fn a_multiplication_sign_may_follow_the_quantity() {
        let texts = [
            "2x pizza",
            "2 x pizza",
            "2X pizza",
            "2×pizza",
            "2 × pizza",
            "2*pizza",
            "2xpizza",
        ];
        assert_orders(&texts, &["2 Pizza"]);
    }

    #[test]
    fn a_name_that_begins_with_x_keeps_its_x() {
        assert_orders(&["2 xl", "2x xl", "2 x xl"], &["2 XL"]);
        let sizes = Catalogue::new(vec![product("XL", &[]), product("L", &[])]);
        assert!(matches!(read("2 xl", &sizes), Reading::Order(_)));
        assert!(matches!(read("2xl", &sizes), Reading::Misunderstood(_)));
    }

    #[test]
    fn a_multiplication_sign_that_may_be_part_of_a_name_is_misread() {
        let shop = Catalogue::new(vec![product("X Large", &[]), product("Large", &[])]);
        let reading = read("2 x large", &shop);
        assert!(matches!(reading, Reading::Misunderstood(_)), "{reading:?}");
    }

    #[test]
    fn a_name_that_begins_with_a_digit_needs_a_quantity_of_its_own() {
        assert_orders(&["2 7up", "2x 7up", "2x7 Up"], &["2 7UP"]);
        assert_misreads(&["7up"]);
        assert_eq!(suggestion("7up").as_deref(), Some("7UP"));
    }

    #[test]
    fn a_quantity_may_touch_the_product_unless_together_they_name_another() {
        assert_orders(&["2pizza", "٢بيتزا"], &["2 Pizza"]);
        let shop = Catalogue::new(vec![product("7up", &[]), product("Up", &[])]);
        assert!(matches!(read("7up", &shop), Reading::Misunderstood(_)));
        assert!(matches!(read("7 up", &shop), Reading::Order(_)));
    }

    #[test]
    fn a_name_may_have_and_in_it() {
        assert_orders(
            &["2 fish and chips and 1 cola", "2 fish & chips, 1 cola"],
            &["2 Fish and chips", "1 Coca-Cola"],
        );
        assert_orders(
            &["1 mac and cheese and 2 fish and 3 salt and oil and lime"],
            &["1 Macaroni", "2 Fish", "3 Salt and oil and lime"],
        );
    }

    #[test]
    fn opening_and_closing_phrases_are_passed_over() {
        let texts = [
            "order 2 pizza",
            "Order:2 pizza",
            "Please order - 2 pizza.",
            "ORDER\n2 pizza\nThanks!",
            "I'd like 2 pizzas please, thank you 🙏",
            "I’d like: 2 pizza, please",
            "من فضلك أبي ٢ بيتزا",
            "Quisiera 2 pizzas por favor",
            "s'il vous plaît, 2 pizza merci",
            "can I have 2 pizzas?",
            "Could I have 2 pizzas",
            "can I get 2 pizzas",
            "I'll have 2 pizzas",
            "I will have 2 pizzas",
            "we want 2 pizzas",
            "give me 2 pizzas",
            "I would like to order 2 pizzas",
            "ممكن ٢ بيتزا",
            "عايز ٢ بيتزا",
            "عاوز ٢ بيتزا لو سمحت",
            "2 pizza thank you very much",
            "2 pizza, thank you so much!",
            "2 pizza\nthanks a lot",
            "٢ بيتزا شكرا جزيلا",
        ];
        assert_orders(&texts, &["2 Pizza"]);
    }

    #[test]
    fn a_greeting_before_an_order_is_passed_over() {
        let texts = [
            "Hello\n2 pizza",
            "Hi, 2 pizzas please",
            "Hi 2 pizza",
            "Hi I want 2 pizzas",
            "Hi, I'd like 2 pizzas",
            "hey! 2 pizza",
            "Hello 👋\n\n2 pizza",
            "good morning, 2 pizza",
            "Good evening. 2 pizza",
            "Good afternoon can I have 2 pizzas",
            "السلام عليكم\n٢ بيتزا",
            "السلام عليكم ورحمة الله وبركاته، ٢ بيتزا",
            "السلام عليكم و رحمة الله و بركاته ٢ بيتزا",
            "مرحباً أريد ٢ بيتزا",
            "Bonjour, je voudrais 2 pizzas",
        ];
        assert_orders(&texts, &["2 Pizza"]);
    }

    #[test]
    fn a_line_that_only_greets_or_thanks_is_passed_over() {
        assert_orders(
            &[
                "2 pizza\nhello\n1 cola",
                "Thank you\n2 pizza\n\nThanks,\n1 cola",
                "2 pizza and thanks and 1 cola, hi, please",
            ],
            &["2 Pizza", "1 Coca-Cola"],
        );
        assert_eq!(misread("2 pizza\n\nThanks,\nAna"), ["Ana"]);
        let most = vec!["1 rice"; MAX_LINES].join("\nhello\n");
        assert_orders(&[&(most + "\nthanks")], &["100 Rice"]);
    }

    #[test]
    fn a_name_that_is_or_has_a_closing_phrase_can_be_ordered() {
        let shop = Catalogue::new(vec![
            product("Merci", &[]),
            product("Toffee", &[]),
            product("Toffee merci", &[]),
            product("Salt", &[]),
            product("Salt and merci", &[]),
        ]);
        let orders = [
            ("2 merci", "Merci"),
            ("2 merci please", "Merci"),
            ("2 merci, merci", "Merci"),
            ("2 toffee merci, please", "Toffee merci"),
            ("2 toffee please, thanks", "Toffee"),
            ("2 salt and merci", "Salt and merci"),
        ];
        for (text, sku) in orders {
            let Reading::Order(lines) = read(text, &shop) else {
                panic!("{text:?} is not an order");
            };
            let ordered: Vec<_> = lines
                .iter()
                .map(|l| (l.quantity, &*l.product.sku))
                .collect();
            assert_eq!(ordered, [(2, sku)], "{text:?}");
        }
        assert_misreads(&["2 merci"]);
    }

    #[test]
    fn a_full_stop_before_a_quantity_ends_a_line() {
        let texts = [
            "2 pizza. 1 cola.",
            "2 pizza.\t 1x cola",
            "2 pizza please. 1 cola. Thanks.",
            "Hi. 2 pizza. 1 cola",
            "٢ بيتزا. ١ كولا",
        ];
        assert_orders(&texts, &["2 Pizza", "1 Coca-Cola"]);
        assert_eq!(misread("2 piza. 1 cola"), ["2 piza."]);
        assert_misreads(&[
            "2 pizza.1 cola",
            "1.5 rice",
            "1. 5 rice",
            "2 pizza. -1 cola",
        ]);
        assert_eq!(
            read("See you at 5. 2 of us", &shop()),
            Reading::Conversation
        );
    }

    #[test]
    fn a_name_may_have_a_full_stop_before_a_number() {
        let shop = Catalogue::new(vec![product("Chanel No. 5", &[]), product("Soap", &[])]);
        let Reading::Order(lines) = read("1 chanel no. 5. 2 soap", &shop) else {
            panic!("not an order");
        };
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn a_number_in_a_list_is_not_the_quantity() {
        let texts = ["1) 2 pizza\n2) 1 cola", "١) ٢ بيتزا\n٢) ١ كولا"];
        assert_orders(&texts, &["2 Pizza", "1 Coca-Cola"]);
        assert_misreads(&["1) pizza", "1 ) pizza", "1) 0 pizza", "1. 2 pizza"]);
        let list = ["1 - pizza", "2 - cola", "3 - rice"];
        assert_eq!(misread(&list.join("\n")), list);
        assert_eq!(suggestion("1) 2 piza").as_deref(), Some("Pizza"));
    }

    #[test]
    fn a_sign_between_quantity_and_name_is_misread() {
        assert_misreads(&[
            "5 $ rice",
            "2 % rice",
            "5 € rice",
            "1 – rice",
            "1 : rice",
            "1 . rice",
            "2 x - rice",
        ]);
        let texts = [
            "2 (rice)",
            "2 \"rice\"",
            "2 x “rice”",
            "2 *rice*",
            "2 _rice_",
            "2 ⌚ rice",
        ];
        assert_orders(&texts, &["2 Rice"]);
    }

    #[test]
    fn another_product_than_the_one_written_is_not_ordered() {
        let shop = Catalogue::new(vec![
            product("Water 15L", &[]),
            product("Sneaker 45", &[]),
            product("لبنة", &[]),
            product("iPhone 15", &[]),
        ]);
        for text in ["2 water 1.5L", "1 sneaker 4.5", "2 لبن", "1 iPhone 15+"] {
            let reading = read(text, &shop);
            assert!(matches!(reading, Reading::Misunderstood(_)), "{text:?}");
        }
    }

    #[test]
    fn bullets_and_emoji_are_passed_over() {
        let texts = [
            "- 2 pizza\n- 1 cola",
            "• 2 pizza\n•1 cola",
            "* 2 pizza\n– 1 cola",
            "🍕 2 🍕 pizza 🍕, 🥤, 1 cola",
            "2\u{FE0F}\u{20E3} pizza\n1🥤cola",
            "*2 pizza*, *1 cola*",
        ];
        assert_orders(&texts, &["2 Pizza", "1 Coca-Cola"]);
    }

    #[test]
    fn a_text_without_a_quantity_is_conversation() {
        let texts = [
            "",
            " \n ,",
            "hello",
            "Hi",
            "Hi, thank you very much!",
            "السلام عليكم",
            "order",
            "thanks",
            "what time do you open?",
            "I paid yesterday",
            "pizza and cola",
            "I want to pay, please",
            "السلام عليكم و رحمة الله",
            "🍕🍕",
            "my number is 2",
        ];
        for text in texts {
            assert_eq!(read(text, &shop()), Reading::Conversation, "{text:?}");
        }
    }

    #[test]
    fn a_text_longer_than_any_message_is_conversation() {
        let longest = format!("2 pizza{}", " ".repeat(MAX_TEXT_CHARS - 7));
        assert_orders(&[&longest], &["2 Pizza"]);
        let too_long = longest + " ";
        assert_eq!(read(&too_long, &shop()), Reading::Conversation);
    }

    #[test]
    fn a_quantity_that_cannot_be_ordered_is_misread() {
        assert_misreads(&[
            "0 rice",
            "10000 rice",
            "4294967298 rice",
            "99999999999999999999999 rice",
            "-2 rice",
            "−2 rice",
            "+2 rice",
            "1.5 rice",
            ".5 rice",
            "١٫٥ أرز",
            "½ rice",
            "2½ rice",
            "2² rice",
            "1/2 rice",
            "2% rice",
            "2 -2 7up",
        ]);
        assert_orders(&["9999 rice", "0009999 rice"], &["9999 Rice"]);
    }

    #[test]
    fn a_minus_after_an_opening_or_a_bullet_is_still_a_minus() {
        assert_eq!(misread("order -2 rice"), ["-2 rice"]);
        assert_eq!(misread("- -2 rice"), ["- -2 rice"]);
    }

    #[test]
    fn a_decimal_comma_is_misread() {
        assert_eq!(misread("1,5 rice"), ["1"]);
        assert_eq!(misread("1,000 rice"), ["1", "000 rice"]);
    }

    #[test]
    fn a_quantity_without_a_product_is_misread() {
        assert_misreads(&["2", "2 🍕", "2 x", "2."]);
    }

    #[test]
    fn one_misread_piece_spoils_the_order_and_only_misreads_are_listed() {
        let text = "2 piza, 3 cola, as always, 4 umbrellas";
        assert_eq!(misread(text), ["2 piza", "as always", "4 umbrellas"]);
    }

    #[test]
    fn a_misread_suggests_the_nearest_product() {
        assert_eq!(suggestion("2 piza").as_deref(), Some("Pizza"));
        assert_eq!(suggestion("2x margarita").as_deref(), Some("Margherita"));
        assert_eq!(suggestion("1.5 rice please").as_deref(), Some("Rice"));
        assert_eq!(suggestion("2 7upp").as_deref(), Some("7UP"));
        assert_eq!(suggestion("٢ بيتزززا").as_deref(), Some("Pizza"));
        assert_eq!(suggestion("2 umbrellas"), None);
    }

    #[test]
    fn only_the_first_misreads_of_a_text_get_a_suggestion() {
        let shop = shop();
        let text = ["2 piza"; MAX_SUGGESTIONS + 2].join("\n");
        let Reading::Misunderstood(misreads) = read(&text, &shop) else {
            panic!("misspelt pizzas were understood");
        };
        let suggested = misreads.iter().take_while(|m| m.nearest.is_some());
        assert_eq!(suggested.count(), MAX_SUGGESTIONS);
        assert_eq!(misreads.len(), MAX_SUGGESTIONS + 2);
    }

    #[test]
    fn a_misspelt_name_with_and_in_it_is_one_misread() {
        let text = "2 fsh and chips and 1 cola";
        assert_eq!(misread(text), ["2 fsh and chips"]);
        assert_eq!(suggestion(text).as_deref(), Some("Fish and chips"));
    }

    #[test]
    fn a_misread_is_quoted_short_and_without_control_characters() {
        assert_eq!(misread(" 2\tfoo\u{7}\u{202E}bar "), ["2 foobar"]);
        let quotation = misread(&format!("2 {}", "é".repeat(500)));
        assert_eq!(quotation, [format!("2 {}", "é".repeat(78))]);
    }

    #[test]
    fn lines_for_the_same_product_are_added_up() {
        assert_orders(&["2 pizza, 1 cola, 3 بيتزا"], &["5 Pizza", "1 Coca-Cola"]);
    }

    #[test]
    fn lines_that_add_up_to_too_many_are_misread() {
        assert_orders(&["9998 rice and 1 rice"], &["9999 Rice"]);
        assert_eq!(misread("9999 rice and 1 rice"), ["1 rice"]);
    }

    #[test]
    fn too_many_lines_are_misread_from_the_first_too_many() {
        let most = vec!["1 rice"; MAX_LINES].join("\n");
        assert_orders(&[&most], &["100 Rice"]);
        assert_eq!(misread(&(most + "\n2 rice\n3 rice")), ["2 rice"]);
    }

    #[test]
    fn no_text_makes_reading_fail() {
        const NASTY: [&str; 45] = [
            "2",
            "٣",
            "0",
            "9",
            "½",
            "²",
            "①",
            "x",
            "×",
            "*",
            "-",
            "−",
            ".",
            ",",
            "،",
            "\n",
            " ",
            "\t",
            "and",
            " and ",
            " و ",
            "و٣",
            "&",
            "order:",
            "please",
            " hi ",
            "pizza. 2 ",
            "1)",
            "+",
            "ات",
            "شكرا",
            "pizza",
            "fish",
            "chips",
            "İ",
            "ß",
            "\u{301}",
            "\u{202E}",
            "\0",
            "🍕",
            "👨\u{200D}👩",
            "ﷺ",
            "한",
            "\u{FFFF}",
            "\u{10FFFF}",
        ];
        let shop = shop();
        let mut state = 1_u64;
        let mut random = |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for _ in 0..3_000 {
            let text: String = (0..random(30))
                .map(|_| NASTY[random(NASTY.len())])
                .collect();
            if let Reading::Order(lines) = read(&text, &shop) {
                let mut quantities = lines.iter().map(|line| line.quantity);
                assert!(
                    quantities.all(|q| (1..=MAX_QUANTITY).contains(&q)),
                    "{text:?}"
                );
            }
            assert_eq!(fold(&fold(&text)), fold(&text), "{text:?}");
        }
        for unit in NASTY {
            for length in [1, 100, MAX_TEXT_CHARS / unit.chars().count(), 100_000] {
                read(&unit.repeat(length), &shop);
                read(
                    &format!("2 {}", unit.repeat(length.saturating_sub(2))),
                    &shop,
                );
            }
        }
    }
}
