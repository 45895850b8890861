//! The alerts that are firing, as each process sees it.

use diesel::prelude::*;

use super::{
    Conn, StoreError, on_each,
    schema::alerts as table,
    types::{Timestamp, Uuid},
};

/// An alert that a process sees firing.
#[derive(Clone, Debug, PartialEq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = table, check_for_backend(crate::store::Checked))]
pub struct Firing {
    /// Which.
    pub name: String,
    /// Who sees it.
    pub instance: Uuid,
    /// Since when it fires, as far as anybody has seen.
    pub since: Timestamp,
    /// When it was last seen firing.
    pub seen_at: Timestamp,
    /// What is the matter.
    pub detail: String,
}

/// The alerts that somebody has seen firing after `since`, the longest firing first.
pub fn seen_after(conn: &mut Conn<'_>, since: Timestamp) -> Result<Vec<Firing>, StoreError> {
    Ok(on_each!(conn, |c| table::table
        .filter(table::seen_at.gt(since))
        .order((table::since, table::instance))
        .select(Firing::as_select())
        .load(c))?)
}

/// Writes down what a process sees firing, in place of what it saw before.
pub fn put(conn: &mut Conn<'_>, instance: Uuid, firing: &[Firing]) -> Result<(), StoreError> {
    let names: Vec<&str> = firing.iter().map(|alert| alert.name.as_str()).collect();
    on_each!(conn, |c| diesel::delete(table::table)
        .filter(table::instance.eq(instance))
        .filter(table::name.ne_all(names))
        .execute(c))?;
    for alert in firing {
        on_each!(conn, |c| diesel::insert_into(table::table)
            .values(alert)
            .on_conflict((table::name, table::instance))
            .do_update()
            .set(alert)
            .execute(c))?;
    }
    Ok(())
}

/// Forgets the alerts of processes that have not been heard of since `until`.
pub fn forget(conn: &mut Conn<'_>, until: Timestamp) -> Result<(), StoreError> {
    on_each!(conn, |c| diesel::delete(table::table)
        .filter(table::seen_at.lt(until))
        .execute(c))?;
    Ok(())
}
