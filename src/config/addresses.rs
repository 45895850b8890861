//! Where the service listens, how providers reach it, and whose forwarding headers it believes.

use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

use super::{
    PublicUrl, Variable,
    values::{parsed, pieces},
    variable::set,
};

/// The variables, in the order of `.env.example`.
pub(super) const VARIABLES: &[Variable] = &[
    Variable::new("BIND", |config, text| set(&mut config.bind, address(text))),
    Variable::new("OPERATIONS_BIND", |config, text| {
        let other = another_address(text, config.bind);
        set(&mut config.operations_bind, other)
    }),
    Variable::new("PUBLIC_BASE_URL", |config, text| {
        set(&mut config.public_base_url, base_url(text))
    })
    .reloaded(),
    Variable::new("TRUSTED_PROXIES", |config, text| {
        set(&mut config.trusted_proxies, networks(text))
    })
    .reloaded(),
];

fn address(text: &str) -> Result<SocketAddr, String> {
    parsed(text, "an address and a port, as in 127.0.0.1:8080")
}

/// Port 0 is another port each time.
fn another_address(text: &str, bind: SocketAddr) -> Result<Option<SocketAddr>, String> {
    match address(text)? {
        same if same == bind && bind.port() != 0 => Err(format!(
            "allowed is another address than BIND, which is {bind}"
        )),
        other => Ok(Some(other)),
    }
}

fn base_url(text: &str) -> Result<Option<PublicUrl>, String> {
    text.parse().map(Some).map_err(str::to_owned)
}

fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    let network = |piece: &str| {
        let alone = || piece.parse().map(|address: IpAddr| address.into());
        piece.parse().or_else(|_| alone())
    };
    pieces(text)
        .map(network)
        .collect::<Result<_, _>>()
        .map_err(|_| "allowed are addresses and networks, as in 10.0.0.0/8,192.0.2.7".to_owned())
}
