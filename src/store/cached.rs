//! Statements that are kept prepared where Diesel would prepare them anew each time, or write their SQL anew to find them:
//! it takes every `UPDATE`, every raw query and every `INSERT` with `ON CONFLICT` for one whose SQL may change. Preparing
//! costs SQLite more than running. The first two are kept by their SQL text, so that one that did change would be prepared
//! for itself; an `INSERT` by a type that stands for it.
//!
//! And an `INSERT` that Diesel does not know, which SQLite does without noting how each page was before.

#[cfg(feature = "sqlite")]
use diesel::sqlite::Sqlite;
use diesel::{
    QueryResult, RunQueryDsl,
    backend::Backend,
    query_builder::{AstPass, QueryFragment, QueryId},
};
use std::marker::PhantomData;

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

/// An `INSERT` whose SQL is the same whatever its values are. `Name` stands for it, and for no other.
pub(super) struct Insert<Name, Statement>(Statement, PhantomData<Name>);

impl<Statement> Insert<(), Statement> {
    pub fn named<Name>(statement: Statement) -> Insert<Name, Statement> {
        Insert(statement, PhantomData)
    }
}

impl<DB, Name, Statement> QueryFragment<DB> for Insert<Name, Statement>
where
    DB: Backend,
    Statement: QueryFragment<DB>,
{
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        self.0.walk_ast(out)
    }
}

impl<Name: 'static, Statement> QueryId for Insert<Name, Statement> {
    type QueryId = Name;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<Conn, Name, Statement> RunQueryDsl<Conn> for Insert<Name, Statement> {}

/// `INSERT OR FAIL INTO table values`, where `Values` is what Diesel makes of a row, whose SQL is always the same. `Name` stands
/// for it, and for no other. One that fails half way, in a trigger, leaves what it has done: the transaction or the savepoint
/// around it is to be rolled back, as it is here after every error. So SQLite need not be able to undo the statement by itself,
/// for which it would copy each page that it changes.
#[cfg(feature = "sqlite")]
pub(super) struct InsertOrFail<Name, Values> {
    table: &'static str,
    values: Values,
    name: PhantomData<Name>,
}

#[cfg(feature = "sqlite")]
impl<Values> InsertOrFail<(), Values> {
    pub fn named<Name>(table: &'static str, values: Values) -> InsertOrFail<Name, Values> {
        InsertOrFail {
            table,
            values,
            name: PhantomData,
        }
    }
}

#[cfg(feature = "sqlite")]
impl<Name, Values> QueryFragment<Sqlite> for InsertOrFail<Name, Values>
where
    Values: QueryFragment<Sqlite>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql("INSERT OR FAIL INTO ");
        out.push_identifier(self.table)?;
        out.push_sql(" ");
        self.values.walk_ast(out)
    }
}

#[cfg(feature = "sqlite")]
impl<Name: 'static, Values> QueryId for InsertOrFail<Name, Values> {
    type QueryId = Name;
    const HAS_STATIC_QUERY_ID: bool = true;
}

#[cfg(feature = "sqlite")]
impl<Conn, Name, Values> RunQueryDsl<Conn> for InsertOrFail<Name, Values> {}
