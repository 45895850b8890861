//! Meta's WhatsApp Cloud API: signed batches, and a handshake.

pub(super) mod cart;
mod diagnosis;
#[doc(hidden)]
pub mod payload;
mod renew;
mod sender;
mod status;

use std::time::Duration;

use super::{
    diagnosis::{Diagnosis, OtherUrl},
    handshake::Handshake,
    hub_signature,
    interface::{Delivery, Provider, SignedBy, Signing},
    recording::{Recording, Signature},
    refusal::{Malformed, Refusal},
    request::Request,
    route::{Answer, AnswerBody, Route},
    setting::{Setting, SettingKind, Settings},
};
use crate::media_type;

/// Meta's WhatsApp Cloud API.
pub struct WhatsApp;

/// The variable of the app's secrets.
const APP_SECRET: &str = "WHATSAPP_APP_SECRET";

/// The variable of the handshake's token.
const VERIFY_TOKEN: &str = "WHATSAPP_VERIFY_TOKEN";

static SIGNING: Signing = Signing {
    header: hub_signature::HEADER,
    about: hub_signature::ABOUT,
    signs_url: false,
    shown_parameters: &[],
};

const PATH: &str = "/webhooks/whatsapp";

static ROUTES: [Route; 1] = [Route {
    path: PATH,
    operation_id: "receiveWhatsApp",
    summary: "Receive a batch from Meta",
    description: "Messages and statuses, each acted on once and reported on.",
    body: "Meta's envelope: object, entry[].changes[].value",
    media_types: &[(media_type::JSON, true)],
    answers: &[Answer {
        status: 200,
        description: "What became of each event",
        body: AnswerBody::Report,
    }],
}];

/// Source: Meta's "Webhooks: Verification Requests".
static HANDSHAKE: Handshake = Handshake {
    path: PATH,
    variable: VERIFY_TOKEN,
    token_parameter: "hub.verify_token",
    challenge: |parameter| match parameter("hub.mode").as_deref() {
        Some("subscribe") => parameter("hub.challenge"),
        _ => None,
    },
    expected: "hub.mode, hub.verify_token and hub.challenge must be those of a subscription of ours",
    operation_id: "verifyWhatsApp",
    summary: "Answer Meta's handshake",
    description: "By which Meta checks that the address is ours: echoes the challenge.",
    parameters: &[
        ("hub.mode", "`subscribe`"),
        ("hub.verify_token", "The token that was entered at Meta"),
        ("hub.challenge", "What is echoed"),
    ],
};

impl Provider for WhatsApp {
    fn name(&self) -> &'static str {
        "whatsapp"
    }

    fn title(&self) -> &'static str {
        "WhatsApp"
    }

    fn scope(&self) -> &'static str {
        "webhook:whatsapp"
    }

    fn webhook_types(&self) -> &'static [&'static str] {
        &[payload::TYPE]
    }

    fn settings(&self) -> &'static [Setting] {
        &[
            Setting {
                variable: APP_SECRET,
                about: "App secret of the Meta app; several, separated by commas, while one is being rotated",
                kind: SettingKind::Secrets,
            },
            Setting {
                variable: VERIFY_TOKEN,
                about: "The token that you enter in Meta's webhook settings",
                kind: SettingKind::HandshakeToken,
            },
        ]
    }

    fn routes(&self) -> &'static [Route] {
        &ROUTES
    }

    fn handshake(&self) -> Option<&'static Handshake> {
        Some(&HANDSHAKE)
    }

    fn signing(&self) -> &'static Signing {
        &SIGNING
    }

    fn verify(
        &self,
        request: &Request<'_>,
        settings: &Settings,
    ) -> Result<Option<SignedBy>, Refusal> {
        let secrets = settings.secrets(APP_SECRET);
        if secrets.is_empty() {
            return Err(Refusal::NotConfigured(APP_SECRET));
        }
        let signature = request.header(hub_signature::HEADER);
        let at = hub_signature::verify(secrets, signature, request.body)?;
        let count = secrets.len();
        Ok(Some(SignedBy { at, count }))
    }

    fn parse(&'static self, request: &Request<'_>, _route: &Route) -> Result<Delivery, Refusal> {
        if !media_type::is(request.content_type(), media_type::JSON) {
            return Err(Refusal::MediaType("Meta sends application/json"));
        }
        Ok(payload::parse(request.body)?)
    }

    fn sends_again_for(&self) -> Duration {
        const DAY: u64 = 24 * 60 * 60;
        Duration::from_secs(7 * DAY)
    }

    fn members_around_events(&self) -> &'static [&'static str] {
        payload::AROUND_EVENTS
    }

    fn diagnose(
        &self,
        request: &Request<'_>,
        settings: &Settings,
        _others: &[OtherUrl],
        thorough: bool,
    ) -> Diagnosis {
        let signature = request.header(hub_signature::HEADER);
        let secrets = settings.secrets(APP_SECRET);
        Diagnosis {
            variable: APP_SECRET,
            otherwise: format!(
                "compare {APP_SECRET} with the app secret of the Meta app that sends; the body must arrive byte for byte"
            ),
            ..hub_signature::diagnose(
                secrets,
                signature,
                request.body,
                diagnosis::variants,
                thorough,
            )
        }
    }

    fn fixture_endings(&self) -> &'static [&'static str] {
        &["json"]
    }

    fn recording(&self, _file_name: &str, body: Vec<u8>) -> Option<Recording> {
        Some(Recording {
            route: &ROUTES[0],
            content_type: media_type::JSON,
            headers: Vec::new(),
            body,
        })
    }

    fn renew(&self, recording: &Recording) -> Result<Recording, Malformed> {
        Ok(Recording {
            body: renew::json(&recording.body)?,
            ..recording.clone()
        })
    }

    fn sign(
        &self,
        recording: &Recording,
        _url: &str,
        settings: &Settings,
    ) -> Result<Signature, Refusal> {
        let secret = settings.secrets(APP_SECRET).first();
        let secret = secret.ok_or(Refusal::NotConfigured(APP_SECRET))?;
        Ok(Signature {
            query: String::new(),
            value: hub_signature::sign(secret, &recording.body),
        })
    }
}
