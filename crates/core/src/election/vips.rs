//! All vips and sync groups of a node in one pure value: the verbs that the daemon and the simulator call.
//!
//! The contract with the caller: packets that wait in sockets are given before `Input::Tick`; after each input all
//! effects are fetched and carried out, in order, before the next input; `Tick` is given when `poll_timeout` has come.

use std::net::IpAddr;
use std::time::Duration;

use crate::election::deadlines::Deadlines;
use crate::election::hold::Farewell;
use crate::election::leased::{Lease, Right};
use crate::election::view::View;
use crate::election::vip::{Phase, Vip};
use crate::election::wire::{self, Rejects};
use crate::election::world::{Link, World};
use crate::election::{Effect, GroupSpec, Input, Operator, Packet, Reason, State, VipSpec};
use crate::name::{LinkId, VipId};
use crate::time::Boot;
use crate::vrrp::{self, Advert, Reject};

/// So many late ticks running are a fault of this node, and so many punctual ones end it (rule 9).
const LATE_RUNNING: u8 = 3;

/// Late ticks further apart than this don't count as running.
const LATE_MEMORY: Duration = Duration::from_secs(60);

/// Every vip of this node.
#[derive(Clone, Debug)]
pub struct Vips {
    pub(super) w: World,
    pub(super) vips: Vec<Vip>,
    pub(super) groups: Vec<Group>,
    /// When each vip wants its next tick.
    pub(super) deadlines: Deadlines,
    /// When the gate of each vip closes.
    pub(super) gates: Deadlines,
    /// Where packets go: sorted by link, family and router id.
    pub(super) routes: Vec<(Route, usize)>,
    pub(super) rights: Vec<Right>,
    pub(super) strays: Rejects,
    late_running: u8,
    punctual_running: u8,
    last_late: Boot,
}

/// What tells the packets of one vip from another's: link, IPv6 or not, virtual router id.
type Route = (LinkId, bool, u8);

/// A sync group.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) members: Vec<usize>,
}

impl Vips {
    /// The vips of a node that has just started. Every probe is pending until an input says otherwise; a vip whose link,
    /// or whose group's links, have not all been reported stays as it is, so report every link, missing ones as down.
    /// `links` is the length of the Plan's list; start delays count from `start`.
    #[must_use]
    pub fn new(specs: Vec<VipSpec>, groups: Vec<GroupSpec>, links: usize, start: Boot) -> Self {
        let w = World { now: start, links: vec![Link::default(); links], ..World::default() };
        let vips: Vec<Vip> =
            (0_u32..).zip(specs).map(|(id, spec)| Vip::new(VipId(id), spec, start)).collect();
        let mut all = Self {
            deadlines: Deadlines::default(),
            gates: Deadlines::default(),
            routes: Vec::new(),
            groups: Vec::new(),
            rights: Vec::new(),
            strays: Rejects::default(),
            late_running: 0,
            punctual_running: 0,
            last_late: Boot::ZERO,
            w,
            vips,
        };
        all.index(groups);
        all.say_rights();
        all
    }

    /// One change in the world.
    pub fn handle(&mut self, input: Input<'_>, now: Boot) {
        let late = self.wake(now);
        match input {
            Input::Packet(packet) => self.hear(&packet),
            Input::Link { link, up, v4, v6 } => {
                if let Some(known) = self.w.links.get_mut(link.index()) {
                    *known = Link { known: true, up, v4, v6 };
                    self.reconsider_all(|vip| vip.spec.link == link);
                }
            }
            Input::Probe { probe, verdict } => {
                if self.w.note_probe(probe, verdict) {
                    self.reconsider_all(|vip| {
                        vip.spec.requires.contains(&probe)
                            || vip.spec.weights.iter().any(|w| w.probe == probe)
                    });
                }
            }
            Input::Owned { vip, running } => {
                if let Some(which) = self.vips.get_mut(vip.index()) {
                    let changed = which.services(&mut self.w, running);
                    self.follow_up(vip.index(), changed);
                }
            }
            Input::Conflict { vip } => {
                if let Some(which) = self.vips.get_mut(vip.index()) {
                    which.counters.conflicts += 1;
                    which.announce_again(&mut self.w);
                    self.schedule(vip.index());
                }
            }
            Input::Held { right, epoch, until } => self.grant(right, Lease { epoch, until }),
            Input::Yield { right, why } => self.end(right, why),
            Input::Holder { right, held } => self.note_holder(right, held),
            Input::Gate(there) => {
                if std::mem::replace(&mut self.w.gateless, !there) == there {
                    self.reconsider_all(Vip::is_leased);
                }
            }
            Input::Ruling { vip, ruling } => {
                if let Some(which) = self.vips.get_mut(vip.index())
                    && std::mem::replace(&mut which.ruling, ruling) != ruling
                {
                    self.reconsider(vip.index());
                }
            }
            Input::Operator(word) => self.obey(word),
            Input::Shutdown => self.shut_down(),
            Input::Tick => self.tick(late),
        }
        self.say_rights();
    }

    /// When the next `Input::Tick` is due.
    #[must_use]
    pub fn poll_timeout(&mut self) -> Option<Boot> {
        self.deadlines.first().map(|(at, _)| at)
    }

    /// The next thing to be done.
    #[must_use]
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.w.effects.pop_front()
    }

    /// After `Input::Shutdown`: whether everything has been given up and every effect fetched.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.w.stopping && self.w.effects.is_empty() && !self.vips.iter().any(Vip::is_active)
    }

    /// A killed run left this vip's address behind, and the caller or its supervisor has removed it: clients may still
    /// look for it here, so the first active node that is heard is made to announce again.
    pub fn left_behind(&mut self, vip: VipId) {
        if let Some(which) = self.vips.get_mut(vip.index()) {
            which.unheard = !which.is_active();
        }
    }

    /// How many vips there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.vips.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.vips.is_empty()
    }

    /// Where a vip's adverts come from, when that is known.
    #[must_use]
    pub fn source(&self, vip: VipId) -> Option<IpAddr> {
        self.vips.get(vip.index())?.source(&self.w)
    }

    /// Packets that belong to no vip of ours: too short, another router id or family, another link.
    #[must_use]
    pub const fn strays(&self) -> &Rejects {
        &self.strays
    }

    /// Appends to `out` the advert that `Effect::Advertise` asks for, as the payload of an IP packet.
    pub fn packet(&self, vip: VipId, priority: u8, src: IpAddr, dst: IpAddr, out: &mut Vec<u8>) {
        let Some(which) = self.vips.get(vip.index()) else { return };
        let spec = &which.spec;
        let advert = Advert {
            version: spec.version,
            vrid: spec.vrid,
            priority,
            interval: spec.advert,
            addrs: spec.addrs.clone(),
            password: spec.password,
        };
        vrrp::encode(&advert, src, dst, spec.checksum, out);
    }

    /// What is to be told of a vip.
    #[must_use]
    pub fn view(&self, vip: VipId) -> Option<View<'_>> {
        Some(self.vips.get(vip.index())?.view(&self.w))
    }

    fn hear(&mut self, packet: &Packet<'_>) {
        let i = match self.whose(packet) {
            Ok(i) => i,
            Err(stray) => {
                // A malformed packet is called so, whatever its bytes say of a router id.
                let form = vrrp::parse(packet.payload, packet.from, packet.to, packet.ttl);
                if let (Ok((advert, _)), Reject::Vrid) = (&form, stray) {
                    self.look_at_stray(packet, advert);
                }
                return self.strays.count(form.err().unwrap_or(stray));
            }
        };
        let led = self.is_led(i);
        let vip = &mut self.vips[i];
        match wire::read(&vip.spec, &vip.sorted, vip.source(&self.w), packet) {
            Ok(advert) => {
                if vip.hear(&mut self.w, packet.from, &advert, led) {
                    self.lose_group(i);
                }
                self.schedule(i);
            }
            Err(reject) => {
                vip.note_refused(&mut self.w, packet.from, reject);
                vip.counters.rejected.count(reject);
            }
        }
    }

    /// Which vip a packet is for.
    fn whose(&self, packet: &Packet<'_>) -> Result<usize, Reject> {
        let vrid = *packet.payload.get(1).ok_or(Reject::Short)?;
        let route = (packet.link, packet.from.is_ipv6(), vrid);
        let at = self.routes.partition_point(|(known, _)| *known < route);
        match self.routes.get(at) {
            Some((known, i)) if *known == route => Ok(*i),
            // The table is sorted by link first: another vip of the link stands on either side.
            _ if self.routes[at.saturating_sub(1)..]
                .iter()
                .take(2)
                .any(|((link, _, _), _)| *link == packet.link) =>
            {
                Err(Reject::Vrid)
            }
            _ => Err(Reject::Link),
        }
    }

    /// The moment has come to do something; says whether it has come too late for some vip.
    pub(super) fn wake(&mut self, now: Boot) -> bool {
        self.w.now = now.max(self.w.now);
        self.w.lateness = Duration::ZERO;
        self.drop_late()
    }

    /// Rule 9: what was held past its gate is let go before anything else is done.
    fn drop_late(&mut self) -> bool {
        let mut lost = Vec::new();
        while let Some((until, i)) = self.gates.first().filter(|(until, _)| *until <= self.w.now) {
            let by = self.w.now.since(until);
            let vip = &mut self.vips[i];
            vip.counters.late += 1;
            let reason = Reason::Late { nanos: u64::try_from(by.as_nanos()).unwrap_or(u64::MAX) };
            vip.release(&mut self.w, State::Backup, reason, Farewell::Owed);
            self.schedule(i);
            self.w.lateness = self.w.lateness.max(by);
            lost.push(i);
        }
        for i in &lost {
            // Whoever has followed meanwhile may not know that clients still look here, and announces again.
            self.vips[*i].pay_farewell(&mut self.w);
            self.lose_group(*i);
        }
        if !lost.is_empty() {
            self.note_late();
        }
        self.w.lateness = Duration::ZERO;
        !lost.is_empty()
    }

    fn note_late(&mut self) {
        let running = self.w.now.since(self.last_late) <= LATE_MEMORY;
        self.late_running = if running { self.late_running.saturating_add(1) } else { 1 };
        self.last_late = self.w.now;
        self.punctual_running = 0;
        if self.late_running >= LATE_RUNNING && self.w.tardy.is_none() {
            self.w.tardy = Some(self.w.lateness);
            self.reconsider_all(|_| true);
        }
    }

    fn note_punctual(&mut self) {
        self.late_running = 0;
        self.punctual_running = self.punctual_running.saturating_add(1);
        if self.punctual_running >= LATE_RUNNING && self.w.tardy.take().is_some() {
            self.reconsider_all(|_| true);
        }
    }

    fn tick(&mut self, late: bool) {
        let Some((first, whose)) = self.deadlines.first().filter(|(at, _)| *at <= self.w.now) else { return };
        self.w.lateness = self.w.now.since(first);
        if late {
            // Counted already.
        } else if self.w.lateness > self.vips[whose].gate() {
            self.note_late();
        } else {
            self.note_punctual();
        }
        // Every tick moves its vip's moment ahead; the bound only guards against a mistake.
        for _ in 0..=self.vips.len().saturating_mul(4) {
            let Some((_, i)) = self.deadlines.first().filter(|(at, _)| *at <= self.w.now) else { return };
            let due = self.vips[i].tick(&mut self.w);
            self.follow_up(i, due.reconsider);
            if due.claim {
                self.claim(i);
            }
        }
    }

    fn follow_up(&mut self, i: usize, reconsider: bool) {
        if reconsider {
            self.reconsider(i);
        }
        self.schedule(i);
    }

    fn obey(&mut self, word: Operator) {
        let (Operator::Move(vip) | Operator::Drain(vip) | Operator::Hold(vip) | Operator::Ready(vip)) = word;
        if vip.index() >= self.vips.len() {
            return;
        }
        let members = self.members(vip.index());
        let active = members.iter().any(|m| self.vips[*m].is_active());
        for m in members {
            let vip = &mut self.vips[m];
            match word {
                Operator::Move(_) if active => {
                    vip.pinned = false;
                    vip.moved_until = Some(self.w.now + vip.move_wait());
                    vip.resign(&mut self.w, State::Backup, Reason::Moved);
                }
                Operator::Move(_) => {}
                Operator::Drain(_) => {
                    vip.drained = true;
                    vip.pinned = false;
                    vip.resign(&mut self.w, State::Backup, Reason::Drained);
                }
                Operator::Hold(_) if active => {
                    vip.pinned = true;
                    vip.weigh(&mut self.w);
                }
                Operator::Hold(_) => {}
                Operator::Ready(_) => {
                    vip.drained = false;
                    vip.pinned = false;
                    vip.moved_until = None;
                    vip.courteous = false;
                    vip.failed_until = None;
                    vip.weigh(&mut self.w);
                }
            }
            self.schedule(m);
        }
        self.reconsider(vip.index());
    }

    fn shut_down(&mut self) {
        let again = std::mem::replace(&mut self.w.stopping, true);
        for i in 0..self.vips.len() {
            let vip = &mut self.vips[i];
            if again && vip.is_active() {
                vip.release(&mut self.w, State::Backup, Reason::Stopping, Farewell::Resign);
            } else if vip.is_active() {
                vip.resign(&mut self.w, State::Backup, Reason::Stopping);
            } else {
                vip.change(&mut self.w, vip.state, Reason::Stopping);
            }
            self.schedule(i);
        }
    }

    pub(super) fn schedule(&mut self, i: usize) {
        let vip = &self.vips[i];
        self.deadlines.set(i, vip.next(self.w.now));
        self.gates.set(i, vip.armed.unwrap_or(Boot::NEVER));
        self.touch_right(i);
    }

    /// Builds what is looked up by number: groups, routes, probes, deadlines.
    pub(super) fn index(&mut self, groups: Vec<GroupSpec>) {
        self.groups.clear();
        for vip in &mut self.vips {
            vip.group = None;
        }
        for spec in groups {
            let mut members = Vec::new();
            for (i, vip) in self.vips.iter_mut().enumerate() {
                if vip.group.is_none() && spec.vips.contains(&vip.spec.name) {
                    vip.group = Some(self.groups.len());
                    members.push(i);
                }
            }
            self.groups.push(Group { name: spec.name, members });
        }
        let route = |vip: &Vip| (vip.spec.link, vip.spec.ipv6, vip.spec.vrid);
        self.routes = self.vips.iter().map(route).zip(0..).collect();
        self.routes.sort_unstable();
        let named: Vec<_> = self
            .vips
            .iter()
            .flat_map(|vip| vip.spec.requires.iter().copied().chain(vip.spec.weights.iter().map(|w| w.probe)))
            .map(|probe| (probe, self.w.probe(probe)))
            .collect();
        self.w.probes = named.into_iter().collect();
        self.index_rights();
        self.deadlines = Deadlines::new(self.vips.len());
        self.gates = Deadlines::new(self.vips.len());
        for i in 0..self.vips.len() {
            self.schedule(i);
        }
    }

    /// Whether it neither holds nor is on its way out.
    pub(super) fn is_steady(&self, i: usize) -> bool {
        match self.vips[i].phase {
            Phase::Holding | Phase::Starting { .. } => true,
            Phase::Out | Phase::Stopping { .. } => false,
        }
    }
}
