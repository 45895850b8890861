//! Looks at the service again and again: what it finds is on a board for the metrics, and alerts go to the log when they
//! begin and end, and to the database for the statistics.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

use crate::{
    schedule::Schedule,
    statistics::{self, Alert, AlertName, Limits, Observed, Traffic},
    store::{
        Conn, Store, StoreError,
        alerts::{self as rows, Firing},
        types::{Timestamp, Uuid},
    },
};

/// How often.
const EVERY: Duration = Duration::from_secs(5);

/// An alert that was seen firing so lately goes on firing where another process, or this one begun anew, sees it too.
const GOES_ON: Duration = Duration::from_secs(10 * 60);

/// What was found the last time. Cheap to clone; all clones are one board.
#[derive(Clone, Default)]
pub struct Board(Arc<Mutex<Option<Found>>>);

/// What was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// When.
    pub at: Timestamp,
    /// What the database says.
    pub observed: Observed,
    /// How many records all clean-ups have deleted.
    pub deleted_total: i64,
    /// The alerts that fire.
    pub firing: Vec<Alert>,
}

impl Board {
    /// What was found the last time; nothing before the first.
    pub fn read(&self) -> Option<Found> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        found.clone()
    }

    fn write(&self, found: Found) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
    }
}

/// What is looked at, and by which rules.
pub struct Watch {
    /// The database.
    pub store: Store,
    /// What this process has counted.
    pub traffic: Arc<Traffic>,
    /// From where on something is the matter.
    pub limits: Limits,
    /// When clean-ups are due.
    pub schedule: Schedule,
    /// Where to put what is found.
    pub board: Board,
}

impl Watch {
    /// Looks until `stop` changes.
    pub async fn run(self, mut stop: watch::Receiver<()>) {
        let up_since = Timestamp::now();
        let mut known = BTreeSet::new();
        let mut is_away = false;
        loop {
            let looked = tokio::select! {
                // A database that hangs holds up no shutdown.
                _changed = stop.changed() => return,
                looked = self.look(up_since, Timestamp::now()) => looked,
            };
            match looked {
                Ok(found) => {
                    log_changes(&mut known, &found.firing);
                    self.board.write(found);
                    is_away = false;
                }
                // Once: requests tell of it too.
                Err(error) if !is_away => {
                    log::warn!("the statistics could not be looked at: {error}");
                    is_away = true;
                }
                Err(_) => {}
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                _changed = stop.changed() => return,
            }
        }
    }

    async fn look(&self, up_since: Timestamp, now: Timestamp) -> Result<Found, StoreError> {
        let limits = self.limits;
        let looking = self.store.snapshot(move |conn| {
            let observed = Observed::look(conn, limits, now)?;
            let deleted_total = crate::store::cleanup::deleted_total(conn)?;
            Ok::<_, StoreError>((observed, deleted_total))
        });
        let (observed, deleted_total) = looking.await?;
        let recent = self.traffic.recent(now);
        let firing = statistics::firing(&observed, &recent, limits, &self.schedule, up_since, now);
        self.write_down(firing.clone(), now).await?;
        Ok(Found {
            at: now,
            observed,
            deleted_total,
            firing,
        })
    }

    /// Writes down what fires; where nothing does and nothing did, nothing.
    async fn write_down(&self, firing: Vec<Alert>, now: Timestamp) -> Result<(), StoreError> {
        let instance = self.traffic.instance();
        let before = self
            .store
            .read(move |conn| rows::seen_after(conn, now.before(GOES_ON)));
        let before = before.await?;
        let is_ours = |alert: &Firing| alert.instance == instance;
        if firing.is_empty() && !before.iter().any(is_ours) {
            return Ok(());
        }
        let rows: Vec<_> = firing
            .into_iter()
            .map(|alert| row(alert, &before, instance, now))
            .collect();
        self.store
            .write(move |conn: &mut Conn<'_>| rows::put(conn, instance, &rows))
            .await
    }
}

/// An alert that fires now, since whoever saw it first.
fn row(alert: Alert, before: &[Firing], instance: Uuid, now: Timestamp) -> Firing {
    let name = alert.name.as_str();
    let since = before.iter().filter(|known| known.name == name);
    Firing {
        name: name.to_owned(),
        instance,
        since: since.map(|known| known.since).min().unwrap_or(now),
        seen_at: now,
        detail: alert.detail,
    }
}

/// Tells of the alerts that begin and of those that end.
fn log_changes(known: &mut BTreeSet<AlertName>, firing: &[Alert]) {
    for alert in firing {
        if known.insert(alert.name) {
            log::warn!("alert {}: {}", alert.name, alert.detail);
        }
    }
    known.retain(|name| {
        let goes_on = firing.iter().any(|alert| alert.name == *name);
        if !goes_on {
            log::info!("alert {name} is over");
        }
        goes_on
    });
}
