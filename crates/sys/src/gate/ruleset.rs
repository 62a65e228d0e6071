//! The nft gate's tables as nfnetlink messages (linux/netfilter/nf_tables.h).
//!
//! ```text
//! table inet mainstay_gate {                       table arp mainstay_gate {
//!   set guarded4, guarded6: addresses                set guarded4, armed4
//!   set armed4, armed6: addresses with timeouts
//!   in:  prerouting, ip daddr, ip6 daddr,            in:  target ip guarded, not armed, and the
//!        target of a neighbour solicitation               sender is none of ours: drop
//!   out: postrouting, ip saddr, ip6 saddr,           out: sender ip
//!        target of a neighbour advertisement
//!        guarded and not armed: drop
//! }                                                }
//! ```

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use crate::netlink::Socket;
use crate::netlink::request::{ACK, CREATE, REQUEST};
use crate::netlink::wire::Batch;

/// The name of both tables.
pub(super) const TABLE: &str = "mainstay_gate";
/// `NFPROTO_INET`.
pub(super) const INET: u8 = 1;
/// `NFPROTO_ARP`.
pub(super) const ARP: u8 = 3;
/// `NFNL_SUBSYS_NFTABLES`.
pub(super) const SUBSYSTEM: u8 = 10;
/// Messages of the subsystem.
pub(super) const NEW_TABLE: u8 = 0;
pub(super) const GET_TABLE: u8 = 1;
pub(super) const DEL_TABLE: u8 = 2;
const NEW_CHAIN: u8 = 3;
pub(super) const DEL_CHAIN: u8 = 5;
pub(super) const NEW_RULE: u8 = 6;
pub(super) const GET_RULE: u8 = 7;
pub(super) const DEL_RULE: u8 = 8;
const NEW_SET: u8 = 9;
pub(super) const DEL_SET: u8 = 11;
const NEW_ELEMENT: u8 = 12;
const DEL_ELEMENT: u8 = 14;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// Only the owner's socket changes the table, and nobody's flush touches it (Linux 5.12); it outlives the owner (6.9).
const OWNER_PERSIST: u32 = 2 | 4;
/// Elements in one message: attributes are at most 64 KiB long.
const ELEMENTS: usize = 500;

/// Offsets into an IPv4 header, an IPv6 header, an ARP packet.
const IP4: [u32; 2] = [16, 12];
const IP6: [u32; 2] = [24, 8];
const ARP_TARGET: u32 = 24;
const ARP_SENDER: u32 = 14;
/// Register 1, which holds 16 bytes.
const REGISTER: u32 = 1;

/// A set of one family's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    /// Addresses that are closed unless armed.
    Guarded,
    /// Addresses that are open until their timeout.
    Armed,
}

impl Set {
    fn name(self, v6: bool) -> &'static str {
        match (self, v6) {
            (Self::Guarded, false) => "guarded4",
            (Self::Guarded, true) => "guarded6",
            (Self::Armed, false) => "armed4",
            (Self::Armed, true) => "armed6",
        }
    }
}

/// One transaction under construction.
pub(super) struct Transaction<'a> {
    socket: &'a mut Socket,
    batch: Batch,
    first: u32,
    /// The number of the last message.
    last: u32,
}

/// `nlmsg_type` of a message of the subsystem.
pub(super) fn kind(message: u8) -> u16 {
    u16::from(SUBSYSTEM) << 8 | u16::from(message)
}

/// `struct nfgenmsg`.
pub(super) fn put_head(batch: &mut Batch, family: u8, resource: u16) {
    let [high, low] = resource.to_be_bytes();
    batch.put(&[family, 0, high, low]);
}

impl<'a> Transaction<'a> {
    /// An empty transaction.
    pub(super) fn new(socket: &'a mut Socket) -> Self {
        let first = socket.next_seq();
        let mut batch = Batch::new();
        batch.begin(BATCH_BEGIN, REQUEST, first);
        put_head(&mut batch, 0, u16::from(SUBSYSTEM));
        Self { socket, batch, first, last: first }
    }

    /// Sends it: all of it happens, or nothing.
    pub(super) fn commit(mut self) -> io::Result<()> {
        if self.last == self.first {
            return Ok(());
        }
        self.batch.add_flags(ACK);
        let end = self.socket.next_seq();
        self.batch.begin(BATCH_END, REQUEST, end);
        put_head(&mut self.batch, 0, u16::from(SUBSYSTEM));
        let mut refused = None;
        self.socket.transact(self.batch.bytes(), self.first, self.last, |_, error| {
            refused.get_or_insert(error);
        })?;
        refused.map_or(Ok(()), Err)
    }

    fn message(&mut self, message: u8, family: u8, flags: u16, body: impl FnOnce(&mut Batch)) {
        self.last = self.socket.next_seq();
        self.batch.begin(kind(message), flags, self.last);
        put_head(&mut self.batch, family, 0);
        body(&mut self.batch);
    }

    /// Deletes a family's table and all in it.
    pub(super) fn delete_table(&mut self, family: u8) {
        self.message(DEL_TABLE, family, REQUEST, |batch| batch.attr_text(1, TABLE));
    }

    /// Makes both tables with their empty sets, their chains and rules.
    pub(super) fn create_tables(&mut self, owned: bool) {
        for family in [INET, ARP] {
            let flags = if owned { OWNER_PERSIST } else { 0 };
            self.message(NEW_TABLE, family, REQUEST | CREATE, |batch| {
                batch.attr_text(1, TABLE);
                batch.attr(2, &flags.to_be_bytes());
            });
            let mut id = 0u32;
            for v6 in [false, true].into_iter().filter(|v6| !v6 || family == INET) {
                for set in [Set::Guarded, Set::Armed] {
                    id += 1;
                    self.create_set(family, set, v6, id);
                }
            }
        }
        // Before connection tracking and address translation on the way in, after both on the way out.
        self.create_chain(INET, "in", 0, -310);
        self.create_chain(INET, "out", 4, 310);
        for (at, chain, neighbour) in [(0, "in", 135), (1, "out", 136)] {
            self.rule(INET, chain, |rule| {
                rule.family(false).network(IP4[at], 4).closed(false);
            });
            self.rule(INET, chain, |rule| {
                rule.family(true).network(IP6[at], 16).closed(true);
            });
            self.rule(INET, chain, |rule| {
                rule.icmpv6(neighbour).transport(8, 16).closed(true);
            });
        }
        self.create_chain(ARP, "in", 0, 0);
        self.create_chain(ARP, "out", 1, 0);
        // An announcement (sender and target are one) comes in, or this host's neighbours would go stale.
        self.rule(ARP, "in", |rule| {
            rule.network(ARP_SENDER, 4)
                .lookup(Set::Guarded, false, true)
                .network(ARP_TARGET, 4)
                .closed(false);
        });
        self.rule(ARP, "out", |rule| {
            rule.network(ARP_SENDER, 4).closed(false);
        });
    }

    fn create_set(&mut self, family: u8, set: Set, v6: bool, id: u32) {
        /// `NFT_SET_TIMEOUT`.
        const TIMEOUT: u32 = 0x10;
        // The type is for nft's eyes: ipv4_addr, ipv6_addr.
        let (shown_as, len) = if v6 { (8u32, 16u32) } else { (7, 4) };
        let flags = if set == Set::Armed { TIMEOUT } else { 0 };
        self.message(NEW_SET, family, REQUEST | CREATE, |batch| {
            batch.attr_text(1, TABLE);
            batch.attr_text(2, set.name(v6));
            for (kind, number) in [(3, flags), (4, shown_as), (5, len), (10, id)] {
                batch.attr(kind, &number.to_be_bytes());
            }
        });
    }

    fn create_chain(&mut self, family: u8, name: &str, hook: u32, priority: i32) {
        self.message(NEW_CHAIN, family, REQUEST | CREATE, |batch| {
            batch.attr_text(1, TABLE);
            batch.attr_text(3, name);
            batch.nest(4, |inside| {
                inside.attr(1, &hook.to_be_bytes());
                inside.attr(2, &priority.to_be_bytes());
            });
            batch.attr_text(7, "filter");
        });
    }

    fn rule(&mut self, family: u8, chain: &str, write: impl FnOnce(&mut Rule<'_>)) {
        /// `NLM_F_APPEND`.
        const APPEND: u16 = 0x800;
        self.message(NEW_RULE, family, REQUEST | CREATE | APPEND, |batch| {
            batch.attr_text(1, TABLE);
            batch.attr_text(2, chain);
            batch.nest(4, |inside| write(&mut Rule(inside)));
        });
    }

    /// Adds elements; those of an armed set end after their timeout.
    pub(super) fn add(&mut self, set: Set, elements: &[(IpAddr, Duration)]) {
        self.elements(NEW_ELEMENT, REQUEST | CREATE, set, elements);
    }

    /// Deletes elements, which must exist.
    pub(super) fn delete(&mut self, set: Set, elements: &[(IpAddr, Duration)]) {
        self.elements(DEL_ELEMENT, REQUEST, set, elements);
    }

    fn elements(&mut self, message: u8, flags: u16, set: Set, elements: &[(IpAddr, Duration)]) {
        for (family, v6) in [(INET, false), (INET, true), (ARP, false)] {
            let these: Vec<_> = elements.iter().filter(|(addr, _)| addr.is_ipv6() == v6).collect();
            for chunk in these.chunks(ELEMENTS) {
                self.message(message, family, flags, |batch| {
                    batch.attr_text(1, TABLE);
                    batch.attr_text(2, set.name(v6));
                    batch.nest(3, |list| {
                        for (addr, timeout) in chunk {
                            let timed = set == Set::Armed && message == NEW_ELEMENT;
                            put_element(list, *addr, timed.then_some(*timeout));
                        }
                    });
                });
            }
        }
    }
}

fn put_element(list: &mut Batch, addr: IpAddr, timeout: Option<Duration>) {
    list.nest(1, |element| {
        element.nest(1, |key| match addr {
            IpAddr::V4(addr) => key.attr(1, &addr.octets()),
            IpAddr::V6(addr) => key.attr(1, &addr.octets()),
        });
        if let Some(timeout) = timeout {
            let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
            element.attr(4, &millis.to_be_bytes());
        }
    });
}

/// The expressions of one rule, in order.
struct Rule<'a>(&'a mut Batch);

impl Rule<'_> {
    fn expression(&mut self, name: &str, data: impl FnOnce(&mut Batch)) -> &mut Self {
        self.0.nest(1, |element| {
            element.attr_text(1, name);
            element.nest(2, data);
        });
        self
    }

    fn meta(&mut self, key: u32) -> &mut Self {
        self.expression("meta", |data| {
            data.attr(1, &REGISTER.to_be_bytes());
            data.attr(2, &key.to_be_bytes());
        })
    }

    fn is(&mut self, value: u8) -> &mut Self {
        self.expression("cmp", |data| {
            data.attr(1, &REGISTER.to_be_bytes());
            data.attr(2, &0u32.to_be_bytes());
            data.nest(3, |inside| inside.attr(1, &[value]));
        })
    }

    fn payload(&mut self, base: u32, offset: u32, len: u32) -> &mut Self {
        self.expression("payload", |data| {
            for (kind, number) in [(1, REGISTER), (2, base), (3, offset), (4, len)] {
                data.attr(kind, &number.to_be_bytes());
            }
        })
    }

    fn network(&mut self, offset: u32, len: u32) -> &mut Self {
        self.payload(1, offset, len)
    }

    fn transport(&mut self, offset: u32, len: u32) -> &mut Self {
        self.payload(2, offset, len)
    }

    /// `meta nfproto ipv4` or `ipv6`.
    fn family(&mut self, v6: bool) -> &mut Self {
        self.meta(15).is(if v6 { 10 } else { 2 })
    }

    /// ICMPv6 of one type, behind whatever extension headers.
    fn icmpv6(&mut self, message: u8) -> &mut Self {
        self.family(true).meta(16).is(58).transport(0, 1).is(message)
    }

    fn lookup(&mut self, set: Set, v6: bool, invert: bool) -> &mut Self {
        self.expression("lookup", |data| {
            data.attr_text(1, set.name(v6));
            data.attr(2, &REGISTER.to_be_bytes());
            data.attr(5, &u32::from(invert).to_be_bytes());
        })
    }

    /// Drops when the loaded address is guarded and not armed.
    fn closed(&mut self, v6: bool) -> &mut Self {
        self.lookup(Set::Guarded, v6, false).lookup(Set::Armed, v6, true).expression("immediate", |data| {
            data.attr(1, &0u32.to_be_bytes());
            data.nest(2, |inside| inside.nest(2, |verdict| verdict.attr(1, &0u32.to_be_bytes())));
        })
    }
}
