//! Characters that a quantity is made of, and those around one.

use crate::shop::fold::digit_value;

/// Whether a character can be the sign or the decimal point of a number.
pub(super) fn is_number_mark(c: char) -> bool {
    matches!(c, '+' | '-' | '−' | '–' | '—' | '.' | '٫')
}

pub(super) fn is_digit(c: char) -> bool {
    digit_value(c).is_some()
}

pub(super) fn is_emoji(c: char) -> bool {
    matches!(c,
        '\u{231A}' | '\u{231B}' | '\u{23E9}'..='\u{23FF}' | '\u{2600}'..='\u{27BF}'
        | '\u{2B00}'..='\u{2BFF}' | '\u{1F000}'..='\u{1FAFF}')
}
