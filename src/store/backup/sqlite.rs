//! A SQLite file: its copy and its soundness.

use rusqlite::{
    Connection, OpenFlags,
    backup::{Backup, StepResult},
};
use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use super::{
    BackupError, Checked, Findings, Target, at,
    part::{PartialFile, real},
    unknown_migrations,
};
use crate::store::{
    FileFault, migrations,
    sqlite::file::{RESTORED, beside, new_stamp},
};

/// How many faults are named.
const NAMED: usize = 10;

pub(super) fn backup(path: &Path, target: &Target) -> Result<u64, BackupError> {
    let from = open_existing(path)?;
    match target {
        Target::File(place) => {
            let place = real(place)?;
            refuse_itself(path, &place)?;
            let part = PartialFile::new(&place, ".part")?;
            copy(from, &part.path)?;
            part.put(&place)
        }
        Target::Output => {
            let folder = tempfile::tempdir();
            let folder = folder.map_err(at(&std::env::temp_dir(), "nothing can be made there"))?;
            let mut part = PartialFile::new(&folder.path().join("backup"), ".part")?;
            copy(from, &part.path)?;
            part.print()
        }
    }
}

pub(super) fn check(path: &Path) -> Result<Checked, BackupError> {
    let conn = open_existing(path)?;
    let mut findings = faults(&conn);
    let versions = if findings.0.is_empty() {
        versions(&conn, &path.display().to_string())?
    } else {
        Vec::new()
    };
    let known = migrations::known()?;
    if let Some(missing) = known.iter().find(|known| !versions.contains(known))
        && findings.0.is_empty()
    {
        findings.0.push(format!(
            "the schema lacks the migration {missing}: run hookonce migrate"
        ));
    }
    let newest = versions.iter().max().cloned().unwrap_or_default();
    let log = fs::metadata(beside(path, "-wal")).map_or(0, |log| log.len());
    Ok(Checked {
        about: format!("{}: schema {newest}, a log of {log} bytes", path.display()),
        findings,
    })
}

/// Opens what is there, to read it. With the right to write, or the log would be left behind.
fn open_existing(path: &Path) -> Result<Connection, BackupError> {
    if !path.exists() {
        return Err(BackupError::NoDatabase(path.to_owned()));
    }
    if beside(&real(path)?, RESTORED).exists() {
        return Err(FileFault::HalfRestored.into());
    }
    let conn = open(path)?;
    conn.execute_batch("PRAGMA query_only = ON")?;
    Ok(conn)
}

/// Opens a file that is there.
pub(super) fn open(path: &Path) -> Result<Connection, BackupError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Ok(Connection::open_with_flags(path, flags)?)
}

/// That a backup is not the database, under whatever name.
pub(super) fn refuse_itself(path: &Path, other: &Path) -> Result<(), BackupError> {
    let database = real(path)?;
    let sides = ["", "-wal", "-shm"].map(|end| beside(&database, end));
    let other = fs::canonicalize(other).unwrap_or_else(|_new| other.to_owned());
    match sides.contains(&other) {
        true => Err(BackupError::Itself(other)),
        false => Ok(()),
    }
}

/// Copies a database as it is now to an empty file, and makes sure that the copy is sound.
fn copy(from: Connection, path: &Path) -> Result<(), BackupError> {
    /// SQLite keeps the copy's pages in memory until they are written.
    const PAGES: i32 = 1024;
    const PAUSE: Duration = Duration::from_millis(10);
    let mut to = open(path)?;
    // Nobody sees it before it is whole, and it is synced then.
    to.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")?;
    // One moment of it: else each commit of another would have the copy begin anew, and it might never end.
    from.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema;")?;
    let backup = Backup::new(&from, &mut to)?;
    while let step @ (StepResult::More | StepResult::Busy | StepResult::Locked) =
        backup.step(PAGES)?
    {
        if step != StepResult::More {
            thread::sleep(PAUSE);
        }
    }
    drop(backup);
    drop(from);
    drop(to);
    seal(path)?;
    let conn = open(path)?;
    sound(&conn, "the database")?;
    Ok(())
}

/// Makes a copy a database file in its own right: with a stamp that tells it from the original, and without a log.
pub(super) fn seal(path: &Path) -> Result<(), BackupError> {
    let stamp = new_stamp();
    let conn = open(path)?;
    conn.execute_batch(&format!(
        "PRAGMA user_version = {stamp}; PRAGMA journal_mode = DELETE;"
    ))?;
    Ok(())
}

/// That a file is sound and of this program, by its `name`. Gives the migrations that it has.
pub(super) fn sound(conn: &Connection, name: &str) -> Result<Vec<String>, BackupError> {
    let findings = faults(conn);
    if !findings.0.is_empty() {
        return Err(BackupError::Damaged(name.to_owned(), findings));
    }
    versions(conn, name)
}

/// What does not hold together.
fn faults(conn: &Connection) -> Findings {
    let found = integrity(conn).and_then(|mut faults| {
        faults.extend(dangling(conn)?);
        faults.extend(unclaimed(conn)?);
        Ok(faults)
    });
    Findings(found.unwrap_or_else(|error| vec![error.to_string()]))
}

fn integrity(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut query = conn.prepare(&format!("PRAGMA integrity_check({NAMED})"))?;
    let rows = query.query_map((), |row| row.get::<_, String>(0))?;
    let rows: Vec<_> = rows.collect::<Result<_, _>>()?;
    Ok(rows.into_iter().filter(|row| row != "ok").collect())
}

/// Rows that name others which are not there.
fn dangling(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut query = conn.prepare(&format!(
        "SELECT \"table\", parent, count(*) FROM pragma_foreign_key_check GROUP BY 1, 2 LIMIT {NAMED}"
    ))?;
    let rows = query.query_map((), |row| {
        let (table, parent): (String, String) = (row.get(0)?, row.get(1)?);
        let count: i64 = row.get(2)?;
        Ok(format!(
            "{count} rows of {table} name rows of {parent} that are not there"
        ))
    })?;
    rows.collect()
}

/// Rows whose ids are not claimed for them, and claims of rows that are not there: such an id could be taken twice, or never.
fn unclaimed(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    const CLAIMED: [(&str, u8, &str, &str); 3] = [
        ("webhook_idempotency", 0, "idempotency_key", "scope"),
        ("webhook_event", 1, "event_id", "provider"),
        ("orders", 2, "message_id", "source"),
    ];
    let mut faults = Vec::new();
    for (table, kind, id, owner) in CLAIMED {
        // A file of before has no claims, and one without the shop no orders.
        let both = format!(
            "SELECT count(*) = 2 FROM sqlite_schema WHERE name IN ('webhook_claim', '{table}')"
        );
        if !conn.query_row(&both, (), |row| row.get(0))? {
            continue;
        }
        let claim = format!(
            "c.row = t.rowid AND c.id = t.{id} AND c.kind = {kind} AND c.owner = t.{owner}"
        );
        let rows = format!(
            "SELECT count(*) FROM {table} t WHERE t.{id} IS NOT NULL AND NOT EXISTS (
                 SELECT 1 FROM webhook_claim c WHERE {claim})"
        );
        let claims = format!(
            "SELECT count(*) FROM webhook_claim c WHERE c.kind = {kind} AND NOT EXISTS (
                 SELECT 1 FROM {table} t WHERE {claim})"
        );
        let [rows, claims]: [i64; 2] = [
            conn.query_row(&rows, (), |row| row.get(0))?,
            conn.query_row(&claims, (), |row| row.get(0))?,
        ];
        if rows > 0 {
            faults.push(format!("{rows} rows of {table} have not claimed their ids"));
        }
        if claims > 0 {
            faults.push(format!(
                "{claims} ids are claimed for rows of {table} that are not there"
            ));
        }
    }
    Ok(faults)
}

/// The migrations that a sound file has, if they are those of this program.
fn versions(conn: &Connection, name: &str) -> Result<Vec<String>, BackupError> {
    let applied = || -> rusqlite::Result<Vec<String>> {
        let mut query = conn.prepare(migrations::APPLIED)?;
        query.query_map((), |row| row.get(0))?.collect()
    };
    let foreign = |why: String| BackupError::Foreign(name.to_owned(), why);
    let applied = applied().map_err(|error| foreign(error.to_string()))?;
    let known = migrations::known()?;
    if !applied.iter().any(|version| known.contains(version)) {
        return Err(foreign("it has none of hookonce's tables".to_owned()));
    }
    match unknown_migrations(&applied, &known) {
        Some(version) => Err(BackupError::Newer(name.to_owned(), version)),
        None => Ok(applied),
    }
}

/// The paths of what belongs to a database.
pub(super) fn parts(path: &Path) -> [PathBuf; 4] {
    ["", "-wal", "-journal", "-shm"].map(|end| beside(path, end))
}
