//! `hookonce demo` shows the main job from end to end, on a machine where nothing is set up.

use hookonce::provider;
use std::{fs, path::Path, time::Duration};

use crate::support::process::{self, Finished, Program};

#[actix_web::test]
async fn the_demo_shows_every_fixture_answered_twice_and_acted_on_once() {
    let program = Program::bare();
    let demo = program.run(&["demo"]).await;
    assert_eq!(demo.code, Some(0), "{demo:?}");
    for fixture in fixtures() {
        let row = row(&demo, &fixture);
        assert!(row.contains("equal bytes"), "{row}");
        assert!(row.contains("replayed"), "{row}");
    }
    assert!(demo.stdout.contains("nothing happened twice"), "{demo:?}");
    assert_eq!(total(&demo, "orders"), total(&demo, "ledger entries"));
    assert_eq!(
        total(&demo, "deliveries sent"),
        2 * total(&demo, "replayed")
    );
    leaves_nothing_behind(&program);
}

#[actix_web::test]
async fn the_demo_touches_nothing_that_is_configured() {
    let program = Program::bare()
        .set("DATABASE_URL", "sqlite://real.db")
        .set("PUBLIC_BASE_URL", "https://hooks.example.com")
        .set("TWILIO_AUTH_TOKEN", "real-token")
        .set("IDEMPOTENCY_ENABLED", "false");
    let demo = program.run(&["demo"]).await;
    assert_eq!(demo.code, Some(0), "{demo:?}");
    leaves_nothing_behind(&program);
}

#[actix_web::test]
async fn the_demo_that_goes_on_serving_ends_with_the_first_interrupt() {
    let program = Program::bare();
    let mut demo = program.spawn_with(&["demo", "--keep"]);
    let command = demo.printed("/webhooks/whatsapp'").await;
    let url = command.split('\'').nth(1).expect("a URL");
    let live = url.replace("/webhooks/whatsapp", "/health/live");
    let answer = process::client().get(&live).send().await;
    assert_eq!(answer.expect("an answer").status(), 200);
    // Nor does it end with the terminal.
    demo.signal("HUP");
    for _ in 0..3 {
        let answer = process::client().get(&live).send().await;
        assert_eq!(answer.expect("an answer").status(), 200);
    }
    demo.signal("INT");
    let status = demo.exit(Duration::from_secs(10)).await;
    assert!(status.success(), "{status}:\n{}", demo.log());
    leaves_nothing_behind(&program);
}

/// The names of all fixtures.
fn fixtures() -> Vec<String> {
    let names = provider::names().flat_map(|folder| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fixtures")
            .join(folder);
        let files = fs::read_dir(path).expect("the fixtures");
        files.map(|file| file.expect("a fixture").file_name())
    });
    names
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name != "outcomes.json")
        .collect()
}

fn row(demo: &Finished, fixture: &str) -> String {
    let mut rows = demo.stdout.lines();
    let row = rows.find(|row| row.contains(fixture));
    row.unwrap_or_else(|| panic!("{fixture} is not shown:\n{}", demo.stdout))
        .to_owned()
}

fn total(demo: &Finished, name: &str) -> u32 {
    let mut lines = demo.stdout.lines().filter_map(|l| l.strip_prefix(name));
    let number = lines.find_map(|rest| rest.trim().parse().ok());
    number.unwrap_or_else(|| panic!("no total of {name}:\n{}", demo.stdout))
}

fn leaves_nothing_behind(program: &Program) {
    for folder in [&program.folder, &program.temporary] {
        let mut left = fs::read_dir(folder.path()).expect("the folder");
        assert!(left.next().is_none(), "left in {}", folder.path().display());
    }
}
