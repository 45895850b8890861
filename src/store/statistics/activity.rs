//! When something last came for a retailer, and for how long nothing usually does.

use diesel::{prelude::*, sql_query, sql_types::BigInt};

use crate::store::{
    Conn, StoreError, on_each,
    types::{Id, Timestamp, Uuid},
};

/// Notes that something came for a retailer, and for how long nothing did before.
pub fn note_activity(conn: &mut Conn<'_>, retailer: Uuid, at: Timestamp) -> Result<(), StoreError> {
    // One statement, so that two instances which note it at once lose nothing.
    let note = sql_query(
        "INSERT INTO retailer_activity AS a (retailer_id, last_at_s, week, longest_s, longest_before_s)
         VALUES ($1, $2, $3, 0, 0)
         ON CONFLICT (retailer_id) DO UPDATE SET
             longest_before_s = CASE excluded.week - a.week
                 WHEN 0 THEN a.longest_before_s WHEN 1 THEN a.longest_s ELSE 0 END,
             longest_s = CASE WHEN excluded.week = a.week AND a.longest_s > excluded.last_at_s - a.last_at_s
                 THEN a.longest_s ELSE excluded.last_at_s - a.last_at_s END,
             week = excluded.week,
             last_at_s = excluded.last_at_s
         WHERE excluded.last_at_s > a.last_at_s",
    )
    .bind::<Id, _>(retailer)
    .bind::<BigInt, _>(at.seconds())
    .bind::<BigInt, _>(at.seconds() / WEEK_S);
    on_each!(conn, |c| note.execute(c))?;
    Ok(())
}

const WEEK_S: i64 = 7 * 24 * 60 * 60;

/// A retailer for which nothing has come for longer than usual.
#[derive(Clone, Debug, PartialEq, QueryableByName)]
pub struct SilentRetailer {
    /// The retailer.
    #[diesel(sql_type = Id)]
    pub retailer_id: Uuid,
    /// Seconds for which nothing has come.
    #[diesel(sql_type = BigInt)]
    pub silent_s: i64,
    /// The longest silence of this week and the last, in seconds.
    #[diesel(sql_type = BigInt)]
    pub usual_s: i64,
}

/// The retailers for which nothing has come for longer than `least_s` seconds and half as long again as their longest
/// silence of this week and the last, the longest silent first; at most `most`. After four weeks they are taken to be
/// gone.
pub fn silent_retailers(
    conn: &mut Conn<'_>,
    least_s: i64,
    now: Timestamp,
    most: i64,
) -> Result<Vec<SilentRetailer>, StoreError> {
    let query = sql_query(
        "SELECT retailer_id, silent_s, usual_s FROM (
             SELECT retailer_id, $1 - last_at_s AS silent_s,
                 CASE WHEN longest_s > longest_before_s THEN longest_s ELSE longest_before_s END AS usual_s
             FROM retailer_activity WHERE last_at_s > $2 AND last_at_s < $3
         ) AS silences WHERE silent_s * 2 > usual_s * 3 ORDER BY silent_s DESC LIMIT $4",
    )
    .bind::<BigInt, _>(now.seconds())
    .bind::<BigInt, _>(now.seconds() - 4 * WEEK_S)
    .bind::<BigInt, _>(now.seconds().saturating_sub(least_s))
    .bind::<BigInt, _>(most);
    Ok(on_each!(conn, |c| query.load(c))?)
}
