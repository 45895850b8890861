//! How large the database is.

use diesel::{prelude::*, sql_query, sql_types::BigInt};

use crate::store::{Conn, StoreError, on_each};

/// How large things are, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// The whole database.
    pub store: i64,
    /// The records with their indexes; of SQLite, whose file does not tell, all that is in use.
    pub records: i64,
}

/// How large the database is.
pub fn size(conn: &mut Conn<'_>) -> Result<Size, StoreError> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        store: i64,
        #[diesel(sql_type = BigInt)]
        records: i64,
    }
    let query = sql_query(match conn {
        Conn::Sqlite(_) => {
            "SELECT page_count * page_size AS store, (page_count - freelist_count) * page_size AS records
             FROM pragma_page_count, pragma_page_size, pragma_freelist_count"
        }
        Conn::Postgres(_) => {
            "SELECT pg_database_size(current_database()) AS store,
                 pg_total_relation_size('webhook_idempotency') AS records"
        }
    });
    let row: Row = on_each!(conn, |c| query.get_result(c))?;
    Ok(Size {
        store: row.store,
        records: row.records,
    })
}
