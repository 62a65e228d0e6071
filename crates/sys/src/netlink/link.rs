//! Interfaces as the kernel lists them.

use super::wire::{Message, attr, text, u16_at, u32_at};

/// `IFLA_ADDRESS`.
const ADDRESS: u16 = 1;
/// `IFLA_IFNAME`.
const IFNAME: u16 = 3;
/// `IFLA_MTU`.
const MTU: u16 = 4;
/// `IFLA_MASTER`.
const MASTER: u16 = 10;
/// `IFLA_CARRIER`.
const CARRIER: u16 = 33;
/// `ARPHRD_ETHER`.
const HARDWARE_ETHERNET: u16 = 1;
/// `ARPHRD_LOOPBACK`, whose frames have an Ethernet header too.
const HARDWARE_LOOPBACK: u16 = 772;

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number, never used again within a boot for another interface of this namespace while it exists.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// An operator set it up.
    pub up: bool,
    /// It is up and there is somebody at the other end of the wire.
    pub carrier: bool,
    /// Its Ethernet address, if it has one.
    pub mac: Option<[u8; 6]>,
    /// The largest packet it takes, in bytes.
    pub mtu: u32,
    /// It is the loopback interface.
    pub loopback: bool,
    /// Its frames begin with an Ethernet header.
    pub ethernet: bool,
    /// It belongs to another interface: a port of a bridge, a part of a bond.
    pub port: bool,
}

impl Link {
    /// Reads `RTM_NEWLINK` or `RTM_DELLINK`; `None` for what isn't an interface's own state, such as a bridge port's.
    pub(super) fn parse(message: Message<'_>) -> Option<Self> {
        let body = message.body;
        if i32::from(*body.first()?) != libc::AF_UNSPEC {
            return None;
        }
        let hardware = u16_at(body, 2)?;
        let flags = u32_at(body, 8)?.cast_signed();
        let attrs = body.get(16..)?;
        let up = flags & libc::IFF_UP != 0;
        let carrier = match attr(attrs, CARRIER) {
            Some(value) => value.first() == Some(&1),
            None => flags & libc::IFF_RUNNING != 0,
        };
        let ethernet = hardware == HARDWARE_ETHERNET || hardware == HARDWARE_LOOPBACK;
        Some(Self {
            index: u32_at(body, 4)?,
            name: text(attr(attrs, IFNAME)?),
            up,
            carrier: up && carrier,
            mac: attr(attrs, ADDRESS).and_then(|mac| mac.try_into().ok()).filter(|_| ethernet),
            mtu: attr(attrs, MTU).and_then(|mtu| u32_at(mtu, 0)).unwrap_or(0),
            loopback: flags & libc::IFF_LOOPBACK != 0,
            ethernet,
            port: attr(attrs, MASTER).and_then(|of| u32_at(of, 0)).is_some_and(|of| of != 0),
        })
    }
}
