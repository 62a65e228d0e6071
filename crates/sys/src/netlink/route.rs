//! Asking the kernel about interfaces and addresses, and changing addresses many at a time.

use std::io;
use std::net::IpAddr;

use super::address::{AddrSpec, IfAddr, write_address};
use super::link::Link;
use super::socket::{ACK, CREATE, REPLACE, REQUEST, Socket};
use super::wire::Batch;
use crate::error::{Doing, Result};

/// `RTM_NEWLINK`, the kind of each answer to `RTM_GETLINK`.
pub(super) const NEW_LINK: u16 = 16;
/// `RTM_DELLINK`.
pub(super) const DEL_LINK: u16 = 17;
const GET_LINK: u16 = 18;
/// `RTM_NEWADDR`.
pub(super) const NEW_ADDR: u16 = 20;
/// `RTM_DELADDR`.
pub(super) const DEL_ADDR: u16 = 21;
const GET_ADDR: u16 = 22;
/// `IFLA_EXT_MASK` and in it `RTEXT_FILTER_SKIP_STATS`: counters are two thirds of a link's bytes.
const EXT_MASK: u16 = 29;
const SKIP_STATS: u32 = 1 << 3;
/// Requests in one system call. Only failures and the last one are answered, so the receive buffer holds them all.
const BATCH: usize = 256;

/// A socket to ask and to change.
pub struct Route {
    socket: Socket,
    batch: Batch,
}

impl Route {
    /// Opens the socket; asking needs no privilege, changing needs `CAP_NET_ADMIN`.
    ///
    /// # Errors
    /// When the kernel refuses a netlink socket.
    pub fn open() -> Result<Self> {
        let socket = Socket::open(None, &[]).doing(|| "cannot open a netlink socket")?;
        Ok(Self { socket, batch: Batch::new() })
    }

    /// The number that notifications carry for what this socket changed.
    pub(super) fn port(&self) -> io::Result<u32> {
        self.socket.port()
    }

    /// All interfaces of this network namespace.
    ///
    /// # Errors
    /// When the kernel does not list them.
    pub fn links(&mut self) -> Result<Vec<Link>> {
        let body = |batch: &mut Batch| {
            batch.put(&[0; 16]);
            batch.attr(EXT_MASK, &SKIP_STATS.to_ne_bytes());
        };
        self.socket
            .dump(GET_LINK, body, |message| {
                (message.kind == NEW_LINK).then(|| Link::parse(message)).flatten()
            })
            .doing(|| "cannot list interfaces")
    }

    /// All addresses, IPv4 and IPv6, of this network namespace.
    ///
    /// # Errors
    /// When the kernel does not list them.
    pub fn addrs(&mut self) -> Result<Vec<IfAddr>> {
        let body = |batch: &mut Batch| batch.put(&[0; 8]);
        self.socket
            .dump(GET_ADDR, body, |message| {
                (message.kind == NEW_ADDR).then(|| IfAddr::parse(message)).flatten()
            })
            .doing(|| "cannot list addresses")
    }

    /// Adds addresses, or gives those that exist a new lifetime; one result for each, in order.
    pub fn set_addrs(&mut self, specs: &[AddrSpec]) -> Vec<io::Result<()>> {
        self.batched(specs, NEW_ADDR, CREATE | REPLACE, |spec, batch| spec.write(batch))
    }

    /// Deletes addresses (interface, address, prefix); one result for each, in order. `EADDRNOTAVAIL` is one that
    /// wasn't there.
    pub fn del_addrs(&mut self, addrs: &[(u32, IpAddr, u8)]) -> Vec<io::Result<()>> {
        self.batched(addrs, DEL_ADDR, 0, |(index, addr, prefix), batch| {
            write_address(batch, *index, *addr, *prefix, 0);
        })
    }

    fn batched<T>(
        &mut self,
        items: &[T],
        kind: u16,
        flags: u16,
        write: impl Fn(&T, &mut Batch),
    ) -> Vec<io::Result<()>> {
        let mut results = Vec::with_capacity(items.len());
        for chunk in items.chunks(BATCH) {
            let start = results.len();
            results.extend(chunk.iter().map(|_| Ok(())));
            let first = self.socket.next_seq();
            let mut last = first;
            self.batch.clear();
            for (at, item) in chunk.iter().enumerate() {
                if at > 0 {
                    last = self.socket.next_seq();
                }
                let ack = if at + 1 == chunk.len() { ACK } else { 0 };
                self.batch.begin(kind, REQUEST | ack | flags, last);
                write(item, &mut self.batch);
            }
            let answers = &mut results[start..];
            let sent = self.socket.transact(self.batch.bytes(), first, last, |seq, error| {
                let at = usize::try_from(seq - first).unwrap_or(usize::MAX);
                if let Some(answer) = answers.get_mut(at) {
                    *answer = Err(error);
                }
            });
            if let Err(error) = sent {
                for answer in answers.iter_mut().filter(|answer| answer.is_ok()) {
                    *answer = Err(io::Error::new(error.kind(), error.to_string()));
                }
            }
        }
        results
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::netlink::OUR_MARK;
    use crate::testnet::{in_namespace, sh, until};

    const CLEAN_UP: Duration = Duration::from_secs(100);

    fn wired(route: &mut Route) -> u32 {
        sh(
            "ip link add d0 address 02:00:00:00:00:07 type veth peer name d1 && ip link set d1 up && ip addr add 10.1.0.1/24 dev d0",
        );
        sh("ip link set d0 up && ip addr add fd01::1/64 dev d0 nodad");
        route.links().expect("links").iter().find(|link| link.name == "d0").expect("d0").index
    }

    fn spec(index: u32, addr: &str, prefix: u8) -> AddrSpec {
        AddrSpec { index, addr: addr.parse().expect("an address"), prefix, valid: CLEAN_UP }
    }

    #[test]
    fn an_interface_is_listed_as_it_is() {
        in_namespace("netlink::route::tests::an_interface_is_listed_as_it_is", || {
            let mut route = Route::open().expect("route");
            let index = wired(&mut route);
            let links = route.links().expect("links");
            assert!(links.iter().any(|link| link.loopback && link.name == "lo"));
            let link = links.iter().find(|link| link.index == index).expect("d0");
            assert_eq!(link.mac, Some([2, 0, 0, 0, 0, 7]));
            assert_eq!((link.mtu, link.up, link.carrier, link.ethernet), (1500, true, true, true));
            sh("ip link set d0 down");
            let links = route.links().expect("links");
            let link = links.iter().find(|link| link.index == index).expect("d0");
            assert_eq!((link.up, link.carrier), (false, false));
        });
    }

    #[test]
    fn an_address_is_added_marked_renewed_and_deleted() {
        in_namespace("netlink::route::tests::an_address_is_added_marked_renewed_and_deleted", || {
            let mut route = Route::open().expect("route");
            let index = wired(&mut route);
            let specs = [spec(index, "10.1.0.99", 32), spec(index, "fd01::99", 128)];
            for _ in 0..2 {
                assert!(route.set_addrs(&specs).iter().all(io::Result::is_ok));
            }
            for spec in &specs {
                let addrs = route.addrs().expect("addrs");
                let found: Vec<_> = addrs.iter().filter(|found| found.addr == spec.addr).collect();
                assert_eq!(found.len(), 1, "{addrs:?}");
                assert_eq!(
                    (found[0].prefix, found[0].proto, found[0].tentative),
                    (spec.prefix, Some(OUR_MARK), false)
                );
                assert!(found[0].valid.is_some_and(|valid| valid <= CLEAN_UP));
                assert!(found[0].is_ours());
            }
            let gone = specs.map(|spec| (index, spec.addr, spec.prefix));
            assert!(route.del_addrs(&gone).iter().all(io::Result::is_ok));
            for again in route.del_addrs(&gone) {
                assert_eq!(again.expect_err("gone").raw_os_error(), Some(libc::EADDRNOTAVAIL));
            }
            assert!(!route.addrs().expect("addrs").iter().any(crate::netlink::IfAddr::is_ours));
        });
    }

    #[test]
    fn a_refused_address_does_not_spoil_its_batch() {
        in_namespace("netlink::route::tests::a_refused_address_does_not_spoil_its_batch", || {
            let mut route = Route::open().expect("route");
            let index = wired(&mut route);
            let specs =
                [spec(index, "10.1.0.98", 32), spec(99, "10.1.0.97", 32), spec(index, "10.1.0.96", 32)];
            let results = route.set_addrs(&specs);
            assert!(results[0].is_ok() && results[2].is_ok());
            assert_eq!(
                results[1].as_ref().expect_err("no such interface").raw_os_error(),
                Some(libc::ENODEV)
            );
        });
    }

    #[test]
    fn an_address_that_is_not_renewed_goes_by_itself() {
        in_namespace("netlink::route::tests::an_address_that_is_not_renewed_goes_by_itself", || {
            let mut route = Route::open().expect("route");
            let index = wired(&mut route);
            let valid = Duration::from_secs(1);
            let specs = ["10.1.0.99", "fd01::99"].map(|addr| {
                let prefix = if addr.contains(':') { 128 } else { 32 };
                AddrSpec { valid, ..spec(index, addr, prefix) }
            });
            assert!(route.set_addrs(&specs).iter().all(io::Result::is_ok));
            until("the end of both", || {
                !route.addrs().expect("addrs").iter().any(crate::netlink::IfAddr::is_ours)
            });
        });
    }

    #[test]
    fn a_vip_never_becomes_a_source_whatever_the_order() {
        in_namespace("netlink::route::tests::a_vip_never_becomes_a_source_whatever_the_order", || {
            let mut route = Route::open().expect("route");
            let index = wired(&mut route);
            sh("ip route add default via 10.1.0.254 && ip route add 10.77.0.0/16 dev d0 scope link");
            let specs = [spec(index, "10.1.0.99", 32), spec(index, "fd01::99", 128)];
            let sources = || {
                let mut all = String::new();
                for to in ["10.1.0.50", "192.0.2.1", "10.77.0.1", "224.0.0.18 oif d0", "fd01::50"] {
                    all += &sh(&format!("ip -o route get {to}"));
                }
                all
            };
            assert!(route.set_addrs(&specs).iter().all(io::Result::is_ok));
            assert!(!sources().contains(".99") && !sources().contains("::99"), "{}", sources());
            // The node's own addresses come back behind the vip, as after a renewed DHCP lease.
            sh("ip addr flush dev d0 to 10.1.0.1 && ip addr add 10.1.0.1/24 dev d0");
            sh("ip addr del fd01::1/64 dev d0 && ip addr add fd01::1/64 dev d0 nodad");
            sh("ip route add default via 10.1.0.254; ip route replace 10.77.0.0/16 dev d0 scope link");
            assert!(!sources().contains(".99") && !sources().contains("::99"), "{}", sources());
        });
    }

    #[test]
    fn a_thousand_addresses_go_in_one_breath() {
        in_namespace("netlink::route::tests::a_thousand_addresses_go_in_one_breath", || {
            let mut route = Route::open().expect("route");
            let index = wired(&mut route);
            let specs: Vec<_> =
                (0..1000).map(|n| spec(index, &format!("10.2.{}.{}", n / 250, n % 250 + 1), 32)).collect();
            for what in ["add", "renew"] {
                let start = Instant::now();
                assert!(route.set_addrs(&specs).iter().all(io::Result::is_ok));
                eprintln!("{what} 1000 addresses: {:?}", start.elapsed());
            }
            let start = Instant::now();
            assert_eq!(route.addrs().expect("addrs").iter().filter(|addr| addr.is_ours()).count(), 1000);
            eprintln!("list 1000 addresses: {:?}", start.elapsed());
            let gone: Vec<_> = specs.iter().map(|spec| (index, spec.addr, 32)).collect();
            let start = Instant::now();
            assert!(route.del_addrs(&gone).iter().all(io::Result::is_ok));
            eprintln!("delete 1000 addresses: {:?}", start.elapsed());
        });
    }
}
