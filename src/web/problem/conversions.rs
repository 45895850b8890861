//! What each failure is for whoever sent the request.

use super::{Problem, code::ErrorCode};

use crate::{
    idempotency::{InvalidKey, RequestError, two_phase::TwoPhaseError},
    provider::refusal::{Malformed, SignatureError},
    store::StoreError,
};

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::KeyMismatch => Self::new(
                ErrorCode::IdempotencyKeyMismatch,
                "this idempotency key was used for another request",
            ),
            RequestError::InProgress { retry_after } => Self {
                retry_after: Some(retry_after),
                ..Self::new(
                    ErrorCode::RequestProcessing,
                    "the first request with this key is still in progress",
                )
            },
            RequestError::Key(error) => error.into(),
            RequestError::Overloaded => Self::overloaded(
                "more requests come than are done in time; nothing was done, send the same request again",
            ),
            RequestError::Timeout => Self::unavailable(error),
            RequestError::ReplyTooLarge | RequestError::Handler(_) => Self::internal(error),
            RequestError::Store(error) => error.into(),
        }
    }
}

impl From<TwoPhaseError> for Problem {
    fn from(error: TwoPhaseError) -> Self {
        match error {
            TwoPhaseError::KeyMismatch => RequestError::KeyMismatch.into(),
            TwoPhaseError::InProgress { retry_after } => {
                RequestError::InProgress { retry_after }.into()
            }
            TwoPhaseError::NotClaimed(cause) if cause.is_unavailable() => Self::unavailable(cause),
            TwoPhaseError::NotClaimed(cause) => Self::internal(cause),
            TwoPhaseError::NotStored { lease, .. } => Self {
                retry_after: Some(lease),
                cause: Some(Box::new(error)),
                ..Self::new(
                    ErrorCode::StoreUnavailable,
                    "the request was carried out, but its answer could not be stored: \
                     sent again, it may be carried out again",
                )
            },
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if error.is_unavailable() {
            Self::unavailable(error)
        } else {
            Self::internal(error)
        }
    }
}

impl From<SignatureError> for Problem {
    fn from(error: SignatureError) -> Self {
        let code = match error {
            SignatureError::Missing => ErrorCode::SignatureMissing,
            SignatureError::Invalid => ErrorCode::SignatureInvalid,
        };
        Self::new(code, error.to_string())
    }
}

impl From<Malformed> for Problem {
    fn from(error: Malformed) -> Self {
        Self::new(ErrorCode::BodyMalformed, error.0)
    }
}

impl From<InvalidKey> for Problem {
    fn from(error: InvalidKey) -> Self {
        Self::new(ErrorCode::IdempotencyKeyInvalid, error.to_string())
    }
}
