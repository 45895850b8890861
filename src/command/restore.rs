//! `hookonce restore`: brings a backup back, while nothing serves.

use clap::Parser;
use std::path::{Path, PathBuf};

use super::{CommandError, init_log, output::Output};
use crate::{
    config::Config,
    printable::printable,
    store::backup::{self, Source},
};

#[derive(Debug, Parser)]
pub struct Args {
    /// The backup; - is standard input
    file: PathBuf,
}

pub async fn run(args: Args, config: Config) -> Result<(), CommandError> {
    init_log(&config);
    let source = match args.file == Path::new("-") {
        true => Source::Input,
        false => Source::File(args.file),
    };
    let restored = backup::restore(&config.database_url, source).await?;
    let mut output = Output::default();
    if let Some(kept) = restored.kept {
        let kept = printable(&kept.to_string_lossy());
        output.line(format_args!("what was there is kept as {kept}"))?;
    }
    let database = printable(&config.database_url.to_string());
    output.line(format_args!("{database} is restored"))
}
