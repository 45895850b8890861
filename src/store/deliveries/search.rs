//! Looks through records by an index, from the newest, a batch at a time.

use chrono::{DateTime, TimeDelta, Utc};
use diesel::{
    dsl::sql,
    expression::SqlLiteral,
    prelude::*,
    sql_query,
    sql_types::{Bool, Text},
};
use std::cmp::Reverse;

use super::{
    super::{
        Conn, StoreError,
        claims::has_key_anywhere,
        idempotency::RecordStatus,
        on_each,
        schema::webhook_idempotency as table,
        types::{Id, Moment, Timestamp, Uuid},
    },
    DeliveryFilter, Position,
};

/// The result of looking through scans.
#[derive(Default)]
pub(super) struct SearchResult {
    pub found: Vec<Position>,
    /// How far; none: to the end.
    pub to: Option<Position>,
}

impl SearchResult {
    /// Adds what was found in another scan.
    pub fn add(&mut self, other: Self) {
        self.found.extend(other.found);
        self.to = self.to.max(other.to);
    }

    /// Leaves what is certain to be the newest of all scans.
    pub fn cut(&mut self, limit: usize) {
        self.found.retain(|found| Some(*found) >= self.to);
        self.found.sort_unstable_by_key(|found| Reverse(*found));
        // Not further than to the last that is told, which may be told to whoever may see that one alone.
        if self.found.len() > limit || self.found.len() == limit && self.to.is_some() {
            self.found.truncate(limit);
            self.to = self.found.last().copied();
        }
    }
}

/// Records that an index finds, and sorts if they may be many.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum IndexScan {
    /// Under a key: one of each provider and of each client at most.
    Key(String),
    /// What is being done: about as many as there are workers.
    InProgress,
    /// A retailer's.
    Retailer(Uuid),
    /// What failed.
    Failed,
    /// Of one kind.
    Kind(String),
    /// All.
    All,
}

/// The scans that hold all records of a filter. A retailer's own come before others that would do: how far was looked
/// may then be told to whoever may see nothing else.
pub(super) fn scans(
    conn: &mut Conn<'_>,
    filter: &DeliveryFilter,
) -> Result<Vec<IndexScan>, StoreError> {
    if let Some(key) = &filter.key {
        return Ok(vec![IndexScan::Key(key.clone())]);
    }
    Ok(match (filter.status, filter.retailer_id, &filter.sender) {
        (Some(RecordStatus::InProgress), ..) => vec![IndexScan::InProgress],
        (_, Some(retailer), _) => vec![IndexScan::Retailer(retailer)],
        (Some(RecordStatus::Failed), ..) => vec![IndexScan::Failed],
        (.., Some(sender)) => {
            let kinds = kinds(conn)?.into_iter();
            let theirs = kinds.filter(|kind| sender.has_kind(kind, &filter.webhook_types));
            theirs.map(IndexScan::Kind).collect()
        }
        _ => vec![IndexScan::All],
    })
}

/// The kinds of requests that there are, one step through the index for each.
pub(super) fn kinds(conn: &mut Conn<'_>) -> Result<Vec<String>, StoreError> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        kind: String,
    }
    let next = sql_query(
        "WITH RECURSIVE kinds (kind) AS (
             SELECT min(webhook_type) FROM webhook_idempotency
             UNION ALL
             SELECT (SELECT min(webhook_type) FROM webhook_idempotency WHERE webhook_type > kind)
             FROM kinds WHERE kind IS NOT NULL
         ) SELECT kind FROM kinds WHERE kind IS NOT NULL",
    );
    let rows: Vec<Row> = on_each!(conn, |c| next.load(c))?;
    Ok(rows.into_iter().map(|row| row.kind).collect())
}

/// A look through one scan, from the newest to the oldest of its times.
pub(super) struct Search<'a> {
    scan: IndexScan,
    filter: &'a DeliveryFilter,
    after: Option<Position>,
    /// The first and the last time that are asked for.
    times: (Timestamp, Timestamp),
}

/// What is looked at of a record.
#[derive(Queryable)]
pub(super) struct RowSummary {
    id: Uuid,
    created_at: Timestamp,
    scope: String,
    status: RecordStatus,
    retailer_id: Option<Uuid>,
    /// Whether one of its events has the outcome that is looked for.
    has_outcome: bool,
}

/// A column and the time of creation, between a value with the oldest time and the same value with the newest. Compared as
/// pairs: then no other index will do, which might find millions that were created in those times.
macro_rules! between {
    ($column:literal, $kind:ty, $value:expr, $oldest:expr, $newest:expr) => {
        sql::<Bool>(concat!("(", $column, ", created_at) BETWEEN ("))
            .bind::<$kind, _>($value)
            .sql(", ")
            .bind::<Moment, _>($oldest)
            .sql(") AND (")
            .bind::<$kind, _>($value)
            .sql(", ")
            .bind::<Moment, _>($newest)
            .sql(")")
    };
}

/// The records of a search's scan that come after its position. A macro, for Diesel lets no code be generic over the
/// database. No filter is in it that the scan's index does not fit: with more of them a database may think that it is
/// quicker to read the whole table.
macro_rules! in_scan {
    ($search:expr) => {{
        let (oldest, newest) = $search.times();
        let mut query = table::table.into_boxed();
        if let Some(condition) = $search.scan.condition() {
            query = query.filter(sql::<Bool>(condition));
        }
        query = match &$search.scan {
            IndexScan::Key(key) => query
                .filter(has_key_anywhere(key))
                .filter(sql::<Moment>(UNSORTED).between(oldest, newest)),
            IndexScan::InProgress => query.filter(sql::<Moment>(UNSORTED).between(oldest, newest)),
            IndexScan::Retailer(id) => {
                query.filter(between!("retailer_id", Id, id, oldest, newest))
            }
            IndexScan::Kind(kind) => {
                query.filter(between!("webhook_type", Text, kind, oldest, newest))
            }
            IndexScan::Failed | IndexScan::All => {
                query.filter(table::created_at.between(oldest, newest))
            }
        };
        match $search.after {
            Some(Position { created_at, id }) => {
                query.filter(table::created_at.ne(created_at).or(table::id.lt(id)))
            }
            None => query,
        }
    }};
}

impl<'a> Search<'a> {
    pub fn new(scan: IndexScan, filter: &'a DeliveryFilter, after: Option<Position>) -> Self {
        // The finest that times are kept.
        let tick = TimeDelta::microseconds(1);
        let (begin, end) = (DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC);
        let before = filter.created_before.map(DateTime::<Utc>::from);
        let times = (
            filter.created_from.unwrap_or(begin.into()),
            before.map_or(end, |before| before - tick).into(),
        );
        Self {
            scan,
            filter,
            after,
            times,
        }
    }

    /// The first and the last time in which something may be found yet.
    fn times(&self) -> (Timestamp, Timestamp) {
        let (oldest, newest) = self.times;
        let after = self.after.map(|position| position.created_at);
        (oldest, after.map_or(newest, |after| newest.min(after)))
    }

    /// Looks at records, few at first, until enough are found or the window ends. A short scan is looked through as far
    /// as the next one that is asked for: whether there are others in between must not be told.
    pub fn look(
        mut self,
        conn: &mut Conn<'_>,
        limit: usize,
        window: usize,
    ) -> Result<SearchResult, StoreError> {
        let mut looked = SearchResult::default();
        let (enough, mut left) = match self.scan.is_short() {
            true => (limit.saturating_add(1), usize::MAX),
            false => (limit, window),
        };
        // One more tells whether there are more.
        let mut batch = limit.saturating_add(1);
        loop {
            batch = batch.min(left);
            left -= batch;
            let summaries = self.next(conn, batch)?;
            let is_end = summaries.len() < batch;
            let found = summaries.iter().filter(|summary| self.wants(summary));
            looked.found.extend(found.map(RowSummary::position));
            looked.to = summaries
                .last()
                .map(RowSummary::position)
                .filter(|_| !is_end);
            if is_end || left == 0 || looked.found.len() >= enough {
                looked.cut(limit);
                return Ok(looked);
            }
            self.after = looked.to;
            batch = batch.saturating_mul(10);
        }
    }

    fn next(&self, conn: &mut Conn<'_>, most: usize) -> Result<Vec<RowSummary>, StoreError> {
        let summary = (
            table::id,
            table::created_at,
            table::scope,
            table::status,
            table::retailer_id,
            self.has_outcome(),
        );
        Ok(on_each!(conn, |c| in_scan!(self)
            .select(summary)
            .order((sql::<Moment>(self.scan.order()), table::id.desc()))
            .limit(i64::try_from(most).unwrap_or(i64::MAX))
            .load(c))?)
    }

    /// Whether a record of the scan is one that is asked for.
    fn wants(&self, summary: &RowSummary) -> bool {
        let DeliveryFilter {
            sender,
            status,
            retailer_id,
            ..
        } = self.filter;
        sender
            .as_ref()
            .is_none_or(|sender| sender.has_scope(&summary.scope))
            && status.is_none_or(|status| status == summary.status)
            && (retailer_id.is_none() || *retailer_id == summary.retailer_id)
            && summary.has_outcome
    }

    /// Whether the document of a record's events tells of the outcome. Within its texts quotes are escaped, so that no id
    /// can look like it.
    fn has_outcome(&self) -> SqlLiteral<Bool> {
        sql(&match &self.filter.outcome {
            Some(outcome) => {
                // A word: nothing else is let into the statement.
                let is_letter = |char: &char| char.is_ascii_alphanumeric() || *char == '_';
                let outcome: String = outcome.as_str().chars().filter(is_letter).collect();
                format!("coalesce(CAST(events AS TEXT) LIKE '%\"outcome\":\"{outcome}\"%', FALSE)")
            }
            None => "TRUE".to_owned(),
        })
    }
}

impl RowSummary {
    fn position(&self) -> Position {
        Position {
            created_at: self.created_at,
            id: self.id,
        }
    }
}

/// The time of creation for a scan whose index is not sorted by it. No index has it like this: a database without
/// statistics would take the one by that time, and find millions.
pub(super) const UNSORTED: &str = "coalesce(created_at, created_at)";

impl IndexScan {
    /// What is true of all its records, beside the ids and texts by which it is looked up: in the very words of the partial
    /// indexes, or those would not be known to fit.
    fn condition(&self) -> Option<&'static str> {
        match self {
            Self::InProgress => Some("status = 'in_progress'"),
            Self::Failed => Some("status = 'failed'"),
            Self::Retailer(_) => Some("retailer_id IS NOT NULL"),
            Self::Key(_) | Self::Kind(_) | Self::All => None,
        }
    }

    /// Whether it is sorted as a whole, since its index does not.
    fn is_short(&self) -> bool {
        matches!(self, Self::Key(_) | Self::InProgress)
    }

    /// The order of the list, as its index has it.
    fn order(&self) -> &'static str {
        match self {
            Self::Key(_) | Self::InProgress => "coalesce(created_at, created_at) DESC",
            Self::Retailer(_) => "retailer_id DESC, created_at DESC",
            Self::Kind(_) => "webhook_type DESC, created_at DESC",
            Self::Failed | Self::All => "created_at DESC",
        }
    }
}
