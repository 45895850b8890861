//! Why a provider's request is not taken.

/// Why a request is refused before it is acted on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is nothing to verify it with: the variable that is to be set.
    #[error("{0} is not set")]
    NotConfigured(&'static str),
    /// Its sender did not sign it.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Its media type is not one that the provider sends: what it sends.
    #[error("{0}")]
    MediaType(&'static str),
    /// It cannot be read.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

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

/// Why a body could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);
