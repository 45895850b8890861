//! `hookonce openapi`: prints the OpenAPI document.

use super::CommandError;
use crate::web::openapi;

pub fn run() -> Result<(), CommandError> {
    let document = openapi::document();
    println!(
        "{}",
        document.to_pretty_json().map_err(CommandError::failed)?
    );
    Ok(())
}
