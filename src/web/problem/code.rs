//! The codes of errors: the one table that maps failures to statuses.

use actix_web::http::StatusCode;

use super::CONTENT_TYPE_PROBLEM;

use crate::idempotency::StoredReply;

/// What went wrong, by the name that clients rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // The table below says what each is.
pub enum ErrorCode {
    IdempotencyKeyRequired,
    IdempotencyKeyInvalid,
    BodyMalformed,
    ValidationFailed,
    SignatureMissing,
    SignatureInvalid,
    TokenMissing,
    TokenInvalid,
    VerifyTokenMismatch,
    ScopeMissing,
    NotFound,
    MethodNotAllowed,
    RequestProcessing,
    IdempotencyKeyMismatch,
    BodyTooLarge,
    ContentTypeUnsupported,
    RateLimited,
    Internal,
    StoreUnavailable,
    Overloaded,
    ProviderNotConfigured,
}

impl ErrorCode {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::IdempotencyKeyRequired,
        Self::IdempotencyKeyInvalid,
        Self::BodyMalformed,
        Self::ValidationFailed,
        Self::SignatureMissing,
        Self::SignatureInvalid,
        Self::TokenMissing,
        Self::TokenInvalid,
        Self::VerifyTokenMismatch,
        Self::ScopeMissing,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestProcessing,
        Self::IdempotencyKeyMismatch,
        Self::BodyTooLarge,
        Self::ContentTypeUnsupported,
        Self::RateLimited,
        Self::Internal,
        Self::StoreUnavailable,
        Self::Overloaded,
        Self::ProviderNotConfigured,
    ];

    /// Name, status and title of each failure. No other place names the status of a failure.
    pub fn row(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::IdempotencyKeyRequired => (
                "IDEMPOTENCY_KEY_REQUIRED",
                400,
                "An idempotency key is required",
            ),
            Self::IdempotencyKeyInvalid => (
                "IDEMPOTENCY_KEY_INVALID",
                400,
                "The idempotency key is invalid",
            ),
            Self::BodyMalformed => ("BODY_MALFORMED", 400, "The body cannot be read"),
            Self::ValidationFailed => (
                "VALIDATION_FAILED",
                400,
                "What the request asks for cannot be done",
            ),
            Self::SignatureMissing => ("SIGNATURE_MISSING", 401, "The request is not signed"),
            Self::SignatureInvalid => (
                "SIGNATURE_INVALID",
                401,
                "The signature does not fit the request",
            ),
            Self::TokenMissing => ("TOKEN_MISSING", 401, "The request has no bearer token"),
            Self::TokenInvalid => ("TOKEN_INVALID", 401, "The token is not known here"),
            Self::ScopeMissing => ("SCOPE_MISSING", 403, "The token does not reach so far"),
            Self::VerifyTokenMismatch => {
                ("VERIFY_TOKEN_MISMATCH", 403, "The verify token is not ours")
            }
            Self::NotFound => ("NOT_FOUND", 404, "Not found"),
            Self::MethodNotAllowed => ("METHOD_NOT_ALLOWED", 405, "The method is not allowed"),
            Self::RequestProcessing => ("REQUEST_PROCESSING", 409, "The same is still in progress"),
            Self::IdempotencyKeyMismatch => (
                "IDEMPOTENCY_KEY_MISMATCH",
                409,
                "The idempotency key was used for another request",
            ),
            Self::BodyTooLarge => ("BODY_TOO_LARGE", 413, "The body is too large"),
            Self::ContentTypeUnsupported => (
                "CONTENT_TYPE_UNSUPPORTED",
                415,
                "The content type is not supported",
            ),
            Self::RateLimited => ("RATE_LIMITED", 429, "Too many requests"),
            Self::Internal => ("INTERNAL", 500, "Something broke inside"),
            Self::StoreUnavailable => ("STORE_UNAVAILABLE", 503, "The database is not available"),
            Self::Overloaded => ("OVERLOADED", 503, "Too much is under way"),
            Self::ProviderNotConfigured => (
                "PROVIDER_NOT_CONFIGURED",
                503,
                "This provider is not configured",
            ),
        }
    }

    /// The name that clients rely on.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// What it means, whatever the request.
    pub fn title(self) -> &'static str {
        self.row().2
    }

    /// Whether the request was refused before anybody knew what it asks for.
    pub fn leaves_unread(self) -> bool {
        matches!(
            self,
            Self::BodyMalformed
                | Self::BodyTooLarge
                | Self::ContentTypeUnsupported
                | Self::Overloaded
        )
    }

    /// Whether the request was not signed, or not by whom it should.
    pub fn is_about_signature(self) -> bool {
        matches!(self, Self::SignatureMissing | Self::SignatureInvalid)
    }

    /// Whether the answer says when to come again.
    pub fn has_retry_after(self) -> bool {
        matches!(
            self,
            Self::RequestProcessing | Self::RateLimited | Self::StoreUnavailable | Self::Overloaded
        )
    }

    /// The one of an answer that is an error, as [`Problem::to_stored`] or a handler has written it.
    pub fn of_stored(reply: &StoredReply) -> Option<Self> {
        #[derive(serde::Deserialize)]
        struct Body {
            error_code: String,
        }
        if reply.content_type.as_deref() != Some(CONTENT_TYPE_PROBLEM) {
            return None;
        }
        let body: Body = serde_json::from_slice(&reply.body).ok()?;
        Self::ALL
            .into_iter()
            .find(|code| code.name() == body.error_code)
    }

    /// The status that it is answered with.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().1).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}
