//! GitHub: signed events of repositories, organisations and apps, named by headers that nobody signs.

mod payload;

use std::time::Duration;

use super::{
    diagnosis::{Diagnosis, OtherUrl},
    hub_signature,
    interface::{Delivery, Provider, SignedBy, Signing},
    recording::{Recording, Signature},
    refusal::{Malformed, Refusal},
    request::Request,
    route::{Answer, AnswerBody, Route},
    setting::{Setting, SettingKind, Settings},
};
use crate::media_type;

/// GitHub's webhooks.
pub struct GitHub;

/// The variable of the webhook's secrets.
const SECRET: &str = "GITHUB_WEBHOOK_SECRET";

static SIGNING: Signing = Signing {
    header: hub_signature::HEADER,
    about: hub_signature::ABOUT,
    signs_url: false,
    shown_parameters: &[],
};

static ROUTES: [Route; 1] = [Route {
    path: "/webhooks/github",
    operation_id: "receiveGitHub",
    summary: "Receive an event from GitHub",
    description: "Known by its X-GitHub-Delivery. Kept, reported on, and shown; nothing is done with it.",
    body: "The event's payload; as a form in its parameter `payload`",
    media_types: &[(media_type::JSON, true), (media_type::FORM, true)],
    answers: &[Answer {
        status: 200,
        description: "What became of the event",
        body: AnswerBody::Report,
    }],
}];

impl Provider for GitHub {
    fn name(&self) -> &'static str {
        "github"
    }

    fn title(&self) -> &'static str {
        "GitHub"
    }

    fn scope(&self) -> &'static str {
        "webhook:github"
    }

    fn webhook_types(&self) -> &'static [&'static str] {
        &[payload::TYPE]
    }

    fn settings(&self) -> &'static [Setting] {
        &[Setting {
            variable: SECRET,
            about: "Secret of the webhook at GitHub; several, separated by commas, while one is being rotated",
            kind: SettingKind::Secrets,
        }]
    }

    fn routes(&self) -> &'static [Route] {
        &ROUTES
    }

    fn signing(&self) -> &'static Signing {
        &SIGNING
    }

    fn verify(
        &self,
        request: &Request<'_>,
        settings: &Settings,
    ) -> Result<Option<SignedBy>, Refusal> {
        let secrets = settings.secrets(SECRET);
        if secrets.is_empty() {
            return Err(Refusal::NotConfigured(SECRET));
        }
        let signature = request.header(hub_signature::HEADER);
        let at = hub_signature::verify(secrets, signature, request.body)?;
        let count = secrets.len();
        Ok(Some(SignedBy { at, count }))
    }

    fn parse(&'static self, request: &Request<'_>, _route: &Route) -> Result<Delivery, Refusal> {
        payload::parse(request)
    }

    /// Never by itself, but whoever asks may have it sent again, under the same id.
    fn sends_again_for(&self) -> Duration {
        const DAY: u64 = 24 * 60 * 60;
        Duration::from_secs(3 * DAY)
    }

    fn diagnose(
        &self,
        request: &Request<'_>,
        settings: &Settings,
        _others: &[OtherUrl],
        thorough: bool,
    ) -> Diagnosis {
        let signature = request.header(hub_signature::HEADER);
        let (secrets, body) = (settings.secrets(SECRET), request.body);
        let variants = hub_signature::variants;
        Diagnosis {
            variable: SECRET,
            otherwise: format!(
                "compare {SECRET} with the secret of the webhook at GitHub; the body must arrive byte for byte"
            ),
            ..hub_signature::diagnose(secrets, signature, body, variants, thorough)
        }
    }

    fn fixture_endings(&self) -> &'static [&'static str] {
        &["json", "form"]
    }

    fn recording(&self, file_name: &str, body: Vec<u8>) -> Option<Recording> {
        let event = file_name
            .split('.')
            .next()
            .filter(|name| payload::is_event(name))?;
        let content_type = match file_name.ends_with(".form") {
            true => media_type::FORM,
            false => media_type::JSON,
        };
        Some(Recording {
            route: &ROUTES[0],
            content_type,
            headers: vec![
                (payload::EVENT, event.to_owned()),
                (payload::DELIVERY, payload::id_of(&body)),
            ],
            body,
        })
    }

    fn renew(&self, recording: &Recording) -> Result<Recording, Malformed> {
        let mut renewed = recording.clone();
        for (name, value) in &mut renewed.headers {
            if *name == payload::DELIVERY {
                *value = uuid::Uuid::new_v4().to_string();
            }
        }
        Ok(renewed)
    }

    fn sign(
        &self,
        recording: &Recording,
        _url: &str,
        settings: &Settings,
    ) -> Result<Signature, Refusal> {
        let secret = settings.secrets(SECRET).first();
        let secret = secret.ok_or(Refusal::NotConfigured(SECRET))?;
        Ok(Signature {
            query: String::new(),
            value: hub_signature::sign(secret, &recording.body),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::refusal::SignatureError;
    use std::time::SystemTime;

    /// Of GitHub's "Validating webhook deliveries".
    const VECTOR: [&str; 3] = [
        "It's a Secret to Everybody",
        "Hello, World!",
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
    ];

    fn settings(secrets: &str) -> Settings {
        let mut settings = Settings::default();
        settings.set(&GitHub.settings()[0], secrets).unwrap();
        settings
    }

    fn verified(secrets: &str, signature: &str, body: &str) -> Result<Option<SignedBy>, Refusal> {
        let headers = vec![(hub_signature::HEADER, signature.to_owned())];
        let request = Request::new("", &headers, body.as_bytes(), SystemTime::now());
        GitHub.verify(&request, &settings(secrets))
    }

    #[test]
    fn the_signature_that_github_documents_is_the_one() {
        let [secret, body, signature] = VECTOR;
        let signed_by = |at, count| Ok(Some(SignedBy { at, count }));
        assert_eq!(verified(secret, signature, body), signed_by(0, 1));
        let both = format!("the next,{secret}");
        assert_eq!(verified(&both, signature, body), signed_by(1, 2));
        let invalid = Err(Refusal::Signature(SignatureError::Invalid));
        assert_eq!(verified("another", signature, body), invalid);
        assert_eq!(verified(secret, signature, "Hello, World"), invalid);
        // The older header's algorithm is not taken for the newer one's.
        let older = signature.replace("sha256=", "sha1=");
        assert_eq!(verified(secret, &older, body), invalid);
        let recording = GitHub.recording("ping.json", body.into()).unwrap();
        let signed = GitHub.sign(&recording, "", &settings(secret)).unwrap();
        assert_eq!(signed.value, signature);
    }

    #[test]
    fn a_recording_is_of_the_event_that_its_file_is_named_by() {
        let recording = |name: &str| GitHub.recording(name, b"{}".to_vec());
        let opened = recording("issues.opened.json").unwrap();
        assert_eq!(opened.headers[0], (payload::EVENT, "issues".to_owned()));
        assert_eq!(opened.content_type, media_type::JSON);
        assert_eq!(
            recording("push.form").unwrap().content_type,
            media_type::FORM
        );
        assert!(recording(".json").is_none() && recording("a b.json").is_none());
        // Sent again it is the same; renewed it is another.
        assert_eq!(
            recording("issues.json").unwrap().headers[1],
            opened.headers[1]
        );
        let renewed = GitHub.renew(&opened).unwrap();
        assert_ne!(renewed.headers[1], opened.headers[1]);
        assert_eq!(
            (renewed.headers[0].clone(), renewed.body),
            (opened.headers[0].clone(), opened.body)
        );
    }

    #[test]
    fn a_body_that_was_rewritten_is_told_from_a_secret_that_is_wrong() {
        let [secret, body, signature] = VECTOR;
        let diagnosed = |secrets: &str, body: &str| {
            let headers = vec![(hub_signature::HEADER, signature.to_owned())];
            let request = Request::new("", &headers, body.as_bytes(), SystemTime::now());
            GitHub.diagnose(&request, &settings(secrets), &[], true)
        };
        assert!(diagnosed(secret, body).verifies());
        let fit = diagnosed(secret, &format!("{body}\n")).fits.unwrap();
        assert!(fit.change.contains("white space"), "{fit:?}");
        let wrong = diagnosed("another", body);
        assert!(wrong.advice().contains(SECRET), "{}", wrong.advice());
    }
}
