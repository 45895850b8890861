//! What is replayed and what is not the same request: real HTTP.

use actix_web::{
    App, HttpResponse, HttpServer,
    http::{Method, StatusCode, header::HeaderName},
    web::{self, Bytes, Data},
};
use futures_util::stream;
use hookonce::{idempotency::ReplayTally, web::Idempotency};
use std::{convert::Infallible, sync::Arc, time::Duration};

use crate::support::{
    database::{Database, Engine, on_both},
    handlers::{Host, Work, call, handler},
    records::{column, records, snapshot},
    requests::{self, Call, Reply, Then, mismatch, problem, refused, told},
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
    assert_eq!(
        replay.headers()["Location"],
        "/things",
        "beside the usual ones"
    );
    let stored = column(&database, "response_headers");
    let expected = r#"{"content-encoding":"of-its-own","location":"/things","x-mine":"1"}"#;
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
