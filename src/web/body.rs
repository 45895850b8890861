//! Reads a request's body: as it is, never more than allowed, never longer than allowed, and as long as there is room.

use actix_web::{
    HttpMessage as _, HttpRequest, error::PayloadError, http::header::CONTENT_LENGTH, web::Bytes,
};
use futures_util::{Stream, StreamExt as _};
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

use super::{
    body_budget::{BodyBudget, BodyPermit, SMALL},
    problem::{ErrorCode, Problem},
};

/// The places of the bodies of a request, for as long as there is the request: a middleware may have read one before.
#[derive(Default)]
struct BodyPermits(Vec<BodyPermit>);

/// Reads the body, raw. Its memory counts until the request is dropped.
///
/// # Errors
/// Where it is larger than `limit` bytes, breaks off, has not come by `deadline`, or there is no room for it.
pub async fn read(
    request: &HttpRequest,
    payload: impl Stream<Item = Result<Bytes, PayloadError>> + Unpin,
    limit: usize,
    deadline: Instant,
) -> Result<Bytes, Problem> {
    let announced = announced_length(request);
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    // Not more than was announced is read, whatever comes.
    let most = announced.map_or(limit, |length| usize::try_from(length).unwrap_or(limit));
    // In a program of somebody else there may be none.
    let budget = request.app_data::<Arc<BodyBudget>>();
    let mut place = budget.map(BodyBudget::place);
    let collecting = collect(payload, &mut place, most.min(limit), limit);
    let body = match timeout_at(deadline, collecting).await {
        Ok(body) => body?,
        Err(_elapsed) => return Err(malformed("the body did not arrive in time")),
    };
    if let Some(mut place) = place {
        place.arrived()?;
        let mut extensions = request.extensions_mut();
        extensions
            .get_or_insert_with(BodyPermits::default)
            .0
            .push(place);
    }
    Ok(body.into())
}

/// Collects the body in blocks of one size, which the next bodies use again as they are, and puts them together when all
/// have come: memory that grows with each body leaves holes behind.
async fn collect(
    mut payload: impl Stream<Item = Result<Bytes, PayloadError>> + Unpin,
    place: &mut Option<BodyPermit>,
    expected: usize,
    limit: usize,
) -> Result<Vec<u8>, Problem> {
    let (mut blocks, mut length, mut room) = (Vec::<Vec<u8>>::new(), 0, 0);
    while let Some(mut chunk) = next(&mut payload, place).await? {
        if length + chunk.len() > limit {
            return Err(too_large(limit));
        }
        while !chunk.is_empty() {
            if length == room {
                let size = SMALL.min(expected.max(length + chunk.len()) - length);
                room += size;
                if let Some(place) = place {
                    place.grow(room)?;
                }
                blocks.push(Vec::with_capacity(size));
            }
            let piece = chunk.split_to(chunk.len().min(room - length));
            length += piece.len();
            if let Some(block) = blocks.last_mut() {
                block.extend_from_slice(&piece);
            }
        }
    }
    Ok(match blocks.len() {
        0 | 1 => blocks.pop().unwrap_or_default(),
        _ => blocks.concat(),
    })
}

/// The next of a body, while it has its place.
async fn next(
    payload: &mut (impl Stream<Item = Result<Bytes, PayloadError>> + Unpin),
    place: &mut Option<BodyPermit>,
) -> Result<Option<Bytes>, Problem> {
    let chunk = match place {
        None => payload.next().await,
        Some(place) => tokio::select! {
            biased;
            chunk = payload.next() => chunk,
            problem = place.lost() => return Err(problem),
        },
    };
    let chunk = chunk.transpose();
    chunk.map_err(|error| malformed(&format!("the body broke off: {error}")))
}

/// Looks at a body of `size` bytes; at a large one on a thread that may be kept busy.
///
/// # Errors
/// Those of `look`.
#[cfg(feature = "server")]
pub async fn examine<T, F>(size: usize, look: F) -> Result<T, Problem>
where
    F: FnOnce() -> Result<T, Problem> + Send + 'static,
    T: Send + 'static,
{
    if size <= SMALL {
        return look();
    }
    let looked = actix_web::web::block(look).await;
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
