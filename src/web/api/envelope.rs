//! What every answer of the API that is no error is wrapped in.

use serde::Serialize;
use utoipa::ToSchema;

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
