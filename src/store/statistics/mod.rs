//! How much there is and what was counted.

mod activity;
mod records;
mod size;
mod snapshots;
mod traffic;

pub use activity::{SilentRetailer, note_activity, silent_retailers};
pub use records::{RecordCounts, Records, fold_counts, records};
pub use size::{Size, size};
pub use snapshots::{Snapshot, forget_snapshots, put_snapshot, snapshots_from};
pub use traffic::{Counts, TrafficHour, counts_before, fold_hours, hours_from, put_hour};

use super::types::Uuid;

/// The retailer of what belongs to none, in columns of a primary key, which cannot be null.
const NOBODY: Uuid = Uuid(uuid::Uuid::nil());
