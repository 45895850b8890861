//! Sends fixtures over HTTP, signed as their providers sign.

use std::time::{Duration, Instant};

use super::{CommandError, fixture::Fixture};
use crate::{
    config::Config,
    printable::is_unprintable,
    provider::{refusal::Refusal, setting::Settings},
};

/// Where to send, and with which secrets to sign.
#[derive(Clone, Debug)]
pub struct HttpSender {
    client: reqwest::Client,
    url: String,
    public_url: String,
    settings: Settings,
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
pub struct HttpReply {
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

impl HttpSender {
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
            settings: config.providers.clone(),
        })
    }

    /// Signs a fixture.
    pub fn sign(&self, fixture: &Fixture, key: Option<&str>) -> Result<SignedCall, CommandError> {
        let Fixture {
            provider,
            recording,
            ..
        } = fixture;
        let path = recording.route.path;
        let signed_url = format!("{}{path}", self.public_url);
        let signature = provider
            .sign(recording, &signed_url, &self.settings)
            .map_err(|refusal| match refusal {
                Refusal::NotConfigured(variable) => {
                    CommandError::usage(format!("{variable} is not set, to sign with"))
                }
                other => CommandError::failed(other),
            })?;
        let mut headers = vec![("Content-Type", recording.content_type.to_owned())];
        headers.extend(recording.headers.iter().cloned());
        headers.push((provider.signing().header, signature.value));
        headers.extend(key.map(|key| ("Idempotency-Key", key.to_owned())));
        Ok(SignedCall {
            url: format!("{}{path}{}", self.url, signature.query),
            headers,
            body: recording.body.clone(),
        })
    }

    /// Sends it.
    pub async fn send(&self, call: &SignedCall) -> Result<HttpReply, reqwest::Error> {
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
        Ok(HttpReply {
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
