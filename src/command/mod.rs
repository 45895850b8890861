//! The command line: one file for each subcommand. Results go to standard output, everything else to standard error.

mod backup;
mod catalog;
mod check;
mod cleanup;
mod demo;
mod explain;
mod fixture;
mod migrate;
mod openapi;
mod output;
mod reload;
mod replay;
mod restore;
mod retailer;
mod sender;
mod serve;
mod stats;
mod token;

use clap::{Parser, Subcommand};
use std::{error::Error, fmt, process::ExitCode};

use crate::{
    app::StartError,
    causes::with_causes,
    config::{Config, ConfigError, Environment, LoadedConfig},
    logging::{self, LogFormat},
    shop::error::ShopError,
    store::{StoreError, backup::BackupError},
};

/// Receives webhooks and acts on each exactly once.
///
/// Everything is configured by environment variables, or by a .env file in this directory; .env.example lists them.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Receive webhooks (the default)
    Serve,
    /// Bring the database's schema up to date, and stop
    Migrate,
    /// Show the whole of it with nothing set up: every fixture sent twice to a temporary service
    Demo(demo::Args),
    /// Send recorded webhooks, signed with the configured secrets
    Replay(replay::Args),
    /// Say why the signature of a saved request fits or does not
    Explain(explain::Args),
    /// Delete what has expired now, and print what came of it
    Cleanup,
    /// Print what came and what came of it, how much there is, and what is the matter
    Stats(stats::Args),
    /// Copy the whole database to a file, while it is served
    Backup(backup::Args),
    /// Bring a backup back; what it replaces is kept
    Restore(restore::Args),
    /// Read all of the database, and say what is wrong with it
    Check,
    /// Print the OpenAPI document
    Openapi,
    /// Add or list the retailers whose customers write
    #[command(subcommand)]
    Retailer(retailer::Command),
    /// Bring in what a retailer sells
    #[command(subcommand)]
    Catalog(catalog::Command),
    /// Make, list and revoke the tokens of the API's clients
    #[command(subcommand)]
    Token(token::Command),
}

/// Why a command did not do its work.
#[derive(Debug)]
enum CommandError {
    /// It was called or configured wrongly: exit code 2.
    Usage(Box<dyn Error>),
    /// It failed: exit code 1.
    Failed(Box<dyn Error>),
}

impl CommandError {
    fn usage(error: impl Into<Box<dyn Error>>) -> Self {
        Self::Usage(error.into())
    }

    fn failed(error: impl Into<Box<dyn Error>>) -> Self {
        Self::Failed(error.into())
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Failed(_) => ExitCode::from(1),
            Self::Usage(_) => ExitCode::from(2),
        }
    }
}

impl fmt::Display for CommandError {
    /// The error with what caused it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Usage(error) | Self::Failed(error)) = self;
        f.write_str(&with_causes(&**error))
    }
}

impl From<ConfigError> for CommandError {
    fn from(error: ConfigError) -> Self {
        Self::usage(error)
    }
}

impl From<ShopError> for CommandError {
    /// Without the pointers into a body that was never sent.
    fn from(error: ShopError) -> Self {
        match error {
            ShopError::Invalid(errors) => {
                let messages: Vec<_> = errors.into_iter().map(|error| error.message).collect();
                Self::failed(messages.join("; "))
            }
            other => Self::failed(other),
        }
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        Self::failed(error)
    }
}

impl From<BackupError> for CommandError {
    fn from(error: BackupError) -> Self {
        Self::failed(error)
    }
}

impl From<StartError> for CommandError {
    fn from(error: StartError) -> Self {
        Self::failed(error)
    }
}

/// Runs the program: exit code 0 done, 1 failed, 2 wrong usage or configuration.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    // Also where it panics.
    let _log = FinishedLog;
    let environment = Environment::of_process();
    let read = environment.read().and_then(|reading| {
        environment.export_rest(&reading)?;
        Ok(reading)
    });
    let format = read
        .as_ref()
        .map_or(LogFormat::Text, |reading| reading.config.log_format);
    let ended = match read {
        Ok(reading) => {
            let system = actix_web::rt::System::new();
            let ended = system.block_on(execute(cli, environment, reading));
            // A service has waited for its work, as long as it may. The end of the system would wait on, for threads that
            // wait for a database which may never answer.
            std::mem::forget(system);
            ended
        }
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::report(format, &error.to_string());
            error.exit_code()
        }
    }
}

/// Lets the log be written to its end.
struct FinishedLog;

impl Drop for FinishedLog {
    fn drop(&mut self) {
        logging::finish();
    }
}

async fn execute(
    cli: Cli,
    environment: Environment,
    reading: LoadedConfig,
) -> Result<(), CommandError> {
    let config = reading.config.clone();
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => serve::run(environment, reading).await,
        Command::Migrate => migrate::run(config).await,
        Command::Demo(args) => demo::run(args, config).await,
        Command::Replay(args) => replay::run(args, config).await,
        Command::Explain(args) => explain::run(&args, &config),
        Command::Cleanup => cleanup::run(config).await,
        Command::Stats(args) => stats::run(args, config).await,
        Command::Backup(args) => backup::run(args, config).await,
        Command::Restore(args) => restore::run(args, config).await,
        Command::Check => check::run(config).await,
        Command::Openapi => openapi::run(),
        Command::Retailer(command) => retailer::run(command, config).await,
        Command::Catalog(command) => catalog::run(command, config).await,
        Command::Token(command) => token::run(command, config).await,
    }
}

/// Logs to standard error as configured.
fn init_log(config: &Config) {
    logging::init(&config.log_filter, config.log_format);
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_parses_as_documented() {
        Cli::command().debug_assert();
        for line in [
            "hookonce",
            "hookonce serve",
            "hookonce migrate",
            "hookonce openapi",
            "hookonce cleanup",
            "hookonce stats",
            "hookonce stats --json --window 720h",
            "hookonce backup backup.db",
            "hookonce backup -",
            "hookonce restore backup.db",
            "hookonce check",
            "hookonce demo --keep",
            "hookonce replay fixtures a.form --url http://127.0.0.1:1 --key K --times 2 --concurrency 3 --unique --dry-run",
            "hookonce retailer add --name N --phone +14155238886 --phone-number-id 1 --currency USD",
            "hookonce explain saved --peer 10.0.0.1",
            "hookonce explain -",
            "hookonce retailer list",
            "hookonce catalog import c.csv --retailer 0192f0c1-2d3e-7abc-8def-0123456789ab",
            "hookonce token create --name pos --scope orders:write,stats:read",
            "hookonce token create --name pos --scope admin --retailer 0192f0c1-2d3e-7abc-8def-0123456789ab",
            "hookonce token create --client 0192f0c1-2d3e-7abc-8def-0123456789ab --scope orders:read",
            "hookonce token list",
            "hookonce token revoke 0192f0c1-2d3e-7abc-8def-0123456789ab",
        ] {
            let parsed = Cli::try_parse_from(line.split(' '));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }

    #[test]
    fn wrong_usage_is_refused() {
        for line in [
            "hookonce retailer add --name N --phone 123 --currency USD",
            "hookonce retailer add --name N --phone +14155238886 --currency XXX",
            "hookonce replay",
            "hookonce replay f --times 0",
            "hookonce stats --window 31d",
            "hookonce explain",
            "hookonce explain f --peer proxy",
            "hookonce catalog import c.csv --retailer 7",
            "hookonce token create --scope admin",
            "hookonce token create --name pos",
            "hookonce token create --name pos --scope orders",
            "hookonce token create --name pos --scope admin --client 0192f0c1-2d3e-7abc-8def-0123456789ab",
            "hookonce token revoke pos",
            "hookonce backup",
            "hookonce restore",
            "hookonce nonsense",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
