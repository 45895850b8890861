//! What becomes of the handlers' answers, and what passes through.

use actix_web::{
    HttpResponse,
    error::{ErrorInternalServerError, ErrorNotFound, ErrorTooManyRequests},
    http::{Method, StatusCode},
    web::Bytes,
};
use futures_util::stream;
use hookonce::web::Idempotency;
use std::{convert::Infallible, time::Duration};
use tokio::time::sleep;

use crate::support::{
    database::{Database, Engine, on_both},
    handlers::{Host, Work, call, charge, charges, example, send_and_vanish, sending},
    records::{column, records, statuses},
    requests::{self, Call, Reply, Then, problem, processing, refused, told},
    wait::until,
};

on_both! {
    what_the_handler_refuses_is_stored
    an_answer_that_settles_nothing_frees_the_key
    a_body_that_the_handlers_extractor_cannot_read_frees_the_key
    a_panic_frees_the_key
    a_client_that_goes_away_costs_neither_the_work_nor_its_answer
    a_client_that_goes_away_while_its_key_is_claimed_leaves_no_key_stuck
    a_reply_too_large_to_be_stored_is_an_error_and_frees_the_key
    a_body_too_large_is_refused_and_nothing_stored
    other_methods_pass_through
    switched_off_everything_passes_through
    a_key_belongs_to_its_scope
    a_refusal_of_the_scope_function_is_the_answer
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
