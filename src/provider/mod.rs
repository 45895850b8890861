//! The providers: how they sign, and what they send. Knows neither HTTP frameworks nor SQL.

pub mod diagnosis;
pub mod json;
pub mod signature;
pub mod twilio;
pub mod whatsapp;

pub use signature::SignatureError;

use crate::{
    identity::{PhoneNumber, UserId},
    json::Value,
};

/// Who sent a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Provider {
    /// Twilio's messaging webhooks.
    Twilio,
    /// Meta's WhatsApp Cloud API.
    WhatsApp,
}

impl Provider {
    /// Its name, as stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Twilio => "twilio",
            Self::WhatsApp => "whatsapp",
        }
    }

    /// The header that carries its signatures.
    pub const fn signature_header(self) -> &'static str {
        match self {
            Self::Twilio => twilio::signature::HEADER,
            Self::WhatsApp => whatsapp::signature::HEADER,
        }
    }

    /// The members of its bodies that hold events.
    pub const fn members_around_events(self) -> &'static [&'static str] {
        match self {
            Self::Twilio => &[],
            Self::WhatsApp => whatsapp::AROUND_EVENTS,
        }
    }

    /// The variable that its secrets are configured by.
    pub const fn secret_variable(self) -> &'static str {
        match self {
            Self::Twilio => "TWILIO_AUTH_TOKEN",
            Self::WhatsApp => "WHATSAPP_APP_SECRET",
        }
    }
}

/// How a delivery is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyForm {
    /// TwiML with the reply to the message.
    Twiml,
    /// Nothing.
    Empty,
    /// JSON that reports each event.
    Report,
}

/// One verified and parsed HTTP request from a provider.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Who sent it.
    pub provider: Provider,
    /// What kind of delivery it is.
    pub webhook_type: &'static str,
    /// How it is answered.
    pub reply_form: ReplyForm,
    /// The idempotency key where no header names one.
    pub derived_key: String,
    /// Its body as JSON.
    pub body: Value,
    /// What it tells, in the order of the delivery.
    pub events: Vec<Event>,
}

/// One thing that a delivery tells.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its identity, unique for the provider; at most [`MAX_ID_LEN`] bytes.
    pub id: String,
    /// The provider's word for what it is.
    pub kind: String,
    /// SHA-256 of what was signed about it, in hex: the same id with another digest is a conflict.
    pub digest: String,
    /// All that the provider said of it.
    pub payload: Value,
    /// The number of ours that it names, whatever it means: it is the business of whoever has that number.
    pub ours: Option<Address>,
    /// What it means.
    pub content: Content,
}

/// What an event means.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A customer wrote a text.
    Text {
        /// Who wrote.
        from: Sender,
        /// What.
        text: String,
    },
    /// A customer sent a cart of the catalogue.
    Cart {
        /// Who sent it.
        from: Sender,
        /// What is in it.
        lines: Vec<CartLine>,
        /// What the customer wrote beside it.
        note: Option<String>,
    },
    /// A message that we sent has come further.
    Status(StatusChange),
    /// A customer edited a message, or took it back.
    Amended(Amendment),
    /// A customer sent another message: a picture, a voice note, a button that was pressed. Stored, and nothing more.
    Message,
    /// Anything else: stored, and nothing more.
    Other,
}

impl Content {
    /// Whether a customer wrote what an order can come of.
    pub fn may_order(&self) -> bool {
        match self {
            Self::Text { .. } | Self::Cart { .. } => true,
            Self::Status(_) | Self::Amended(_) | Self::Message | Self::Other => false,
        }
    }
}

/// A number of ours: customers write to it, and we write from it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// The number itself.
    Phone(PhoneNumber),
    /// Its id at Meta.
    PhoneNumberId(String),
}

impl Address {
    /// The number or the id.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Phone(number) => number.as_str(),
            Self::PhoneNumberId(id) => id,
        }
    }
}

/// Who wrote, by all that is told of it: the same user may be told by the one alone another day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sender {
    /// The number. None where it is hidden, and where the sender is a name.
    pub phone: Option<PhoneNumber>,
    /// Meta's business-scoped user id.
    pub user_id: Option<UserId>,
    /// The name of the profile.
    pub name: Option<String>,
}

/// One line of a cart, its numbers as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CartLine {
    /// Code of the product at the retailer.
    pub sku: String,
    /// How many.
    pub quantity: String,
    /// Price of one.
    pub price: Option<String>,
    /// ISO 4217 code of that price.
    pub currency: Option<String>,
}

/// A step of a message that we sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusChange {
    /// Our message.
    pub message_id: String,
    /// The provider's word for the step.
    pub status: String,
    /// Why it failed.
    pub error_code: Option<String>,
}

/// What a customer changed of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amendment {
    /// The message.
    pub message_id: String,
    /// What became of it.
    pub change: MessageChange,
    /// When, in seconds since 1970.
    pub at_s: Option<i64>,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageChange {
    /// It says something else now.
    Edited {
        /// The members that lead to what it says, within the event's payload.
        text_at: Vec<String>,
    },
    /// It was taken back.
    Revoked,
}

impl StatusChange {
    /// How far this step is: steps come late and out of order, and the highest rank counts. A failure is final only
    /// where nothing better came. Of Meta's and Twilio's documentation of message statuses.
    pub fn rank(&self) -> i32 {
        match self.status.as_str() {
            "accepted" | "scheduled" | "queued" => 10,
            "sending" => 20,
            "sent" => 30,
            "failed" | "undelivered" | "canceled" => 40,
            "delivered" => 50,
            "read" => 60,
            "played" => 70,
            _ => 0,
        }
    }
}

/// Why a verified body could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

/// The longest id that an event keeps; a longer one is replaced by a hash.
pub const MAX_ID_LEN: usize = 255;

/// SHA-256 in lower-case hex.
fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    hex::encode(Sha256::digest(bytes))
}

/// SHA-256 of a document, whatever the order of its members.
fn digest(value: &Value) -> String {
    sha256_hex(value.canonical().as_bytes())
}

/// A text member without NUL, which PostgreSQL cannot keep.
fn text(value: &Value, member: &str) -> Option<String> {
    value.get(member)?.as_str().map(without_nul)
}

fn without_nul(text: &str) -> String {
    text.replace('\0', "")
}

/// An id that can be kept and looked up.
fn usable_id(id: &str) -> bool {
    (1..=MAX_ID_LEN).contains(&id.len()) && !id.contains('\0')
}

/// The first of these that is a user id.
fn first_user_id(texts: impl Iterator<Item = impl AsRef<str>>) -> Option<UserId> {
    texts
        .into_iter()
        .find_map(|text| text.as_ref().parse().ok())
}

/// A number or a text, as written.
fn as_written(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::Number(number) => Some(number.as_str().to_owned()),
        Value::String(text) => Some(without_nul(text)),
        _ => None,
    }
}

/// The lines of Meta's `product_items`.
fn cart_lines(items: &Value) -> Vec<CartLine> {
    let line = |item: &Value| CartLine {
        sku: text(item, "product_retailer_id").unwrap_or_default(),
        quantity: as_written(item.get("quantity")).unwrap_or_default(),
        price: as_written(item.get("item_price")),
        currency: text(item, "currency"),
    };
    items.as_array().into_iter().flatten().map(line).collect()
}
