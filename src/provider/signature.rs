//! What the signatures of all providers share.

/// Why a signature was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is none.
    #[error("the request is not signed")]
    Missing,
    /// No secret of ours made it over this request.
    #[error("the signature does not fit the request")]
    Invalid,
}
