//! What is said of a connection that this side has ended.

/// Why a connection is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A head did not come in time.
    Head,
    /// A head was too large.
    LargeHead,
    /// A body did not come in time.
    Body,
    /// There was no further request.
    Idle,
    /// An answer was not read in time.
    Unread,
    /// A newcomer took its place.
    Displaced,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Head,
        Self::LargeHead,
        Self::Body,
        Self::Idle,
        Self::Unread,
        Self::Displaced,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::LargeHead => "large_head",
            Self::Body => "body",
            Self::Idle => "idle",
            Self::Unread => "unread",
            Self::Displaced => "displaced",
        }
    }
}
