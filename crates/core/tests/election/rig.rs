//! One node under a clock that the test turns, and adverts made for it.

use std::net::IpAddr;
use std::time::Duration;

use mainstay_core::election::{
    Announce, Effect, GroupSpec, Guard, Input, Operator, Packet, Reason, State, Verdict, VipSpec, Vips,
};
use mainstay_core::lease::Stance;
use mainstay_core::name::{LinkId, ProbeId, VipId};
use mainstay_core::time::Boot;
use mainstay_core::vrrp::{Checksum, Version};

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const V: VipId = VipId(0);
pub(crate) const LINK: LinkId = LinkId(0);
pub(crate) const GROUP: &str = "224.0.0.18";

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address of the test")
}

/// A v3 vip at 100 ms and priority 100; nothing special.
pub(crate) fn spec(name: &str) -> VipSpec {
    VipSpec {
        name: name.into(),
        link: LINK,
        version: Version::V3,
        vrid: 51,
        priority: 100,
        advert: 100 * MS,
        preempt: true,
        preempt_delay: Duration::ZERO,
        start_delay: Duration::ZERO,
        down_adverts: 3,
        addrs: vec![ip("10.0.4.99")],
        ipv6: false,
        source: None,
        password: None,
        checksum: Checksum::PseudoHeader,
        checksum_any: true,
        unicast: vec![],
        check_source: false,
        ttl_min: 255,
        check_addrs: true,
        sole_successor: false,
        gate: 300 * MS,
        guard: Guard::BestEffort,
        owns: false,
        requires: vec![],
        weights: vec![],
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

pub(crate) struct Rig {
    pub(crate) vips: Vips,
    pub(crate) now: Boot,
    /// Everything asked for since it was last looked at.
    pub(crate) log: Vec<(Boot, Effect)>,
}

impl Rig {
    /// A node of whose links nothing is known yet.
    pub(crate) fn unlinked(specs: Vec<VipSpec>, groups: Vec<GroupSpec>) -> Self {
        let now = Boot::from_nanos(1_000_000_000);
        Self { vips: Vips::new(specs, groups, 2, now), now, log: Vec::new() }
    }

    pub(crate) fn new(specs: Vec<VipSpec>, groups: Vec<GroupSpec>) -> Self {
        let mut rig = Self::unlinked(specs, groups);
        rig.link(LINK, true);
        rig.link(LinkId(1), true);
        rig
    }

    pub(crate) fn one(change: impl FnOnce(&mut VipSpec)) -> Self {
        let mut spec = spec("web");
        change(&mut spec);
        Self::new(vec![spec], vec![])
    }

    /// A node that has just become active after silence; the log is empty.
    pub(crate) fn active(change: impl FnOnce(&mut VipSpec)) -> Self {
        let mut rig = Self::one(change);
        rig.pass(Duration::from_secs(5));
        assert_eq!(rig.state(), State::Active);
        rig.log.clear();
        rig
    }

    pub(crate) fn give(&mut self, input: Input<'_>) {
        self.vips.handle(input, self.now);
        while let Some(effect) = self.vips.poll_effect() {
            self.log.push((self.now, effect));
        }
    }

    pub(crate) fn link(&mut self, link: LinkId, up: bool) {
        self.give(Input::Link { link, up, v4: Some(ip("10.0.4.10")), v6: Some(ip("fe80::10")) });
    }

    pub(crate) fn probe(&mut self, probe: u32, verdict: Verdict) {
        self.give(Input::Probe { probe: ProbeId(probe), verdict });
    }

    pub(crate) fn tell(&mut self, word: Operator) {
        self.give(Input::Operator(word));
    }

    /// An advert for the first vip, as its spec wants it, from another node.
    pub(crate) fn hear(&mut self, from: &str, priority: u8) {
        self.hear_for(V, from, priority);
    }

    pub(crate) fn hear_for(&mut self, vip: VipId, from: &str, priority: u8) {
        let mut payload = Vec::new();
        self.vips.packet(vip, priority, ip(from), ip(GROUP), &mut payload);
        let link = self.vips.view(vip).expect("a vip of the test").spec.link;
        self.give(Input::Packet(Packet { link, from: ip(from), to: ip(GROUP), ttl: 255, payload: &payload }));
    }

    /// Lets time pass, each tick on time.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.vips.poll_timeout().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.give(Input::Tick);
        }
        self.now = end;
    }

    /// Time in which another node is heard every 100 ms.
    pub(crate) fn pass_hearing(&mut self, from: &str, priority: u8, times: u32) {
        for _ in 0..times {
            self.hear(from, priority);
            self.pass(100 * MS);
        }
    }

    /// Sleeps through its deadlines, then ticks.
    pub(crate) fn oversleep(&mut self, time: Duration) {
        self.now += time;
        self.give(Input::Tick);
    }

    pub(crate) fn state(&self) -> State {
        self.state_of(V)
    }

    pub(crate) fn state_of(&self, vip: VipId) -> State {
        self.vips.view(vip).expect("a vip of the test").state
    }

    pub(crate) fn reason(&self) -> Reason {
        self.vips.view(V).expect("a vip of the test").reason.clone()
    }

    /// What was asked for, as words; the log is emptied.
    pub(crate) fn words(&mut self) -> Vec<String> {
        self.log.drain(..).map(|(_, effect)| word(&effect)).collect()
    }

    /// The log without arming, as words.
    pub(crate) fn deeds(&mut self) -> Vec<String> {
        self.words().into_iter().filter(|word| !word.starts_with("arm") && !word.contains("->")).collect()
    }
}

fn word(effect: &Effect) -> String {
    match effect {
        Effect::Arm { vip, .. } => format!("arm {}", vip.0),
        Effect::Take { vip } => format!("take {}", vip.0),
        Effect::Release { vip } => format!("release {}", vip.0),
        Effect::Advertise { vip, priority } => format!("advert {} {priority}", vip.0),
        Effect::Announce { vip } => format!("announce {}", vip.0),
        Effect::Start { vip } => format!("start {}", vip.0),
        Effect::Stop { vip } => format!("stop {}", vip.0),
        Effect::Stance { right, stance: Stance::Unable } => format!("unable {}", right.0),
        Effect::Stance { right, stance: Stance::Ready { priority, preempts } } => {
            format!("ready {} {priority}{}", right.0, if *preempts { " preempts" } else { "" })
        }
        Effect::Gone { right } => format!("gone {}", right.0),
        Effect::Changed { vip, from, to, .. } => format!("{} {from:?}->{to:?}", vip.0),
    }
}
