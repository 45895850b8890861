//! What the work of a request is given, and what it gives.

use std::sync::Arc;

use crate::{
    shop::{shops::Shops, tenant_scope::TenantScope},
    store::types::{Timestamp, Uuid},
};

/// What the work of a request knows beside its body.
#[derive(Clone)]
pub struct Context {
    /// Whose business the caller may see and touch.
    pub tenants: TenantScope,
    /// The time of the request.
    pub now: Timestamp,
    /// The shops that were used lately.
    pub shops: Arc<Shops>,
}

/// What a POST has made.
pub struct Created<T> {
    /// Where it can be had from now on.
    pub location: String,
    /// What is to be told.
    pub message: String,
    /// All of it.
    pub data: T,
    /// Whose it is.
    pub retailer_id: Option<Uuid>,
    /// The order that it is about.
    pub order_id: Option<Uuid>,
}

/// What a PATCH or PUT has changed.
pub struct Changed<T> {
    /// All of it, as it is now.
    pub data: T,
    /// Whose it is.
    pub retailer_id: Uuid,
    /// The order that it is about.
    pub order_id: Option<Uuid>,
}
