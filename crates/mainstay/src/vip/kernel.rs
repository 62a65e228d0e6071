//! The gate and the addresses: what the kernel is told so that it never shows an address that may not be there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use mainstay_config::plan::{Addr, Plan, Vip};
use mainstay_core::election::Vips;
use mainstay_core::name::VipId;
use mainstay_core::time::Boot;
use mainstay_sys::clock::boot_now;
use mainstay_sys::gate::{Gate, GateKind, GateOptions};
use mainstay_sys::netlink::{AddrSpec, Link, Route};

use super::links::Links;
use super::outbound::{destinations, source};
use crate::ipc::{Deposit, Farewell};

/// Addresses end by themselves after this, should everything else fail: the kernel counts it in whole seconds.
pub(super) const LIFETIME: Duration = Duration::from_secs(10);

/// Lifetimes are renewed this often: two renewals may fail.
const RENEW: Duration = Duration::from_secs(3);

/// The priority of a node that owns the address (RFC 9568 6.1).
const OWNER: u8 = 255;

/// A moment that has passed: the gate is closed, and the address may still be here. `Boot::ZERO` says that it is gone.
const CLOSED: Boot = Boot::from_nanos(1);

/// What the kernel refused is tried again after this: an address that is held must not be missing for long.
const RETRY: Duration = Duration::from_millis(100);

/// The kernel's side of every vip.
pub(super) struct Kernel {
    pub(super) route: Route,
    pub(super) gate: Gate,
    /// Interfaces that the gate watches, and whether they are such as no vip stands on.
    attached: HashMap<u32, bool>,
    /// Those where it could not be put, with their names.
    ungated: BTreeMap<u32, String>,
    /// Addresses that should be there, by interface index and address.
    held: HashMap<(u32, IpAddr), Held>,
    renew_at: Boot,
    pub(super) put_back: HashMap<VipId, u64>,
}

struct Held {
    vip: VipId,
    prefix: u8,
}

/// An address as the kernel is told of it: interface, address, prefix length.
pub(super) type Place = (u32, IpAddr, u8);

impl Kernel {
    /// Takes away what a killed run left, then opens the gate; tells which addresses were removed.
    pub(super) fn open(options: GateOptions) -> anyhow::Result<(Self, Vec<IpAddr>)> {
        let mut route = Route::open()?;
        // Addresses first: a killed run's gate holds them closed until it is replaced.
        let swept = sweep(&mut route)?;
        let gate = Gate::open(options)?;
        clear_others(gate.kind());
        let kernel = Self {
            route,
            gate,
            attached: HashMap::new(),
            ungated: BTreeMap::new(),
            held: HashMap::new(),
            renew_at: Boot::ZERO,
            put_back: HashMap::new(),
        };
        Ok((kernel, swept))
    }

    /// Makes the gate know a vip's addresses, closed until armed, and has it on their interfaces.
    pub(super) fn guard(&mut self, vip: &Vip, links: &Links) {
        for addr in &vip.addrs {
            let result = if is_static(vip, addr, links) {
                self.gate.forget(addr.addr)
            } else {
                self.gate.guard(addr.addr)
            };
            if let Err(error) = result {
                tracing::warn!("guard {}: {error:#}", addr.addr);
            }
            if let Some(ifindex) = links.get(addr.link).ifindex() {
                self.attach(ifindex, &links.get(addr.link).name);
            }
        }
    }

    /// Has the gate on an interface where vips stand.
    pub(super) fn attach(&mut self, ifindex: u32, name: &str) {
        self.hang(ifindex, name, false);
    }

    /// Has the gate on an interface where no vip stands: the host answers for its addresses there too. Loopback is nobody
    /// else's, and what comes in by a port comes by the bridge or bond that it belongs to, where it is for this host.
    pub(super) fn attach_elsewhere(&mut self, link: &Link, links: &Links) {
        let ours = links.iter().any(|(_, state)| state.ifindex() == Some(link.index));
        if !ours && !link.loopback && !link.port {
            self.hang(link.index, &link.name, true);
        } else if !ours && self.attached.contains_key(&link.index) {
            self.detach(link.index);
        }
    }

    fn hang(&mut self, ifindex: u32, name: &str, elsewhere: bool) {
        if self.attached.get(&ifindex) == Some(&elsewhere) {
            return;
        }
        match self.gate.attach(ifindex, elsewhere) {
            Ok(()) => {
                self.attached.insert(ifindex, elsewhere);
                self.ungated.remove(&ifindex);
            }
            Err(error) => {
                if self.ungated.insert(ifindex, name.to_owned()).is_none() {
                    tracing::warn!("attach the gate to {name}: {error:#}");
                }
            }
        }
    }

    /// Interfaces where the gate should be and is not.
    pub(super) fn ungated(&self) -> impl Iterator<Item = &str> {
        self.ungated.values().map(String::as_str)
    }

    /// An interface is gone, and its addresses with it.
    pub(super) fn lost(&mut self, ifindex: u32) {
        self.attached.remove(&ifindex);
        self.ungated.remove(&ifindex);
        self.held.retain(|(index, _), _| *index != ifindex);
    }

    /// On interfaces that no vip uses any more the gate is as on all others, or not at all where there is no vip left.
    pub(super) fn detach_unused(&mut self, links: &Links) {
        let used: HashSet<u32> = links.iter().filter_map(|(_, link)| link.ifindex()).collect();
        let unused: Vec<u32> = self.attached.keys().copied().filter(|index| !used.contains(index)).collect();
        for index in unused {
            self.detach(index);
        }
        if !used.is_empty() {
            let all = self.route.links().unwrap_or_default();
            all.iter().for_each(|link| self.attach_elsewhere(link, links));
        }
    }

    fn detach(&mut self, ifindex: u32) {
        self.attached.remove(&ifindex);
        if let Err(error) = self.gate.detach(ifindex) {
            tracing::warn!("take the gate off interface {ifindex}: {error:#}");
        }
    }

    pub(super) fn arm(&mut self, vip: &Vip, until: Boot, links: &Links) {
        for addr in vip.addrs.iter().filter(|a| !is_static(vip, a, links)) {
            if let Err(error) = self.gate.arm(addr.addr, until) {
                tracing::warn!("arm the gate of {}: {error:#}", addr.addr);
            }
        }
    }

    /// Tells the kernel what was armed.
    pub(super) fn commit(&mut self) {
        if let Err(error) = self.gate.commit() {
            tracing::warn!("arm the gate: {error:#}");
        }
    }

    /// What the supervisor must know before `take`.
    pub(super) fn deposit(id: VipId, vip: &Vip, machine: &Vips, links: &Links) -> Deposit {
        let link = links.get(vip.spec.link);
        let to = if vip.spec.guard.is_leased() { Vec::new() } else { destinations(vip) };
        let farewells = to.into_iter().filter_map(|to| {
            let from = source(vip, links)?;
            let mut payload = Vec::new();
            machine.packet(id, 0, from, to, &mut payload);
            Some(Farewell { to, from, ifindex: link.ifindex()?, interface: link.name.clone(), payload })
        });
        let farewells = farewells.collect();
        Deposit {
            vip: vip.spec.name.clone(),
            addrs: places(vip, links).collect(),
            farewells,
            wills: Vec::new(),
            posted: None,
        }
    }

    /// Adds the addresses of several vips in one batch; tells which failed and why.
    pub(super) fn take(&mut self, vips: &[(VipId, &Vip)], links: &Links) -> Vec<(VipId, String)> {
        let mut specs = Vec::new();
        let mut owners = Vec::new();
        for (id, vip) in vips {
            for (index, addr, prefix) in places(vip, links) {
                specs.push(AddrSpec { index, addr, prefix, valid: LIFETIME });
                owners.push(*id);
                self.held.insert((index, addr), Held { vip: *id, prefix });
            }
        }
        let results = self.route.set_addrs(&specs);
        let failed = results.into_iter().zip(&specs).zip(owners).filter_map(|((result, spec), vip)| {
            let error = result.err()?;
            Some((vip, format!("add {}/{}: {error}", spec.addr, spec.prefix)))
        });
        let failed: Vec<_> = failed.collect();
        if !failed.is_empty() {
            self.renew_at = boot_now() + RETRY;
        }
        failed
    }

    /// Closes the gates of several vips and removes their addresses in one batch, wherever they stand.
    pub(super) fn release(&mut self, vips: &[(VipId, &Vip)], links: &Links) {
        for (_, vip) in vips {
            for addr in vip.addrs.iter().filter(|a| !is_static(vip, a, links)) {
                let _ = self.gate.arm(addr.addr, CLOSED);
            }
        }
        self.commit();
        let ids: HashSet<VipId> = vips.iter().map(|(id, _)| *id).collect();
        let gone = self.held.iter().filter(|(_, held)| ids.contains(&held.vip));
        let gone: Vec<Place> = gone.map(|((index, addr), held)| (*index, *addr, held.prefix)).collect();
        if self.remove(&gone) {
            for (_, addr, _) in &gone {
                let _ = self.gate.arm(*addr, Boot::ZERO);
            }
            self.commit();
        }
    }

    /// What stands for each vip.
    pub(super) fn held(&self) -> HashMap<VipId, HashSet<Place>> {
        let mut all: HashMap<VipId, HashSet<Place>> = HashMap::new();
        for ((index, addr), held) in &self.held {
            all.entry(held.vip).or_default().insert((*index, *addr, held.prefix));
        }
        all
    }

    /// Removes those of a vip's addresses that its configuration no longer has; says whether others are to be added.
    pub(super) fn trim(&mut self, vip: &Vip, held: &HashSet<Place>, links: &Links) -> bool {
        let wanted: HashSet<Place> = places(vip, links).collect();
        let (given, gone): (Vec<Place>, Vec<Place>) =
            held.difference(&wanted).copied().partition(|place| is_given(vip, place.1, links));
        for (index, addr, _) in given {
            self.held.remove(&(index, addr));
        }
        self.remove(&gone);
        wanted.iter().any(|place| !held.contains(place))
    }

    /// Whether all are gone.
    fn remove(&mut self, gone: &[Place]) -> bool {
        if gone.is_empty() {
            return true;
        }
        for (index, addr, _) in gone {
            self.held.remove(&(*index, *addr));
        }
        let mut all = true;
        for (result, (_, addr, _)) in self.route.del_addrs(gone).into_iter().zip(gone) {
            match result {
                Ok(()) => {}
                // It was never added, or went with its interface.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::ENODEV)) => {}
                Err(error) => {
                    tracing::error!(%addr, %error, "remove an address");
                    all = false;
                }
            }
        }
        all
    }

    /// Addresses of vips that stand on an interface although nothing of ours put them there, as sentences.
    pub(super) fn strangers(&self, plan: &Plan, links: &Links) -> Vec<String> {
        let mut out = Vec::new();
        for vip in plan.vips.iter().filter(|v| v.spec.priority != OWNER) {
            for addr in &vip.addrs {
                let link = links.get(addr.link);
                let there = link.addrs.iter().any(|a| a.addr == addr.addr && !a.is_ours());
                if there && !link.ifindex().is_some_and(|index| self.held.contains_key(&(index, addr.addr))) {
                    out.push(format!(
                        "{} of vip {} was put on {} by somebody else: remove it there, or two nodes answer for it",
                        addr.addr, vip.spec.name, link.name
                    ));
                }
            }
        }
        out
    }

    /// Addresses that should be there and are not.
    pub(super) fn missing(&self, links: &Links) -> Vec<(u32, IpAddr)> {
        let there: HashSet<(u32, IpAddr)> = links
            .iter()
            .filter_map(|(_, link)| Some((link.ifindex()?, link)))
            .flat_map(|(index, link)| link.addrs.iter().map(move |a| (index, a.addr)))
            .collect();
        self.held.keys().copied().filter(|place| !there.contains(place)).collect()
    }

    /// Whose address it is that should stand there.
    pub(super) fn holder(&self, index: u32, addr: IpAddr) -> Option<VipId> {
        self.held.get(&(index, addr)).map(|held| held.vip)
    }

    /// Puts an address back that somebody else removed.
    pub(super) fn restore(&mut self, index: u32, addr: IpAddr) {
        let Some(held) = self.held.get(&(index, addr)) else { return };
        let spec = AddrSpec { index, addr, prefix: held.prefix, valid: LIFETIME };
        for error in self.route.set_addrs(&[spec]).into_iter().filter_map(Result::err) {
            tracing::error!(%addr, %error, "put an address back");
        }
        *self.put_back.entry(held.vip).or_default() += 1;
    }

    /// Renews the lifetimes of every address held, when it is time; tells when the next time is.
    pub(super) fn renew(&mut self, now: Boot) -> Boot {
        if self.held.is_empty() {
            return Boot::NEVER;
        }
        if self.renew_at <= now {
            let each = self.held.iter().map(|((index, addr), held)| AddrSpec {
                index: *index,
                addr: *addr,
                prefix: held.prefix,
                valid: LIFETIME,
            });
            let specs: Vec<_> = each.collect();
            let failed = self.route.set_addrs(&specs).into_iter().filter(Result::is_err).count();
            if failed > 0 {
                tracing::warn!(failed, "renew address lifetimes");
            }
            self.renew_at = now + if failed == 0 { RENEW } else { RETRY };
        }
        self.renew_at
    }

    /// Vips have new numbers after a reload.
    pub(super) fn renumber(&mut self, new: impl Fn(VipId) -> Option<VipId>) {
        self.held.retain(|_, held| new(held.vip).map(|id| held.vip = id).is_some());
        self.put_back =
            std::mem::take(&mut self.put_back).into_iter().filter_map(|(k, v)| Some((new(k)?, v))).collect();
    }

    /// Takes the gate out of the kernel, once nothing is held.
    pub(super) fn close(self) {
        if let Err(error) = self.gate.remove() {
            tracing::warn!("take the gate away: {error:#}");
        }
    }
}

/// Removes the addresses that a killed run of ours left behind, and tells which.
pub(crate) fn sweep(route: &mut Route) -> anyhow::Result<Vec<IpAddr>> {
    let marked: Vec<_> = route.addrs()?.into_iter().filter(|a| a.is_ours()).collect();
    let gone: Vec<Place> = marked.iter().map(|a| (a.index, a.addr, a.prefix)).collect();
    for error in route.del_addrs(&gone).into_iter().filter_map(Result::err) {
        tracing::warn!(%error, "remove an address that an earlier run left behind");
    }
    Ok(marked.into_iter().map(|a| a.addr).collect())
}

/// Takes away what a killed run of another build or setting may have left: a gate of the other kind would stay closed
/// for ever.
pub(crate) fn clear_others(kind: GateKind) {
    for other in [GateKind::TcEbpf, GateKind::Nft].into_iter().filter(|other| *other != kind) {
        if let Err(error) = Gate::open(GateOptions { only: Some(other) }).and_then(Gate::remove) {
            tracing::debug!("no {} gate to take away: {error:#}", other.name());
        }
    }
}

/// Where a vip's addresses are to be put, as far as their interfaces exist.
fn places<'a>(vip: &'a Vip, links: &'a Links) -> impl Iterator<Item = Place> + 'a {
    let moving = vip.addrs.iter().filter(|a| !is_static(vip, a, links));
    moving.filter_map(|a| Some((links.get(a.link).ifindex()?, a.addr, a.prefix)))
}

/// Whether this node has the address anyway: the owner's is the interface's own, and nobody's to take or to gate.
fn is_static(vip: &Vip, addr: &Addr, links: &Links) -> bool {
    let own = |a: &mainstay_sys::netlink::IfAddr| a.addr == addr.addr && !a.is_ours();
    vip.spec.priority == OWNER && links.get(addr.link).addrs.iter().any(own)
}

/// The same for an address that is known without its interface.
fn is_given(vip: &Vip, addr: IpAddr, links: &Links) -> bool {
    vip.addrs.iter().any(|a| a.addr == addr && is_static(vip, a, links))
}
