//! Twilio: messages and status callbacks as signed forms, everything else as JSON.

mod cloud_event;
mod diagnosis;
mod kinds;
mod message;
mod other;
mod params;
#[doc(hidden)]
pub mod payload;
mod renew;
mod shared_key;
#[doc(hidden)]
pub mod signature;
mod twiml;

use std::time::Duration;

use self::shared_key::Keys;
use super::{
    diagnosis::{Diagnosis, OtherUrl},
    interface::{Delivery, Provider, SignedBy, Signing},
    recording::{Recording, Signature},
    refusal::{Malformed, Refusal},
    request::Request,
    route::{Answer, AnswerBody, Route},
    setting::{NamedSecret, Setting, SettingKind, Settings},
};
use crate::{media_type, secret::Secret};

/// Twilio's messaging webhooks.
pub struct Twilio;

/// The variable of the account's auth tokens.
const AUTH_TOKEN: &str = "TWILIO_AUTH_TOKEN";

static SIGNING: Signing = Signing {
    header: signature::HEADER,
    about: "HMAC-SHA1 over URL and form, or URL with bodySHA256",
    signs_url: true,
    shown_parameters: &[signature::BODY_HASH],
};

/// Where status callbacks come, if they do not come where messages do.
const STATUS_PATH: &str = "/webhooks/twilio/status";

const FORM_OR_JSON: &[(&str, bool)] = &[(media_type::FORM, true), (media_type::JSON, false)];

const TWIML_OR_NOTHING: &[Answer] = &[
    Answer {
        status: 200,
        description: "TwiML",
        body: AnswerBody::Text("text/xml"),
    },
    Answer {
        status: 204,
        description: "A status callback or another event was taken",
        body: AnswerBody::Empty,
    },
];

const MESSAGES: Route = Route {
    path: "/webhooks/twilio",
    operation_id: "receiveTwilio",
    summary: "Receive a message from Twilio",
    description: "Or whatever else Twilio sends there. Answers TwiML to a message, and nothing to anything else.",
    body: "",
    media_types: FORM_OR_JSON,
    answers: TWIML_OR_NOTHING,
};

static ROUTES: [Route; 3] = [
    MESSAGES,
    Route {
        path: STATUS_PATH,
        operation_id: "receiveTwilioStatus",
        summary: "Receive a status callback from Twilio",
        description: "",
        body: "",
        media_types: &[(media_type::FORM, true)],
        answers: &[Answer {
            status: 204,
            description: "Taken",
            body: AnswerBody::Empty,
        }],
    },
    Route {
        path: "/api/v1/whatsapp/webhook",
        operation_id: "receiveTwilioAlias",
        summary: "Receive a message from Twilio (alias)",
        description: "The same as `/webhooks/twilio`.",
        body: "",
        media_types: FORM_OR_JSON,
        answers: TWIML_OR_NOTHING,
    },
];

impl Provider for Twilio {
    fn name(&self) -> &'static str {
        "twilio"
    }

    fn title(&self) -> &'static str {
        "Twilio"
    }

    fn scope(&self) -> &'static str {
        "webhook:twilio"
    }

    fn webhook_types(&self) -> &'static [&'static str] {
        &[kinds::MESSAGE, kinds::STATUS, kinds::EVENT]
    }

    fn settings(&self) -> &'static [Setting] {
        &[
            Setting {
                variable: AUTH_TOKEN,
                about: "Auth token of the Twilio account; several, separated by commas, while one is being rotated",
                kind: SettingKind::Secrets,
            },
            Setting {
                variable: shared_key::VARIABLE,
                about: "Shared keys of Twilio's webhook settings, as NAME:SECRET; several, separated by commas, also of one name",
                kind: SettingKind::NamedSecrets,
            },
        ]
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
        let (tokens, shared) = secrets(settings);
        if tokens.is_empty() && shared.is_empty() {
            return Err(Refusal::NotConfigured(AUTH_TOKEN));
        }
        let keys = Keys::of(tokens, shared, request.header(shared_key::HEADER));
        let signature = request.header(signature::HEADER);
        // The content type says what the signature is over, so it comes first.
        let at = if request.is_form() {
            signature::verify_form(&keys.secrets, signature, request.url, request.form()?)?
        } else if is_json(request) {
            signature::verify_json(&keys.secrets, signature, request.url, request.body)?
        } else {
            return Err(Refusal::MediaType(
                "Twilio sends application/x-www-form-urlencoded or application/json",
            ));
        };
        let count = tokens.len();
        // A signature by a shared key is no sign that an old token is still in use.
        Ok((at < count).then_some(SignedBy { at, count }))
    }

    fn parse(&'static self, request: &Request<'_>, route: &Route) -> Result<Delivery, Refusal> {
        if !request.is_form() {
            return Ok(cloud_event::parse_json(request.body)?);
        }
        let form = request.form()?;
        Ok(match route.path == STATUS_PATH {
            true => payload::parse_status(form)?,
            false => payload::parse_form(form)?,
        })
    }

    /// With connection overrides Twilio waits this long for an answer, and tries again only within it.
    fn sends_again_for(&self) -> Duration {
        Duration::from_secs(15)
    }

    fn diagnose(
        &self,
        request: &Request<'_>,
        settings: &Settings,
        others: &[OtherUrl],
        thorough: bool,
    ) -> Diagnosis {
        let (tokens, shared) = secrets(settings);
        let keys = Keys::of(tokens, shared, request.header(shared_key::HEADER));
        Diagnosis {
            variable: AUTH_TOKEN,
            otherwise: format!(
                "compare {AUTH_TOKEN} with the auth token of the account that sends, and the URL with the one in \
                 Twilio's console; the path, the query and the body must arrive as they were sent"
            ),
            ..diagnosis::diagnose(keys, request, others, thorough)
        }
    }

    fn fixture_endings(&self) -> &'static [&'static str] {
        &["form", "json"]
    }

    fn recording(&self, file_name: &str, body: Vec<u8>) -> Option<Recording> {
        let is_form = file_name.ends_with(".form");
        let is_status = is_form && payload::is_status(&body);
        let path = if is_status {
            STATUS_PATH
        } else {
            MESSAGES.path
        };
        Some(Recording {
            route: ROUTES.iter().find(|route| route.path == path)?,
            content_type: if is_form {
                media_type::FORM
            } else {
                media_type::JSON
            },
            headers: Vec::new(),
            body,
        })
    }

    fn renew(&self, recording: &Recording) -> Result<Recording, Malformed> {
        let body = match media_type::is(recording.content_type, media_type::FORM) {
            true => renew::form(&recording.body)?,
            false => renew::json(&recording.body)?,
        };
        Ok(Recording {
            body,
            ..recording.clone()
        })
    }

    fn sign(
        &self,
        recording: &Recording,
        url: &str,
        settings: &Settings,
    ) -> Result<Signature, Refusal> {
        let (tokens, _) = secrets(settings);
        let token = tokens.first().ok_or(Refusal::NotConfigured(AUTH_TOKEN))?;
        if !media_type::is(recording.content_type, media_type::FORM) {
            let (signed, value) = signature::sign_json(token, url, &recording.body);
            let query = signed[url.len()..].to_owned();
            return Ok(Signature { query, value });
        }
        let form = super::form::Form::parse(&recording.body)?;
        Ok(Signature {
            query: String::new(),
            value: signature::sign_form(token, url, &form),
        })
    }
}

/// The auth tokens and the shared keys.
fn secrets(settings: &Settings) -> (&[Secret], &[NamedSecret]) {
    (
        settings.secrets(AUTH_TOKEN),
        settings.named_secrets(shared_key::VARIABLE),
    )
}

fn is_json(request: &Request<'_>) -> bool {
    media_type::is_json(request.content_type())
}
