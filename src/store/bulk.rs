//! Statements that do for many deliveries at once what others do for one. On PostgreSQL each statement is a round trip,
//! and costs more than the rows that it writes.

use diesel::{PgConnection, prelude::*};
use std::{collections::HashSet, error::Error, time::Duration};

use super::{
    Conn, Store, StoreError,
    events::NewEvent,
    idempotency::{AnsweredRecord, Record},
    ledger::LedgerEntry,
    orders::{Order, OrderItem},
    postgres::{Begin, Postgres, Session},
    schema::{ledger_entries, order_items, orders, webhook_event, webhook_idempotency},
    types::Uuid,
};

/// Long enough for another transaction of the kind. What holds a lock for longer holds up those alone who need it: they
/// are not to keep the rest waiting.
const BEGIN: Begin = Begin {
    statements: "BEGIN; SET LOCAL lock_timeout = 300",
    lock_timeout: Some(Duration::from_millis(300)),
};

/// The most rows of one statement: PostgreSQL takes 65,535 values.
const ROWS: usize = 2_000;

/// A database where it pays to do many at once.
#[derive(Clone)]
pub struct Bulk(Postgres);

/// A connection of it.
pub struct BulkConn<'a>(&'a mut Session);

impl Bulk {
    /// None: there it does not pay.
    pub fn of(store: &Store) -> Option<Self> {
        match store {
            Store::Sqlite(_) => None,
            Store::Postgres(postgres) => Some(Self(postgres.clone())),
        }
    }

    /// Does the `work` of `count` requests in one transaction, as [`Store::write`] does, but for its short patience with
    /// the locks of others: see [`StoreError::is_blocked`].
    ///
    /// # Errors
    /// `work`'s own, or the store's where the database did not do it.
    pub async fn write<T, E, F>(&self, count: usize, work: F) -> Result<T, E>
    where
        F: FnOnce(&mut BulkConn<'_>) -> Result<T, E> + Clone + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Error + Send + 'static,
    {
        let work = |conn: &mut Conn<'_>| match conn {
            Conn::Postgres(c) => work(&mut BulkConn(c)),
            // Cannot be: see `of`.
            Conn::Sqlite(_) => Err(StoreError::Closed.into()),
        };
        self.0.write(count, BEGIN, work).await
    }
}

impl BulkConn<'_> {
    /// For what is done one by one.
    pub fn conn(&mut self) -> Conn<'_> {
        Conn::Postgres(self.0)
    }

    fn pg(&mut self) -> &mut PgConnection {
        self.0
    }

    /// The records of keys, each with its key.
    pub fn records(
        &mut self,
        scope: &str,
        keys: &[&str],
    ) -> Result<Vec<(String, Record)>, StoreError> {
        use webhook_idempotency as table;
        Ok(table::table
            .filter(table::scope.eq(scope))
            .filter(table::idempotency_key.eq_any(keys))
            .select((table::idempotency_key, Record::as_select()))
            .load(self.pg())?)
    }

    /// Claims and answers keys. Gives the ids of the records that are new; where a key has a record, nothing is done.
    /// Waits for other transactions that are claiming the same: the records are to be in the order of their keys.
    pub fn insert_records(
        &mut self,
        records: &[AnsweredRecord<'_>],
    ) -> Result<HashSet<Uuid>, StoreError> {
        use webhook_idempotency as table;
        let mut new = HashSet::new();
        for records in records.chunks(ROWS) {
            let ids: Vec<Uuid> = diesel::insert_into(table::table)
                .values(records)
                .on_conflict((table::scope, table::idempotency_key))
                .do_nothing()
                .returning(table::id)
                .load(self.pg())?;
            new.extend(ids);
        }
        Ok(new)
    }

    /// Takes records away again.
    pub fn delete_records(&mut self, ids: &[Uuid]) -> Result<(), StoreError> {
        use webhook_idempotency as table;
        diesel::delete(table::table.filter(table::id.eq_any(ids))).execute(self.pg())?;
        Ok(())
    }

    /// Claims events, no two of one id. Gives provider and id of those that are new. Waits for other transactions that
    /// are claiming the same: the events are to be in the order of their ids.
    pub fn claim_events(
        &mut self,
        events: &[NewEvent<'_>],
    ) -> Result<HashSet<(String, String)>, StoreError> {
        use webhook_event as table;
        let mut new = HashSet::new();
        for events in events.chunks(ROWS) {
            let ids: Vec<(String, String)> = diesel::insert_into(table::table)
                .values(events)
                .on_conflict((table::provider, table::event_id))
                .do_nothing()
                .returning((table::provider, table::event_id))
                .load(self.pg())?;
            new.extend(ids);
        }
        Ok(new)
    }

    /// Adds orders. Gives how many: a number or a message that has one already gets no other.
    pub fn insert_orders(&mut self, orders: &[&Order]) -> Result<usize, StoreError> {
        let mut new = 0;
        for orders in orders.chunks(ROWS) {
            new += diesel::insert_into(orders::table)
                .values(orders.to_vec())
                .on_conflict_do_nothing()
                .execute(self.pg())?;
        }
        Ok(new)
    }

    /// Adds items of orders.
    pub fn insert_items(&mut self, items: &[&OrderItem]) -> Result<(), StoreError> {
        for items in items.chunks(ROWS) {
            diesel::insert_into(order_items::table)
                .values(items.to_vec())
                .execute(self.pg())?;
        }
        Ok(())
    }

    /// Enters amounts.
    pub fn insert_entries(&mut self, entries: &[LedgerEntry<'_>]) -> Result<(), StoreError> {
        for entries in entries.chunks(ROWS) {
            diesel::insert_into(ledger_entries::table)
                .values(entries)
                .execute(self.pg())?;
        }
        Ok(())
    }
}
