//! What every database must do alike: transactions, claims, and values that come back as they went in.

use chrono::DateTime;
use futures_util::future::join_all;
use hookonce::idempotency::{self, IdempotencyKey, KeyStatus, ReplayTally};
use hookonce::store::{
    Conn, DatabaseUrl, Store, StoreError, StoreOptions, clients,
    events::{self, NewEvent, Outcome},
    idempotency::{self as records, BodyEncoding, Completion, NewRecord, Record, RecordStatus},
    orders::{self, Order},
    retailers,
    types::{Digest, Json, Timestamp, Uuid},
};
use std::time::Duration;

use crate::support::{
    app::App,
    database::{Database, Engine, on_both},
    requests::{Call, new_sid},
};

on_both! {
    an_error_takes_back_all_that_was_written
    a_panic_takes_back_its_own_and_harms_no_other
    a_read_sees_what_was_written
    a_closed_store_takes_no_more
    one_of_sixteen_claims_a_key
    one_of_sixteen_claims_an_event
    only_a_record_that_no_longer_stands_is_taken_over
    a_record_that_is_taken_over_says_nothing_of_what_it_was
    one_of_sixteen_takes_over
    a_record_is_completed_by_its_owner_once
    a_late_worker_changes_nothing
    a_key_is_given_back_by_its_owner_once
    the_state_of_a_key_is_that_of_its_record
    replays_of_many_records_are_counted_each_once
    what_is_not_there_is_neither_changed_nor_revoked
    times_come_back_to_the_microsecond_and_compare
    json_comes_back_byte_for_byte
    an_order_whose_number_is_taken_gives_its_message_back
}

async fn an_order_whose_number_is_taken_gives_its_message_back(engine: Engine) {
    let app = App::new(engine).await;
    app.send(&Call::twilio_text(&new_sid(), "2 cola")).await;
    let store = open(&app.database).await;
    let sql = "SELECT CAST(id AS TEXT) AS t FROM v_orders";
    let id = app.database.texts(sql).remove(0).expect("an order");
    let id = Uuid(id.parse().expect("an id"));
    let added = store.write(move |conn| {
        let first = orders::find(conn, id)?.expect("the order");
        let another = |number: &str, message: &str| Order {
            id: Uuid::in_order(),
            order_number: number.to_owned(),
            message_id: Some(message.to_owned()),
            ..first.clone()
        };
        let taken = first.message_id.as_deref().expect("a message");
        let all = [
            another(&first.order_number, "new"),
            another("NEW-1", "new"),
            another("NEW-2", "new"),
            another("NEW-3", taken),
        ];
        let added = all.iter().map(|order| orders::insert(conn, order));
        added.collect::<Result<Vec<_>, StoreError>>()
    });
    assert_eq!(added.await.expect("written"), [false, true, false, false]);
    assert_eq!(app.orders(), 2);
}

async fn open(database: &Database) -> Store {
    let options = StoreOptions {
        connections: 4,
        write_batch: 256,
        timeout: Duration::from_secs(20),
    };
    Store::open(&database.parsed(), &options)
        .await
        .expect("a store")
}

fn noon() -> Timestamp {
    "2026-01-01T12:00:00Z"
        .parse::<DateTime<chrono::Utc>>()
        .unwrap()
        .into()
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

/// A record claimed at `now`, with a lease of one minute and an hour to live.
fn record(key: &str, now: Timestamp) -> NewRecord<'_> {
    NewRecord {
        id: Uuid::in_order(),
        scope: "webhook:test",
        idempotency_key: key,
        webhook_type: "test",
        method: "POST",
        path: "/",
        fingerprint: Digest::of(b"f"),
        status: RecordStatus::InProgress,
        request_body: None,
        error_message: None,
        owner_token: Some(Uuid::random()),
        lease_expires_at: now.after(minutes(1)),
        source_ip: None,
        created_at: now,
        last_accessed_at: now,
        expires_at: now.after(minutes(60)),
    }
}

fn completion(body: &Json) -> Completion<'_> {
    Completion {
        status: RecordStatus::Completed,
        owner_token: None,
        body: None,
        response_status: Some(200),
        response_content_type: Some("application/json"),
        response_headers: None,
        response_encoding: Some(BodyEncoding::Json),
        response_body: Some(body),
        events: Some(body),
        retailer_id: None,
        order_id: None,
    }
}

fn json(text: &str) -> Json {
    Json::parse(text.to_owned()).expect("JSON")
}

fn find(conn: &mut Conn<'_>, key: &str) -> Result<Option<Record>, StoreError> {
    records::find(conn, "webhook:test", key)
}

async fn claim(store: &Store, key: &'static str, now: Timestamp) -> bool {
    let claimed = store.write(move |conn| records::claim(conn, &record(key, now)));
    claimed.await.expect("a claim")
}

async fn found(store: &Store, key: &'static str) -> Option<Record> {
    let found: Result<_, StoreError> = store.read(move |conn| find(conn, key)).await;
    found.expect("an answer")
}

async fn an_error_takes_back_all_that_was_written(engine: Engine) {
    let database = Database::new(engine);
    let store = open(&database).await;
    let failed: Result<(), StoreError> = store
        .write(|conn| {
            assert!(records::claim(conn, &record("a", noon()))?);
            assert!(find(conn, "a")?.is_some(), "a transaction sees its own");
            Err(StoreError::Migration("any".into()))
        })
        .await;
    assert!(matches!(failed, Err(StoreError::Migration(_))));
    assert_eq!(found(&store, "a").await, None);
    assert!(claim(&store, "a", noon()).await);
}

async fn a_panic_takes_back_its_own_and_harms_no_other(engine: Engine) {
    let database = Database::new(engine);
    let store = open(&database).await;
    let keys: Vec<String> = (0..12).map(|n| format!("key-{n}")).collect();
    let work = keys.iter().enumerate().map(|(n, key)| {
        let key = key.clone();
        store.write(move |conn| {
            let claimed = records::claim(conn, &record(&key, noon()))?;
            assert!(n % 3 != 0, "of its own making: {key}");
            Ok::<_, StoreError>(claimed)
        })
    });
    for (n, outcome) in join_all(work).await.into_iter().enumerate() {
        match outcome {
            Ok(claimed) => assert!(claimed && n % 3 != 0),
            Err(StoreError::Panicked(message)) => {
                assert_eq!((message, n % 3), (format!("of its own making: key-{n}"), 0));
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(
        database.count("SELECT count(*) AS n FROM webhook_idempotency"),
        8
    );
    assert!(claim(&store, "key-0", noon()).await, "the store serves on");
}

async fn a_read_sees_what_was_written(engine: Engine) {
    let database = Database::new(engine);
    let store = open(&database).await;
    for key in ["a", "b", "c", "d"] {
        assert!(claim(&store, key, noon()).await);
        assert!(found(&store, key).await.is_some(), "{key}");
    }
    let panicked: Result<(), StoreError> = store.read(|_| panic!("reading")).await;
    assert!(matches!(panicked, Err(StoreError::Panicked(_))));
}

async fn a_closed_store_takes_no_more(engine: Engine) {
    let database = Database::new(engine);
    let store = open(&database).await;
    assert!(claim(&store, "a", noon()).await);
    store.close().await;
    if engine == Engine::Sqlite {
        let refused: Result<bool, StoreError> = store
            .write(|conn| records::claim(conn, &record("b", noon())))
            .await;
        assert!(matches!(refused, Err(StoreError::Closed)), "{refused:?}");
    }
    let again = open(&database).await;
    assert!(found(&again, "a").await.is_some());
}

/// Does the same sixteen times at once, on two instances, and tells how many times it was done.
async fn at_once<F, W>(database: &Database, work: F) -> usize
where
    F: Fn() -> W,
    W: FnOnce(&mut Conn<'_>) -> Result<bool, StoreError> + Clone + Send + 'static,
{
    let stores = [open(database).await, open(database).await];
    let all = (0..16).map(|n| stores[n % 2].write(work()));
    let outcomes = join_all(all).await.into_iter();
    outcomes
        .filter(|outcome| *outcome.as_ref().expect("an answer"))
        .count()
}

async fn one_of_sixteen_claims_a_key(engine: Engine) {
    let database = Database::new(engine);
    let won = at_once(&database, || {
        |conn: &mut Conn<'_>| records::claim(conn, &record("a", noon()))
    })
    .await;
    assert_eq!(won, 1);
    assert_eq!(
        database.count("SELECT count(*) AS n FROM webhook_idempotency"),
        1
    );
    // Another scope, another key.
    let store = open(&database).await;
    let elsewhere = store.write(|conn| {
        let new = NewRecord {
            scope: "webhook:other",
            ..record("a", noon())
        };
        records::claim(conn, &new)
    });
    assert!(elsewhere.await.unwrap());
}

async fn one_of_sixteen_claims_an_event(engine: Engine) {
    let database = Database::new(engine);
    let claim = || {
        |conn: &mut Conn<'_>| {
            let claimed = events::claim_all(
                conn,
                &[NewEvent {
                    provider: "test",
                    event_id: "e",
                    kind: "text",
                    digest: Digest::of(b"d"),
                    delivery_fingerprint: Digest::of(b"f"),
                    delivery_id: None,
                    outcome: &Outcome::IGNORED,
                    retailer_id: None,
                    order_id: None,
                    lasting: false,
                    reply: None,
                    payload: &json("{}"),
                    created_at: noon(),
                }],
            );
            claimed.map(|claimed| claimed == [true])
        }
    };
    assert_eq!(at_once(&database, claim).await, 1);
    let store = open(&database).await;
    let found = store.read(|conn| events::find_all(conn, "test", &["e", "f"]));
    let found: Result<_, StoreError> = found.await;
    let mut found = found.unwrap();
    let known = found.remove("e").expect("an event");
    assert!(found.is_empty());
    assert_eq!(
        (known.outcome, known.digest),
        (Outcome::IGNORED, Digest::of(b"d"))
    );
}

async fn only_a_record_that_no_longer_stands_is_taken_over(engine: Engine) {
    let database = Database::new(engine);
    let store = open(&database).await;
    // Status, minutes later, and whether the same request and another can have it then: the lease is one minute, the
    // life an hour.
    for (key, status, later, free) in [
        ("live", RecordStatus::InProgress, 0, [false, false]),
        ("lapsed", RecordStatus::InProgress, 1, [true, false]),
        ("forgotten", RecordStatus::InProgress, 60, [true, true]),
        ("answered", RecordStatus::Completed, 59, [false, false]),
        ("expired", RecordStatus::Completed, 60, [true, true]),
        ("failed", RecordStatus::Failed, 0, [true, false]),
        ("failed long ago", RecordStatus::Failed, 60, [true, true]),
    ] {
        for (fingerprint, free) in ["of the same", "of the next"].into_iter().zip(free) {
            let outcome = store.write(move |conn| {
                let key = format!("{key} {fingerprint}");
                let first = NewRecord {
                    status,
                    fingerprint: Digest::of(b"of the same"),
                    ..record(&key, noon())
                };
                assert!(records::claim(conn, &first)?);
                let new = NewRecord {
                    fingerprint: Digest::of(fingerprint.as_bytes()),
                    path: "/next",
                    ..record(&key, noon().after(minutes(later)))
                };
                let taken = records::take_over(conn, &new)?;
                let after = find(conn, &key)?.expect("a record");
                Ok::<_, StoreError>((taken, records::path(conn, after.id)? == "/next"))
            });
            assert_eq!(outcome.await.unwrap(), (free, free), "{key}, {fingerprint}");
        }
    }
    let none: Result<bool, StoreError> = store
        .write(|conn| records::take_over(conn, &record("none", noon())))
        .await;
    assert!(!none.unwrap());
}

async fn a_record_that_is_taken_over_says_nothing_of_what_it_was(engine: Engine) {
    let database = Database::new(engine);
    let store = open(&database).await;
    let outcome = store.write(|conn| {
        let first = record("a", noon());
        records::claim(conn, &first)?;
        let body = json("[]");
        let headers = json("{}");
        let completion = Completion {
            response_headers: Some(&headers),
            ..completion(&body)
        };
        records::complete(conn, first.id, first.owner_token.unwrap(), &completion)?;
        records::take_over(conn, &record("a", noon().after(minutes(60))))
    });
    let taken: Result<bool, StoreError> = outcome.await;
    assert!(taken.unwrap());
    for column in [
        "response_status",
        "response_content_type",
        "response_headers",
        "response_encoding",
        "response_body",
        "events",
    ] {
        let kept = format!("SELECT count({column}) AS n FROM webhook_idempotency");
        assert_eq!(database.count(&kept), 0, "{column}");
    }
}

async fn one_of_sixteen_takes_over(engine: Engine) {
    let database = Database::new(engine);
    let store = open(&database).await;
    for (key, status, later) in [
        ("lapsed", RecordStatus::InProgress, 1),
        ("failed", RecordStatus::Failed, 0),
        ("expired", RecordStatus::Completed, 60),
    ] {
        let claimed: Result<bool, StoreError> = store
            .write(move |conn| {
                records::claim(
                    conn,
                    &NewRecord {
                        status,
                        ..record(key, noon())
                    },
                )
            })
            .await;
        assert!(claimed.unwrap());
        let now = noon().after(minutes(later));
        let won = at_once(&database, || {
            move |conn: &mut Conn<'_>| records::take_over(conn, &record(key, now))
        })
        .await;
        assert_eq!(won, 1, "{key}");
    }
}

async fn a_record_is_completed_by_its_owner_once(engine: Engine) {
    let database = Database::new(engine);
    let store = open(&database).await;
    let outcome: Result<_, StoreError> = store
        .write(|conn| {
            let mine = record("a", noon());
            records::claim(conn, &mine)?;
            let body = json(r#"{"n": 1}"#);
            let stranger = records::complete(conn, mine.id, Uuid::random(), &completion(&body))?;
            let owner =
                records::complete(conn, mine.id, mine.owner_token.unwrap(), &completion(&body))?;
            let again = records::complete(
                conn,
                mine.id,
                mine.owner_token.unwrap(),
                &completion(&json("2")),
            )?;
            Ok([stranger, owner, again])
        })
        .await;
    assert_eq!(outcome.unwrap(), [false, true, false]);
    let kept = found(&store, "a").await.expect("a record");
    assert_eq!(
        (kept.status, kept.response_status),
        (RecordStatus::Completed, Some(200))
    );
    assert_eq!(kept.response_body, Some(json(r#"{"n": 1}"#)));
}

async fn a_late_worker_changes_nothing(engine: Engine) {
    let database = Database::new(engine);
    let store = open(&database).await;
    let outcome: Result<_, StoreError> = store
        .write(|conn| {
            let late = record("a", noon());
            records::claim(conn, &late)?;
            let next = record("a", noon().after(minutes(2)));
            let taken = records::take_over(conn, &next)?;
            let by_late = records::complete(
                conn,
                late.id,
                late.owner_token.unwrap(),
                &completion(&json("\"late\"")),
            )?;
            let by_next = records::complete(
                conn,
                late.id,
                next.owner_token.unwrap(),
                &completion(&json("\"next\"")),
            )?;
            let after_all = records::complete(
                conn,
                late.id,
                late.owner_token.unwrap(),
                &completion(&json("\"late\"")),
            )?;
            Ok([taken, by_late, by_next, after_all])
        })
        .await;
    assert_eq!(outcome.unwrap(), [true, false, true, false]);
    let kept = found(&store, "a").await.expect("a record");
    assert_eq!(kept.response_body, Some(json("\"next\"")));
}

async fn a_key_is_given_back_by_its_owner_once(engine: Engine) {
    let database = Database::new(engine);
    let store = open(&database).await;
    let outcome: Result<_, StoreError> = store
        .write(|conn| {
            let mut given_back = Vec::new();
            for (key, give_back) in [
                (
                    "a",
                    records::release as fn(&mut Conn<'_>, Uuid, Uuid, &str) -> _,
                ),
                ("b", records::withdraw),
            ] {
                let claimed = record(key, noon());
                records::claim(conn, &claimed)?;
                for token in [Uuid::random(), claimed.owner_token.unwrap()] {
                    given_back.push(give_back(conn, claimed.id, token, "it failed")?);
                }
                let again = claimed.owner_token.unwrap();
                given_back.push(give_back(conn, claimed.id, again, "once more")?);
            }
            Ok(given_back)
        })
        .await;
    assert_eq!(outcome.unwrap(), [false, true, false].repeat(2));
    for key in ["a", "b"] {
        let kept = found(&store, key).await.expect("a record");
        assert_eq!(kept.status, RecordStatus::Failed);
    }
}

async fn the_state_of_a_key_is_that_of_its_record(engine: Engine) {
    let database = Database::new(engine);
    let store = open(&database).await;
    let outcome: Result<_, StoreError> = store
        .write(|conn| {
            let claimed = record("a", noon());
            records::claim(conn, &claimed)?;
            let key: IdempotencyKey = "a".parse().unwrap();
            let mut states = Vec::new();
            let second = Duration::from_secs(1);
            // Under its lease of a minute, when that has run out, and when the record has expired.
            for after in [
                Duration::ZERO,
                minutes(1),
                minutes(60) - second,
                minutes(60),
            ] {
                let now = noon().after(after);
                states.push(idempotency::key_status(conn, "webhook:test", &key, now)?);
            }
            states.push(idempotency::key_status(
                conn,
                "webhook:other",
                &key,
                noon(),
            )?);
            Ok(states)
        })
        .await;
    let expected = [
        KeyStatus::InProgress,
        KeyStatus::Failed,
        KeyStatus::Failed,
        KeyStatus::Unknown,
        KeyStatus::Unknown,
    ];
    assert_eq!(outcome.unwrap(), expected);
}

async fn what_is_not_there_is_neither_changed_nor_revoked(engine: Engine) {
    let database = Database::new(engine);
    let store = open(&database).await;
    let outcome: Result<_, StoreError> = store
        .write(|conn| {
            let nobody = Uuid::random();
            let changed = retailers::update(conn, nobody, "A", "+14155550100", None, noon())?;
            Ok((changed, clients::revoke(conn, nobody, noon())?))
        })
        .await;
    assert_eq!(outcome.unwrap(), (false, false));
}

async fn times_come_back_to_the_microsecond_and_compare(engine: Engine) {
    let database = Database::new(engine);
    let store = open(&database).await;
    let odd: Timestamp = DateTime::from_timestamp_nanos(1_763_700_000_123_456_789).into();
    let early: Timestamp = "0001-01-01T00:00:00Z"
        .parse::<DateTime<chrono::Utc>>()
        .unwrap()
        .into();
    let end: Timestamp = "9999-12-31T23:59:59.999999Z"
        .parse::<DateTime<chrono::Utc>>()
        .unwrap()
        .into();
    for (key, at) in [
        ("odd", odd),
        ("early", early),
        ("noon", noon()),
        ("end", end),
    ] {
        let outcome = store.write(move |conn| {
            let new = NewRecord {
                status: RecordStatus::Completed,
                lease_expires_at: at,
                expires_at: at,
                ..record(key, noon())
            };
            records::claim(conn, &new)?;
            let kept = find(conn, key)?.expect("a record");
            let taken = records::take_over(conn, &record(key, odd))?;
            Ok::<_, StoreError>((
                kept.id == new.id,
                kept.lease_expires_at,
                kept.expires_at,
                taken,
            ))
        });
        assert_eq!(outcome.await.unwrap(), (true, at, at, at <= odd), "{key}");
    }
}

async fn json_comes_back_byte_for_byte(engine: Engine) {
    let database = Database::new(engine);
    let store = open(&database).await;
    for text in [
        "{ \"b\" : 1.0,\n\t\"a\": [1e2, 1E+2, -0, 0.10],  \"b\":2 }",
        r#"{"z":"\u00e9\/\ud83c\udf55","a":"é/🍕 \" \\ \n"}"#,
        r#""\u0000 and \u001f""#,
        "123456789012345678901234567890.123456789012345678901234567890",
        "null",
        " [ ] ",
    ] {
        let document = json(text);
        let outcome = store.write(move |conn| {
            let now = noon();
            let new = NewRecord {
                request_body: Some(&document),
                ..record("j", now)
            };
            if !records::claim(conn, &new)? {
                assert!(records::take_over(
                    conn,
                    &NewRecord {
                        created_at: now.after(minutes(90)),
                        ..new.clone()
                    }
                )?);
            }
            let id = find(conn, "j")?.expect("a record").id;
            records::complete(conn, id, new.owner_token.unwrap(), &completion(&document))?;
            Ok::<_, StoreError>(find(conn, "j")?.and_then(|kept| kept.response_body))
        });
        assert_eq!(outcome.await.unwrap(), Some(json(text)));
        let kept =
            database.texts("SELECT CAST(request_body AS TEXT) AS t FROM webhook_idempotency");
        assert_eq!(kept, [Some(text.to_owned())]);
    }
}

#[test]
fn ids_sort_by_the_time_they_were_made() {
    let ids: Vec<Uuid> = (0..1_000).map(|_| Uuid::in_order()).collect();
    assert!(ids.is_sorted());
    let texts: Vec<String> = ids.iter().map(ToString::to_string).collect();
    assert!(texts.is_sorted(), "as SQLite sorts them too");
    assert!(texts.iter().all(|text| text.len() == 36));
}

#[actix_web::test]
async fn a_database_in_memory_serves_a_whole_request() {
    let app = App::with(Engine::Sqlite, |config| {
        config.database_url = DatabaseUrl::Sqlite { path: None };
    })
    .await;
    let call = Call::twilio_text(&new_sid(), "2 cola");
    let first = app.send(&call).await;
    assert_eq!(
        (first.status, first.replayed.as_deref()),
        (200, Some("false"))
    );
    assert!(first.body.contains("2 × Cola"), "{first:?}");
    for call in [call.clone(), call.key("another")] {
        let again = app.send(&call).await;
        assert_eq!(again.replayed.as_deref(), Some("true"));
        assert_eq!(again.essence(), first.essence());
    }
    assert_eq!(app.get("/health/ready").await.status, 200);
    let totals: Result<_, StoreError> = app.store.read(hookonce::store::totals::count).await;
    let totals = totals.unwrap();
    assert_eq!(
        (
            totals.orders,
            totals.ledger_entries,
            totals.events,
            totals.records
        ),
        (1, 1, 1, 2)
    );
}

async fn replays_of_many_records_are_counted_each_once(engine: Engine) {
    // More than one transaction's, written down by two instances at a time.
    const RECORDS: usize = 1_100;
    let database = Database::new(engine);
    let stores = [open(&database).await, open(&database).await];
    let ids: Vec<Uuid> = (0..RECORDS).map(|_| Uuid::in_order()).collect();
    let of_records = ids.clone();
    let claimed = stores[0].write(move |conn| {
        for (n, id) in of_records.into_iter().enumerate() {
            let key = n.to_string();
            let new = NewRecord {
                id,
                status: RecordStatus::Failed,
                ..record(&key, noon())
            };
            assert!(records::claim(conn, &new)?);
        }
        Ok::<_, StoreError>(())
    });
    claimed.await.unwrap();
    let tallies = [ReplayTally::default(), ReplayTally::default()];
    // The first record is not replayed at all, and one is gone by now.
    for (tally, minute) in tallies.iter().zip([2, 3]) {
        for id in &ids[1..] {
            tally.note(*id, noon().after(minutes(minute)));
            tally.note(*id, noon().after(minutes(1)));
        }
        tally.note(Uuid::in_order(), noon());
    }
    let flushed = [0, 1].map(|n| tallies[n].flush(&stores[n]));
    for outcome in join_all(flushed).await {
        outcome.unwrap();
    }
    let counts = "SELECT CAST(replay_count AS TEXT) || ' ' || CAST(count(*) AS TEXT) AS t
        FROM webhook_idempotency GROUP BY replay_count ORDER BY 1";
    let expected = ["0 1".to_owned(), format!("4 {}", RECORDS - 1)];
    assert_eq!(database.texts(counts), expected.map(Some));
    let kept = "SELECT CAST(sum(replays) AS BIGINT) AS n FROM record_totals";
    assert_eq!(database.count(kept), 4 * (RECORDS as i64 - 1));
    // Nothing is left to be counted again.
    tallies[0].flush(&stores[0]).await.unwrap();
    assert_eq!(database.texts(counts).len(), 2);
    // An instance that writes late does not set the last time back.
    tallies[0].note(ids[1], noon().after(minutes(1)));
    tallies[0].flush(&stores[0]).await.unwrap();
    let last =
        "SELECT CAST(max(last_accessed_at) AS TEXT) AS t FROM v_deliveries WHERE replay_count = 5";
    let last = database.texts(last).pop().flatten();
    assert!(last.is_some_and(|at| at.contains("12:03:00")));
}
