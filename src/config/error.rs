//! Why a variable cannot be used, and what of its value may be shown.

/// A variable that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Its value does not parse.
    #[error("{variable}{shown} cannot be used: {allowed}")]
    Invalid {
        /// Which.
        variable: &'static str,
        /// What it holds, after an equals sign; of an address, which may hold a password, the scheme at most.
        shown: String,
        /// What it may hold.
        allowed: String,
    },
    /// It is not UTF-8.
    #[error("{0} is not UTF-8")]
    NotUnicode(&'static str),
    /// The `.env` file cannot be read.
    #[error("the .env file cannot be read: {0}")]
    DotEnv(String),
}

/// A value as it may be shown. Of an address nobody can tell where the password is, since it does not parse.
pub(super) fn shown(variable: &str, value: &str) -> String {
    let is_host = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
    let is_scheme = |text: &&str| {
        (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase())
    };
    let scheme = value.trim().split_once("://").map(|(scheme, _)| scheme);
    match (variable, scheme.filter(is_scheme)) {
        ("DATABASE_URL" | "REDIS_URL" | "PUBLIC_BASE_URL", Some(scheme)) => {
            format!("={scheme}://…")
        }
        ("PUBLIC_BASE_URL", None) if value.contains('.') && value.chars().all(is_host) => {
            format!("={value:?}")
        }
        ("DATABASE_URL" | "REDIS_URL" | "PUBLIC_BASE_URL", None) => String::new(),
        _ => format!("={value:?}"),
    }
}
