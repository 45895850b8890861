//! What the handlers of the service share.

use arc_swap::ArcSwap;
use std::sync::Arc;

use super::{
    api::schema::Schemas, body_budget::BodyBudget, diagnosis, metrics::Metrics, origin::ProxyTrust,
    rate_limit::RateLimits,
};
use crate::{
    config::Config,
    idempotency::transactional::Transactional,
    intake::Intake,
    jobs::{cleanup::Cleanup, watch::LatestStatus},
    server::Connections,
    shop::shops::Shops,
    statistics::Traffic,
    store::{Store, readiness::Probe},
};

/// What the handlers share.
pub struct State {
    /// The configuration. A request keeps the one that it began with.
    pub config: ArcSwap<Config>,
    /// The database.
    pub store: Store,
    /// Whether the database can do its work.
    pub probe: Probe,
    /// Where deliveries are acted on.
    pub intake: Intake,
    /// Where clients' requests are acted on.
    pub keys: Transactional,
    /// The shops that were used lately.
    pub shops: Arc<Shops>,
    /// What the bodies of clients' requests are held against.
    pub schemas: Schemas,
    /// Where what has expired is taken away.
    pub cleanup: Cleanup,
    /// What is counted for the statistics.
    pub traffic: Arc<Traffic>,
    /// What is counted for Prometheus.
    pub metrics: Metrics,
    /// What was last seen of the database.
    pub latest_status: LatestStatus,
    /// How many signatures are looked into.
    pub diagnoses: diagnosis::Budget,
    /// How much memory the bodies of requests may take.
    pub bodies: Arc<BodyBudget>,
    /// How much each may ask for.
    pub limits: RateLimits,
    /// The connections that all this comes by.
    pub connections: Arc<Connections>,
}

impl State {
    /// Takes over from `new` what can change while requests are answered; see [`Config::is_reloaded`].
    pub fn reconfigure(&self, new: &Config) {
        let config = self.config.load().reloaded(new);
        self.connections.trust(config.trusted_proxies.clone());
        self.config.store(Arc::new(config));
    }
}

impl<'a> From<&'a Config> for ProxyTrust<'a> {
    fn from(config: &'a Config) -> Self {
        Self {
            base_url: config.public_base_url.as_ref().map(|url| url.as_str()),
            proxies: &config.trusted_proxies,
            bind: config.bind,
        }
    }
}
