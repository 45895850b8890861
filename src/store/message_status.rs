//! How far the messages that we sent have come.

use diesel::{prelude::*, query_dsl::methods::FilterDsl, upsert::excluded};
#[cfg(feature = "postgres")]
use std::collections::HashMap;

use super::{Conn, StoreError, schema::message_status as table, types::Timestamp};

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

/// Records steps, unless a message has come further already. They are to be in the order of their messages, so that
/// transactions wait for each other in one order.
pub fn advance_all(conn: &mut Conn<'_>, steps: &[MessageStatus<'_>]) -> Result<(), StoreError> {
    macro_rules! advance {
        ($c:expr, $steps:expr) => {
            diesel::insert_into(table::table)
                .values($steps)
                .on_conflict((table::provider, table::message_id))
                .do_update()
                .set((
                    table::status.eq(excluded(table::status)),
                    table::rank.eq(excluded(table::rank)),
                    table::error_code.eq(excluded(table::error_code)),
                    table::updated_at.eq(excluded(table::updated_at)),
                ))
                .filter(table::rank.lt(excluded(table::rank)))
                .execute($c)
        };
    }
    match conn {
        #[cfg(feature = "sqlite")]
        Conn::Sqlite(c) => {
            for step in steps {
                advance!(*c, step)?;
            }
        }
        #[cfg(feature = "postgres")]
        Conn::Postgres(c) => {
            for steps in furthest(steps).chunks(super::MANY) {
                advance!(&mut **c, steps.to_vec())?;
            }
        }
    }
    Ok(())
}

/// A statement may touch a row once: of each message the furthest step, and of two that are as far the first.
#[cfg(feature = "postgres")]
fn furthest<'s, 'a>(steps: &'s [MessageStatus<'a>]) -> Vec<&'s MessageStatus<'a>> {
    let name = |step: &MessageStatus<'a>| (step.provider, step.message_id);
    let mut furthest: HashMap<_, usize> = HashMap::new();
    for (at, step) in steps.iter().enumerate() {
        let best = furthest.entry(name(step)).or_insert(at);
        if steps[*best].rank < step.rank {
            *best = at;
        }
    }
    let kept = steps.iter().enumerate();
    kept.filter(|(at, step)| furthest[&name(step)] == *at)
        .map(|(_, step)| step)
        .collect()
}

#[cfg(all(test, feature = "postgres"))]
mod tests {
    use super::*;

    #[test]
    fn of_each_message_the_furthest_step_is_kept_and_of_two_as_far_the_first() {
        let step = |message_id, status, rank| MessageStatus {
            provider: "p",
            message_id,
            status,
            rank,
            error_code: None,
            updated_at: Timestamp::beginning(),
        };
        let steps = [
            step("1", "sent", 1),
            step("2", "read", 3),
            step("1", "delivered", 2),
            step("2", "sent", 1),
            step("1", "undelivered", 2),
        ];
        let kept: Vec<_> = furthest(&steps).iter().map(|step| step.status).collect();
        assert_eq!(kept, ["read", "delivered"]);
    }
}
