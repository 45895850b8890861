//! The rows of `webhook_idempotency`: who holds a key, and what was answered.

mod rows;

#[cfg(feature = "sqlite")]
use diesel::sql_types::Text;
#[cfg(feature = "postgres")]
use diesel::sql_types::{Array, BigInt};
use diesel::{prelude::*, sql_query};
#[cfg(feature = "postgres")]
use std::collections::HashSet;

use self::rows::Replacement;
pub use self::rows::{
    AnsweredRecord, BodyEncoding, Completion, NewRecord, PartedBody, Record, RecordStatus,
};

#[cfg(feature = "sqlite")]
use super::cached::InsertOrFail;
#[cfg(feature = "postgres")]
use super::types::{Id, Moment};
use super::{
    Conn, StoreError,
    cached::{Insert, Update},
    claims::has_key,
    on_each,
    schema::webhook_idempotency as table,
    types::{Timestamp, Uuid},
};

/// The record of a key, whatever its state.
pub fn find(conn: &mut Conn<'_>, scope: &str, key: &str) -> Result<Option<Record>, StoreError> {
    Ok(on_each!(conn, |c| table::table
        .filter(has_key(scope, key))
        .select(Record::as_select())
        .get_result(c)
        .optional())?)
}

/// The records of a scope's keys, each with its key.
pub fn find_all(
    conn: &mut Conn<'_>,
    scope: &str,
    keys: &[&str],
) -> Result<Vec<(String, Record)>, StoreError> {
    match conn {
        #[cfg(feature = "sqlite")]
        Conn::Sqlite(_) => {
            let mut found = Vec::new();
            for key in keys {
                found.extend(find(conn, scope, key)?.map(|record| ((*key).to_owned(), record)));
            }
            Ok(found)
        }
        #[cfg(feature = "postgres")]
        Conn::Postgres(c) => Ok(table::table
            .filter(table::scope.eq(scope))
            .filter(table::idempotency_key.eq_any(keys))
            .select((table::idempotency_key, Record::as_select()))
            .load(&mut **c)?),
    }
}

/// Claims keys with new records, which are to be in the order of their keys. Tells of each whether it is new; where a key
/// has a record, nothing is done. Waits for other transactions that are claiming the same.
pub fn claim_all(
    conn: &mut Conn<'_>,
    records: &[AnsweredRecord<'_>],
) -> Result<Vec<bool>, StoreError> {
    let mut claimed = Vec::with_capacity(records.len());
    match conn {
        #[cfg(feature = "sqlite")]
        Conn::Sqlite(c) => {
            struct ClaimAnswered;
            for record in records {
                let row = Insertable::<table::table>::values(record);
                let insert = InsertOrFail::named::<ClaimAnswered>("webhook_idempotency", row);
                claimed.push(insert.execute(*c)? == 1);
            }
        }
        #[cfg(feature = "postgres")]
        Conn::Postgres(c) => {
            for records in records.chunks(super::MANY) {
                let new: Vec<Uuid> = diesel::insert_into(table::table)
                    .values(records)
                    .on_conflict((table::scope, table::idempotency_key))
                    .do_nothing()
                    .returning(table::id)
                    .load(&mut **c)?;
                let new = HashSet::<Uuid>::from_iter(new);
                claimed.extend(records.iter().map(|record| new.contains(&record.claim.id)));
            }
        }
    }
    Ok(claimed)
}

/// The path of the request that a record is of.
pub fn path(conn: &mut Conn<'_>, id: Uuid) -> Result<String, StoreError> {
    Ok(on_each!(conn, |c| table::table
        .find(id)
        .select(table::path)
        .get_result(c))?)
}

/// Claims the key with a new record. `false`: it has one already, and nothing was done. Waits for another transaction
/// that is claiming the same.
pub fn claim(conn: &mut Conn<'_>, new: &NewRecord<'_>) -> Result<bool, StoreError> {
    struct Claim;
    let insert = diesel::insert_into(table::table)
        .values(new)
        .on_conflict_do_nothing();
    let insert = Insert::named::<Claim>(insert);
    Ok(on_each!(conn, |c| insert.execute(c))? == 1)
}

/// Claims the key in place of a record that no longer stands: expired; or of the same request, which has failed or whose
/// lease has run out. The record keeps its id, by which events know it. `false`: it stands, or there is none, and nothing
/// was done.
pub fn take_over(conn: &mut Conn<'_>, new: &NewRecord<'_>) -> Result<bool, StoreError> {
    let now = new.created_at;
    let no_longer_stands = || {
        let expired = || table::expires_at.le(now);
        let completed = table::status.eq(RecordStatus::Completed);
        let failed = table::status.eq(RecordStatus::Failed);
        let in_progress = table::status.eq(RecordStatus::InProgress);
        let abandoned = in_progress.and(table::lease_expires_at.le(now));
        let same = table::fingerprint.eq(new.fingerprint);
        let again = failed.or(abandoned).and(same.or(expired()));
        again.or(completed.and(expired()))
    };
    let rows = on_each!(conn, |c| diesel::update(table::table)
        .filter(has_key(new.scope, new.idempotency_key))
        .filter(no_longer_stands())
        .set(Replacement::from(new))
        .execute(c))?;
    Ok(rows == 1)
}

/// The record is in progress, and still its owner's.
#[diesel::dsl::auto_type(no_type_alias)]
fn held(id: Uuid, owner_token: Uuid) -> _ {
    let in_progress: RecordStatus = RecordStatus::InProgress;
    let owned = table::id.eq(id).and(table::owner_token.eq(owner_token));
    owned.and(table::status.eq(in_progress))
}

/// Completes a record for its owner. `false`: another has taken it over, and nothing was done.
pub fn complete(
    conn: &mut Conn<'_>,
    id: Uuid,
    owner_token: Uuid,
    completion: &Completion<'_>,
) -> Result<bool, StoreError> {
    let update = Update {
        table: "webhook_idempotency",
        changes: completion.as_changeset(),
        filter: held(id, owner_token),
    };
    let rows = on_each!(conn, |c| update.execute(c))?;
    Ok(rows == 1)
}

/// Puts another answer in the place of that with which this very transaction has claimed a record: nobody else knows of
/// it. `false`: there is no such, and nothing was done.
pub fn correct(
    conn: &mut Conn<'_>,
    id: Uuid,
    completion: &Completion<'_>,
) -> Result<bool, StoreError> {
    let update = Update {
        table: "webhook_idempotency",
        changes: completion.as_changeset(),
        filter: table::id.eq(id),
    };
    let rows = on_each!(conn, |c| update.execute(c))?;
    Ok(rows == 1)
}

/// Gives the owner of a record that is in progress more time. `false`: another has taken it over, and nothing was done.
pub fn renew(
    conn: &mut Conn<'_>,
    id: Uuid,
    owner_token: Uuid,
    lease_expires_at: Timestamp,
) -> Result<bool, StoreError> {
    let rows = on_each!(conn, |c| diesel::update(table::table)
        .filter(held(id, owner_token))
        .set(table::lease_expires_at.eq(lease_expires_at))
        .execute(c))?;
    Ok(rows == 1)
}

/// Gives a key back for its owner, with what went wrong. `false`: another has taken it over, and nothing was done.
pub fn release(
    conn: &mut Conn<'_>,
    id: Uuid,
    owner_token: Uuid,
    error: &str,
) -> Result<bool, StoreError> {
    let rows = on_each!(conn, |c| diesel::update(table::table)
        .filter(held(id, owner_token))
        .set((
            table::status.eq(RecordStatus::Failed),
            table::owner_token.eq(None::<Uuid>),
            table::error_message.eq(error),
        ))
        .execute(c))?;
    Ok(rows == 1)
}

/// Gives a key back as if its owner had never had it: any request may claim it. The record stays for the operator until it
/// is cleaned up. `false`: another has taken it over, and nothing was done.
pub fn withdraw(
    conn: &mut Conn<'_>,
    id: Uuid,
    owner_token: Uuid,
    error: &str,
) -> Result<bool, StoreError> {
    let rows = on_each!(conn, |c| diesel::update(table::table)
        .filter(held(id, owner_token))
        .set((
            table::status.eq(RecordStatus::Failed),
            table::owner_token.eq(None::<Uuid>),
            table::error_message.eq(error),
            // Past by every clock that could look at it.
            table::expires_at.eq(table::created_at),
        ))
        .execute(c))?;
    Ok(rows == 1)
}

/// How often a record was replayed since that was last stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replays {
    /// The record.
    pub id: Uuid,
    /// How many times more.
    pub times: i64,
    /// The last time.
    pub at: Timestamp,
}

/// Adds replays to their records, in one statement: each of SQLite's own would look through all pages that the ones before
/// it have changed, for the trigger that counts replays makes it a statement that can be undone by itself.
pub fn count_replays(conn: &mut Conn<'_>, replays: &[Replays]) -> Result<(), StoreError> {
    match conn {
        #[cfg(feature = "sqlite")]
        Conn::Sqlite(c) => {
            let rows = replays.iter().map(|Replays { id, times, at }| {
                format!("[\"{id}\",{times},{}]", at.microseconds())
            });
            let rows = format!("[{}]", rows.collect::<Vec<_>>().join(","));
            let update = sql_query(
                "UPDATE webhook_idempotency
                 SET replay_count = replay_count + counted.times, last_accessed_at = max(last_accessed_at, counted.at)
                 FROM (SELECT unhex(value ->> 0, '-') AS id, value ->> 1 AS times, value ->> 2 AS at FROM json_each(?))
                     AS counted
                 WHERE webhook_idempotency.id = counted.id",
            );
            update.bind::<Text, _>(rows).execute(*c)?;
        }
        #[cfg(feature = "postgres")]
        Conn::Postgres(c) => {
            let ids: Vec<_> = replays.iter().map(|it| it.id).collect();
            let times: Vec<_> = replays.iter().map(|it| it.times).collect();
            let at: Vec<_> = replays.iter().map(|it| it.at).collect();
            // Locked in the order of their ids, so that no two instances wait for each other.
            let update = sql_query(
                "WITH counted AS (
                     SELECT record.id, replays.times, replays.at
                     FROM unnest($1, $2, $3) AS replays (id, times, at) JOIN webhook_idempotency AS record USING (id)
                     ORDER BY record.id FOR UPDATE OF record
                 )
                 UPDATE webhook_idempotency
                 SET replay_count = replay_count + counted.times, last_accessed_at = greatest(last_accessed_at, counted.at)
                 FROM counted WHERE webhook_idempotency.id = counted.id",
            );
            let update = update.bind::<Array<Id>, _>(ids);
            let update = update.bind::<Array<BigInt>, _>(times);
            update.bind::<Array<Moment>, _>(at).execute(&mut **c)?;
        }
    }
    Ok(())
}
