//! Adverts of somebody who is none of us: who sent them, for which vip, and what is wrong with them.

use std::net::IpAddr;
use std::time::Duration;

use crate::election::Packet;
use crate::election::vip::Vip;
use crate::election::vips::Vips;
use crate::election::world::World;
use crate::name::VipId;
use crate::time::Boot;
use crate::vrrp::{self, Advert, Reject};

/// Strangers that wait to be fetched; those of more are counted by cause only.
const WAITING: usize = 32;

/// Adverts of other router ids are looked at no more often than this: to find whose addresses they name takes time.
const LOOK: Duration = Duration::from_millis(10);

/// Adverts that no node of ours would send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stranger {
    /// For which vip.
    pub vip: VipId,
    /// Where they come from.
    pub from: IpAddr,
    /// Why they are refused; absent when nothing is wrong with them but that there should be none.
    pub refused: Option<Reject>,
    /// How many.
    pub count: u64,
}

/// Those who were heard and not fetched.
#[derive(Clone, Debug, Default)]
pub(super) struct Strangers {
    waiting: Vec<Stranger>,
    looked: Option<Boot>,
}

impl Strangers {
    fn note(&mut self, vip: VipId, from: IpAddr, refused: Option<Reject>) {
        if let Some(known) = self.waiting.iter_mut().find(|known| (known.vip, known.from) == (vip, from)) {
            known.count += 1;
        } else if self.waiting.len() < WAITING {
            self.waiting.push(Stranger { vip, from, refused, count: 1 });
        }
    }
}

/// Whether a refusal tells of a router that would take the address, rather than of a damaged or forged packet.
const fn is_rival(refused: Reject) -> bool {
    match refused {
        Reject::ChecksumForm
        | Reject::VersionMismatch
        | Reject::AuthType
        | Reject::Password
        | Reject::Interval
        | Reject::Addrs
        | Reject::Source
        | Reject::Destination
        | Reject::Owner => true,
        Reject::Short
        | Reject::Version
        | Reject::Type
        | Reject::Family
        | Reject::Ttl
        | Reject::Count
        | Reject::Length
        | Reject::Checksum
        | Reject::Vrid
        | Reject::OwnAddress
        | Reject::Link => false,
    }
}

impl Vip {
    /// An advert for a vip for which nobody who may hold it sends any.
    pub(super) fn note_stranger(&self, w: &mut World, from: IpAddr) {
        w.strangers.note(self.id, from, None);
    }

    /// An advert that was refused.
    pub(super) fn note_refused(&self, w: &mut World, from: IpAddr, refused: Reject) {
        if is_rival(refused) {
            w.strangers.note(self.id, from, Some(refused));
        }
    }
}

impl Vips {
    /// The next of those whose adverts no node of ours would send.
    #[must_use]
    pub fn poll_stranger(&mut self) -> Option<Stranger> {
        self.w.strangers.waiting.pop()
    }

    /// A well-formed advert of a router id that no vip of the link has: it may name our addresses all the same.
    pub(super) fn look_at_stray(&mut self, packet: &Packet<'_>, advert: &Advert) {
        let now = self.w.now;
        if packet.ttl != vrrp::TTL || self.w.strangers.looked.is_some_and(|at| now.since(at) < LOOK) {
            return;
        }
        self.w.strangers.looked = Some(now);
        let of_link = self.vips.iter().filter(|vip| vip.spec.link == packet.link);
        let named =
            of_link.filter(|vip| advert.addrs.iter().any(|addr| vip.sorted.binary_search(addr).is_ok()));
        for vip in named {
            self.w.strangers.note(vip.id, packet.from, Some(Reject::Vrid));
        }
    }
}
