//! The log: one line for each record on standard error, as text for people or as JSON for machines. Knows nothing of
//! what is logged, so it trusts none of it: nothing in a record can begin a line or move the cursor of a terminal.
//!
//! Nobody who logs waits: a thread of its own writes what is in a bounded queue. What finds no room there, since nobody
//! reads or the disk is full, is dropped and counted; so is what repeats.

mod line;
mod queue;
mod repeats;

use arc_swap::ArcSwapOption;
use env_logger::{Target, WriteStyle};
use log::{Level, Log as _, Metadata, Record};
use serde_json::json;
use std::{
    backtrace::{Backtrace, BacktraceStatus},
    fmt,
    io::{self, Write as _},
    panic::PanicHookInfo,
    str::FromStr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::printable::printable;
use line::{json, text};
use queue::Queue;
use repeats::{EndedWindow, LineKind, Repeats};

pub use line::Fields;

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `[time LEVEL target] message name=value …`
    #[default]
    Text,
    /// One object: `timestamp`, `level`, `target`, `message`, and the fields as its members.
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("allowed is text or json"),
        }
    }
}

/// How many lines are not in the log that were to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// They found no room in the queue, or could not be written.
    pub dropped: u64,
    /// They said again what others had said.
    pub repeated: u64,
}

/// How long the end of the process waits for what is still to be written.
const FAREWELL: Duration = Duration::from_millis(500);

/// How often the writer looks what has been repeated for long enough.
const TICK: Duration = Duration::from_secs(1);

/// Standard error is one for the process, and so is what writes there.
static LOG: OnceLock<Log> = OnceLock::new();

/// What the `log` crate hands all records to.
#[derive(Default)]
struct Log {
    queue: Queue,
    repeats: Repeats,
    repeated: AtomicU64,
    /// Filters and formats; none before the start.
    logger: ArcSwapOption<env_logger::Logger>,
}

/// Logs to standard error what the filter lets through; panics too.
pub fn init(filter: &str, format: LogFormat) {
    let log = shared();
    set_filter(filter, format);
    // Fails where it was set before, to the same.
    let _ = log::set_logger(log);
    std::panic::set_hook(Box::new(log_panic));
}

/// Lets something else through from now on.
pub fn set_filter(filter: &str, format: LogFormat) {
    let logger = logger(filter, format);
    log::set_max_level(logger.filter());
    shared().logger.store(Some(Arc::new(logger)));
}

fn logger(filter: &str, format: LogFormat) -> env_logger::Logger {
    env_logger::Builder::new()
        .parse_filters(filter)
        .target(Target::Pipe(Box::new(ToQueue)))
        .write_style(WriteStyle::from(
            anstream::AutoStream::choice(&io::stderr()),
        ))
        .format(move |to, record| match format {
            LogFormat::Text => {
                let (level, style) = (record.level(), to.default_level_style(record.level()));
                let (time, target) = (to.timestamp_millis(), printable(record.target()));
                let line = text(record);
                writeln!(to, "[{time} {style}{level:<5}{style:#} {target}] {line}")
            }
            LogFormat::Json => {
                let line = json(&to.timestamp_millis().to_string(), record)?;
                writeln!(to, "{line}")
            }
        })
        .build()
}

/// Takes each line whole.
struct ToQueue;

impl io::Write for ToQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        shared().queue.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn shared() -> &'static Log {
    let mut is_new = false;
    let log = LOG.get_or_init(|| {
        is_new = true;
        Log::default()
    });
    if is_new {
        let writer = thread::Builder::new().name("log".to_owned());
        // Without it everything is dropped, which is better than no service.
        let _ = writer.spawn(|| log.write());
    }
    log
}

impl Log {
    /// Writes, for as long as the process lives.
    fn write(&self) {
        loop {
            let dropped = self.queue.write(TICK, &mut io::stderr());
            if dropped > 0 {
                let fields = Fields::from([("dropped", json!(dropped))]);
                let message = format_args!("{dropped} lines of the log were dropped here");
                self.say(Level::Warn, module_path!(), message, &fields);
            }
            self.tell(self.repeats.ended(Instant::now()));
        }
    }

    fn tell(&self, all: Vec<EndedWindow>) {
        for ended in all {
            let (count, seconds) = (ended.held, ended.over.as_secs().max(1));
            let fields = Fields::from([("repeated", json!(count))]);
            let message = format_args!(
                "said {count} more times in the last {seconds} s: {}",
                ended.message
            );
            self.say(ended.level, &ended.target, message, &fields);
        }
    }

    /// Logs a record that is never one too many.
    fn say(&self, level: Level, target: &str, message: fmt::Arguments<'_>, fields: &Fields) {
        if let Some(logger) = &*self.logger.load() {
            logger.log(
                &Record::builder()
                    .level(level)
                    .target(target)
                    .module_path(Some(target))
                    .args(message)
                    .key_values(fields)
                    .build(),
            );
        }
    }

    /// Whether a line is to be said, or said so much already that it is only counted.
    fn admits(
        &self,
        level: Level,
        target: &str,
        kind: LineKind<'_>,
        message: fmt::Arguments<'_>,
    ) -> bool {
        if level > Level::Warn {
            return true;
        }
        let admits = self
            .repeats
            .admits(level, target, kind, message, Instant::now());
        if !admits {
            self.repeated.fetch_add(1, Ordering::Relaxed);
        }
        admits
    }
}

impl log::Log for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let logger = self.logger.load();
        logger
            .as_ref()
            .is_some_and(|logger| logger.enabled(metadata))
    }

    fn log(&self, record: &Record<'_>) {
        let logger = self.logger.load();
        let Some(logger) = logger.as_ref().filter(|logger| logger.matches(record)) else {
            return;
        };
        let kind = LineKind::Place(record.file(), record.line());
        if self.admits(record.level(), record.target(), kind, *record.args()) {
            logger.log(record);
        }
    }

    fn flush(&self) {
        self.tell(self.repeats.all(Instant::now()));
        self.queue.flush(FAREWELL);
    }
}

/// Logs a record with fields. Of warnings and errors of one `kind`, which nothing of a single request is in, a few are
/// said in a minute, and the others counted; their fields are not even asked for.
pub fn log(
    level: Level,
    target: &str,
    kind: fmt::Arguments<'_>,
    message: fmt::Arguments<'_>,
    fields: impl FnOnce() -> Fields,
) {
    if level > log::max_level() {
        return;
    }
    let metadata = Metadata::builder().level(level).target(target).build();
    let log = shared();
    if log.enabled(&metadata) && log.admits(level, target, LineKind::Named(kind), message) {
        log.say(level, target, message, &fields());
    }
}

/// Says on standard error why a command ends, in the form of the log.
pub fn report(format: LogFormat, failure: &str) {
    match format {
        LogFormat::Text => {
            // A failure may be told in several lines.
            let lines: Vec<_> = failure.lines().map(printable).collect();
            note(&format!("hookonce: {}", lines.join("\n")));
        }
        LogFormat::Json => {
            let message = format_args!("{failure}");
            let record = Record::builder()
                .level(Level::Error)
                .target("hookonce")
                .args(message)
                .build();
            let now = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
            note(&json(&now, &record).unwrap_or_default());
        }
    }
}

/// Writes a line to standard error as it is, for whoever called a command.
pub fn note(line: &str) {
    shared().queue.push(format!("{line}\n").as_bytes());
}

/// Waits for what is still to be written, but not for long: nobody may be reading. For the end of the process.
pub fn finish() {
    if let Some(log) = LOG.get() {
        log.flush();
    }
}

/// How many lines are not in the log of this process so far.
pub fn missing() -> Missing {
    LOG.get().map_or(Missing::default(), |log| Missing {
        dropped: log.queue.dropped(),
        repeated: log.repeated.load(Ordering::Relaxed),
    })
}

/// The standard library would write several lines, past the log.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let place = panic.location().map(ToString::to_string);
    let backtrace = Backtrace::capture();
    let trace = match backtrace.status() {
        BacktraceStatus::Captured => format!("\n{backtrace}"),
        _ => String::new(),
    };
    log::error!(
        "panicked at {}: {}{trace}",
        place.unwrap_or_default(),
        message.unwrap_or("no message"),
    );
}
