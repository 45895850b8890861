//! Tells whoever logs and counts requests what becomes of one under its key.

use actix_web::{HttpMessage as _, HttpRequest};
use std::rc::Rc;

use crate::idempotency::{IdempotencyKey, StoredReply};

/// Is told what becomes of a request.
pub(super) trait ObservesRequest {
    /// It may carry a key.
    fn received(&self);
    /// It carries this one.
    fn key(&self, key: &IdempotencyKey);
    /// The pattern that its path matched, for a handler that may take its request along.
    fn route(&self, pattern: Option<String>);
    /// The answer that its key now stands for, and whether it stood for it before.
    fn reply(&self, reply: &StoredReply, replayed: bool);
}

/// Who observes a request: in its extensions, where there is somebody.
pub(super) type Observer = Rc<dyn ObservesRequest>;

/// Who observes this one.
pub(super) fn observer_of(request: &HttpRequest) -> Observer {
    let observer = request.extensions().get::<Observer>().cloned();
    observer.unwrap_or_else(|| Rc::new(NoObserver))
}

/// Where nobody does.
struct NoObserver;

impl ObservesRequest for NoObserver {
    fn received(&self) {}
    fn key(&self, _key: &IdempotencyKey) {}
    fn route(&self, _pattern: Option<String>) {}
    fn reply(&self, _reply: &StoredReply, _replayed: bool) {}
}
