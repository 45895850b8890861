//! Why a signature does not fit: what the request says of itself, put before the provider's own diagnosis, and told in
//! the log. Never in an answer.

use actix_web::{HttpRequest, http::header::CONTENT_TYPE};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use log::Level;
use serde_json::json;
use std::{num::NonZeroU32, time::SystemTime};

use super::{
    State,
    origin::{RequestOrigin, UrlSource},
    request_log::RequestNotes,
};
use crate::{
    config::Config,
    logging::{self, Fields},
    provider::{
        Provider, SignedBy,
        diagnosis::{Diagnosis, shown_url},
        request::Request,
    },
};

/// From here on a body is too large to be tried in many ways.
const LARGE: usize = 64 * 1024;

/// How many refusals are diagnosed thoroughly. The others get a line in the log, too, with what costs little to find out.
pub struct Budget(DefaultDirectRateLimiter);

impl Default for Budget {
    fn default() -> Self {
        const PER_SECOND: NonZeroU32 = NonZeroU32::new(5).unwrap();
        const AT_ONCE: NonZeroU32 = NonZeroU32::new(10).unwrap();
        let quota = Quota::per_second(PER_SECOND).allow_burst(AT_ONCE);
        Self(RateLimiter::direct(quota))
    }
}

/// A provider's request with all that its signature is judged by.
pub struct Evidence<'a> {
    /// Whose it is.
    pub provider: &'static dyn Provider,
    /// Where it was sent.
    pub origin: RequestOrigin<'a>,
    /// The body, raw.
    pub body: &'a [u8],
}

impl Evidence<'_> {
    /// The content type, as the header has it.
    pub fn content_type(&self) -> Option<&str> {
        self.header(CONTENT_TYPE.as_str())
    }

    /// Looks for what is wrong. Where not `thorough`, at what costs little.
    pub fn diagnose(&self, config: &Config, thorough: bool) -> Diagnosis {
        let url = self.origin.public_url(config.into());
        let others = self.origin.other_urls(config.into());
        let request = Request::new(&url, self.origin.headers, self.body, SystemTime::now());
        let settings = &config.providers;
        self.provider
            .diagnose(&request, settings, &others, thorough)
    }

    /// The URL that is believed to be called, as it may be shown.
    pub fn shown_url(&self, config: &Config) -> String {
        let url = self.origin.public_url(config.into());
        shown_url(&url, self.provider.signing().shown_parameters)
    }

    fn header(&self, name: &str) -> Option<&str> {
        let value = self.origin.headers.get(name)?.to_str().ok()?;
        Some(value.trim())
    }
}

/// Tells in the log why a request was refused.
pub fn log_refusal(
    request: &HttpRequest,
    state: &State,
    config: &Config,
    provider: &'static dyn Provider,
    body: &[u8],
) {
    if !log::log_enabled!(Level::Warn) {
        return;
    }
    let evidence = Evidence {
        provider,
        origin: RequestOrigin::of(request),
        body,
    };
    let thorough = body.len() < LARGE && state.diagnoses.0.check().is_ok();
    let diagnosis = evidence.diagnose(config, thorough);
    write(
        &evidence,
        &diagnosis,
        config,
        thorough,
        &RequestNotes::of(request).id(),
    );
}

/// What the diagnosis says, beside what the request is.
fn what_is_wrong(diagnosis: &Diagnosis, thorough: bool) -> Fields {
    let fit = diagnosis.fits.as_ref();
    let named = diagnosis.named.as_ref();
    let body_hash = diagnosis.body_hash.map(|hash| hash.state.as_str());
    let secret = fit.map(|fit| position(fit.secret, diagnosis.secrets.len()));
    Fields::from([
        ("reason", json!(diagnosis.reason())),
        ("hint", json!(diagnosis.advice())),
        ("signature", json!(diagnosis.signature.describe())),
        ("secrets", json!(describe_secrets(diagnosis))),
        ("named", json!(named.map(|named| &named.about))),
        ("body_sha256", json!(body_hash)),
        ("fits", json!(fit.map(|fit| &fit.change))),
        ("fits_url", json!(fit.map(|fit| &fit.url))),
        ("fits_secret", json!(secret)),
        (
            "variants_tried",
            json!(thorough.then_some(diagnosis.tried.len())),
        ),
    ])
}

fn write(
    evidence: &Evidence<'_>,
    diagnosis: &Diagnosis,
    config: &Config,
    thorough: bool,
    request_id: &str,
) {
    let (origin, provider) = (&evidence.origin, evidence.provider);
    let source = origin.source(config.into());
    let signs_url = provider.signing().signs_url;
    let ignored = match source {
        UrlSource::Direct if signs_url => origin.forwarding_headers(),
        _ => Vec::new(),
    };
    let reason = diagnosis.reason();
    let provider_name = provider.name();
    let fields = || {
        Fields::from([
            ("request_id", json!(request_id)),
            ("provider", json!(provider_name)),
        ])
        .and(what_is_wrong(diagnosis, thorough))
        .and(Fields::from([
            ("url", json!(signs_url.then(|| evidence.shown_url(config)))),
            ("url_source", json!(signs_url.then(|| source.as_str()))),
            ("ignored_headers", json!(ignored)),
            (
                "peer",
                json!(origin.peer.map(|peer| peer.to_canonical().to_string())),
            ),
            ("content_type", json!(evidence.content_type().map(bounded))),
            ("body_bytes", json!(evidence.body.len())),
        ]))
    };
    // Strangers choose how long a signature is.
    let kind = std::mem::discriminant(&diagnosis.signature);
    logging::log(
        Level::Warn,
        module_path!(),
        format_args!("{provider_name} {kind:?} {}", diagnosis.fits.is_some()),
        format_args!("{provider_name} signature refused: {reason}"),
        fields,
    );
}

/// Each secret by its place, with its result.
pub fn describe_secrets(diagnosis: &Diagnosis) -> Vec<String> {
    let count = diagnosis.secrets.len();
    let secrets = diagnosis.secrets.iter().enumerate();
    let describe = |(at, fits): (usize, &bool)| {
        let fits = if *fits { "fits" } else { "does not fit" };
        format!("{} {fits}", position(at, count))
    };
    secrets.map(describe).collect()
}

/// `2 of 3`, for the second.
pub fn position(at: usize, count: usize) -> String {
    format!("{} of {count}", at + 1)
}

/// Tells that something is still signed with a secret that is not the first, so that it is not removed too early.
pub fn log_secret(request_id: &str, provider: &dyn Provider, signed_by: SignedBy) {
    let SignedBy { at, count } = signed_by;
    if at == 0 || !log::log_enabled!(Level::Debug) {
        return;
    }
    let secret = position(at, count);
    let provider = provider.name();
    logging::log(
        Level::Debug,
        module_path!(),
        format_args!("{provider}"),
        format_args!("{provider} signature made with secret {secret}"),
        || {
            Fields::from([
                ("request_id", json!(request_id)),
                ("provider", json!(provider)),
                ("secret", json!(secret)),
            ])
        },
    );
}

fn bounded(text: &str) -> &str {
    const MOST: usize = 128;
    let end = text.char_indices().find(|(at, _)| *at >= MOST);
    end.map_or(text, |(end, _)| &text[..end])
}
