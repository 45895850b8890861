//! What holds for every provider that is built in, shown by its fixtures: whoever is in the registry is tested here.

use hookonce::provider::{
    self, Provider, REGISTRY,
    recording::Recording,
    setting::{SettingKind, Settings},
};
use std::{fs, path::Path};

use crate::support::{
    app::{App, set},
    database::{Engine, on_both},
    requests::{Call, PUBLIC_URL, problem, provider_secrets, refused},
};

on_both! {
    every_fixture_is_acted_on_once_and_answered_alike_again
    what_its_provider_did_not_sign_is_refused_and_leaves_nothing
    a_secret_that_replaces_another_is_as_good
    without_a_secret_every_route_says_which_is_missing
}

/// What is recorded of a provider, by file.
fn recordings(provider: &dyn Provider) -> Vec<(String, Recording)> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let files = fs::read_dir(fixtures.join(provider.name())).expect("its fixtures");
    let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    paths.sort();
    let read = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str())?;
        let body = fs::read(path).expect("a fixture");
        let is_fixture = name != "outcomes.json";
        let recording = || provider.recording(name, body).expect("a recording");
        is_fixture.then(|| (name.to_owned(), recording()))
    };
    paths.iter().filter_map(|path| read(path)).collect()
}

/// The settings of the tests, with another value for a provider's secrets.
fn settings(provider: &dyn Provider, secret: Option<&str>) -> Settings {
    let mut settings = Settings::default();
    for (setting, value) in provider_secrets() {
        let is_replaced = setting.variable == provider.secret_variable();
        let value = secret.filter(|_| is_replaced).unwrap_or(&value);
        settings.set(setting, value).expect("a value");
    }
    settings
}

/// A recorded request, signed.
fn signed(provider: &dyn Provider, recording: &Recording, settings: &Settings) -> Call {
    let path = recording.route.path;
    let url = format!("{PUBLIC_URL}{path}");
    let signature = provider.sign(recording, &url, settings);
    let signature = signature.expect("a signature");
    let call = Call {
        path: format!("{path}{}", signature.query),
        headers: Vec::new(),
        body: recording.body.clone(),
    };
    let headers = recording.headers.iter();
    headers
        .fold(call, |call, (name, value)| call.header(name, value))
        .header("Content-Type", recording.content_type)
        .header(provider.signing().header, &signature.value)
}

async fn every_fixture_is_acted_on_once_and_answered_alike_again(engine: Engine) {
    let app = App::new(engine).await;
    for provider in REGISTRY {
        let settings = settings(*provider, None);
        let recordings = recordings(*provider);
        assert!(!recordings.is_empty(), "{provider:?} has no fixture");
        for (name, recording) in &recordings {
            let call = signed(*provider, recording, &settings);
            let events = app.events();
            let first = app.send(&call).await;
            assert!(first.status < 300, "{name}: {first:?}");
            let known = app.events();
            let again = app.send(&call).await;
            assert_eq!(again.replayed.as_deref(), Some("true"), "{name}");
            assert_eq!(again.essence(), first.essence(), "{name}");
            // Under another key its events are known, and are not acted on again.
            let other = app.send(&call.key(&format!("another-{name}"))).await;
            assert!(other.status < 300, "{name}: {other:?}");
            assert_eq!(app.events(), known, "{name}");
            assert!(known >= events, "{name}");
        }
        let scope = provider.scope();
        let records =
            format!("SELECT count(*) AS n FROM webhook_idempotency WHERE scope = '{scope}'");
        assert!(app.database.count(&records) > recordings.len() as i64);
        let counted = format!(
            "hookonce_deliveries_total{{provider=\"{}\",result=\"new\"}}",
            provider.name()
        );
        assert!(
            app.get("/metrics").await.body.contains(&counted),
            "{counted}"
        );
    }
    assert_eq!(app.orders(), app.ledger_entries());
}

async fn what_its_provider_did_not_sign_is_refused_and_leaves_nothing(engine: Engine) {
    let app = App::new(engine).await;
    for provider in REGISTRY {
        let header = provider.signing().header;
        for (name, recording) in recordings(*provider) {
            let good = signed(*provider, &recording, &settings(*provider, None));
            let by_stranger = signed(
                *provider,
                &recording,
                &settings(*provider, Some("a stranger's")),
            );
            let mut altered = good.clone();
            altered.body.push(b'x');
            for forged in [
                by_stranger,
                altered,
                good.clone().instead(header, "nonsense"),
            ] {
                let reply = app.send(&forged).await;
                assert_eq!(refused(&reply), problem(401, "SIGNATURE_INVALID"), "{name}");
            }
            let reply = app.send(&good.without(header)).await;
            assert_eq!(refused(&reply), problem(401, "SIGNATURE_MISSING"), "{name}");
        }
    }
    assert_eq!((app.events(), app.records()), (0, 0));
}

async fn a_secret_that_replaces_another_is_as_good(engine: Engine) {
    let app = App::with(engine, |config| {
        for (setting, value) in provider_secrets() {
            if setting.kind == SettingKind::Secrets {
                set(config, setting.variable, &format!("the next, {value}"));
            }
        }
    })
    .await;
    for provider in REGISTRY {
        let (_, recording) = recordings(*provider).remove(0);
        for secret in [None, Some("the next")] {
            let call = signed(*provider, &recording, &settings(*provider, secret));
            let reply = app.send(&call).await;
            assert!(reply.status < 300, "{provider:?}: {reply:?}");
        }
        let call = signed(
            *provider,
            &recording,
            &settings(*provider, Some("the last")),
        );
        assert_eq!(app.send(&call).await.status, 401, "{provider:?}");
    }
}

async fn without_a_secret_every_route_says_which_is_missing(engine: Engine) {
    let app = App::with(engine, |config| config.providers = Settings::default()).await;
    let shown = app.get("/api/v1/whatsapp/test").await.json();
    for provider in REGISTRY {
        assert_eq!(shown["providers"][provider.name()], false);
        let (_, recording) = recordings(*provider).remove(0);
        let call = signed(*provider, &recording, &settings(*provider, None));
        for route in provider.routes() {
            let call = Call {
                path: route.path.to_owned(),
                ..call.clone()
            };
            let reply = app.send(&call).await;
            let missing = problem(503, "PROVIDER_NOT_CONFIGURED");
            assert_eq!(refused(&reply), missing, "{}", route.path);
            assert!(reply.body.contains(provider.secret_variable()), "{reply:?}");
            assert_eq!(app.send(&call.without("Content-Type")).await.status, 503);
        }
    }
}

/// A folder of fixtures that belongs to no provider would be sent by nobody.
#[test]
fn every_folder_of_fixtures_has_a_provider_that_knows_its_files() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let entries = fs::read_dir(fixtures).expect("the fixtures");
    let folders = entries.map(|entry| entry.expect("an entry").path());
    for folder in folders.filter(|path| path.is_dir()) {
        let name = folder.file_name().and_then(|name| name.to_str());
        let provider = name.and_then(provider::find).expect("a provider");
        for (name, recording) in recordings(provider) {
            let ending = name.rsplit('.').next().expect("an ending");
            assert!(provider.fixture_endings().contains(&ending), "{name}");
            let renewed = provider.renew(&recording).expect("a body that is read");
            assert_eq!(renewed.route.path, recording.route.path, "{name}");
            assert_eq!(renewed.content_type, recording.content_type, "{name}");
        }
    }
}
