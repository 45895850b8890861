//! How far the messages that we sent have come.

use diesel::{prelude::*, query_dsl::methods::FilterDsl, upsert::excluded};
use std::collections::HashMap;

use super::{Conn, StoreError, on_each, schema::message_status as table, types::Timestamp};

/// A step of a message that we sent.
#[derive(Debug, Insertable)]
#[diesel(table_name = table, treat_none_as_default_value = false)]
pub struct MessageStatus<'a> {
    /// Who told it.
    pub provider: &'a str,
    /// The message.
    pub message_id: &'a str,
    /// The provider's word for the step.
    pub status: &'a str,
    /// How far that is: a higher rank wins, whatever came first.
    pub rank: i32,
    /// Why it failed.
    pub error_code: Option<&'a str>,
    /// When we learnt it.
    pub updated_at: Timestamp,
}

/// Records a step, unless the message has come further already.
pub fn advance(conn: &mut Conn<'_>, step: &MessageStatus<'_>) -> Result<(), StoreError> {
    on_each!(conn, |c| diesel::insert_into(table::table)
        .values(step)
        .on_conflict((table::provider, table::message_id))
        .do_update()
        .set((
            table::status.eq(excluded(table::status)),
            table::rank.eq(excluded(table::rank)),
            table::error_code.eq(excluded(table::error_code)),
            table::updated_at.eq(excluded(table::updated_at)),
        ))
        .filter(table::rank.lt(step.rank))
        .execute(c))?;
    Ok(())
}

/// Records steps of one provider's messages, as [`advance`] does one after another. They are to be in the order of
/// their messages, so that transactions wait for each other in one order.
pub fn advance_all(conn: &mut Conn<'_>, steps: &[MessageStatus<'_>]) -> Result<(), StoreError> {
    /// The most rows of one statement.
    const MANY: usize = 500;
    let Conn::Postgres(c) = conn else {
        // Nothing is saved there by doing many at once: it is the rows that cost.
        return steps.iter().try_for_each(|step| advance(conn, step));
    };
    let c: &mut diesel::PgConnection = c;
    // A statement may touch a row once: of each message it gets the furthest step, and of two that are as far the first.
    let mut furthest: HashMap<&str, usize> = HashMap::new();
    for (at, step) in steps.iter().enumerate() {
        let best = furthest.entry(step.message_id).or_insert(at);
        if steps[*best].rank < step.rank {
            *best = at;
        }
    }
    let is_furthest = |(at, step): &(usize, &MessageStatus<'_>)| furthest[step.message_id] == *at;
    let kept = steps.iter().enumerate().filter(is_furthest);
    let kept: Vec<_> = kept.map(|(_, step)| step).collect();
    for steps in kept.chunks(MANY) {
        diesel::insert_into(table::table)
            .values(steps.to_vec())
            .on_conflict((table::provider, table::message_id))
            .do_update()
            .set((
                table::status.eq(excluded(table::status)),
                table::rank.eq(excluded(table::rank)),
                table::error_code.eq(excluded(table::error_code)),
                table::updated_at.eq(excluded(table::updated_at)),
            ))
            .filter(table::rank.lt(excluded(table::rank)))
            .execute(c)?;
    }
    Ok(())
}
