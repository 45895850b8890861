//! `hookonce check`: reads all of the database, and says what is wrong with it.

use super::{CommandError, init_log, output::Output};
use crate::{config::Config, printable::printable, store::backup};

pub async fn run(config: Config) -> Result<(), CommandError> {
    init_log(&config);
    let checked = backup::check(&config.database_url).await?;
    let mut output = Output::default();
    output.line(printable(&checked.about.to_string()))?;
    for finding in &checked.findings.0 {
        output.line(format_args!("- {}", printable(&finding.to_string())))?;
    }
    match checked.findings.0.is_empty() {
        true => output.line("it is sound"),
        false => Err(CommandError::failed(
            "the database is not as it should be; where it is damaged, stop the service and restore a backup",
        )),
    }
}
