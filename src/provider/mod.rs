//! The providers: how they sign, and what they send. Knows neither HTTP frameworks nor SQL.
//!
//! A provider is a folder that implements [`Provider`], declared here and listed in [`REGISTRY`].

pub mod diagnosis;
pub mod event;
pub mod form;
pub mod handshake;
mod hmac;
pub mod hub_signature;
mod interface;
pub mod json;
pub mod recording;
pub mod refusal;
pub mod request;
pub mod route;
pub mod setting;
mod value;

pub mod github;
pub mod twilio;
pub mod whatsapp;

pub use hmac::Hmac;
pub use interface::{Delivery, DocumentForm, Provider, ReplyForm, SCOPE_PREFIX, SignedBy, Signing};

use setting::Setting;

/// The providers that are built in, in the order in which they are shown.
pub const REGISTRY: &[&dyn Provider] = &[
    // Messages and calls.
    &twilio::Twilio,
    // Meta's Cloud API.
    &whatsapp::WhatsApp,
    // What happens in repositories.
    &github::GitHub,
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// That no two are the same.
    fn assert_distinct(what: &str, all: impl Iterator<Item = &'static str>) {
        let mut seen = HashSet::new();
        for one in all {
            assert!(seen.insert(one), "two of {what} {one}");
        }
    }

    #[test]
    fn what_is_stored_of_a_provider_goes_by_its_name() {
        for provider in REGISTRY {
            let name = provider.name();
            assert_eq!(provider.scope(), format!("{SCOPE_PREFIX}{name}"));
            let is_small = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            assert!(name.bytes().all(is_small), "{name}");
            // Clients' requests are of kinds and sources, too.
            assert_ne!(name, "api");
            for kind in provider.webhook_types() {
                assert!(kind.starts_with(name), "{kind}");
            }
        }
    }

    #[test]
    fn no_two_providers_have_anything_of_one_name() {
        assert_distinct("name", names());
        let settings = settings().map(|setting| setting.variable);
        assert_distinct("variable", settings);
        let kinds = REGISTRY
            .iter()
            .flat_map(|p| p.webhook_types().iter().copied());
        assert_distinct("kind", kinds);
        let routes = || REGISTRY.iter().flat_map(|provider| provider.routes());
        assert_distinct("path", routes().map(|route| route.path));
        assert_distinct("operation", routes().map(|route| route.operation_id));
    }

    #[test]
    fn a_handshake_is_made_at_a_route_with_a_token_that_is_set() {
        for provider in REGISTRY {
            let Some(handshake) = provider.handshake() else {
                continue;
            };
            let mut routes = provider.routes().iter();
            assert!(routes.any(|route| route.path == handshake.path));
            let mut settings = provider.settings().iter();
            let setting = settings.find(|setting| setting.variable == handshake.variable);
            assert_eq!(
                setting.map(|setting| setting.kind),
                Some(setting::SettingKind::HandshakeToken)
            );
        }
    }

    #[test]
    fn a_provider_says_who_it_is_and_for_how_long_it_sends_again() {
        const DAY: u64 = 24 * 60 * 60;
        let told = REGISTRY.iter().map(|provider| {
            let horizon = provider.sends_again_for().as_secs();
            (provider.name(), provider.title(), horizon)
        });
        let told: Vec<_> = told.collect();
        assert_eq!(
            told,
            [
                ("twilio", "Twilio", 15),
                ("whatsapp", "WhatsApp", 7 * DAY),
                ("github", "GitHub", 3 * DAY),
            ]
        );
    }
}
