//! Holds a JSON text against bounds before anything is made of it: what takes a byte in a text may take a hundred in a
//! tree. Whether it is JSON at all, and how deep it may be, is its parser's affair.

use super::MAX_DEPTH;

/// How much of each there may be.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Values in all.
    pub values: usize,
    /// Values in one array or object.
    pub members: usize,
    /// Bytes of a number.
    pub digits: usize,
}

/// There is more than there may be.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitExceeded {
    /// See [`Bounds::values`].
    #[error("it has more than {0} values")]
    Values(usize),
    /// See [`Bounds::members`].
    #[error("an array or object has more than {0} values")]
    Members(usize),
    /// See [`Bounds::digits`].
    #[error("a number has more than {0} digits")]
    Digits(usize),
}

impl Bounds {
    /// Of a body that a provider has signed: more than any of them sends in the largest body that is taken.
    pub const DELIVERY: Self = Self {
        values: 250_000,
        members: usize::MAX,
        digits: usize::MAX,
    };

    /// Looks at each byte once, and keeps a count for each array and object that is open.
    ///
    /// # Errors
    /// At the first thing of which there is too much.
    pub fn check(&self, json: &[u8]) -> Result<(), LimitExceeded> {
        let mut open: Vec<usize> = Vec::new();
        let (mut values, mut digits) = (1, 0);
        let mut bytes = json.iter();
        while let Some(byte) = bytes.next() {
            match byte {
                b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E' => {
                    digits += 1;
                    if digits > self.digits {
                        return Err(LimitExceeded::Digits(self.digits));
                    }
                    continue;
                }
                b'"' => skip_text(&mut bytes),
                b'[' | b'{' => {
                    // The parser goes no deeper, so nothing of what is deeper is ever made.
                    if open.len() == MAX_DEPTH {
                        return Ok(());
                    }
                    open.push(1);
                    values += 1;
                }
                b']' | b'}' => {
                    open.pop();
                }
                b',' => {
                    values += 1;
                    if let Some(members) = open.last_mut() {
                        *members += 1;
                        if *members > self.members {
                            return Err(LimitExceeded::Members(self.members));
                        }
                    }
                }
                _ => {}
            }
            digits = 0;
            if values > self.values {
                return Err(LimitExceeded::Values(self.values));
            }
        }
        Ok(())
    }
}

/// Goes on behind the quotation mark that ends a text.
fn skip_text<'a>(bytes: &mut impl Iterator<Item = &'a u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        values: 12,
        members: 4,
        digits: 5,
    };

    fn check(json: &str) -> Result<(), LimitExceeded> {
        BOUNDS.check(json.as_bytes())
    }

    #[test]
    fn what_is_within_all_bounds_passes_and_one_more_does_not() {
        let cases = [
            ("[1,2,3,4]", "[1,2,3,4,5]", LimitExceeded::Members(4)),
            (
                r#"{"a":1,"b":2}"#,
                r#"{"a":1,"b":2,"c":3,"d":4,"e":5}"#,
                LimitExceeded::Members(4),
            ),
            ("[12345,-1e+5]", "[123456]", LimitExceeded::Digits(5)),
            (
                "[[1,2,3],[1,2,3]]",
                "[[1,2,3],[1,2,3],[1,2,3]]",
                LimitExceeded::Values(12),
            ),
        ];
        for (within, beyond, error) in cases {
            assert_eq!(check(within), Ok(()), "{within}");
            assert_eq!(check(beyond), Err(error), "{beyond}");
        }
    }

    #[test]
    fn what_stands_in_a_text_does_not_count() {
        for json in [
            r#"["[[[[[[[", "1234567890", ",,,,,,,,,,,,,,,"]"#,
            r#"{"\"[[[[,,,,,,,,,,,,": "\\"}"#,
            r#""no end [[[[[[[,,,,,,,,,,,,,,,"#,
        ] {
            assert_eq!(check(json), Ok(()), "{json}");
        }
        assert_eq!(check(r#"["\\",123456]"#), Err(LimitExceeded::Digits(5)));
    }

    #[test]
    fn what_is_no_json_breaks_nothing() {
        for json in ["", "]]]]", "\"", "\"\\", "{]}[", ",,,,", "\u{1F355}"] {
            assert_eq!(check(json), Ok(()), "{json}");
        }
    }

    #[test]
    fn a_bomb_is_refused_long_before_its_end() {
        let wide = format!("[{}", "0,".repeat(1_500_000));
        let bounds = Bounds::DELIVERY;
        assert_eq!(
            bounds.check(wide.as_bytes()),
            Err(LimitExceeded::Values(250_000))
        );
    }
}
