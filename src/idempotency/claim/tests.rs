//! How long a record keeps others from its key.

use super::*;
use crate::idempotency::fingerprint;

#[test]
fn a_record_stands_up_to_the_moment_of_its_expiry_and_not_at_it() {
    let now = Timestamp::now();
    let (before, after) = (
        now.before(Duration::from_micros(1)),
        now.after(Duration::from_micros(1)),
    );
    let request = |body: &[u8]| {
        let fingerprint = fingerprint("POST", "/", "", "", body);
        KeyedRequest::new("test", "k".parse().unwrap(), "test", fingerprint)
    };
    let (same, other) = (request(b"a"), request(b"b"));
    let record = |status, lease_expires_at, expires_at| Record {
        id: Uuid::random(),
        fingerprint: same.fingerprint.digest(),
        status,
        response_status: Some(200),
        response_content_type: None,
        response_headers: None,
        response_encoding: None,
        response_body: None,
        lease_expires_at,
        created_at: before,
        expires_at,
    };
    let stands = |record: &Record, request| existing_claim(record, request, now).unwrap().is_some();
    use RecordStatus::{Completed, Failed, InProgress};
    // Status, end of the lease, expiry; whether it keeps the same request from the key, and another.
    for (status, lease, expiry, keeps) in [
        (Completed, before, after, [true, true]),
        (Completed, after, now, [false, false]),
        (InProgress, after, after, [true, true]),
        (InProgress, now, after, [false, true]),
        (InProgress, after, now, [true, true]),
        (InProgress, now, now, [false, false]),
        (Failed, after, after, [false, true]),
        (Failed, after, now, [false, false]),
    ] {
        let record = record(status, lease, expiry);
        let found = [stands(&record, &same), stands(&record, &other)];
        assert_eq!(found, keeps, "{status} {lease} {expiry}");
    }
}
