//! Which row has claimed an id: the record of a key, an event, the order of a message.
//!
//! PostgreSQL asks an index of each table. SQLite asks `webhook_claim`, one tree for all of them, in which the claims of one id
//! lie beside each other: ids come in no order, and each index of them would be a page to change with every order.

#[cfg(all(feature = "sqlite", feature = "shop"))]
use diesel::RunQueryDsl;
#[cfg(feature = "postgres")]
use diesel::pg::Pg;
#[cfg(feature = "sqlite")]
use diesel::sqlite::Sqlite;
use diesel::{
    AppearsOnTable, Expression, QueryResult,
    expression::{ValidGrouping, is_aggregate},
    query_builder::{AstPass, QueryFragment, QueryId},
    sql_types::{Bool, Text},
};

#[cfg(feature = "shop")]
use super::orders::OrderSource;

/// What can be claimed.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Key,
    Event,
    #[cfg(feature = "shop")]
    Message,
}

/// A condition on the rows of a table, true of the one that has claimed an id; of all that have, whoever it is for, where the
/// owner is left open.
#[derive(Debug, Clone, Copy)]
pub(super) struct HasClaimed<'a> {
    kind: Kind,
    id: &'a str,
    owner: Option<&'a str>,
}

/// The record of a key.
pub(super) fn has_key<'a>(scope: &'a str, key: &'a str) -> HasClaimed<'a> {
    HasClaimed {
        kind: Kind::Key,
        id: key,
        owner: Some(scope),
    }
}

/// The records of a key, in whatever scope.
#[cfg(feature = "server")]
pub(super) fn has_key_anywhere(key: &str) -> HasClaimed<'_> {
    HasClaimed {
        kind: Kind::Key,
        id: key,
        owner: None,
    }
}

/// The row of an event.
pub(super) fn is_event<'a>(provider: &'a str, event_id: &'a str) -> HasClaimed<'a> {
    HasClaimed {
        kind: Kind::Event,
        id: event_id,
        owner: Some(provider),
    }
}

/// The rows of an event's id, whoever told them.
#[cfg(feature = "sqlite")]
pub(super) fn is_event_of_anybody(event_id: &str) -> HasClaimed<'_> {
    HasClaimed {
        kind: Kind::Event,
        id: event_id,
        owner: None,
    }
}

/// The order that a message made.
#[cfg(feature = "shop")]
pub(super) fn is_of_message<'a>(source: &'a OrderSource, message_id: &'a str) -> HasClaimed<'a> {
    HasClaimed {
        kind: Kind::Message,
        id: message_id,
        owner: Some(source.as_str()),
    }
}

/// Claims a message for the order that is inserted next, in SQLite. Changes no row where it is claimed already.
#[cfg(all(feature = "sqlite", feature = "shop"))]
pub(super) struct ClaimMessage<'a> {
    pub source: &'a OrderSource,
    pub message_id: &'a str,
}

#[cfg(all(feature = "sqlite", feature = "shop"))]
impl QueryFragment<Sqlite> for ClaimMessage<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql("INSERT INTO webhook_claim (id, kind, owner, row) VALUES (");
        out.push_bind_param::<Text, _>(self.message_id)?;
        out.push_sql(", 2, ");
        out.push_bind_param::<Text, _>(self.source.as_str())?;
        // The number that SQLite gives the next row: "one more than the largest rowid in the table". As values, for an
        // INSERT of a SELECT may be of many rows, and SQLite copies what it changes to be able to undo it.
        out.push_sql(", (SELECT coalesce(max(rowid), 0) + 1 FROM orders)) ON CONFLICT DO NOTHING");
        Ok(())
    }
}

#[cfg(all(feature = "sqlite", feature = "shop"))]
impl QueryId for ClaimMessage<'_> {
    type QueryId = ClaimMessage<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

#[cfg(all(feature = "sqlite", feature = "shop"))]
impl<Conn> RunQueryDsl<Conn> for ClaimMessage<'_> {}

impl Expression for HasClaimed<'_> {
    type SqlType = Bool;
}

impl<Tables> AppearsOnTable<Tables> for HasClaimed<'_> {}

impl ValidGrouping<()> for HasClaimed<'_> {
    type IsAggregate = is_aggregate::No;
}

impl QueryId for HasClaimed<'_> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

#[cfg(feature = "sqlite")]
impl QueryFragment<Sqlite> for HasClaimed<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql(match self.owner {
            Some(_) => "rowid = (SELECT row FROM webhook_claim WHERE id = ",
            None => "rowid IN (SELECT row FROM webhook_claim WHERE id = ",
        });
        out.push_bind_param::<Text, _>(self.id)?;
        out.push_sql(match self.kind {
            Kind::Key => " AND kind = 0",
            Kind::Event => " AND kind = 1",
            #[cfg(feature = "shop")]
            Kind::Message => " AND kind = 2",
        });
        if let Some(owner) = &self.owner {
            out.push_sql(" AND owner = ");
            out.push_bind_param::<Text, _>(*owner)?;
        }
        out.push_sql(")");
        Ok(())
    }
}

#[cfg(feature = "postgres")]
impl QueryFragment<Pg> for HasClaimed<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let (owner, id) = match self.kind {
            Kind::Key => ("scope", "idempotency_key"),
            Kind::Event => ("provider", "event_id"),
            #[cfg(feature = "shop")]
            Kind::Message => ("source", "message_id"),
        };
        out.push_sql("(");
        out.push_identifier(id)?;
        out.push_sql(" = ");
        out.push_bind_param::<Text, _>(self.id)?;
        if let Some(owner_is) = &self.owner {
            out.push_sql(" AND ");
            out.push_identifier(owner)?;
            out.push_sql(" = ");
            out.push_bind_param::<Text, _>(*owner_is)?;
        }
        out.push_sql(")");
        Ok(())
    }
}
