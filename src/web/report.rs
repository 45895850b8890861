//! What an answer reports of each event, as the OpenAPI document shows it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The outcome of each event of a batch.
#[derive(ToSchema)]
#[schema(as = Report)]
#[allow(dead_code)] // Shows what `reply::encode` writes.
pub struct ReportSchema {
    /// Always true; errors have false.
    success: bool,
    /// Of more than a thousand the first.
    events: Vec<EventReportSchema>,
    /// How many more events the delivery has, where not all are reported. Those too were acted on.
    #[schema(nullable = false)]
    events_more: Option<usize>,
}

/// The outcome of an event, as it is answered and kept.
#[derive(Deserialize, Serialize, ToSchema)]
#[schema(as = EventReport)]
pub struct EventReportSchema {
    /// The provider's id.
    id: String,
    /// `order_created`, `duplicate`, `not_an_order`, `unknown_retailer`, `unknown_product`, `status_recorded`,
    /// `edit_noted`, `revoke_noted`, `ignored` or `conflict`.
    pub outcome: String,
    #[schema(required)]
    pub order_id: Option<uuid::Uuid>,
    #[schema(required)]
    pub order_number: Option<String>,
}
