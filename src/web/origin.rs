//! Where a request came from and which URL its sender called, behind proxies too. Forwarding headers are believed
//! from trusted proxies alone, for anybody can write them.

use actix_web::{
    HttpRequest,
    http::header::{FORWARDED, HOST},
};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

use crate::config::Config;

const X_FORWARDED_FOR: &str = "X-Forwarded-For";

/// The URL that the sender called and signed, its path and query verbatim.
pub fn public_url(request: &HttpRequest, config: &Config) -> String {
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    match &config.public_base_url {
        Some(base) => format!("{}{path}", base.as_str()),
        None if peer_is_trusted(request, &config.trusted_proxies) => {
            let forwarded = request.connection_info();
            format!("{}://{}{path}", forwarded.scheme(), forwarded.host())
        }
        None => format!("http://{}{path}", host(request)),
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

fn peer_is_trusted(request: &HttpRequest, trusted: &[IpNet]) -> bool {
    request
        .peer_addr()
        .is_some_and(|peer| is_trusted(peer.ip(), trusted))
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    // An IPv4 peer of a socket that takes both shows itself as IPv6.
    let address = address.to_canonical();
    trusted.iter().any(|network| network.contains(&address))
}

fn host(request: &HttpRequest) -> &str {
    let header = request.headers().get(HOST);
    header
        .and_then(|host| host.to_str().ok())
        .or_else(|| {
            request
                .uri()
                .authority()
                .map(|authority| authority.as_str())
        })
        .unwrap_or_else(|| request.app_config().host())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn config() -> Config {
        Config {
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            ..Config::default()
        }
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
        let url = |peer| public_url(&request(peer, &headers), &config());
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
            public_url(&request("10.1.2.3", &forwarded), &config()),
            "https://h.example/webhooks/twilio?x=%27'&y"
        );
    }

    #[test]
    fn the_configured_url_wins_over_every_header() {
        let config = Config {
            public_base_url: Some("https://a.example/in".parse().unwrap()),
            ..config()
        };
        let headers = [("X-Forwarded-Host", "evil.example")];
        assert_eq!(
            public_url(&request("10.1.2.3", &headers), &config),
            "https://a.example/in/webhooks/twilio?x=%27'&y"
        );
    }

    #[test]
    fn the_source_is_the_last_address_that_no_trusted_proxy_vouches_for() {
        let trusted = config().trusted_proxies;
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
