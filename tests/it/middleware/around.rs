//! What is around the middleware and within it, and what it can be told.

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    dev::Service as _,
    http::header::HeaderName,
    web::{self, Data},
};
use flate2::{Compression, read::GzEncoder};
use hookonce::web::Idempotency;
use std::{io::Read as _, panic::AssertUnwindSafe, time::Duration};

use crate::support::{
    database::{Database, Engine, on_both},
    handlers::{Host, Work, call, charge_of, charges, example, handler, send_and_vanish, sending},
    records::{column, records, statuses},
    requests::{Call, Reply, told},
    wait::until,
};

on_both! {
    one_within_another_lets_the_request_through
    two_of_different_scopes_each_keep_the_key
    a_method_that_is_not_allowed_is_replayed_with_those_that_are
    headers_that_are_asked_for_are_replayed_beside_the_usual_ones
    a_compressed_answer_is_undone_for_a_client_that_cannot_read_it
    a_handler_is_asked_only_for_codings_that_can_be_undone
    settings_that_cannot_work_are_refused
    the_handler_finds_the_task_locals_of_what_is_around
    a_handler_whose_client_went_away_comes_to_its_end_as_before
    in_the_example_a_replay_takes_the_token_of_its_client
}

/// A server of its own over the store of `host`.
macro_rules! serve {
    ($host:expr, $app:expr) => {{
        let server = HttpServer::new($app).workers(1).disable_signals();
        let server = server.bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", server.addrs()[0]);
        Host::run($host.store.clone(), url, server.run())
    }};
}

fn there() -> Call {
    Call {
        path: "/scope/there".to_owned(),
        ..call("K")
    }
}

async fn one_within_another_lets_the_request_through(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::counting();
    let base = Host::new(&database, &work, |it| it).await;
    let (one, shared) = (Idempotency::new(base.store.clone()), work.clone());
    let host = serve!(base, move || {
        let there = web::resource("/there")
            .route(web::post().to(handler))
            .wrap(one.clone());
        App::new()
            .app_data(Data::from(shared.clone()))
            .service(web::scope("/scope").service(there).wrap(one.clone()))
            .wrap(one.clone())
    });
    for replayed in ["false", "true", "true"] {
        let reply = host.send(&there()).await;
        assert_eq!((told(&reply), &*reply.body), ((201, Some(replayed)), "1"));
    }
    assert_eq!((work.runs(), records(&database)), (1, 1));
}

async fn two_of_different_scopes_each_keep_the_key(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::counting();
    let base = Host::new(&database, &work, |it| it).await;
    let (one, shared) = (Idempotency::new(base.store.clone()), work.clone());
    let inner = one.clone().scope(|_| Ok("inner".to_owned()));
    let host = serve!(base, move || {
        let there = web::resource("/there")
            .route(web::post().to(handler))
            .wrap(inner.clone());
        App::new()
            .app_data(Data::from(shared.clone()))
            .service(web::scope("/scope").service(there).wrap(one.clone()))
    });
    for replayed in ["false", "true"] {
        assert_eq!(told(&host.send(&there()).await), (201, Some(replayed)));
    }
    assert_eq!((work.runs(), records(&database)), (1, 2));
}

async fn a_method_that_is_not_allowed_is_replayed_with_those_that_are(engine: Engine) {
    let database = Database::new(engine);
    let answer = || {
        HttpResponse::MethodNotAllowed()
            .insert_header(("Allow", "GET, PUT"))
            .finish()
    };
    let work = Work::new(move |_, _| Ok(answer()));
    let host = Host::new(&database, &work, |it| it).await;
    for replayed in ["false", "true"] {
        let response = host.raw(&call("K")).await;
        assert_eq!(
            (
                response.status().as_u16(),
                &response.headers()["Idempotent-Replayed"]
            ),
            (405, &replayed.parse().unwrap())
        );
        assert_eq!(response.headers()["Allow"], "GET, PUT");
    }
}

async fn headers_that_are_asked_for_are_replayed_beside_the_usual_ones(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::new(|_, _| {
        Ok(HttpResponse::Created()
            .insert_header(("Location", "/things/1"))
            .insert_header(("X-One", "1"))
            .insert_header(("X-Two", "2"))
            .finish())
    });
    let names = |name| [HeaderName::from_static(name)];
    let host = Host::new(&database, &work, |it| {
        it.replayed_headers(names("x-one"))
            .replayed_headers(names("x-two"))
    })
    .await;
    for _ in 0..2 {
        let response = host.raw(&call("K")).await;
        for (name, value) in [("Location", "/things/1"), ("X-One", "1"), ("X-Two", "2")] {
            assert_eq!(response.headers()[name], value);
        }
    }
    assert_eq!(work.runs(), 1);
}

async fn a_compressed_answer_is_undone_for_a_client_that_cannot_read_it(engine: Engine) {
    let database = Database::new(engine);
    let mut zipped = Vec::new();
    let mut encoder = GzEncoder::new(&b"readable"[..], Compression::best());
    encoder.read_to_end(&mut zipped).unwrap();
    let body = zipped.clone();
    let work = Work::new(move |_, _| {
        let mut answer = HttpResponse::Ok();
        Ok(answer
            .insert_header(("Content-Encoding", "gzip"))
            .body(body.clone()))
    });
    let host = Host::new(&database, &work, |it| it).await;
    let reads = call("K").header("Accept-Encoding", "gzip");
    let cases = [
        (reads.clone(), true),
        (call("K"), false),
        (call("K").header("Accept-Encoding", "br, gzip;q=0"), false),
        (call("K").header("Accept-Encoding", "*"), true),
        (reads, true),
    ];
    for (call, is_zipped) in cases {
        let response = host.raw(&call).await;
        assert_eq!(
            response.headers().contains_key("Content-Encoding"),
            is_zipped,
            "{call:?}"
        );
        let body = response.bytes().await.unwrap();
        assert_eq!(&body[..], if is_zipped { &zipped[..] } else { b"readable" });
    }
    assert_eq!(work.runs(), 1);
}

async fn a_handler_is_asked_only_for_codings_that_can_be_undone(engine: Engine) {
    let database = Database::new(engine);
    let base = Host::new(&database, &Work::counting(), |it| it).await;
    let one = Idempotency::new(base.store.clone());
    let host = serve!(base, move || {
        let accepted = async |request: HttpRequest| match request.headers().get("Accept-Encoding") {
            Some(value) => value.to_str().unwrap_or_default().to_owned(),
            None => "nothing".to_owned(),
        };
        App::new()
            .route("/things", web::post().to(accepted))
            .wrap(one.clone())
    });
    for (place, (accepted, left)) in [("br, gzip, zstd", "gzip"), ("zstd", "nothing")]
        .iter()
        .enumerate()
    {
        let call = call(&format!("K{place}")).header("Accept-Encoding", accepted);
        assert_eq!(host.send(&call).await.body, *left);
    }
}

async fn settings_that_cannot_work_are_refused(engine: Engine) {
    let database = Database::new(engine);
    let host = Host::new(&database, &Work::counting(), |it| it).await;
    let refused = |change: fn(Idempotency) -> Idempotency| {
        let one = Idempotency::new(host.store.clone());
        std::panic::catch_unwind(AssertUnwindSafe(|| change(one))).is_err()
    };
    assert!(refused(|it| it.lease(Duration::ZERO)));
    assert!(refused(|it| it.lease(Duration::from_millis(1))));
    assert!(refused(|it| it.ttl(Duration::ZERO)));
    assert!(refused(|it| it.timeout(Duration::ZERO)));
    assert!(refused(|it| it.answer_timeout(Duration::ZERO)));
    assert!(refused(|it| it.header("no name")));
    assert!(!refused(|it| it
        .lease(Idempotency::MIN_LEASE)
        .header("X-Key")));
}

tokio::task_local! {
    static TENANT: &'static str;
}

async fn the_handler_finds_the_task_locals_of_what_is_around(engine: Engine) {
    let database = Database::new(engine);
    let base = Host::new(&database, &Work::counting(), |it| it).await;
    let one = Idempotency::new(base.store.clone());
    let host = serve!(base, move || {
        let tenant = async || {
            tokio::task::yield_now().await;
            TENANT
                .try_with(|tenant| (*tenant).to_owned())
                .unwrap_or_else(|_| "lost".to_owned())
        };
        App::new()
            .route("/things", web::post().to(tenant))
            .wrap(one.clone())
            .wrap_fn(|request, service| TENANT.scope("ours", service.call(request)))
    });
    for replayed in ["false", "true"] {
        let reply = host.send(&call("K")).await;
        assert_eq!(
            (told(&reply), &*reply.body),
            ((200, Some(replayed)), "ours")
        );
    }
}

async fn a_handler_whose_client_went_away_comes_to_its_end_as_before(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::new(|_, _| panic!("after the client has gone"));
    work.close();
    let host = Host::new(&database, &work, |it| it).await;
    send_and_vanish(&host, &call("K"), &work, async || work.has_run(1).await).await;
    work.open();
    until("it is given back", async || {
        statuses(&database) == ["failed"]
    })
    .await;
    let why = column(&database, "error_message").remove(0).unwrap();
    assert!(why.contains("after the client has gone"), "{why}");
}

async fn in_the_example_a_replay_takes_the_token_of_its_client(engine: Engine) {
    let database = Database::new(engine);
    let (program, [process, _]) = example(&database).await;
    let send = async |call: &Call| -> Reply {
        let sent = sending(&process, call).await.expect("a task");
        sent.expect("an answer")
    };
    let first = send(&charge_of("ana", "K")).await;
    assert_eq!(told(&first), (201, Some("false")));
    for stranger in [
        charge_of("ana", "K").without("Authorization"),
        charge_of("nobody", "K"),
    ] {
        let refused = send(&stranger).await;
        assert_eq!((refused.status, refused.replayed.as_deref()), (401, None));
    }
    let other = send(&charge_of("ben", "K")).await;
    assert_eq!(told(&other), (201, Some("false")), "a charge of his own");
    assert_ne!(other.body, first.body);
    let again = send(&charge_of("ana", "K")).await;
    assert_eq!(
        (told(&again), &again.body),
        ((201, Some("true")), &first.body)
    );
    assert_eq!(charges(&program).len(), 2);
}
