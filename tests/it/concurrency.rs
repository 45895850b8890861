//! Copies that come at once, instances that share a database, writes that share a transaction.

use diesel::result::Error as QueryError;
use futures_util::future::join_all;
use hookonce::store::{
    Store, StoreError, StoreOptions,
    retailers::{self, Retailer},
    types::{Timestamp, Uuid},
};
use serde_json::json;
use std::{collections::BTreeSet, time::Duration};

use crate::support::{
    app::App,
    database::{Database, Engine, on_both},
    process::{self, Program},
    requests::{Call, Reply, SHOP_PHONE_NUMBER_ID, new_sid, whatsapp_text},
};

const COPIES: usize = 200;

on_both! {
    a_text_through_twilio_sent_400_times_at_once_makes_one_order
    a_whatsapp_message_sent_400_times_at_once_makes_one_order
    copies_that_start_under_as_many_keys_make_one_order
    batches_that_overlap_in_opposite_orders_do_not_lock_each_other_out
    a_write_that_panics_or_fails_harms_no_other
    a_write_that_hides_a_failed_statement_is_not_called_done_unless_it_is
}

async fn a_text_through_twilio_sent_400_times_at_once_makes_one_order(engine: Engine) {
    let call = Call::twilio_text(&new_sid(), "2 pizza and 1 cola");
    copies_make_one_order(engine, call).await;
}

async fn a_whatsapp_message_sent_400_times_at_once_makes_one_order(engine: Engine) {
    let message = whatsapp_text("wamid.copied", "2 pizza and 1 cola");
    copies_make_one_order(engine, Call::whatsapp_messages(json!([message]))).await;
}

/// Copies under the delivery's own key, then under keys that nobody has signed.
async fn copies_make_one_order(engine: Engine, call: Call) {
    let app = App::new(engine).await;
    let mut replies = send_at_once(&app, vec![call.clone(); COPIES]).await;
    replies.extend(send_at_once(&app, under_different_keys(&call)).await);
    assert_one_order(&app, &replies, 2 * COPIES);
}

async fn copies_that_start_under_as_many_keys_make_one_order(engine: Engine) {
    let app = App::new(engine).await;
    let message = whatsapp_text("wamid.copied", "2 pizza and 1 cola");
    let call = Call::whatsapp_messages(json!([message]));
    let replies = send_at_once(&app, under_different_keys(&call)).await;
    assert_one_order(&app, &replies, COPIES);
}

fn under_different_keys(call: &Call) -> Vec<Call> {
    (0..COPIES)
        .map(|copy| call.clone().key(&format!("copy-{copy}")))
        .collect()
}

async fn send_at_once(app: &App, calls: Vec<Call>) -> Vec<Reply> {
    join_all(calls.iter().map(|call| app.send(call))).await
}

fn assert_one_order(app: &App, replies: &[Reply], sent: usize) {
    assert_eq!(replies.len(), sent);
    assert_eq!(replies[0].status, 200, "{:?}", replies[0]);
    for reply in replies {
        assert_eq!(reply.essence(), replies[0].essence());
    }
    let is_new = |reply: &&Reply| reply.replayed.as_deref() == Some("false");
    assert_eq!(replies.iter().filter(is_new).count(), 1, "new answers");
    assert_eq!((app.orders(), app.ledger_entries()), (1, 1));
}

async fn batches_that_overlap_in_opposite_orders_do_not_lock_each_other_out(engine: Engine) {
    const ORDERS: [[usize; 3]; 6] = [
        [0, 1, 2],
        [2, 1, 0],
        [1, 2, 0],
        [0, 2, 1],
        [2, 0, 1],
        [1, 0, 2],
    ];
    const ROUNDS: usize = 15;
    let app = App::new(engine).await;
    for round in 0..ROUNDS {
        let batches = ORDERS.map(|order| overlapping_batch(round, order));
        for reply in send_at_once(&app, batches.to_vec()).await {
            assert_eq!(reply.status, 200, "{reply:?}");
            assert!(!reply.body.contains("conflict"), "{reply:?}");
        }
    }
    assert_eq!(app.orders(), 3 * ROUNDS as i64);
    assert_eq!(app.ledger_entries(), 3 * ROUNDS as i64);
}

/// A batch of three orders and of the progress of three messages, in one of the orders they can come in.
fn overlapping_batch(round: usize, order: [usize; 3]) -> Call {
    let order_of = |n| whatsapp_text(&format!("wamid.{round}.{n}"), "1 cola");
    let status_of = |n| {
        json!({
            "id": format!("wamid.sent.{round}.{n}"), "recipient_id": "14155550100",
            "status": "read", "timestamp": "1763700000",
        })
    };
    let envelope = json!({
        "object": "whatsapp_business_account",
        "entry": [{"id": "1", "changes": [{"field": "messages", "value": {
            "messaging_product": "whatsapp",
            "metadata": {"display_phone_number": "14155238886", "phone_number_id": SHOP_PHONE_NUMBER_ID},
            "messages": order.map(order_of),
            "statuses": order.map(status_of),
        }}]}],
    });
    Call::whatsapp(envelope.to_string())
}

#[actix_web::test]
async fn two_instances_on_one_postgresql_share_the_work_without_doing_it_twice() {
    let database = Database::new(Engine::Postgres);
    let program = Program::new(&database);
    program.open_shop().await;
    let (one, other) = tokio::join!(program.serve(), program.serve());
    let client = process::client();
    let deliveries = fifty_deliveries();
    let pairs = deliveries.iter().map(async |call| {
        tokio::join!(call.send(&client, &one.url), call.send(&client, &other.url))
    });
    for (left, right) in join_all(pairs).await {
        let (left, right) = (left.expect("an answer"), right.expect("an answer"));
        assert_eq!(left.status, 200, "{left:?}");
        assert_eq!(left.essence(), right.essence());
        let replayed = BTreeSet::from([left.replayed.unwrap(), right.replayed.unwrap()]);
        assert_eq!(replayed, BTreeSet::from(["false".into(), "true".into()]));
    }
    for table in ["orders", "ledger_entries", "webhook_event"] {
        let rows = database.count(&format!("SELECT count(*) AS n FROM {table}"));
        assert_eq!(rows, deliveries.len() as i64, "{table}");
    }
}

fn fifty_deliveries() -> Vec<Call> {
    let twilio = (0..25).map(|_| Call::twilio_text(&new_sid(), "1 tea"));
    let whatsapp = (0..25).map(|n| {
        let message = whatsapp_text(&format!("wamid.shared.{n}"), "1 tea");
        Call::whatsapp_messages(json!([message]))
    });
    twilio.chain(whatsapp).collect()
}

/// What a write of these tests does after it has added its retailer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    Good,
    Fails,
    Panics,
    BreaksAConstraint,
}

async fn a_write_that_panics_or_fails_harms_no_other(engine: Engine) {
    const ENDINGS: [Ending; 5] = [
        Ending::Good,
        Ending::Fails,
        Ending::Panics,
        Ending::Good,
        Ending::BreaksAConstraint,
    ];
    let database = Database::new(engine);
    let store = open(&database).await;
    let writes = (0..100).map(async |n| (n, write(&store, n, ENDINGS[n % 5]).await));
    for (n, outcome) in join_all(writes).await {
        let good = ENDINGS[n % 5] == Ending::Good;
        assert_eq!(outcome.is_ok(), good, "write {n}: {outcome:?}");
    }
    // And the store serves on.
    write(&store, 100, Ending::Good).await.expect("a write");
    store.close().await;
    let good = (0..=100).filter(|n| ENDINGS[n % 5] == Ending::Good);
    assert_eq!(names(&database), good.map(name).collect());
}

async fn a_write_that_hides_a_failed_statement_is_not_called_done_unless_it_is(engine: Engine) {
    let database = Database::new(engine);
    let store = open(&database).await;
    let hiding = store.write(|conn| {
        retailers::insert(conn, &retailer(1))?;
        let _hidden = retailers::insert(conn, &retailer(1));
        Ok::<_, StoreError>(())
    });
    let called_done = hiding.await.is_ok();
    write(&store, 2, Ending::Good).await.expect("a write");
    store.close().await;
    assert_eq!(names(&database).contains(&name(1)), called_done);
    assert!(names(&database).contains(&name(2)));
}

async fn open(database: &Database) -> Store {
    let options = StoreOptions {
        connections: 6,
        write_batch: 256,
        timeout: Duration::from_secs(10),
    };
    let opened = Store::open(&database.parsed(), &options).await;
    opened.expect("the database opens")
}

async fn write(store: &Store, n: usize, ending: Ending) -> Result<(), StoreError> {
    store
        .write(move |conn| {
            retailers::insert(conn, &retailer(n))?;
            match ending {
                Ending::Good => Ok(()),
                Ending::Fails => Err(StoreError::Query(QueryError::NotFound)),
                Ending::Panics => panic!("a write of this test panics, and must"),
                Ending::BreaksAConstraint => retailers::insert(conn, &retailer(n)),
            }
        })
        .await
}

fn retailer(n: usize) -> Retailer {
    let now = Timestamp::now();
    Retailer {
        id: Uuid::in_order(),
        name: name(n),
        phone: format!("+1415555{n:04}"),
        phone_number_id: None,
        currency: "USD".to_owned(),
        catalogue_version: Uuid::random(),
        created_at: now,
        updated_at: now,
    }
}

fn name(n: usize) -> String {
    format!("Retailer {n}")
}

fn names(database: &Database) -> BTreeSet<String> {
    let names = database.texts("SELECT name AS t FROM retailers");
    names.into_iter().flatten().collect()
}
