//! What every answer of the API that is no error is wrapped in.

use actix_web::HttpResponse;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    json::Value,
    web::{problem::Problem, reply},
};

/// An answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct Envelope<'a, T> {
    /// Always true; errors have false.
    pub success: bool,
    /// What was done, for people.
    pub message: &'a str,
    /// The whole resource.
    pub data: T,
}

/// 200 with an answer in which a document that was stored stands at `path`, as it was stored: serde would write its
/// numbers anew.
///
/// # Errors
/// Where the answer cannot be written.
pub fn with_document(
    answer: &impl Serialize,
    path: &[&str],
    document: Value,
) -> Result<HttpResponse, Problem> {
    let written = serde_json::to_vec(answer).map_err(Problem::internal)?;
    let mut answer = Value::parse(&written).map_err(Problem::internal)?;
    let mut path = path.iter();
    if let Some(place) = path.try_fold(&mut answer, |within, name| within.get_mut(name)) {
        *place = document;
    }
    let written = answer.to_string();
    Ok(HttpResponse::Ok().content_type(reply::JSON).body(written))
}

/// A page of a list, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<'a, T> {
    /// Always true; errors have false.
    pub success: bool,
    /// What this is, for people.
    pub message: &'a str,
    /// What is on this page.
    pub data: Vec<T>,
    /// Send it as `cursor` to get the next page; null on the last.
    #[schema(required)]
    pub next_cursor: Option<String>,
}
