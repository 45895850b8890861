//! A fresh database for each test, on either engine.

use diesel::{
    Connection as _, PgConnection, RunQueryDsl as _, SqliteConnection,
    connection::SimpleConnection as _, sql_query,
};
use hookonce::store::DatabaseUrl;
use std::borrow::Cow;

use super::servers::PostgresServer;

/// Which database a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// A database of its own, gone with the value.
pub struct Database {
    pub url: String,
    cleanup: Cleanup,
}

enum Cleanup {
    /// The folder of the file.
    Folder(
        #[expect(dead_code, reason = "removes the folder when it is dropped")] tempfile::TempDir,
    ),
    /// Server and name: none where the database goes with its server.
    Drop(String, Option<String>),
}

impl Database {
    pub fn new(engine: Engine) -> Self {
        match engine {
            Engine::Sqlite => {
                let folder = tempfile::tempdir().expect("a folder");
                let url = format!("sqlite://{}", folder.path().join("hookonce.db").display());
                Self {
                    url,
                    cleanup: Cleanup::Folder(folder),
                }
            }
            Engine::Postgres => {
                let server = postgres_server();
                let name = format!("test_{}", uuid::Uuid::new_v4().simple());
                admin(&server, &format!("CREATE DATABASE {name}"));
                Self {
                    url: format!("{server}/{name}"),
                    cleanup: Cleanup::Drop(server, Some(name)),
                }
            }
        }
    }

    /// A SQLite file that somebody else owns.
    pub fn at(path: &std::path::Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self {
            url: format!("sqlite://{}", path.display()),
            cleanup: Cleanup::Folder(folder),
        }
    }

    /// A database on a server that the test owns.
    pub fn on(server: &PostgresServer) -> Self {
        let name = "hookonce";
        server.execute(&format!("CREATE DATABASE {name}"));
        Self {
            url: format!("{}/{name}", server.url()),
            cleanup: Cleanup::Drop(server.url(), None),
        }
    }

    /// A database on a server that the test owns, of a role without any rights beyond it, with the role's password if it
    /// has one.
    pub fn of_role(server: &PostgresServer, role: &str, password: &str) -> Self {
        server.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD '{password}'"));
        server.execute(&format!("CREATE DATABASE hookonce OWNER {role}"));
        let url = server
            .url()
            .replace("postgres@", &format!("{role}:{password}@"));
        Self {
            url: format!("{url}/hookonce"),
            cleanup: Cleanup::Drop(server.url(), None),
        }
    }

    pub fn parsed(&self) -> DatabaseUrl {
        self.url.parse().expect("a database URL")
    }

    /// Runs SQL beside the service, to look at or to break what it relies on. Identifiers, times and hashes are written as
    /// PostgreSQL reads them.
    pub fn execute(&self, sql: &str) {
        let sql = &*self.spelled(sql);
        match self.cleanup {
            Cleanup::Folder(_) => self.sqlite().batch_execute(sql),
            Cleanup::Drop(..) => self.postgres().batch_execute(sql),
        }
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Runs SQL about a PostgreSQL database from outside of it, as where nobody can get in.
    pub fn alone(&self, sql: &str) {
        match &self.cleanup {
            Cleanup::Folder(_) => panic!("SQLite has no outside"),
            Cleanup::Drop(server, _) => {
                let conn = PgConnection::establish(&format!("{server}/postgres"));
                let done = conn.expect("PostgreSQL").batch_execute(sql);
                done.unwrap_or_else(|error| panic!("{sql}: {error}"));
            }
        }
    }

    /// The number that a `SELECT count(*) AS n …` gives.
    pub fn count(&self, sql: &str) -> i64 {
        let sql = &*self.spelled(sql);
        let row: Count = match self.cleanup {
            Cleanup::Folder(_) => sql_query(sql).get_result(&mut self.sqlite()),
            Cleanup::Drop(..) => sql_query(sql).get_result(&mut self.postgres()),
        }
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
        row.n
    }

    /// The texts that a `SELECT … AS t …` gives, NULL as None.
    pub fn texts(&self, sql: &str) -> Vec<Option<String>> {
        let sql = &*self.spelled(sql);
        let rows: Vec<Text> = match self.cleanup {
            Cleanup::Folder(_) => sql_query(sql).load(&mut self.sqlite()),
            Cleanup::Drop(..) => sql_query(sql).load(&mut self.postgres()),
        }
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
        rows.into_iter().map(|row| row.t).collect()
    }

    /// The SQL with each literal as the database keeps what it says.
    fn spelled<'a>(&self, sql: &'a str) -> Cow<'a, str> {
        match self.cleanup {
            Cleanup::Folder(_) => for_sqlite(sql).into(),
            Cleanup::Drop(..) => sql.into(),
        }
    }

    /// Makes writes fail, `INSERT ON orders` say, with a message of the database's; until [`Database::mend`].
    pub fn break_writes(&self, what: &str, message: &str) {
        self.trigger(
            what,
            &match self.cleanup {
                Cleanup::Folder(_) => format!("SELECT RAISE(ABORT, '{message}')"),
                Cleanup::Drop(..) => format!("RAISE EXCEPTION '{message}'"),
            },
        );
    }

    /// Makes writes do something more, `UPDATE ON orders` say; until [`Database::mend`].
    pub fn trigger(&self, what: &str, then: &str) {
        self.execute(&match self.cleanup {
            Cleanup::Folder(_) => {
                format!("CREATE TRIGGER broken AFTER {what} BEGIN {then}; END")
            }
            Cleanup::Drop(..) => format!(
                "CREATE OR REPLACE FUNCTION broken() RETURNS trigger AS $$ BEGIN {then}; RETURN NEW; END $$ LANGUAGE plpgsql;
                 CREATE TRIGGER broken AFTER {what} FOR EACH ROW EXECUTE FUNCTION broken()"
            ),
        });
    }

    /// Lets writes to a table be what they were.
    pub fn mend(&self, table: &str) {
        self.execute(&match self.cleanup {
            Cleanup::Folder(_) => "DROP TRIGGER broken".to_owned(),
            Cleanup::Drop(..) => format!("DROP TRIGGER broken ON {table}"),
        });
    }

    /// Keeps everybody else from writing records, until it is released.
    pub fn lock(&self) -> Lock {
        match self.cleanup {
            Cleanup::Folder(_) => {
                let mut conn = self.sqlite();
                conn.batch_execute("BEGIN IMMEDIATE").expect("the lock");
                Lock::Sqlite(conn)
            }
            Cleanup::Drop(..) => {
                let mut conn = self.postgres();
                conn.batch_execute(
                    "BEGIN; LOCK TABLE webhook_idempotency IN ACCESS EXCLUSIVE MODE",
                )
                .expect("the lock");
                Lock::Postgres(conn)
            }
        }
    }

    /// Holds each transaction of PostgreSQL that has added to a table at its commit, until the gate is opened.
    pub fn gate(&self, table: &str) -> Gate {
        self.execute(&format!(
            "CREATE FUNCTION gate() RETURNS trigger AS $$ BEGIN
                PERFORM set_config('lock_timeout', '0', true);
                PERFORM pg_advisory_xact_lock_shared(1); RETURN NULL; END $$ LANGUAGE plpgsql;
             CREATE CONSTRAINT TRIGGER gate AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION gate()"
        ));
        let mut conn = self.postgres();
        conn.batch_execute("SELECT pg_advisory_lock(1)")
            .expect("the lock");
        Gate(conn)
    }

    /// Has a SQLite file open until it is dropped, without doing anything.
    pub fn hold(&self) -> SqliteConnection {
        let mut conn = self.sqlite();
        conn.batch_execute("SELECT count(*) FROM sqlite_schema")
            .expect("a look");
        conn
    }

    fn sqlite(&self) -> SqliteConnection {
        let path = self.url.trim_start_matches("sqlite://");
        let mut conn = SqliteConnection::establish(path).expect("the database opens");
        conn.batch_execute("PRAGMA busy_timeout = 10000")
            .expect("a pragma");
        conn
    }

    fn postgres(&self) -> PgConnection {
        PgConnection::establish(&self.url).expect("the database answers")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Cleanup::Drop(server, Some(name)) = &self.cleanup {
            admin(server, &format!("DROP DATABASE {name} WITH (FORCE)"));
        }
    }
}

/// Whoever would commit waits for it.
pub struct Gate(PgConnection);

impl Gate {
    pub fn open(mut self) {
        let opened = self.0.batch_execute("SELECT pg_advisory_unlock(1)");
        opened.expect("the end of the lock");
    }
}

/// Whoever else would write waits for it.
pub enum Lock {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Lock {
    pub fn release(self) {
        match self {
            Self::Sqlite(mut conn) => conn.batch_execute("ROLLBACK"),
            Self::Postgres(mut conn) => conn.batch_execute("ROLLBACK"),
        }
        .expect("the end of the lock");
    }
}

#[derive(diesel::QueryableByName)]
struct Count {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    n: i64,
}

#[derive(diesel::QueryableByName)]
struct Text {
    #[diesel(sql_type = diesel::sql_types::Nullable<diesel::sql_types::Text>)]
    t: Option<String>,
}

/// SQLite keeps identifiers and hashes as bytes, and times as microseconds.
fn for_sqlite(sql: &str) -> String {
    let mut all = String::new();
    for (place, piece) in sql.split('\'').enumerate() {
        // Keys are texts, whatever they look like.
        let is_literal = place % 2 == 1 && !all.ends_with("idempotency_key = ");
        let id = uuid::Uuid::try_parse(piece)
            .ok()
            .filter(|_| piece.len() == 36);
        let time = chrono::DateTime::parse_from_rfc3339(piece);
        let (quote, spelled) = match (is_literal, id, time, piece.strip_prefix("\\x")) {
            (true, Some(id), ..) => ("", format!("X'{}'", id.simple())),
            (true, _, Ok(time), _) => ("", time.timestamp_micros().to_string()),
            (true, _, _, Some(bytes)) => ("", format!("X'{bytes}'")),
            _ => (["", "'"][place % 2], piece.to_owned()),
        };
        all += &format!("{quote}{spelled}{quote}");
    }
    all
}

/// A hash that is nobody's.
pub const HASH: &str = "'\\x00000000000000000000000000000000000000000000000000000000000000ff'";

/// Never skipped: without a server the test fails and says what to do.
fn postgres_server() -> String {
    std::env::var("TEST_POSTGRES_URL").expect(
        "TEST_POSTGRES_URL is not set: run scripts/test, which starts a PostgreSQL of its own, \
         or set it to postgres://USER@HOST:PORT",
    )
}

fn admin(server: &str, sql: &str) {
    let mut conn = PgConnection::establish(&format!("{server}/postgres")).expect("PostgreSQL");
    sql_query(sql).execute(&mut conn).expect(sql);
}

/// Makes a test of each function for each engine: `on_both!(a b c)` makes `sqlite::a`, `postgres::a` and so on.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod sqlite {
            $(#[actix_web::test] async fn $name() {
                super::$name($crate::support::database::Engine::Sqlite).await
            })*
        }
        mod postgres {
            $(#[actix_web::test] async fn $name() {
                super::$name($crate::support::database::Engine::Postgres).await
            })*
        }
    };
}
pub(crate) use on_both;
