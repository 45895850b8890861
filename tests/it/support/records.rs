//! The records of the keys, looked at and changed beside the service.

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
