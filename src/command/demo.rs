//! `hookonce demo`: the main job from end to end, with nothing set up.

use comfy_table::{Table, presets::UTF8_BORDERS_ONLY};
use serde_json::Value;
use std::{
    collections::HashMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};
use tokio::signal::unix::{SignalKind, signal};

use super::{
    CommandError, catalog,
    fixture::{EMBEDDED, Fixture, OUTCOMES},
    init_log,
    output::Output,
    sender::{HttpReply, HttpSender},
};
use crate::{
    app,
    config::Config,
    printable::printable,
    provider::{
        self, ReplyForm,
        setting::{SettingKind, Settings},
    },
    shop::retailers::{self, NewRetailer},
    store::{
        DatabaseUrl, Store, StoreError, events, orders,
        totals::{self, Totals},
        types::Timestamp,
    },
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Go on serving afterwards, and print commands to try
    #[arg(long)]
    keep: bool,
}

/// A fixture with its two answers.
struct DemoResult {
    fixture: Fixture,
    first: HttpReply,
    second: HttpReply,
    outcomes: Vec<String>,
    order_numbers: Vec<String>,
}

pub async fn run(args: Args, config: Config) -> Result<(), CommandError> {
    // A line for each request would bury the table; whoever wants them sets RUST_LOG.
    let is_default = config.log_filter == Config::default().log_filter;
    let mut quiet = config.clone();
    if is_default {
        "error".clone_into(&mut quiet.log_filter);
    }
    init_log(&quiet);
    let folder = tempfile::tempdir().map_err(CommandError::failed)?;
    let config = Config {
        database_url: DatabaseUrl::Sqlite {
            path: Some(folder.path().join("demo.db")),
        },
        bind: SocketAddr::from(([127, 0, 0, 1], 0)),
        providers: random_settings()?,
        ..Config::default()
    };
    let application = app::build(config.clone()).await?;
    let (store, handle) = (application.store(), application.handle());
    let sender = HttpSender::new(&config, &format!("http://{}", application.address))?;
    let server = actix_web::rt::spawn(application.run());
    let mut output = Output::default();
    let outcome = show(&store, &sender, &mut output).await;
    if args.keep && outcome.is_ok() {
        keep_serving(&sender, &handle, &mut output).await?;
    }
    handle.stop(true).await;
    server
        .await
        .map_err(CommandError::failed)?
        .map_err(CommandError::failed)?;
    outcome
}

async fn show(store: &Store, sender: &HttpSender, output: &mut Output) -> Result<(), CommandError> {
    open_shop(store).await?;
    let fixtures = Fixture::embedded();
    let first = send_all(sender, &fixtures).await?;
    let after_first = store.read(totals::count).await?;
    let second = send_all(sender, &fixtures).await?;
    let after_second = store.read(totals::count).await?;
    let mut shown = Vec::new();
    for ((fixture, first), second) in fixtures.into_iter().zip(first).zip(second) {
        shown.push(look_up(store, fixture, first, second).await?);
    }
    output.line(table(&shown))?;
    print_totals(&shown, after_second, output)?;
    let wrong = faults(&shown, after_first, after_second)?;
    if wrong.is_empty() {
        output.line("Everything was sent twice, and nothing happened twice.")
    } else {
        Err(CommandError::failed(wrong.join("\n")))
    }
}

/// The retailer that the fixtures are written to, with its catalogue.
async fn open_shop(store: &Store) -> Result<(), CommandError> {
    let phone = "+14155238886".parse().map_err(CommandError::failed)?;
    let currency = "USD".parse().map_err(CommandError::failed)?;
    let new = NewRetailer {
        name: "Demo Kitchen".to_owned(),
        phone,
        phone_number_id: Some("106540352242922".to_owned()),
        currency,
    };
    let added = store.write(move |conn| retailers::add(conn, new, Timestamp::now()));
    let retailer = added.await?;
    catalog::import_file(store, retailer.id, embedded("catalogue.csv")?).await?;
    Ok(())
}

fn embedded(path: &str) -> Result<&'static [u8], CommandError> {
    EMBEDDED
        .get_file(path)
        .map(|file| file.contents())
        .ok_or_else(|| CommandError::failed(format!("the program was built without {path}")))
}

async fn send_all(
    sender: &HttpSender,
    fixtures: &[Fixture],
) -> Result<Vec<HttpReply>, CommandError> {
    let mut answers = Vec::new();
    for fixture in fixtures {
        let call = sender.sign(fixture, None)?;
        answers.push(sender.send(&call).await.map_err(CommandError::failed)?);
    }
    Ok(answers)
}

/// The outcome of a fixture's events: told in the answer where it reports them, else looked up.
async fn look_up(
    store: &Store,
    fixture: Fixture,
    first: HttpReply,
    second: HttpReply,
) -> Result<DemoResult, CommandError> {
    let (mut outcomes, mut order_numbers) = (Vec::new(), Vec::new());
    let provider = fixture.provider.name();
    let delivery = fixture.delivery().map_err(CommandError::failed)?;
    if delivery.reply_form == ReplyForm::Report {
        let answer: Value = serde_json::from_slice(&first.body).unwrap_or_default();
        for event in answer["events"].as_array().into_iter().flatten() {
            outcomes.extend(event["outcome"].as_str().map(str::to_owned));
            order_numbers.extend(event["order_number"].as_str().map(str::to_owned));
        }
    } else {
        for event in delivery.events {
            let known = store
                .read(move |conn| {
                    let known = events::find_all(conn, provider, &[&event.id])?.remove(&event.id);
                    let order = known.as_ref().and_then(|known| known.order_id);
                    let number = orders::numbers(conn, order.as_slice())?
                        .into_values()
                        .next();
                    Ok::<_, StoreError>(known.map(|known| (known.outcome, number)))
                })
                .await?;
            if let Some((outcome, number)) = known {
                outcomes.push(outcome.to_string());
                order_numbers.extend(number);
            }
        }
    }
    Ok(DemoResult {
        fixture,
        first,
        second,
        outcomes,
        order_numbers,
    })
}

fn table(shown: &[DemoResult]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header([
        "fixture",
        "provider",
        "first answer",
        "second answer",
        "order number",
    ]);
    for row in shown {
        let name = row.fixture.path.file_name().unwrap_or_default();
        table.add_row([
            name.to_string_lossy().into_owned(),
            row.fixture.provider.name().to_owned(),
            format!("{} {}", row.first.status, printed(&row.outcomes, "\n    ")),
            second_answer(row),
            printed(&row.order_numbers, "\n"),
        ]);
    }
    table
}

/// What comes from answers, each on a line of the table.
fn printed(texts: &[String], between: &str) -> String {
    let texts: Vec<_> = texts.iter().map(|text| printable(text)).collect();
    texts.join(between)
}

fn second_answer(row: &DemoResult) -> String {
    let how = match row.second.replayed.as_deref() {
        Some("true") => "replayed",
        _ => "new",
    };
    let equal = if is_same(row) {
        "equal bytes"
    } else {
        "other bytes"
    };
    format!("{} {how}, {equal}", row.second.status)
}

fn is_same(row: &DemoResult) -> bool {
    let essence = |answer: &HttpReply| {
        (
            answer.status,
            answer.content_type.clone(),
            answer.body.clone(),
        )
    };
    essence(&row.first) == essence(&row.second)
}

fn print_totals(
    shown: &[DemoResult],
    totals: Totals,
    output: &mut Output,
) -> Result<(), CommandError> {
    let replayed = shown
        .iter()
        .filter(|row| row.second.replayed.as_deref() == Some("true"));
    for (name, count) in [
        ("deliveries sent", shown.len() as i64 * 2),
        ("replayed", replayed.count() as i64),
        ("events", totals.events),
        ("orders", totals.orders),
        ("order items", totals.order_items),
        ("ledger entries", totals.ledger_entries),
        ("records", totals.records),
    ] {
        output.line(format_args!("{name:<19}{count}"))?;
    }
    Ok(())
}

/// All that is not as it should be.
fn faults(
    shown: &[DemoResult],
    first: Totals,
    second: Totals,
) -> Result<Vec<String>, CommandError> {
    let expected = expected_outcomes()?;
    let mut faults = Vec::new();
    for row in shown {
        let name = row.fixture.path.to_string_lossy();
        if row.first.replayed.as_deref() != Some("false") || row.first.status >= 300 {
            faults.push(format!("{name}: the first answer is not a new one"));
        }
        if row.second.replayed.as_deref() != Some("true") || !is_same(row) {
            faults.push(format!(
                "{name}: the second answer is not the first one again"
            ));
        }
        if expected.get(&row.fixture.path) != Some(&row.outcomes) {
            faults.push(format!("{name}: the outcomes are {:?}", row.outcomes));
        }
    }
    if first != second {
        faults.push(format!(
            "sending everything again changed {first:?} into {second:?}"
        ));
    }
    if second.orders != second.ledger_entries {
        faults.push("the ledger does not have one entry for each order".to_owned());
    }
    Ok(faults)
}

/// What is to become of the events of each fixture, by its path.
fn expected_outcomes() -> Result<HashMap<PathBuf, Vec<String>>, CommandError> {
    let mut expected = HashMap::new();
    for name in provider::names() {
        let file = embedded(&format!("{name}/{OUTCOMES}"))?;
        let outcomes: HashMap<PathBuf, Vec<String>> =
            serde_json::from_slice(file).map_err(CommandError::failed)?;
        let outcomes = outcomes.into_iter();
        expected.extend(outcomes.map(|(file, outcomes)| (Path::new(name).join(file), outcomes)));
    }
    Ok(expected)
}

async fn keep_serving(
    sender: &HttpSender,
    handle: &app::Handle,
    output: &mut Output,
) -> Result<(), CommandError> {
    // As `serve` does not end with its terminal. There is no configuration to read again.
    let _hangup = signal(SignalKind::hangup()).map_err(CommandError::failed)?;
    output.line("\nStill serving, until Ctrl-C. Try:\n")?;
    for fixture in Fixture::embedded() {
        let name = fixture.path.file_stem().unwrap_or_default();
        if name == "text_order" || name == "batch_overlapping" {
            let call = sender.sign(&fixture, None)?.as_curl();
            output.line(format_args!("{call}\n"))?;
        }
    }
    tokio::signal::ctrl_c()
        .await
        .map_err(CommandError::failed)?;
    handle.stop(true).await;
    Ok(())
}

/// A secret of its own for whatever verifies requests or handshakes.
fn random_settings() -> Result<Settings, CommandError> {
    let mut settings = Settings::default();
    for setting in provider::settings() {
        if setting.kind != SettingKind::NamedSecrets {
            let secret = uuid::Uuid::new_v4().simple().to_string();
            settings
                .set(setting, &secret)
                .map_err(CommandError::failed)?;
        }
    }
    Ok(settings)
}
