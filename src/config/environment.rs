//! Where the configuration is read from: the environment as it was when the process began, and `.env` as it is when it
//! is read. Nothing else reads either.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::{OsStr, OsString},
    fs,
    io::ErrorKind,
};

use super::{Config, ConfigError};
use crate::secret::Secret;

/// In the working directory.
const DOTENV: &str = ".env";

/// What the process was started with. It stays as it is: nobody outside can change it.
pub struct Environment(HashMap<OsString, OsString>);

/// A configuration with the values that it was made of.
pub struct LoadedConfig {
    /// What they say.
    pub config: Config,
    /// All that were asked for; any of them may be a secret.
    values: BTreeMap<&'static str, Option<Secret>>,
    has_file: bool,
}

/// What `.env` says, in its order. The first of two counts.
type File = Vec<(String, String)>;

impl Environment {
    /// That of this process; to be asked for before anything changes it.
    pub fn of_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// Reads all variables. What is set in the environment wins over `.env`, also where it is empty.
    ///
    /// # Errors
    /// Where a value cannot be used; the message names the variable, what is allowed, and the value where that cannot
    /// hold a secret.
    pub fn read(&self) -> Result<LoadedConfig, ConfigError> {
        let file = read_file()?;
        let has_file = file.is_some();
        let mut listed = HashMap::new();
        for (name, value) in file.unwrap_or_default() {
            listed.entry(name).or_insert(value);
        }
        let mut values = BTreeMap::new();
        let config = Config::from_variables(|variable| {
            let value = match self.0.get(OsStr::new(variable)) {
                Some(own) => match own.to_str() {
                    Some(own) => Some(own.to_owned()),
                    None => return Err(ConfigError::NotUnicode(variable)),
                },
                None => listed.get(variable).cloned(),
            };
            values.insert(variable, value.clone().map(Secret::new));
            Ok(value)
        })?;
        Ok(LoadedConfig {
            config,
            values,
            has_file,
        })
    }

    /// Passes on to the libraries of this process what `.env` sets beside the variables of this program, as `PGPASSFILE`
    /// and `SSL_CERT_FILE`. Its own are left out, and those that its values refer to: what is in the environment wins, and
    /// could not be changed any more. To be called while the process has one thread.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn export_rest(&self, ours: &LoadedConfig) -> Result<(), ConfigError> {
        let text = fs::read_to_string(DOTENV).unwrap_or_default();
        let is_referred_to = |name: &str| {
            let forms = [format!("${name}"), format!("${{{name}}}")];
            forms.iter().any(|form| text.contains(form))
        };
        let file = read_file()?.unwrap_or_default();
        let rest = file
            .into_iter()
            .filter(|(name, _)| !ours.knows(name) && !is_referred_to(name));
        let text: String = rest
            .map(|(name, value)| format!("{name}=\"{}\"\n", escaped(&value)))
            .collect();
        dotenvy::from_read(text.as_bytes()).map_err(unreadable)
    }
}

impl LoadedConfig {
    /// The variables that have other values in `new`. `None` where `.env` is not there any more, which is more likely an
    /// accident than the wish to go on without.
    pub fn changes(&self, new: &Self) -> Option<Vec<&'static str>> {
        if self.has_file && !new.has_file {
            return None;
        }
        let names = self.values.keys().copied();
        Some(
            names
                .filter(|name| self.values.get(name) != new.values.get(name))
                .collect(),
        )
    }

    /// Takes over what `new` says of a variable.
    pub fn take_value(&mut self, variable: &'static str, new: &Self) {
        let value = new.values.get(variable).cloned().flatten();
        self.values.insert(variable, value);
    }

    fn knows(&self, variable: &str) -> bool {
        self.values.contains_key(variable)
    }
}

fn read_file() -> Result<Option<File>, ConfigError> {
    let bytes = match fs::read(DOTENV) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ConfigError::DotEnv(error.to_string())),
    };
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let pairs = dotenvy::from_read_iter(text);
    let pairs: Result<File, _> = pairs.collect();
    pairs.map(Some).map_err(unreadable)
}

/// A parse error quotes its line, which may hold a secret.
fn unreadable(error: dotenvy::Error) -> ConfigError {
    ConfigError::DotEnv(match error {
        dotenvy::Error::LineParse(_, at) => format!("a line does not parse at character {at}"),
        error => error.to_string(),
    })
}

/// As a value between double quotes.
fn escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '\n' => escaped.push_str("\\n"),
            '\\' | '"' | '$' => escaped.extend(['\\', c]),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_passed_on_is_read_as_it_was() {
        let values = [
            "a b",
            "$HOME ${X} \\ \"q\" 'q'",
            "two\nlines",
            "",
            "#x",
            "é",
        ];
        for value in values {
            let line = format!("NAME=\"{}\"", escaped(value));
            let read: Vec<_> = dotenvy::from_read_iter(line.as_bytes()).collect();
            let (name, read) = read[0].as_ref().unwrap();
            assert_eq!((name.as_str(), read.as_str()), ("NAME", value));
        }
    }
}
