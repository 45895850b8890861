//! The handshake by which a provider checks that an address is ours: it asks with a token that it shares with us, and is
//! given back its challenge.

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::secret::Secret;

/// Looks the parameters of a query up.
pub type Query<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// How a provider asks, with GET.
pub struct Handshake {
    /// The path that it asks at: that of a route.
    pub path: &'static str,
    /// The variable that the token is configured by.
    pub variable: &'static str,
    /// The parameter of the query that carries the token. Whoever sends it may be guessing.
    pub token_parameter: &'static str,
    /// What is given back, by a look-up of the query's parameters. `None` where it is no question that can be answered.
    pub challenge: fn(&Query<'_>) -> Option<String>,
    /// What a question must be, for whoever asked another.
    pub expected: &'static str,
    /// Its name in the description.
    pub operation_id: &'static str,
    /// What it is for, in a line.
    pub summary: &'static str,
    /// More about it.
    pub description: &'static str,
    /// The parameters of the query, each with what it is.
    pub parameters: &'static [(&'static str, &'static str)],
}

/// Whether the token of a question is ours, told in constant time.
pub fn token_matches(ours: &Secret, theirs: &str) -> bool {
    // Hashed first, so that not even the length shows.
    let (ours, theirs) = (Sha256::digest(ours.expose()), Sha256::digest(theirs));
    ours.as_slice().ct_eq(theirs.as_slice()).into()
}
