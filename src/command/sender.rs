//! Sends fixtures over HTTP, signed as their providers sign.

use std::time::{Duration, Instant};

use super::{CommandError, fixture::Fixture};
use crate::{
    config::Config,
    printable::is_unprintable,
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
        // The address is whoever's called this, and may hold a password.
        let response = request.send().await.map_err(reqwest::Error::without_url)?;
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
            .map(|(name, value)| format!(" -H {}", quoted(format!("{name}: {value}").as_bytes())))
            .collect();
        format!(
            "curl -i {}{headers} --data-raw {}",
            quoted(self.url.as_bytes()),
            quoted(&self.body)
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

/// Bytes as a POSIX shell takes them verbatim. What is no text, or what a terminal might obey, is escaped as POSIX.1-2024
/// has it, bash and zsh for long.
fn quoted(bytes: &[u8]) -> String {
    let is_shown = |c: char| c == '\n' || !is_unprintable(c);
    match std::str::from_utf8(bytes) {
        Ok(text) if text.chars().all(is_shown) => format!("'{}'", text.replace('\'', r"'\''")),
        _ => {
            let escape = |byte: &u8| match byte {
                b'\'' | b'\\' => format!("\\{}", char::from(*byte)),
                b' '..=b'~' => char::from(*byte).to_string(),
                byte => format!("\\{byte:03o}"),
            };
            format!("$'{}'", bytes.iter().map(escape).collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_takes_what_is_quoted_as_the_bytes_that_it_was() {
        for bytes in [
            &b"a'b \\ $x `y` \"z\"\nnew"[..],
            b"esc \x1b[2J 'q' \\ $x\n",
            "Zo\u{eb} \u{202e}turned".as_bytes(),
            b"\xff\xfe1\x011",
        ] {
            let quoted = quoted(bytes);
            assert!(
                !quoted.contains(|c| c != '\n' && is_unprintable(c)),
                "{quoted:?}"
            );
            let printed = std::process::Command::new("bash")
                .args(["-c", &format!("printf %s {quoted}")])
                .output()
                .expect("a shell");
            assert_eq!(printed.stdout, bytes, "{quoted}");
        }
    }
}
