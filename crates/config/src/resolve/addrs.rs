//! The addresses of a vip: advertised ones of one family, further ones beside them, each on an interface.

use std::collections::HashMap;
use std::net::IpAddr;

use mainstay_core::name::LinkId;

use super::Resolver;
use crate::plan::Addr;
use crate::read::Header;
use crate::source::{At, Span};
use crate::values::AddrEntry;

type Entries = Option<At<Vec<At<AddrEntry>>>>;

/// An advert counts its addresses in one byte (RFC 9568 5.2.5).
const MOST_IPV4: usize = 255;
/// More don't fit a packet of 1500 bytes.
const MOST_IPV6: usize = 90;
/// Beside the adverts only memory is a limit.
const MOST_UNADVERTISED: usize = 4096;

/// An address with the place where it was written.
pub(super) struct Placed {
    pub(super) addr: Addr,
    pub(super) span: Span,
}

impl Resolver<'_> {
    /// The advertised addresses and their family (true: IPv6).
    pub(super) fn advertised(
        &mut self,
        list: &Entries,
        header: &Header,
        link: LinkId,
        who: &str,
    ) -> (Vec<Placed>, bool) {
        let Some(list) = self.required(list, header, who, "addrs") else { return (Vec::new(), false) };
        if list.value.is_empty() {
            let help = "write addrs = [\"10.0.4.99\"]; with install = false it is named in adverts but not put anywhere";
            self.error(list.span, format!("{who} has no address"), help);
        }
        let placed = self.placed(&list.value, link, who);
        let ipv6 = placed.first().is_some_and(|first| first.addr.addr.is_ipv6());
        if let Some(other) = placed.iter().find(|placed| placed.addr.addr.is_ipv6() != ipv6) {
            let message = format!("{who}: {} is of another family than the first address", other.addr.addr);
            self.error(other.span, message, "move it to `unadvertised`, or give it a vip of its own");
        }
        let most = if ipv6 { MOST_IPV6 } else { MOST_IPV4 };
        if placed.len() > most {
            let message =
                format!("{who}: {} addresses don't fit one advert, at most {most} do", placed.len());
            self.error(list.span, message, "move the others to `unadvertised`");
        }
        (placed, ipv6)
    }

    pub(super) fn unadvertised(
        &mut self,
        list: &Entries,
        link: LinkId,
        install: bool,
        who: &str,
    ) -> Vec<Placed> {
        let Some(list) = list else { return Vec::new() };
        if !install {
            let message = format!(
                "{who}: with install = false `unadvertised` addresses are neither told nor put anywhere"
            );
            self.error(list.span, message, "take them out, or write install = true");
        }
        if list.value.len() > MOST_UNADVERTISED {
            let message = format!("{who}: more than {MOST_UNADVERTISED} addresses");
            self.error(list.span, message, "spread them over several vips");
            return Vec::new();
        }
        self.placed(&list.value, link, who)
    }

    fn placed(&mut self, entries: &[At<AddrEntry>], link: LinkId, who: &str) -> Vec<Placed> {
        let mut placed = Vec::new();
        for At { value: entry, .. } in entries {
            let link = entry.interface.as_ref().map_or(link, |name| self.link(name, who));
            if let Some((addr, prefix)) = self.addr(&entry.addr, who) {
                placed.push(Placed { addr: Addr { addr, prefix, link }, span: entry.addr.span });
            }
        }
        placed
    }

    /// An address that a host can have, with its prefix length.
    fn addr(&mut self, text: &At<String>, who: &str) -> Option<(IpAddr, u8)> {
        let (addr, prefix) = match text.value.split_once('/') {
            Some((addr, prefix)) => (addr, Some(prefix)),
            None => (text.value.as_str(), None),
        };
        let Ok(addr) = addr.parse::<IpAddr>() else {
            let message = format!("{who}: \"{}\" is not an address", text.value);
            self.error(
                text.span,
                message,
                "write \"10.0.4.99\" or \"2001:db8::99\", with a prefix length only on purpose",
            );
            return None;
        };
        let longest = if addr.is_ipv6() { 128 } else { 32 };
        let prefix = match prefix.map(str::parse) {
            None => longest,
            Some(Ok(prefix)) if (1..=longest).contains(&prefix) => prefix,
            Some(_) => {
                let message = format!("{who}: \"{}\" has no such prefix length", text.value);
                self.error(text.span, message, format!("write \"{addr}\" alone, or /1 to /{longest}"));
                return None;
            }
        };
        if let Some(what) = unfit(addr, prefix) {
            let message = format!("{who}: {} is {what}, no host can have it", text.value);
            self.error(text.span, message, "write an address of the subnet that clients use");
            return None;
        }
        Some((addr, prefix))
    }

    /// An address stands in one vip only. Link-local ones may stand on several interfaces.
    pub(super) fn twice(
        &mut self,
        placed: &[Placed],
        taken: &mut HashMap<(IpAddr, Option<LinkId>), (String, Span)>,
        name: &str,
    ) {
        for Placed { addr, span } in placed {
            let scope = link_local(addr.addr).then_some(addr.link);
            let Some((other, first)) = taken.get(&(addr.addr, scope)) else {
                taken.insert((addr.addr, scope), (name.to_owned(), *span));
                continue;
            };
            let place = self.findings.sources.line_of(*first);
            let message = if other == name {
                format!("vip \"{name}\": {} stands there twice, first at {place}", addr.addr)
            } else {
                format!("vip \"{name}\": {} belongs to vip \"{other}\" already, at {place}", addr.addr)
            };
            self.error(
                *span,
                message,
                "keep it in one place: two vips with one address move it against each other",
            );
        }
    }
}

/// What an address is that can't be a host's.
fn unfit(addr: IpAddr, prefix: u8) -> Option<&'static str> {
    if addr.is_unspecified() {
        return Some("the unspecified address");
    }
    if addr.is_multicast() {
        return Some("a multicast address");
    }
    if addr.is_loopback() {
        return Some("a loopback address");
    }
    match addr {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
            let host = v4.to_bits() & mask;
            match prefix {
                _ if v4.is_broadcast() => Some("the broadcast address"),
                31.. => None,
                _ if host == 0 => Some("the address of a network"),
                _ if host == mask => Some("the broadcast address of its network"),
                _ => None,
            }
        }
        IpAddr::V6(_) => None,
    }
}

fn link_local(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}
