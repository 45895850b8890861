//! `hookonce check`: reads all of the database, and says what is wrong with it.

use super::{CommandError, init_log};
use crate::{config::Config, store::backup};

pub async fn run(config: Config) -> Result<(), CommandError> {
    init_log(&config);
    let checked = backup::check(&config.database_url).await?;
    println!("{}", checked.about);
    for finding in &checked.findings.0 {
        println!("- {finding}");
    }
    match checked.findings.0.is_empty() {
        true => {
            println!("it is sound");
            Ok(())
        }
        false => Err(CommandError::failed(
            "the database is not as it should be; where it is damaged, stop the service and restore a backup",
        )),
    }
}
