//! A bearer token: 32 random bytes that only their holder knows.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use std::str::FromStr;

use crate::{secret::Secret, store::types::Digest};

/// By which a token is known for what it is, by people and by scanners of published code.
const PREFIX: &str = "hk_";

/// A bearer token. `Debug` hides it, and it has no `Display`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token(Secret);

/// A text that was never a token of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no token")]
pub struct MalformedToken;

impl Token {
    /// A new one, from the cryptographic generator of this thread, which the operating system seeds.
    pub fn random() -> Self {
        let bytes: [u8; 32] = rand::random();
        let text = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
        Self(Secret::new(text))
    }

    /// Its text, for whoever shall hold it.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// A text for the log: whatever in it looks like a token, or most of one, is left out.
    pub fn masked_in(text: &str) -> String {
        const SUSPICIOUS: usize = 16;
        let mut pieces = text.split(PREFIX);
        let mut masked = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let is_random = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
            let end = piece.find(|c| !is_random(c)).unwrap_or(piece.len());
            let (random, rest) = piece.split_at(end);
            masked += PREFIX;
            masked += if end < SUSPICIOUS { random } else { "…" };
            masked += rest;
        }
        masked
    }

    /// SHA-256 of its text. Slow hashing would add nothing: there are 2^256 to guess from.
    pub fn sha256(&self) -> Digest {
        Digest::of(self.expose().as_bytes())
    }
}

impl FromStr for Token {
    type Err = MalformedToken;

    fn from_str(text: &str) -> Result<Self, MalformedToken> {
        let random = text.strip_prefix(PREFIX).ok_or(MalformedToken)?;
        let bytes = URL_SAFE_NO_PAD.decode(random);
        match bytes {
            Ok(bytes) if bytes.len() == 32 => Ok(Self(Secret::new(text))),
            _ => Err(MalformedToken),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_token_has_the_form_of_one_and_is_like_no_other() {
        let token = Token::random();
        assert_eq!(token.expose().len(), 46);
        assert_eq!(token.expose().parse(), Ok(token.clone()));
        assert_ne!(token, Token::random());
        assert_eq!(token.sha256().to_string().len(), 64);
        assert!(!format!("{token:?}").contains(token.expose()));
    }

    #[test]
    fn a_text_for_the_log_is_freed_of_tokens() {
        let token = Token::random();
        let text = format!("/orders/{}/x?{}", token.expose(), token.expose());
        assert_eq!(Token::masked_in(&text), "/orders/hk_…/x?hk_…");
        let half = &token.expose()[..24];
        assert_eq!(Token::masked_in(half), "hk_…");
        assert_eq!(Token::masked_in("/hk_orders/hk_"), "/hk_orders/hk_");
    }

    #[test]
    fn what_has_another_form_is_no_token() {
        let token = Token::random();
        let text = token.expose();
        let others = [
            String::new(),
            "hk_".to_owned(),
            text[3..].to_owned(),
            text.replace("hk_", "HK_"),
            text[..45].to_owned(),
            format!("{text}A"),
            format!("{text}="),
            format!(" {text}"),
            format!("{}+", &text[..45]),
        ];
        for other in others {
            assert_eq!(other.parse::<Token>(), Err(MalformedToken), "{other}");
        }
    }
}
