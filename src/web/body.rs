//! Reads a request's body: as it is, never more than allowed, never longer than allowed.

use actix_web::{
    HttpRequest,
    error::PayloadError,
    http::header::CONTENT_LENGTH,
    web::{self, Bytes, BytesMut},
};
use futures_util::{Stream, StreamExt as _};
use tokio::time::{Instant, timeout_at};

use super::problem::{ErrorCode, Problem};

/// Reads the body, raw.
///
/// # Errors
/// Where it is larger than `limit` bytes, breaks off, or has not come by `deadline`.
pub async fn read(
    request: &HttpRequest,
    mut payload: impl Stream<Item = Result<Bytes, PayloadError>> + Unpin,
    limit: usize,
    deadline: Instant,
) -> Result<Bytes, Problem> {
    let announced = announced_length(request);
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    let mut body = BytesMut::new();
    loop {
        match timeout_at(deadline, payload.next()).await {
            Err(_elapsed) => return Err(malformed("the body did not arrive in time")),
            Ok(None) => return Ok(body.freeze()),
            Ok(Some(Err(error))) => return Err(malformed(&format!("the body broke off: {error}"))),
            Ok(Some(Ok(chunk))) if body.len() + chunk.len() > limit => {
                return Err(too_large(limit));
            }
            Ok(Some(Ok(chunk))) => body.extend_from_slice(&chunk),
        }
    }
}

/// Looks at a body of `size` bytes; at a large one on a thread that may be kept busy.
///
/// # Errors
/// Those of `look`.
pub async fn examine<T, F>(size: usize, look: F) -> Result<T, Problem>
where
    F: FnOnce() -> Result<T, Problem> + Send + 'static,
    T: Send + 'static,
{
    const LARGE: usize = 64 * 1024;
    if size < LARGE {
        return look();
    }
    let looked = web::block(look).await;
    looked.unwrap_or_else(|died| Err(Problem::internal(died)))
}

fn announced_length(request: &HttpRequest) -> Option<u64> {
    let length = request.headers().get(CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

fn too_large(limit: usize) -> Problem {
    Problem::new(
        ErrorCode::BodyTooLarge,
        format!("a body has at most {limit} bytes"),
    )
}

fn malformed(message: &str) -> Problem {
    Problem::new(ErrorCode::BodyMalformed, message)
}
