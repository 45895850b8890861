//! The records of requests, looked through by an operator: the newest first, and never so many that others would wait.

mod search;

use diesel::prelude::*;
use std::cmp::Reverse;

use self::search::{Search, SearchResult, scans};

use super::{
    Conn, StoreError,
    events::Outcome,
    idempotency::{Record, RecordStatus},
    on_each,
    schema::webhook_idempotency as table,
    types::{Json, Timestamp, Uuid},
};

/// How many records are looked at for one page.
const WINDOW: usize = 10_000;

/// Who sends requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliverySource {
    /// A provider.
    Provider {
        /// What its keys belong to.
        scope: &'static str,
        /// The kinds of its requests.
        kinds: &'static [&'static str],
    },
    /// The clients of the API, and of handlers behind the middleware.
    Clients,
}

impl DeliverySource {
    /// Whether they sent what is kept under a key of this scope.
    fn has_scope(&self, scope: &str) -> bool {
        match self {
            Self::Provider { scope: theirs, .. } => scope == *theirs,
            Self::Clients => !scope.starts_with(WEBHOOKS),
        }
    }

    /// Whether they may send requests of this kind; `webhooks` are those of all providers.
    fn has_kind(&self, kind: &str, webhooks: &[&str]) -> bool {
        match self {
            Self::Provider { kinds, .. } => kinds.contains(&kind),
            Self::Clients => !webhooks.contains(&kind),
        }
    }
}

/// How the scopes of providers begin, and nobody else's do.
const WEBHOOKS: &str = "webhook:";

/// Which records to look for; none of these: all.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// Who sent them.
    pub sender: Option<DeliverySource>,
    /// How far they have come.
    pub status: Option<RecordStatus>,
    /// Whose they are.
    pub retailer_id: Option<Uuid>,
    /// Their key, in whatever scope.
    pub key: Option<String>,
    /// With an event of which this became.
    pub outcome: Option<Outcome>,
    /// Created then or later.
    pub created_from: Option<Timestamp>,
    /// Created before then.
    pub created_before: Option<Timestamp>,
    /// The kinds of requests of all providers: decides where is looked, and nothing else.
    pub webhook_types: Vec<&'static str>,
}

/// A record's place among all, by the time when it was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// When it was created.
    pub created_at: Timestamp,
    /// Its id, for those that were created at once.
    pub id: Uuid,
}

/// A record without its request and its reply.
#[derive(Clone, Debug, PartialEq, Queryable, Selectable)]
#[diesel(table_name = table, check_for_backend(crate::store::Checked))]
pub struct Delivery {
    /// Its id.
    pub id: Uuid,
    /// Who the key belongs to.
    pub scope: String,
    /// The key.
    pub idempotency_key: String,
    /// What kind of request.
    pub webhook_type: String,
    /// Its HTTP method.
    pub method: String,
    /// Its path.
    pub path: String,
    /// How far it has come.
    pub status: RecordStatus,
    /// The answer's status.
    pub response_status: Option<i16>,
    /// What went wrong.
    pub error_message: Option<String>,
    /// Where it came from.
    pub source_ip: Option<String>,
    /// Whose it turned out to be.
    pub retailer_id: Option<Uuid>,
    /// The order that it is about.
    pub order_id: Option<Uuid>,
    /// How often its answer was replayed.
    pub replay_count: i64,
    /// When it was claimed.
    pub created_at: Timestamp,
    /// When it was last asked for.
    pub last_accessed_at: Timestamp,
    /// Until when its answer is replayed.
    pub expires_at: Timestamp,
    /// The outcomes of its events: a JSON array. `None` where it is no delivery of a provider, or has not come so far.
    pub events: Option<Json>,
}

/// A record with its request and its reply.
#[derive(Clone, Debug, PartialEq, Queryable, Selectable)]
#[diesel(table_name = table, check_for_backend(crate::store::Checked))]
pub struct DeliveryInFull {
    /// All but these.
    #[diesel(embed)]
    pub delivery: Delivery,
    /// The reply.
    #[diesel(embed)]
    pub record: Record,
    /// The request's body, as JSON, without what its events have of it.
    pub request_body: Option<Json>,
    /// Where those parts belong: a JSON array. `None`: the body is whole.
    pub body_places: Option<Json>,
}

/// The result of looking for records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeliveryPage {
    /// Those that were found, the newest first.
    pub deliveries: Vec<Delivery>,
    /// How far was looked; none: to the end.
    pub looked_to: Option<Position>,
}

/// Looks for the records of a filter, the newest first, that come after a position; at most `limit`. Fewer may be found
/// though there are more: look on from where it stopped.
pub fn list(
    conn: &mut Conn<'_>,
    filter: &DeliveryFilter,
    after: Option<Position>,
    limit: usize,
) -> Result<DeliveryPage, StoreError> {
    let scans = scans(conn, filter)?;
    let window = WINDOW.div_ceil(scans.len().max(1));
    let mut looked = SearchResult::default();
    for scan in scans {
        looked.add(Search::new(scan, filter, after).look(conn, limit, window)?);
    }
    looked.cut(limit);
    Ok(DeliveryPage {
        deliveries: load(conn, &looked.found)?,
        looked_to: looked.to,
    })
}

/// The records at these positions, the newest first.
fn load(conn: &mut Conn<'_>, found: &[Position]) -> Result<Vec<Delivery>, StoreError> {
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<_> = found.iter().map(|found| found.id).collect();
    let mut deliveries: Vec<Delivery> = on_each!(conn, |c| table::table
        .filter(table::id.eq_any(ids))
        .select(Delivery::as_select())
        .load(c))?;
    deliveries.sort_unstable_by_key(|found| Reverse((found.created_at, found.id)));
    Ok(deliveries)
}

/// The record with this id.
pub fn find(conn: &mut Conn<'_>, id: Uuid) -> Result<Option<DeliveryInFull>, StoreError> {
    Ok(on_each!(conn, |c| table::table
        .find(id)
        .select(DeliveryInFull::as_select())
        .get_result(c)
        .optional())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_provider_sends_is_of_clients() {
        let provider = DeliverySource::Provider {
            scope: "webhook:a",
            kinds: &["a.message", "a.status"],
        };
        let webhooks = ["a.message", "a.status", "b.event"];
        let senders =
            |kind| [&provider, &DeliverySource::Clients].map(|it| it.has_kind(kind, &webhooks));
        assert_eq!(senders("a.status"), [true, false]);
        assert_eq!(senders("b.event"), [false, false]);
        assert_eq!(senders("order"), [false, true]);
        let scopes = |scope| [&provider, &DeliverySource::Clients].map(|it| it.has_scope(scope));
        assert_eq!(scopes("webhook:a"), [true, false]);
        assert_eq!(scopes("webhook:b"), [false, false]);
        assert_eq!(scopes("client:a"), [false, true]);
    }
}
