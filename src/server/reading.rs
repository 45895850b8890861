//! What a connection may read.

/// What may be read now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// So many bytes.
    Upto(usize),
    /// Some more after what has been read was looked at.
    Later,
    /// Nothing until something is sent or taken.
    Parked,
    /// Nothing any more.
    TooLarge,
}
