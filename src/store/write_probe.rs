//! Writes to a table that is there for this alone, to see whether the database takes writes.

use diesel::{RunQueryDsl as _, sql_query};

use super::{Conn, StoreError, on_each};

/// Leaves one small row there.
#[cfg(any(feature = "postgres", feature = "server"))]
pub fn small(conn: &mut Conn<'_>) -> Result<(), StoreError> {
    replace(conn, "INSERT INTO write_probe (filling) VALUES ('')")
}

/// Needs room that nothing takes yet: a small row finds some where others do not. Leaves no more than that behind,
/// however often it is tried.
pub fn large(conn: &mut Conn<'_>) -> Result<(), StoreError> {
    match conn {
        // 16 pages, each of which is in the log first.
        #[cfg(feature = "sqlite")]
        Conn::Sqlite(_) => replace(
            conn,
            "INSERT INTO write_probe (filling) VALUES (hex(zeroblob(32768)))",
        ),
        #[cfg(feature = "postgres")]
        Conn::Postgres(c) => {
            fill_new_file(c)?;
            small(conn)
        }
    }
}

/// Has PostgreSQL make a file where its tables are, of 16 pages and as long as the transaction goes on, if the role may.
#[cfg(feature = "postgres")]
fn fill_new_file(c: &mut diesel::PgConnection) -> Result<(), StoreError> {
    use diesel::{QueryableByName, connection::SimpleConnection as _, sql_types::Bool};

    #[derive(QueryableByName)]
    struct Right {
        #[diesel(sql_type = Bool)]
        may: bool,
    }
    let asked = sql_query("SELECT has_database_privilege(current_database(), 'TEMP') AS may");
    let right: Right = asked.get_result(c)?;
    if right.may {
        c.batch_execute(
            "SET LOCAL temp_tablespaces = '';
             CREATE TEMP TABLE room ON COMMIT DROP AS SELECT generate_series(1, 4096) AS n",
        )?;
    }
    Ok(())
}

fn replace(conn: &mut Conn<'_>, insert: &str) -> Result<(), StoreError> {
    on_each!(conn, |c| sql_query("DELETE FROM write_probe").execute(c))?;
    on_each!(conn, |c| sql_query(insert).execute(c))?;
    Ok(())
}
