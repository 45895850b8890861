//! Errors as `application/problem+json` (RFC 9457), and the one table that maps failures to statuses.

#[cfg(feature = "server")]
mod server;

use actix_web::{
    HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
};
use serde_json::{Value, json};
use std::{error::Error, fmt, time::Duration};

use crate::{
    field_error::FieldError,
    idempotency::{InvalidKey, RequestError, StoredReply, two_phase::TwoPhaseError},
    provider::refusal::{Malformed, SignatureError},
    store::StoreError,
};

/// The most parts of a request that are told to be wrong: the answer must be small enough to be kept.
pub const MOST_ERRORS: usize = 100;

/// The content type of every error.
pub const CONTENT_TYPE_PROBLEM: &str = "application/problem+json";

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
    fn row(self) -> (&'static str, u16, &'static str) {
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

/// An error on its way to the client. What broke inside stays in `cause`, for the log.
#[derive(Debug)]
pub struct Problem {
    /// What went wrong.
    pub code: ErrorCode,
    message: String,
    retry_after: Option<Duration>,
    allow: Option<&'static str>,
    errors: Vec<FieldError>,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl Problem {
    /// An error with a message for whoever sent the request.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after: None,
            allow: None,
            errors: Vec::new(),
            cause: None,
        }
    }

    /// The method is not among those that the path allows.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        Self {
            allow: Some(allow),
            ..Self::new(
                ErrorCode::MethodNotAllowed,
                format!("allowed here: {allow}"),
            )
        }
    }

    /// The request needs a key, in this header.
    pub fn key_required(header: &str) -> Self {
        Self::new(
            ErrorCode::IdempotencyKeyRequired,
            format!("send {header}, new for each request and the same for each repeat"),
        )
    }

    /// Each part of the request that is wrong; of more than [`MOST_ERRORS`] the first.
    pub fn invalid(mut errors: Vec<FieldError>) -> Self {
        let has_more = errors.len() > MOST_ERRORS;
        errors.truncate(MOST_ERRORS);
        let mut listed: Vec<_> = errors.iter().map(ToString::to_string).collect();
        listed.extend(has_more.then(|| "and more".to_owned()));
        Self {
            errors,
            ..Self::new(ErrorCode::ValidationFailed, listed.join("; "))
        }
    }

    /// A member comes twice in its object, and nobody can tell which is meant. `pointer` is where.
    pub fn duplicate_member(pointer: String) -> Self {
        let error = FieldError::new(pointer, "duplicate_member", "comes more than once");
        Self {
            errors: vec![error.clone()],
            ..Self::new(ErrorCode::BodyMalformed, error.to_string())
        }
    }

    /// The sender has had its share, and may come again after a while.
    pub fn rate_limited(retry_after: Duration) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(ErrorCode::RateLimited, "send fewer requests")
        }
    }

    /// There is no room for the request's body.
    pub fn overloaded() -> Self {
        Self {
            retry_after: Some(Duration::from_secs(1)),
            ..Self::new(
                ErrorCode::Overloaded,
                "too many large bodies come at once, or this one came too slowly; send the same request again",
            )
        }
    }

    /// The provider has no secret to verify with.
    pub fn not_configured(variable: &str) -> Self {
        Self::new(
            ErrorCode::ProviderNotConfigured,
            format!("set {variable} to receive these webhooks"),
        )
    }

    /// The database is away; `cause` is for the log alone.
    pub fn unavailable(cause: impl Error + Send + Sync + 'static) -> Self {
        Self {
            retry_after: Some(Duration::from_secs(1)),
            cause: Some(Box::new(cause)),
            ..Self::new(
                ErrorCode::StoreUnavailable,
                "nothing is acknowledged; send the same request again, with its key",
            )
        }
    }

    /// The service is not ready, and why: `reason` for whoever asks, `cause` for the log alone.
    pub fn not_ready(reason: String, cause: String) -> Self {
        Self {
            retry_after: Some(Duration::from_secs(1)),
            cause: Some(cause.into()),
            ..Self::new(ErrorCode::StoreUnavailable, reason)
        }
    }

    /// Something broke inside; `cause` is for the log alone.
    pub fn internal(cause: impl Error + Send + Sync + 'static) -> Self {
        Self {
            cause: Some(Box::new(cause)),
            ..Self::new(
                ErrorCode::Internal,
                "the log knows more under the request id",
            )
        }
    }
}

impl Problem {
    /// What went wrong, with every cause. Of a body that is wrong it says where and how, never what the body says.
    pub fn for_log(&self) -> String {
        const MOST: usize = 5;
        if self.errors.is_empty() {
            return self.to_string();
        }
        let mut errors: Vec<_> = self.errors.iter().take(MOST).map(place).collect();
        if let Some(more @ 1..) = self.errors.len().checked_sub(MOST) {
            errors.push(format!("{more} more"));
        }
        format!("{}: {}", self.code.name(), errors.join(", "))
    }
}

/// An error of a body without what the body says. The name of a member that is not known is the body's own.
fn place(error: &FieldError) -> String {
    match error.code {
        "unknown_member" => error.code.to_owned(),
        code => format!("{} {code}", error.field),
    }
}

impl fmt::Display for Problem {
    /// The code, the message and every cause.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.message)?;
        let mut cause = self.cause.as_deref().map(|cause| cause as &dyn Error);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.code.status()
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        response.insert_header((CONTENT_TYPE, CONTENT_TYPE_PROBLEM));
        if let Some(after) = self.retry_after {
            // Whole seconds, rounded up: coming too early helps nobody.
            let seconds = after.as_millis().div_ceil(1000).max(1);
            response.insert_header((RETRY_AFTER, seconds.to_string()));
        }
        if let Some(allow) = self.allow {
            response.insert_header((ALLOW, allow));
        }
        if matches!(self.code, ErrorCode::TokenMissing | ErrorCode::TokenInvalid) {
            response.insert_header((WWW_AUTHENTICATE, "Bearer"));
        }
        response.body(self.body())
    }
}

impl Problem {
    fn body(&self) -> String {
        let (name, status, title) = self.code.row();
        let mut body = json!({
            "type": "about:blank",
            "title": title,
            "status": status,
            "detail": self.message,
            "success": false,
            "error_code": name,
            "message": self.message,
        });
        if !self.errors.is_empty() {
            body["errors"] = self.errors.iter().map(field_error).collect();
        }
        body.to_string()
    }

    /// The error as an answer that is stored and replayed.
    pub fn to_stored(&self) -> StoredReply {
        StoredReply {
            status: self.status_code().as_u16().cast_signed(),
            content_type: Some(CONTENT_TYPE_PROBLEM.to_owned()),
            body: self.body().into(),
            ..StoredReply::default()
        }
    }
}

fn field_error(error: &FieldError) -> Value {
    json!({"field": error.field, "code": error.code, "message": error.message})
}

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
