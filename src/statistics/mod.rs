//! What an operator looks at: what was received and with which results, how much there is, what is the matter. Counts in memory and
//! reads from the database; knows neither HTTP nor SQL.

mod alerts;
mod hours;
mod latency;
mod report;
mod traffic;
mod window;

pub use alerts::{Alert, AlertName, Limits, Observed, firing, writes_failing};
pub use hours::{LatencyReport, SeriesReport};
pub use latency::{Latencies, Percentiles};
pub use report::{
    AlertReport, CleanupReport, Groups, KeysReport, Report, RetailerReport, StoreReport,
    TrafficReport, TypeReport, report,
};
pub use traffic::{Recent, RequestSample, Traffic, TrafficClass};
pub use window::Window;
