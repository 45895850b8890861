//! What a token may do.

use std::{fmt, str::FromStr};

/// A part of the API, and whether it is read or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The names say it.
pub enum Scope {
    OrdersRead,
    OrdersWrite,
    PaymentsRead,
    PaymentsWrite,
    RefundsRead,
    RefundsWrite,
    BookingsRead,
    BookingsWrite,
    CatalogueRead,
    CatalogueWrite,
    LedgerRead,
    StatsRead,
    DeliveriesRead,
    /// Everything.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::OrdersRead,
        Self::OrdersWrite,
        Self::PaymentsRead,
        Self::PaymentsWrite,
        Self::RefundsRead,
        Self::RefundsWrite,
        Self::BookingsRead,
        Self::BookingsWrite,
        Self::CatalogueRead,
        Self::CatalogueWrite,
        Self::LedgerRead,
        Self::StatsRead,
        Self::DeliveriesRead,
        Self::Admin,
    ];

    /// The name that is given, stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OrdersRead => "orders:read",
            Self::OrdersWrite => "orders:write",
            Self::PaymentsRead => "payments:read",
            Self::PaymentsWrite => "payments:write",
            Self::RefundsRead => "refunds:read",
            Self::RefundsWrite => "refunds:write",
            Self::BookingsRead => "bookings:read",
            Self::BookingsWrite => "bookings:write",
            Self::CatalogueRead => "catalogue:read",
            Self::CatalogueWrite => "catalogue:write",
            Self::LedgerRead => "ledger:read",
            Self::StatsRead => "stats:read",
            Self::DeliveriesRead => "deliveries:read",
            Self::Admin => "admin",
        }
    }

    /// Whoever may change something may read it, and an administrator may do everything.
    fn implies(self, needed: Self) -> bool {
        let read_of_this = self.as_str().strip_suffix(":write");
        self == needed
            || self == Self::Admin
            || read_of_this.is_some() && read_of_this == needed.as_str().strip_suffix(":read")
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = InvalidScopes;

    fn from_str(text: &str) -> Result<Self, InvalidScopes> {
        let scope = Self::ALL.into_iter().find(|scope| scope.as_str() == text);
        scope.ok_or_else(|| InvalidScopes(text.to_owned()))
    }
}

/// One scope or several, written with commas between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scopes(u16);

impl Scopes {
    /// Whether one of them is the scope that is needed, or implies it.
    pub fn allow(self, needed: Scope) -> bool {
        self.iter().any(|scope| scope.implies(needed))
    }

    /// Each of them, in the order of [`Scope::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        let all = Scope::ALL.into_iter();
        all.filter(move |scope| self.0 & scope.bit() != 0)
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Scope::as_str).collect();
        f.write_str(&names.join(","))
    }
}

impl FromStr for Scopes {
    type Err = InvalidScopes;

    fn from_str(text: &str) -> Result<Self, InvalidScopes> {
        let mut scopes = text.split(',').map(|name| name.trim().parse::<Scope>());
        scopes.try_fold(Self(0), |all, scope| Ok(Self(all.0 | scope?.bit())))
    }
}

/// A scope that there is not; the message lists those that there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidScopes(String);

impl fmt::Display for InvalidScopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let allowed = Scope::ALL.map(Scope::as_str).join(", ");
        write!(f, "{:?} is no scope; allowed are {allowed}", self.0)
    }
}

impl std::error::Error for InvalidScopes {}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(text: &str) -> Scopes {
        text.parse().unwrap()
    }

    #[test]
    fn every_scope_is_read_as_it_is_written() {
        for scope in Scope::ALL {
            assert_eq!(scope.as_str().parse(), Ok(scope));
            let alone = scopes(scope.as_str());
            assert_eq!(alone.to_string(), scope.as_str());
            assert_eq!(alone.iter().collect::<Vec<_>>(), [scope]);
        }
        assert_eq!(
            scopes("stats:read, orders:write").to_string(),
            "orders:write,stats:read"
        );
    }

    #[test]
    fn no_scope_at_all_and_unknown_ones_are_refused_with_those_that_there_are() {
        for text in ["", ",", "orders", "orders:write,", "Admin", "stats:write"] {
            let message = text.parse::<Scopes>().unwrap_err().to_string();
            for scope in Scope::ALL {
                assert!(message.contains(scope.as_str()), "{message}");
            }
        }
    }

    #[test]
    fn write_implies_read_of_the_same_alone_and_admin_implies_all() {
        assert!(scopes("orders:write").allow(Scope::OrdersRead));
        assert!(!scopes("orders:read").allow(Scope::OrdersWrite));
        assert!(!scopes("orders:write").allow(Scope::PaymentsRead));
        assert!(!scopes("orders:write").allow(Scope::Admin));
        assert!(!scopes("ledger:read").allow(Scope::Admin));
        assert!(scopes("stats:read,refunds:write").allow(Scope::RefundsRead));
        for scope in Scope::ALL {
            assert!(scopes("admin").allow(scope));
        }
    }
}
