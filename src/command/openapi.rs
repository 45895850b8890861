//! `hookonce openapi`: prints the OpenAPI document.

use super::{CommandError, output::Output};
use crate::web::openapi;

pub fn run() -> Result<(), CommandError> {
    let document = openapi::document();
    Output::default().line(document.to_pretty_json().map_err(CommandError::failed)?)
}
