//! The business: catalogues, orders read from messages, money, and what customers are told. Knows neither HTTP nor
//! providers.

pub mod catalogue;
mod fold;
pub mod import;
pub mod money;
pub mod order_number;
pub mod ordering;
pub mod phone;
pub mod refusal;
pub mod reply;
pub mod shop;
pub mod text_order;
