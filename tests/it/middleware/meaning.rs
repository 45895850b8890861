//! Which requests are the same: by what they mean, for as long as their key lives.

use flate2::{
    Compression,
    read::{GzEncoder, ZlibEncoder},
};
use std::io::Read;

use crate::support::{
    app::App,
    database::{Database, Engine, on_both},
    handlers::{Host, Work, call},
    records::{FUTURE, PAST, UNANSWERED, set, statuses},
    requests::{Call, mismatch, new_sid, refused, told},
    shop::{Service, items},
};
use actix_web::{HttpResponse, error::ErrorInternalServerError};

on_both! {
    a_key_that_failed_or_was_abandoned_stands_for_its_request_until_it_expires
    a_key_whose_request_was_refused_unread_is_free_for_any
    a_failed_key_of_the_api_stands_for_its_request_too
    a_failed_delivery_never_blocks_another_under_its_derived_key
    the_boundary_of_a_multipart_body_does_not_count
    a_body_that_is_compressed_anew_is_the_same
    a_coding_that_cannot_be_undone_counts
}

fn other(key: &str) -> Call {
    Call {
        body: b"{\"a\":2}".to_vec(),
        ..call(key)
    }
}

async fn a_key_that_failed_or_was_abandoned_stands_for_its_request_until_it_expires(
    engine: Engine,
) {
    let database = Database::new(engine);
    let work = Work::new(|run, _| match run {
        1 => Err(ErrorInternalServerError("the first run breaks")),
        run => Ok(HttpResponse::Created().json(run)),
    });
    let host = Host::new(&database, &work, |it| it).await;
    assert_eq!(told(&host.send(&call("K")).await), (500, Some("false")));
    assert_eq!(refused(&host.send(&other("K")).await), mismatch());
    assert_eq!(
        (work.runs(), statuses(&database)),
        (1, vec!["failed".to_owned()])
    );
    assert_eq!(told(&host.send(&call("K")).await), (201, Some("false")));

    for ends in [FUTURE, PAST] {
        set(
            &database,
            &format!("{UNANSWERED}, lease_expires_at = {ends}"),
        );
        assert_eq!(refused(&host.send(&other("K")).await), mismatch(), "{ends}");
    }
    assert_eq!(told(&host.send(&call("K")).await), (201, Some("false")));

    set(
        &database,
        &format!("{UNANSWERED}, lease_expires_at = {PAST}, expires_at = {PAST}"),
    );
    assert_eq!(told(&host.send(&other("K")).await), (201, Some("false")));
    assert_eq!(refused(&host.send(&call("K")).await), mismatch());
    assert_eq!(work.runs(), 4);
}

async fn a_key_whose_request_was_refused_unread_is_free_for_any(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::new(|run, _| {
        Ok(match run {
            1 => HttpResponse::UnsupportedMediaType().finish(),
            2 => HttpResponse::Unauthorized().finish(),
            run => HttpResponse::Created().json(run),
        })
    });
    let host = Host::new(&database, &work, |it| it).await;
    assert_eq!(told(&host.send(&call("K")).await), (415, Some("false")));
    assert_eq!(told(&host.send(&other("K")).await), (401, Some("false")));
    assert_eq!(statuses(&database), ["failed"], "for the operator");
    assert_eq!(told(&host.send(&call("K")).await), (201, Some("false")));
    assert_eq!(refused(&host.send(&other("K")).await), mismatch());
}

async fn a_failed_key_of_the_api_stands_for_its_request_too(engine: Engine) {
    let service = Service::new(engine).await;
    let pos = service.pos().await;
    let (meant, another) = (items(&[("COLA", 1)]), items(&[("COLA", 2)]));
    service
        .database()
        .break_writes("INSERT ON orders", "broken");
    pos.post_keyed("/api/v1/orders", "K", &meant)
        .await
        .must(500);
    service.database().mend("orders");
    let failed = "webhook_idempotency WHERE status = 'failed'";
    crate::support::wait::until("the failure is noted", async || service.count(failed) == 1).await;
    let refused = pos
        .post_keyed("/api/v1/orders", "K", &another)
        .await
        .must(409);
    assert_eq!(refused.error_code(), "IDEMPOTENCY_KEY_MISMATCH");
    pos.post_keyed("/api/v1/orders", "K", &meant)
        .await
        .must(201);
    assert_eq!(service.count("orders"), 1);
}

async fn a_failed_delivery_never_blocks_another_under_its_derived_key(engine: Engine) {
    let app = App::new(engine).await;
    let sid = new_sid();
    app.database.break_writes("INSERT ON orders", "broken");
    assert_eq!(
        app.send(&Call::twilio_text(&sid, "2 cola")).await.status,
        500
    );
    app.database.mend("orders");
    crate::support::wait::until("the failure is noted", async || app.records() == 1).await;
    let other = app.send(&Call::twilio_text(&sid, "3 cola")).await;
    assert_eq!(told(&other), (200, Some("false")));
    assert_eq!(app.orders(), 1);
}

fn form(boundary: &str, text: &str) -> Call {
    let body = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n{text}\r\n--{boundary}--\r\n"
    );
    Call {
        body: body.into_bytes(),
        ..call("K")
    }
    .instead(
        "Content-Type",
        &format!("multipart/form-data; boundary={boundary}"),
    )
}

async fn the_boundary_of_a_multipart_body_does_not_count(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::counting();
    let host = Host::new(&database, &work, |it| it).await;
    let first = host.send(&form("----one", "1")).await;
    assert_eq!(told(&first), (201, Some("false")));
    assert_eq!(
        told(&host.send(&form("two", "1")).await),
        (201, Some("true"))
    );
    assert_eq!(refused(&host.send(&form("two", "2")).await), mismatch());
    assert_eq!(work.runs(), 1);
}

fn all(mut encoder: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    encoder.read_to_end(&mut bytes).expect("compressed");
    bytes
}

async fn a_body_that_is_compressed_anew_is_the_same(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::counting();
    let host = Host::new(&database, &work, |it| it).await;
    let text = br#"{"a":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}"#;
    let coded = |coding: &str, body: Vec<u8>| Call {
        body,
        ..call("K").header("Content-Encoding", coding)
    };
    let gzip =
        |text: &[u8], level| coded("gzip", all(GzEncoder::new(text, Compression::new(level))));
    let first = gzip(text, 0);
    assert_eq!(told(&host.send(&first).await), (201, Some("false")));
    let plain = Call {
        body: text.to_vec(),
        ..call("K")
    };
    let deflated = all(ZlibEncoder::new(&text[..], Compression::best()));
    for same in [
        gzip(text, 9),
        plain,
        coded("deflate", deflated),
        first.clone(),
    ] {
        assert_eq!(
            told(&host.send(&same).await),
            (201, Some("true")),
            "{same:?}"
        );
    }
    let raw = first.clone().without("Content-Encoding");
    for other in [gzip(b"{\"a\":2}", 9), raw] {
        assert_eq!(refused(&host.send(&other).await), mismatch(), "{other:?}");
    }
    assert_eq!(work.runs(), 1);
}

async fn a_coding_that_cannot_be_undone_counts(engine: Engine) {
    let database = Database::new(engine);
    let work = Work::counting();
    let host = Host::new(&database, &work, |it| it.max_body_bytes(1_000)).await;
    let brotli = call("K").header("Content-Encoding", "br");
    assert_eq!(told(&host.send(&brotli).await), (201, Some("false")));
    assert_eq!(told(&host.send(&brotli).await), (201, Some("true")));
    assert_eq!(refused(&host.send(&call("K")).await), mismatch());
    // What would not be read if it were not compressed is not undone either.
    let bomb = |level| Call {
        body: all(GzEncoder::new(&[b' '; 10_000][..], Compression::new(level))),
        ..call("bomb").header("Content-Encoding", "gzip")
    };
    assert_eq!(told(&host.send(&bomb(9)).await), (201, Some("false")));
    assert_eq!(told(&host.send(&bomb(9)).await), (201, Some("true")));
    assert_eq!(refused(&host.send(&bomb(1)).await), mismatch());
}
