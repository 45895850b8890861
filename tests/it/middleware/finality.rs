//! Which answers are a request's last word.

use actix_multipart::Multipart;
use actix_web::{
    App, Error, HttpResponse, HttpServer,
    error::{ErrorBadRequest, InternalError},
    web::{self, Bytes},
};
use futures_util::{StreamExt as _, stream};
use hookonce::{
    store::types::Timestamp,
    web::{Idempotency, is_final, unread},
};
use std::{collections::HashMap, convert::Infallible, time::Duration};

use crate::support::{
    database::{Database, Engine, on_both},
    handlers::{Host, Work, call},
    records::{column, set, statuses},
    requests::{Call, problem, processing, refused, told},
};

on_both! {
    an_answer_that_says_when_to_come_again_is_not_stored
    an_answer_that_only_says_when_to_look_again_is_stored_with_that
    what_is_stored_can_be_said
    who_comes_too_early_is_told_about_when_to_come_again
    what_an_extractor_cannot_read_leaves_the_key_to_what_was_meant
    a_stream_that_does_not_end_frees_its_key
}

async fn an_answer_that_says_when_to_come_again_is_not_stored(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::new(|run, _| {
        Ok(match run {
            1 => HttpResponse::Conflict()
                .insert_header(("Retry-After", "7"))
                .finish(),
            2 => HttpResponse::Locked().finish(),
            3 => HttpResponse::Locked()
                .insert_header(("Retry-After", "7"))
                .finish(),
            _ => HttpResponse::Conflict().body("for good"),
        })
    });
    let host = Host::new(&database, &work, |it| it).await;
    for (status, retry_after) in [(409, Some("7")), (423, None), (423, Some("7"))] {
        let reply = host.send(&call("K")).await;
        assert_eq!(told(&reply), (status, Some("false")));
        assert_eq!(reply.retry_after.as_deref(), retry_after);
        assert_eq!(statuses(&database), ["failed"]);
    }
    for replayed in ["false", "true"] {
        let reply = host.send(&call("K")).await;
        assert_eq!(
            (told(&reply), &*reply.body),
            ((409, Some(replayed)), "for good")
        );
    }
    assert_eq!(work.runs(), 4);
}

async fn an_answer_that_only_says_when_to_look_again_is_stored_with_that(engine: Engine) {
    let database = Database::new(engine);
    let accepted = || {
        HttpResponse::Accepted()
            .insert_header(("Retry-After", "30"))
            .finish()
    };
    let work = Work::new(move |_, _| Ok(accepted()));
    let host = Host::new(&database, &work, |it| it).await;
    for replayed in ["false", "true"] {
        let reply = host.send(&call("K")).await;
        assert_eq!(told(&reply), (202, Some(replayed)));
        assert_eq!(reply.retry_after.as_deref(), Some("30"));
    }
    assert_eq!(work.runs(), 1);
}

async fn what_is_stored_can_be_said(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::new(|run, _| {
        Ok(match run {
            1 => HttpResponse::NotFound().finish(),
            _ => HttpResponse::ServiceUnavailable().body("for good"),
        })
    });
    let host = Host::new(&database, &work, |it| {
        it.stores(|answer| match answer.status().as_u16() {
            404 => false,
            503 => true,
            _ => is_final(answer),
        })
    })
    .await;
    assert_eq!(told(&host.send(&call("K")).await), (404, Some("false")));
    for replayed in ["false", "true"] {
        let reply = host.send(&call("K")).await;
        assert_eq!(
            (told(&reply), &*reply.body),
            ((503, Some(replayed)), "for good")
        );
    }
}

async fn who_comes_too_early_is_told_about_when_to_come_again(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::behind_a_gate();
    // Its leases last an hour.
    let host = Host::new(&database, &work, |it| it).await;
    let first = host.sending(&call("K"));
    work.has_run(1).await;
    let asked = async || {
        let reply = host.send(&call("K")).await;
        assert_eq!(refused(&reply), processing());
        let seconds: u64 = reply.retry_after.expect("a time").parse().expect("seconds");
        seconds
    };
    assert!((1..=10).contains(&asked().await));
    let began = Timestamp::now().before(Duration::from_secs(100));
    set(&database, &format!("created_at = '{began}'"));
    assert!((100..=130).contains(&asked().await));
    let ends = Timestamp::now().after(Duration::from_secs(20));
    set(&database, &format!("lease_expires_at = '{ends}'"));
    assert!(
        (1..=20).contains(&asked().await),
        "not later than it could be taken over"
    );
    work.open();
    assert_eq!(told(&first.await.unwrap()), (201, Some("false")));
}

#[derive(serde::Deserialize)]
#[allow(dead_code)] // Only its form counts.
struct Amount {
    amount: u32,
}

async fn upload(mut parts: Multipart) -> Result<HttpResponse, Error> {
    while let Some(part) = parts.next().await {
        let mut part = part?;
        while let Some(piece) = part.next().await {
            piece?;
        }
    }
    Ok(created())
}

fn created() -> HttpResponse {
    HttpResponse::Created().finish()
}

/// Extractors of all kinds, with error handlers of actix and of one's own.
async fn extracting(database: &Database) -> Host {
    let host = Host::new(database, &Work::counting(), |it| it).await;
    let around = Idempotency::new(host.store.clone())
        .refuses(|answer| answer.headers().contains_key("X-Not-Read"));
    let server = HttpServer::new(move || {
        let json = || web::post().to(|_: web::Json<Amount>| async { created() });
        let config = web::JsonConfig::default;
        let with = |path: &str, config| {
            web::resource(path.to_owned())
                .app_data(config)
                .route(json())
        };
        App::new()
            .route("/json", json())
            .route(
                "/form",
                web::post().to(|_: web::Form<Amount>| async { created() }),
            )
            .route(
                "/query",
                web::post().to(|_: web::Query<Amount>| async { created() }),
            )
            .route(
                "/path/{amount}",
                web::post().to(|_: web::Path<u32>| async { created() }),
            )
            .route("/multipart", web::post().to(upload))
            .service(with(
                "/wrapping",
                config().error_handler(|error, _| ErrorBadRequest(error)),
            ))
            .service(with(
                "/answering",
                config().error_handler(|error, _| {
                    let answer = HttpResponse::UnprocessableEntity().body("no");
                    InternalError::from_response(error, answer).into()
                }),
            ))
            .service(with(
                "/marking",
                config().error_handler(|error, _| unread(ErrorBadRequest(error.to_string()))),
            ))
            .service(with(
                "/saying",
                config().error_handler(|_, _| {
                    let answer = HttpResponse::BadRequest()
                        .insert_header(("X-Not-Read", "1"))
                        .finish();
                    InternalError::from_response("of my own", answer).into()
                }),
            ))
            .wrap(around.clone())
    });
    let server = server
        .workers(1)
        .disable_signals()
        .bind("127.0.0.1:0")
        .unwrap();
    let url = format!("http://{}", server.addrs()[0]);
    Host::run(host.store.clone(), url, server.run())
}

async fn what_an_extractor_cannot_read_leaves_the_key_to_what_was_meant(engine: Engine) {
    let database = Database::new(engine);
    let host = extracting(&database).await;
    let json = "application/json";
    let form = "application/x-www-form-urlencoded";
    let multipart = "multipart/form-data; boundary=B";
    let whole = "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--B--\r\n";
    let (cut, good) = ("{\"amount\":", "{\"amount\":1}");
    let cases: [(&str, [&str; 2], [&str; 2]); 9] = [
        (json, ["/json", "/json"], [cut, good]),
        (form, ["/form", "/form"], ["amount=x", "amount=1"]),
        (json, ["/query?amount=x", "/query?amount=1"], ["{}", "{}"]),
        (json, ["/path/x", "/path/1"], ["{}", "{}"]),
        (
            multipart,
            ["/multipart", "/multipart"],
            ["--B\r\nbroken", whole],
        ),
        (json, ["/wrapping", "/wrapping"], [cut, good]),
        (json, ["/answering", "/answering"], [cut, good]),
        (json, ["/marking", "/marking"], [cut, good]),
        (json, ["/saying", "/saying"], [cut, good]),
    ];
    let mut seen = HashMap::new();
    for (place, (content_type, paths, bodies)) in cases.into_iter().enumerate() {
        let call = |which: usize| Call {
            path: paths[which].to_owned(),
            body: bodies[which].as_bytes().to_vec(),
            ..call(&format!("K{place}")).instead("Content-Type", content_type)
        };
        let broken = host.send(&call(0)).await;
        assert!(
            (400..500).contains(&broken.status),
            "{} {broken:?}",
            paths[0]
        );
        assert_eq!(broken.replayed.as_deref(), Some("false"));
        seen.insert(paths[0], broken.status);
        for replayed in ["false", "true"] {
            assert_eq!(
                told(&host.send(&call(1)).await),
                (201, Some(replayed)),
                "{}",
                paths[1]
            );
        }
    }
    assert_eq!((seen["/answering"], seen["/marking"]), (422, 400));
}

async fn a_stream_that_does_not_end_frees_its_key(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::new(|run, _| {
        let first = stream::once(async { Ok::<_, Infallible>(Bytes::from_static(b"data: 1\n\n")) });
        Ok(match run {
            1 => HttpResponse::Ok().streaming(first.chain(stream::pending())),
            _ => HttpResponse::Ok().streaming(first),
        })
    });
    let patience = Duration::from_millis(300);
    let host = Host::new(&database, &work, |it| it.answer_timeout(patience)).await;
    let reply = host.send(&call("K")).await;
    assert_eq!(refused(&reply), problem(500, "INTERNAL"));
    let why = column(&database, "error_message").remove(0).unwrap();
    assert!(why.contains("300ms"), "{why}");
    for replayed in ["false", "true"] {
        assert_eq!(told(&host.send(&call("K")).await), (200, Some(replayed)));
    }
    assert_eq!(work.runs(), 2);
}
