//! A variable of the configuration.

use super::Config;

/// A variable.
#[derive(Clone, Copy)]
pub(super) struct Variable {
    pub name: &'static str,
    pub is_reloaded: bool,
    pub read: fn(&mut Config, &str) -> Result<(), String>,
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
