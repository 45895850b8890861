//! Connections to PostgreSQL: how they are made, what is set on each, and whether the server's error messages can be read.

use diesel::{
    Connection as _, PgConnection, QueryableByName, RunQueryDsl as _,
    connection::SimpleConnection as _,
    r2d2::{Error as ConnectError, ManageConnection, R2D2Connection as _},
    result::Error as QueryError,
    sql_query,
    sql_types::{Bool, Nullable, Text},
};
use std::{
    error::Error,
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::store::{Conn, ForeignMessage, SchemaName, StoreError, migrations};

/// A connection, and what is known of its server.
///
/// Diesel does not tell PostgreSQL's error codes (SQLSTATE), and has a kind for a few alone. The others are told from the
/// words, which are known in English. An ordinary role may not choose the language; where the server keeps to another,
/// all errors without a kind are taken for passing ones ([`StoreError::ForeignMessage`]): nothing of them is kept, so they are
/// tried again, apart from others, and put off.
pub struct Session {
    conn: PgConnection,
    words: Words,
}

/// What is known of the server's error messages.
#[derive(Clone, Copy)]
struct Words {
    are_english: bool,
    /// When the transaction that goes on began, and how long it waits for a lock.
    begun: Instant,
    lock_timeout: Duration,
}

/// A borrowed connection: the store's, or one of somebody else's, whose server is taken to speak English.
pub struct PgConn<'a> {
    conn: &'a mut PgConnection,
    words: Option<Words>,
}

impl Words {
    /// The error for which no more than this is known, where its own words are foreign.
    fn understood<E>(self, error: E) -> E
    where
        E: From<StoreError> + Error + 'static,
    {
        if self.are_english {
            return error;
        }
        let waited = self.begun.elapsed() >= self.lock_timeout;
        match ForeignMessage::of(&error, waited) {
            None => error,
            Some(foreign) => StoreError::from(foreign).into(),
        }
    }
}

impl PgConn<'_> {
    /// As [`Session::understood`].
    pub(in crate::store) fn understood<E>(&self, error: E) -> E
    where
        E: From<StoreError> + Error + 'static,
    {
        match self.words {
            Some(words) => words.understood(error),
            None => error,
        }
    }
}

impl<'a> From<&'a mut Session> for PgConn<'a> {
    fn from(session: &'a mut Session) -> Self {
        Self {
            words: Some(session.words),
            conn: &mut session.conn,
        }
    }
}

impl<'a> From<&'a mut PgConnection> for PgConn<'a> {
    fn from(conn: &'a mut PgConnection) -> Self {
        Self { conn, words: None }
    }
}

impl Deref for PgConn<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.conn
    }
}

impl DerefMut for PgConn<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.conn
    }
}

impl Session {
    /// Begins to measure how long it takes until something is refused.
    pub(super) fn begins(&mut self, lock_timeout: Duration) {
        self.words.begun = Instant::now();
        self.words.lock_timeout = lock_timeout;
    }

    /// The error for which no more than this is known, where its own words are foreign.
    pub(in crate::store) fn understood<E>(&self, error: E) -> E
    where
        E: From<StoreError> + Error + 'static,
    {
        self.words.understood(error)
    }

    /// Whether the transaction that goes on has written anything. Fails where it is lost, which its end will tell.
    pub(super) fn has_written(&mut self) -> Result<bool, QueryError> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = Bool)]
            wrote: bool,
        }
        let asked = sql_query("SELECT txid_current_if_assigned() IS NOT NULL AS wrote");
        asked.get_result(&mut self.conn).map(|row: Row| row.wrote)
    }
}

impl Deref for Session {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.conn
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.conn
    }
}

/// What connections are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Access {
    /// All.
    Write,
    /// To read; the server refuses the rest.
    Read,
}

/// Makes connections for the pool, in threads of the pool's own.
pub(super) struct Connector {
    url: String,
    /// Where the tables are; none: where the connection's own search path leads.
    schema: Option<SchemaName>,
    /// How long one statement or lock may take.
    timeout: Duration,
    access: Access,
    /// The one that the schema was looked at with: the pool's first.
    first: Mutex<Option<Session>>,
    is_told: AtomicBool,
}

impl Connector {
    /// Makes the first connection at once, with which the schema is brought up to date or, to read, looked at.
    pub fn open(
        url: String,
        schema: Option<SchemaName>,
        timeout: Duration,
        access: Access,
    ) -> Result<Self, StoreError> {
        // Or OpenSSL would be torn down by the end of the process, under whoever is in the middle of a handshake. Whoever
        // initialises it first decides.
        openssl_sys::init();
        let connector = Self {
            url,
            schema,
            timeout,
            access,
            first: Mutex::default(),
            is_told: AtomicBool::new(false),
        };
        let mut first = connect(&connector.url, connector.schema.as_ref(), access)?;
        match access {
            // Before the time-outs are set: none may cut a long migration short.
            Access::Write => migrations::bring_up(&mut Conn::from(&mut first))?,
            Access::Read => migrations::needs_current(&mut Conn::from(&mut first))?,
        }
        let first = connector.set_up(first.conn)?;
        *connector
            .first
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(first);
        Ok(connector)
    }

    fn set_up(&self, mut conn: PgConnection) -> Result<Session, QueryError> {
        let ms = self.timeout.as_millis();
        conn.batch_execute(&format!(
            "SET statement_timeout = {ms};
             SET lock_timeout = {ms};
             SET idle_in_transaction_session_timeout = {ms};
             SET TIME ZONE 'UTC';"
        ))?;
        if self.access == Access::Read {
            conn.batch_execute("SET default_transaction_read_only = on")?;
        }
        let speaks_english = speaks_english(&mut conn)?;
        if !speaks_english && !self.is_told.swap(true, Ordering::Relaxed) {
            log::warn!(
                "PostgreSQL does not speak English, so that its errors cannot be told apart: set lc_messages to C for this role"
            );
        }
        Ok(Session {
            conn,
            words: Words {
                are_english: speaks_english,
                begun: Instant::now(),
                lock_timeout: self.timeout,
            },
        })
    }
}

/// Connects, and has the schema there if it is to be written to. To make it or to look at it: nothing bounds what is done.
///
/// # Errors
/// Where the server cannot be reached; [`StoreError::NotCurrent`] where there is no such schema to read.
pub(in crate::store) fn connect(
    url: &str,
    schema: Option<&SchemaName>,
    access: Access,
) -> Result<Session, StoreError> {
    let mut conn = PgConnection::establish(url)?;
    if let Some(schema) = schema
        && !has_schema(&mut conn, schema)?
    {
        if access == Access::Read {
            return Err(StoreError::NotCurrent);
        }
        // Only where it is missing: whoever may not make schemas may use one. Another process may be doing the same.
        let make = format!("CREATE SCHEMA IF NOT EXISTS {}", schema.as_str());
        if let Err(error) = conn.batch_execute(&make)
            && !has_schema(&mut conn, schema)?
        {
            return Err(error.into());
        }
    }
    choose_schema(&mut conn, schema)?;
    Ok(Session {
        conn,
        words: Words {
            are_english: true,
            begun: Instant::now(),
            lock_timeout: Duration::MAX,
        },
    })
}

fn has_schema(conn: &mut PgConnection, schema: &SchemaName) -> Result<bool, QueryError> {
    #[derive(QueryableByName)]
    struct Found {
        #[diesel(sql_type = Bool)]
        is_there: bool,
    }
    let asked = sql_query("SELECT to_regnamespace($1) IS NOT NULL AS is_there");
    let found: Found = asked.bind::<Text, _>(schema.as_str()).get_result(conn)?;
    Ok(found.is_there)
}

/// Puts a schema before all others: names are looked for there first, and what is made is made there.
fn choose_schema(conn: &mut PgConnection, schema: Option<&SchemaName>) -> Result<(), QueryError> {
    let Some(schema) = schema else {
        return Ok(());
    };
    sql_query("SELECT set_config('search_path', concat_ws(', ', $1, nullif(current_setting('search_path'), '')), false)")
        .bind::<Text, _>(schema.as_str())
        .execute(conn)?;
    Ok(())
}

/// Has the server speak English where the role may choose, and says whether it does. Errors that are handled within a
/// statement are not in the server's log.
fn speaks_english(conn: &mut PgConnection) -> Result<bool, QueryError> {
    #[derive(QueryableByName)]
    struct Said {
        #[diesel(sql_type = Nullable<Text>)]
        said: Option<String>,
    }
    conn.batch_execute(
        "DO $$ BEGIN
            BEGIN
                PERFORM set_config('lc_messages', 'C', false);
            EXCEPTION WHEN insufficient_privilege THEN
                NULL;
            END;
            BEGIN
                PERFORM 1 / 0;
            EXCEPTION WHEN division_by_zero THEN
                PERFORM set_config('hookonce.said', SQLERRM, false);
            END;
        END $$",
    )?;
    let asked = sql_query("SELECT current_setting('hookonce.said', true) AS said");
    let row: Said = asked.get_result(conn)?;
    Ok(row.said.as_deref() == Some("division by zero"))
}

/// The connector as the pool has it. No connection is being made once it is closed.
pub(super) struct GuardedConnector {
    connector: Connector,
    /// Shared by whoever is connecting. `false`: it is closed.
    is_open: RwLock<bool>,
}

impl GuardedConnector {
    pub fn new(connector: Connector) -> Self {
        Self {
            connector,
            is_open: RwLock::new(true),
        }
    }

    /// Waits for the connections that are being made, and lets none be made any more. Blocks.
    pub fn close(&self) {
        *self.is_open.write().unwrap_or_else(PoisonError::into_inner) = false;
    }

    pub fn is_closed(&self) -> bool {
        // Whoever closes it waits for those who connect, and is not waited for.
        self.is_open.try_read().is_ok_and(|is_open| !*is_open)
    }
}

/// For the pool, which keeps it to itself.
pub(super) struct PoolConnector(pub Arc<GuardedConnector>);

impl ManageConnection for PoolConnector {
    type Connection = Session;
    type Error = ConnectError;

    fn connect(&self) -> Result<Session, ConnectError> {
        let door = &self.0;
        let is_open = door.is_open.read().unwrap_or_else(PoisonError::into_inner);
        if !*is_open {
            let closed = diesel::ConnectionError::BadConnection("the store is closed".to_owned());
            return Err(closed.into());
        }
        let connector = &door.connector;
        let mut first = connector
            .first
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = first.take() {
            return Ok(first);
        }
        drop(first);
        let mut conn = PgConnection::establish(&connector.url)?;
        choose_schema(&mut conn, connector.schema.as_ref())?;
        Ok(connector.set_up(conn)?)
    }

    fn is_valid(&self, session: &mut Session) -> Result<(), ConnectError> {
        Ok(session.conn.ping()?)
    }

    fn has_broken(&self, session: &mut Session) -> bool {
        std::thread::panicking() || session.conn.is_broken()
    }
}
