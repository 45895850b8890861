//! How large the database is.

use diesel::{
    prelude::*,
    sql_query,
    sql_types::{BigInt, Text},
};
use std::{fs, path::Path};

use crate::store::{Conn, StoreError, on_each, sqlite::file};

/// How large things are, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// The whole database.
    pub store: i64,
    /// The records with their indexes; of SQLite, whose file does not tell, all that is in use.
    pub records: i64,
    /// What SQLite's log takes of the disk beside its file; None in memory and with PostgreSQL.
    pub log: Option<i64>,
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
        log: match conn {
            Conn::Sqlite(conn) => log_size(conn)?,
            Conn::Postgres(_) => None,
        },
    })
}

fn log_size(conn: &mut SqliteConnection) -> Result<Option<i64>, StoreError> {
    #[derive(QueryableByName)]
    struct Main {
        #[diesel(sql_type = Text)]
        file: String,
    }
    let query = sql_query("SELECT file FROM pragma_database_list WHERE name = 'main'");
    let main: Main = query.get_result(conn)?;
    if main.file.is_empty() {
        return Ok(None);
    }
    // Where it is not there, it takes nothing.
    let log = fs::metadata(file::beside(Path::new(&main.file), "-wal"));
    let bytes = log.map_or(0, |log| log.len());
    Ok(Some(i64::try_from(bytes).unwrap_or(i64::MAX)))
}
