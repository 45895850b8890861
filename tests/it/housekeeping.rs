//! What the store keeps for the operator: runs of clean-ups, alerts, snapshots, sums; and how busy it says that it is.

use hookonce::store::{
    Conn, Store, StoreError, StoreOptions,
    alerts::{self, Firing},
    cleanup::{self, CleanupRun, Trigger},
    statistics::{self, RecordCounts, Size, Snapshot},
    types::{Timestamp, Uuid},
};
use std::time::Duration;

use crate::support::database::{Database, Engine, on_both};

on_both! {
    the_last_run_is_the_last_that_ended_and_what_all_deleted_is_added_up
    an_alert_is_forgotten_with_whoever_saw_it_last_before_then
    snapshots_are_forgotten_from_before_then
    a_store_without_work_is_idle
    rows_that_are_added_up_or_say_nothing_are_counted
}

async fn open(engine: Engine) -> (Database, Store) {
    let database = Database::new(engine);
    let store = Store::open(&database.parsed(), &StoreOptions::default()).await;
    (database, store.expect("a store"))
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::beginning().after(Duration::from_secs(seconds))
}

/// Does what cannot fail.
async fn write<T: Send + 'static>(
    store: &Store,
    work: impl FnOnce(&mut Conn<'_>) -> Result<T, StoreError> + Clone + Send + 'static,
) -> T {
    store.write(work).await.expect("written")
}

async fn the_last_run_is_the_last_that_ended_and_what_all_deleted_is_added_up(engine: Engine) {
    let (_database, store) = open(engine).await;
    let run = |seconds, took: Option<u64>, deleted_records| CleanupRun {
        id: Uuid::in_order(),
        instance: Uuid::random(),
        trigger: Trigger::Request,
        tick: None,
        started_at: at(seconds),
        finished_at: took.map(|took| at(seconds + took)),
        deleted_records,
        deleted_events: 0,
        released: 0,
        remaining: None,
        error: None,
    };
    assert_eq!(write(&store, cleanup::last_ended).await, None);
    assert_eq!(write(&store, cleanup::deleted_total).await, 0);
    let first = run(100, Some(7), 3);
    assert_eq!(first.duration(), Some(Duration::from_secs(7)));
    let second = run(200, None, 4);
    assert_eq!(second.duration(), None);
    for run in [first.clone(), second.clone()] {
        write(&store, move |conn| cleanup::insert_run(conn, &run)).await;
    }
    assert_eq!(write(&store, cleanup::last_ended).await, Some(first));
    assert_eq!(write(&store, cleanup::deleted_total).await, 7);
    let ended = CleanupRun {
        finished_at: Some(at(201)),
        deleted_records: 40,
        ..second
    };
    let update = ended.clone();
    write(&store, move |conn| cleanup::update_run(conn, &update)).await;
    assert_eq!(write(&store, cleanup::last_ended).await, Some(ended));
    assert_eq!(write(&store, cleanup::deleted_total).await, 43);
}

async fn an_alert_is_forgotten_with_whoever_saw_it_last_before_then(engine: Engine) {
    let (_database, store) = open(engine).await;
    let seen = |instance, seen_at| Firing {
        name: "table_size".to_owned(),
        instance,
        since: at(1),
        seen_at,
        detail: "large".to_owned(),
    };
    let [gone, there] = [seen(Uuid::random(), at(10)), seen(Uuid::random(), at(20))];
    for firing in [gone.clone(), there.clone()] {
        write(&store, move |conn| {
            alerts::put(conn, firing.instance, std::slice::from_ref(&firing))
        })
        .await;
    }
    let all = |conn: &mut Conn<'_>| alerts::seen_after(conn, at(0));
    assert_eq!(write(&store, all).await.len(), 2);
    let late = write(&store, |conn| alerts::seen_after(conn, at(10))).await;
    assert_eq!(late, std::slice::from_ref(&there));
    write(&store, |conn| alerts::forget(conn, at(20))).await;
    assert_eq!(write(&store, all).await, [there]);
}

async fn snapshots_are_forgotten_from_before_then(engine: Engine) {
    let (_database, store) = open(engine).await;
    let counts = RecordCounts {
        in_progress: 1,
        completed: 2,
        failed: 4,
        expired: 3,
        replays: 9,
    };
    let sum: RecordCounts = [counts, counts].into_iter().sum();
    let size = Size {
        store: 4096,
        records: 0,
        log: None,
    };
    let hour = |hour: u64| Snapshot::of(sum, size, at(hour * 3600 + 5));
    let third = hour(3);
    assert_eq!(
        (third.in_progress, third.completed, third.failed),
        (2, 4, 8)
    );
    assert_eq!((third.expired, third.total, third.active), (6, 14, 8));
    for snapshot in [hour(1), hour(2), third.clone()] {
        write(&store, move |conn| {
            statistics::put_snapshot(conn, &snapshot)
        })
        .await;
    }
    write(&store, |conn| statistics::forget_snapshots(conn, at(7200))).await;
    let kept = write(&store, |conn| statistics::snapshots_from(conn, at(0))).await;
    assert_eq!(kept, [hour(2), third]);
}

async fn a_store_without_work_is_idle(engine: Engine) {
    let (_database, store) = open(engine).await;
    let busy = {
        let asked = store.clone();
        let reading = store.read(move |_| Ok::<_, StoreError>(asked.load()));
        reading.await.expect("a load")
    };
    let idle = store.load();
    assert_eq!((busy.queue, idle.queue), (0, 0));
    let [busy, idle] = [busy, idle].map(|load| load.pool.expect("a pool"));
    assert_eq!((busy.in_use, idle.in_use), (1, 0));
    assert!((1..=idle.most).contains(&idle.idle), "{idle:?}");
    let size = write(&store, statistics::size).await;
    let has_log = size.log.is_some_and(|log| log > 1);
    assert_eq!(has_log, matches!(engine, Engine::Sqlite), "{size:?}");
}

async fn rows_that_are_added_up_or_say_nothing_are_counted(engine: Engine) {
    let (database, store) = open(engine).await;
    let insert = |minute: u32, records: u32, slot: u32| {
        database.execute(&format!(
            "INSERT INTO record_expiries (minute, webhook_type, retailer_id, slot, records)
             VALUES ('1970-01-01T00:0{minute}:00Z', 'test', '{}', {slot}, {records})",
            Uuid::random()
        ));
    };
    // Of two that say nothing both go, one at a time.
    insert(1, 0, 0);
    insert(2, 0, 0);
    insert(3, 5, 0);
    let fold = async || write(&store, |conn| statistics::fold_counts(conn, 1)).await;
    assert_eq!([fold().await, fold().await, fold().await], [1, 1, 0]);
    if let Engine::Postgres = engine {
        insert(4, 6, 3);
        insert(5, 7, 4);
        assert_eq!([fold().await, fold().await, fold().await], [1, 1, 0]);
    }
    let rows = "SELECT sum(records) AS n FROM record_expiries WHERE slot = 0";
    let sum = match engine {
        Engine::Sqlite => 5,
        Engine::Postgres => 18,
    };
    assert_eq!(
        database.count(&rows.replace("sum(records)", "CAST(sum(records) AS BIGINT)")),
        sum
    );
}
