//! Who else claims an address of ours: frames and adverts, judged by [`mainstay_core::conflict`], and what is told of it.
//!
//! Nothing is dropped for a frame or an advert: they prove nothing. Only a peer's letter with a higher epoch ends a lease, and
//! the leases see to that (rule 8 of docs/internals/leases.md).

use std::collections::HashMap;
use std::net::IpAddr;

use mainstay_config::plan::{NotifyOn, Vip};
use mainstay_core::arp::{ArpView, Mac};
use mainstay_core::conflict::{Claimant, Conflict, Counts, Effect, Place, Whose};
use mainstay_core::election::{Guard, Input, Reason, State, Stranger};
use mainstay_core::name::{GroupId, LinkId, NodeId, RightId, VipId};
use mainstay_core::ndp::NdpView;
use mainstay_core::time::Boot;
use mainstay_core::vrrp::Reject;
use mainstay_sys::clock::boot_now;

use super::Node;
use super::changes::wall_of;
use super::links::Socket;
use crate::ipc::FromVip;
use crate::notify::{self, Subject};
use crate::status::ConflictStatus;

/// Frames taken from one link before the others are looked at.
const FRAMES: usize = 64;

/// Addresses held here that are asked for in one second; with more of them each has its turn.
const ASKED: usize = 32;

/// What a hardware address begins with when it belongs to a virtual router of IPv4 (RFC 9568 7.3); IPv6 has 2 in its last place.
const VIRTUAL: [u8; 4] = [0, 0, 0x5e, 0];

/// Claims of every vip.
#[derive(Default)]
pub(super) struct Conflicts {
    watched: HashMap<VipId, Watch>,
    /// Whose an address on a wire is, other than this node's.
    peers: HashMap<IpAddr, String>,
    /// Where those were last seen.
    stations: HashMap<IpAddr, Mac>,
    /// The hardware addresses of this host, by the kernel's number of the interface.
    own: HashMap<u32, Mac>,
    /// Whose turn it is to be asked for.
    turn: usize,
}

/// One vip.
#[derive(Default)]
struct Watch {
    machine: Conflict,
    holder: Holder,
    /// Which address was last claimed.
    addr: Option<IpAddr>,
    /// Why the last advert was refused.
    refused: Option<Reject>,
    /// The claimants of the conflict in hand, as they were told.
    told: Vec<String>,
}

/// Who holds a vip, to tell one hand-off from the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Holder {
    #[default]
    Nobody,
    Me,
    Node(NodeId),
    Addr(IpAddr),
}

impl Conflicts {
    /// Vips have new numbers after a reload.
    pub(super) fn renumber(&mut self, new: impl Fn(VipId) -> Option<VipId>) {
        let old = std::mem::take(&mut self.watched);
        self.watched = old.into_iter().filter_map(|(k, v)| Some((new(k)?, v))).collect();
    }

    /// An interface has this hardware address, or is gone.
    pub(super) fn learn(&mut self, index: u32, mac: Option<Mac>) {
        match mac.filter(|mac| *mac != Mac::default()) {
            Some(mac) => self.own.insert(index, mac),
            None => self.own.remove(&index),
        };
    }

    /// The addresses whose frames tell where a peer is.
    pub(super) fn peers(&self) -> impl Iterator<Item = IpAddr> {
        self.peers.keys().copied()
    }

    /// When something is due.
    pub(super) fn next(&self) -> Boot {
        let all = self.watched.values().filter_map(|watch| watch.machine.poll_timeout());
        all.min().unwrap_or(Boot::NEVER)
    }

    pub(super) fn counts(&self, vip: VipId) -> Counts {
        self.watched.get(&vip).map(|watch| watch.machine.counts()).unwrap_or_default()
    }

    /// Whether the conflict in hand makes this node look unwell: frames of a station do; adverts that are refused are noise, unless
    /// nobody at all should send any.
    pub(super) fn is_grave(&self, vip: VipId, guard: Guard) -> bool {
        let standing = self.watched.get(&vip).and_then(|watch| watch.machine.standing());
        let grave = |who: &Claimant| guard == Guard::Quorum || matches!(who, Claimant::Station(_));
        standing.is_some_and(|standing| standing.by.iter().any(grave))
    }

    /// The conflict in hand, as status shows it.
    pub(super) fn status(&self, vip: VipId, now: Boot) -> Option<ConflictStatus> {
        let watch = self.watched.get(&vip)?;
        let standing = watch.machine.standing()?;
        Some(ConflictStatus {
            since_ms: wall_of(standing.began),
            seen_ms_ago: u64::try_from(now.since(standing.seen).as_millis()).unwrap_or(u64::MAX),
            claims: standing.claims,
            by: watch.told.clone(),
        })
    }
}

impl Node {
    /// Whose addresses are on the wires, by the Plan in force.
    pub(super) fn know_peers(&mut self) {
        let mut peers = HashMap::new();
        for vip in &self.plan.vips {
            peers.extend(vip.spec.unicast.iter().map(|addr| (*addr, addr.to_string())));
        }
        for peer in self.plan.cluster.iter().flat_map(|cluster| &cluster.peers) {
            peers.extend(peer.addrs.iter().map(|addr| (addr.ip(), peer.id.clone())));
        }
        self.conflicts.stations.retain(|addr, _| peers.contains_key(addr));
        self.conflicts.peers = peers;
    }

    /// Takes in claims of our addresses, and where peers are.
    pub(super) fn hear_frames(&mut self, link: LinkId, socket: Socket) {
        let state = self.links.get_mut(link);
        let mac = state.mac();
        let mut claims: Vec<(IpAddr, Mac)> = Vec::new();
        let mut answers: Vec<IpAddr> = Vec::new();
        let taken = if socket == Socket::Ndp { state.ndp.as_mut() } else { state.arp.as_mut() };
        let Some(taken) = taken else { return };
        let result = taken.receive(FRAMES, &mut |frame| {
            if let Some(arp) = ArpView::parse(frame) {
                claims.push((arp.sender_ip.into(), arp.sender_mac));
                // To us alone: that one hears others does not show that they hear us.
                answers.extend((arp.reply && arp.target_mac == mac).then_some(IpAddr::from(arp.sender_ip)));
            } else if let Some(ndp) = NdpView::parse(frame) {
                claims.push((ndp.target.into(), ndp.lladdr.unwrap_or(ndp.from)));
                answers.extend((ndp.to == mac).then_some(IpAddr::from(ndp.target)));
            }
        });
        if let Err(error) = result {
            tracing::debug!("receive frames: {error:#}");
        }
        claims.retain(|(_, claimed)| *claimed != mac);
        let now = boot_now();
        answers.into_iter().for_each(|addr| self.answered(link, addr, now));
        for (addr, claimed) in claims {
            if self.conflicts.peers.contains_key(&addr) {
                self.conflicts.stations.insert(addr, claimed);
            }
            let ours =
                self.plan.vips.iter().position(|v| v.addrs.iter().any(|a| a.addr == addr && a.link == link));
            let Some(place) = ours else { continue };
            let vip = VipId(u32::try_from(place).expect("a Plan has fewer than 2^32 vips"));
            self.look_at_holder(vip, now);
            let (place, whose) = (self.place(vip), self.whose(vip, claimed));
            let watch = self.conflicts.watched.entry(vip).or_default();
            watch.addr = Some(addr);
            watch.machine.claimed(claimed, whose, place, now);
            self.tell_conflict(vip, now);
        }
    }

    /// Takes in adverts that no node of ours would send.
    pub(super) fn hear_strangers(&mut self, now: Boot) {
        while let Some(Stranger { vip, from, refused, count }) = self.machine.poll_stranger() {
            self.look_at_holder(vip, now);
            let place = self.place(vip);
            let watch = self.conflicts.watched.entry(vip).or_default();
            watch.refused = refused;
            watch.machine.advertised(Claimant::Router(from), count, place, now);
            self.tell_conflict(vip, now);
        }
    }

    /// What has become clear, or is over.
    pub(super) fn tick_conflicts(&mut self, now: Boot) {
        if self.conflicts.next() > now {
            return;
        }
        let due = |watch: &Watch| watch.machine.poll_timeout().is_some_and(|at| at <= now);
        let due: Vec<VipId> =
            self.conflicts.watched.iter().filter(|(_, watch)| due(watch)).map(|(vip, _)| *vip).collect();
        for vip in due {
            self.look_at_holder(vip, now);
            if let Some(watch) = self.conflicts.watched.get_mut(&vip) {
                watch.machine.tick(now);
            }
            self.tell_conflict(vip, now);
        }
    }

    /// Notes whether a vip has gone from one node to another.
    pub(super) fn look_at_holder(&mut self, vip: VipId, now: Boot) {
        let holder = self.holder(vip);
        let watch = self.conflicts.watched.entry(vip).or_default();
        match std::mem::replace(&mut watch.holder, holder) {
            before if before == holder => {}
            Holder::Nobody => watch.machine.taken(now),
            Holder::Me | Holder::Node(_) | Holder::Addr(_) => watch.machine.moved(now),
        }
    }

    /// The same for all.
    pub(super) fn look_at_holders(&mut self, now: Boot) {
        for vip in (0..).map(VipId).take(self.plan.vips.len()) {
            self.look_at_holder(vip, now);
        }
    }

    /// Asks who else has what is held here: a host that is silent until it is asked answers its askers alone. Nothing is claimed
    /// by it, and who answers for others (proxy ARP) does not answer this.
    pub(super) fn ask_for_ours(&mut self) {
        let addrs = self.plan.vips.iter().enumerate().flat_map(|(at, vip)| {
            let vip_id = VipId(u32::try_from(at).expect("a Plan has fewer than 2^32 vips"));
            let held = self.is_active(vip_id);
            vip.addrs.iter().filter(move |_| held)
        });
        let addrs: Vec<_> = addrs.collect();
        if addrs.is_empty() {
            return;
        }
        let turn = self.conflicts.turn % addrs.len();
        for addr in addrs.iter().cycle().skip(turn).take(addrs.len().min(ASKED)) {
            self.outbound.ask(addr.link, addr.addr, &self.links);
        }
        self.conflicts.turn = turn + ASKED.min(addrs.len());
        self.flush();
    }

    fn holder(&self, vip: VipId) -> Holder {
        let Some(view) = self.machine.view(vip) else { return Holder::Nobody };
        if view.state == State::Active {
            return Holder::Me;
        }
        match self.quorum.as_ref().zip(self.machine.right_of(vip)) {
            Some((quorum, right)) => quorum.leases.other_holder(right).map_or(Holder::Nobody, Holder::Node),
            None => view.holder.map_or(Holder::Nobody, |peer| Holder::Addr(peer.addr)),
        }
    }

    fn place(&self, vip: VipId) -> Place {
        match self.conflicts.watched.get(&vip).map(|watch| watch.holder).unwrap_or_default() {
            Holder::Me => Place::Here,
            Holder::Node(_) | Holder::Addr(_) => Place::There,
            Holder::Nobody => Place::Nowhere,
        }
    }

    /// Who holds it, in a word.
    fn holder_name(&self, vip: VipId) -> String {
        match self.holder(vip) {
            Holder::Me => self.plan.node.clone(),
            Holder::Node(node) => {
                let quorum = self.quorum.as_ref();
                quorum.map_or_else(String::new, |quorum| quorum.leases.list().name(node).to_owned())
            }
            Holder::Addr(addr) => addr.to_string(),
            Holder::Nobody => "nobody that is heard".into(),
        }
    }

    /// The peer whose station this is.
    fn peer_at(&self, mac: Mac) -> Option<&str> {
        let addr = self.conflicts.stations.iter().find(|(_, known)| **known == mac)?.0;
        self.conflicts.peers.get(addr).map(String::as_str)
    }

    fn whose(&self, vip: VipId, mac: Mac) -> Whose {
        if self.conflicts.own.values().any(|own| *own == mac) {
            return Whose::Own;
        }
        let holder = self.holder_name(vip);
        self.peer_at(mac).map_or(Whose::Unknown, |peer| Whose::Peer { holds: peer == holder })
    }

    /// Says and does what follows from what was seen of a vip.
    fn tell_conflict(&mut self, vip: VipId, now: Boot) {
        let mut answers = false;
        while let Some(effect) = self.conflicts.watched.get_mut(&vip).and_then(|w| w.machine.poll_effect()) {
            match effect {
                Effect::Answer => answers = true,
                Effect::Began { who } => self.tell_claimant(vip, who, true),
                Effect::Joined { who } => self.tell_claimant(vip, who, false),
                Effect::Over { claims, lasted } => {
                    let name = &self.plan.vips[vip.index()].spec.name;
                    let told = self.conflicts.watched.get_mut(&vip).map(|w| std::mem::take(&mut w.told));
                    let message = format!(
                        "the conflict over vip {name} is over: {claims} claims in {:.1} s by {}",
                        lasted.as_secs_f64(),
                        told.unwrap_or_default().join(" and ")
                    );
                    self.alarm(vip, "over", message, true);
                }
            }
        }
        // The election knows how often it may announce: two hosts that answer each other must not fill the wire.
        if answers && self.is_active(vip) {
            self.feed(Input::Conflict { vip }, now);
        }
    }

    fn tell_claimant(&mut self, vip: VipId, who: Claimant, first: bool) {
        let spec = &self.plan.vips[vip.index()];
        let (reason, called, message) = match who {
            Claimant::Station(mac) => {
                let called = self.called(vip, mac);
                ("claimed", called.clone(), self.claim_sentence(vip, &called))
            }
            Claimant::Router(from) => ("advert", from.to_string(), self.advert_sentence(spec, vip, from)),
        };
        if let Some(watch) = self.conflicts.watched.get_mut(&vip) {
            watch.told.push(called);
        }
        self.alarm(vip, reason, message, first);
    }

    /// A station, and whose it is.
    fn called(&self, vip: VipId, mac: Mac) -> String {
        let text: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = text.join(":");
        let [head @ .., _, vrid] = mac;
        if let Some(peer) = self.peer_at(mac) {
            let word = self.peers_word(vip, peer);
            return format!("{text}, a station of {peer}{word},");
        }
        if head[..4] == VIRTUAL { format!("{text}, a virtual router of vrid {vrid},") } else { text }
    }

    /// What a peer itself says of the right: its frames may be late, or of a node that has lost its mind.
    fn peers_word(&self, vip: VipId, peer: &str) -> String {
        let Some((quorum, right)) = self.quorum.as_ref().zip(self.machine.right_of(vip)) else {
            return String::new();
        };
        let ours = self.machine.view(vip).map_or(0, |view| view.epoch);
        let view = quorum.leases.view(right, boot_now());
        let holder = view.and_then(|view| view.holder);
        match holder.filter(|holder| quorum.leases.list().name(holder.node) == peer) {
            Some(holder) => format!(" (it says it holds it under epoch {}, ours is {ours})", holder.epoch),
            None => " (it does not say that it holds it)".into(),
        }
    }

    fn claim_sentence(&self, vip: VipId, called: &str) -> String {
        let addr = self.conflicts.watched.get(&vip).and_then(|watch| watch.addr);
        let addr = addr.map_or_else(|| "an address".into(), |addr| addr.to_string());
        match self.place(vip) {
            Place::Here => {
                format!(
                    "{addr}, which is held here, is claimed by {called} too: it stays and is announced again"
                )
            }
            Place::There | Place::Nowhere => {
                format!("{addr}, which {} holds, is claimed by {called} too", self.holder_name(vip))
            }
        }
    }

    fn advert_sentence(&self, vip: &Vip, id: VipId, from: IpAddr) -> String {
        let spec = &vip.spec;
        let refused = self.conflicts.watched.get(&id).and_then(|watch| watch.refused);
        let why = refused.map_or_else(String::new, |why| format!(" (refused: {why})"));
        let stays = if self.is_active(id) { ": it stays here and is announced again" } else { "" };
        match (spec.guard, refused) {
            (_, Some(Reject::Vrid)) => {
                format!("{from} sends VRRP adverts that name an address of vip {}{stays}", spec.name)
            }
            (Guard::Quorum | Guard::Strict, _) => format!(
                "{from} sends VRRP adverts of vrid {} for vip {}, for which none of us sends any{why}{stays}",
                spec.vrid, spec.name
            ),
            (Guard::BestEffort, _) => format!(
                "{from} sends VRRP adverts of vrid {} that are none of vip {}'s{why}: another router, or a peer that is set \
                 up otherwise{stays}",
                spec.vrid, spec.name
            ),
        }
    }

    /// An event, and those who want to be notified of conflicts.
    fn alarm(&mut self, vip: VipId, reason: &str, message: String, notified: bool) {
        let about = &self.plan.vips[vip.index()];
        let mut event = crate::events::event(&self.plan.node, "conflict", &about.spec.name, message);
        event.reason = Some(reason.into());
        event.addrs = about.addrs.iter().map(|a| a.addr.to_string()).collect();
        if let Some(view) = self.machine.view(vip) {
            (event.epoch, event.priority) = (Some(view.epoch), Some(view.priority));
        }
        self.say(&FromVip::Event(event.clone()));
        if notified {
            self.notify(vip, NotifyOn::Conflict, &event);
        }
    }

    /// A node is heard again: clients on its side of the cut may still look for our vips there, or nowhere.
    pub(super) fn announce_to(&mut self, peer: &str) {
        let held = (0..).map(VipId).zip(&self.plan.vips);
        let held: Vec<_> =
            held.filter(|(id, vip)| vip.spec.guard.is_leased() && self.is_active(*id)).collect();
        let mut names = Vec::new();
        for (_, vip) in held.into_iter().filter(|(_, vip)| !vip.addrs.is_empty()) {
            self.outbound.announce(vip, &self.links);
            names.push(vip.spec.name.clone());
        }
        self.flush();
        for name in names {
            let message = format!("{peer} is heard: vip {name}, which is held here, is announced again");
            self.event("vip", &name, message);
        }
    }

    /// Another holds what this node lost because no majority renewed it: said once the two have met again.
    pub(super) fn yield_told(&mut self, right: RightId, holder: &str) {
        let lost = (0..).map(VipId).take(self.plan.vips.len()).filter(|vip| {
            let view = self.machine.view(*vip);
            self.machine.right_of(*vip) == Some(right)
                && view.is_some_and(|view| view.state != State::Active && *view.reason == Reason::Unrenewed)
        });
        for vip in lost.collect::<Vec<_>>() {
            let name = self.plan.vips[vip.index()].spec.name.clone();
            let message =
                format!("vip {name} is held by {holder} by now: this node, whose lease ended, yields");
            self.event("vip", &name, message);
        }
    }

    /// Tells those who are to be told of a vip, and of the groups that it is in.
    pub(super) fn notify(&mut self, vip: VipId, on: NotifyOn, event: &crate::status::Event) {
        let name = &self.plan.vips[vip.index()].spec.name;
        let groups = (0..).map(GroupId).zip(&self.plan.groups);
        let groups = groups.filter(|(_, group)| group.spec.vips.contains(name));
        let subjects: Vec<Subject> =
            std::iter::once(Subject::Vip(vip)).chain(groups.map(|(id, _)| Subject::Group(id))).collect();
        for subject in subjects {
            let told = notify::Change { subject, on, event };
            let tellings = notify::tellings(&self.plan, told, self.changes.next_run());
            self.send_told(tellings);
        }
    }
}
