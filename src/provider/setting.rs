//! What a provider is configured by. All of it is secret, and never shown.

use std::str::FromStr;

use crate::secret::Secret;

/// A variable that configures a provider.
#[derive(Debug)]
pub struct Setting {
    /// Its name.
    pub variable: &'static str,
    /// What it holds, in a line: as `.env.example` has it.
    pub about: &'static str,
    /// How it is read.
    pub kind: SettingKind,
}

/// How a variable is read, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingKind {
    /// Secrets, any of which may have made a signature; several, separated by commas, while one is being rotated.
    Secrets,
    /// The same with names: `NAME:SECRET`.
    NamedSecrets,
    /// The one token of the handshake.
    HandshakeToken,
}

/// A secret that the requests which it signs call by its name.
#[derive(Clone, Debug)]
pub struct NamedSecret {
    /// The name.
    pub name: String,
    /// The secret.
    pub secret: Secret,
}

impl FromStr for NamedSecret {
    type Err = &'static str;

    /// Reads `NAME:SECRET`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, secret) = text.split_once(':').unwrap_or_default();
        let (name, secret) = (name.trim(), secret.trim());
        match name.is_empty() || secret.is_empty() {
            true => Err("allowed is NAME:SECRET, several separated by commas"),
            false => Ok(Self {
                name: name.to_owned(),
                secret: Secret::new(secret),
            }),
        }
    }
}

/// The values of providers' settings, by their variables.
#[derive(Clone, Debug, Default)]
pub struct Settings(Vec<(&'static str, Value)>);

#[derive(Clone, Debug)]
enum Value {
    Secrets(Vec<Secret>),
    Named(Vec<NamedSecret>),
    Token(Secret),
}

impl Settings {
    /// Sets a value in the place of the one before; an empty text holds none.
    ///
    /// # Errors
    /// Says what is allowed, and nothing of the text.
    pub fn set(&mut self, setting: &Setting, text: &str) -> Result<(), &'static str> {
        let value = match setting.kind {
            SettingKind::Secrets => Value::Secrets(pieces(text).map(Secret::new).collect()),
            SettingKind::NamedSecrets => {
                Value::Named(pieces(text).map(str::parse).collect::<Result<_, _>>()?)
            }
            SettingKind::HandshakeToken => Value::Token(Secret::new(text)),
        };
        self.0.retain(|(variable, _)| *variable != setting.variable);
        if !text.is_empty() {
            self.0.push((setting.variable, value));
        }
        Ok(())
    }

    /// The secrets of a variable, the first of which signs what we send.
    pub fn secrets(&self, variable: &str) -> &[Secret] {
        match self.value(variable) {
            Some(Value::Secrets(secrets)) => secrets,
            _ => &[],
        }
    }

    /// The named secrets of a variable.
    pub fn named_secrets(&self, variable: &str) -> &[NamedSecret] {
        match self.value(variable) {
            Some(Value::Named(secrets)) => secrets,
            _ => &[],
        }
    }

    /// The token of a variable.
    pub fn token(&self, variable: &str) -> Option<&Secret> {
        match self.value(variable) {
            Some(Value::Token(token)) => Some(token),
            _ => None,
        }
    }

    /// How many secrets of these settings verify signatures.
    pub fn count_secrets(&self, settings: &[Setting]) -> usize {
        let count = |setting: &Setting| match self.value(setting.variable) {
            Some(Value::Secrets(secrets)) => secrets.len(),
            Some(Value::Named(secrets)) => secrets.len(),
            Some(Value::Token(_)) | None => 0,
        };
        settings.iter().map(count).sum()
    }

    fn value(&self, variable: &str) -> Option<&Value> {
        let mut values = self.0.iter();
        let (_, value) = values.find(|(known, _)| *known == variable)?;
        Some(value)
    }
}

fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let pieces = text.split(',').map(str::trim);
    pieces.filter(|piece| !piece.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(kind: SettingKind) -> Setting {
        Setting {
            variable: "V",
            about: "",
            kind,
        }
    }

    #[test]
    fn several_secrets_may_be_given_and_none_is_shown() {
        let mut settings = Settings::default();
        let secrets = setting(SettingKind::Secrets);
        settings.set(&secrets, "hunter2, hunter3,").unwrap();
        assert_eq!(settings.secrets("V").len(), 2);
        assert_eq!(settings.secrets("V")[1].expose(), "hunter3");
        assert_eq!(settings.count_secrets(&[secrets]), 2);
        assert!(!format!("{settings:?}").contains("hunter"));
        assert!(settings.secrets("W").is_empty() && settings.token("V").is_none());
    }

    #[test]
    fn a_value_takes_the_place_of_the_one_before_and_an_empty_one_leaves_none() {
        let (mut settings, token) = (Settings::default(), setting(SettingKind::HandshakeToken));
        settings.set(&token, "a,b").unwrap();
        settings.set(&token, "c,d").unwrap();
        assert_eq!(settings.token("V").map(Secret::expose), Some("c,d"));
        settings.set(&token, "").unwrap();
        assert!(settings.token("V").is_none());
    }

    #[test]
    fn a_named_secret_needs_a_name_and_a_secret() {
        let (mut settings, named) = (Settings::default(), setting(SettingKind::NamedSecrets));
        settings.set(&named, "eu:hunter2, us:of:colons").unwrap();
        let [eu, us] = settings.named_secrets("V") else {
            panic!("two")
        };
        assert_eq!((&*eu.name, us.secret.expose()), ("eu", "of:colons"));
        for text in ["x", ":x", "x:", " : ", "eu:x,hunter2"] {
            let allowed = settings.set(&named, text).unwrap_err();
            assert!(!allowed.contains("hunter2"), "{text:?}");
        }
    }
}
