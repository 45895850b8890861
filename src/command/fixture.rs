//! A recorded webhook: the provider's raw body, in a file of the folder that has the provider's name.

use include_dir::{Dir, include_dir};
use std::{
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::provider::{
    self, Delivery, Provider, REGISTRY,
    recording::Recording,
    refusal::{Malformed, Refusal},
    request::Request,
};

/// The fixtures of the repository, for a program that is installed without it.
pub static EMBEDDED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/fixtures");

/// The file of a folder that names what becomes of its fixtures.
pub const OUTCOMES: &str = "outcomes.json";

/// A request with who sent it.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// Where it was found.
    pub path: PathBuf,
    /// Who sent it.
    pub provider: &'static dyn Provider,
    /// What was sent.
    pub recording: Recording,
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
                .filter(|path| path.is_dir() || provider(path).is_some());
            return Ok(inside
                .map(|path| Self::load(path))
                .collect::<Result<Vec<_>, _>>()?
                .concat());
        }
        let fixture = Self::new(path, std::fs::read(path)?)
            .ok_or_else(|| io::Error::other(format!("not a fixture: those are {}", patterns())))?;
        Ok(vec![fixture])
    }

    fn new(path: &Path, body: Vec<u8>) -> Option<Self> {
        let provider = provider(path)?;
        let file_name = path.file_name()?.to_str()?;
        Some(Self {
            path: path.to_owned(),
            provider,
            recording: provider.recording(file_name, body)?,
        })
    }

    /// What it tells.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn delivery(&self) -> Result<Delivery, Refusal> {
        let Recording {
            route,
            content_type,
            headers,
            body,
        } = &self.recording;
        let mut headers = headers.clone();
        headers.push(("Content-Type", (*content_type).to_owned()));
        let request = Request::new(route.path, &headers, body, SystemTime::now());
        self.provider.parse(&request, route)
    }

    /// The same with new ids, so that it tells new events.
    ///
    /// # Errors
    /// Where the body cannot be read.
    pub fn renewed(&self) -> Result<Self, Malformed> {
        Ok(Self {
            recording: self.provider.renew(&self.recording)?,
            ..self.clone()
        })
    }
}

/// What the names of fixtures look like.
pub fn patterns() -> String {
    let patterns = REGISTRY.iter().flat_map(|provider| {
        let endings = provider.fixture_endings().iter();
        endings.map(move |ending| format!("{}/*.{ending}", provider.name()))
    });
    patterns.collect::<Vec<_>>().join(", ")
}

/// Whose request a file holds: told by its folder and its ending.
fn provider(path: &Path) -> Option<&'static dyn Provider> {
    let folder = path.parent()?.file_name()?.to_str()?;
    let ending = path.extension()?.to_str()?;
    let provider = provider::find(folder)?;
    let is_fixture = provider.fixture_endings().contains(&ending) && !path.ends_with(OUTCOMES);
    is_fixture.then_some(provider)
}
