//! What a clean-up takes away, batch by batch, and the rows of `cleanup_runs` that tell of it.
//!
//! The statements are alike in both databases but for how they name a row: SQLite by its `rowid`, which spares a look-up
//! by the primary key, PostgreSQL by its `ctid`. There a row that a request is changing is left for the next batch.

use diesel::{
    prelude::*,
    sql_query,
    sql_types::{BigInt, Text},
};

use super::{
    Conn, StoreError, on_each,
    schema::cleanup_runs as runs,
    types::{Moment, Timestamp, Uuid, text_enum},
};

text_enum! {
    /// Why a clean-up was begun.
    Trigger {
        /// The service came up.
        Start => "start",
        /// Its time had come.
        Schedule => "schedule",
        /// Another process had begun it, and died.
        Takeover => "takeover",
        /// Somebody gave the command.
        Command => "command",
        /// Somebody asked for it over HTTP.
        Request => "request",
    }
}

/// A run, as it is going on or as it ended.
#[derive(Clone, Debug, PartialEq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(
    table_name = runs,
    check_for_backend(crate::store::Checked),
    treat_none_as_default_value = false,
    treat_none_as_null = true
)]
pub struct CleanupRun {
    /// Its id; ids sort by the time of the start.
    pub id: Uuid,
    /// The process that does it.
    pub instance: Uuid,
    /// Why it was begun.
    pub trigger: Trigger,
    /// The scheduled time that it answers.
    pub tick: Option<Timestamp>,
    /// What had expired by then is taken away.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Expired records that are gone.
    pub deleted_records: i64,
    /// Events past their retention that are gone.
    pub deleted_events: i64,
    /// Records whose owners were gone.
    pub released: i64,
    /// Expired records that are still there.
    pub remaining: Option<i64>,
    /// What went wrong.
    pub error: Option<String>,
}

/// The error of a run that was stopped before its end, which is no failure: the next goes on.
pub const STOPPED: &str = "the clean-up was stopped before its end";

impl CleanupRun {
    /// How long it took.
    pub fn duration(&self) -> Option<std::time::Duration> {
        self.finished_at.map(|end| self.started_at.until(end))
    }

    /// Whether something went wrong.
    pub fn is_failure(&self) -> bool {
        self.error.as_deref().is_some_and(|error| error != STOPPED)
    }
}

/// Adds a run.
pub fn insert_run(conn: &mut Conn<'_>, run: &CleanupRun) -> Result<(), StoreError> {
    on_each!(conn, |c| diesel::insert_into(runs::table)
        .values(run)
        .execute(c))?;
    Ok(())
}

/// Writes down how far a run has come.
pub fn update_run(conn: &mut Conn<'_>, run: &CleanupRun) -> Result<(), StoreError> {
    on_each!(conn, |c| diesel::update(runs::table.find(run.id))
        .set(run)
        .execute(c))?;
    Ok(())
}

/// Ends the runs whose process is gone, with `error` as their outcome.
pub fn end_runs(conn: &mut Conn<'_>, error: &str, now: Timestamp) -> Result<(), StoreError> {
    on_each!(conn, |c| diesel::update(runs::table)
        .filter(runs::finished_at.is_null())
        .set((runs::finished_at.eq(now), runs::error.eq(error)))
        .execute(c))?;
    Ok(())
}

/// Forgets all but the latest `kept` runs, but not how much they deleted.
pub fn forget_runs(conn: &mut Conn<'_>, job: &str, kept: i64) -> Result<(), StoreError> {
    const FORGOTTEN: &str = "FROM cleanup_runs
        WHERE id <= (SELECT id FROM cleanup_runs ORDER BY id DESC LIMIT 1 OFFSET $1)";
    let remember = sql_query(format!(
        "UPDATE job_lease SET deleted_before = deleted_before
             + (SELECT CAST(coalesce(sum(deleted_records), 0) AS BIGINT) {FORGOTTEN}) WHERE name = $2"
    ))
    .bind::<BigInt, _>(kept)
    .bind::<Text, _>(job);
    on_each!(conn, |c| remember.execute(c))?;
    let forget = sql_query(format!("DELETE {FORGOTTEN}")).bind::<BigInt, _>(kept);
    on_each!(conn, |c| forget.execute(c))?;
    Ok(())
}

/// How many records all runs have deleted.
pub fn deleted_total(conn: &mut Conn<'_>) -> Result<i64, StoreError> {
    #[derive(QueryableByName)]
    struct Total {
        #[diesel(sql_type = BigInt)]
        total: i64,
    }
    let query = sql_query(
        "SELECT CAST(coalesce((SELECT sum(deleted_records) FROM cleanup_runs), 0)
             + coalesce((SELECT sum(deleted_before) FROM job_lease), 0) AS BIGINT) AS total",
    );
    let total: Total = on_each!(conn, |c| query.get_result(c))?;
    Ok(total.total)
}

/// The last run that has ended, if there is one.
pub fn last_ended(conn: &mut Conn<'_>) -> Result<Option<CleanupRun>, StoreError> {
    Ok(on_each!(conn, |c| runs::table
        .filter(runs::finished_at.is_not_null())
        .order(runs::id.desc())
        .limit(1)
        .select(CleanupRun::as_select())
        .get_result(c)
        .optional())?)
}

/// Deletes at most `most` records that had expired by `now`, the oldest first, but none that is in progress with its
/// lease running. Gives how many.
pub fn delete_records(conn: &mut Conn<'_>, now: Timestamp, most: i64) -> Result<i64, StoreError> {
    let chosen = "SELECT {row} FROM webhook_idempotency
        WHERE expires_at <= $1 AND NOT (status = 'in_progress' AND lease_expires_at > $2)
        ORDER BY expires_at LIMIT $3";
    let sql = delete(conn, "webhook_idempotency", chosen);
    let delete = sql_query(sql)
        .bind::<Moment, _>(now)
        .bind::<Moment, _>(now)
        .bind::<BigInt, _>(most);
    Ok(on_each!(conn, |c| delete.execute(c))? as i64)
}

/// Deletes at most `most` events that are not kept for ever and that came by `until`, the oldest first. Gives how many.
pub fn delete_events(conn: &mut Conn<'_>, until: Timestamp, most: i64) -> Result<i64, StoreError> {
    // As the index that is for them says it.
    let chosen = match conn {
        #[cfg(feature = "sqlite")]
        Conn::Sqlite(_) => {
            "SELECT {row} FROM webhook_event WHERE order_id IS NULL AND lasting = 0 AND created_at <= $1
             ORDER BY created_at LIMIT $2"
        }
        #[cfg(feature = "postgres")]
        Conn::Postgres(_) => {
            "SELECT {row} FROM webhook_event WHERE order_id IS NULL AND NOT lasting AND created_at <= $1
             ORDER BY created_at LIMIT $2"
        }
    };
    let sql = delete(conn, "webhook_event", chosen);
    let delete = sql_query(sql)
        .bind::<Moment, _>(until)
        .bind::<BigInt, _>(most);
    Ok(on_each!(conn, |c| delete.execute(c))? as i64)
}

/// Gives at most `most` keys back whose owners let their leases run out, with their outcomes. Gives how many.
pub fn release_leases(
    conn: &mut Conn<'_>,
    error: &str,
    now: Timestamp,
    most: i64,
) -> Result<i64, StoreError> {
    // The status is spelled out, or SQLite could not tell that the partial index fits.
    let chosen = "SELECT {row} FROM webhook_idempotency
        WHERE status = 'in_progress' AND lease_expires_at <= $2
        ORDER BY lease_expires_at LIMIT $3";
    let chosen = these(conn, chosen);
    let sql = format!(
        "UPDATE webhook_idempotency SET status = 'failed', owner_token = NULL, error_message = $1 WHERE {chosen}"
    );
    let release = sql_query(sql)
        .bind::<Text, _>(error)
        .bind::<Moment, _>(now)
        .bind::<BigInt, _>(most);
    Ok(on_each!(conn, |c| release.execute(c))? as i64)
}

/// How many records had expired by `now`.
pub fn count_expired(conn: &mut Conn<'_>, now: Timestamp) -> Result<i64, StoreError> {
    use super::schema::webhook_idempotency as records;
    Ok(on_each!(conn, |c| records::table
        .filter(records::expires_at.le(now))
        .count()
        .get_result(c))?)
}

/// What there is to give back to the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// The database sees to it by itself.
    Managed,
    /// The file was made without the means: its empty pages are used again, and it never shrinks.
    Fixed,
    /// So many empty pages beyond the reserve.
    Pages(i64),
}

/// What there is to give back. A tenth of SQLite's file is kept in reserve: what is deleted in an hour comes again in the
/// next, and to move what lives to the front each time would cost more than to delete it did.
pub fn free_space(conn: &mut Conn<'_>) -> Result<Space, StoreError> {
    match conn {
        #[cfg(feature = "sqlite")]
        Conn::Sqlite(conn) => free_pages(conn),
        #[cfg(feature = "postgres")]
        Conn::Postgres(_) => Ok(Space::Managed),
    }
}

/// Gives at most so many empty pages back; nothing where the database sees to it by itself.
pub fn give_back_space(conn: &mut Conn<'_>, pages: i64) -> Result<(), StoreError> {
    match conn {
        // As a batch, which runs it to its end: a statement that is only begun gives back one page.
        #[cfg(feature = "sqlite")]
        Conn::Sqlite(conn) => {
            use diesel::connection::SimpleConnection as _;
            Ok(conn.batch_execute(&format!("PRAGMA incremental_vacuum({pages})"))?)
        }
        #[cfg(feature = "postgres")]
        Conn::Postgres(_) => {
            let _ = pages;
            Ok(())
        }
    }
}

#[cfg(feature = "sqlite")]
fn free_pages(conn: &mut diesel::SqliteConnection) -> Result<Space, StoreError> {
    const INCREMENTAL: i64 = 2;
    let ask = sql_query(
        "SELECT auto_vacuum AS mode, freelist_count AS pages, page_count / 10 AS reserve
         FROM pragma_auto_vacuum, pragma_freelist_count, pragma_page_count",
    );
    let found: FreeList = ask.get_result(conn)?;
    Ok(match found.mode {
        INCREMENTAL => Space::Pages((found.pages - found.reserve).max(0)),
        _ => Space::Fixed,
    })
}

#[cfg(feature = "sqlite")]
#[derive(QueryableByName)]
struct FreeList {
    #[diesel(sql_type = BigInt)]
    mode: i64,
    #[diesel(sql_type = BigInt)]
    pages: i64,
    #[diesel(sql_type = BigInt)]
    reserve: i64,
}

fn delete(conn: &Conn<'_>, table: &str, chosen: &str) -> String {
    format!("DELETE FROM {table} WHERE {}", these(conn, chosen))
}

/// The condition that a row is among those that a query chooses by `{row}`.
fn these(conn: &Conn<'_>, chosen: &str) -> String {
    match conn {
        #[cfg(feature = "sqlite")]
        Conn::Sqlite(_) => format!("rowid IN ({})", chosen.replace("{row}", "rowid")),
        // An array is fetched row by row; a list of ids would have the whole table read.
        #[cfg(feature = "postgres")]
        Conn::Postgres(_) => format!(
            "ctid = ANY (ARRAY({} FOR UPDATE SKIP LOCKED))",
            chosen.replace("{row}", "ctid")
        ),
    }
}
