//! A variable of the configuration, and the table of all of them.

use super::{
    Config, ConfigError, addresses, deduplication, error::shown, jobs, limits, log, storage,
};
use crate::provider::{self, setting::Setting};

/// A variable.
#[derive(Clone, Copy)]
pub(super) struct Variable {
    name: &'static str,
    is_reloaded: bool,
    read: fn(&mut Config, &str) -> Result<(), String>,
}

/// A variable of the program, or of a provider.
pub(super) enum Entry {
    Own(&'static Variable),
    Provider(&'static Setting),
}

impl Variable {
    /// `read` sets the field from a text, or says what is allowed. It sees what the variables before it say.
    pub const fn new(
        name: &'static str,
        read: fn(&mut Config, &str) -> Result<(), String>,
    ) -> Self {
        Self {
            name,
            is_reloaded: false,
            read,
        }
    }

    /// One that a service which runs takes over when it is told to read its configuration again.
    pub const fn reloaded(mut self) -> Self {
        self.is_reloaded = true;
        self
    }
}

/// Sets a field to a value that was read.
pub(super) fn set<T>(field: &mut T, value: Result<T, String>) -> Result<(), String> {
    *field = value?;
    Ok(())
}

/// All variables, in the order of `.env.example`.
pub(super) fn table() -> impl Iterator<Item = Entry> {
    let before = [storage::VARIABLES, addresses::VARIABLES];
    let after = [
        deduplication::VARIABLES,
        jobs::VARIABLES,
        limits::VARIABLES,
        log::VARIABLES,
    ];
    let before = before.into_iter().flatten().map(Entry::Own);
    let providers = provider::settings().map(Entry::Provider);
    before
        .chain(providers)
        .chain(after.into_iter().flatten().map(Entry::Own))
}

impl Entry {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Own(variable) => variable.name,
            Self::Provider(setting) => setting.variable,
        }
    }

    /// All that configures a provider is, so that a secret can be rotated.
    pub fn is_reloaded(&self) -> bool {
        match self {
            Self::Own(variable) => variable.is_reloaded,
            Self::Provider(_) => true,
        }
    }

    /// Reads a value into the configuration. What configures a provider is never shown.
    pub fn read(&self, config: &mut Config, value: &str) -> Result<(), ConfigError> {
        let text = value.trim();
        let (read, shown) = match self {
            Self::Own(variable) => ((variable.read)(config, text), shown(variable.name, value)),
            Self::Provider(setting) => {
                let set = config.providers.set(setting, text);
                (set.map_err(str::to_owned), String::new())
            }
        };
        read.map_err(|allowed| ConfigError::Invalid {
            variable: self.name(),
            shown,
            allowed,
        })
    }
}
