//! All connections: who is let in, who makes room, who has taken too long.

use arc_swap::ArcSwap;
use futures_util::future::{AbortHandle, AbortRegistration};
use ipnet::IpNet;
use prometheus::{IntCounterVec, IntGauge, Opts};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use super::{
    activity::Activity, connection::Connection, limits::Limits, pressure::Pressure, reason::Reason,
};
use crate::address;

/// How often connections are checked for having taken too long.
const LOOK: Duration = Duration::from_millis(250);

/// All connections of one or more listeners.
#[derive(Debug)]
pub struct Connections {
    limits: Limits,
    trusted_proxies: ArcSwap<Vec<IpNet>>,
    open: Mutex<Open>,
    open_now: IntGauge,
    refused: IntCounterVec,
    ended: IntCounterVec,
}

/// A bound that leaves no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// That of all connections.
    All,
    /// That of one address.
    Address,
}

impl Bound {
    const ALL: [Self; 2] = [Self::All, Self::Address];

    fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Address => "address",
        }
    }
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    all: BTreeMap<u64, Arc<Connection>>,
    unproven: BTreeSet<u64>,
    networks: HashMap<IpAddr, Network>,
    pressure: Option<Pressure>,
    pressure_of_addresses: Option<Pressure>,
}

/// The connections of one address.
#[derive(Debug, Default)]
struct Network {
    all: BTreeSet<u64>,
    unproven: BTreeSet<u64>,
}

impl Connections {
    /// None yet.
    ///
    /// # Errors
    /// Where the metrics cannot be made.
    pub fn new(limits: Limits) -> Result<Arc<Self>, prometheus::Error> {
        let refused = IntCounterVec::new(
            Opts::new(
                "hookonce_connections_refused_total",
                "Connections refused, by the bound that left no room.",
            ),
            &["reason"],
        )?;
        let ended = IntCounterVec::new(
            Opts::new(
                "hookonce_connections_ended_total",
                "Connections ended by this side, by what took too long, was too large, or made room for others.",
            ),
            &["reason"],
        )?;
        for bound in Bound::ALL {
            refused.with_label_values(&[bound.as_str()]);
        }
        for reason in Reason::ALL {
            ended.with_label_values(&[reason.as_str()]);
        }
        Ok(Arc::new(Self {
            trusted_proxies: ArcSwap::from_pointee(limits.trusted_proxies.clone()),
            limits,
            open: Mutex::default(),
            open_now: IntGauge::new("hookonce_connections", "Connections that are open.")?,
            refused,
            ended,
        }))
    }

    /// The bounds.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// From now on these are the proxies that may have more connections than an address.
    pub fn trust(&self, proxies: Vec<IpNet>) {
        self.trusted_proxies.store(Arc::new(proxies));
    }

    /// How many are open.
    pub fn open_now(&self) -> IntGauge {
        self.open_now.clone()
    }

    /// How many were refused.
    pub fn refused(&self) -> IntCounterVec {
        self.refused.clone()
    }

    /// How many were ended.
    pub fn ended(&self) -> IntCounterVec {
        self.ended.clone()
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits a connection. At a bound another one is closed for it: the oldest that has sent nothing genuine, else the one
    /// that has been idle longest.
    ///
    /// # Errors
    /// Where there is none.
    pub(super) fn admit(
        self: &Arc<Self>,
        peer: SocketAddr,
    ) -> Result<(Handle, AbortRegistration), Bound> {
        let network = self.counted_network(peer.ip());
        let mut open = self.open();
        let admitted = self.make_room(&mut open, network);
        if let Err(bound) = admitted {
            self.refused.with_label_values(&[bound.as_str()]).inc();
            return Err(bound);
        }
        let (abort, registration) = AbortHandle::new_pair();
        let connection = open.add(network, abort);
        self.open_now.set(open.all.len() as i64);
        drop(open);
        let handle = Handle {
            connection,
            connections: self.clone(),
        };
        Ok((handle, registration))
    }

    /// The address whose bound a connection counts towards.
    fn counted_network(&self, address: IpAddr) -> Option<IpAddr> {
        self.limits.most_per_address?;
        let is_proxy = address::is_of(address, &self.trusted_proxies.load());
        (!is_proxy).then(|| address::network(address))
    }

    fn make_room(&self, open: &mut Open, network: Option<IpAddr>) -> Result<(), Bound> {
        let share = network.and_then(|network| Some((network, open.networks.get(&network)?)));
        if let Some((network, share)) = share
            && let Some(most) = self.limits.most_per_address
            && share.all.len() >= most
        {
            let displaced = share.unproven.first().copied();
            let displaced = displaced.or_else(|| open.longest_idle(share.all.iter()));
            self.displace(open, displaced, Bound::Address, Some(network))?;
        }
        if open.all.len() >= self.limits.most {
            let displaced = open.unproven.first().copied();
            let displaced = displaced.or_else(|| open.longest_idle(open.all.keys()));
            self.displace(open, displaced, Bound::All, None)?;
        }
        Ok(())
    }

    fn displace(
        &self,
        open: &mut Open,
        displaced: Option<u64>,
        bound: Bound,
        network: Option<IpAddr>,
    ) -> Result<(), Bound> {
        let displaced = displaced.and_then(|id| open.remove(id));
        let pressure = match bound {
            Bound::All => &mut open.pressure,
            Bound::Address => &mut open.pressure_of_addresses,
        };
        if Pressure::note(pressure, displaced.is_some(), Instant::now()) {
            self.log_begin(network);
        }
        let displaced = displaced.ok_or(bound)?;
        self.end(&displaced, Reason::Displaced);
        Ok(())
    }

    fn log_begin(&self, network: Option<IpAddr>) {
        let (whose, most) = match network {
            Some(network) => (
                format!("of one address, as {network},"),
                self.limits.most_per_address.unwrap_or_default(),
            ),
            None => ("in all".to_owned(), self.limits.most),
        };
        log::warn!(
            "the bound of {most} connections {whose} is reached: the oldest without a genuine request give way to new ones"
        );
    }

    /// Ends a connection.
    pub(super) fn end(&self, connection: &Connection, reason: Reason) {
        if connection.end(reason) {
            self.ended.with_label_values(&[reason.as_str()]).inc();
        }
    }

    /// The connection has sent something genuine.
    pub(super) fn prove(&self, connection: &Connection) {
        let mut open = self.open();
        open.unproven.remove(&connection.id);
        if let Some(network) = connection.network
            && let Some(share) = open.networks.get_mut(&network)
        {
            share.unproven.remove(&connection.id);
        }
    }

    /// The connection is closed.
    pub(super) fn leave(&self, connection: &Connection) {
        let mut open = self.open();
        open.remove(connection.id);
        self.open_now.set(open.all.len() as i64);
    }

    /// Ends connections that have taken too long, until the listeners stop.
    pub(super) async fn watch(connections: Weak<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            match connections.upgrade() {
                Some(connections) => connections.look(Instant::now()),
                None => return,
            }
        }
    }

    fn look(&self, now: Instant) {
        let mut open = self.open();
        let over = Pressure::over(&mut open.pressure, now);
        let over_of_addresses = Pressure::over(&mut open.pressure_of_addresses, now);
        let all: Vec<_> = open.all.values().cloned().collect();
        drop(open);
        if let Some(told) = over {
            log::info!("the bound of connections in all is no longer reached: {told}");
        }
        if let Some(told) = over_of_addresses {
            log::info!("the bound of connections of one address is no longer reached: {told}");
        }
        for connection in all {
            let overdue = connection.activity().overdue(&self.limits, now);
            if let Some(reason) = overdue {
                self.end(&connection, reason);
            }
        }
    }
}

/// A connection among all. Each request has it as data of its connection. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) connection: Arc<Connection>,
    pub(super) connections: Arc<Connections>,
}

impl Handle {
    /// Notes that it has sent something genuine. Those that have not are the first that make room for others.
    pub fn prove(&self) {
        if self.connection.prove() {
            self.connections.prove(&self.connection);
        }
    }

    pub(super) fn activity(&self) -> MutexGuard<'_, Activity> {
        self.connection.activity()
    }

    pub(super) fn end(&self, reason: Reason) {
        self.connections.end(&self.connection, reason);
    }
}

impl Open {
    fn add(&mut self, network: Option<IpAddr>, abort: AbortHandle) -> Arc<Connection> {
        let id = self.next;
        self.next += 1;
        let connection = Arc::new(Connection::new(id, network, abort));
        self.all.insert(id, connection.clone());
        self.unproven.insert(id);
        if let Some(network) = network {
            let share = self.networks.entry(network).or_default();
            share.all.insert(id);
            share.unproven.insert(id);
        }
        connection
    }

    fn remove(&mut self, id: u64) -> Option<Arc<Connection>> {
        let connection = self.all.remove(&id)?;
        self.unproven.remove(&id);
        if let Some(network) = connection.network
            && let Entry::Occupied(mut share) = self.networks.entry(network)
        {
            share.get_mut().all.remove(&id);
            share.get_mut().unproven.remove(&id);
            if share.get().all.is_empty() {
                share.remove();
            }
        }
        Some(connection)
    }

    fn longest_idle<'a>(&self, among: impl Iterator<Item = &'a u64>) -> Option<u64> {
        let since = |id: &u64| self.all.get(id)?.activity().idle_since();
        let idle = among.filter_map(|id| Some((since(id)?, *id)));
        idle.min().map(|(_, id)| id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(most: usize, most_per_address: Option<usize>) -> Arc<Connections> {
        let limits = Limits {
            most,
            most_per_address,
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            stop: Duration::from_secs(9),
        };
        Connections::new(limits).unwrap()
    }

    fn admit(connections: &Arc<Connections>, address: &str) -> Result<Handle, Bound> {
        let peer = SocketAddr::new(address.parse().unwrap(), 1);
        connections.admit(peer).map(|(handle, _)| handle)
    }

    fn ended(handle: &Handle) -> Option<Reason> {
        handle.connection.ended()
    }

    #[test]
    fn the_oldest_without_a_genuine_request_gives_way() {
        let connections = connections(3, None);
        let [genuine, stranger, another] =
            ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|a| admit(&connections, a).unwrap());
        genuine.prove();
        let newcomer = admit(&connections, "192.0.2.4").unwrap();
        assert_eq!(ended(&stranger), Some(Reason::Displaced));
        assert_eq!(
            [&genuine, &another, &newcomer].map(ended),
            [None, None, None]
        );
        assert_eq!(connections.open_now().get(), 3);
    }

    #[test]
    fn where_all_are_genuine_the_longest_idle_gives_way_and_none_that_has_work() {
        let connections = connections(2, None);
        let [busy, idle] = ["192.0.2.1", "192.0.2.2"].map(|a| admit(&connections, a).unwrap());
        busy.prove();
        idle.prove();
        assert_eq!(
            admit(&connections, "192.0.2.3").err(),
            Some(Bound::All),
            "nobody is idle"
        );
        let mut activity = idle.activity();
        activity.begins(false, Instant::now());
        activity.answers();
        activity.answered();
        activity.flushed(Instant::now());
        drop(activity);
        let newcomer = admit(&connections, "192.0.2.3").unwrap();
        assert_eq!(
            [&busy, &idle, &newcomer].map(ended),
            [None, Some(Reason::Displaced), None]
        );
    }

    #[test]
    fn an_address_that_has_its_share_displaces_its_own() {
        let connections = connections(10, Some(2));
        let other = admit(&connections, "192.0.2.1").unwrap();
        let [first, second] = [(); 2].map(|()| admit(&connections, "192.0.2.7").unwrap());
        let third = admit(&connections, "::ffff:192.0.2.7").unwrap();
        assert_eq!(
            [&other, &first, &second, &third].map(ended),
            [None, Some(Reason::Displaced), None, None]
        );
        second.prove();
        third.prove();
        assert_eq!(admit(&connections, "192.0.2.7").err(), Some(Bound::Address));
        connections.leave(&third.connection);
        assert!(admit(&connections, "192.0.2.7").is_ok());
    }

    #[test]
    fn a_trusted_proxy_has_no_bound_of_its_own() {
        let connections = connections(10, Some(1));
        let proxied = [(); 5].map(|()| admit(&connections, "10.1.2.3").unwrap());
        assert!(proxied.iter().all(|handle| ended(handle).is_none()));
        connections.trust(Vec::new());
        let [first, second] = [(); 2].map(|()| admit(&connections, "10.1.2.4").unwrap());
        assert_eq!(
            [&first, &second].map(ended),
            [Some(Reason::Displaced), None]
        );
    }

    #[test]
    fn nothing_is_kept_of_those_that_left() {
        let connections = connections(1000, Some(1000));
        for last in 0..200 {
            let handle = admit(&connections, &format!("192.0.2.{last}")).unwrap();
            connections.leave(&handle.connection);
        }
        let open = connections.open();
        assert!(open.all.is_empty() && open.unproven.is_empty() && open.networks.is_empty());
    }
}
