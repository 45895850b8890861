//! Puts an answer into HTTP.

use actix_web::{
    HttpResponse,
    http::{StatusCode, header::CONTENT_TYPE},
};
use serde_json::json;

use super::problem::Problem;
use crate::{
    idempotency::StoredReply,
    intake::{Answer, Reply},
};

/// Says whether an answer was given before.
pub const REPLAYED: &str = "Idempotent-Replayed";

/// The content type of what is neither a provider's document nor an error.
pub const JSON: &str = "application/json";

/// The status of what was done.
pub const OK: i16 = 200;

/// The status of what was made.
pub const CREATED: i16 = 201;

/// The form in which a reply is stored and sent.
pub fn encode(reply: Reply) -> StoredReply {
    match reply {
        Reply::Document { content_type, body } => StoredReply {
            status: 200,
            content_type: Some(content_type.to_owned()),
            body: body.into(),
            ..StoredReply::default()
        },
        Reply::Empty => StoredReply {
            status: 204,
            ..StoredReply::default()
        },
        Reply::Report { events, more } => {
            let mut report = json!({"success": true, "events": events});
            if more > 0 {
                report["events_more"] = more.into();
            }
            StoredReply {
                status: 200,
                content_type: Some(JSON.to_owned()),
                body: report.to_string().into(),
                ..StoredReply::default()
            }
        }
    }
}

/// The answer as a response.
///
/// # Errors
/// Where what was stored is no HTTP status.
pub fn response(answer: &Answer) -> Result<HttpResponse, Problem> {
    stored(&answer.reply, answer.replayed)
}

/// An answer as it is kept, as a response.
///
/// # Errors
/// Where what was stored is no HTTP status.
pub fn stored(reply: &StoredReply, replayed: bool) -> Result<HttpResponse, Problem> {
    let status = reply.status.cast_unsigned();
    let status = StatusCode::from_u16(status).map_err(Problem::internal)?;
    let mut response = HttpResponse::build(status);
    response.insert_header((REPLAYED, if replayed { "true" } else { "false" }));
    for (name, value) in &reply.headers {
        response.insert_header((name.as_str(), value.as_str()));
    }
    if let Some(content_type) = &reply.content_type {
        response.insert_header((CONTENT_TYPE, content_type.as_str()));
    }
    Ok(match reply.body.is_empty() {
        true => response.finish(),
        false => response.body(reply.body.clone()),
    })
}
