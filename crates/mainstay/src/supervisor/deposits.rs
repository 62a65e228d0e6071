//! What the supervisor does for a dead vip role: addresses away first, then the adverts that say so.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use mainstay_core::lease::external::Posted;
use mainstay_sys::netlink::Route;
use mainstay_sys::packet::{Outgoing, VrrpSocket};

use crate::ipc::{Deposit, Farewell};

/// What the vip role has left with us, by vip.
#[derive(Default)]
pub(super) struct Deposits {
    held: BTreeMap<String, Deposit>,
    /// Vips whose deposit was redeemed and whose next holder here has to know.
    redeemed: Vec<String>,
    /// What is to be said to the voter that is no node.
    posted: Vec<Posted>,
    /// Opened when the first deposit comes, so that nothing has to be opened when it counts.
    tools: Option<Tools>,
}

struct Tools {
    route: Route,
    sockets: HashMap<(u32, bool), VrrpSocket>,
    /// For wills: IPv4, IPv6.
    udp: [Option<UdpSocket>; 2],
}

impl Deposits {
    pub(super) fn keep(&mut self, deposits: Vec<Deposit>) {
        if self.tools.is_none() {
            match Route::open() {
                Ok(route) => {
                    let udp = [udp(false), udp(true)];
                    self.tools = Some(Tools { route, sockets: HashMap::new(), udp });
                }
                Err(error) => tracing::error!("open netlink for the vip role's deposit: {error:#}"),
            }
        }
        for deposit in deposits {
            if let Some(tools) = &mut self.tools {
                deposit.farewells.iter().for_each(|f| tools.prepare(f));
            }
            self.held.insert(deposit.vip.clone(), deposit);
        }
    }

    pub(super) fn withdraw(&mut self, vips: &[String]) {
        for vip in vips {
            self.held.remove(vip);
        }
    }

    /// Whether the vip role holds this vip.
    pub(super) fn holds(&self, vip: &str) -> bool {
        self.held.contains_key(vip)
    }

    /// Takes the addresses away and says so on the wire.
    pub(super) fn redeem(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let held = std::mem::take(&mut self.held);
        let Some(tools) = &mut self.tools else { return };
        let addrs: Vec<_> = held.values().flat_map(|d| d.addrs.iter().copied()).collect();
        let failed = tools.route.del_addrs(&addrs).into_iter().filter(Result::is_err).count();
        for farewell in held.values().flat_map(|d| &d.farewells) {
            tools.send(farewell);
        }
        for (to, will) in held.values().flat_map(|d| &d.wills) {
            tools.send_will(*to, will);
        }
        self.posted.extend(held.values().filter_map(|deposit| deposit.posted.clone()));
        self.redeemed.extend(held.keys().cloned());
        tracing::warn!(
            vips = held.len(),
            addrs = addrs.len(),
            failed,
            "the vip worker is gone: its addresses were removed and resigned"
        );
    }
}

impl Deposits {
    /// What is held, and whose was redeemed, for the next program.
    pub(super) fn left(&self) -> (Vec<Deposit>, Vec<String>) {
        (self.held.values().cloned().collect(), self.redeemed.clone())
    }

    /// What the program before this one held.
    pub(super) fn adopt(&mut self, held: Vec<Deposit>, redeemed: Vec<String>) {
        if !held.is_empty() {
            self.keep(held);
        }
        self.redeemed = redeemed;
    }

    /// What the registry role is to be told since the last call.
    pub(super) fn take_posted(&mut self) -> Vec<Posted> {
        std::mem::take(&mut self.posted)
    }

    /// The vips whose addresses had to be taken away since the last call.
    pub(super) fn take_redeemed(&mut self) -> Vec<String> {
        std::mem::take(&mut self.redeemed)
    }
}

impl Tools {
    fn prepare(&mut self, farewell: &Farewell) {
        let key = (farewell.ifindex, farewell.to.is_ipv6());
        if self.sockets.contains_key(&key) {
            return;
        }
        match VrrpSocket::open(&farewell.interface, farewell.ifindex, farewell.to.is_ipv6()) {
            Ok(socket) => {
                self.sockets.insert(key, socket);
            }
            Err(error) => {
                tracing::warn!(interface = farewell.interface, "open a socket for farewells: {error:#}")
            }
        }
    }

    /// Peers know it by its seal, wherever it comes from.
    fn send_will(&self, to: SocketAddr, will: &[u8]) {
        let Some(socket) = &self.udp[usize::from(to.is_ipv6())] else { return };
        if let Err(error) = socket.send_to(will, to) {
            tracing::warn!("give a right back at {to}: {error}");
        }
    }

    fn send(&mut self, farewell: &Farewell) {
        let Some(socket) = self.sockets.get_mut(&(farewell.ifindex, farewell.to.is_ipv6())) else { return };
        let packet = Outgoing { to: farewell.to, from: Some(farewell.from), payload: &farewell.payload };
        if let Some(error) = socket.send(&[packet]).error {
            tracing::warn!(interface = farewell.interface, "send a farewell: {error}");
        }
    }
}

fn udp(ipv6: bool) -> Option<UdpSocket> {
    let any =
        if ipv6 { (Ipv6Addr::UNSPECIFIED, 0).into() } else { SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)) };
    let socket = UdpSocket::bind(any).ok()?;
    socket.set_nonblocking(true).ok()?;
    Some(socket)
}
