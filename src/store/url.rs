//! Which database, read from `DATABASE_URL`.

use std::{borrow::Cow, fmt, path::PathBuf, str::FromStr};

use super::StoreError;

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
        /// Where the tables are; none: where the connection's own search path leads.
        schema: Option<SchemaName>,
    },
}

impl DatabaseUrl {
    /// The error of a build that has no such database.
    pub(super) fn not_built(&self) -> StoreError {
        StoreError::NotBuilt(match self {
            Self::Sqlite { .. } => "sqlite",
            Self::Postgres { .. } => "postgres",
        })
    }

    /// The same, with the tables in a schema of their own.
    ///
    /// # Errors
    /// For SQLite, which has no schemas.
    pub fn in_schema(self, schema: SchemaName) -> Result<Self, &'static str> {
        match self {
            Self::Sqlite { .. } => Err("allowed with PostgreSQL alone: SQLite has no schemas"),
            Self::Postgres { url, .. } => Ok(Self::Postgres {
                url,
                schema: Some(schema),
            }),
        }
    }
}

/// The name of a PostgreSQL schema, which nobody needs to quote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaName(String);

impl SchemaName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SchemaName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        /// PostgreSQL cuts a longer one.
        const MOST: usize = 63;
        let may_begin = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let is_name = may_begin && text.len() <= MOST && text.chars().all(is_plain);
        match is_name && !text.starts_with("pg_") {
            true => Ok(Self(text.to_owned())),
            false => Err(
                "a name of a-z, 0-9 and _, at most 63 of them, that begins with no digit and not with pg_",
            ),
        }
    }
}

impl FromStr for DatabaseUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("sqlite://") {
            return match path {
                "" => Err("sqlite:// must be followed by a path or :memory:"),
                ":memory:" => Ok(Self::Sqlite { path: None }),
                path if has_credentials(&decoded(path)) => {
                    Err("sqlite:// is followed by a path, not by a user, a password and a host")
                }
                path => Ok(Self::Sqlite {
                    path: Some(path.into()),
                }),
            };
        }
        if !POSTGRES.iter().any(|scheme| text.starts_with(scheme)) {
            return Err("allowed are sqlite://PATH, sqlite://:memory: and postgres://…");
        }
        match shown(text) {
            Some(_) => Ok(Self::Postgres {
                url: text.into(),
                schema: None,
            }),
            None => Err(
                "allowed is postgres://USER:PASSWORD@HOST:PORT/DATABASE?NAME=VALUE; in a user and a password write \
                 % as %25, @ as %40, / as %2F and : as %3A",
            ),
        }
    }
}

const POSTGRES: [&str; 2] = ["postgres://", "postgresql://"];

/// Whether a path looks like the address of a server.
fn has_credentials(path: &str) -> bool {
    let ends = (path.find(':'), path.rfind('@'));
    matches!(ends, (Some(begin), Some(end)) if begin < end)
}

/// What of PostgreSQL's address may be shown: its hosts and the database. `None` where a part of the password, which was not
/// encoded as it must be, might be taken for one of them. Reads as libpq does (`conninfo_uri_parse_options`), which shows
/// in its errors what it takes for a host, a port, a parameter's name or something that is encoded.
fn shown(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    if !is_decodable(rest) {
        return None;
    }
    // Credentials end at the first @ before any slash.
    let end = rest
        .find(['@', '/'])
        .filter(|&at| rest[at..].starts_with('@'));
    let (credentials, rest) = end.map_or(("", rest), |at| (&rest[..at], &rest[at + 1..]));
    let (address, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let (hosts, database) = address.split_once('/').unwrap_or((address, ""));
    let (user, _) = credentials.split_once(':').unwrap_or((credentials, ""));
    let hosts: Vec<_> = hosts.split(',').map(shown_host).collect::<Option<_>>()?;
    let mut parameters = parameters.split('&').filter(|one| !one.is_empty());
    let is_plain = !decoded(user).contains([':', ';', '/', ' '])
        && !database.contains(['@', ':', '='])
        && parameters.all(is_parameter);
    is_plain.then(|| format!("postgres://{}/{database}", hosts.join(",")))
}

/// A host with its port.
fn shown_host(text: &str) -> Option<String> {
    const PORT: &str = "5432";
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => (address, PORT),
        Some((address, rest)) => (address, rest.strip_prefix(':')?),
        None => text.split_once(':').unwrap_or((text, PORT)),
    };
    let is_bracketed = text.starts_with('[');
    let decoded = decoded(host);
    let in_name = |c: char| c.is_alphanumeric() || "-._".contains(c);
    let is_host = match is_bracketed {
        true => host
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ":.%".contains(c)),
        // A folder with a socket begins with a slash.
        false => decoded
            .chars()
            .all(|c| in_name(c) || decoded.starts_with('/') && c == '/'),
    };
    let is_port = port.is_empty() || port.parse::<u16>().is_ok();
    let host = match is_bracketed {
        true => format!("[{host}]"),
        false => host.to_owned(),
    };
    (is_host && is_port).then(|| format!("{host}:{}", if port.is_empty() { PORT } else { port }))
}

fn is_parameter(text: &str) -> bool {
    let Some((name, value)) = text.split_once('=') else {
        return false;
    };
    let may_hold_at = ["user", "password", "host"].contains(&name);
    name.bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        && !value.contains('=')
        && (may_hold_at || !value.contains('@'))
}

/// Whether each % is followed by the number of a byte, and none of them is 0.
fn is_decodable(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| {
        let digits = rest.as_bytes().get(..2).unwrap_or_default();
        digits.len() == 2 && digits.iter().all(u8::is_ascii_hexdigit) && digits != b"00"
    })
}

fn decoded(text: &str) -> Cow<'_, str> {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy()
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite { path: None } => f.write_str("sqlite://:memory:"),
            Self::Sqlite { path: Some(path) } => write!(f, "sqlite://{}", path.display()),
            Self::Postgres { url, .. } => {
                f.write_str(shown(url).as_deref().unwrap_or("postgres://…"))
            }
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
    fn the_name_of_a_schema_needs_no_quotes() {
        for name in ["hooks", "_h2", "a"] {
            assert!(name.parse::<SchemaName>().is_ok(), "{name}");
        }
        for name in [
            "",
            "Hooks",
            "2h",
            "a-b",
            "a;b",
            "a\"b",
            "pg_x",
            &"a".repeat(64),
        ] {
            assert!(name.parse::<SchemaName>().is_err(), "{name}");
        }
        let sqlite: DatabaseUrl = "sqlite://a.db".parse().unwrap();
        assert!(sqlite.in_schema("hooks".parse().unwrap()).is_err());
    }

    #[test]
    fn an_unknown_scheme_is_refused() {
        for text in ["mysql://x", "hookonce.db", "", "sqlite://", "SQLITE://x"] {
            assert!(text.parse::<DatabaseUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_libpq_takes_is_taken_and_shown_without_credentials() {
        for (url, shown) in [
            (
                "postgres://a,b:5433/shop?sslmode=require",
                "postgres://a:5432,b:5433/shop",
            ),
            ("postgres://u:p:q?#!&,;[]@h/d", "postgres://h:5432/d"),
            ("postgres://u:%40%2f%3a@h", "postgres://h:5432/"),
            (
                "postgresql://shop%40east:p@[2001:db8::1]:5433/d",
                "postgres://[2001:db8::1]:5433/d",
            ),
            (
                "postgres://%2Fvar%2Frun/d",
                "postgres://%2Fvar%2Frun:5432/d",
            ),
            (
                "postgres:///d?host=/var/run&user=shop@h",
                "postgres://:5432/d",
            ),
            ("postgres://h:/d?", "postgres://h:5432/d"),
        ] {
            let parsed: DatabaseUrl = url.parse().expect(url);
            assert_eq!(parsed.to_string(), shown, "{url}");
        }
    }

    #[test]
    fn an_address_in_which_a_password_may_be_taken_for_something_else_is_refused() {
        for url in [
            "postgres://u:a@SECRET@h/d",
            "postgres://u:SECRET/x@h/d",
            "postgres://u:/SECRET@h/d",
            "postgres://u:5/SECRET@h/d",
            "postgres://u:SECRET?x/y@h/d",
            "postgres://u:5?SECRET/y@h/d",
            "postgres://u:5?x=SECRET/y@h/d",
            "postgres://u:SECRET%zz@h/d",
            "postgres://u:SECRET%0@h/d",
            "postgres://u:SECRET%@h/d",
            "postgres://u:SECRET%00@h/d",
            "postgres://u%3ASECRET@h/d",
            "postgres://u;SECRET@h/d",
            "postgres://u SECRET@h/d",
            "postgres://u:SECRET",
            "postgres://u:SECRET,h/d",
            "postgres://h/d?SECRET",
            "postgres://h/d?password:SECRET",
            "postgres:/u:SECRET@h/d",
            "postgres:u:SECRET@h/d",
            "postgres//u:SECRET@h/d",
            "host=h password=SECRET",
            "u:SECRET@h/d",
            "sqlite://u:SECRET@h/d",
            "sqlite://u:SE/CRET@h/d",
            "sqlite://u%3ASECRET@h/d",
        ] {
            let parsed = url.parse::<DatabaseUrl>();
            let parsed = parsed.map(|url| url.to_string());
            assert!(parsed.is_err(), "{url}: {parsed:?}");
        }
    }

    #[test]
    fn a_parameter_is_a_small_name_and_one_value() {
        for (text, is) in [
            ("sslmode=require", true),
            ("connect_timeout=", true),
            ("user=a@b", true),
            ("password=a@b", true),
            ("host=@a", true),
            ("sslmode=a@b", false),
            ("sslmode=a=b", false),
            ("password=a=b", false),
            ("Ssl=a", false),
            ("ssl-mode=a", false),
            ("sslmode", false),
        ] {
            assert_eq!(is_parameter(text), is, "{text}");
        }
    }

    #[test]
    fn a_host_is_a_name_an_address_or_a_folder() {
        for (text, shown) in [
            ("db-1.a_b", Some("db-1.a_b:5432")),
            ("db:", Some("db:5432")),
            ("db:65535", Some("db:65535")),
            ("db:65536", None),
            ("db:x", None),
            ("d/b", None),
            ("d%20b", None),
            ("%2Frun%2Fpg", Some("%2Frun%2Fpg:5432")),
            ("[::1]", Some("[::1]:5432")),
            ("[fe80::1%25a]:1", Some("[fe80::1%25a]:1")),
            ("[::1]1", None),
            ("[a-b]", None),
            ("[::1", None),
        ] {
            assert_eq!(shown_host(text).as_deref(), shown, "{text}");
        }
    }
}
