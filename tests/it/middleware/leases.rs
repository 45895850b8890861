//! Many at once, workers that die or come late, and databases that are away.

use actix_web::{HttpResponse, error::ErrorInternalServerError, rt};
use futures_util::future::join_all;
use hookonce::store::StoreOptions;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

use crate::support::{
    database::{Database, Engine, on_both},
    handlers::{Host, LONG, Work, call, charge, charges, example, sending, take_over},
    process::client,
    records::{FUTURE, PAST, UNANSWERED, column, records, set, snapshot, statuses},
    requests::{Call, Reply, mismatch, problem, processing, refused, told},
    wait::{PATIENCE, until},
};

on_both! {
    of_many_at_once_one_runs_and_the_others_are_told_to_wait
    two_instances_run_a_request_once
    requests_with_keys_of_their_own_do_not_wait_for_each_other
    a_handler_longer_than_its_lease_is_not_overtaken
    a_handler_that_blocks_its_thread_is_not_overtaken
    a_key_in_progress_is_kept_until_its_lease_ends_and_then_taken_over_once
    a_late_worker_changes_nothing_and_answers_what_stands
    a_late_worker_does_not_answer_for_one_that_still_works
    an_expired_record_frees_the_key
    a_database_that_is_away_runs_nothing_and_leaves_no_key_stuck
    a_database_that_is_broken_runs_nothing
    an_answer_that_cannot_be_stored_is_not_acknowledged_and_the_lease_frees_the_key
    an_answer_that_cannot_be_stored_at_once_is_stored_a_little_later
    a_process_killed_inside_its_handler_is_followed_by_another_after_its_lease
    a_process_that_was_stopped_and_wakes_changes_nothing
}

async fn of_many_at_once_one_runs_and_the_others_are_told_to_wait(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::behind_a_gate();
    let host = Host::new(&database, &work, |it| it).await;
    let all: Vec<_> = (0..10).map(|_| host.sending(&call("K"))).collect();
    // The one that runs cannot end before the others have been answered.
    until("nine are answered", async || {
        all.iter().filter(|one| one.is_finished()).count() == 9
    })
    .await;
    let other = Call {
        body: b"{}".to_vec(),
        ..call("K")
    };
    assert_eq!(refused(&host.send(&other).await), mismatch());
    work.open();
    let replies: Vec<_> = join_all(all)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let (first, waiting): (Vec<_>, Vec<_>) = replies.iter().partition(|it| it.status == 201);
    assert_eq!(first.len(), 1);
    assert_eq!(told(first[0]), (201, Some("false")));
    for reply in waiting {
        assert_eq!(refused(reply), processing());
        let seconds: u64 = reply.retry_after.as_ref().unwrap().parse().unwrap();
        assert!((1..=LONG.as_secs()).contains(&seconds), "{seconds}");
    }
    let replays = join_all((0..10).map(|_| async { host.send(&call("K")).await })).await;
    for replay in replays {
        assert_eq!(told(&replay), (201, Some("true")));
        assert_eq!(replay.essence(), first[0].essence());
    }
    assert_eq!((work.runs(), records(&database)), (1, 1));
}

async fn two_instances_run_a_request_once(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::counting();
    let hosts = [
        Host::new(&database, &work, |it| it).await,
        Host::new(&database, &work, |it| it).await,
    ];
    for round in 1..=20 {
        let call = call(&format!("K{round}"));
        let all = (0..8).map(|place| hosts[place % 2].sending(&call));
        let replies: Vec<_> = join_all(all)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        let ran = replies.iter().filter(|it| told(it) == (201, Some("false")));
        assert_eq!(ran.count(), 1, "{replies:?}");
        for reply in replies.iter().filter(|it| it.status != 201) {
            assert_eq!(refused(reply), processing());
        }
        assert_eq!(work.runs(), round);
        for host in &hosts {
            let replay = host.send(&call).await;
            assert_eq!(
                (told(&replay), &replay.body),
                ((201, Some("true")), &round.to_string())
            );
        }
    }
}

async fn requests_with_keys_of_their_own_do_not_wait_for_each_other(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::behind_a_gate();
    let host = Host::new(&database, &work, |it| it).await;
    // More than there are connections to the database: a handler holds none while it runs.
    let all: Vec<_> = (0..20)
        .map(|place| host.sending(&call(&format!("K{place}"))))
        .collect();
    work.has_run(20).await;
    work.open();
    for reply in join_all(all).await {
        assert_eq!(told(&reply.unwrap()), (201, Some("false")));
    }
}

async fn a_handler_longer_than_its_lease_is_not_overtaken(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::behind_a_gate();
    let lease = Duration::from_millis(600);
    let host = Host::new(&database, &work, |it| it.lease(lease)).await;
    let other = Host::new(&database, &work, |it| it.lease(lease)).await;
    let first = host.sending(&call("K"));
    work.has_run(1).await;
    let begun = Instant::now();
    let mut leases = column(&database, "lease_expires_at");
    while begun.elapsed() < 4 * lease {
        let reply = other.send(&call("K")).await;
        assert_eq!(refused(&reply), processing());
        leases.extend(column(&database, "lease_expires_at"));
        sleep(lease / 10).await;
    }
    leases.dedup();
    assert!(
        leases.len() > 4,
        "it is renewed again and again: {leases:?}"
    );
    assert!(leases.is_sorted(), "{leases:?}");
    work.open();
    assert_eq!(told(&first.await.unwrap()), (201, Some("false")));
    assert_eq!(told(&other.send(&call("K")).await), (201, Some("true")));
    assert_eq!(work.runs(), 1);
    // Nothing goes on being renewed.
    let lease_of_the_past = column(&database, "lease_expires_at");
    sleep(lease).await;
    assert_eq!(column(&database, "lease_expires_at"), lease_of_the_past);
}

async fn a_handler_that_blocks_its_thread_is_not_overtaken(engine: Engine) {
    let database = Database::new(engine);
    let lease = Duration::from_millis(600);
    let work = Work::new(move |run, _| {
        std::thread::sleep(4 * lease);
        Ok(HttpResponse::Created().json(run))
    });
    let host = Host::new(&database, &work, |it| it.lease(lease)).await;
    let other = Host::new(&database, &work, |it| it.lease(lease)).await;
    let first = host.sending(&call("K"));
    work.has_run(1).await;
    let mut waited = 0;
    while !first.is_finished() {
        let reply = other.send(&call("K")).await;
        if reply.status == 201 {
            break;
        }
        assert_eq!(refused(&reply), processing());
        waited += 1;
        sleep(lease / 10).await;
    }
    assert_eq!(told(&first.await.unwrap()), (201, Some("false")));
    assert!(waited > 10, "{waited}");
    assert_eq!(work.runs(), 1);
}

async fn a_key_in_progress_is_kept_until_its_lease_ends_and_then_taken_over_once(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::counting();
    let hosts = [
        Host::new(&database, &work, |it| it).await,
        Host::new(&database, &work, |it| it).await,
    ];
    hosts[0].send(&call("K")).await;
    // As a process leaves it that dies inside its handler.
    set(
        &database,
        &format!("{UNANSWERED}, lease_expires_at = {FUTURE}"),
    );
    let before = snapshot(&database);
    for host in &hosts {
        let reply = host.send(&call("K")).await;
        assert_eq!(refused(&reply), processing());
        assert!(reply.retry_after.is_some());
    }
    assert_eq!(snapshot(&database), before);
    for round in 2..=10 {
        set(
            &database,
            &format!("{UNANSWERED}, lease_expires_at = {PAST}"),
        );
        let all = (0..8).map(|place| hosts[place % 2].sending(&call("K")));
        let replies: Vec<_> = join_all(all)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        let ran = replies.iter().filter(|it| told(it) == (201, Some("false")));
        assert_eq!(ran.count(), 1, "{replies:?}");
        assert_eq!(work.runs(), round);
    }
    assert_eq!(records(&database), 1);
}

/// A worker on one host that is held up inside its handler, its lease run out, and an idle host beside it.
async fn overtaken(
    database: &Database,
    late: &Arc<Work>,
    second: &Arc<Work>,
) -> (Host, Host, rt::task::JoinHandle<Reply>) {
    let late_host = Host::new(database, late, |it| it).await;
    let second_host = Host::new(database, second, |it| it).await;
    let answer = late_host.sending(&call("K"));
    late.has_run(1).await;
    set(database, &format!("lease_expires_at = {PAST}"));
    (late_host, second_host, answer)
}

async fn a_late_worker_changes_nothing_and_answers_what_stands(engine: Engine) {
    for fails in [false, true] {
        let database = Database::new(engine);
        let late = Work::new(move |_, _| match fails {
            true => Err(ErrorInternalServerError("late")),
            false => Ok(HttpResponse::Ok().body("late")),
        });
        late.close();
        let second = Work::counting();
        let (_late_host, host, answer) = overtaken(&database, &late, &second).await;
        let standing = host.send(&call("K")).await;
        assert_eq!(told(&standing), (201, Some("false")));
        let before = snapshot(&database);
        late.open();
        let answer = answer.await.unwrap();
        match fails {
            true => assert_eq!(told(&answer), (500, Some("false"))),
            false => {
                assert_eq!(told(&answer), (201, Some("true")));
                assert_eq!(answer.essence(), standing.essence());
            }
        }
        assert_eq!(snapshot(&database), before);
        let replay = host.send(&call("K")).await;
        assert_eq!(told(&replay), (201, Some("true")));
        assert_eq!(replay.essence(), standing.essence());
        assert_eq!((late.runs(), second.runs()), (1, 1));
    }
}

async fn a_late_worker_does_not_answer_for_one_that_still_works(engine: Engine) {
    let database = Database::new(engine);
    let (late, second) = (Work::behind_a_gate(), Work::behind_a_gate());
    let (_late_host, host, answer) = overtaken(&database, &late, &second).await;
    let standing = host.sending(&call("K"));
    second.has_run(1).await;
    let before = snapshot(&database);
    late.open();
    assert_eq!(refused(&answer.await.unwrap()), processing());
    assert_eq!(snapshot(&database), before);
    second.open();
    assert_eq!(told(&standing.await.unwrap()), (201, Some("false")));
    assert_eq!(statuses(&database), ["completed"]);
}

async fn an_expired_record_frees_the_key(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::counting();
    let host = Host::new(&database, &work, |it| it).await;
    host.send(&call("K")).await;
    let other = Call {
        body: b"{}".to_vec(),
        ..call("K")
    };
    for (again, run) in [(&call("K"), "2"), (&other, "3")] {
        set(&database, &format!("expires_at = {PAST}"));
        let reply = host.send(again).await;
        assert_eq!((told(&reply), &*reply.body), ((201, Some("false")), run));
        assert_eq!(told(&host.send(again).await), (201, Some("true")));
    }

    let short = Host::new(&database, &work, |it| it.ttl(Duration::from_secs(1))).await;
    assert_eq!(
        told(&short.send(&call("short")).await),
        (201, Some("false"))
    );
    until("it expires", async || {
        told(&short.send(&call("short")).await) == (201, Some("false"))
    })
    .await;
}

async fn a_database_that_is_away_runs_nothing_and_leaves_no_key_stuck(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::counting();
    let patience = Duration::from_millis(300);
    let host = Host::new(&database, &work, |it| it.timeout(patience)).await;
    let lock = database.lock();
    let reply = host.send(&call("K")).await;
    assert_eq!(refused(&reply), problem(503, "STORE_UNAVAILABLE"));
    assert!(reply.retry_after.is_some());
    assert_eq!(work.runs(), 0);
    lock.release();
    // The claim may still be committed now, and has nobody to run it. Its lease ends long after this test.
    // And where its answer is stored too late for its client, the next one gets it.
    let mut last = None;
    until("it is done", async || {
        let reply = host.send(&call("K")).await;
        let done = reply.status == 201;
        last = Some(reply);
        done
    })
    .await;
    assert_eq!(work.runs(), 1, "{last:?}");
}

async fn a_database_that_is_broken_runs_nothing(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::counting();
    let host = Host::new(&database, &work, |it| it).await;
    database.execute("ALTER TABLE webhook_idempotency RENAME TO broken");
    let reply = host.send(&call("K")).await;
    assert_eq!(refused(&reply), problem(500, "INTERNAL"));
    assert!(
        !reply.body.contains("webhook_idempotency"),
        "{}",
        reply.body
    );
    assert_eq!(work.runs(), 0);
    database.execute("ALTER TABLE broken RENAME TO webhook_idempotency");
    assert_eq!(told(&host.send(&call("K")).await), (201, Some("false")));
}

async fn an_answer_that_cannot_be_stored_is_not_acknowledged_and_the_lease_frees_the_key(
    engine: Engine,
) {
    let database = Database::new(engine);
    let work = Work::behind_a_gate();
    let lease = Duration::from_secs(2);
    let host = Host::new(&database, &work, |it| it.lease(lease)).await;
    let first = host.sending(&call("K"));
    work.has_run(1).await;
    database.execute("ALTER TABLE webhook_idempotency RENAME TO broken");
    work.open();
    let reply = first.await.unwrap();
    assert_eq!(refused(&reply), problem(503, "STORE_UNAVAILABLE"));
    assert_eq!(reply.retry_after.as_deref(), Some("2"));
    database.execute("ALTER TABLE broken RENAME TO webhook_idempotency");
    assert_eq!(statuses(&database), ["in_progress"]);
    until("the lease runs out", async || {
        let reply = host.send(&call("K")).await;
        assert!(reply.status == 201 || refused(&reply) == processing());
        told(&reply) == (201, Some("false"))
    })
    .await;
    assert_eq!(work.runs(), 2);
}

async fn an_answer_that_cannot_be_stored_at_once_is_stored_a_little_later(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::behind_a_gate();
    // The database gives up long before the middleware does.
    let options = StoreOptions {
        timeout: Duration::from_millis(200),
        ..StoreOptions::default()
    };
    let host = Host::with(&database, &options, &work, |it| it.timeout(PATIENCE)).await;
    let first = host.sending(&call("K"));
    work.has_run(1).await;
    let lock = database.lock();
    work.open();
    sleep(4 * options.timeout).await;
    assert!(!first.is_finished());
    lock.release();
    assert_eq!(told(&first.await.unwrap()), (201, Some("false")));
    assert_eq!(told(&host.send(&call("K")).await), (201, Some("true")));
    assert_eq!(work.runs(), 1);
}

async fn a_process_killed_inside_its_handler_is_followed_by_another_after_its_lease(
    engine: Engine,
) {
    let database = Database::new(engine);
    let (program, [mut first, second]) = example(&database).await;
    let lost = sending(&first, &charge("K"));
    until("it is claimed", async || {
        statuses(&database) == ["in_progress"]
    })
    .await;
    first.kill();
    assert!(lost.await.unwrap().is_err());
    assert_eq!(charges(&program), [""; 0]);
    let done = take_over(&second, &charge("K")).await;
    let replay = charge("K").send(&client(), &second.url).await.unwrap();
    assert_eq!(told(&replay), (201, Some("true")));
    assert_eq!(replay.essence(), done.essence());
    assert_eq!(charges(&program), [done.json()["id"].as_str().unwrap()]);
}

async fn a_process_that_was_stopped_and_wakes_changes_nothing(engine: Engine) {
    let database = Database::new(engine);
    let (program, [first, second]) = example(&database).await;
    let late = sending(&first, &charge("K"));
    until("it is claimed", async || {
        statuses(&database) == ["in_progress"]
    })
    .await;
    first.freeze().await;
    let done = take_over(&second, &charge("K")).await;
    let before = snapshot(&database);
    first.signal("CONT");
    let late = late.await.unwrap().expect("an answer");
    assert_eq!(told(&late), (201, Some("true")));
    assert_eq!(late.essence(), done.essence());
    assert_eq!(snapshot(&database), before);
    for process in [&first, &second] {
        let replay = charge("K").send(&client(), &process.url).await.unwrap();
        assert_eq!(told(&replay), (201, Some("true")));
        assert_eq!(replay.essence(), done.essence());
    }
    // What is outside the database cannot be held back: both have charged.
    assert_eq!(charges(&program).len(), 2);
}
