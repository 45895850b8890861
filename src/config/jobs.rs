//! What the service does by itself: clean-ups and alerts.

use std::time::Duration;

use super::{
    Variable,
    values::{parsed, positive, retention, whole},
    variable::set,
};

/// The variables, in the order of `.env.example`.
pub(super) const VARIABLES: &[Variable] = &[
    Variable::new("CLEANUP_SCHEDULE", |config, text| {
        set(&mut config.cleanup_schedule, text.parse())
    }),
    Variable::new("CLEANUP_ON_START", |config, text| {
        set(&mut config.cleanup_on_start, parsed(text, "true or false"))
    }),
    Variable::new("CLEANUP_BATCH", |config, text| {
        set(&mut config.cleanup_batch, positive(text))
    }),
    Variable::new("ALERT_TABLE_BYTES", |config, text| {
        set(&mut config.alert_table_bytes, whole(text))
    }),
    Variable::new("ALERT_LOOKUP_MS", |config, text| {
        set(&mut config.alert_lookup, milliseconds(text))
    }),
    Variable::new("ALERT_SIGNATURE_FAILURES", |config, text| {
        set(&mut config.alert_signature_failures, whole(text))
    }),
    Variable::new("ALERT_SILENCE", |config, text| {
        set(&mut config.alert_silence, retention(text))
    }),
];

fn milliseconds(text: &str) -> Result<Duration, String> {
    positive(text).map(|ms: u32| Duration::from_millis(ms.into()))
}
