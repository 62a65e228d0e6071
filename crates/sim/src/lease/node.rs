//! One simulated node: its kernel and disk, its task when it runs, and what waits to be read.

use std::collections::VecDeque;
use std::rc::Rc;

use mainstay_core::lease::{Effect, Letter, Message, Stance, VoterList};
use mainstay_core::name::NodeId;
use mainstay_core::time::Boot;

use crate::kernel::{Address, Clock, Time};
use crate::lease::mutant::Subject;
use crate::lease::scenario::Scenario;

/// A socket holds so many letters; what comes later is lost.
const SOCKET: usize = 200;

/// What waits for a task.
#[derive(Clone, Debug)]
pub(crate) enum Mail {
    Letter(usize, Rc<Letter>),
    Stance(usize, Stance),
    /// The address of a right is to be removed, and the machine told, when it is held under this epoch.
    Remove(usize, u64),
    /// The operator hands a right over to that node.
    Move(usize, usize),
    List(Rc<VoterList>),
    /// The operator says that this node is dead: take what it may have.
    Take(usize),
    Stop,
}

/// What survives a task and, but for the kernel, the host.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    pub(crate) list: VoterList,
    /// The last instance that ran here.
    pub(crate) instance: Option<u64>,
}

/// One node.
pub(crate) struct Node {
    pub(crate) clock: Clock,
    /// By how many nanoseconds its wall clock is ahead of true time.
    pub(crate) wall: i64,
    pub(crate) disk: Disk,
    pub(crate) task: Option<Subject>,
    /// Counts its starts, so that letters to a dead task are told apart.
    pub(crate) life: u32,
    pub(crate) paused_until: Time,
    /// Sleeps in the middle of its next work, after so many effects, for so long.
    pub(crate) nap: Option<(u32, Time)>,
    /// The guest stands still.
    pub(crate) suspended: bool,
    /// When its task last started.
    pub(crate) started: Time,
    /// By right: since when it has the right and could answer, and does not.
    pub(crate) silent_since: Vec<Option<Time>>,
    /// Its voter is certainly not mute any more.
    pub(crate) mute_until: Time,
    pub(crate) inbox: VecDeque<Mail>,
    /// When the task last looked at its clock before it went to sleep, for a driver that reads it too early.
    pub(crate) glanced: Boot,
    /// Effects of the input in hand that are not carried out yet, and the letter that is being put together.
    pub(crate) effects: VecDeque<Effect>,
    pub(crate) outbox: Option<(NodeId, Vec<Message>)>,
    /// Only the wake-up with this number counts.
    pub(crate) wake: u64,
    pub(crate) due: Option<Time>,
    /// By right.
    pub(crate) kernel: Vec<Address>,
    /// For each right the epoch under which the driver has it, and whether it is being given back.
    pub(crate) held: Vec<Option<u64>>,
    pub(crate) leaving: Vec<bool>,
    /// For each right what the kernel was last told: the epoch, and when the right ends.
    pub(crate) taken: Vec<u64>,
    pub(crate) until: Vec<Boot>,
    /// For each right the epoch under which the machine has decided that it is held.
    pub(crate) decided: Vec<Option<u64>>,
    /// When the machine was last given anything.
    pub(crate) handled_at: Time,
    /// When the machine last asked for anything.
    pub(crate) asked_at: Boot,
    pub(crate) stances: Vec<Stance>,
    pub(crate) stopping: bool,
    /// When it had nothing left to give up.
    pub(crate) stopped_at: Option<Boot>,
}

impl Node {
    pub(crate) fn new(scenario: &Scenario, n: usize) -> Self {
        let rights = scenario.rights.len();
        Self {
            clock: scenario.clocks[n],
            wall: scenario.walls[n],
            disk: Disk { list: scenario.list.clone(), instance: None },
            task: None,
            life: 0,
            paused_until: 0,
            nap: None,
            suspended: false,
            started: 0,
            silent_since: vec![None; rights],
            mute_until: Time::MAX,
            inbox: VecDeque::new(),
            glanced: Boot::ZERO,
            effects: VecDeque::new(),
            outbox: None,
            wake: 0,
            due: None,
            kernel: vec![Address::default(); rights],
            held: vec![None; rights],
            leaving: vec![false; rights],
            taken: vec![0; rights],
            until: vec![Boot::ZERO; rights],
            decided: vec![None; rights],
            handled_at: 0,
            asked_at: Boot::ZERO,
            stances: scenario.stances[n].clone(),
            stopping: false,
            stopped_at: None,
        }
    }

    pub(crate) fn runs(&self, now: Time) -> bool {
        self.task.is_some() && now >= self.paused_until && !self.suspended
    }

    pub(crate) fn post(&mut self, mail: Mail) {
        if self.task.is_some() && self.inbox.len() < SOCKET {
            self.inbox.push_back(mail);
        }
    }

    pub(crate) fn answers(&self, right: usize, now: Time) -> bool {
        !self.suspended && self.kernel[right].answers(self.clock.read(now))
    }

    /// Whether it could hold this right, were it alone.
    pub(crate) fn is_fit(&self, right: usize, now: Time) -> bool {
        self.runs(now) && !self.stopping && matches!(self.stances[right], Stance::Ready { .. })
    }

    /// Whether its promise can count.
    pub(crate) fn can_vote(&self, now: Time) -> bool {
        self.runs(now) && now >= self.mute_until
    }

    /// The task is gone; kernel and disk stay.
    pub(crate) fn die(&mut self) {
        self.task = None;
        self.mute_until = Time::MAX;
        self.paused_until = 0;
        self.nap = None;
        self.inbox.clear();
        self.effects.clear();
        self.outbox = None;
        self.held.fill(None);
        self.decided.fill(None);
        self.asked_at = Boot::ZERO;
        self.leaving.fill(false);
        (self.stopping, self.stopped_at) = (false, None);
        self.silent_since.fill(None);
        self.due = None;
    }

    /// No address is left.
    pub(crate) fn sweep(&mut self) {
        self.kernel.fill(Address::default());
    }
}
