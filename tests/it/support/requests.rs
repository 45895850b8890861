//! Provider requests, signed here independently of the program, and the answers to them.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit as _, Mac as _};
use hookonce::provider::{
    self,
    setting::{Setting, SettingKind},
};

pub const TWILIO_TOKEN: &str = "twilio-token-of-the-tests";
pub const WHATSAPP_SECRET: &str = "app-secret-of-the-tests";
pub const VERIFY_TOKEN: &str = "verify-token-of-the-tests";
pub const PUBLIC_URL: &str = "https://hooks.example.com";
pub const SHOP_PHONE: &str = "+14155238886";
pub const SHOP_PHONE_NUMBER_ID: &str = "106540352242922";

/// What each variable of a provider holds in the tests, but for the secrets that have names.
pub fn provider_secrets() -> impl Iterator<Item = (&'static Setting, String)> {
    let settings = provider::settings().filter(|it| it.kind != SettingKind::NamedSecrets);
    settings.map(|setting| {
        let value = match setting.variable {
            "TWILIO_AUTH_TOKEN" => TWILIO_TOKEN.to_owned(),
            "WHATSAPP_APP_SECRET" => WHATSAPP_SECRET.to_owned(),
            "WHATSAPP_VERIFY_TOKEN" => VERIFY_TOKEN.to_owned(),
            other => format!("{other} of the tests"),
        };
        (setting, value)
    })
}

/// A request before it is sent.
#[derive(Clone, Debug)]
pub struct Call {
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub status: u16,
    pub replayed: Option<String>,
    pub content_type: Option<String>,
    pub retry_after: Option<String>,
    pub request_id: Option<String>,
    pub location: Option<String>,
    pub body: String,
}

impl Reply {
    /// What a replay must give again.
    pub fn essence(&self) -> (u16, Option<String>, String) {
        (self.status, self.content_type.clone(), self.body.clone())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub fn error_code(&self) -> String {
        self.json()["error_code"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

impl Call {
    /// A Twilio form at `path`, signed as Twilio signs: HMAC-SHA1 over the URL and the sorted parameters.
    pub fn twilio_at(path: &str, params: &[(&str, &str)]) -> Self {
        Self::twilio_called(PUBLIC_URL, path, params)
    }

    /// A Twilio form that was sent to another address than that of the tests.
    pub fn twilio_called(public_url: &str, path: &str, params: &[(&str, &str)]) -> Self {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(params)
            .finish();
        let mut sorted = params.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let text: String = sorted
            .iter()
            .flat_map(|(name, value)| [*name, *value])
            .collect();
        let signature = twilio_signature(&format!("{public_url}{path}{text}"));
        Self {
            path: path.to_owned(),
            headers: vec![
                (
                    "Content-Type".into(),
                    "application/x-www-form-urlencoded".into(),
                ),
                ("X-Twilio-Signature".into(), signature),
            ],
            body: body.into_bytes(),
        }
    }

    pub fn twilio(params: &[(&str, &str)]) -> Self {
        Self::twilio_at("/webhooks/twilio", params)
    }

    /// A JSON body from Twilio, signed as Twilio signs: over the URL, which carries the SHA-256 of the body.
    pub fn twilio_json(body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let hash = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&body));
        let path = format!("/webhooks/twilio?bodySHA256={hash}");
        let signature = twilio_signature(&format!("{PUBLIC_URL}{path}"));
        Self {
            path,
            headers: vec![
                ("Content-Type".into(), "application/json".into()),
                ("X-Twilio-Signature".into(), signature),
            ],
            body,
        }
    }

    /// An inbound WhatsApp text through Twilio, to the shop of the tests.
    pub fn twilio_text(sid: &str, text: &str) -> Self {
        Self::twilio(&[
            ("MessageSid", sid),
            ("SmsSid", sid),
            ("AccountSid", "AC00000000000000000000000000000001"),
            ("From", "whatsapp:+14155550100"),
            ("To", &format!("whatsapp:{SHOP_PHONE}")),
            ("Body", text),
            ("NumMedia", "0"),
            ("MessageType", "text"),
            ("ProfileName", "Ana"),
        ])
    }

    /// A body for Meta's route, signed as Meta signs: HMAC-SHA256 over the raw bytes.
    pub fn whatsapp(body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(WHATSAPP_SECRET.as_bytes()).unwrap();
        mac.update(&body);
        let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
        Self {
            path: "/webhooks/whatsapp".into(),
            headers: vec![
                ("Content-Type".into(), "application/json".into()),
                ("X-Hub-Signature-256".into(), signature),
            ],
            body,
        }
    }

    /// Meta's envelope around messages to the shop of the tests.
    pub fn whatsapp_messages(messages: serde_json::Value) -> Self {
        let envelope = serde_json::json!({
            "object": "whatsapp_business_account",
            "entry": [{"id": "1", "changes": [{"field": "messages", "value": {
                "messaging_product": "whatsapp",
                "metadata": {"display_phone_number": "14155238886", "phone_number_id": SHOP_PHONE_NUMBER_ID},
                "contacts": [{"profile": {"name": "Ana"}, "wa_id": "14155550100"}],
                "messages": messages,
            }}]}],
        });
        Self::whatsapp(envelope.to_string())
    }

    /// With another value for a header that it has.
    pub fn instead(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.header(name, value)
    }

    /// Without a header.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    /// With a header more.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// With an idempotency key.
    pub fn key(self, key: &str) -> Self {
        self.header("X-Idempotency-Key", key)
    }

    pub async fn send(&self, client: &reqwest::Client, base: &str) -> reqwest::Result<Reply> {
        let request = client
            .post(format!("{base}{}", self.path))
            .body(self.body.clone());
        let request = self.headers.iter().fold(request, |request, (name, value)| {
            request.header(name, value)
        });
        Reply::of(request.send().await?).await
    }
}

impl Call {
    /// The request as it goes over the wire, its path verbatim: a client tidies a URL up, and breaks its signature.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.head(&format!("Content-Length: {}", self.body.len()));
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// The request up to its body, with a header that says how the body comes.
    pub fn head(&self, framing: &str) -> Vec<u8> {
        let mut head = format!(
            "POST {} HTTP/1.1\r\nHost: inner\r\nConnection: close\r\n",
            self.path
        );
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        format!("{head}{framing}\r\n\r\n").into_bytes()
    }

    /// Sends it over a connection of its own, byte for byte.
    pub async fn send_raw(&self, base: &str) -> Reply {
        Reply::parse(&raw(base, self.to_bytes(), Then::Listen).await)
    }
}

/// What a client does when it has sent its bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Then {
    Listen,
    HangUp,
}

/// Sends bytes over a connection of its own, and gives back all that comes until the server closes it; waits for
/// that no longer than half a minute.
pub async fn raw(base: &str, bytes: Vec<u8>, then: Then) -> String {
    use std::{
        io::{Read as _, Write as _},
        net::{Shutdown, TcpStream},
        time::{Duration, Instant},
    };
    let address = base.trim_start_matches("http://").to_owned();
    let exchange = move || {
        let mut stream = TcpStream::connect(address).expect("a connection");
        let half_a_minute = Duration::from_secs(30);
        stream.set_read_timeout(Some(half_a_minute)).unwrap();
        stream.set_write_timeout(Some(half_a_minute)).unwrap();
        // A server that refuses may close before it has read everything.
        let _ = stream.write_all(&bytes);
        if then == Then::HangUp {
            let _ = stream.shutdown(Shutdown::Write);
        }
        let begun = Instant::now();
        let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
        while let Ok(count @ 1..) = stream.read(&mut buffer)
            && begun.elapsed() < half_a_minute
        {
            answer.extend_from_slice(&buffer[..count]);
        }
        String::from_utf8_lossy(&answer).into_owned()
    };
    actix_web::web::block(exchange).await.expect("an exchange")
}

impl Reply {
    /// Out of the text of an answer; status 0 where there is none.
    pub fn parse(answer: &str) -> Self {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
        let header = |wanted: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.find_map(|(name, value)| {
                name.eq_ignore_ascii_case(wanted).then(|| value.to_owned())
            })
        };
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Self {
            status: status.unwrap_or_default(),
            replayed: header("Idempotent-Replayed"),
            content_type: header("Content-Type"),
            retry_after: header("Retry-After"),
            request_id: header("X-Request-Id"),
            location: header("Location"),
            body: body.to_owned(),
        }
    }
}

impl Reply {
    pub async fn of(response: reqwest::Response) -> reqwest::Result<Self> {
        let header = |name: &str| {
            let value = response.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        Ok(Self {
            status: response.status().as_u16(),
            replayed: header("Idempotent-Replayed"),
            content_type: header("Content-Type"),
            retry_after: header("Retry-After"),
            request_id: header("X-Request-Id"),
            location: header("Location"),
            body: response.text().await?,
        })
    }
}

/// Base64 of HMAC-SHA1 under the token of the tests.
pub fn twilio_signature(text: &str) -> String {
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(TWILIO_TOKEN.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    BASE64.encode(mac.finalize().into_bytes())
}

/// A new message id of Twilio's.
pub fn new_sid() -> String {
    format!("SM{}", uuid::Uuid::new_v4().simple())
}

/// A text message in Meta's form.
pub fn whatsapp_text(id: &str, text: &str) -> serde_json::Value {
    serde_json::json!({
        "id": id, "from": "14155550100", "timestamp": "1763700000", "type": "text", "text": {"body": text},
    })
}

/// A new message id of Meta's.
pub fn new_wamid() -> String {
    let id = BASE64.encode(uuid::Uuid::new_v4().as_bytes());
    format!("wamid.{id}")
}

pub fn told(reply: &Reply) -> (u16, Option<&str>) {
    (reply.status, reply.replayed.as_deref())
}

pub fn refused(reply: &Reply) -> (u16, String) {
    assert_eq!(
        reply.content_type.as_deref(),
        Some("application/problem+json"),
        "{reply:?}"
    );
    (reply.status, reply.error_code())
}

pub fn problem(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

pub fn processing() -> (u16, String) {
    problem(409, "REQUEST_PROCESSING")
}

pub fn mismatch() -> (u16, String) {
    problem(409, "IDEMPOTENCY_KEY_MISMATCH")
}
