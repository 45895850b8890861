//! `hookonce explain`: says why the signature of a saved request fits or does not, as the log says it of those that come.

use actix_web::http::{
    Uri,
    header::{HOST, HeaderMap, HeaderName, HeaderValue},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    io::Read as _,
    net::IpAddr,
    path::{Path, PathBuf},
};

use super::{CommandError, output::Output};
use crate::{
    config::Config,
    printable::printable,
    provider::{Provider, REGISTRY, diagnosis::Diagnosis},
    web::{
        diagnosis::{Evidence, describe_secrets},
        origin::{RequestOrigin, UrlSource},
    },
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A saved HTTP request: the request line, the headers, an empty line, the body as it came; or JSON with method,
    /// url, headers and body or body_base64. - for standard input
    file: PathBuf,
    /// The address that sent it to the service, as the log has it: tells whether its forwarding headers are believed
    #[arg(long)]
    peer: Option<IpAddr>,
}

/// A request out of a file.
#[derive(Debug)]
struct SavedRequest {
    uri: Uri,
    headers: HeaderMap,
    body: Vec<u8>,
    /// What was odd about the file.
    notes: Vec<String>,
}

/// A file that holds no request.
#[derive(Debug, thiserror::Error)]
#[error("this is no saved request: {0}")]
struct NoRequest(String);

pub fn run(args: &Args, config: &Config) -> Result<(), CommandError> {
    let bytes = read(&args.file)
        .map_err(|error| CommandError::usage(format!("{}: {error}", args.file.display())))?;
    let saved = SavedRequest::parse(&bytes).map_err(CommandError::usage)?;
    let Some((provider, by)) = saved.provider() else {
        return Err(CommandError::failed(
            "neither a signature header nor the path tells which provider sent it: it would not be taken",
        ));
    };
    let origin = RequestOrigin {
        uri: &saved.uri,
        headers: &saved.headers,
        peer: args.peer.or_else(|| assumed_peer(config)),
    };
    let evidence = Evidence {
        provider,
        origin,
        body: &saved.body,
    };
    let diagnosis = evidence.diagnose(config, true);
    let mut lines = Lines::default();
    lines.say("provider", &format!("{} (by {by})", provider.name()));
    if provider.signing().signs_url {
        let source = where_from(&origin, config, args.peer);
        let url = evidence.shown_url(config);
        lines.say("URL", &format!("{url} ({source})"));
    }
    let content_type = evidence.content_type().unwrap_or("none");
    lines.say("content type", content_type);
    lines.say("body", &format!("{} bytes", saved.body.len()));
    for note in &saved.notes {
        lines.say("note", note);
    }
    describe(&diagnosis, &mut lines);
    let printed = Output::default().line(lines.0.join("\n"));
    match diagnosis.verifies() {
        true => printed,
        false => Err(CommandError::failed("the signature would be refused")),
    }
}

/// What was found out of the signature.
fn describe(diagnosis: &Diagnosis, lines: &mut Lines) {
    lines.say("signature", &diagnosis.signature.describe());
    if let Some(hash) = diagnosis.body_hash {
        lines.say(hash.parameter, hash.state.as_str());
    }
    if let Some(named) = &diagnosis.named {
        lines.say("signed with", &named.about);
    }
    if diagnosis.secrets.is_empty() {
        lines.say(
            "secrets",
            &format!("none: {} is not set", diagnosis.variable),
        );
    }
    for secret in describe_secrets(diagnosis) {
        lines.say("secret", &secret);
    }
    for change in &diagnosis.tried {
        lines.say("tried", &format!("{change}: does not fit"));
    }
    if let Some(fit) = &diagnosis.fits {
        let url = fit.url.as_ref().map(|url| format!(" ({url})"));
        let url = url.unwrap_or_default();
        let secret = fit.secret + 1;
        lines.say(
            "tried",
            &format!("{}: fits, with secret {secret}{url}", fit.change),
        );
    }
    lines.say("result", &diagnosis.reason());
    lines.say("what to do", &diagnosis.advice());
}

/// Lines with their names before them. What comes from a file may come from anywhere.
#[derive(Default)]
struct Lines(Vec<String>);

impl Lines {
    fn say(&mut self, name: &str, what: &str) {
        self.0.push(format!("{name:<14}{}", printable(what)));
    }
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    if file != Path::new("-") {
        return std::fs::read(file);
    }
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whoever sits behind proxies saves requests that came through them.
fn assumed_peer(config: &Config) -> Option<IpAddr> {
    config.trusted_proxies.first().map(|network| network.addr())
}

fn where_from(origin: &RequestOrigin<'_>, config: &Config, peer: Option<IpAddr>) -> String {
    let ignored = origin.forwarding_headers();
    match (origin.source(config.into()), peer) {
        (UrlSource::Configured, _) => "configured: PUBLIC_BASE_URL".to_owned(),
        (UrlSource::Forwarded, Some(peer)) => format!("forwarded: {peer} is in TRUSTED_PROXIES"),
        (UrlSource::Forwarded, None) => {
            "forwarded: as from a proxy of TRUSTED_PROXIES; --peer says from where it came"
                .to_owned()
        }
        (UrlSource::Direct, _) if ignored.is_empty() => "direct: the Host header".to_owned(),
        (UrlSource::Direct, Some(peer)) => format!(
            "direct: the Host header; {} ignored, for {peer} is not in TRUSTED_PROXIES",
            ignored.join(", ")
        ),
        (UrlSource::Direct, None) => format!(
            "direct: the Host header; {} ignored, for TRUSTED_PROXIES is not set",
            ignored.join(", ")
        ),
    }
}

impl SavedRequest {
    fn parse(bytes: &[u8]) -> Result<Self, NoRequest> {
        match bytes.trim_ascii_start().first() {
            Some(b'{') => Self::from_json(bytes),
            _ => Self::from_http(bytes),
        }
    }

    /// As it goes over the wire.
    fn from_http(bytes: &[u8]) -> Result<Self, NoRequest> {
        const MOST: usize = 128;
        let mut room = [httparse::EMPTY_HEADER; MOST];
        let mut request = httparse::Request::new(&mut room);
        let parsed = request
            .parse(bytes)
            .map_err(|error| NoRequest(error.to_string()))?;
        let httparse::Status::Complete(end) = parsed else {
            return Err(NoRequest(
                "there is no empty line after the headers".to_owned(),
            ));
        };
        let mut headers = HeaderMap::new();
        for header in request.headers.iter() {
            append(&mut headers, header.name, header.value)?;
        }
        let mut saved = Self {
            uri: uri(request.path.unwrap_or("/"))?,
            headers,
            body: Vec::new(),
            notes: Vec::new(),
        };
        saved.take_body(&bytes[end..])?;
        Ok(saved)
    }

    /// The body as its headers frame it. Editors add a new line at the end, and a copy may have lost some of it.
    fn take_body(&mut self, rest: &[u8]) -> Result<(), NoRequest> {
        let text = |name: &str| self.headers.get(name)?.to_str().ok();
        if text("Transfer-Encoding")
            .is_some_and(|coding| coding.trim().eq_ignore_ascii_case("chunked"))
        {
            // A tool that puts the chunks together leaves the header where it was.
            match unchunked(rest) {
                Some(body) => self.body = body,
                None => {
                    self.notes
                        .push("said to be chunked, and taken as it is".to_owned());
                    self.body = rest.to_vec();
                }
            }
            return Ok(());
        }
        let length = text("Content-Length").and_then(|length| length.trim().parse::<usize>().ok());
        self.body = rest.to_vec();
        match length {
            Some(length) if length < rest.len() => {
                let more = rest.len() - length;
                self.notes
                    .push(format!("{more} bytes after the body were left out"));
                self.body.truncate(length);
            }
            Some(length) if length > rest.len() => {
                let (is, should) = (rest.len(), length);
                self.notes.push(format!(
                    "the file has {is} of the {should} bytes of the body"
                ));
            }
            _ => {}
        }
        Ok(())
    }

    fn from_json(bytes: &[u8]) -> Result<Self, NoRequest> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Document {
            #[serde(default)]
            #[allow(dead_code)] // Signed by nobody.
            method: Option<String>,
            url: String,
            headers: BTreeMap<String, String>,
            body: Option<String>,
            body_base64: Option<String>,
        }
        let document: Document =
            serde_json::from_slice(bytes).map_err(|error| NoRequest(error.to_string()))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &document.headers {
            append(&mut headers, name, value.as_bytes())?;
        }
        let body = match (document.body, document.body_base64) {
            (Some(_), Some(_)) => return Err(NoRequest("it has two bodies".to_owned())),
            (Some(body), None) => body.into_bytes(),
            (None, Some(text)) => BASE64
                .decode(text)
                .map_err(|error| NoRequest(format!("body_base64: {error}")))?,
            (None, None) => Vec::new(),
        };
        let uri = uri(&document.url)?;
        if let Some(authority) = uri.authority()
            && !headers.contains_key(HOST)
        {
            append(&mut headers, HOST.as_str(), authority.as_str().as_bytes())?;
        }
        Ok(Self {
            uri,
            headers,
            body,
            notes: Vec::new(),
        })
    }

    /// Who sent it, and what tells so: a header that carries signatures; where several providers have one, the path too.
    fn provider(&self) -> Option<(&'static dyn Provider, String)> {
        let signs = |it: &dyn Provider| self.headers.contains_key(it.signing().header);
        let by_header: Vec<_> = REGISTRY.iter().copied().filter(|it| signs(*it)).collect();
        let by_path =
            |among: &[&'static dyn Provider]| among.iter().copied().find(|it| self.is_for(*it));
        match by_path(&by_header).or(by_header.first().copied()) {
            Some(provider) => {
                let header = provider.signing().header;
                Some((provider, format!("its {header} header")))
            }
            None => Some((by_path(REGISTRY)?, "its path".to_owned())),
        }
    }

    /// Whether it came by a provider's route, wherever a proxy serves that.
    fn is_for(&self, provider: &dyn Provider) -> bool {
        let path = self.uri.path().trim_end_matches('/');
        let mut routes = provider.routes().iter();
        routes.any(|route| path.ends_with(route.path))
    }
}

fn uri(text: &str) -> Result<Uri, NoRequest> {
    text.parse()
        .map_err(|error| NoRequest(format!("its URL: {error}")))
}

fn append(headers: &mut HeaderMap, name: &str, value: &[u8]) -> Result<(), NoRequest> {
    let name: HeaderName = name
        .parse()
        .map_err(|_malformed| NoRequest("a header's name cannot be read".to_owned()))?;
    let value = HeaderValue::from_bytes(value)
        .map_err(|_malformed| NoRequest(format!("the header {name} cannot be read")))?;
    headers.append(name, value);
    Ok(())
}

/// The body that chunks make up (RFC 9112). `None` where they are none, or some are missing.
fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let httparse::Status::Complete((start, length)) = httparse::parse_chunk_size(rest).ok()?
        else {
            return None;
        };
        let length = usize::try_from(length).ok()?;
        let end = start.checked_add(length)?;
        if length == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(start..end)?);
        rest = rest.get(end..)?.strip_prefix(b"\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_saved() {
        let head =
            "POST /webhooks/twilio?x=1 HTTP/1.1\r\nHost: a.example\r\nX-Twilio-Signature: s\r\n";
        let cases = [
            (format!("{head}\r\na=1"), "a=1", 0),
            (format!("{head}Content-Length: 3\r\n\r\na=1\n"), "a=1", 1),
            (format!("{head}Content-Length: 9\r\n\r\na=1"), "a=1", 1),
            (
                format!("{head}Transfer-Encoding: chunked\r\n\r\n2\r\na=\r\n1;x\r\n1\r\n0\r\n\r\n"),
                "a=1",
                0,
            ),
            (
                format!("{head}Transfer-Encoding: chunked\r\n\r\na=1"),
                "a=1",
                1,
            ),
            (format!("{head}\r\na=1").replace("\r\n", "\n"), "a=1", 0),
        ];
        for (text, body, notes) in cases {
            let saved = SavedRequest::parse(text.as_bytes()).expect(&text);
            assert_eq!(saved.body, body.as_bytes(), "{text}");
            assert_eq!(saved.notes.len(), notes, "{text}: {saved:?}");
            assert_eq!(saved.uri.to_string(), "/webhooks/twilio?x=1");
            assert_eq!(
                saved.provider().map(|(provider, _)| provider.name()),
                Some("twilio")
            );
        }
    }

    #[test]
    fn what_is_no_request_is_not_taken_for_one() {
        for text in [
            "",
            "hello",
            "POST / HTTP/1.1\r\nHost: x\r\n",
            "{}",
            r#"{"url": "/", "headers": {}, "body": "a", "body_base64": "YQ=="}"#,
            r#"{"url": "/", "headers": {}, "body_base64": "!"}"#,
            r#"{"url": "/", "headers": {"a b": "c"}}"#,
        ] {
            assert!(SavedRequest::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
