//! A file that is opened to be read alone: nothing is made, and there is neither a writer nor a thread that moves the
//! log.

use diesel::{Connection as _, SqliteConnection};
use std::{path::PathBuf, sync::Arc};
use tokio::sync::mpsc;

use super::{Readers, Sqlite, file::Prepared, known_stamp};
use crate::store::{Conn, Health, StoreError, StoreOptions, migrations};

impl Sqlite {
    /// Opens a file that is there and whose schema is current. SQLite does not open it read-only, for it may have a log,
    /// which whoever reads must be able to look through.
    pub(in crate::store) fn open_to_read(
        path: PathBuf,
        options: &StoreOptions,
    ) -> Result<Self, StoreError> {
        let prepared = Prepared::existing(path)?;
        let url = prepared.url.clone();
        let mut conn = SqliteConnection::establish(&url)?;
        migrations::needs_current(&mut Conn::Sqlite(&mut conn))?;
        let file = Arc::new(prepared.opened(known_stamp(&mut conn)?)?);
        drop(conn);
        // Whose other end is gone: whoever writes is told that nothing is taken.
        let (jobs, _) = mpsc::channel(1);
        Ok(Self {
            jobs,
            readers: Some(Readers::open(&url, options, &file)?),
            file: Some(file),
            threads: Arc::default(),
            health: Health::default(),
        })
    }
}
