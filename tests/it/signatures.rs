//! Signatures: known answers, what Twilio's own library signs, and all that may not pass for it.

use hookonce::{
    provider::{
        form::Form, hub_signature as whatsapp, refusal::SignatureError, twilio::signature as twilio,
    },
    secret::Secret,
};
use serde::Deserialize;
use serde_json::Value;

use crate::support::{
    app::{App, set},
    database::{Engine, on_both},
    requests::{
        Call, SHOP_PHONE, TWILIO_TOKEN, WHATSAPP_SECRET, new_sid, new_wamid, whatsapp_text,
    },
};

on_both! {
    what_twilios_own_library_signs_is_accepted_and_nothing_like_it
    a_json_body_must_be_covered_by_the_url_that_was_signed
    any_of_several_secrets_is_good
    forwarding_headers_count_from_a_trusted_proxy
    forwarding_headers_of_a_stranger_count_for_nothing
}

const FORM: &str = "application/x-www-form-urlencoded";

#[test]
fn every_known_answer_is_given() {
    let known: Value =
        serde_json::from_str(include_str!("../vectors/signatures.json")).expect("vectors");
    for vector in known["vectors"].as_array().expect("a list") {
        let text = |member: &str| vector["inputs"][member].as_str().unwrap_or_default();
        let name = vector["name"].as_str();
        let expect = &vector["expect"];
        let token = [Secret::new(text("auth_token"))];
        let validates = match vector["provider"].as_str() {
            Some("twilio") => {
                let body = form_body(&vector["inputs"]);
                let form = Form::parse(body.as_bytes()).unwrap();
                twilio::verify_form(&token, expect["signature"].as_str(), text("url"), &form)
            }
            Some("twilio-json") => twilio::verify_json(
                &token,
                expect["signature"].as_str(),
                text("url"),
                text("body").as_bytes(),
            ),
            Some("meta") => {
                let secret = Secret::new(text("app_secret"));
                let signature = expect["X-Hub-Signature-256"].as_str();
                let body = text("body").as_bytes();
                assert_eq!(Some(&*whatsapp::sign(&secret, body)), signature, "{name:?}");
                whatsapp::verify(&[secret], signature, body)
            }
            other => panic!("{name:?} is of {other:?}, which nobody checks"),
        };
        let expected = match expect["validates"].as_bool().unwrap_or(true) {
            true => Ok(0),
            false => Err(SignatureError::Invalid),
        };
        assert_eq!(validates, expected, "{name:?}");
    }
}

/// The body that a vector gives, or that its parameters make.
fn form_body(inputs: &Value) -> String {
    if let Some(body) = inputs["form_body"].as_str() {
        return body.to_owned();
    }
    let params = inputs["params"].as_object().expect("parameters");
    let pairs = params.iter().map(|(name, value)| (name, value.as_str()));
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs.map(|(name, value)| (name, value.expect("a text"))))
        .finish()
}

/// What `twilio.request_validator` of Twilio's Python library makes of a request.
#[derive(Deserialize)]
struct Library {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    auth_token: String,
    public_base_url: String,
    path: String,
    content_type: String,
    body: String,
    signature: String,
    signature_by_another_token: String,
}

impl Case {
    fn call(&self) -> Call {
        Call {
            path: self.path.clone(),
            headers: vec![
                ("Content-Type".into(), self.content_type.clone()),
                ("X-Twilio-Signature".into(), self.signature.clone()),
            ],
            body: self.body.clone().into_bytes(),
        }
    }

    /// The same request with something changed that its signature is over, or with a signature that is not its own.
    fn forgeries(&self) -> Vec<(&'static str, Call)> {
        let signed = |signature: &str| self.call().instead("X-Twilio-Signature", signature);
        let flipped = match self.signature.strip_prefix('A') {
            Some(rest) => format!("B{rest}"),
            None => format!("A{}", &self.signature[1..]),
        };
        let another_path = match self.path.strip_prefix("/webhooks/twilio/status") {
            Some(rest) => format!("/webhooks/twilio{rest}"),
            None => format!("/webhooks/twilio/status{}", query(&self.path)),
        };
        let mut forgeries = vec![
            ("another path", self.at(another_path)),
            ("a longer query", self.at(with_query(&self.path, "x=1"))),
            ("another token", signed(&self.signature_by_another_token)),
            ("a changed signature", signed(&flipped)),
            ("half a signature", signed(&self.signature[..14])),
            ("two signatures in one", signed(&self.signature.repeat(2))),
            (
                "a lower-case signature",
                signed(&self.signature.to_lowercase()),
            ),
            ("an empty signature", signed("")),
            ("no signature", self.call().without("X-Twilio-Signature")),
            ("one byte more", self.with(format!("{}9", self.body))),
        ];
        match self.content_type == FORM {
            true => forgeries.extend(self.forged_forms()),
            false => forgeries.extend(self.forged_documents()),
        }
        forgeries
    }

    fn forged_forms(&self) -> Vec<(&'static str, Call)> {
        let pairs: Vec<&str> = self.body.split('&').collect();
        // The sender's number ends with a zero, however it is escaped.
        let from = pairs
            .iter()
            .position(|pair| pair.ends_with("0100") || pair.ends_with("%30"));
        let from = from.expect("a sender");
        let changed = |with: Option<String>| {
            let mut pairs: Vec<String> = pairs.iter().map(|pair| (*pair).to_owned()).collect();
            pairs.splice(from..=from, with);
            self.with(pairs.join("&"))
        };
        let (name, value) = pairs[from].split_once('=').expect("a pair");
        let byte = format!("{}1", &pairs[from][..pairs[from].len() - 1]);
        vec![
            ("a changed byte", changed(Some(byte))),
            ("a changed name", changed(Some(format!("{name}s={value}")))),
            (
                "an added parameter",
                self.with(format!("{}&Extra=1", self.body)),
            ),
            ("a value more", self.with(format!("{}&{name}=2", self.body))),
            ("a removed parameter", changed(None)),
            ("nothing left", self.with(String::new())),
            (
                "said to be JSON",
                self.call().instead("Content-Type", "application/json"),
            ),
        ]
    }

    fn forged_documents(&self) -> Vec<(&'static str, Call)> {
        let (unbound, _) = self.path.split_once("bodySHA256=").expect("a hash");
        let another = format!("{} ", self.body);
        let hash = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(another.as_bytes()));
        let mut rebound = self.with(another.clone());
        rebound.path = format!("{unbound}bodySHA256={hash}");
        let mut twice = self.with(another.clone());
        twice.path = format!("{}&bodySHA256={hash}", self.path);
        vec![
            ("another spacing", self.with(another)),
            ("another body and its hash", rebound),
            ("a second hash", twice),
            (
                "no hash",
                self.at(unbound.trim_end_matches(['?', '&']).to_owned()),
            ),
            (
                "said to be a form",
                self.call().instead("Content-Type", FORM),
            ),
        ]
    }

    fn at(&self, path: String) -> Call {
        Call {
            path,
            ..self.call()
        }
    }

    fn with(&self, body: String) -> Call {
        Call {
            body: body.into_bytes(),
            ..self.call()
        }
    }
}

fn query(path: &str) -> &str {
    path.find('?').map_or("", |at| &path[at..])
}

fn with_query(path: &str, more: &str) -> String {
    let join = if path.contains('?') { '&' } else { '?' };
    format!("{path}{join}{more}")
}

async fn what_twilios_own_library_signs_is_accepted_and_nothing_like_it(engine: Engine) {
    let library: Library =
        serde_json::from_str(include_str!("../vectors/twilio_library.json")).expect("vectors");
    let mut tokens: Vec<_> = library.cases.iter().map(|case| &*case.auth_token).collect();
    tokens.sort_unstable();
    tokens.dedup();
    let mut bases: Vec<_> = library
        .cases
        .iter()
        .map(|case| &*case.public_base_url)
        .collect();
    bases.sort_unstable();
    bases.dedup();
    for base in bases {
        let app = App::with(engine, |config| {
            config.public_base_url = Some(base.parse().expect("a URL"));
            set(config, "TWILIO_AUTH_TOKEN", &tokens.join(","));
        })
        .await;
        let cases = || {
            library
                .cases
                .iter()
                .filter(|case| case.public_base_url == base)
        };
        for case in cases() {
            for (how, call) in case.forgeries() {
                let reply = call.send_raw(&app.url).await;
                assert_eq!(reply.status, 401, "{}, {how}: {reply:?}", case.name);
            }
        }
        assert_eq!((app.events(), app.records()), (0, 0), "{base}");
        for case in cases() {
            let reply = case.call().send_raw(&app.url).await;
            let expected = match case.content_type == FORM && !case.path.contains("/status") {
                true => 200,
                false => 204,
            };
            assert_eq!(reply.status, expected, "{}: {reply:?}", case.name);
        }
        assert_eq!(app.records(), cases().count() as i64, "{base}");
    }
}

async fn a_json_body_must_be_covered_by_the_url_that_was_signed(engine: Engine) {
    let app = App::new(engine).await;
    let call = Call::twilio_json(r#"{"a":1}"#);
    let altered = Call {
        body: br#"{"a":2}"#.to_vec(),
        ..call.clone()
    };
    // A signature over the URL alone, which says nothing of the body.
    let uncovered =
        Call::twilio_at("/webhooks/twilio", &[]).instead("Content-Type", "application/json");
    for refused in [altered, uncovered] {
        let reply = app.send(&refused).await;
        assert_eq!(
            (reply.status, &*reply.error_code()),
            (401, "SIGNATURE_INVALID")
        );
    }
    assert_eq!(app.events(), 0);
    assert_eq!(app.send(&call).await.status, 204);
}

async fn any_of_several_secrets_is_good(engine: Engine) {
    let app = App::with(engine, |config| {
        let both = |next: &str, known: &str| format!("{next},{known}");
        set(
            config,
            "TWILIO_AUTH_TOKEN",
            &both("the next token", TWILIO_TOKEN),
        );
        set(
            config,
            "WHATSAPP_APP_SECRET",
            &both("the next secret", WHATSAPP_SECRET),
        );
    })
    .await;
    let body = Call::whatsapp_messages(serde_json::json!([whatsapp_text(&new_wamid(), "hi")])).body;
    let next = whatsapp::sign(&Secret::new("the next secret"), &body);
    let last = whatsapp::sign(&Secret::new("the last secret"), &body);
    let call = Call::whatsapp(body);
    assert_eq!(
        app.send(&Call::twilio_text(&new_sid(), "hi")).await.status,
        200
    );
    assert_eq!(app.send(&call).await.status, 200);
    assert_eq!(
        app.send(&call.clone().instead("X-Hub-Signature-256", &next))
            .await
            .status,
        200
    );
    assert_eq!(
        app.send(&call.instead("X-Hub-Signature-256", &last))
            .await
            .status,
        401
    );

    let rotated = app
        .another(|config| {
            set(config, "TWILIO_AUTH_TOKEN", "the next token");
            set(config, "WHATSAPP_APP_SECRET", WHATSAPP_SECRET);
        })
        .await;
    let late = Call::twilio_text(&new_sid(), "hi")
        .send(&app.client, &rotated.url)
        .await;
    assert_eq!(late.unwrap().status, 401);
}

/// A form whose sender called `https://hooks.example.net`, which a proxy passes on.
fn passed_on() -> Call {
    let sid = new_sid();
    let params = [
        ("MessageSid", &*sid),
        ("Body", "hi"),
        ("From", "whatsapp:+14155550100"),
        ("To", SHOP_PHONE),
    ];
    Call::twilio_called(
        "https://hooks.example.net",
        "/webhooks/twilio?x='1'",
        &params,
    )
}

fn forwarded(call: &Call) -> [Call; 2] {
    [
        call.clone()
            .header("X-Forwarded-Proto", "https")
            .header("X-Forwarded-Host", "hooks.example.net")
            .header("X-Forwarded-For", "192.0.2.9, 198.51.100.7"),
        call.clone().header(
            "Forwarded",
            "for=198.51.100.7;proto=https;host=hooks.example.net",
        ),
    ]
}

async fn forwarding_headers_count_from_a_trusted_proxy(engine: Engine) {
    let app = App::with(engine, |config| {
        config.public_base_url = None;
        config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    for call in forwarded(&passed_on()) {
        let reply = call.send_raw(&app.url).await;
        assert_eq!(reply.status, 200, "{call:?} {reply:?}");
    }
    // Without the headers it is the inner address that counts.
    assert_eq!(passed_on().send_raw(&app.url).await.status, 401);
    assert_eq!(
        app.database
            .texts("SELECT source_ip AS t FROM webhook_idempotency"),
        [Some("198.51.100.7".to_owned())]
    );
}

async fn forwarding_headers_of_a_stranger_count_for_nothing(engine: Engine) {
    let app = App::with(engine, |config| {
        config.public_base_url = None;
        config.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
    })
    .await;
    for call in forwarded(&passed_on()) {
        let reply = call.send_raw(&app.url).await;
        assert_eq!(
            (reply.status, &*reply.error_code()),
            (401, "SIGNATURE_INVALID")
        );
    }
    let sid = new_sid();
    let inner = Call::twilio_called(
        "http://inner",
        "/webhooks/twilio",
        &[("MessageSid", &sid), ("Body", "hi")],
    );
    for call in forwarded(&inner) {
        assert_eq!(call.send_raw(&app.url).await.status, 200);
    }
    assert_eq!(
        app.database
            .texts("SELECT source_ip AS t FROM webhook_idempotency"),
        [Some("127.0.0.1".to_owned())]
    );
}
