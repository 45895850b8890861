//! What the shop and the clean-up fail with, as problems.

use std::time::Duration;

use super::{ErrorCode, Problem};
use crate::{
    jobs::cleanup::{Failure, Refused},
    shop::error::ShopError,
};

impl From<Refused> for Problem {
    fn from(error: Refused) -> Self {
        /// About when a run that is going on ends.
        const A_WHILE: Duration = Duration::from_secs(5);
        match error {
            Refused::Running { .. } | Refused::Done => Self {
                retry_after: Some(A_WHILE),
                ..Self::new(ErrorCode::RequestProcessing, error.to_string())
            },
            Refused::Store(error) => error.into(),
        }
    }
}

impl From<Failure> for Problem {
    fn from(error: Failure) -> Self {
        match error {
            Failure::Stopped | Failure::TakenOver => Self::unavailable(error),
            Failure::Store(error) => error.into(),
        }
    }
}

impl From<ShopError> for Problem {
    fn from(error: ShopError) -> Self {
        match error {
            ShopError::NotFound(_) => Self::new(ErrorCode::NotFound, error.to_string()),
            ShopError::Invalid(errors) => Self::invalid(errors),
            ShopError::Store(error) => error.into(),
        }
    }
}
