//! SQL types that each database spells its own way, bridged once. Knows no table.

use chrono::{DateTime, Duration, DurationRound as _, SecondsFormat, SubsecRound as _, Utc};
#[cfg(feature = "postgres")]
use diesel::pg::{Pg, PgValue};
#[cfg(feature = "sqlite")]
use diesel::sqlite::{Sqlite, SqliteValue};
use diesel::{
    backend::Backend,
    deserialize::{self, FromSql, FromSqlRow},
    expression::AsExpression,
    query_builder::QueryId,
    serialize::{self, IsNull, Output, ToSql},
    sql_types::{Binary, SqlOrd, SqlType},
};
use sha2::{Digest as _, Sha256};
#[cfg(feature = "postgres")]
use std::io::Write as _;

use crate::json;

/// A UUID: `UUID` in PostgreSQL, its 16 bytes as `BLOB` in SQLite.
#[derive(SqlType, QueryId)]
#[diesel(
    postgres_type(oid = 2950, array_oid = 2951),
    sqlite_type(name = "Binary")
)]
pub struct Id;

/// An instant: `TIMESTAMPTZ` in PostgreSQL, microseconds since 1970 as `INTEGER` in SQLite.
#[derive(SqlType, QueryId)]
#[diesel(
    postgres_type(oid = 1184, array_oid = 1185),
    sqlite_type(name = "Long")
)]
pub struct Moment;
impl SqlOrd for Moment {}

/// A JSON document kept as it was written: `JSON` in PostgreSQL (not `JSONB`, which reorders), `TEXT` in SQLite.
#[derive(SqlType, QueryId)]
#[diesel(postgres_type(oid = 114, array_oid = 199), sqlite_type(name = "Text"))]
pub struct Document;

/// The Rust side of [`Id`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, AsExpression, FromSqlRow)]
#[diesel(sql_type = Id)]
pub struct Uuid(pub uuid::Uuid);

impl Uuid {
    /// A new id that sorts by the time it was made (UUID version 7).
    pub fn in_order() -> Self {
        Self(uuid::Uuid::now_v7())
    }

    /// A new id that nobody can guess (UUID version 4).
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4())
    }
}
impl std::fmt::Display for Uuid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
#[cfg(feature = "postgres")]
impl ToSql<Id, Pg> for Uuid {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        ToSql::<diesel::sql_types::Uuid, Pg>::to_sql(&self.0, out)
    }
}
#[cfg(feature = "postgres")]
impl FromSql<Id, Pg> for Uuid {
    fn from_sql(raw: PgValue<'_>) -> deserialize::Result<Self> {
        <uuid::Uuid as FromSql<diesel::sql_types::Uuid, Pg>>::from_sql(raw).map(Self)
    }
}
#[cfg(feature = "sqlite")]
impl ToSql<Id, Sqlite> for Uuid {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.0.as_bytes().as_slice());
        Ok(IsNull::No)
    }
}
#[cfg(feature = "sqlite")]
impl FromSql<Id, Sqlite> for Uuid {
    fn from_sql(mut raw: SqliteValue<'_, '_, '_>) -> deserialize::Result<Self> {
        Ok(Self(uuid::Uuid::from_slice(raw.read_blob())?))
    }
}

/// A SHA-256: its 32 bytes, as `BYTEA` in PostgreSQL and as `BLOB` in SQLite. Shows itself in lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, AsExpression, FromSqlRow)]
#[diesel(sql_type = Binary)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest that a text spells in hexadecimal digits; that of the text itself where it spells none.
    pub fn spelled(text: &str) -> Self {
        let mut bytes = [0; 32];
        match hex::decode_to_slice(text, &mut bytes) {
            Ok(()) => Self(bytes),
            Err(_other) => Self::of(text.as_bytes()),
        }
    }
}
impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}
impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}
impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}
impl<DB: Backend> ToSql<Binary, DB> for Digest
where
    [u8]: ToSql<Binary, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        <[u8] as ToSql<Binary, DB>>::to_sql(&self.0, out)
    }
}
#[cfg(feature = "postgres")]
impl FromSql<Binary, Pg> for Digest {
    fn from_sql(raw: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(Self(raw.as_bytes().try_into()?))
    }
}
#[cfg(feature = "sqlite")]
impl FromSql<Binary, Sqlite> for Digest {
    fn from_sql(mut raw: SqliteValue<'_, '_, '_>) -> deserialize::Result<Self> {
        Ok(Self(raw.read_blob().try_into()?))
    }
}

/// The Rust side of [`Moment`], cut to microseconds, the finest that both databases keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, AsExpression, FromSqlRow)]
#[diesel(sql_type = Moment)]
pub struct Timestamp(DateTime<Utc>);

impl Timestamp {
    /// This machine's clock, now.
    pub fn now() -> Self {
        Utc::now().into()
    }

    /// The beginning of 1970.
    pub fn beginning() -> Self {
        Self(DateTime::UNIX_EPOCH)
    }

    /// The instant `span` after this one, at the latest the end of the year 9999.
    pub fn after(self, span: std::time::Duration) -> Self {
        let later = Duration::from_std(span)
            .ok()
            .and_then(|span| self.0.checked_add_signed(span));
        later.unwrap_or(DateTime::<Utc>::MAX_UTC).into()
    }

    /// The instant `span` before this one, at the earliest the beginning of 1970.
    pub fn before(self, span: std::time::Duration) -> Self {
        let earlier = Duration::from_std(span)
            .ok()
            .and_then(|span| self.0.checked_sub_signed(span));
        let beginning = DateTime::UNIX_EPOCH;
        earlier.unwrap_or(beginning).max(beginning).into()
    }

    /// The beginning of its hour, in UTC.
    pub fn hour(self) -> Self {
        self.beginning_of(Duration::hours(1))
    }

    /// The beginning of its minute.
    pub fn minute(self) -> Self {
        self.beginning_of(Duration::minutes(1))
    }

    fn beginning_of(self, span: Duration) -> Self {
        Self(self.0.duration_trunc(span).unwrap_or(self.0))
    }

    /// Whole seconds since 1970.
    pub fn seconds(self) -> i64 {
        self.0.timestamp()
    }

    /// Microseconds since 1970.
    pub fn microseconds(self) -> i64 {
        self.0.timestamp_micros()
    }

    /// The instant so many microseconds after the beginning of 1970. `None`: there is no such.
    pub fn from_microseconds(microseconds: i64) -> Option<Self> {
        DateTime::from_timestamp_micros(microseconds).map(Self)
    }

    /// How long from this instant to `later`; zero where `later` is not later.
    pub fn until(self, later: Self) -> std::time::Duration {
        (later.0 - self.0).to_std().unwrap_or_default()
    }
}
impl From<Timestamp> for DateTime<Utc> {
    fn from(at: Timestamp) -> Self {
        at.0
    }
}
impl From<DateTime<Utc>> for Timestamp {
    /// Kept within the years 0 to 9999: what lies beyond has no RFC 3339 text.
    fn from(at: DateTime<Utc>) -> Self {
        let first = DateTime::from_timestamp(-62_167_219_200, 0);
        let last = DateTime::from_timestamp(253_402_300_799, 999_999_000);
        let (first, last) = (first.unwrap_or_default(), last.unwrap_or_default());
        Self(at.trunc_subsecs(6).clamp(first, last))
    }
}
impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}
#[cfg(feature = "postgres")]
impl ToSql<Moment, Pg> for Timestamp {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        ToSql::<diesel::sql_types::Timestamptz, Pg>::to_sql(&self.0, out)
    }
}
#[cfg(feature = "postgres")]
impl FromSql<Moment, Pg> for Timestamp {
    fn from_sql(raw: PgValue<'_>) -> deserialize::Result<Self> {
        <DateTime<Utc> as FromSql<diesel::sql_types::Timestamptz, Pg>>::from_sql(raw).map(Self)
    }
}
#[cfg(feature = "sqlite")]
impl ToSql<Moment, Sqlite> for Timestamp {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.microseconds());
        Ok(IsNull::No)
    }
}
#[cfg(feature = "sqlite")]
impl FromSql<Moment, Sqlite> for Timestamp {
    fn from_sql(mut raw: SqliteValue<'_, '_, '_>) -> deserialize::Result<Self> {
        let microseconds = raw.read_long();
        Self::from_microseconds(microseconds)
            .ok_or_else(|| format!("{microseconds} is no time").into())
    }
}

/// The Rust side of [`Document`]: the text of a JSON document, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, AsExpression, FromSqlRow)]
#[diesel(sql_type = Document)]
pub struct Json(String);

impl Json {
    /// The text of `value`, written without white space.
    pub fn of(value: &json::Value) -> Self {
        Self(value.to_string())
    }

    /// The text of what serializes, its members in their own order.
    ///
    /// # Errors
    /// Where it does not, as a map whose keys are no texts.
    pub fn written(value: &impl serde::Serialize) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(Self)
    }

    /// Takes a text that is a JSON document already.
    ///
    /// # Errors
    /// Where it is none, or nested deeper than [`json::MAX_DEPTH`]: PostgreSQL refuses what is nested too deeply.
    pub fn parse(text: String) -> Result<Self, json::Invalid> {
        json::check(text.as_bytes())?;
        Ok(Self(text))
    }

    /// The document's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
#[cfg(feature = "postgres")]
impl ToSql<Document, Pg> for Json {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        out.write_all(self.0.as_bytes())?;
        Ok(IsNull::No)
    }
}
#[cfg(feature = "postgres")]
impl FromSql<Document, Pg> for Json {
    fn from_sql(raw: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(Self(std::str::from_utf8(raw.as_bytes())?.to_owned()))
    }
}
#[cfg(feature = "sqlite")]
impl ToSql<Document, Sqlite> for Json {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.0.as_str());
        Ok(IsNull::No)
    }
}
#[cfg(feature = "sqlite")]
impl FromSql<Document, Sqlite> for Json {
    fn from_sql(raw: SqliteValue<'_, '_, '_>) -> deserialize::Result<Self> {
        text(raw).map(Self)
    }
}

#[cfg(feature = "sqlite")]
fn text(raw: SqliteValue<'_, '_, '_>) -> deserialize::Result<String> {
    <String as FromSql<diesel::sql_types::Text, Sqlite>>::from_sql(raw)
}

/// An enum kept as text, in every database alike.
macro_rules! text_enum {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident => $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, diesel::expression::AsExpression, diesel::deserialize::FromSqlRow)]
        #[diesel(sql_type = diesel::sql_types::Text)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name that is stored and shown.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl<DB: diesel::backend::Backend> diesel::serialize::ToSql<diesel::sql_types::Text, DB> for $name
        where
            str: diesel::serialize::ToSql<diesel::sql_types::Text, DB>,
        {
            fn to_sql<'b>(&'b self, out: &mut diesel::serialize::Output<'b, '_, DB>) -> diesel::serialize::Result {
                self.as_str().to_sql(out)
            }
        }
        impl<DB: diesel::backend::Backend> diesel::deserialize::FromSql<diesel::sql_types::Text, DB> for $name
        where
            String: diesel::deserialize::FromSql<diesel::sql_types::Text, DB>,
        {
            fn from_sql(raw: DB::RawValue<'_>) -> diesel::deserialize::Result<Self> {
                Ok(String::from_sql(raw)?.parse()?)
            }
        }
        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    other => Err(format!("{other:?} is no {}", stringify!($name))),
                }
            }
        }
    };
}
pub(crate) use text_enum;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_keeps_microseconds() {
        let at: Timestamp = DateTime::from_timestamp_nanos(1_700_000_000_123_456_789).into();
        assert_eq!(at.to_string(), "2023-11-14T22:13:20.123456Z");
        let later = at.after(std::time::Duration::from_micros(1));
        assert!(later > at);
        assert_eq!(at.until(later), std::time::Duration::from_micros(1));
        assert_eq!(later.until(at), std::time::Duration::ZERO);
        assert_eq!(later.before(std::time::Duration::from_micros(1)), at);
    }

    #[test]
    fn a_digest_is_read_or_made() {
        let digest = Digest::of(b"a");
        assert_eq!(Digest::spelled(&digest.to_string()), digest);
        assert_eq!(Digest::spelled("a"), digest);
        assert_ne!(Digest::spelled("b"), digest);
    }

    #[test]
    fn a_span_beyond_the_end_of_time_ends_there() {
        let end = Timestamp::now().after(std::time::Duration::MAX);
        assert_eq!(end.to_string(), "9999-12-31T23:59:59.999999Z");
    }

    #[test]
    fn whole_seconds_and_microseconds_count_from_1970() {
        let at = Timestamp::beginning().after(std::time::Duration::from_micros(7_999_999));
        assert_eq!((at.seconds(), at.microseconds()), (7, 7_999_999));
    }
}
