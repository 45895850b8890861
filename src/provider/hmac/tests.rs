//! What is taken of a described provider, and what is not.

use std::time::{SystemTime, UNIX_EPOCH};

use super::*;
use crate::provider::request::Headers;

const ROUTE: Route = Route::UNDESCRIBED;

fn verified(
    hmac: &Hmac,
    headers: &[(&'static str, &str)],
    body: &[u8],
    now: u64,
) -> Result<Option<SignedBy>, Refusal> {
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect();
    let at = UNIX_EPOCH + Duration::from_secs(now);
    hmac.verify(
        &Request::new("", &headers as &dyn Headers, body, at),
        &Settings::default(),
    )
}

/// RFC 4231, test case 2.
#[test]
fn the_published_vector_is_verified() {
    let body = b"what do ya want for nothing?";
    let hex = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    let hmac = Hmac::sha256("test", "S").secret("Jefe");
    assert!(verified(&hmac, &[("S", hex)], body, 0).is_ok());
    let long = "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737";
    assert!(
        verified(
            &Hmac::sha512("test", "S").secret("Jefe"),
            &[("S", long)],
            body,
            0
        )
        .is_ok()
    );
    // RFC 2202, test case 2.
    let short = "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79";
    assert!(
        verified(
            &Hmac::sha1("test", "S").secret("Jefe"),
            &[("S", short)],
            body,
            0
        )
        .is_ok()
    );
    let other = hmac.clone().prefix("v1=").base64();
    let signature = other.sign(0, body).unwrap();
    assert!(signature.starts_with("v1="));
    assert!(verified(&other, &[("S", &signature)], body, 0).is_ok());
}

#[test]
fn a_wrong_signature_is_refused_and_a_second_secret_taken() {
    let hmac = Hmac::sha256("test", "S").secret("old").secret("new");
    let by_new = Hmac::sha256("test", "S")
        .secret("new")
        .sign(0, b"x")
        .unwrap();
    let at = verified(&hmac, &[("s", &by_new)], b"x", 0)
        .unwrap()
        .unwrap();
    assert_eq!((at.at, at.count), (1, 2));
    for (signature, body) in [
        ("", &b"x"[..]),
        ("zz", b"x"),
        (&by_new[2..], b"x"),
        (&by_new, b"y"),
    ] {
        let refused = verified(&hmac, &[("S", signature)], body, 0);
        assert_eq!(refused, Err(Refusal::Signature(SignatureError::Invalid)));
    }
    let unsigned = verified(&hmac, &[], b"x", 0);
    assert_eq!(unsigned, Err(Refusal::Signature(SignatureError::Missing)));
    let without = verified(&Hmac::sha256("test", "S"), &[("S", &by_new)], b"x", 0);
    assert_eq!(without, Err(Refusal::NotConfigured("test")));
}

#[test]
fn a_signature_is_taken_near_its_time_alone() {
    let hmac = Hmac::sha256("test", "S")
        .timestamp("T", "v0:{timestamp}:{body}{")
        .secret("s");
    let signature = hmac.sign(1_000, b"{}").unwrap();
    let at = |now| verified(&hmac, &[("S", &signature), ("T", "1000")], b"{}", now);
    for now in [700, 1_000, 1_300] {
        assert!(at(now).is_ok(), "{now}");
    }
    for now in [699, 1_301] {
        assert!(at(now).is_err(), "{now}");
    }
    for time in ["1001", "", "-1", "99999999999999999999", "1e3"] {
        assert!(verified(&hmac, &[("S", &signature), ("T", time)], b"{}", 1_000).is_err());
    }
    assert!(verified(&hmac, &[("S", &signature)], b"{}", 1_000).is_err());
}

#[test]
fn an_event_is_known_by_what_is_said_to_name_it() {
    let read = |hmac: Hmac, body: &str| {
        let hmac: &'static Hmac = Box::leak(Box::new(hmac));
        let headers = vec![
            ("Content-Type", "application/json".to_owned()),
            ("Id", "of the header".to_owned()),
        ];
        let request = Request::new("", &headers, body.as_bytes(), SystemTime::now());
        let delivery = hmac.parse(&request, &ROUTE)?;
        let event = &delivery.events[0];
        Ok::<_, Refusal>((
            event.id.clone(),
            event.kind.clone(),
            delivery.derived_key.clone(),
        ))
    };
    let hmac = || Hmac::sha256("test", "S");
    let by_member = hmac().id_member("/a~1b/1/id").kind_member("/kind");
    let body = r#"{"a/b": [0, {"id": 17}], "kind": "paid"}"#;
    assert_eq!(
        read(by_member.clone(), body),
        Ok(("17".into(), "paid".into(), "17".into()))
    );
    assert!(read(by_member.clone(), "{}").is_err());
    assert!(read(by_member, "no json").is_err());
    let (id, kind, key) = read(hmac().id_header("id"), "{}").unwrap();
    assert_eq!((&*id, &*kind, key.len()), ("of the header", "test", 64));
    let (id, _, key) = read(hmac(), "{}").unwrap();
    assert_eq!((id.len(), id == key), (64, true));
}

#[test]
fn each_source_has_keys_and_a_time_of_its_own() {
    let hmac = Hmac::sha256("points", "S");
    assert_eq!(hmac.scope(), "webhook:points");
    assert_ne!(hmac.scope(), Hmac::sha256("other", "S").scope());
    let day = Duration::from_secs(24 * 60 * 60);
    let hmac = hmac.sends_again_for(day);
    assert_eq!(Provider::sends_again_for(&hmac), day);
}

#[test]
fn what_is_no_json_is_kept_as_its_text() {
    let hmac: &'static Hmac = Box::leak(Box::new(Hmac::sha256("test", "S").secret("s")));
    let headers: Vec<(&'static str, String)> = vec![("Content-Type", "text/plain".to_owned())];
    let request = |body| Request::new("", &headers as &dyn Headers, body, UNIX_EPOCH);
    let delivery = hmac.parse(&request(b"a text\0"), &ROUTE).unwrap();
    let payload = delivery.events[0].payload.to_string();
    assert!(payload.contains("a text"), "{payload}");
    assert!(hmac.parse(&request(b"\xff"), &ROUTE).is_err());
}
