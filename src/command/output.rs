//! Standard output, where results go. Nothing else writes there.

use serde::Serialize;
use std::{
    fmt::Display,
    io::{self, ErrorKind, Write as _},
};

use super::CommandError;
use crate::printable::printable_json;

/// Where results go. Whoever reads them may have read enough, as `head` does: then nothing more is written, which is no
/// failure of what the command does.
#[derive(Debug, Default)]
pub struct Output {
    is_unread: bool,
}

impl Output {
    /// Whether nobody reads any more.
    pub fn is_unread(&self) -> bool {
        self.is_unread
    }

    /// Writes a line. What comes from outside must be [printable](crate::printable).
    ///
    /// # Errors
    /// Where it cannot be written, as to a disk that is full.
    pub fn line(&mut self, text: impl Display) -> Result<(), CommandError> {
        if self.is_unread {
            return Ok(());
        }
        let line = format!("{text}\n");
        let mut stdout = io::stdout().lock();
        let written = stdout
            .write_all(line.as_bytes())
            .and_then(|()| stdout.flush());
        match written {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.is_unread = true;
                Ok(())
            }
            Err(error) => Err(CommandError::failed(format!(
                "standard output cannot be written: {error}"
            ))),
            Ok(()) => Ok(()),
        }
    }

    /// Writes a value as a line of JSON.
    ///
    /// # Errors
    /// As [`Self::line`].
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), CommandError> {
        let json = serde_json::to_string(value).map_err(CommandError::failed)?;
        self.line(printable_json(json))
    }
}
