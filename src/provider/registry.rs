//! The providers that are built in: a line for each.

use super::{Provider, setting::Setting, twilio::Twilio, whatsapp::WhatsApp};

/// All of them, in the order in which they are shown.
pub const REGISTRY: &[&dyn Provider] = &[
    &Twilio,   //
    &WhatsApp, //
];

/// The one of this name.
pub fn find(name: &str) -> Option<&'static dyn Provider> {
    let mut all = REGISTRY.iter();
    all.find(|provider| provider.name() == name).copied()
}

/// The names of all.
pub fn names() -> impl Iterator<Item = &'static str> {
    REGISTRY.iter().map(|provider| provider.name())
}

/// The settings of all.
pub fn settings() -> impl Iterator<Item = &'static Setting> {
    REGISTRY.iter().flat_map(|provider| provider.settings())
}
