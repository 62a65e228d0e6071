//! One simulated node: its kernel, its task when it runs, and what waits to be read.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;

use mainstay_core::election::{Operator, Verdict, VipSpec};
use mainstay_core::name::VipId;

use crate::kernel::{Address, Clock, Time};
use crate::mutant::Subject;
use crate::scenario::{LINKS, PROBES, Scenario};

/// A socket holds so many packets; what comes later is lost.
const SOCKET: usize = 2_000;

/// A packet on its way.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) link: usize,
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    pub(crate) payload: Rc<[u8]>,
}

/// What waits for a task.
#[derive(Clone, Debug)]
pub(crate) enum Mail {
    Frame(Frame),
    Link(usize),
    Probe(usize),
    /// Number of the vip in the scenario, and what became of its services.
    Owned(usize, bool),
    Operator(fn(VipId) -> Operator, usize),
    Shutdown,
    Reload,
}

/// One node.
pub(crate) struct Node {
    pub(crate) clock: Clock,
    pub(crate) task: Option<Subject>,
    /// Counts its starts, so that answers to a dead task are told apart.
    pub(crate) life: u32,
    pub(crate) started: Time,
    pub(crate) shutting: Option<Time>,
    pub(crate) paused_until: Time,
    pub(crate) inbox: VecDeque<Mail>,
    /// Only the wake-up with this number counts.
    pub(crate) wake: u64,
    pub(crate) due: Option<Time>,
    /// By number of the vip in the scenario.
    pub(crate) kernel: Vec<Address>,
    /// What the supervisor would send: destination, link and priority 0.
    pub(crate) farewells: Vec<Vec<(IpAddr, Frame)>>,
    /// The supervisor has taken the address away from a dead worker.
    pub(crate) cleaned: Vec<bool>,
    pub(crate) drained: Vec<bool>,
    pub(crate) unfit_until: Vec<Time>,
    /// When the services of each vip have done what they were last told.
    pub(crate) answer_at: Vec<Time>,
    /// The vips' specs by number in the scenario.
    pub(crate) specs: Vec<VipSpec>,
    /// For each `VipId` the number in the scenario.
    pub(crate) order: Vec<usize>,
    pub(crate) links: [bool; LINKS],
    pub(crate) probes: [Verdict; PROBES],
}

impl Node {
    pub(crate) fn new(scenario: &Scenario, n: usize) -> Self {
        let vips = scenario.specs[n].len();
        Self {
            clock: scenario.clocks[n],
            task: None,
            life: 0,
            started: 0,
            shutting: None,
            paused_until: 0,
            inbox: VecDeque::new(),
            wake: 0,
            due: None,
            kernel: vec![Address::default(); vips],
            farewells: vec![Vec::new(); vips],
            cleaned: vec![false; vips],
            drained: vec![false; vips],
            unfit_until: vec![0; vips],
            answer_at: vec![0; vips],
            specs: scenario.specs[n].clone(),
            order: (0..vips).collect(),
            links: [true; LINKS],
            probes: [Verdict::Up; PROBES],
        }
    }

    pub(crate) fn runs(&self, now: Time) -> bool {
        self.task.is_some() && now >= self.paused_until
    }

    pub(crate) fn post(&mut self, mail: Mail) {
        if self.task.is_some() && self.inbox.len() < SOCKET {
            self.inbox.push_back(mail);
        }
    }

    /// Whether it could still tell others that it has let go.
    pub(crate) fn can_speak(&self, vip: usize) -> bool {
        self.task.is_some() && self.links[self.specs[vip].link.index()]
    }

    pub(crate) fn answers(&self, vip: usize, now: Time) -> bool {
        self.links[self.specs[vip].link.index()] && self.kernel[vip].answers(self.clock.read(now))
    }

    /// The machine's name for a vip.
    pub(crate) fn id(&self, vip: usize) -> Option<VipId> {
        let at = self.order.iter().position(|known| *known == vip)?;
        Some(VipId(u32::try_from(at).unwrap_or(0)))
    }

    /// Whether it could hold this vip, were it alone.
    pub(crate) fn is_fit(&self, vip: usize, now: Time) -> bool {
        let spec = &self.specs[vip];
        self.runs(now)
            && self.shutting.is_none()
            && self.links[spec.link.index()]
            && !self.drained[vip]
            && now >= self.unfit_until[vip]
            && spec.requires.iter().all(|probe| self.probes[probe.index()] == Verdict::Up)
    }
}
