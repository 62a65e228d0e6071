//! What opens a stream: where it goes and for whom.

use std::net::{IpAddr, SocketAddr};

use super::fields::{Broken, Fields, put, text};

const TARGET: u8 = 1;
const VISITOR: u8 = 2;
const DESTINATION: u8 = 3;
const HOST: u8 = 4;
const HOP: u8 = 5;

/// The longest name of a target, host or hub, in bytes.
pub const NAME_MAX: usize = 255;

/// The most hubs that a stream may have come through.
pub const HOPS_MAX: usize = 8;

/// What a stream carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Bytes in order.
    #[default]
    Bytes,
    /// Datagrams, whose borders are kept and which may be lost.
    Datagrams,
}

/// What the side that opens a stream says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Open {
    /// What it carries.
    pub kind: Kind,
    /// The name of the target or route.
    pub target: String,
    /// Who came.
    pub visitor: Option<SocketAddr>,
    /// Where they came to.
    pub destination: Option<SocketAddr>,
    /// The host that they asked for, when it is known.
    pub host: Option<String>,
    /// The hubs that it has come through, first to last.
    pub hops: Vec<String>,
}

impl Open {
    /// Whether it can be sent.
    pub(super) fn fits(&self) -> bool {
        let names = self.hops.iter().chain(&self.host).chain([&self.target]);
        self.hops.len() <= HOPS_MAX
            && names.into_iter().all(|n| n.len() <= NAME_MAX && !n.chars().any(char::is_control))
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put(out, TARGET, self.target.as_bytes());
        if let Some(visitor) = self.visitor {
            addr(out, VISITOR, visitor);
        }
        if let Some(destination) = self.destination {
            addr(out, DESTINATION, destination);
        }
        if let Some(host) = &self.host {
            put(out, HOST, host.as_bytes());
        }
        self.hops.iter().for_each(|hop| put(out, HOP, hop.as_bytes()));
    }

    pub(super) fn read(kind: Kind, bytes: &[u8]) -> Result<Self, Broken> {
        let mut open = Self { kind, ..Self::default() };
        for field in Fields(bytes) {
            let (kind, bytes) = field?;
            match kind {
                TARGET => open.target = text(bytes, NAME_MAX)?,
                VISITOR => open.visitor = Some(read_addr(bytes)?),
                DESTINATION => open.destination = Some(read_addr(bytes)?),
                HOST => open.host = Some(text(bytes, NAME_MAX)?),
                // A list that is cut short would hide a loop.
                HOP if open.hops.len() == HOPS_MAX => return Err(Broken),
                HOP => open.hops.push(text(bytes, NAME_MAX)?),
                _ => {}
            }
        }
        Ok(open)
    }
}

/// Address 4 or 16, port 2.
fn addr(out: &mut Vec<u8>, kind: u8, addr: SocketAddr) {
    let port = addr.port().to_be_bytes();
    match addr.ip() {
        IpAddr::V4(ip) => put(out, kind, &[&ip.octets()[..], &port].concat()),
        IpAddr::V6(ip) => put(out, kind, &[&ip.octets()[..], &port].concat()),
    }
}

fn read_addr(bytes: &[u8]) -> Result<SocketAddr, Broken> {
    let (ip, port) = bytes.split_last_chunk::<2>().ok_or(Broken)?;
    let ip = match ip.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(ip).map_err(|_| Broken)?),
        16 => IpAddr::from(<[u8; 16]>::try_from(ip).map_err(|_| Broken)?),
        _ => return Err(Broken),
    };
    Ok(SocketAddr::new(ip, u16::from_be_bytes(*port)))
}
