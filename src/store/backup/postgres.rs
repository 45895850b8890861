//! A PostgreSQL database, by PostgreSQL's own programs: they know every version of its format. The password goes to them
//! through their environment, where `ps` shows it to nobody.

use diesel::{
    Connection as _, PgConnection, QueryableByName, RunQueryDsl as _, sql_query, sql_types,
};
use percent_encoding::percent_decode_str;
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    BackupError, Checked, Findings, Restored, Source, Target, at,
    part::{PartialFile, real},
    unknown_migrations,
};
use crate::store::{
    Conn, SchemaName, Session, StoreError, migrations,
    postgres::{Access, connect},
};

const DUMP: &str = "pg_dump";
const RESTORE: &str = "pg_restore";

/// A database on a server.
pub(super) struct Server {
    pub url: String,
    /// Where the tables are; none: the whole database is ours.
    pub schema: Option<SchemaName>,
}

impl Server {
    pub fn backup(&self, target: &Target) -> Result<u64, BackupError> {
        let temporary = temporary()?;
        let (place, prints) = match target {
            Target::File(place) => (real(place)?, false),
            Target::Output => (temporary.path().join("backup"), true),
        };
        let mut part = PartialFile::new(&place, ".part")?;
        let into = part.file.try_clone();
        let into = into.map_err(at(&part.path, "it cannot be written"))?;
        let mut dump = program(DUMP, &self.url);
        if let Some(schema) = &self.schema {
            dump.arg(format!("--schema={}", schema.as_str()));
        }
        dump.arg("--format=custom").stdout(into);
        run(DUMP, &mut dump)?;
        // As whoever brings it back will read it.
        self.applied(&part.path)?;
        match prints {
            true => part.print(),
            false => part.put(&place),
        }
    }

    pub fn restore(&self, source: &Source) -> Result<Restored, BackupError> {
        let temporary = temporary()?;
        let (file, name) = match source {
            Source::File(file) if !file.exists() => {
                return Err(BackupError::NoDatabase(file.clone()));
            }
            Source::File(file) => (file.clone(), file.display().to_string()),
            Source::Input => (spool(temporary.path())?, "standard input".to_owned()),
        };
        let versions = self.applied(&file)?;
        let known = migrations::known()?;
        if versions.is_empty() {
            let why = "it has none of hookonce's tables".to_owned();
            return Err(BackupError::Foreign(name, why));
        }
        if let Some(newer) = unknown_migrations(&versions, &known) {
            return Err(BackupError::Newer(name, newer));
        }
        self.make_room()?;
        let mut restore = program(RESTORE, &self.url);
        restore
            .args(["--single-transaction", "--exit-on-error"])
            .args(["--no-owner", "--no-privileges"])
            .arg(&file)
            .stdout(Stdio::null());
        run(RESTORE, &mut restore)?;
        let mut session = self.connect(Access::Write)?;
        migrations::bring_up(&mut Conn::from(&mut session))?;
        // What was answered since the backup, and is kept in a cache, is no answer of this database's.
        sql_query("UPDATE installation SET id = md5(random()::text || clock_timestamp()::text)")
            .execute(&mut *session)
            .map_err(StoreError::from)?;
        Ok(Restored { kept: None })
    }

    pub fn check(&self) -> Result<Checked, BackupError> {
        const INDEXES: &str = "SELECT count(*) AS n FROM pg_index WHERE NOT indisvalid";
        const CHECKSUMS: &str = "SELECT coalesce(checksum_failures, 0) AS n FROM pg_stat_database
            WHERE datname = current_database()";
        let conn = &mut *self.connect(Access::Read)?;
        let versions: Vec<Migration> = sql_query(migrations::APPLIED)
            .load(conn)
            .map_err(StoreError::from)?;
        let versions: Vec<_> = versions.into_iter().map(|row| row.name).collect();
        let known = migrations::known()?;
        let mut findings = Vec::new();
        if let Some(missing) = known.iter().find(|known| !versions.contains(known)) {
            findings.push(format!(
                "the schema lacks the migration {missing}: run hookonce migrate"
            ));
        }
        for (query, fault) in [
            (INDEXES, "indexes are not valid: run REINDEX"),
            (CHECKSUMS, "pages failed their checksum: restore a backup"),
        ] {
            let found = count(conn, query)?;
            if found > 0 {
                findings.push(format!("{found} {fault}"));
            }
        }
        let newest = versions.iter().max().cloned().unwrap_or_default();
        Ok(Checked {
            about: format!("PostgreSQL: schema {newest}; pg_amcheck reads every page"),
            findings: Findings(findings),
        })
    }

    fn connect(&self, access: Access) -> Result<Session, StoreError> {
        connect(&self.url, self.schema.as_ref(), access)
    }

    /// Makes sure that nothing is in the way of what is brought back.
    fn make_room(&self) -> Result<(), BackupError> {
        let conn = &mut PgConnection::establish(&self.url).map_err(StoreError::from)?;
        let within = match &self.schema {
            Some(schema) => format!("s.nspname = '{}'", schema.as_str()),
            // All that is not PostgreSQL's own.
            None => "s.nspname <> 'information_schema' AND s.nspname NOT LIKE 'pg\\_%'".to_owned(),
        };
        let tables = format!(
            "SELECT count(*) AS n FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
             WHERE {within} AND c.relkind IN ('r', 'p', 'v', 'm', 'S')"
        );
        if count(conn, &tables)? > 0 {
            return Err(BackupError::NotEmpty);
        }
        if let Some(schema) = &self.schema {
            // The backup makes it.
            sql_query(format!("DROP SCHEMA IF EXISTS {}", schema.as_str()))
                .execute(conn)
                .map_err(StoreError::from)?;
        }
        Ok(())
    }

    /// The migrations that a backup has.
    fn applied(&self, file: &Path) -> Result<Vec<String>, BackupError> {
        let mut list = Command::new(RESTORE);
        if let Some(schema) = &self.schema {
            list.arg(format!("--schema={}", schema.as_str()));
        }
        list.args(["--data-only", "--table=hookonce_migration", "--file=-"])
            .arg(file)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit());
        let output = list.output().map_err(|error| missing(RESTORE, error))?;
        if !output.status.success() {
            return Err(BackupError::Program(RESTORE, output.status));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        // COPY public.… (set_name, version) FROM stdin; then a line for each, and \.
        let rows = text.lines().skip_while(|line| !line.starts_with("COPY "));
        let rows = rows.skip(1).take_while(|line| *line != "\\.");
        Ok(rows.map(|row| row.replace('\t', "/")).collect())
    }
}

#[derive(QueryableByName)]
struct Migration {
    #[diesel(sql_type = sql_types::Text)]
    name: String,
}

fn count(conn: &mut PgConnection, query: &str) -> Result<i64, StoreError> {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = sql_types::BigInt)]
        n: i64,
    }
    let found: Count = sql_query(query).get_result(conn)?;
    Ok(found.n)
}

fn temporary() -> Result<tempfile::TempDir, BackupError> {
    tempfile::tempdir().map_err(at(&std::env::temp_dir(), "nothing can be made there"))
}

/// Standard input as a file, for it is read twice.
fn spool(folder: &Path) -> Result<PathBuf, BackupError> {
    let path = folder.join("backup");
    let copied =
        File::create_new(&path).and_then(|mut to| io::copy(&mut io::stdin().lock(), &mut to));
    copied.map_err(at(&path, "it cannot be written"))?;
    Ok(path)
}

/// One of PostgreSQL's programs, on a database.
fn program(name: &'static str, url: &str) -> Command {
    let (url, password) = without_password(url);
    let mut command = Command::new(name);
    command
        .arg("--no-password")
        .arg(format!("--dbname={url}"))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    if let Some(password) = password {
        command.env("PGPASSWORD", password);
    }
    command
}

fn run(name: &'static str, command: &mut Command) -> Result<(), BackupError> {
    let status = command.status().map_err(|error| missing(name, error))?;
    match status.success() {
        true => Ok(()),
        false => Err(BackupError::Program(name, status)),
    }
}

fn missing(name: &'static str, error: io::Error) -> BackupError {
    match error.kind() {
        io::ErrorKind::NotFound => BackupError::NoProgram(name),
        _ => at(Path::new(name), "it cannot be run")(error),
    }
}

/// An address without its password, and the password. One may be before the host, and among the parameters.
fn without_password(url: &str) -> (String, Option<String>) {
    let begin = url.find("://").map_or(0, |at| at + "://".len());
    let (scheme, rest) = url.split_at(begin);
    // As libpq has it: a password ends at the first @ before any slash, and may hold a question mark.
    let user_end = rest
        .find(['@', '/'])
        .filter(|&at| rest[at..].starts_with('@'));
    let (user, host) = rest.split_at(user_end.unwrap_or(0));
    let (host, parameters) = match host.split_once('?') {
        Some((host, parameters)) => (host, Some(parameters)),
        None => (host, None),
    };
    let (user, password) = match user.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (user, None),
    };
    let mut password = password.map(decode);
    let mut left = Vec::new();
    for parameter in parameters.into_iter().flat_map(|all| all.split('&')) {
        match parameter.split_once('=') {
            Some(("password", value)) => password = Some(decode(value)),
            Some(("sslpassword", _)) => {}
            _ => left.push(parameter),
        }
    }
    let parameters = match left.is_empty() {
        true => String::new(),
        false => format!("?{}", left.join("&")),
    };
    (format!("{scheme}{user}{host}{parameters}"), password)
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_left_in_an_address() {
        for (url, left, password) in [
            ("postgres://a/b", "postgres://a/b", None),
            ("postgres://u@a/b", "postgres://u@a/b", None),
            (
                "postgres://u:w@a:1,c:2/b",
                "postgres://u@a:1,c:2/b",
                Some("w"),
            ),
            (
                "postgres://u:w%40@a/b?sslmode=require",
                "postgres://u@a/b?sslmode=require",
                Some("w@"),
            ),
            ("postgres://u:w?x@a/b", "postgres://u@a/b", Some("w?x")),
            (
                "postgres://u:w?x@a/b?c=1",
                "postgres://u@a/b?c=1",
                Some("w?x"),
            ),
            (
                "postgres://a/b?user=u@h&password=w&sslpassword=v&c=1",
                "postgres://a/b?user=u@h&c=1",
                Some("w"),
            ),
        ] {
            let expected = (left.to_owned(), password.map(str::to_owned));
            assert_eq!(without_password(url), expected, "{url}");
        }
    }
}
