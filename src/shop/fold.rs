//! Brings text written in different ways to one form that can be compared. It must not know about
//! products, orders or any one language's grammar.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::{canonical_combining_class, is_combining_mark};

/// The zero of every run of ten decimal digits in Unicode (general category Nd), in order.
const ZEROS: [u32; 77] = [
    0x0030, 0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6,
    0x0D66, 0x0DE6, 0x0E50, 0x0ED0, 0x0F20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80,
    0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50, 0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0,
    0xFF10, 0x104A0, 0x10D30, 0x10D40, 0x11066, 0x110F0, 0x11136, 0x111D0, 0x112F0, 0x11450,
    0x114D0, 0x11650, 0x116C0, 0x116D0, 0x116DA, 0x11730, 0x118E0, 0x11950, 0x11BF0, 0x11C50,
    0x11D50, 0x11DA0, 0x11DE0, 0x11F50, 0x16130, 0x16A60, 0x16AC0, 0x16B50, 0x16D70, 0x1CCF0,
    0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6, 0x1E140, 0x1E2F0, 0x1E4F0, 0x1E5F1, 0x1E950,
    0x1FBF0,
];

/// The value, 0 to 9, of a decimal digit of any script; `None` for every other character,
/// fractions and superscripts among them.
pub fn digit_value(c: char) -> Option<u32> {
    if c.is_ascii() {
        return c.to_digit(10);
    }
    let code = u32::from(c);
    let zeros_up_to_code = ZEROS.partition_point(|&zero| zero <= code);
    let zero = ZEROS.get(zeros_up_to_code.checked_sub(1)?)?;
    Some(code - zero).filter(|&value| value <= 9)
}

/// Whether a character shows nothing by itself: zero-width and text-direction marks, soft hyphens,
/// and the selectors that turn a character into an emoji.
pub fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{180E}' | '\u{20E3}' | '\u{FEFF}'
        | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2069}'
        | '\u{FE00}'..='\u{FE0F}')
}

/// Folds text so that two ways of writing the same words become equal: lower case, no diacritics,
/// ASCII digits, one spelling of each Arabic letter, and one space for any run of spacing,
/// punctuation or symbols. Only a plus sign that touches the word before it says something, and
/// becomes the word "plus". The result has no space at either end, and may be empty.
pub fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    let visible = text.nfkd().filter(|&c| !is_ignored(c));
    for c in visible.flat_map(char::to_lowercase) {
        push_folded(&mut folded, c);
    }
    folded.trim_end().to_owned()
}

/// Folds text and takes the spaces out, so that "coca cola" and "Coca-Cola" and "cocacola" agree.
/// A space between two digits stays.
pub fn fold_compact(text: &str) -> String {
    join_words(fold(text).split(' '))
}

/// Folded words written together, except where two numbers would become another number: "1.5" is
/// not "15".
pub fn join_words<W: AsRef<str>>(words: impl Iterator<Item = W>) -> String {
    let is_digit = |c: char| c.is_ascii_digit();
    words.fold(String::new(), |mut joined, word| {
        let word = word.as_ref();
        if joined.ends_with(is_digit) && word.starts_with(is_digit) {
            joined.push(' ');
        }
        joined + word
    })
}

fn push_folded(folded: &mut String, c: char) {
    if let Some(digit) = digit_value(c).and_then(|value| char::from_digit(value, 10)) {
        folded.push(digit);
    } else if let Some(spelling) = common_spelling(c) {
        folded.push_str(spelling);
    } else if c.is_alphanumeric() || is_combining_mark(c) {
        folded.push(c);
    } else {
        push_symbol(folded, c);
    }
}

fn push_symbol(folded: &mut String, symbol: char) {
    let touches_word = folded.ends_with(|c| c != ' ');
    let follows_plus = folded.ends_with(" plus ");
    if touches_word {
        folded.push(' ');
    }
    // "15+" is not "15", and "C++" is not "C+".
    if symbol == '+' && (touches_word || follows_plus) {
        folded.push_str("plus ");
    }
}

/// The usual spelling of a letter that people type in several ways and that Unicode's own
/// decomposition leaves alone.
fn common_spelling(c: char) -> Option<&'static str> {
    Some(match c {
        'ß' => "ss",
        'æ' => "ae",
        'œ' => "oe",
        'ø' => "o",
        'ł' => "l",
        'đ' => "d",
        'ı' => "i",
        'ς' => "σ",
        'ى' | 'ی' => "ي",
        'ة' | 'ہ' => "ه",
        'ک' => "ك",
        _ => return None,
    })
}

fn is_ignored(c: char) -> bool {
    const TATWEEL: char = 'ـ';
    c == TATWEEL || is_invisible(c) || is_diacritic(c)
}

/// Whether a combining mark only decorates a letter. The others are kept, because without them a
/// word becomes a different word: the vowel signs of the Indic scripts, Thai tones, the voicing of
/// Japanese kana.
fn is_diacritic(c: char) -> bool {
    if c.is_ascii() {
        return false;
    }
    match canonical_combining_class(c) {
        0 => is_combining_mark(c) && !c.is_alphanumeric(),
        // Hebrew and Arabic points, then the accents above and below that all scripts share.
        10..=36 | 200.. => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_accents_and_punctuation_do_not_matter() {
        assert_eq!(fold("  Crème-Brûlée!! "), "creme brulee");
        assert_eq!(fold("C\u{20DD}afé"), fold("CAFE"));
        assert_eq!(fold("I\u{307}stanbul"), fold("İSTANBUL"));
        assert_eq!(fold("Weißwurst"), fold("WEISSWURST"));
    }

    #[test]
    fn arabic_spellings_of_one_word_are_equal() {
        assert_eq!(fold("قَهْوَة"), fold("قهوه"));
        assert_eq!(fold("أرز"), fold("ارز"));
        assert_eq!(fold("شـــاى"), fold("شای"));
        assert_eq!(fold("\u{200F}کولا\u{200E}"), fold("كولا"));
    }

    #[test]
    fn digits_of_any_script_become_ascii() {
        assert_eq!(fold("٠١٢ ۳۴۵ ६७ ৮ ๙ ７ \u{1D7D8}"), "012 345 67 8 9 7 0");
    }

    #[test]
    fn every_zero_starts_a_run_of_ten_digits_in_order() {
        for (zero, next) in ZEROS.iter().zip(ZEROS.iter().skip(1)) {
            assert!(zero + 10 <= *next, "{zero:x} runs into {next:x}");
        }
        for (zero, value) in ZEROS.iter().flat_map(|z| (0..10).map(move |v| (z, v))) {
            let digit = char::from_u32(zero + value).unwrap();
            assert!(digit.is_numeric(), "{digit:?}");
            assert_eq!(digit_value(digit), Some(value), "{digit:?}");
        }
    }

    #[test]
    fn what_is_not_a_decimal_digit_has_no_value() {
        for c in ['a', '/', ':', '½', '²', '①', '\0', char::MAX] {
            assert_eq!(digit_value(c), None, "{c:?}");
        }
    }

    #[test]
    fn marks_that_make_a_different_word_are_kept() {
        assert_ne!(fold("पानी"), fold("पान"));
        assert_ne!(fold("が"), fold("か"));
    }

    #[test]
    fn emoji_and_symbols_leave_only_a_space() {
        assert_eq!(fold("hot 🌭\u{FE0F} dog ✅"), "hot dog");
        assert_eq!(fold("🍕🍕"), "");
    }

    #[test]
    fn a_plus_sign_that_touches_a_word_is_a_word_of_its_own() {
        assert_eq!(fold("iPhone 15+"), "iphone 15 plus");
        assert_eq!(fold("iPhone 15＋ 128GB"), "iphone 15 plus 128gb");
        assert_eq!(fold("C++"), "c plus plus");
        assert_eq!(fold("salt + pepper"), "salt pepper");
        assert_eq!(fold("+ 15"), "15");
    }

    #[test]
    fn a_compact_fold_has_no_spaces() {
        assert_eq!(fold_compact("Coca - Cola"), "cocacola");
        assert_eq!(fold_compact("CC 330 ml"), "cc330ml");
    }

    #[test]
    fn a_compact_fold_keeps_two_numbers_apart() {
        assert_eq!(fold_compact("Water 1.5 L"), "water1 5l");
        assert_ne!(fold_compact("Sneaker 4½"), fold_compact("Sneaker 412"));
    }
}
