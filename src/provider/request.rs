//! A provider's request as it came, whatever HTTP framework took it. Nothing about it is believed yet.

use std::{cell::OnceCell, time::SystemTime};

use super::{form::Form, refusal::Malformed};
use crate::media_type;

/// Looks headers up.
pub trait Headers {
    /// The first value of a header, whatever the case of its name. `None` where it is no visible ASCII text.
    fn get(&self, name: &str) -> Option<&str>;
}

impl Headers for Vec<(&'static str, String)> {
    fn get(&self, name: &str) -> Option<&str> {
        let mut headers = self.iter();
        let (_, value) = headers.find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(value)
    }
}

/// A request with all that may be signed.
pub struct Request<'a> {
    /// The URL that its sender called, path and query verbatim.
    pub url: &'a str,
    /// Its headers.
    pub headers: &'a dyn Headers,
    /// The body, raw.
    pub body: &'a [u8],
    /// When it came, by our clock.
    pub received_at: SystemTime,
    form: OnceCell<Result<Form<'a>, Malformed>>,
}

impl<'a> Request<'a> {
    /// Puts a request together.
    pub fn new(
        url: &'a str,
        headers: &'a dyn Headers,
        body: &'a [u8],
        received_at: SystemTime,
    ) -> Self {
        Self {
            url,
            headers,
            body,
            received_at,
            form: OnceCell::new(),
        }
    }

    /// A header's value, without white space around it.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.get(name).map(str::trim)
    }

    /// The content type, as the header has it; empty where there is none.
    pub fn content_type(&self) -> &'a str {
        self.header("Content-Type").unwrap_or_default()
    }

    /// Whether the body is a form, by its content type.
    pub fn is_form(&self) -> bool {
        media_type::is(self.content_type(), media_type::FORM)
    }

    /// The body as a form, read once, whatever its content type.
    ///
    /// # Errors
    /// Where it has too many parameters.
    pub fn form(&self) -> Result<&Form<'a>, Malformed> {
        let form = self.form.get_or_init(|| Form::parse(self.body));
        form.as_ref().map_err(Clone::clone)
    }
}
