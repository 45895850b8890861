//! Why the business did not do what was asked of it.

use crate::store::StoreError;

pub use crate::field_error::FieldError;

/// Why the business did not do what was asked of it. Whatever it has written by then must be rolled back.
#[derive(Debug, thiserror::Error)]
pub enum ShopError {
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

impl From<FieldError> for ShopError {
    fn from(error: FieldError) -> Self {
        Self::Invalid(vec![error])
    }
}

impl From<Vec<FieldError>> for ShopError {
    fn from(errors: Vec<FieldError>) -> Self {
        Self::Invalid(errors)
    }
}

fn list(errors: &[FieldError]) -> String {
    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
    errors.join("; ")
}
