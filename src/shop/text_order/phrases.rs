//! What is passed over before and after an order: bullets, greetings, requests and thanks.

use std::iter::once;

use super::characters::{is_digit, is_emoji};
use crate::shop::fold::fold;

/// How far from the end of a text an opening or closing phrase is looked for, in characters.
const MAX_PHRASE_CHARS: usize = 40;

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

pub(super) fn says_anything(piece: &str) -> bool {
    !fold(piece).is_empty()
}

/// The text without the list bullets, the emoji and the number in a list that it starts with.
pub(super) fn without_bullet(text: &str) -> &str {
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
pub(super) fn without_opening(text: &str) -> &str {
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
pub(super) fn without_closing(text: &str) -> &str {
    let mut rest = text.trim_end();
    while let Some(before) = before_closing(rest) {
        rest = before;
    }
    rest
}

pub(super) fn before_closing(text: &str) -> Option<&str> {
    text.char_indices()
        .rev()
        .take(MAX_PHRASE_CHARS)
        .filter(|(start, c)| *start == 0 || !c.is_alphanumeric())
        .map(|(start, _)| text.split_at(start))
        .find(|(_, phrase)| CLOSINGS.contains(&fold(phrase).as_str()))
        .map(|(before, _)| before.trim_end())
}
