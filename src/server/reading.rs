//! What a connection may read.

/// What may be read now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// At most so many bytes.
    Upto(usize),
    /// Nothing until what was read has been parsed.
    Later,
    /// Nothing until an answer is sent or a body is taken.
    Parked,
    /// Nothing: the head is too large.
    TooLarge,
}
