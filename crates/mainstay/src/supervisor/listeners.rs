//! The sockets of the edge's listeners: opened all or none, held for as long as the Plan has them.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use anyhow::bail;
use mainstay_config::plan::edge::{Edge, Listener, Place};
use mainstay_core::time::Boot;
use mainstay_proxy::worker::SocketKey;
use mainstay_sys::listen::{self, Flow};
use mainstay_sys::process::{Process, holders, unix_holders};

/// The sockets that are open.
#[derive(Default)]
pub(super) struct Listeners {
    open: HashMap<SocketKey, Held>,
}

/// A socket.
pub(super) struct Held {
    pub(super) fd: OwnedFd,
    /// The Plan has it no more, or no thread of its number.
    pub(super) leaving: Option<Leaving>,
}

/// How a socket goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    /// Its listener is gone: workers finish it when they take the Plan.
    Gone,
    /// Others of its group get the new connections; until then it is served.
    Spared(Boot),
    /// Workers were told to finish it.
    Finishing,
}

/// Sockets that a Plan asks for and that were not open.
pub(super) type Fresh = Vec<(SocketKey, OwnedFd)>;

/// Connections on their way to a socket when others are preferred arrive within this time.
const SPARED: std::time::Duration = std::time::Duration::from_secs(2);

/// What a Plan asks for, the sockets of an address in the order of the threads.
fn wanted(edge: &Edge) -> Vec<(SocketKey, &Listener)> {
    let threads = edge.instances.max(1).saturating_mul(edge.threads.max(1));
    let mut all = Vec::new();
    for listener in &edge.listeners {
        for (place, udp) in listener.sockets() {
            let count = if matches!(place, Place::Unix(_)) { 1 } else { threads };
            all.extend((0..count).map(|thread| (SocketKey { place: place.clone(), udp, thread }, listener)));
        }
    }
    all
}

impl Listeners {
    /// Opens what the Plan asks for and is not open; nothing else changes.
    ///
    /// # Errors
    /// Names the address that cannot be had, and who holds it; then nothing was opened.
    pub(super) fn prepare(&self, edge: &Edge) -> anyhow::Result<Fresh> {
        let mut fresh: Fresh = Vec::new();
        for (key, listener) in wanted(edge) {
            if self.open.contains_key(&key) {
                continue;
            }
            match self.open_one(&key, &fresh) {
                Ok(fd) => fresh.push((key, fd)),
                Err(error) if is_spare(&key, &error, listener) => {
                    tracing::debug!(listener = listener.name, "{key}: {error}");
                }
                Err(error) => bail!("listener \"{}\": {error}{}", listener.name, held_by(&key, &error)),
            }
        }
        Ok(fresh)
    }

    fn open_one(&self, key: &SocketKey, fresh: &Fresh) -> mainstay_sys::Result<OwnedFd> {
        let flow = if key.udp { Flow::Udp } else { Flow::Tcp };
        match &key.place {
            Place::Unix(path) => listen::open_unix(path),
            Place::Inet(addr) => {
                // SO_REUSEPORT would share the port with another program of ours, or with another node.
                let ours = |other: &SocketKey| {
                    other.udp == key.udp && matches!(other.place, Place::Inet(o) if o.port() == addr.port())
                };
                if !self.open.keys().any(ours) && !fresh.iter().any(|(other, _)| ours(other)) {
                    listen::is_free(*addr, flow)?;
                }
                listen::open(*addr, flow)
            }
        }
    }

    /// Takes in what was opened; sockets that the Plan has no more begin to go.
    pub(super) fn commit(&mut self, edge: &Edge, fresh: Fresh, now: Boot) {
        let wanted: Vec<SocketKey> = wanted(edge).into_iter().map(|(key, _)| key).collect();
        let kept: std::collections::HashSet<&SocketKey> = wanted.iter().collect();
        self.open.extend(fresh.into_iter().map(|(key, fd)| (key, Held { fd, leaving: None })));
        for (key, held) in &mut self.open {
            if kept.contains(key) {
                held.leaving = None;
            } else if held.leaving.is_none() {
                let first = SocketKey { thread: 0, ..key.clone() };
                held.leaving =
                    Some(if kept.contains(&first) { Leaving::Spared(now + SPARED) } else { Leaving::Gone });
            }
        }
        self.steer(edge);
    }

    /// Has the kernel prefer the sockets that stay.
    fn steer(&self, edge: &Edge) {
        let threads = u32::from(edge.instances.max(1)) * u32::from(edge.threads.max(1));
        for (key, held) in self.open.iter().filter(|(key, held)| key.thread == 0 && held.leaving.is_none()) {
            let group = |other: &&SocketKey| other.place == key.place && other.udp == key.udp;
            let more = u32::try_from(self.open.keys().filter(group).count()).unwrap_or(u32::MAX) > threads;
            if matches!(key.place, Place::Unix(_)) || !more {
                continue;
            }
            if let Err(error) = listen::steer(&held.fd, Some(threads)) {
                tracing::warn!("{key}: connections on their way to sockets that go may be lost: {error}");
            }
        }
    }

    /// Sockets that were spared long enough and are to be finished by whoever serves them.
    pub(super) fn ripe(&mut self, now: Boot) -> Vec<SocketKey> {
        let mut ripe = Vec::new();
        for (key, held) in &mut self.open {
            if matches!(held.leaving, Some(Leaving::Spared(by)) if by <= now) {
                held.leaving = Some(Leaving::Finishing);
                ripe.push(key.clone());
            }
        }
        ripe
    }

    /// When `ripe` has something next.
    pub(super) fn next(&self) -> Option<Boot> {
        let by = |held: &Held| match held.leaving {
            Some(Leaving::Spared(by)) => Some(by),
            Some(Leaving::Gone | Leaving::Finishing) | None => None,
        };
        self.open.values().filter_map(by).min()
    }

    /// Closes what goes and nobody serves any more.
    pub(super) fn close(&mut self, served: impl Fn(&SocketKey) -> bool) {
        let mut closed: Vec<SocketKey> = Vec::new();
        self.open.retain(|key, held| {
            let stays = !matches!(held.leaving, Some(Leaving::Gone | Leaving::Finishing)) || served(key);
            if !stays {
                closed.push(key.clone());
            }
            stays
        });
        for key in closed {
            if let Place::Unix(path) = &key.place {
                let _ = std::fs::remove_file(path);
            }
            self.end_steering(&key);
        }
    }

    /// Once only those are left that stay, the kernel's own way serves them best.
    fn end_steering(&self, key: &SocketKey) {
        let group = |(other, _): &(&SocketKey, &Held)| other.place == key.place && other.udp == key.udp;
        let mut left = self.open.iter().filter(group);
        if left.clone().any(|(_, held)| held.leaving.is_some()) {
            return;
        }
        if let Some((_, held)) = left.next()
            && let Err(error) = listen::steer(&held.fd, None)
        {
            tracing::debug!("{key}: {error}");
        }
    }

    /// Leaves new calls to these addresses unanswered for as long as what is returned is kept; those to other addresses are answered as
    /// before. Nothing is returned when nobody listens there.
    pub(super) fn hush(&self, addrs: &[IpAddr]) -> Vec<OwnedFd> {
        let mut kept = Vec::new();
        let mut done: HashSet<SocketAddr> = HashSet::new();
        for (key, held) in self.open.iter().filter(|(key, _)| !key.udp) {
            let Place::Inet(at) = &key.place else { continue };
            if addrs.contains(&at.ip()) {
                match listen::hush(&held.fd) {
                    Ok(()) => kept.extend(held.fd.try_clone()),
                    Err(error) => tracing::warn!("{key}: {error}"),
                }
            }
            let family =
                addrs.iter().filter(|addr| at.ip().is_unspecified() && addr.is_ipv4() == at.is_ipv4());
            for addr in family.map(|addr| SocketAddr::new(*addr, at.port())) {
                if !done.insert(addr) {
                    continue;
                }
                match listen::open_hushed(addr) {
                    Ok(fd) => kept.push(fd),
                    Err(error) => tracing::warn!("{error}"),
                }
            }
        }
        kept
    }

    /// Closes all.
    pub(super) fn close_all(&mut self) {
        for held in self.open.values_mut() {
            held.leaving = Some(Leaving::Finishing);
        }
        self.close(|_| false);
    }

    /// Every socket.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&SocketKey, &Held)> {
        self.open.iter()
    }

    /// Takes over a socket that this process had before it became another program.
    pub(super) fn adopt(&mut self, key: SocketKey, fd: OwnedFd) {
        self.open.insert(key, Held { fd, leaving: None });
    }

    /// A descriptor to hand out.
    pub(super) fn lend(&self, key: &SocketKey) -> Option<OwnedFd> {
        self.open.get(key)?.fd.as_fd().try_clone_to_owned().ok()
    }
}

/// A host without IPv6 serves `:80` by IPv4 alone.
fn is_spare(key: &SocketKey, error: &mainstay_sys::Error, listener: &Listener) -> bool {
    let Place::Inet(SocketAddr::V6(addr)) = &key.place else { return false };
    let four = Place::Inet((Ipv4Addr::UNSPECIFIED, addr.port()).into());
    let absent = matches!(error.os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL));
    addr.ip().is_unspecified() && absent && listener.places.contains(&four)
}

fn held_by(key: &SocketKey, error: &mainstay_sys::Error) -> String {
    if error.os_error() != Some(libc::EADDRINUSE) {
        return String::new();
    }
    let flow = if key.udp { Flow::Udp } else { Flow::Tcp };
    let all = match &key.place {
        Place::Inet(addr) => holders(*addr, flow),
        Place::Unix(path) => unix_holders(path),
    };
    if all.is_empty() {
        return "; who holds it cannot be seen from here".into();
    }
    let name = |process: &Process| format!("{} (pid {})", process.comm, process.pid);
    format!("; it is held by {}", all.iter().map(name).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn edge(places: Vec<Place>, threads: u16) -> Edge {
        let listener = serde_json::json!({
            "name": "web", "places": places, "protocol": "http", "tls": null, "proxy_from": [], "real_ip": null,
            "http": {"http2": true, "head_max": 1, "fields_max": 1, "head_timeout": {"secs": 1, "nanos": 0},
                "body_timeout": {"secs": 1, "nanos": 0}, "send_timeout": {"secs": 1, "nanos": 0},
                "idle_timeout": {"secs": 1, "nanos": 0}, "requests_max": 0, "streams_max": 1, "underscores": false, "bare_lf": false,
                "says_keep": false, "keep_hint": 0, "half_close": true},
            "max_connections": 10, "access": [], "pool": null, "sni": [],
            "connect_timeout": {"secs": 1, "nanos": 0}, "idle_timeout": {"secs": 1, "nanos": 0},
            "udp_responses": null, "logs": [], "answer": null
        });
        let listener = serde_json::from_value(listener).unwrap();
        Edge { instances: 1, threads, listeners: vec![listener], ..Edge::default() }
    }

    fn free_place() -> Place {
        Place::Inet(TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
    }

    #[test]
    fn of_two_addresses_of_which_one_is_taken_none_is_opened_and_the_holder_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let (free, addr) = (free_place(), taken.local_addr().unwrap());
        let Err(error) = Listeners::default().prepare(&edge(vec![free.clone(), Place::Inet(addr)], 2)) else {
            panic!("{addr} is taken")
        };
        let said = error.to_string();
        assert!(said.contains(&addr.to_string()), "{said}");
        assert!(said.contains(&format!("(pid {})", std::process::id())), "{said}");
        let again = Listeners::default().prepare(&edge(vec![free], 2)).unwrap();
        assert_eq!(again.len(), 2, "a socket for each thread");
    }

    #[test]
    fn sockets_of_threads_that_go_are_spared_first_and_those_of_a_listener_that_goes_are_not() {
        let place = free_place();
        let (four, two) = (edge(vec![place.clone()], 4), edge(vec![place], 2));
        let mut listeners = Listeners::default();
        let fresh = listeners.prepare(&four).unwrap();
        listeners.commit(&four, fresh, Boot::ZERO);
        let fresh = listeners.prepare(&two).unwrap();
        assert!(fresh.is_empty());
        listeners.commit(&two, fresh, Boot::ZERO);
        assert!(listeners.ripe(Boot::ZERO).is_empty());
        let ripe = listeners.ripe(Boot::ZERO + SPARED);
        assert_eq!(ripe.len(), 2);
        listeners.close(|_| false);
        assert_eq!(listeners.iter().count(), 2);
        listeners.commit(&Edge::default(), Vec::new(), Boot::ZERO);
        listeners.close(|key| key.thread == 0);
        assert_eq!(listeners.iter().count(), 1, "one is still being finished");
    }
}
