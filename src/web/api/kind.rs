//! What can be made through the API.

use std::time::Duration;

use crate::config::Config;

/// What a POST makes: names its records and says for how long their answers are replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Orders.
    Orders,
    /// Payments.
    Payments,
    /// Refunds.
    Refunds,
    /// Bookings.
    Bookings,
    /// Retailers.
    Retailers,
    /// Products.
    Products,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Payments => "payments",
            Self::Refunds => "refunds",
            Self::Bookings => "bookings",
            Self::Retailers => "retailers",
            Self::Products => "products",
        }
    }

    pub fn ttl(self, config: &Config) -> Duration {
        match self {
            Self::Orders => config.idempotency_ttl_orders,
            Self::Payments => config.idempotency_ttl_payments,
            Self::Refunds => config.idempotency_ttl_refunds,
            Self::Bookings => config.idempotency_ttl_bookings,
            Self::Retailers | Self::Products => config.idempotency_ttl,
        }
    }

    /// Retailers and products are unique by their numbers and codes anyway.
    pub fn needs_key(self) -> bool {
        !matches!(self, Self::Retailers | Self::Products)
    }
}
