//! Sends fixtures over HTTP, signed as their providers sign.

use std::time::{Duration, Instant};

use super::{CommandError, fixture::Fixture};
use crate::{
    config::Config,
    provider::{
        Provider,
        twilio::{self, form::Form},
        whatsapp,
    },
    secret::Secret,
};

/// Where to send, and with which secrets to sign.
#[derive(Clone, Debug)]
pub struct Sender {
    client: reqwest::Client,
    url: String,
    public_url: String,
    twilio: Option<Secret>,
    whatsapp: Option<Secret>,
}

/// A request that is signed and ready to go.
#[derive(Clone, Debug)]
pub struct SignedCall {
    url: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Received {
    /// HTTP status.
    pub status: u16,
    /// The `Idempotent-Replayed` header.
    pub replayed: Option<String>,
    /// Content type.
    pub content_type: Option<String>,
    /// Body.
    pub body: Vec<u8>,
    /// How long it took.
    pub took: Duration,
}

impl Sender {
    /// Sends to `url`, signing with the first of each provider's configured secrets for the URL that the server
    /// believes to be its own.
    pub fn new(config: &Config, url: &str) -> Result<Self, CommandError> {
        let url = url.trim_end_matches('/').to_owned();
        let client =
            reqwest::Client::builder().timeout(config.request_timeout + Duration::from_secs(5));
        // A proxy of the environment cannot know what listens on this machine.
        let client = if is_local(&url) {
            client.no_proxy()
        } else {
            client
        };
        let client = client.build().map_err(CommandError::failed)?;
        Ok(Self {
            client,
            public_url: match &config.public_base_url {
                Some(public) => public.as_str().to_owned(),
                None => url.clone(),
            },
            url,
            twilio: config.twilio_auth_tokens.first().cloned(),
            whatsapp: config.whatsapp_app_secrets.first().cloned(),
        })
    }

    /// Signs a fixture.
    pub fn sign(&self, fixture: &Fixture, key: Option<&str>) -> Result<SignedCall, CommandError> {
        let missing =
            |variable| move || CommandError::usage(format!("{variable} is not set, to sign with"));
        let route = fixture.route();
        let public_url = format!("{}{route}", self.public_url);
        let mut url = format!("{}{route}", self.url);
        let content_type = match fixture.is_form {
            true => "application/x-www-form-urlencoded",
            false => "application/json",
        };
        let signature = match fixture.provider {
            Provider::WhatsApp => {
                let secret = self
                    .whatsapp
                    .as_ref()
                    .ok_or_else(missing("WHATSAPP_APP_SECRET"))?;
                let signature = whatsapp::signature::sign(secret, &fixture.body);
                (whatsapp::signature::HEADER, signature)
            }
            Provider::Twilio => {
                let token = self
                    .twilio
                    .as_ref()
                    .ok_or_else(missing("TWILIO_AUTH_TOKEN"))?;
                let signature = if fixture.is_form {
                    let form = Form::parse(&fixture.body).map_err(CommandError::failed)?;
                    twilio::signature::sign_form(token, &public_url, &form)
                } else {
                    let (signed, signature) =
                        twilio::signature::sign_json(token, &public_url, &fixture.body);
                    url.push_str(&signed[public_url.len()..]);
                    signature
                };
                (twilio::signature::HEADER, signature)
            }
        };
        let mut headers = vec![("Content-Type", content_type.to_owned()), signature];
        headers.extend(key.map(|key| ("Idempotency-Key", key.to_owned())));
        Ok(SignedCall {
            url,
            headers,
            body: fixture.body.clone(),
        })
    }

    /// Sends it.
    pub async fn send(&self, call: &SignedCall) -> Result<Received, reqwest::Error> {
        let begun = Instant::now();
        let request = self.client.post(&call.url).body(call.body.clone());
        let request = call.headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, value)
        });
        let response = request.send().await?;
        let header = |name: &str| {
            let value = response.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        Ok(Received {
            status: response.status().as_u16(),
            replayed: header("Idempotent-Replayed"),
            content_type: header("Content-Type"),
            body: response.bytes().await?.to_vec(),
            took: begun.elapsed(),
        })
    }
}

impl SignedCall {
    /// The same as a command for a shell.
    pub fn as_curl(&self) -> String {
        let headers: String = self
            .headers
            .iter()
            .map(|(name, value)| format!(" -H {}", quoted(&format!("{name}: {value}"))))
            .collect();
        let body = String::from_utf8_lossy(&self.body);
        format!(
            "curl -i {}{headers} --data-raw {}",
            quoted(&self.url),
            quoted(&body)
        )
    }
}

fn is_local(url: &str) -> bool {
    let url = url::Url::parse(url).ok();
    match url.as_ref().and_then(url::Url::host) {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// A text as a POSIX shell takes it verbatim.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
