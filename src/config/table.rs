//! The table of all variables: those of each concern, and those of the providers.

use super::{
    Config, ConfigError, Variable, addresses, deduplication, error::shown, jobs, limits, log,
    storage,
};
use crate::provider::{self, setting::Setting};

/// A variable of the program, or of a provider.
pub(super) enum Entry {
    Own(&'static Variable),
    Provider(&'static Setting),
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
