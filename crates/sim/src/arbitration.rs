//! Two nodes without a vote: the real election and the real arbitration, on two wires, with a reference and a shared place.
//!
//! One fault for each seed, of a kind that the caller names, at a moment and for a time that the seed draws. What is
//! counted is for how long both held the address, how often it was taken, and for how long nobody held it.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use mainstay_core::arbitration::{
    Arbiter, Block, DiskOp, Effect, Input, LockTerms, Owner, PeerAid, ReferenceAid, ReferenceTerms, Setup,
    VipAids,
};
use mainstay_core::election::{self, Announce, Holding, Packet, Reason, State, VipSpec, Vips};
use mainstay_core::lease::Sights;
use mainstay_core::name::{LinkId, NodeId, VipId};
use mainstay_core::time::Boot;
use mainstay_core::vrrp::{Checksum, GROUP_V4, Version};

use crate::rng::Rng;
use crate::scenario::address;

const MS: u64 = 1_000_000;
/// Everything is looked at so often; nothing is timed more finely.
const STEP: u64 = MS;
const ADVERT: Duration = Duration::from_millis(200);
const BEAT: Duration = Duration::from_millis(50);
const VIP: VipId = VipId(0);

/// Both may answer for so long because of steps and the way of a frame.
pub const SLACK: Duration = Duration::from_millis(10);

/// What befalls the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They can't hear each other; one of them, drawn by the seed, can't hear the reference either.
    PartedFromReference,
    /// They can't hear each other, and both hear the reference.
    Parted,
    /// The same, and one of them can't reach the shared place.
    PartedAndHung,
    /// The first is not heard by the second any more, but hears it.
    OneWay,
    /// The gateway dies for both.
    Gateway,
    /// The holder alone loses it.
    HolderLosesReference,
    /// VRRP alone does not pass.
    Vrrp,
    /// The holder dies.
    Crash,
}

/// What helps them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Aids {
    /// A reference address.
    pub reference: bool,
    /// A lock.
    pub lock: bool,
}

/// How it went.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Both answered for so long in all.
    pub dual: Duration,
    /// Nobody answered for so long at a stretch, since the first holder.
    pub dark: Duration,
    /// Acquisitions after the first.
    pub moves: u64,
    /// Who answered when all was calm again.
    pub holders: usize,
}

struct Node {
    vips: Vips,
    arbiter: Arbiter,
    present: bool,
    gate: Boot,
    alive: bool,
    /// When something came over the session last.
    heard: Option<u64>,
    flight: Option<(u64, DiskOp, u64)>,
    instance: u64,
}

enum Mail {
    Advert(Rc<[u8]>),
    Sights(Sights),
}

struct World {
    now: u64,
    rng: Rng,
    aids: Aids,
    nodes: Vec<Node>,
    /// When, to whom, what.
    mail: VecDeque<(u64, usize, Mail)>,
    place: Block,
    /// By sender: adverts, sessions.
    lan_cut: [bool; 2],
    session_cut: [bool; 2],
    reference: [bool; 2],
    hung: [bool; 2],
    claims: u64,
    outcome: Outcome,
    dark: u64,
}

/// Plays one seed.
#[must_use]
pub fn run(seed: u64, fault: Fault, aids: Aids) -> Outcome {
    let mut rng = Rng::new(seed);
    let (begin, length) = (5_000 * MS + rng.within(0..1_000) * MS, rng.within(1_000..15_000) * MS);
    let late = rng.within(0..3_000) * MS;
    let mut world = World::new(rng, aids);
    world.play(begin);
    let holder = world.nodes.iter().position(|node| node.answers(world.now)).unwrap_or(0);
    let (claims, _) = (world.claims, std::mem::take(&mut world.outcome));
    world.strike(fault, holder);
    world.play(begin + length);
    world.heal();
    world.play(begin + length + 25_000 * MS + late);
    world.outcome.moves = world.claims - claims;
    world.outcome.holders = world.nodes.iter().filter(|node| node.answers(world.now)).count();
    world.outcome
}

impl World {
    fn new(rng: Rng, aids: Aids) -> Self {
        let mut world = Self {
            now: 0,
            rng,
            aids,
            nodes: (0..2).map(|n| node(n, aids, 1, Boot::ZERO)).collect(),
            mail: VecDeque::new(),
            place: Block::Free,
            lan_cut: [false; 2],
            session_cut: [false; 2],
            reference: [true; 2],
            hung: [false; 2],
            claims: 0,
            outcome: Outcome::default(),
            dark: 0,
        };
        (0..2).for_each(|n| world.link_up(n));
        world
    }

    fn strike(&mut self, fault: Fault, holder: usize) {
        let (parted, some) = ([true; 2], self.rng.below(2));
        match fault {
            Fault::PartedFromReference => {
                (self.lan_cut, self.session_cut) = (parted, parted);
                self.reference[some] = false;
            }
            Fault::Parted => (self.lan_cut, self.session_cut) = (parted, parted),
            Fault::PartedAndHung => {
                (self.lan_cut, self.session_cut) = (parted, parted);
                self.hung[some] = true;
            }
            Fault::OneWay => (self.lan_cut[some], self.session_cut[some]) = (true, true),
            Fault::Gateway => self.reference = [false; 2],
            Fault::HolderLosesReference => self.reference[holder] = false,
            Fault::Vrrp => self.lan_cut = parted,
            Fault::Crash => {
                self.nodes[holder].alive = false;
                self.nodes[holder].present = false;
            }
        }
    }

    fn heal(&mut self) {
        (self.lan_cut, self.session_cut) = ([false; 2], [false; 2]);
        (self.reference, self.hung) = ([true; 2], [false; 2]);
        for n in 0..2 {
            if !self.nodes[n].alive {
                let instance = self.nodes[n].instance + 1;
                self.nodes[n] = node(n, self.aids, instance, Boot::from_nanos(self.now));
                self.link_up(n);
            }
        }
    }

    fn link_up(&mut self, n: usize) {
        let input =
            election::Input::Link { link: LinkId(0), up: true, v4: Some(address(n, 0, false)), v6: None };
        let now = Boot::from_nanos(self.now);
        self.nodes[n].vips.handle(input, now);
        self.carry_out(n);
    }

    fn play(&mut self, end: u64) {
        while self.now < end {
            self.now += STEP;
            self.deliver();
            for n in 0..2 {
                if self.nodes[n].alive {
                    self.serve(n);
                }
            }
            self.count();
        }
    }

    fn count(&mut self) {
        let holders = self.nodes.iter().filter(|node| node.answers(self.now)).count();
        if holders == 2 {
            self.outcome.dual += Duration::from_nanos(STEP);
        }
        self.dark = if holders == 0 { self.dark + STEP } else { 0 };
        self.outcome.dark = self.outcome.dark.max(Duration::from_nanos(self.dark));
    }

    fn deliver(&mut self) {
        let mut later = VecDeque::new();
        for (at, to, mail) in std::mem::take(&mut self.mail) {
            if at > self.now {
                later.push_back((at, to, mail));
            } else if self.nodes[to].alive {
                self.receive(to, mail);
            }
        }
        later.append(&mut self.mail);
        self.mail = later;
    }

    fn receive(&mut self, to: usize, mail: Mail) {
        let now = Boot::from_nanos(self.now);
        let peer = NodeId(1 - to as u32);
        match mail {
            Mail::Advert(payload) => {
                let (from, group) = (address(1 - to, 0, false), IpAddr::from(GROUP_V4));
                let packet = Packet { link: LinkId(0), from, to: group, ttl: 255, payload: &payload };
                self.nodes[to].vips.handle(election::Input::Packet(packet), now);
                self.carry_out(to);
            }
            Mail::Sights(sights) => {
                self.nodes[to].heard = Some(self.now);
                let arbiter = &mut self.nodes[to].arbiter;
                arbiter.handle_if_new(Input::Peer { node: peer, heard: true }, now);
                arbiter.handle(Input::Said { node: peer, sights: &sights }, now);
                self.obey(to);
            }
        }
    }

    fn serve(&mut self, n: usize) {
        let now = Boot::from_nanos(self.now);
        if self.nodes[n].vips.poll_timeout().is_some_and(|due| due <= now) {
            self.nodes[n].vips.handle(election::Input::Tick, now);
            self.carry_out(n);
        }
        let silent = BEAT.as_nanos() as u64 * 3;
        let heard = self.nodes[n].heard.is_some_and(|at| self.now < at + silent);
        let peer = Input::Peer { node: NodeId(1 - n as u32), heard };
        self.nodes[n].arbiter.handle_if_new(peer, now);
        if let Some((number, op, _)) = self.nodes[n].flight.take_if(|(_, _, ends)| *ends <= self.now) {
            let outcome = self.touch(n, op);
            self.nodes[n].arbiter.handle(Input::Disk { number, outcome }, now);
        }
        self.stand(n);
        if self.nodes[n].arbiter.poll_timeout() <= now {
            self.nodes[n].arbiter.handle(Input::Tick, now);
        }
        self.obey(n);
    }

    /// An operation on the place ends.
    fn touch(&mut self, n: usize, op: DiskOp) -> Result<Block, String> {
        if self.hung[n] {
            return Err("it took too long".into());
        }
        match op {
            DiskOp::Read => Ok(self.place.clone()),
            DiskOp::Write(text) => {
                self.place = Block::parse(text.as_bytes());
                Ok(Block::Free)
            }
        }
    }

    /// How the election stands, as the vip role tells it.
    fn stand(&mut self, n: usize) {
        let now = Boot::from_nanos(self.now);
        let node = &mut self.nodes[n];
        let Some(view) = node.vips.view(VIP) else { return };
        let able = match view.state {
            State::Backup | State::Active => matches!(view.waiting, None | Some(Reason::NoLock)),
            State::Fault => *view.reason == Reason::NoLock,
        };
        let input = Input::Stand {
            vip: VIP,
            active: view.holding != Holding::No,
            overdue: view.overdue,
            able,
            heard: view.peers.iter().map(|peer| peer.heard).max(),
        };
        node.arbiter.handle_if_new(input, now);
    }

    fn obey(&mut self, n: usize) {
        let now = Boot::from_nanos(self.now);
        while let Some(effect) = self.nodes[n].arbiter.poll_effect() {
            match effect {
                Effect::Ask { reference } if self.reference[n] => {
                    self.nodes[n].arbiter.handle(Input::Answered { reference }, now);
                }
                Effect::Ask { .. } | Effect::Notice(_) => {}
                Effect::Ruling { vip, ruling } => {
                    self.nodes[n].vips.handle(election::Input::Ruling { vip, ruling }, now);
                    self.carry_out(n);
                    self.stand(n);
                }
                Effect::Say(sights) => {
                    if !self.session_cut[n] {
                        let at = self.now + self.rng.within(1..4) * MS;
                        self.mail.push_back((at, 1 - n, Mail::Sights(sights)));
                    }
                }
                Effect::Disk { number, op } => {
                    let takes = self.rng.within(1..180) * MS;
                    self.nodes[n].flight = Some((number, op, self.now + takes));
                }
            }
        }
    }

    fn carry_out(&mut self, n: usize) {
        while let Some(effect) = self.nodes[n].vips.poll_effect() {
            match effect {
                election::Effect::Arm { until, .. } => self.nodes[n].gate = until,
                election::Effect::Take { .. } => {
                    self.claims += 1;
                    self.nodes[n].present = true;
                }
                election::Effect::Release { .. } => self.nodes[n].present = false,
                election::Effect::Advertise { priority, .. } => self.advertise(n, priority),
                election::Effect::Announce { .. }
                | election::Effect::Start { .. }
                | election::Effect::Stop { .. }
                | election::Effect::Stance { .. }
                | election::Effect::Gone { .. }
                | election::Effect::Changed { .. } => {}
            }
        }
    }

    fn advertise(&mut self, n: usize, priority: u8) {
        if self.lan_cut[n] {
            return;
        }
        let mut payload = Vec::new();
        let group = IpAddr::from(GROUP_V4);
        self.nodes[n].vips.packet(VIP, priority, address(n, 0, false), group, &mut payload);
        let at = self.now + self.rng.within(1..4) * MS;
        self.mail.push_back((at, 1 - n, Mail::Advert(Rc::from(payload))));
    }
}

impl Node {
    fn answers(&self, now: u64) -> bool {
        self.present && Boot::from_nanos(now) < self.gate
    }
}

fn node(n: usize, aids: Aids, instance: u64, now: Boot) -> Node {
    let terms = ReferenceTerms { interval: ADVERT / 3, missed: 3 };
    let setup = Setup {
        references: aids.reference.then(|| ReferenceAid { name: "lan".into(), terms }).into_iter().collect(),
        vips: vec![VipAids {
            name: "front".into(),
            reference: aids.reference.then_some(0),
            locked: aids.lock,
            window: ADVERT * 4,
        }],
        peers: Some(vec![PeerAid { node: NodeId(1 - n as u32), id: format!("n{}", 1 - n), holds: true }]),
        lock: aids
            .lock
            .then_some(LockTerms { stale: Duration::from_secs(4), timeout: Duration::from_millis(200) }),
        me: Owner { node: format!("n{n}"), instance },
        isolated: None,
        beat: BEAT,
    };
    Node {
        vips: Vips::new(vec![spec(n)], Vec::new(), 1, now),
        arbiter: Arbiter::new(setup, now),
        present: false,
        gate: Boot::ZERO,
        alive: true,
        heard: None,
        flight: None,
        instance,
    }
}

fn spec(n: usize) -> VipSpec {
    VipSpec {
        name: "front".into(),
        link: LinkId(0),
        version: Version::V3,
        vrid: 51,
        priority: 150 - 50 * n as u8,
        advert: ADVERT,
        preempt: false,
        preempt_delay: Duration::ZERO,
        start_delay: Duration::ZERO,
        down_adverts: 3,
        addrs: vec![IpAddr::from([10, 9, 0, 1])],
        ipv6: false,
        source: None,
        password: None,
        checksum: Checksum::PseudoHeader,
        checksum_any: true,
        unicast: Vec::new(),
        check_source: false,
        ttl_min: 255,
        check_addrs: true,
        sole_successor: true,
        gate: ADVERT * 3,
        guard: election::Guard::BestEffort,
        owns: false,
        requires: Vec::new(),
        weights: Vec::new(),
        announce: Announce {
            repeat: 1,
            interval: Duration::ZERO,
            delay: Duration::ZERO,
            delay_repeat: 0,
            refresh: Duration::ZERO,
            refresh_repeat: 0,
            lower_repeat: 1,
        },
    }
}
