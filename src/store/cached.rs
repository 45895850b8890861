//! Statements that are kept prepared where Diesel would prepare them anew each time: it takes every `UPDATE` and every
//! raw query for one whose SQL may change. Preparing costs SQLite more than running. Both are kept by their SQL text,
//! so that one that did change would be prepared for itself.

use diesel::{
    QueryResult, RunQueryDsl,
    backend::Backend,
    query_builder::{AstPass, QueryFragment, QueryId},
};

/// SQL without parameters.
pub(super) struct Fixed(pub &'static str);

impl<DB: Backend> QueryFragment<DB> for Fixed {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql(self.0);
        Ok(())
    }
}

impl QueryId for Fixed {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Conn> RunQueryDsl<Conn> for Fixed {}

/// `UPDATE table SET changes WHERE filter`.
pub(super) struct Update<Changes, Filter> {
    pub table: &'static str,
    pub changes: Changes,
    pub filter: Filter,
}

impl<DB, Changes, Filter> QueryFragment<DB> for Update<Changes, Filter>
where
    DB: Backend,
    Changes: QueryFragment<DB>,
    Filter: QueryFragment<DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql("UPDATE ");
        out.push_identifier(self.table)?;
        out.push_sql(" SET ");
        self.changes.walk_ast(out.reborrow())?;
        out.push_sql(" WHERE ");
        self.filter.walk_ast(out)
    }
}

impl<Changes, Filter> QueryId for Update<Changes, Filter> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Conn, Changes, Filter> RunQueryDsl<Conn> for Update<Changes, Filter> {}
