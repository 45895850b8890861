//! A recorded request, without its signature: what a fixture holds, to be signed and sent again.

use super::route::Route;

/// A request that was recorded.
#[derive(Clone, Debug)]
pub struct Recording {
    /// Where it goes.
    pub route: &'static Route,
    /// The content type.
    pub content_type: &'static str,
    /// Its headers beside the content type and the signature.
    pub headers: Vec<(&'static str, String)>,
    /// The body, raw.
    pub body: Vec<u8>,
}

/// What makes a recording a request of the provider's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// What stands at the end of the signed URL beside the path, from its `?` on; may be empty.
    pub query: String,
    /// The header's value.
    pub value: String,
}
