//! The routes that a provider's requests come by, and what the published description (OpenAPI) says of each.

/// A path that takes POST.
#[derive(Debug)]
pub struct Route {
    /// The path, from the root.
    pub path: &'static str,
    /// Its name in the description: what generated clients call it.
    pub operation_id: &'static str,
    /// What it is for, in a line.
    pub summary: &'static str,
    /// More about it; may be empty.
    pub description: &'static str,
    /// What is sent there; may be empty.
    pub body: &'static str,
    /// The media types in which it is sent, each with whether it is always an object.
    pub media_types: &'static [(&'static str, bool)],
    /// How it is answered where it is taken.
    pub answers: &'static [Answer],
}

impl Route {
    /// The route of a provider that the published description leaves out.
    pub const UNDESCRIBED: Self = Self {
        path: "",
        operation_id: "",
        summary: "",
        description: "",
        body: "",
        media_types: &[],
        answers: &[],
    };
}

/// How a request is answered where it is taken.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// When.
    pub description: &'static str,
    /// With what.
    pub body: AnswerBody,
}

/// What an answer holds.
#[derive(Debug)]
pub enum AnswerBody {
    /// Nothing.
    Empty,
    /// A text of this media type.
    Text(&'static str),
    /// JSON that reports each event.
    Report,
}
