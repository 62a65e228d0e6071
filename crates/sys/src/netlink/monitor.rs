//! Hearing what others change: interfaces, addresses, and the filters and queues that a gate hangs on.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};

use super::address::IfAddr;
use super::link::Link;
use super::route::{DEL_ADDR, DEL_LINK, NEW_ADDR, NEW_LINK, Route};
use super::socket::Socket;
use super::wire::{Message, Messages, u32_at};
use crate::error::{Doing, Result};
use crate::os;
use crate::packet::filter::{self, Step};

/// `RTNLGRP_LINK`, `RTNLGRP_TC`, `RTNLGRP_IPV4_IFADDR`, `RTNLGRP_IPV6_IFADDR`.
const GROUPS: [u32; 4] = [1, 4, 5, 9];
/// `RTM_DELQDISC`.
const DEL_QDISC: u16 = 37;
/// `RTM_DELTFILTER`.
const DEL_FILTER: u16 = 45;
/// Where `nlmsg_pid` stands in a message.
const SENDER_OFFSET: u32 = 12;

/// Something changed in this network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An interface appeared or changed.
    Link(Link),
    /// An interface is gone: number, name.
    LinkGone(u32, String),
    /// An address appeared, or its lifetime was renewed.
    Addr(IfAddr),
    /// An address is gone.
    AddrGone(IfAddr),
    /// A traffic filter or queue of this interface was removed; a gate there must be looked at.
    Filter {
        /// The interface's number.
        index: u32,
    },
    /// Changes came faster than they were read, and some are lost: list everything again.
    Overflow,
}

/// A socket that hears changes.
pub struct Monitor {
    socket: Socket,
    pending: VecDeque<Change>,
}

impl Monitor {
    /// Starts to listen; needs no privilege.
    ///
    /// # Errors
    /// When the kernel refuses the socket or its groups.
    pub fn open() -> Result<Self> {
        let socket = Socket::open(None, &GROUPS).doing(|| "cannot listen to network changes")?;
        Ok(Self { socket, pending: VecDeque::new() })
    }

    /// Stops hearing of what `route` itself changes: renewing 1000 addresses wakes nobody.
    ///
    /// # Errors
    /// When the kernel refuses the filter.
    pub fn ignore(&mut self, route: &Route) -> Result<()> {
        let port = route.port().doing(|| "cannot name our own netlink socket")?;
        // A classic filter loads words as big-endian whatever the host is.
        let ours = u32::from_be_bytes(port.to_ne_bytes());
        let program = filter::program(&[
            Step::LoadWord(SENDER_OFFSET),
            Step::SkipUnless(ours, 1),
            Step::Drop,
            Step::Pass,
        ]);
        os::socket_filter(&self.socket, &program).doing(|| "cannot filter our own network changes")
    }

    /// The next change, or `None` when there is none yet; never waits.
    ///
    /// # Errors
    /// When the socket fails; an overflow is a [`Change`], not an error.
    #[expect(clippy::should_implement_trait, reason = "a monitor never ends, and each step can fail")]
    pub fn next(&mut self) -> Result<Option<Change>> {
        while self.pending.is_empty() {
            match self.socket.receive() {
                Ok(Some(bytes)) => self.pending.extend(Messages(bytes).filter_map(parse)),
                Ok(None) => return Ok(None),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    return Ok(Some(Change::Overflow));
                }
                Err(error) => return Err(error).doing(|| "cannot read network changes"),
            }
        }
        Ok(self.pending.pop_front())
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn parse(message: Message<'_>) -> Option<Change> {
    match message.kind {
        NEW_LINK => Link::parse(message).map(Change::Link),
        DEL_LINK => Link::parse(message).map(|link| Change::LinkGone(link.index, link.name)),
        NEW_ADDR => IfAddr::parse(message).map(Change::Addr),
        DEL_ADDR => IfAddr::parse(message).map(Change::AddrGone),
        DEL_QDISC | DEL_FILTER => u32_at(message.body, 4).map(|index| Change::Filter { index }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::netlink::AddrSpec;
    use crate::testnet::{in_namespace, sh, until};

    fn drain(monitor: &mut Monitor) -> Vec<Change> {
        std::iter::from_fn(|| monitor.next().expect("changes")).collect()
    }

    #[test]
    fn what_others_change_is_heard_and_what_we_change_is_not() {
        in_namespace(
            "netlink::monitor::tests::what_others_change_is_heard_and_what_we_change_is_not",
            || {
                let mut route = Route::open().expect("route");
                let mut monitor = Monitor::open().expect("monitor");
                monitor.ignore(&route).expect("filter");
                sh("ip link add d0 type veth peer name d1 && ip link set d1 up && ip link set d0 up");
                let index =
                    route.links().expect("links").iter().find(|link| link.name == "d0").expect("d0").index;
                assert!(
                    drain(&mut monitor)
                        .iter()
                        .any(|c| matches!(c, Change::Link(link) if link.index == index && link.up))
                );
                let addr = "10.1.0.99".parse().expect("an address");
                let spec = AddrSpec { index, addr, prefix: 32, valid: Duration::from_secs(100) };
                assert!(route.set_addrs(&[spec])[0].is_ok());
                assert_eq!(
                    drain(&mut monitor)
                        .iter()
                        .filter(|c| matches!(c, Change::Addr(a) if a.addr == addr))
                        .count(),
                    0
                );
                sh("ip addr del 10.1.0.99/32 dev d0");
                let gone = |c: &Change| matches!(c, Change::AddrGone(a) if a.addr == addr && a.is_ours());
                assert!(drain(&mut monitor).iter().any(gone));
                sh("tc qdisc add dev d0 clsact && tc qdisc del dev d0 clsact");
                assert!(drain(&mut monitor).contains(&Change::Filter { index }));
                sh("ip link del d0");
                assert!(drain(&mut monitor).contains(&Change::LinkGone(index, "d0".to_owned())));
                assert_eq!(monitor.next().expect("quiet"), None);
            },
        );
    }

    #[test]
    fn an_expired_address_is_heard() {
        in_namespace("netlink::monitor::tests::an_expired_address_is_heard", || {
            let mut route = Route::open().expect("route");
            let mut monitor = Monitor::open().expect("monitor");
            monitor.ignore(&route).expect("filter");
            sh("ip link add d0 type veth peer name d1 && ip link set d1 up && ip link set d0 up");
            let index =
                route.links().expect("links").iter().find(|link| link.name == "d0").expect("d0").index;
            let addr = "10.1.0.99".parse().expect("an address");
            let spec = AddrSpec { index, addr, prefix: 32, valid: Duration::from_secs(1) };
            assert!(route.set_addrs(&[spec])[0].is_ok());
            until("the end of the address", || {
                drain(&mut monitor).iter().any(|c| matches!(c, Change::AddrGone(a) if a.addr == addr))
            });
        });
    }
}
