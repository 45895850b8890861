//! What becomes of events at the shop, in its own words.

use crate::handler::Outcome;

/// It made an order.
pub const ORDER_CREATED: Outcome = Outcome::new("order_created");
/// A text that orders nothing.
pub const NOT_AN_ORDER: Outcome = Outcome::new("not_an_order");
/// Written to a number that no retailer has.
pub const UNKNOWN_RETAILER: Outcome = Outcome::new("unknown_retailer");
/// An order of something that the retailer does not sell, or that was not understood.
pub const UNKNOWN_PRODUCT: Outcome = Outcome::new("unknown_product");
/// How far a message of ours has come.
pub const STATUS_RECORDED: Outcome = Outcome::new("status_recorded");
/// A message that made an order says something else now: noted on the order.
pub const EDIT_NOTED: Outcome = Outcome::new("edit_noted");
/// A message that made an order was taken back: noted on the order.
pub const REVOKE_NOTED: Outcome = Outcome::new("revoke_noted");

/// All of them.
pub const ALL: [Outcome; 7] = [
    ORDER_CREATED,
    NOT_AN_ORDER,
    UNKNOWN_RETAILER,
    UNKNOWN_PRODUCT,
    STATUS_RECORDED,
    EDIT_NOTED,
    REVOKE_NOTED,
];

/// Counted: a message says something else after its order was made, or before.
pub const EDIT: &str = "edit";
/// Counted: the same, taken back.
pub const REVOKE: &str = "revoke";
/// Counted: a message to a number that no retailer has; which.
pub const LOST: &str = "unknown_retailer";
