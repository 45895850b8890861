//! `hookonce restore`: brings a backup back, while nothing serves.

use clap::Parser;
use std::path::{Path, PathBuf};

use super::{CommandError, init_log};
use crate::{
    config::Config,
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
    if let Some(kept) = restored.kept {
        println!("what was there is kept as {}", kept.display());
    }
    println!("{} is restored", config.database_url);
    Ok(())
}
