//! What is wrong with one part of a request.

use std::fmt;

/// One part of a request that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Where: the JSON Pointer (RFC 6901) of a member of the body, or the name of a parameter.
    pub field: String,
    /// What is wrong, by a name that programs can rely on.
    pub code: &'static str,
    /// What is wrong, for people.
    pub message: String,
}

impl FieldError {
    /// Puts one together.
    pub fn new(field: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            code,
            message: message.into(),
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.is_empty() {
            true => f.write_str(&self.message),
            false => write!(f, "{}: {}", self.field, self.message),
        }
    }
}
