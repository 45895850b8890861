//! Looks at the service again and again: what it finds is on a board for the metrics, and alerts go to the log when they
//! begin and end, and to the database for the statistics.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

use crate::{
    causes::with_causes,
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

/// An alert that was seen firing within this time goes on firing if another process, or this one after a restart, sees it
/// too.
const GOES_ON: Duration = Duration::from_secs(10 * 60);

/// What was found the last time. Cheap to clone; all clones are one board.
#[derive(Clone, Default)]
pub struct LatestStatus(Arc<Mutex<Option<StatusSnapshot>>>);

/// What was found.
#[derive(Clone, Debug)]
pub struct StatusSnapshot {
    /// When.
    pub at: Timestamp,
    /// What the database says.
    pub observed: Observed,
    /// How many records all clean-ups have deleted.
    pub deleted_total: i64,
    /// The alerts that fire.
    pub firing: Vec<Alert>,
}

impl LatestStatus {
    /// What was found the last time; nothing before the first.
    pub fn read(&self) -> Option<StatusSnapshot> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        found.clone()
    }

    fn write(&self, found: StatusSnapshot) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
    }

    /// Changes the alerts alone: nothing else could be looked at.
    fn set_firing(&self, firing: Vec<Alert>) {
        if let Some(found) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            found.firing = firing;
        }
    }
}

/// What is looked at, and by which rules.
pub struct Watch {
    /// The database.
    pub store: Store,
    /// What this process has counted.
    pub traffic: Arc<Traffic>,
    /// The limits beyond which an alert fires.
    pub limits: Limits,
    /// When clean-ups are due.
    pub schedule: Schedule,
    /// Where to put what is found.
    pub latest_status: LatestStatus,
}

impl Watch {
    /// Looks until `stop` changes.
    pub async fn run(self, mut stop: watch::Receiver<()>) {
        let up_since = Timestamp::now();
        let mut known = BTreeSet::new();
        let mut is_away = false;
        loop {
            let look = async {
                // Where it fails, that is noted by itself.
                let _ = self.store.try_again().await;
                self.look(up_since, Timestamp::now()).await
            };
            let looked = tokio::select! {
                // A database that hangs holds up no shutdown.
                _changed = stop.changed() => return,
                looked = look => looked,
            };
            match looked {
                Ok(found) => {
                    log_changes(&mut known, &found.firing);
                    self.latest_status.write(found.clone());
                    let written = tokio::select! {
                        _changed = stop.changed() => return,
                        written = self.write_down(found.firing, found.at) => written,
                    };
                    let what = "the alerts could not be written down";
                    log_once(written, &mut is_away, what);
                }
                Err(error) => {
                    self.fire_without_the_database(&mut known);
                    let what = "the statistics could not be looked at";
                    log_once(Err(error), &mut is_away, what);
                }
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                _changed = stop.changed() => return,
            }
        }
    }

    /// What fired goes on firing, but for what is known without the database.
    fn fire_without_the_database(&self, known: &mut BTreeSet<AlertName>) {
        let mut firing = self
            .latest_status
            .read()
            .map_or_else(Vec::new, |found| found.firing);
        firing.retain(|alert| alert.name != AlertName::WritesFailing);
        firing.extend(self.writes_failing());
        log_changes(known, &firing);
        self.latest_status.set_firing(firing);
    }

    async fn look(
        &self,
        up_since: Timestamp,
        now: Timestamp,
    ) -> Result<StatusSnapshot, StoreError> {
        let limits = self.limits;
        let looking = self.store.snapshot(move |conn| {
            let observed = Observed::look(conn, limits, now)?;
            let deleted_total = crate::store::cleanup::deleted_total(conn)?;
            Ok::<_, StoreError>((observed, deleted_total))
        });
        let (observed, deleted_total) = looking.await?;
        let recent = self.traffic.recent(now);
        let mut firing =
            statistics::firing(&observed, &recent, limits, &self.schedule, up_since, now);
        firing.extend(self.writes_failing());
        Ok(StatusSnapshot {
            at: now,
            observed,
            deleted_total,
            firing,
        })
    }

    fn writes_failing(&self) -> Option<Alert> {
        statistics::writes_failing(self.store.health().failing_lately().as_ref())
    }

    /// Stores the alerts that fire. Writes nothing if none fires and none did.
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

/// Logs a failure once until the same succeeds again: requests report it too.
fn log_once(outcome: Result<(), StoreError>, is_told: &mut bool, what: &str) {
    match outcome {
        Ok(()) => *is_told = false,
        Err(error) if !std::mem::replace(is_told, true) => {
            log::warn!("{what}: {}", with_causes(&error));
        }
        Err(_) => {}
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
