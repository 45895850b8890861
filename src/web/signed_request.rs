//! A provider's request over HTTP: verified, then read, and made into what the intake takes.

use actix_web::{http::header::HeaderMap, web::Bytes};
use std::time::SystemTime;

use super::problem::{ErrorCode, Problem};
use crate::{
    idempotency::{Fingerprint, IdempotencyKey, fingerprint, fingerprint_of_json},
    intake::Inbound,
    json::Value,
    media_type,
    provider::{
        Delivery, Provider, SignedBy, json,
        refusal::Refusal,
        request::{Headers, Request},
        route::Route,
        setting::Settings,
    },
};

/// A body of fewer bytes is read twice where that is simpler.
const SMALL: usize = 64 * 1024;

/// A request as it came, nothing about it believed yet.
pub struct SignedRequest {
    /// Whose it is to be.
    pub provider: &'static dyn Provider,
    /// The route that it came by.
    pub route: &'static Route,
    /// The URL that its sender called.
    pub url: String,
    /// The body, raw.
    pub body: Bytes,
    /// Its method.
    pub method: String,
    /// Its path.
    pub path: String,
    /// Its query.
    pub query: String,
    /// The key that a header names.
    pub key: Result<Option<IdempotencyKey>, Problem>,
    /// Where it came from.
    pub source_ip: Option<String>,
}

/// A request that its sender signed.
pub struct VerifiedRequest {
    /// Which of several secrets signed it.
    #[cfg_attr(
        not(feature = "server"),
        expect(dead_code, reason = "the program logs it")
    )]
    pub signed_by: Option<SignedBy>,
    /// What it tells, or why it cannot be read all the same.
    pub inbound: Result<Inbound, Problem>,
}

impl SignedRequest {
    /// Checks the signature, then reads what is signed.
    ///
    /// # Errors
    /// Where nobody signed it.
    pub fn open(
        mut self,
        headers: &HeaderMap,
        settings: &Settings,
    ) -> Result<VerifiedRequest, Problem> {
        let (provider, route) = (self.provider, self.route);
        let (url, body) = (std::mem::take(&mut self.url), self.body.clone());
        let request = Request::new(&url, headers, &body, SystemTime::now());
        let signed_by = provider.verify(&request, settings)?;
        let inbound = match provider.parse(&request, route) {
            Ok(delivery) => self.inbound(delivery, request.content_type()),
            Err(refusal) => Err(refusal.into()),
        };
        Ok(VerifiedRequest { signed_by, inbound })
    }

    fn inbound(self, delivery: Delivery, content_type: &str) -> Result<Inbound, Problem> {
        let fingerprint = self.fingerprint(&delivery.body, content_type);
        Ok(Inbound {
            // Only now: a header of a request that nobody signed is not even looked at.
            key: self.key?,
            fingerprint,
            method: self.method,
            path: self.path,
            source_ip: self.source_ip,
            delivery,
        })
    }

    /// What the request says; of a large body that is JSON by what was read of it, for to read it twice takes twice
    /// the memory.
    fn fingerprint(&self, read: &Value, content_type: &str) -> Fingerprint {
        let (method, path, query) = (&self.method, &self.path, &self.query);
        let is_read = self.body.len() > SMALL
            && media_type::is_json(content_type)
            && json::is_sound(&self.body);
        match is_read {
            true => fingerprint_of_json(method, path, query, content_type, read),
            false => fingerprint(method, path, query, content_type, &self.body),
        }
    }
}

impl Headers for HeaderMap {
    fn get(&self, name: &str) -> Option<&str> {
        HeaderMap::get(self, name)?.to_str().ok()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotConfigured(variable) => Self::not_configured(variable),
            Refusal::Signature(error) => error.into(),
            Refusal::MediaType(expected) => Self::new(ErrorCode::ContentTypeUnsupported, expected),
            Refusal::Malformed(error) => error.into(),
        }
    }
}
