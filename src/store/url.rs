//! Which database, read from `DATABASE_URL`.

use std::{fmt, path::PathBuf, str::FromStr};

/// A database's address. Shows itself without its password.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// `sqlite://PATH`, or `sqlite://:memory:` (no path).
    Sqlite {
        /// The file.
        path: Option<PathBuf>,
    },
    /// `postgres://…` or `postgresql://…`, as libpq takes it.
    Postgres {
        /// The whole of it, with its password.
        url: String,
    },
}

impl FromStr for DatabaseUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("sqlite://") {
            return match path {
                "" => Err("sqlite:// must be followed by a path or :memory:"),
                ":memory:" => Ok(Self::Sqlite { path: None }),
                path => Ok(Self::Sqlite {
                    path: Some(path.into()),
                }),
            };
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Postgres { url: text.into() });
        }
        Err("allowed are sqlite://PATH, sqlite://:memory: and postgres://…")
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite { path: None } => f.write_str("sqlite://:memory:"),
            Self::Sqlite { path: Some(path) } => write!(f, "sqlite://{}", path.display()),
            Self::Postgres { url } => match ::url::Url::parse(url) {
                // A query may hold a password too.
                Ok(url) => write!(
                    f,
                    "postgres://{}:{}{}",
                    url.host_str().unwrap_or_default(),
                    url.port().unwrap_or(5432),
                    url.path()
                ),
                Err(_) => f.write_str("postgres://…"),
            },
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let url: DatabaseUrl = "postgres://shop:hunter2@db.example:5433/hooks?password=hunter2"
            .parse()
            .unwrap();
        assert_eq!(format!("{url}"), "postgres://db.example:5433/hooks");
        assert_eq!(format!("{url:?}"), "postgres://db.example:5433/hooks");
    }

    #[test]
    fn an_unknown_scheme_is_refused() {
        for text in ["mysql://x", "hookonce.db", "", "sqlite://", "SQLITE://x"] {
            assert!(text.parse::<DatabaseUrl>().is_err(), "{text}");
        }
    }
}
