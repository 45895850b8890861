//! A recorded webhook: the provider's raw body, in `<provider>/<name>.form` or `.json`.

use include_dir::{Dir, include_dir};
use std::{
    io,
    path::{Path, PathBuf},
};

use crate::provider::{
    Delivery, Malformed, Provider,
    twilio::{self, form::Form},
    whatsapp,
};

/// The fixtures of the repository, for a program that is installed without it.
pub static EMBEDDED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/fixtures");

/// A body with who sent it.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// Where it was found.
    pub path: PathBuf,
    /// Who sent it.
    pub provider: Provider,
    /// Whether it is a form, or JSON.
    pub is_form: bool,
    /// The body, raw.
    pub body: Vec<u8>,
}

impl Fixture {
    /// All of the repository's, by path.
    pub fn embedded() -> Vec<Self> {
        let folders = EMBEDDED.dirs();
        let files = folders.flat_map(|folder| folder.files());
        let mut fixtures: Vec<_> = files
            .filter_map(|file| Self::new(file.path(), file.contents().to_vec()))
            .collect();
        fixtures.sort_by(|a, b| a.path.cmp(&b.path));
        fixtures
    }

    /// Those of a file, or of a folder and the folders in it, by path.
    ///
    /// # Errors
    /// Where something cannot be read, or a file that was named is no fixture.
    pub fn load(path: &Path) -> io::Result<Vec<Self>> {
        if path.is_dir() {
            let mut paths = std::fs::read_dir(path)?
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<Result<Vec<_>, _>>()?;
            paths.sort();
            let inside = paths
                .iter()
                .filter(|path| path.is_dir() || kind(path).is_some());
            return Ok(inside
                .map(|path| Self::load(path))
                .collect::<Result<Vec<_>, _>>()?
                .concat());
        }
        let fixture = Self::new(path, std::fs::read(path)?).ok_or_else(|| {
            io::Error::other(
                "not a fixture: those are twilio/*.form, twilio/*.json and whatsapp/*.json",
            )
        })?;
        Ok(vec![fixture])
    }

    fn new(path: &Path, body: Vec<u8>) -> Option<Self> {
        let (provider, is_form) = kind(path)?;
        Some(Self {
            path: path.to_owned(),
            provider,
            is_form,
            body,
        })
    }

    /// What the body tells.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn delivery(&self) -> Result<Delivery, Malformed> {
        match (self.provider, self.is_form) {
            (Provider::Twilio, true) => twilio::parse_form(&Form::parse(&self.body)?),
            (Provider::Twilio, false) => twilio::parse_json(&self.body),
            (Provider::WhatsApp, _) => whatsapp::parse(&self.body),
        }
    }

    /// The same with new ids, so that it tells new events.
    ///
    /// # Errors
    /// Where the body cannot be read.
    pub fn renewed(&self) -> Result<Self, Malformed> {
        let body = match (self.provider, self.is_form) {
            (Provider::Twilio, true) => twilio::renew::form(&self.body)?,
            (Provider::Twilio, false) => twilio::renew::json(&self.body)?,
            (Provider::WhatsApp, _) => whatsapp::renew::json(&self.body)?,
        };
        Ok(Self {
            body,
            ..self.clone()
        })
    }

    /// The path of the route that it is for.
    pub fn route(&self) -> &'static str {
        let is_status = || {
            self.delivery()
                .is_ok_and(|d| d.webhook_type == "twilio_status")
        };
        match self.provider {
            Provider::WhatsApp => "/webhooks/whatsapp",
            Provider::Twilio if is_status() => "/webhooks/twilio/status",
            Provider::Twilio => "/webhooks/twilio",
        }
    }
}

/// Whose body a file holds, and whether it is a form: told by its folder and its ending.
fn kind(path: &Path) -> Option<(Provider, bool)> {
    let folder = path.parent()?.file_name()?.to_str()?;
    match (folder, path.extension()?.to_str()?) {
        ("twilio", "form") => Some((Provider::Twilio, true)),
        ("twilio", "json") => Some((Provider::Twilio, false)),
        ("whatsapp", "json") => Some((Provider::WhatsApp, false)),
        _ => None,
    }
}
