//! Forms of a folded name in which singular and plural agree, of English and of Arabic words.

use pluralizer::pluralize;

use super::fold::join_words;

/// The form in which singular and plural agree, and "and" agrees with "&".
pub(super) fn loose(folded: &str) -> String {
    join_stems(folded, feminine_stem)
}

/// The form in which, besides, an Arabic plural agrees with a singular that has no ending. A text
/// without Arabic is left as it is: its other forms say all, and cost less.
pub(super) fn loosest(folded: &str) -> String {
    if folded.is_ascii() {
        return folded.to_owned();
    }
    join_stems(folded, masculine_stem)
}

fn join_stems(folded: &str, arabic_stem: fn(&str) -> String) -> String {
    let words = folded
        .split(' ')
        .filter(|word| !matches!(*word, "and" | "و"));
    join_words(words.map(|word| stem(word, arabic_stem)))
}

fn stem(word: &str, arabic_stem: fn(&str) -> String) -> String {
    // The plural rules are for English, and are not meant for other scripts or for codes.
    if word.bytes().all(|byte| byte.is_ascii_lowercase()) {
        english_stem(word)
    } else {
        arabic_stem(without_article(word))
    }
}

/// The singular of an English word, or what it has in common with its plural. To the rules "lens" is
/// a plural, of "len", and the singular of "lenses" is "lense".
fn english_stem(word: &str) -> String {
    let mut singular = pluralize(word, 1, false);
    if singular.ends_with("nse") {
        singular.truncate(singular.len() - "se".len());
    }
    singular
}

/// An Arabic word with the same ending in its regular plural ("ات") as in the feminine singular
/// ("ة" or "ا") that the plural is made from. Without an ending it has none: "لبن" is not "لبنة".
fn feminine_stem(word: &str) -> String {
    const ENDINGS: [&str; 3] = ["ات", "ا", "ه"];
    let stem = ENDINGS.iter().find_map(|ending| cut_end(word, ending, 3));
    stem.map_or_else(|| word.to_owned(), |stem| stem.to_owned() + "ه")
}

/// An Arabic word without the ending of its regular plural. What is left is longer than after other
/// cuts, because most short words with this plural are feminine: "لبنات" are not "لبن".
fn masculine_stem(word: &str) -> String {
    cut_end(word, "ات", 4).unwrap_or(word).to_owned()
}

fn without_article(word: &str) -> &str {
    let stem = word.strip_prefix("ال");
    stem.filter(|stem| has_chars(stem, 3)).unwrap_or(word)
}

/// The word without an ending, unless that leaves too few characters to tell it from other words.
fn cut_end<'w>(word: &'w str, ending: &str, min_chars: usize) -> Option<&'w str> {
    word.strip_suffix(ending)
        .filter(|stem| has_chars(stem, min_chars))
}

fn has_chars(word: &str, min: usize) -> bool {
    word.chars().count() >= min
}
