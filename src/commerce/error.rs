//! Why the business did not do what was asked of it.

use std::fmt;

use crate::store::StoreError;

/// Why the business did not do what was asked of it. Whatever it has written by then must be rolled back.
#[derive(Debug, thiserror::Error)]
pub enum CommerceError {
    /// There is nothing of this kind with the id that was given, or it is another's.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// Every part of the request that cannot be.
    #[error("the request cannot be done: {}", list(.0))]
    Invalid(Vec<FieldError>),
    /// The database did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

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

impl From<FieldError> for CommerceError {
    fn from(error: FieldError) -> Self {
        Self::Invalid(vec![error])
    }
}

impl From<Vec<FieldError>> for CommerceError {
    fn from(errors: Vec<FieldError>) -> Self {
        Self::Invalid(errors)
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

fn list(errors: &[FieldError]) -> String {
    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
    errors.join("; ")
}
