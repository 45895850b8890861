//! Errors as `application/problem+json` (RFC 9457), and the one table that maps failures to statuses.

mod code;
mod conversions;
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

pub use self::code::ErrorCode;

use crate::{field_error::FieldError, idempotency::StoredReply};

/// The most parts of a request that are told to be wrong: the answer must be small enough to be kept.
pub const MOST_ERRORS: usize = 100;

/// The content type of every error.
pub const CONTENT_TYPE_PROBLEM: &str = "application/problem+json";

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
    pub fn no_room() -> Self {
        Self::overloaded(
            "too many large bodies come at once, or this one came too slowly; send the same request again",
        )
    }

    /// There is more to do than gets done; nothing of this request was.
    pub fn overloaded(message: &'static str) -> Self {
        Self {
            retry_after: Some(Duration::from_secs(1)),
            ..Self::new(ErrorCode::Overloaded, message)
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
