//! What is counted of requests.

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn received(class: TrafficClass) -> RequestSample {
    RequestSample {
        class,
        took: Duration::from_millis(1),
        duplicate_events: 0,
        conflicts: 0,
        orders: 0,
        edits_noted: 0,
        revokes_noted: 0,
        retailers: Vec::new(),
        unknown_retailers: BTreeMap::new(),
    }
}

#[test]
fn numbers_that_no_retailer_has_are_counted_by_message_and_named_for_an_hour() {
    let traffic = Traffic::new(Uuid::random());
    let now = Timestamp::now();
    let to = |number: &str, count| RequestSample {
        unknown_retailers: [(number.to_owned(), count)].into(),
        ..received(TrafficClass::First)
    };
    traffic.count(&to("+1", 3), now);
    traffic.count(&to("+2", 1), now.after(MINUTE));
    traffic.count(&to("+1", 1), now.after(2 * MINUTE));
    let counts = traffic.rows().iter().map(|row| row.counts).sum::<Counts>();
    assert_eq!(counts.unknown_retailers, 5);
    let named = |at| traffic.recent(at).unknown_retailers;
    assert_eq!(named(now.after(3 * MINUTE)), ["+1", "+2"]);
    assert_eq!(named(now.after(61 * MINUTE)), ["+1"]);
    assert_eq!(named(now.after(62 * MINUTE)), [""; 0]);
    for n in 0..1_000 {
        traffic.count(&to(&n.to_string(), 1), now);
    }
    assert_eq!(named(now).len(), UnknownNumbers::KEPT);
}

#[test]
fn each_request_is_received_and_one_thing_more() {
    let traffic = Traffic::new(Uuid::random());
    let now = Timestamp::now();
    let all = [
        TrafficClass::First,
        TrafficClass::Replayed,
        TrafficClass::Mismatched,
        TrafficClass::InProgressRejected,
        TrafficClass::SignatureRejected,
        TrafficClass::Malformed,
        TrafficClass::Failed,
    ];
    for class in all {
        traffic.count(&received(class), now);
    }
    let counts = traffic.rows().iter().map(|row| row.counts).sum::<Counts>();
    assert_eq!(counts.received, 7);
    let each = [
        counts.first,
        counts.replayed,
        counts.mismatched,
        counts.in_progress_rejected,
        counts.signature_rejected,
        counts.malformed,
        counts.failed,
    ];
    assert_eq!(each, [1; 7]);
}

#[test]
fn a_clock_that_is_set_back_counts_in_a_row_of_its_own() {
    let traffic = Traffic::new(Uuid::random());
    let noon = Timestamp::now().hour();
    for at in [noon, noon.after(60 * MINUTE), noon, noon.after(MINUTE)] {
        traffic.count(&received(TrafficClass::First), at);
    }
    let rows = traffic.rows();
    let found: Vec<_> = rows
        .iter()
        .filter(|row| row.counts.received > 0)
        .map(|row| (row.hour, row.counts.received))
        .collect();
    assert_eq!(found, [(noon, 1), (noon.after(60 * MINUTE), 1), (noon, 2)]);
    assert_ne!(rows[0].id, rows[2].id);
}

#[test]
fn what_was_counted_while_it_was_written_is_written_the_next_time() {
    let traffic = Traffic::new(Uuid::random());
    let now = Timestamp::now();
    traffic.count(&received(TrafficClass::First), now);
    let before = traffic.unwritten();
    assert_eq!(before.rows.len(), 1);
    traffic.count(&received(TrafficClass::First), now);
    traffic.counted().forget(&before.versions);
    let after = traffic.unwritten();
    assert_eq!(after.rows[0].counts.first, 2);
    traffic.counted().forget(&after.versions);
    assert!(traffic.unwritten().rows.is_empty());
}

#[test]
fn what_happened_lately_is_forgotten_after_a_while() {
    let traffic = Traffic::new(Uuid::random());
    let then = Timestamp::now().minute();
    for _ in 0..3 {
        traffic.count(&received(TrafficClass::SignatureRejected), then);
    }
    traffic.count(
        &received(TrafficClass::SignatureRejected),
        then.after(MINUTE),
    );
    traffic.looked_up(Duration::from_millis(7), then);
    let recent = traffic.recent(then.after(2 * MINUTE));
    assert_eq!(recent.signatures_rejected, 3);
    assert_eq!(recent.lookups.count(), 1);
    let later = traffic.recent(then.after(5 * MINUTE));
    assert_eq!(later.signatures_rejected, 1);
    assert_eq!(later.lookups.count(), 0);
}
