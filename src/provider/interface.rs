//! The trait of a provider, and what its requests become.

use std::{fmt, hash, time::Duration};

use super::{
    diagnosis::{Diagnosis, OtherUrl},
    event::Event,
    handshake::Handshake,
    recording::{Recording, Signature},
    refusal::{Malformed, Refusal},
    request::Request,
    route::Route,
    setting::{Setting, Settings},
};
use crate::json::Value;

/// Somebody who sends webhooks.
///
/// A request goes through [`verify`](Self::verify), then [`parse`](Self::parse). All other methods describe the provider to
/// the program (routes, metrics, `explain`, configuration, `replay`); one that is used through a
/// [`Receiver`](crate::receiver::Receiver) alone may leave them out. Providers are told apart by their names.
pub trait Provider: Send + Sync + 'static {
    /// Its name, as stored and shown: small letters. It never changes, for what is stored goes by it.
    fn name(&self) -> &'static str;

    /// Its name as people write it.
    fn title(&self) -> &'static str {
        self.name()
    }

    /// What its idempotency keys belong to: [`SCOPE_PREFIX`] and its name.
    fn scope(&self) -> &'static str;

    /// The kinds of its deliveries, as they are stored. No other provider has one of them.
    fn webhook_types(&self) -> &'static [&'static str] {
        &[]
    }

    /// The variables that it is configured by, first the one that its secrets are usually in.
    fn settings(&self) -> &'static [Setting] {
        &[]
    }

    /// The variable that its secrets are usually in.
    fn secret_variable(&self) -> &'static str {
        let first = self.settings().first();
        first.map_or("", |setting| setting.variable)
    }

    /// Where its requests come, the usual place first.
    fn routes(&self) -> &'static [Route] {
        &[]
    }

    /// How it checks that an address is ours, where it does.
    fn handshake(&self) -> Option<&'static Handshake> {
        None
    }

    /// How it signs.
    fn signing(&self) -> &'static Signing {
        &UNSAID
    }

    /// Checks who sent a request. Returns which of the secrets signed it, where there are several.
    ///
    /// # Errors
    /// Where it cannot be believed: see [`Refusal`].
    fn verify(
        &self,
        request: &Request<'_>,
        settings: &Settings,
    ) -> Result<Option<SignedBy>, Refusal>;

    /// Reads what a request tells that came by a route.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn parse(&'static self, request: &Request<'_>, route: &Route) -> Result<Delivery, Refusal>;

    /// For how long the same may come again, as far as is known.
    fn sends_again_for(&self) -> Duration;

    /// The members of its bodies that hold events.
    fn members_around_events(&self) -> &'static [&'static str] {
        &[]
    }

    /// Looks for why the signature of a request does not fit. Where `thorough`, some dozens of small changes are tried, also
    /// with other URLs that the sender may have called. Otherwise the body is not read and no secret is tried again.
    fn diagnose(
        &self,
        request: &Request<'_>,
        settings: &Settings,
        others: &[OtherUrl],
        thorough: bool,
    ) -> Diagnosis {
        let _ = (request, settings, others, thorough);
        Diagnosis::default()
    }

    /// How the names of the files end that hold its recorded requests.
    fn fixture_endings(&self) -> &'static [&'static str] {
        &[]
    }

    /// The request that was recorded in a file with such an ending. `None` where its name says too little.
    fn recording(&self, file_name: &str, body: Vec<u8>) -> Option<Recording> {
        let _ = (file_name, body);
        None
    }

    /// The same with new ids, so that it tells new events.
    ///
    /// # Errors
    /// Where the body cannot be read.
    fn renew(&self, recording: &Recording) -> Result<Recording, Malformed> {
        let _ = recording;
        Err(Malformed("its requests are not recorded".to_owned()))
    }

    /// Signs what is sent to `url` as the provider does, with the first secret.
    ///
    /// # Errors
    /// Where there is no secret, or the body cannot be read.
    fn sign(
        &self,
        recording: &Recording,
        url: &str,
        settings: &Settings,
    ) -> Result<Signature, Refusal> {
        let _ = (recording, url, settings);
        Err(Malformed("its requests are not signed here".to_owned()).into())
    }
}

/// For a provider that does not describe how it signs.
static UNSAID: Signing = Signing {
    header: "",
    about: "",
    signs_url: false,
    shown_parameters: &[],
};

/// How the scopes of providers begin.
pub const SCOPE_PREFIX: &str = "webhook:";

impl fmt::Debug for dyn Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for dyn Provider {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for dyn Provider {}

impl hash::Hash for dyn Provider {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

/// How a provider signs.
#[derive(Debug)]
pub struct Signing {
    /// The header that carries the signature.
    pub header: &'static str,
    /// What the signature is, in a line.
    pub about: &'static str,
    /// Whether the URL is signed.
    pub signs_url: bool,
    /// The parameters of the URL's query whose values may be shown.
    pub shown_parameters: &'static [&'static str],
}

/// Which of several secrets made a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedBy {
    /// Its place, from 0.
    pub at: usize,
    /// How many there are.
    pub count: usize,
}

/// How a delivery is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyForm {
    /// A document with the reply to the message.
    Document(&'static DocumentForm),
    /// Nothing.
    Empty,
    /// JSON that reports each event.
    Report,
}

/// A document that holds the reply to a message.
#[derive(Debug)]
pub struct DocumentForm {
    /// Its content type, by which it is known.
    pub content_type: &'static str,
    /// Writes it, with the text for the customer, if there is one.
    pub write: fn(Option<&str>) -> String,
}

impl PartialEq for DocumentForm {
    fn eq(&self, other: &Self) -> bool {
        self.content_type == other.content_type
    }
}

impl Eq for DocumentForm {}

/// One verified and parsed HTTP request from a provider.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Who sent it.
    pub provider: &'static dyn Provider,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::refusal::Refusal;

    /// Implements only what has no default.
    struct Terse(&'static str);

    impl Provider for Terse {
        fn name(&self) -> &'static str {
            self.0
        }
        fn scope(&self) -> &'static str {
            "webhook:terse"
        }
        fn verify(&self, _: &Request<'_>, _: &Settings) -> Result<Option<SignedBy>, Refusal> {
            Ok(None)
        }
        fn parse(&'static self, _: &Request<'_>, _: &Route) -> Result<Delivery, Refusal> {
            Err(Malformed("nothing".to_owned()).into())
        }
        fn sends_again_for(&self) -> Duration {
            Duration::from_secs(1)
        }
    }

    #[test]
    fn what_a_provider_does_not_say_it_does_not_have() {
        let terse = Terse("terse");
        assert_eq!(terse.title(), "terse");
        assert_eq!(terse.secret_variable(), "");
        assert!(terse.webhook_types().is_empty());
        assert!(terse.settings().is_empty());
        assert!(terse.routes().is_empty());
        assert!(terse.handshake().is_none());
        assert!(terse.members_around_events().is_empty());
        assert!(terse.fixture_endings().is_empty());
        assert!(terse.recording("a.json", b"{}".to_vec()).is_none());
    }

    #[test]
    fn providers_are_the_same_where_their_names_are() {
        let (one, other): (&dyn Provider, &dyn Provider) = (&Terse("one"), &Terse("other"));
        assert!(one == &Terse("one") as &dyn Provider);
        assert!(one != other);
        assert_eq!(format!("{one:?}"), "one");
        let different: std::collections::HashSet<&dyn Provider> = [one, other, one].into();
        assert_eq!(different.len(), 2);
    }

    #[test]
    fn documents_are_the_same_where_their_content_types_are() {
        let form = |content_type| DocumentForm {
            content_type,
            write: |_| String::new(),
        };
        assert_eq!(form("text/xml"), form("text/xml"));
        assert_ne!(form("text/xml"), form("text/html"));
    }
}
