//! What a delivery tells, in words that all providers share.

use crate::{
    identity::{PhoneNumber, UserId},
    json::Value,
};

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
    /// The number. `None` where it is hidden, and where the sender is a name.
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
    /// How far that is: steps come late and out of order, and the highest rank counts. A failure is final only where
    /// nothing better came. 0 where the step is not known.
    pub rank: i32,
    /// Why it failed.
    pub error_code: Option<String>,
}

/// What a customer changed of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amendment {
    /// The message.
    pub message_id: String,
    /// Its outcome.
    pub change: MessageChange,
    /// When, in seconds since 1970.
    pub at_s: Option<i64>,
}

/// The outcome of a message.
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

/// The longest id that an event keeps, in bytes; a longer one is replaced by a hash.
pub const MAX_ID_LEN: usize = 255;
