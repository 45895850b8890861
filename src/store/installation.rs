//! Which database this is, among all others.

use diesel::prelude::*;

use super::{Conn, StoreError, on_each, schema::installation as table};

/// The id that this database was given when it was made: no other has it, but for its own copies.
pub fn id(conn: &mut Conn<'_>) -> Result<String, StoreError> {
    Ok(on_each!(conn, |c| table::table
        .select(table::id)
        .get_result(c))?)
}
