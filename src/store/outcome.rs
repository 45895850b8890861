//! The outcome of an event, as it is stored.

use diesel::{
    backend::Backend,
    deserialize::{self, FromSql, FromSqlRow},
    expression::AsExpression,
    serialize::{self, Output, ToSql},
    sql_types::Text,
};
use std::{borrow::Cow, fmt};

/// The outcome of an event, in one word: a handler has words of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
pub struct Outcome(Cow<'static, str>);

impl Outcome {
    /// It was known before.
    pub const DUPLICATE: Self = Self::new("duplicate");
    /// Stored, and nothing else.
    pub const IGNORED: Self = Self::new("ignored");
    /// Its id is known with another content: nothing was done.
    pub const CONFLICT: Self = Self::new("conflict");

    /// A handler's own word.
    pub const fn new(word: &'static str) -> Self {
        Self(Cow::Borrowed(word))
    }

    /// The word.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<DB: Backend> ToSql<Text, DB> for Outcome
where
    str: ToSql<Text, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        (*self.0).to_sql(out)
    }
}

impl<DB: Backend> FromSql<Text, DB> for Outcome
where
    String: FromSql<Text, DB>,
{
    fn from_sql(raw: DB::RawValue<'_>) -> deserialize::Result<Self> {
        Ok(Self(String::from_sql(raw)?.into()))
    }
}
