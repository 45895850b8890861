//! The kinds of Twilio's deliveries, as they are stored.

/// The kind of what a customer wrote.
pub(super) const MESSAGE: &str = "twilio_message";

/// The kind of how far a message of ours has come.
pub(super) const STATUS: &str = "twilio_status";

/// The kind of anything else.
pub(super) const EVENT: &str = "twilio_event";
