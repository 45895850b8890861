//! `hookonce replay`: sends recorded webhooks, signed, and prints the results.

use futures_util::{StreamExt as _, stream};
use indicatif::ProgressBar;
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use super::{
    CommandError,
    fixture::{self, Fixture},
    init_log,
    output::Output,
    sender::{HttpReply, HttpSender},
};
use crate::{config::Config, printable::printable};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(required = true, help = paths_help())]
    paths: Vec<PathBuf>,
    /// Where the service listens
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// The idempotency key to send along
    #[arg(long)]
    key: Option<String>,
    /// How often each is sent
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    times: u32,
    /// How many are under way at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// Give each sending new message ids, so that it tells new events
    #[arg(long)]
    unique: bool,
    /// Send nothing: print the signed requests as curl commands
    #[arg(long)]
    dry_run: bool,
}

fn paths_help() -> String {
    format!("Fixtures, or folders of them: {}", fixture::patterns())
}

pub async fn run(args: Args, config: Config) -> Result<(), CommandError> {
    init_log(&config);
    let sender = HttpSender::new(&config, &args.url)?;
    let fixtures = load(&args.paths)?;
    let sendings = (0..args.times).flat_map(|_| &fixtures);
    let call = |fixture: &Fixture| {
        let renewed = if args.unique {
            fixture.renewed()
        } else {
            Ok(fixture.clone())
        };
        sender.sign(&renewed.map_err(CommandError::failed)?, args.key.as_deref())
    };
    if args.dry_run {
        let mut output = Output::default();
        for fixture in sendings {
            output.line(call(fixture)?.as_curl())?;
            if output.is_unread() {
                break;
            }
        }
        return Ok(());
    }
    // The first tells what is missing, before anything is sent.
    fixtures.first().map(call).transpose()?;
    let bar = ProgressBar::new(fixtures.len() as u64 * u64::from(args.times));
    let mut answers = stream::iter(sendings)
        .map(|fixture| {
            let signed = call(fixture);
            let sender = &sender;
            async move {
                match signed {
                    Ok(signed) => sender.send(&signed).await.map_err(CommandError::failed),
                    Err(error) => Err(error),
                }
            }
        })
        .buffer_unordered(args.concurrency.into());
    let mut summary = Summary::default();
    while let Some(answer) = answers.next().await {
        summary.add(answer);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let printed = Output::default().line(summary.lines());
    match summary.failed {
        0 => printed,
        failed => Err(CommandError::failed(format!("{failed} requests failed"))),
    }
}

fn load(paths: &[PathBuf]) -> Result<Vec<Fixture>, CommandError> {
    let mut fixtures = Vec::new();
    for path in paths {
        let found = Fixture::load(path)
            .map_err(|error| CommandError::usage(format!("{}: {error}", path.display())))?;
        fixtures.extend(found);
    }
    if fixtures.is_empty() {
        return Err(CommandError::usage("there is no fixture to send"));
    }
    Ok(fixtures)
}

/// The result of all the sendings.
#[derive(Default)]
struct Summary {
    outcomes: BTreeMap<String, u64>,
    latencies: Vec<Duration>,
    failed: u64,
}

impl Summary {
    fn add(&mut self, answer: Result<HttpReply, CommandError>) {
        let outcome = match &answer {
            Ok(received) => outcome(received),
            Err(error) => format!("no answer: {error}"),
        };
        match answer {
            Ok(received) if received.status < 400 => self.latencies.push(received.took),
            _ => self.failed += 1,
        }
        *self.outcomes.entry(outcome).or_default() += 1;
    }

    fn lines(&mut self) -> String {
        let outcomes = self.outcomes.iter();
        let mut lines: Vec<_> = outcomes
            .map(|(outcome, count)| format!("{count:>8}  {}", printable(outcome)))
            .collect();
        self.latencies.sort_unstable();
        let last = self.latencies.len().saturating_sub(1);
        let at = |percent: usize| self.latencies.get(last * percent / 100);
        if let (Some(p50), Some(p95), Some(max)) = (at(50), at(95), at(100)) {
            lines.push(format!(
                "latency   p50 {p50:.1?}  p95 {p95:.1?}  max {max:.1?}"
            ));
        }
        lines.join("\n")
    }
}

fn outcome(received: &HttpReply) -> String {
    match received.replayed.as_deref() {
        Some("true") => format!("{} replayed", received.status),
        Some(_) => format!("{} new", received.status),
        None => {
            let problem: Option<serde_json::Value> = serde_json::from_slice(&received.body).ok();
            let code = problem.and_then(|problem| Some(problem["error_code"].as_str()?.to_owned()));
            format!("{} {}", received.status, code.unwrap_or_default())
        }
    }
}
