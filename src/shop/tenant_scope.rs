//! Which retailers a caller may read and change.

use super::error::{FieldError, ShopError};
use crate::store::{
    Conn,
    retailers::{self, Retailer},
    types::Uuid,
};

/// The data of one retailer, or of all. What is out of reach looks as if it did not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TenantScope {
    /// All retailers.
    All,
    /// This retailer alone.
    Only(Uuid),
}

impl TenantScope {
    /// Whether a retailer is within reach.
    pub fn covers(self, retailer: Uuid) -> bool {
        match self {
            Self::All => true,
            Self::Only(only) => only == retailer,
        }
    }

    /// The retailer to which lists are confined, beside what is asked for. `None` where that is out of reach.
    pub fn confine(self, asked: Option<Uuid>) -> Option<Option<Uuid>> {
        match (self, asked) {
            (Self::All, asked) => Some(asked),
            (Self::Only(only), Some(asked)) if asked != only => None,
            (Self::Only(only), _) => Some(Some(only)),
        }
    }

    /// The retailer with this id.
    ///
    /// # Errors
    /// Where it is out of reach or there is none.
    pub fn retailer(self, conn: &mut Conn<'_>, id: Uuid) -> Result<Retailer, ShopError> {
        let found = match self.covers(id) {
            true => retailers::find(conn, id)?,
            false => None,
        };
        found.ok_or(ShopError::NotFound("retailer"))
    }

    /// The retailer that a request is about: the one that it names, or the only one within reach.
    ///
    /// # Errors
    /// Where it names none and must, or one that is out of reach or does not exist.
    pub fn choose(self, conn: &mut Conn<'_>, named: Option<Uuid>) -> Result<Retailer, ShopError> {
        match (named, self) {
            (Some(id), _) | (None, Self::Only(id)) => self.retailer(conn, id),
            (None, Self::All) => Err(FieldError::new(
                "/retailer_id",
                "retailer_needed",
                "is required, for the token is not bound to a retailer",
            )
            .into()),
        }
    }
}
