//! Where a request came from and which URL its sender called, behind proxies too. Forwarding headers are believed
//! from trusted proxies alone, for anybody can write them.

use actix_web::{
    HttpRequest,
    http::{
        Uri,
        header::{FORWARDED, HOST, HeaderMap},
    },
};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

use crate::{address::is_of as is_trusted, provider::diagnosis::OtherUrl};

const X_FORWARDED_FOR: &str = "X-Forwarded-For";
const X_FORWARDED_PROTO: &str = "X-Forwarded-Proto";
const X_FORWARDED_HOST: &str = "X-Forwarded-Host";

/// The URL that the sender called and signed, its path and query verbatim.
pub fn public_url(request: &HttpRequest, belief: ProxyTrust<'_>) -> String {
    RequestOrigin::of(request).public_url(belief)
}

/// What is believed of the way that requests come.
#[derive(Clone, Copy, Debug)]
pub struct ProxyTrust<'a> {
    /// Where senders are told to send to, up to the path: it is believed before all else.
    pub base_url: Option<&'a str>,
    /// Whose forwarding headers are believed.
    pub proxies: &'a [IpNet],
    /// Where requests arrive that name no host.
    pub bind: SocketAddr,
}

/// What of a request tells which URL its sender called.
#[derive(Clone, Copy, Debug)]
pub struct RequestOrigin<'a> {
    /// What stands in the request line.
    pub uri: &'a Uri,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// Who is connected.
    pub peer: Option<IpAddr>,
}

/// What tells the URL of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlSource {
    /// `PUBLIC_BASE_URL`.
    Configured,
    /// The forwarding headers of a trusted proxy.
    Forwarded,
    /// The request itself.
    Direct,
}

impl UrlSource {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::Forwarded => "forwarded",
            Self::Direct => "direct",
        }
    }
}

impl<'a> RequestOrigin<'a> {
    /// Of a request that has come.
    pub fn of(request: &'a HttpRequest) -> Self {
        Self {
            uri: request.uri(),
            headers: request.headers(),
            peer: request.peer_addr().map(|peer| peer.ip()),
        }
    }

    /// What is believed.
    pub fn source(&self, belief: ProxyTrust<'_>) -> UrlSource {
        let trusted = belief.proxies;
        match belief.base_url {
            Some(_) => UrlSource::Configured,
            None if self.peer.is_some_and(|peer| is_trusted(peer, trusted)) => UrlSource::Forwarded,
            None => UrlSource::Direct,
        }
    }

    /// The URL that is believed.
    pub fn public_url(&self, belief: ProxyTrust<'_>) -> String {
        let path = self.path();
        match (belief.base_url, self.source(belief)) {
            (Some(base), _) => format!("{base}{path}"),
            (None, UrlSource::Forwarded) => self.forwarded_url(belief),
            (None, _) => self.direct_url(belief),
        }
    }

    /// The URLs that are not believed, for whoever wants to know why a signature does not fit.
    pub fn other_urls(&self, belief: ProxyTrust<'_>) -> Vec<OtherUrl> {
        let other = |change: &str, url: String, advice: String| OtherUrl {
            change: change.to_owned(),
            url,
            advice,
        };
        let mut others = Vec::new();
        if let Some(base) = belief.base_url
            && let Ok(url) = url::Url::parse(base)
            && url.path() != "/"
        {
            let origin = url.origin().ascii_serialization();
            others.push(other(
                "PUBLIC_BASE_URL without its path",
                format!("{origin}{}", self.path()),
                "set PUBLIC_BASE_URL without a path: the one that arrives here is whole".to_owned(),
            ));
        }
        let source = self.source(belief);
        if source != UrlSource::Forwarded && !self.forwarding_headers().is_empty() {
            let advice = match (source, self.peer) {
                (UrlSource::Configured, _) => {
                    "set PUBLIC_BASE_URL to the host that the proxy names".to_owned()
                }
                (_, Some(peer)) => format!(
                    "add {} to TRUSTED_PROXIES if it is your proxy, or set PUBLIC_BASE_URL",
                    peer.to_canonical()
                ),
                (_, None) => "add the proxy to TRUSTED_PROXIES, or set PUBLIC_BASE_URL".to_owned(),
            };
            let url = self.forwarded_url(belief);
            others.push(other("the URL of the forwarding headers", url, advice));
        }
        if source != UrlSource::Direct {
            others.push(other(
                "the URL of the Host header",
                self.direct_url(belief),
                "the sender called another host than the one that was taken: correct PUBLIC_BASE_URL, or what \
                 the proxy forwards"
                    .to_owned(),
            ));
        }
        others
    }

    /// The names of the headers by which proxies tell the URL, as far as there are any.
    pub fn forwarding_headers(&self) -> Vec<&'static str> {
        let names = ["Forwarded", X_FORWARDED_PROTO, X_FORWARDED_HOST];
        let is_there = |name: &&str| self.headers.contains_key(*name);
        names.into_iter().filter(is_there).collect()
    }

    fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }

    fn direct_url(&self, belief: ProxyTrust<'_>) -> String {
        format!("http://{}{}", self.host(belief), self.path())
    }

    /// By `Forwarded` (RFC 7239), else by its forerunners; of several proxies by what the first has written.
    fn forwarded_url(&self, belief: ProxyTrust<'_>) -> String {
        let standard = |wanted: &str| {
            let lines = self.headers.get_all(FORWARDED);
            let lines = lines.filter_map(|line| line.to_str().ok());
            let mut pairs = lines
                .flat_map(|line| line.split([';', ',']))
                .filter_map(|pair| pair.split_once('='));
            let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted))?;
            Some(value.trim().trim_matches('"'))
        };
        let forerunner = |name: &str| {
            let line = self.headers.get(name)?.to_str().ok()?;
            line.split(',').next().map(str::trim)
        };
        let scheme = standard("proto").or_else(|| forerunner(X_FORWARDED_PROTO));
        let scheme = scheme.or_else(|| self.uri.scheme_str()).unwrap_or("http");
        // Its case says nothing (RFC 3986, section 3.1), and what is signed has it in small letters.
        let scheme = scheme.to_ascii_lowercase();
        let host = standard("host").or_else(|| forerunner(X_FORWARDED_HOST));
        let host = host.map_or_else(|| self.host(belief), str::to_owned);
        format!("{scheme}://{host}{}", self.path())
    }

    fn host(&self, belief: ProxyTrust<'_>) -> String {
        let header = self.headers.get(HOST).and_then(|host| host.to_str().ok());
        let authority = || self.uri.authority().map(|authority| authority.as_str());
        let host = header.or_else(authority).map(str::to_owned);
        host.unwrap_or_else(|| belief.bind.to_string())
    }
}

/// The address that the request came from: the last one that no trusted proxy vouches for.
pub fn source_ip(request: &HttpRequest, trusted: &[IpNet]) -> Option<IpAddr> {
    let mut source = request.peer_addr()?.ip();
    // Each proxy adds on the right whom it heard from, so what stands left of a stranger is hearsay.
    for hop in forwarded_for(request).iter().rev() {
        if !is_trusted(source, trusted) {
            break;
        }
        source = address(hop)?;
    }
    Some(source)
}

/// The hops of `X-Forwarded-For`, or else of `Forwarded`, as written.
fn forwarded_for(request: &HttpRequest) -> Vec<String> {
    let elements = |name: &str| -> Vec<String> {
        let lines = request.headers().get_all(name);
        let lines = lines.filter_map(|line| line.to_str().ok());
        lines
            .flat_map(|line| line.split(','))
            .map(|element| element.trim().to_owned())
            .collect()
    };
    let hops = elements(X_FORWARDED_FOR);
    if !hops.is_empty() {
        return hops;
    }
    elements(FORWARDED.as_str())
        .iter()
        .filter_map(|element| {
            let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
            let (_, hop) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
            Some(hop.trim().trim_matches('"').to_owned())
        })
        .collect()
}

/// An address, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let with_port = || text.parse::<SocketAddr>().map(|address| address.ip());
    bare.parse().or_else(|_| with_port()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn trusted() -> [IpNet; 1] {
        ["10.0.0.0/8".parse().unwrap()]
    }

    /// The URL of a request, behind that network.
    fn seen(request: &HttpRequest, base_url: Option<&str>) -> String {
        let belief = ProxyTrust {
            base_url,
            proxies: &trusted(),
            bind: "127.0.0.1:8080".parse().unwrap(),
        };
        public_url(request, belief)
    }

    fn request(peer: &str, headers: &[(&'static str, &'static str)]) -> HttpRequest {
        let request = TestRequest::post()
            .uri("/webhooks/twilio?x=%27'&y")
            .insert_header(("Host", "inner:8080"))
            .peer_addr(format!("{peer}:1").parse().unwrap());
        headers
            .iter()
            .fold(request, |request, header| request.append_header(*header))
            .to_http_request()
    }

    #[test]
    fn forwarding_headers_count_from_a_trusted_proxy_alone() {
        let headers = [
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "hooks.example.com"),
        ];
        let url = |peer| seen(&request(peer, &headers), None);
        assert_eq!(
            url("10.1.2.3"),
            "https://hooks.example.com/webhooks/twilio?x=%27'&y"
        );
        assert_eq!(
            url("192.0.2.1"),
            "http://inner:8080/webhooks/twilio?x=%27'&y"
        );
        let forwarded = [("Forwarded", "for=192.0.2.9;proto=https;host=h.example")];
        assert_eq!(
            seen(&request("10.1.2.3", &forwarded), None),
            "https://h.example/webhooks/twilio?x=%27'&y"
        );
    }

    #[test]
    fn a_scheme_is_the_same_in_capitals() {
        for headers in [
            [
                ("X-Forwarded-Proto", "HTTPS"),
                ("X-Forwarded-Host", "h.example"),
            ],
            [
                ("Forwarded", "proto=Https;host=h.example"),
                ("X-Forwarded-Proto", "http"),
            ],
        ] {
            let url = seen(&request("10.1.2.3", &headers), None);
            assert!(url.starts_with("https://h.example/"), "{url}");
        }
    }

    #[test]
    fn the_configured_url_wins_over_every_header() {
        let headers = [("X-Forwarded-Host", "evil.example")];
        assert_eq!(
            seen(&request("10.1.2.3", &headers), Some("https://a.example/in")),
            "https://a.example/in/webhooks/twilio?x=%27'&y"
        );
    }

    #[test]
    fn the_source_is_the_last_address_that_no_trusted_proxy_vouches_for() {
        let trusted = trusted();
        let ip = |peer, headers: &[_]| {
            source_ip(&request(peer, headers), &trusted)
                .unwrap()
                .to_string()
        };
        let spoofed = [
            ("X-Forwarded-For", "1.1.1.1, 192.0.2.7"),
            ("X-Forwarded-For", "10.0.0.9"),
        ];
        assert_eq!(ip("10.1.2.3", &spoofed), "192.0.2.7");
        assert_eq!(ip("192.0.2.1", &spoofed), "192.0.2.1");
        assert_eq!(
            ip("10.1.2.3", &[("Forwarded", "for=\"[2001:db8::1]:4711\"")]),
            "2001:db8::1"
        );
        let appended = [(
            "Forwarded",
            "for=1.1.1.1, for=192.0.2.7:80;proto=https, for=10.0.0.9",
        )];
        assert_eq!(ip("10.1.2.3", &appended), "192.0.2.7");
        assert_eq!(ip("10.1.2.3", &[]), "10.1.2.3");
        let unreadable = [("X-Forwarded-For", "1.1.1.1, unknown")];
        assert_eq!(source_ip(&request("10.1.2.3", &unreadable), &trusted), None);
    }
}
