//! The records of the keys, looked at and changed beside the service.

use hookonce::json;
use serde_json::Value;

use super::database::Database;

pub const PAST: &str = "'2020-01-01T00:00:00.000000Z'";
pub const FUTURE: &str = "'2999-01-01T00:00:00.000000Z'";
/// As a process leaves a record that dies before it has answered.
pub const UNANSWERED: &str = "status = 'in_progress', response_status = NULL, response_content_type = NULL, \
     response_headers = NULL, response_body = NULL, response_encoding = NULL";

pub fn records(database: &Database) -> i64 {
    database.count("SELECT count(*) AS n FROM webhook_idempotency")
}

pub fn column(database: &Database, column: &str) -> Vec<Option<String>> {
    database.texts(&format!(
        "SELECT CAST({column} AS TEXT) AS t FROM v_deliveries ORDER BY created_at"
    ))
}

/// The bodies of all requests, whole: what the records have, with what their events have of it.
pub fn bodies(database: &Database) -> Vec<Value> {
    let ids = column(database, "id").into_iter().flatten();
    let rests = column(database, "request_body").into_iter().flatten();
    let places = column(database, "body_places").into_iter();
    let events = column(database, "events").into_iter();
    let all = ids.zip(rests).zip(places.zip(events));
    all.map(|((id, rest), (places, events))| {
        let mut body: json::Value = rest.parse().expect("JSON");
        let places: Vec<Option<json::Place>> =
            places.map_or(Vec::new(), |text| serde_json::from_str(&text).expect("places"));
        let events: Value = events.map_or(Value::Null, |text| text.parse().expect("JSON"));
        for (at, place) in places.iter().enumerate() {
            let Some(place) = place else { continue };
            let payload = format!(
                "SELECT CAST(payload AS TEXT) AS t FROM webhook_event WHERE delivery_id = '{id}' AND event_id = '{}'",
                events[at]["id"].as_str().expect("an id")
            );
            let payload = database.texts(&payload).remove(0).expect("a payload");
            json::put_back(&mut body, place, payload.parse().expect("JSON"));
        }
        body.to_string().parse().expect("JSON")
    })
    .collect()
}

pub fn statuses(database: &Database) -> Vec<String> {
    column(database, "status").into_iter().flatten().collect()
}

/// All that a request which is not the owner's must leave alone.
pub fn snapshot(database: &Database) -> Vec<Vec<Option<String>>> {
    let columns = [
        "id",
        "fingerprint",
        "status",
        "request_body",
        "response_status",
        "response_headers",
        "response_body",
        "error_message",
        "owner_token",
        "created_at",
        "expires_at",
    ];
    columns.map(|name| column(database, name)).into()
}

pub fn set(database: &Database, changes: &str) {
    database.execute(&format!("UPDATE webhook_idempotency SET {changes}"));
}
