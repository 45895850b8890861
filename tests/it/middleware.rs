//! The middleware around handlers of one's own: real HTTP, and for what only a process can show the example program.

use actix_web::{
    App, HttpResponse, HttpServer,
    error::{ErrorInternalServerError, ErrorNotFound, ErrorTooManyRequests},
    http::{Method, StatusCode, header::HeaderName},
    rt,
    web::{self, Bytes, Data},
};
use futures_util::{future::join_all, stream};
use hookonce::{idempotency::ReplayTally, store::StoreOptions, web::Idempotency};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

use crate::support::{
    database::{Database, Engine, on_both},
    handlers::{
        Host, LONG, Work, call, charge, charges, example, handler, send_and_vanish, sending,
        take_over,
    },
    process::client,
    records::{FUTURE, PAST, UNANSWERED, column, records, set, snapshot, statuses},
    requests::{self, Call, Reply, Then, mismatch, problem, processing, refused, told},
    wait::{PATIENCE, until},
};

on_both! {
    it_goes_around_an_app_a_scope_a_resource_and_a_route
    a_repeated_request_gets_the_first_answer_and_the_handler_runs_once
    every_body_comes_back_byte_for_byte
    an_answer_without_a_body_is_replayed_without_one
    the_handler_gets_the_body_that_was_sent
    the_handler_can_pass_the_key_on
    headers_of_one_client_or_one_moment_are_not_stored_even_if_asked_for
    the_record_tells_the_operator_what_was_asked
    replays_are_counted_where_asked_for
    a_restarted_program_replays
    without_a_key_it_refuses_or_lets_through
    what_is_no_key_is_refused_and_nothing_stored
    both_headers_and_the_quoted_form_name_one_key
    another_request_under_a_known_key_is_refused_and_the_record_untouched
    json_that_is_only_spaced_differently_is_the_same_request
    of_many_at_once_one_runs_and_the_others_are_told_to_wait
    two_instances_run_a_request_once
    requests_with_keys_of_their_own_do_not_wait_for_each_other
    what_the_handler_refuses_is_stored
    an_answer_that_settles_nothing_frees_the_key
    a_body_that_the_handlers_extractor_cannot_read_frees_the_key
    a_panic_frees_the_key
    a_client_that_goes_away_costs_neither_the_work_nor_its_answer
    a_client_that_goes_away_while_its_key_is_claimed_leaves_no_key_stuck
    a_handler_longer_than_its_lease_is_not_overtaken
    a_handler_that_blocks_its_thread_is_not_overtaken
    a_key_in_progress_is_kept_until_its_lease_ends_and_then_taken_over_once
    a_late_worker_changes_nothing_and_answers_what_stands
    a_late_worker_does_not_answer_for_one_that_still_works
    an_expired_record_frees_the_key
    a_reply_too_large_to_be_stored_is_an_error_and_frees_the_key
    a_body_too_large_is_refused_and_nothing_stored
    other_methods_pass_through
    switched_off_everything_passes_through
    a_key_belongs_to_its_scope
    a_refusal_of_the_scope_function_is_the_answer
    a_database_that_is_away_runs_nothing_and_leaves_no_key_stuck
    a_database_that_is_broken_runs_nothing
    an_answer_that_cannot_be_stored_is_not_acknowledged_and_the_lease_frees_the_key
    an_answer_that_cannot_be_stored_at_once_is_stored_a_little_later
    a_process_killed_inside_its_handler_is_followed_by_another_after_its_lease
    a_process_that_was_stopped_and_wakes_changes_nothing
}

async fn it_goes_around_an_app_a_scope_a_resource_and_a_route(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::counting();
    let host = Host::new(&database, &work, |it| it).await;
    let (around, shared) = (Idempotency::new(host.store.clone()), work.clone());
    let server = HttpServer::new(move || {
        let post = || web::post().to(handler);
        let inner = web::resource("/in").route(post());
        App::new()
            .app_data(Data::from(shared.clone()))
            .service(web::scope("/scope").service(inner).wrap(around.clone()))
            .service(
                web::resource("/resource")
                    .route(post())
                    .wrap(around.clone()),
            )
            .service(web::resource("/route").route(post().wrap(around.clone())))
    });
    let server = server.workers(1).disable_signals().bind("127.0.0.1:0");
    let server = server.unwrap();
    let url = format!("http://{}", server.addrs()[0]);
    let parts = Host::run(host.store.clone(), url, server.run());
    for (place, (host, path)) in [
        (&host, "/scope/in"),
        (&parts, "/scope/in"),
        (&parts, "/resource"),
        (&parts, "/route"),
    ]
    .into_iter()
    .enumerate()
    {
        let call = Call {
            path: path.to_owned(),
            ..call(&format!("K{place}"))
        };
        let first = host.send(&call).await;
        assert_eq!(told(&first), (201, Some("false")), "{path}: {first:?}");
        let again = host.send(&call).await;
        assert_eq!(told(&again), (201, Some("true")), "{path}");
        assert_eq!(again.essence(), first.essence());
    }
    assert_eq!(work.runs(), 4);
}

async fn a_repeated_request_gets_the_first_answer_and_the_handler_runs_once(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::new(|run, _| {
        Ok(HttpResponse::Created()
            .insert_header(("Content-Type", "text/plain; charset=utf-8"))
            .insert_header(("Location", format!("/things/{run}")))
            .insert_header(("ETag", "\"é\""))
            .append_header(("Link", "</a>; rel=next"))
            .append_header(("Link", "</b>; rel=prev"))
            .append_header(("Set-Cookie", "session=1"))
            .append_header(("Set-Cookie", "other=2"))
            .insert_header(("Date", "Thu, 01 Jan 1970 00:00:00 GMT"))
            .insert_header(("WWW-Authenticate", "Bearer"))
            .insert_header(("X-Of-One-Moment", "1"))
            .body(format!("run {run}")))
    });
    let host = Host::new(&database, &work, |it| it).await;
    let first = host.raw(&call("K")).await;
    let replay = host.raw(&call("K")).await;
    let header = |response: &reqwest::Response, name: &str| -> Vec<String> {
        let values = response.headers().get_all(name).into_iter();
        let text = values.map(|value| String::from_utf8(value.as_bytes().to_vec()).unwrap());
        text.collect()
    };
    assert_eq!(header(&first, "Idempotent-Replayed"), ["false"]);
    assert_eq!(header(&replay, "Idempotent-Replayed"), ["true"]);
    assert_eq!(replay.status(), first.status());
    for name in ["Content-Type", "Location", "ETag"] {
        assert_eq!(header(&first, name).len(), 1, "{name}");
        assert_eq!(header(&replay, name), header(&first, name), "{name}");
    }
    assert_eq!(header(&first, "Link").len(), 2);
    assert_eq!(header(&replay, "Link"), ["</a>; rel=next, </b>; rel=prev"]);
    assert_eq!(header(&first, "Set-Cookie").len(), 2);
    assert_eq!(header(&first, "Date"), ["Thu, 01 Jan 1970 00:00:00 GMT"]);
    for name in ["Set-Cookie", "WWW-Authenticate", "X-Of-One-Moment"] {
        assert_eq!(header(&replay, name), [""; 0], "{name}");
    }
    assert_ne!(header(&replay, "Date"), header(&first, "Date"));
    assert_eq!(replay.bytes().await.unwrap(), first.bytes().await.unwrap());
    assert_eq!(work.runs(), 1);
}

async fn every_body_comes_back_byte_for_byte(engine: Engine) {
    let database = Database::new(engine);
    let bodies: [(Option<&str>, &[u8]); 7] = [
        (
            Some("application/json"),
            "{ \"b\" : 1.00, \"a\":\"é🍕\" }".as_bytes(),
        ),
        (Some("application/json"), b"{ no json"),
        (Some("text/html; charset=utf-8"), "<é/>\0".as_bytes()),
        (Some("application/octet-stream"), b"\x89PNG\xff\0\r\n"),
        (Some("text/plain"), b""),
        (None, b"of no type"),
        (None, b"\xff\xfe"),
    ];
    let work = Work::new(move |run, _| {
        // Each body first as a whole, then in pieces.
        let (content_type, body) = bodies[(run - 1) / 2];
        let mut response = HttpResponse::Ok();
        if let Some(content_type) = content_type {
            response.insert_header(("Content-Type", content_type));
        }
        let pieces = body
            .chunks(3)
            .map(|piece| Ok::<_, Infallible>(Bytes::from_static(piece)));
        Ok(match run % 2 {
            0 => response.streaming(stream::iter(pieces)),
            _ => response.body(body),
        })
    });
    let host = Host::new(&database, &work, |it| it).await;
    for (place, (content_type, body)) in bodies.into_iter().enumerate() {
        for way in ["whole", "pieces"] {
            let call = call(&format!("K{place}-{way}"));
            for replayed in ["false", "true"] {
                let response = host.raw(&call).await;
                assert_eq!(response.headers()["Idempotent-Replayed"], replayed);
                let got = response.headers().get("Content-Type").cloned();
                if way == "whole" {
                    assert_eq!(got.as_ref().map(|it| it.to_str().unwrap()), content_type);
                }
                assert_eq!(
                    response.bytes().await.unwrap(),
                    body,
                    "{content_type:?} {way}"
                );
            }
        }
    }
    assert_eq!(work.runs(), 2 * bodies.len());
}

async fn an_answer_without_a_body_is_replayed_without_one(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::new(|run, _| {
        let status = [204, 304][run - 1];
        Ok(HttpResponse::new(StatusCode::from_u16(status).unwrap()))
    });
    let host = Host::new(&database, &work, |it| it).await;
    for (key, status) in [("none", 204), ("unmodified", 304)] {
        for replayed in ["false", "true"] {
            let answer = requests::raw(&host.url, call(key).to_bytes(), Then::Listen).await;
            let reply = Reply::parse(&answer);
            assert_eq!(told(&reply), (status, Some(replayed)), "{answer}");
            assert_eq!((reply.content_type, &*reply.body), (None, ""));
            let length = answer.to_ascii_lowercase().contains("content-length: ");
            assert!(!length || answer.contains("content-length: 0"), "{answer}");
        }
    }
}

async fn the_handler_gets_the_body_that_was_sent(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::new(|_, body| Ok(HttpResponse::Ok().body(body)));
    let host = Host::new(&database, &work, |it| it).await;
    let large = [b"[".to_vec(), vec![b' '; 500_000], b"]".to_vec()].concat();
    for (place, body) in [b"".to_vec(), b"\xff\0".to_vec(), large]
        .into_iter()
        .enumerate()
    {
        let call = Call {
            body: body.clone(),
            ..call(&format!("K{place}"))
        };
        for _ in 0..2 {
            let response = host.raw(&call).await;
            assert!(response.bytes().await.unwrap() == body, "{place}");
        }
    }
    assert_eq!(work.runs(), 3);
}

async fn the_handler_can_pass_the_key_on(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::counting();
    let host = Host::new(&database, &work, |it| it).await;
    let quoted = Call {
        path: "/key".to_owned(),
        ..call("\"K\"")
    };
    for replayed in ["false", "true"] {
        let reply = host.send(&quoted).await;
        assert_eq!((told(&reply), &*reply.body), ((200, Some(replayed)), "K"));
    }
}

async fn headers_of_one_client_or_one_moment_are_not_stored_even_if_asked_for(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::new(|_, _| {
        Ok(HttpResponse::Ok()
            .insert_header(("Set-Cookie", "session=1"))
            .insert_header(("WWW-Authenticate", "Bearer"))
            .insert_header(("Keep-Alive", "timeout=5"))
            .insert_header(("Date", "Thu, 01 Jan 1970 00:00:00 GMT"))
            .insert_header(("Location", "/things"))
            .insert_header(("X-Mine", "1"))
            .insert_header(("Content-Encoding", "of-its-own"))
            .finish())
    });
    let names = [
        "set-cookie",
        "www-authenticate",
        "keep-alive",
        "date",
        "x-mine",
    ];
    let names = names.map(HeaderName::from_static);
    let host = Host::new(&database, &work, |it| it.replayed_headers(names)).await;
    host.send(&call("K")).await;
    let replay = host.raw(&call("K")).await;
    assert_eq!(replay.headers()["X-Mine"], "1");
    assert!(
        replay.headers().get("Location").is_none(),
        "was not asked for"
    );
    let stored = column(&database, "response_headers");
    let expected = r#"{"content-encoding":"of-its-own","x-mine":"1"}"#;
    assert_eq!(stored, [Some(expected.to_owned())]);
}

async fn the_record_tells_the_operator_what_was_asked(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::counting();
    let host = Host::new(&database, &work, |it| it.ttl(Duration::from_secs(60))).await;
    let bodies: [&[u8]; 4] = [b"{ \"b\":1.0 }", "é=1".as_bytes(), b"\xff", b""];
    for (place, body) in bodies.into_iter().enumerate() {
        host.send(&Call {
            body: body.to_vec(),
            ..call(&format!("K{place}"))
        })
        .await;
    }
    let kept = [Some("{ \"b\":1.0 }"), Some("\"é=1\""), None, None];
    let kept = kept.map(|body| body.map(str::to_owned));
    assert_eq!(column(&database, "request_body"), kept);
    let all = |name: &str, value: &str| {
        assert_eq!(column(&database, name), vec![Some(value.to_owned()); 4]);
    };
    all("webhook_type", "http");
    all("method", "POST");
    all("path", "/things");
    all("source_ip", "127.0.0.1");
    all("scope", "http");
}

async fn replays_are_counted_where_asked_for(engine: Engine) {
    let database = Database::new(engine);
    let (work, tally) = (Work::counting(), Arc::<ReplayTally>::default());
    let host = Host::new(&database, &work, |it| it.replay_tally(tally.clone())).await;
    for _ in 0..3 {
        host.send(&call("K")).await;
    }
    tally.flush(&host.store).await.unwrap();
    assert_eq!(column(&database, "replay_count"), [Some("2".to_owned())]);
}

async fn a_restarted_program_replays(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::counting();
    let host = Host::new(&database, &work, |it| it).await;
    let first = host.send(&call("K")).await;
    host.handle.stop(true).await;
    drop(host);
    let host = Host::new(&database, &work, |it| it).await;
    let again = host.send(&call("K")).await;
    assert_eq!(told(&again), (201, Some("true")));
    assert_eq!(again.essence(), first.essence());
}

async fn without_a_key_it_refuses_or_lets_through(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::counting();
    let keyless = call("K").without("X-Idempotency-Key");
    let host = Host::new(&database, &work, |it| it).await;
    let reply = host.send(&keyless).await;
    assert_eq!(refused(&reply), problem(400, "IDEMPOTENCY_KEY_REQUIRED"));
    assert_eq!((work.runs(), records(&database)), (0, 0));

    let host = Host::new(&database, &work, |it| it.required(false)).await;
    for run in ["1", "2"] {
        let reply = host.send(&keyless).await;
        assert_eq!((told(&reply), &*reply.body), ((201, None), run));
    }
    assert_eq!(records(&database), 0);
    assert_eq!(told(&host.send(&call("K")).await), (201, Some("false")));
    assert_eq!(told(&host.send(&call("K")).await), (201, Some("true")));
}

async fn what_is_no_key_is_refused_and_nothing_stored(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::counting();
    for required in [true, false] {
        let host = Host::new(&database, &work, |it| it.required(required)).await;
        let long = "k".repeat(129);
        for key in ["", " ", "a b", "a,b", "\"\"", "\"a", "é", "a/b", &long] {
            let reply = host.send(&call(key)).await;
            assert_eq!(
                refused(&reply),
                problem(400, "IDEMPOTENCY_KEY_INVALID"),
                "{key:?}"
            );
        }
        for differing in [
            call("a").key("b"),
            call("a").header("Idempotency-Key", "b"),
            call("a").header("Idempotency-Key", ""),
        ] {
            let reply = host.send(&differing).await;
            assert_eq!(refused(&reply), problem(400, "IDEMPOTENCY_KEY_INVALID"));
        }
    }
    assert_eq!((work.runs(), records(&database)), (0, 0));
    let host = Host::new(&database, &work, |it| it).await;
    let longest = call(&"k".repeat(128));
    assert_eq!(told(&host.send(&longest).await), (201, Some("false")));
}

async fn both_headers_and_the_quoted_form_name_one_key(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::counting();
    let host = Host::new(&database, &work, |it| it.header("X-Request-Key")).await;
    let bare = call("unused").without("X-Idempotency-Key");
    let first = host.send(&bare.clone().header("X-Request-Key", "K")).await;
    assert_eq!(told(&first), (201, Some("false")));
    for same in [
        bare.clone().header("X-Request-Key", "\"K\""),
        bare.clone().header("Idempotency-Key", "K"),
        bare.clone().header("Idempotency-Key", "\"K\""),
        bare.clone()
            .header("Idempotency-Key", "\"K\"")
            .header("X-Request-Key", "K"),
    ] {
        assert_eq!(
            told(&host.send(&same).await),
            (201, Some("true")),
            "{same:?}"
        );
    }
    let other_name = host.send(&bare.key("K")).await;
    assert_eq!(
        refused(&other_name),
        problem(400, "IDEMPOTENCY_KEY_REQUIRED")
    );
    assert_eq!(work.runs(), 1);
}

async fn another_request_under_a_known_key_is_refused_and_the_record_untouched(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::counting();
    let host = Host::new(&database, &work, |it| it).await;
    let known = Call {
        path: "/things?x=1".to_owned(),
        ..call("K")
    };
    let first = host.send(&known).await;
    let before = snapshot(&database);
    let others = [
        Call {
            body: b"{\"a\":2}".to_vec(),
            ..known.clone()
        },
        Call {
            path: "/things?x=2".to_owned(),
            ..known.clone()
        },
        Call {
            path: "/things".to_owned(),
            ..known.clone()
        },
        Call {
            path: "/play?x=1".to_owned(),
            ..known.clone()
        },
        known.clone().instead("Content-Type", "text/plain"),
        known.clone().without("Content-Type"),
    ];
    for other in &others {
        assert_eq!(refused(&host.send(other).await), mismatch(), "{other:?}");
    }
    let put = host.method(Method::PUT, "/things?x=1", "K").await;
    assert_eq!(refused(&put), mismatch());
    assert_eq!(snapshot(&database), before);
    let parameters = known
        .clone()
        .instead("Content-Type", "application/json; charset=utf-8");
    for same in [known, parameters] {
        let again = host.send(&same).await;
        assert_eq!(told(&again), (201, Some("true")));
        assert_eq!(again.essence(), first.essence());
    }
    assert_eq!((work.runs(), records(&database)), (1, 1));
}

async fn json_that_is_only_spaced_differently_is_the_same_request(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::counting();
    let host = Host::new(&database, &work, |it| it).await;
    let with = |body: &str| Call {
        body: body.into(),
        ..call("K")
    };
    host.send(&with(r#"{"a":1,"b":[1.0]}"#)).await;
    let again = host.send(&with("{ \"b\" : [1.0],\n \"a\" : 1 }")).await;
    assert_eq!(told(&again), (201, Some("true")));
    let other = host.send(&with(r#"{"a":1,"b":[1.00]}"#)).await;
    assert_eq!(refused(&other), mismatch());
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

async fn what_the_handler_refuses_is_stored(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::new(|run, _| match run {
        1 => Ok(HttpResponse::BadRequest().body("1")),
        2 => Ok(HttpResponse::NotFound().finish()),
        3 => Ok(HttpResponse::Conflict().body("3")),
        4 => Ok(HttpResponse::UnprocessableEntity().body("4")),
        5 => Err(ErrorNotFound("an error of its own")),
        run => Ok(HttpResponse::Ok().json(run)),
    });
    let host = Host::new(&database, &work, |it| it).await;
    for (run, status) in [400, 404, 409, 422, 404].into_iter().enumerate() {
        let call = call(&format!("K{run}"));
        let first = host.send(&call).await;
        assert_eq!(told(&first), (status, Some("false")));
        let again = host.send(&call).await;
        assert_eq!(told(&again), (status, Some("true")));
        assert_eq!(again.essence(), first.essence());
    }
    assert_eq!(work.runs(), 5);
}

async fn a_body_that_the_handlers_extractor_cannot_read_frees_the_key(engine: Engine) {
    let database = Database::new(engine);
    let (program, [process, _]) = example(&database).await;
    let meant = charge("K");
    let broken = Call {
        body: b"{\"amount\":".to_vec(),
        ..meant.clone()
    };
    let send = async |call| {
        sending(&process, call)
            .await
            .expect("a task")
            .expect("an answer")
    };
    assert_eq!(send(&broken).await.status, 400);
    assert_eq!(told(&send(&meant).await), (201, Some("false")));
    assert_eq!(charges(&program).len(), 1);
}

async fn an_answer_that_settles_nothing_frees_the_key(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::new(|_, body| {
        let asked: u16 = std::str::from_utf8(&body).unwrap().parse().unwrap();
        match asked {
            1 => Err(ErrorInternalServerError("what broke\0 inside")),
            2 => Err(ErrorTooManyRequests("come again")),
            status => Ok(HttpResponse::build(StatusCode::from_u16(status).unwrap()).body("as is")),
        }
    });
    let host = Host::new(&database, &work, |it| it).await;
    let asked = [401, 403, 408, 425, 429, 500, 503, 1, 2, 413, 415];
    for status in asked {
        let call = Call {
            body: status.to_string().into(),
            ..call(&format!("K{status}"))
        };
        for _ in 0..2 {
            let before = work.runs();
            let reply = host.send(&call).await;
            let expected = [status, 500, 429][usize::from(status).min(3) % 3];
            assert_eq!(told(&reply), (expected, Some("false")), "{status}");
            if status > 2 {
                assert_eq!(reply.body, "as is");
            }
            assert_eq!(work.runs(), before + 1, "{status}");
        }
    }
    assert_eq!(statuses(&database), vec!["failed"; asked.len()]);
    let why = column(&database, "error_message");
    assert_eq!(why[0].as_deref(), Some("answered 401 Unauthorized"));
    let inside = why[7].as_deref().unwrap();
    assert!(
        inside.contains("500") && inside.contains("what broke\u{fffd} inside"),
        "{inside}"
    );
}

async fn a_panic_frees_the_key(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::new(|run, _| match run {
        1 => panic!("the first run breaks"),
        run => Ok(HttpResponse::Created().json(run)),
    });
    let host = Host::new(&database, &work, |it| it).await;
    let reply = host.send(&call("K")).await;
    assert_eq!(refused(&reply), problem(500, "INTERNAL"));
    assert!(!reply.body.contains("breaks"), "{}", reply.body);
    assert_eq!(statuses(&database), ["failed"]);
    let why = column(&database, "error_message").remove(0).unwrap();
    assert!(why.contains("the first run breaks"), "{why}");
    assert_eq!(told(&host.send(&call("K")).await), (201, Some("false")));
    assert_eq!(told(&host.send(&call("K")).await), (201, Some("true")));
    assert_eq!(column(&database, "error_message"), [None]);
}

async fn a_client_that_goes_away_costs_neither_the_work_nor_its_answer(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::behind_a_gate();
    let host = Host::new(&database, &work, |it| it).await;
    send_and_vanish(&host, &call("K"), &work, async || work.has_run(1).await).await;
    assert_eq!(refused(&host.send(&call("K")).await), processing());
    work.open();
    until("it is stored", async || {
        statuses(&database) == ["completed"]
    })
    .await;
    let replay = host.send(&call("K")).await;
    assert_eq!((told(&replay), &*replay.body), ((201, Some("true")), "1"));
    assert_eq!(work.runs(), 1);
}

async fn a_client_that_goes_away_while_its_key_is_claimed_leaves_no_key_stuck(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::counting();
    let host = Host::new(&database, &work, |it| it).await;
    let lock = database.lock();
    // That the claim waits for the lock cannot be seen from outside; that nobody waits for the claim can.
    send_and_vanish(&host, &call("K"), &work, async || {
        sleep(Duration::from_millis(300)).await;
    })
    .await;
    assert_eq!(work.runs(), 0);
    lock.release();
    until("it is answered", async || {
        told(&host.send(&call("K")).await) == (201, Some("true"))
    })
    .await;
    assert_eq!(work.runs(), 1);
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

async fn a_reply_too_large_to_be_stored_is_an_error_and_frees_the_key(engine: Engine) {
    const MOST: usize = 1024 * 1024;
    let database = Database::new(engine);
    let work = Work::new(|run, _| {
        let endless = stream::repeat(Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 65_536])));
        Ok(match run {
            1 => HttpResponse::Ok().body(vec![b'x'; MOST + 1]),
            2 => HttpResponse::Ok().streaming(endless),
            _ => HttpResponse::Ok().body(vec![b'x'; MOST]),
        })
    });
    let host = Host::new(&database, &work, |it| it).await;
    for _ in 0..2 {
        let reply = host.send(&call("K")).await;
        assert_eq!(refused(&reply), problem(500, "INTERNAL"));
        assert_eq!(statuses(&database), ["failed"]);
        let why = column(&database, "error_message").remove(0).unwrap();
        assert!(why.contains("larger"), "{why}");
    }
    for replayed in ["false", "true"] {
        let reply = host.send(&call("K")).await;
        assert_eq!(told(&reply), (200, Some(replayed)));
        assert_eq!(reply.body.len(), MOST);
    }
    assert_eq!(work.runs(), 3);
}

async fn a_body_too_large_is_refused_and_nothing_stored(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::counting();
    let host = Host::new(&database, &work, |it| it.max_body_bytes(1_000)).await;
    let with = |size| Call {
        body: vec![b'x'; size],
        ..call("K")
    };
    assert_eq!(
        refused(&host.send(&with(1_001)).await),
        problem(413, "BODY_TOO_LARGE")
    );
    let mut chunked = call("K").head("Transfer-Encoding: chunked");
    chunked.extend(format!("{:x}\r\n{}\r\n0\r\n\r\n", 1_001, "x".repeat(1_001)).into_bytes());
    let reply = Reply::parse(&requests::raw(&host.url, chunked, Then::Listen).await);
    assert_eq!(refused(&reply), problem(413, "BODY_TOO_LARGE"));
    assert_eq!((work.runs(), records(&database)), (0, 0));
    assert_eq!(told(&host.send(&with(1_000)).await), (201, Some("false")));
}

async fn other_methods_pass_through(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::counting();
    let host = Host::new(&database, &work, |it| it).await;
    let others = [Method::GET, Method::HEAD, Method::OPTIONS, Method::DELETE];
    for (place, method) in others.iter().cycle().take(8).enumerate() {
        let reply = host.method(method.clone(), "/things", "K").await;
        assert_eq!(told(&reply), (201, None), "{method}");
        assert_eq!(work.runs(), place + 1, "{method}");
    }
    assert_eq!(records(&database), 0);
    for method in [Method::POST, Method::PUT, Method::PATCH] {
        for replayed in ["false", "true"] {
            let reply = host
                .method(method.clone(), "/things", method.as_str())
                .await;
            assert_eq!(told(&reply), (201, Some(replayed)), "{method}");
        }
    }

    let host = Host::new(&database, &work, |it| it.methods([Method::DELETE])).await;
    assert_eq!(
        told(&host.method(Method::POST, "/things", "D").await),
        (201, None)
    );
    for replayed in ["false", "true"] {
        let reply = host.method(Method::DELETE, "/things", "D").await;
        assert_eq!(told(&reply), (201, Some(replayed)));
    }
}

async fn switched_off_everything_passes_through(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::counting();
    let host = Host::new(&database, &work, |it| it.enabled(false)).await;
    for passing in [call("K"), call("K"), call("no key"), call("a").key("b")] {
        assert_eq!(told(&host.send(&passing).await), (201, None));
    }
    assert_eq!((work.runs(), records(&database)), (4, 0));
}

/// Keys by the client that a header names.
fn by_client(idempotency: Idempotency) -> Idempotency {
    idempotency.scope(|request| match request.headers().get("X-Client") {
        Some(client) => Ok(format!("client:{}", client.to_str().unwrap_or_default())),
        None => Err(actix_web::error::ErrorUnauthorized("who are you?")),
    })
}

async fn a_key_belongs_to_its_scope(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::counting();
    let host = Host::new(&database, &work, by_client).await;
    let of = |client| call("K").header("X-Client", client);
    for (client, run, replayed) in [
        ("a", "1", "false"),
        ("b", "2", "false"),
        ("a", "1", "true"),
        ("b", "2", "true"),
    ] {
        let reply = host.send(&of(client)).await;
        assert_eq!((told(&reply), &*reply.body), ((201, Some(replayed)), run));
    }
    let other = Call {
        body: b"{}".to_vec(),
        ..of("c")
    };
    assert_eq!(told(&host.send(&other).await), (201, Some("false")));
    let scopes = ["client:a", "client:b", "client:c"].map(|scope| Some(scope.to_owned()));
    assert_eq!(column(&database, "scope"), scopes);
}

async fn a_refusal_of_the_scope_function_is_the_answer(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::counting();
    let host = Host::new(&database, &work, by_client).await;
    let reply = host.send(&call("K")).await;
    assert_eq!((reply.status, &*reply.body), (401, "who are you?"));
    assert_eq!((work.runs(), records(&database)), (0, 0));
    let named = call("K").header("X-Client", "a");
    assert_eq!(told(&host.send(&named).await), (201, Some("false")));
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
