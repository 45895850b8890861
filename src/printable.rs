//! Texts that come from outside, as a terminal and a reader of lines may be given them.

use std::fmt::Write as _;

/// A text in which every character that could break or forge a line is escaped.
pub fn printable(text: &str) -> String {
    if !text.contains(is_unprintable) {
        return text.to_owned();
    }
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match is_unprintable(c) {
            true => escaped.extend(c.escape_debug()),
            false => escaped.push(c),
        }
    }
    escaped
}

/// The same of JSON, which stays the JSON that it is.
pub fn printable_json(json: String) -> String {
    // JSON lets through what is no ASCII; a terminal need not.
    let is_harmless = |c: char| c.is_ascii() && c != '\u{7f}' || !is_unprintable(c);
    if json.chars().all(is_harmless) {
        return json;
    }
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if is_harmless(c) {
            escaped.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // A String takes everything.
            let _ = write!(escaped, "\\u{unit:04x}");
        }
    }
    escaped
}

/// Controls, separators of lines, marks that turn the direction of writing, and what is not assigned.
pub fn is_unprintable(c: char) -> bool {
    !matches!(c, '"' | '\'' | '\\') && c.escape_debug().len() > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped_and_letters_are_not() {
        let odd = "a\u{1b}[2J\u{202e}\u{9b}b\n";
        assert_eq!(printable(odd), "a\\u{1b}[2J\\u{202e}\\u{9b}b\\n");
        assert_eq!(printable("Zoë \"ح\" 中"), "Zoë \"ح\" 中");
        let json = serde_json::to_string(odd).unwrap();
        let shown = printable_json(json);
        assert_eq!(shown, r#""a\u001b[2J\u202e\u009bb\n""#);
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), odd);
    }
}
