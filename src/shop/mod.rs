//! The business: catalogues, orders from messages and from clients, payments, bookings, money, and what customers are
//! told. Knows neither HTTP nor providers.

pub mod amendments;
pub mod amount;
pub mod bookings;
pub mod catalogue;
pub mod error;
mod fold;
pub mod handler;
pub mod import;
pub mod money;
mod numbers;
pub mod order_number;
pub mod ordering;
pub mod orders;
pub mod outcomes;
pub mod payments;
pub mod placing;
mod plan;
pub mod reply;
pub mod retailers;
pub mod shops;
mod stems;
pub mod tenant_scope;
pub mod text_order;
