//! `hookonce backup`: copies the whole database, beside whatever serves.

use clap::Parser;
use std::{
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
};

use super::{CommandError, init_log, output::Output};
use crate::{
    config::Config,
    logging,
    printable::printable,
    store::backup::{self, Target},
};

#[derive(Debug, Parser)]
pub struct Args {
    /// Where it goes, in place of an earlier one once it is whole; - is standard output
    file: PathBuf,
}

pub async fn run(args: Args, config: Config) -> Result<(), CommandError> {
    init_log(&config);
    let is_output = args.file == Path::new("-");
    if is_output && io::stdout().is_terminal() {
        let why = "a backup is not for a terminal: name a file, or send standard output to one";
        return Err(CommandError::usage(why));
    }
    let target = match is_output {
        true => Target::Output,
        false => Target::File(args.file.clone()),
    };
    let bytes = backup::backup(&config.database_url, target).await?;
    match is_output {
        true => {
            logging::note(&format!("{bytes} bytes, checked"));
            Ok(())
        }
        false => {
            let file = printable(&args.file.to_string_lossy());
            Output::default().line(format_args!("{file}: {bytes} bytes, checked"))
        }
    }
}
