//! The business: catalogues, orders from messages and from clients, payments, bookings, money, and what customers are
//! told. Knows neither HTTP nor providers.

#[doc(hidden)]
pub mod amendments;
#[doc(hidden)]
pub mod amount;
#[doc(hidden)]
pub mod bookings;
#[doc(hidden)]
pub mod catalogue;
#[doc(hidden)]
pub mod error;
mod fold;
pub mod handler;
#[doc(hidden)]
pub mod import;
#[doc(hidden)]
pub mod money;
mod numbers;
#[doc(hidden)]
pub mod order_number;
#[doc(hidden)]
pub mod ordering;
#[doc(hidden)]
pub mod orders;
#[doc(hidden)]
pub mod outcomes;
#[doc(hidden)]
pub mod payments;
#[doc(hidden)]
pub mod placing;
mod plan;
#[doc(hidden)]
pub mod reply;
#[doc(hidden)]
pub mod retailers;
pub mod shops;
mod stems;
#[doc(hidden)]
pub mod tenant_scope;
#[doc(hidden)]
pub mod text_order;
