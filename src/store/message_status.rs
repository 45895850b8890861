//! How far the messages that we sent have come.

use diesel::{prelude::*, query_dsl::methods::FilterDsl, upsert::excluded};

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
