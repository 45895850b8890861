//! The rows of `job_lease`: of all processes that share the database, which one does a job.

use diesel::{
    prelude::*,
    sql_query,
    sql_types::{Nullable, Text},
};

use super::{
    Conn, StoreError, on_each,
    schema::job_lease as table,
    types::{Id, Moment, Timestamp, Uuid},
};

/// What is known of a job.
#[derive(Clone, Copy, Debug, PartialEq, Queryable, Selectable)]
#[diesel(table_name = table, check_for_backend(crate::store::Checked))]
pub struct JobLease {
    /// The run that is going on, if any.
    pub holder: Option<Uuid>,
    /// When the holder is taken for dead.
    pub expires_at: Timestamp,
    /// The latest scheduled time that was taken.
    pub last_tick: Option<Timestamp>,
}

/// What a run asks for.
#[derive(Clone, Copy, Debug)]
pub struct LeaseRequest {
    /// The run.
    pub holder: Uuid,
    /// The scheduled time that it answers, which nobody may take again.
    pub tick: Option<Timestamp>,
    /// Until when it is taken to be alive.
    pub expires_at: Timestamp,
}

/// The lease of a job; none before its first run.
pub fn find(conn: &mut Conn<'_>, name: &str) -> Result<Option<JobLease>, StoreError> {
    Ok(on_each!(conn, |c| table::table
        .find(name)
        .select(JobLease::as_select())
        .get_result(c)
        .optional())?)
}

/// Claims a job. `false`: another run is going on, or has taken the same tick or a later one, and nothing was done. Waits
/// for another transaction that is claiming or renewing the same.
pub fn claim(
    conn: &mut Conn<'_>,
    name: &str,
    wanted: LeaseRequest,
    now: Timestamp,
) -> Result<bool, StoreError> {
    // Both databases number parameters so, in the order in which they come.
    let claim = sql_query(
        "INSERT INTO job_lease (name, holder, expires_at, last_tick) VALUES ($1, $2, $3, $4)
         ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at,
             last_tick = coalesce(excluded.last_tick, job_lease.last_tick)
         WHERE (job_lease.holder IS NULL OR job_lease.expires_at <= $5)
             AND (excluded.last_tick IS NULL OR job_lease.last_tick IS NULL
                 OR job_lease.last_tick < excluded.last_tick)",
    )
    .bind::<Text, _>(name)
    .bind::<Id, _>(wanted.holder)
    .bind::<Moment, _>(wanted.expires_at)
    .bind::<Nullable<Moment>, _>(wanted.tick)
    .bind::<Moment, _>(now);
    let rows = on_each!(conn, |c| claim.execute(c))?;
    Ok(rows == 1)
}

/// Gives the holder more time. `false`: another has taken the job over, and nothing was done. Until the transaction
/// ends nobody can, so what is done in it is done by the holder alone.
pub fn renew(
    conn: &mut Conn<'_>,
    name: &str,
    holder: Uuid,
    expires_at: Timestamp,
) -> Result<bool, StoreError> {
    let rows = on_each!(conn, |c| diesel::update(table::table.find(name))
        .filter(table::holder.eq(holder))
        .set(table::expires_at.eq(expires_at))
        .execute(c))?;
    Ok(rows == 1)
}

/// Ends the holder's run; nothing where another has taken the job over.
pub fn give_back(conn: &mut Conn<'_>, name: &str, holder: Uuid) -> Result<(), StoreError> {
    on_each!(conn, |c| diesel::update(table::table.find(name))
        .filter(table::holder.eq(holder))
        .set(table::holder.eq(None::<Uuid>))
        .execute(c))?;
    Ok(())
}
