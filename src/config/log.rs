//! What is logged, and how.

use super::{Variable, variable::set};

/// The variables, in the order of `.env.example`.
pub(super) const VARIABLES: &[Variable] = &[
    Variable::new("LOG_FORMAT", |config, text| {
        set(&mut config.log_format, text.parse().map_err(str::to_owned))
    }),
    Variable::new("RUST_LOG", |config, text| {
        set(&mut config.log_filter, log_filter(text))
    })
    .reloaded(),
];

/// Checked here, for the logger would go on with what it understood.
fn log_filter(text: &str) -> Result<String, String> {
    match env_filter::Builder::new().try_parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!(
            "allowed is what env_logger takes, as in info: {error}"
        )),
    }
}
