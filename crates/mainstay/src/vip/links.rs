//! The interfaces that vips stand on: what the kernel says of them, and the sockets that are open there.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use mainstay_core::name::LinkId;
use mainstay_core::vrrp::{GROUP_V4, GROUP_V6};
use mainstay_sys::netlink::{Change, IfAddr, Link, Route};
use mainstay_sys::packet::{FrameSocket, VrrpSocket};

/// Every interface of the Plan; `LinkId` is the index.
#[derive(Default)]
pub(super) struct Links {
    all: Vec<LinkState>,
}

/// One interface.
pub(super) struct LinkState {
    pub(super) name: String,
    /// Which families' adverts use it.
    pub(super) wants: Wants,
    /// As the kernel last described it.
    pub(super) kernel: Option<Link>,
    /// Its addresses, ours among them.
    pub(super) addrs: Vec<IfAddr>,
    pub(super) vrrp4: Option<VrrpSocket>,
    pub(super) vrrp6: Option<VrrpSocket>,
    /// Hears and says ARP.
    pub(super) arp: Option<FrameSocket>,
    /// Hears and says neighbour discovery.
    pub(super) ndp: Option<FrameSocket>,
    /// What could not be opened, said once.
    complaint: Option<String>,
    /// Whether adverts of IPv4 and of IPv6 can be neither heard nor sent, although they are wanted.
    deaf: [bool; 2],
}

/// What the Plan needs of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wants {
    /// Multicast groups of IPv4 vips to be joined, when there are such vips.
    pub(super) v4: Option<Vec<IpAddr>>,
    /// The same for IPv6.
    pub(super) v6: Option<Vec<IpAddr>>,
    /// Addresses that stand there: whoever else claims one is heard.
    pub(super) addrs: Vec<IpAddr>,
}

impl LinkState {
    /// A link that is not known to exist.
    pub(super) const fn new(name: String, wants: Wants) -> Self {
        Self {
            name,
            wants,
            kernel: None,
            addrs: Vec::new(),
            vrrp4: None,
            vrrp6: None,
            arp: None,
            ndp: None,
            complaint: None,
            deaf: [false; 2],
        }
    }

    /// The kernel's index, while it exists.
    pub(super) fn ifindex(&self) -> Option<u32> {
        self.kernel.as_ref().map(|k| k.index)
    }

    /// The hardware address; zeros where there is none.
    pub(super) fn mac(&self) -> [u8; 6] {
        self.kernel.as_ref().and_then(|k| k.mac).unwrap_or_default()
    }

    /// Whether it carries traffic.
    pub(super) fn is_up(&self) -> bool {
        self.kernel.as_ref().is_some_and(|k| k.up && k.carrier)
    }

    /// Whether adverts of one family are wanted and can be neither heard nor sent.
    pub(super) fn is_deaf(&self, ipv6: bool) -> bool {
        self.deaf[usize::from(ipv6)]
    }

    /// Why it cannot be spoken or listened on, although it is there.
    pub(super) fn complaint(&self) -> Option<&str> {
        self.complaint.as_deref()
    }

    /// Opens what is wanted and closes what is not, after the kernel or the Plan changed.
    fn open(&mut self) {
        let Some(ifindex) = self.ifindex() else {
            self.close();
            return;
        };
        let mut complaint = None;
        let mut open = |slot: &mut Option<VrrpSocket>, groups: &Option<Vec<IpAddr>>, ipv6| match groups {
            None => {
                *slot = None;
                false
            }
            Some(groups) => {
                let mut deaf = false;
                if slot.is_none() {
                    match VrrpSocket::open(&self.name, ifindex, ipv6) {
                        Ok(socket) => *slot = Some(socket),
                        Err(error) => complaint = Some(error.to_string()),
                    }
                }
                if let Some(socket) = slot {
                    if groups.is_empty() {
                        // Unicast vips need no group; a stranger is heard there, where the link has multicast at all.
                        let _ = socket.join(if ipv6 { GROUP_V6.into() } else { GROUP_V4.into() });
                    }
                    for group in groups {
                        if let Err(error) = socket.join(*group) {
                            complaint = Some(format!("join {group}: {error:#}"));
                            deaf = true;
                        }
                    }
                }
                deaf || slot.is_none()
            }
        };
        self.deaf =
            [open(&mut self.vrrp4, &self.wants.v4, false), open(&mut self.vrrp6, &self.wants.v6, true)];
        for (slot, ipv6) in [(&mut self.arp, false), (&mut self.ndp, true)] {
            let wanted: Vec<IpAddr> =
                self.wants.addrs.iter().copied().filter(|a| a.is_ipv6() == ipv6).collect();
            if wanted.is_empty() {
                *slot = None;
                continue;
            }
            if slot.is_none() {
                match FrameSocket::open(ifindex, ipv6) {
                    Ok(socket) => *slot = Some(socket),
                    Err(error) => complaint = Some(error.to_string()),
                }
            }
            if let Some(Err(error)) = slot.as_ref().map(|socket| socket.watch(&wanted)) {
                complaint = Some(error.to_string());
            }
        }
        if complaint != self.complaint {
            if let Some(text) = &complaint {
                tracing::error!(interface = self.name, "sockets: {text}");
            }
            self.complaint = complaint;
        }
    }

    fn close(&mut self) {
        self.vrrp4 = None;
        self.vrrp6 = None;
        self.arp = None;
        self.ndp = None;
    }
}

impl Links {
    /// Takes the Plan's interfaces; those that stay keep their sockets.
    pub(super) fn apply(&mut self, names: &[String], wants: Vec<Wants>) {
        let mut old = std::mem::take(&mut self.all);
        for (name, wants) in names.iter().zip(wants) {
            let known = old.iter().position(|l| &l.name == name).map(|i| old.swap_remove(i));
            let mut link = known.unwrap_or_else(|| LinkState::new(name.clone(), Wants::default()));
            link.wants = wants;
            link.open();
            self.all.push(link);
        }
    }

    /// Tries again what could not be opened; tells which links it concerns and have nothing to complain of since.
    pub(super) fn reopen(&mut self) -> Vec<LinkId> {
        let mut mended = Vec::new();
        for (id, link) in (0..).map(LinkId).zip(&mut self.all) {
            if link.complaint.is_some() {
                link.open();
                mended.extend(link.complaint.is_none().then_some(id));
            }
        }
        mended
    }

    /// Learns everything anew: at the start, and after the kernel's messages overflowed.
    pub(super) fn resync(&mut self, route: &mut Route) -> anyhow::Result<()> {
        let links = route.links()?;
        let addrs = route.addrs()?;
        for state in &mut self.all {
            let found = links.iter().find(|l| l.name == state.name).cloned();
            state.learn(found);
            let index = state.ifindex();
            state.addrs = addrs.iter().filter(|a| Some(a.index) == index).cloned().collect();
        }
        Ok(())
    }

    /// Takes in one change; tells which links it concerns.
    pub(super) fn learn(&mut self, change: &Change) -> Vec<LinkId> {
        let places = match change {
            Change::Link(link) => {
                // A rename takes the interface away from one name and gives it to another.
                let old = self.place(link.index).filter(|place| self.all[*place].name != link.name);
                let new = self.all.iter().position(|s| s.name == link.name);
                if let Some(place) = old {
                    self.all[place].learn(None);
                }
                if let Some(place) = new {
                    self.all[place].learn(Some(link.clone()));
                }
                [old, new]
            }
            Change::LinkGone(index, _) => {
                let place = self.place(*index);
                if let Some(place) = place {
                    self.all[place].learn(None);
                }
                [place, None]
            }
            Change::Addr(addr) => {
                let place = self.place(addr.index);
                if let Some(place) = place {
                    let known = &mut self.all[place].addrs;
                    known.retain(|a| (a.addr, a.prefix) != (addr.addr, addr.prefix));
                    known.push(addr.clone());
                }
                [place, None]
            }
            Change::AddrGone(addr) => {
                let place = self.place(addr.index);
                if let Some(place) = place {
                    let known = &mut self.all[place].addrs;
                    known.retain(|a| (a.addr, a.prefix) != (addr.addr, addr.prefix));
                }
                [place, None]
            }
            Change::Filter { .. } | Change::Overflow => [None, None],
        };
        let number = |place| LinkId(u32::try_from(place).expect("a Plan has fewer than 2^32 links"));
        places.into_iter().flatten().map(number).collect()
    }

    fn place(&self, ifindex: u32) -> Option<usize> {
        self.all.iter().position(|s| s.ifindex() == Some(ifindex))
    }

    /// One of them.
    pub(super) fn get(&self, link: LinkId) -> &LinkState {
        &self.all[link.index()]
    }

    /// One of them, to send or receive by.
    pub(super) fn get_mut(&mut self, link: LinkId) -> &mut LinkState {
        &mut self.all[link.index()]
    }

    /// All of them with their ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = (LinkId, &LinkState)> {
        (0..).map(LinkId).zip(&self.all)
    }

    /// Every open socket with the link it belongs to and what it is for.
    pub(super) fn sockets(&self) -> impl Iterator<Item = (LinkId, Socket, BorrowedFd<'_>)> {
        self.iter().flat_map(|(id, link)| {
            let v4 = link.vrrp4.as_ref().map(|s| (id, Socket::Vrrp4, s.as_fd()));
            let v6 = link.vrrp6.as_ref().map(|s| (id, Socket::Vrrp6, s.as_fd()));
            let arp = link.arp.as_ref().map(|s| (id, Socket::Arp, s.as_fd()));
            let ndp = link.ndp.as_ref().map(|s| (id, Socket::Ndp, s.as_fd()));
            v4.into_iter().chain(v6).chain(arp).chain(ndp)
        })
    }
}

impl LinkState {
    fn learn(&mut self, found: Option<Link>) {
        if found.as_ref().map(|l| l.index) != self.ifindex() {
            self.close();
            self.addrs.clear();
        }
        self.kernel = found;
        self.open();
    }
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Socket {
    Vrrp4,
    Vrrp6,
    Arp,
    Ndp,
}
