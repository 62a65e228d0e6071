//! The machine with one thing broken, between the simulator and the real one.

use std::collections::VecDeque;

use mainstay_core::election::{Effect, GroupSpec, Input, Next, VipSpec, Vips};
use mainstay_core::time::Boot;

/// What is broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mutant {
    /// Nothing.
    #[default]
    None,
    /// It never announces.
    Mute,
    /// It announces when it takes a vip and never again.
    Once,
    /// It does not notice that it slept.
    Sleepwalker,
    /// It never lets go of an address.
    Clinging,
    /// It says that it resigns before the address is gone.
    Hasty,
    /// It knows no sync groups.
    Loner,
    /// It hears one packet in five.
    Deaf,
    /// It arms its gate once.
    Unarmed,
    /// It never takes anything.
    Idle,
    /// It does not hear the adverts of better nodes.
    Proud,
    /// It waits twice as long as it should for a silent node.
    Patient,
    /// It does not hear that it should stop.
    Stubborn,
}

impl Mutant {
    /// Every way in which it can be broken.
    pub const ALL: [Self; 12] = [
        Self::Mute,
        Self::Once,
        Self::Sleepwalker,
        Self::Clinging,
        Self::Hasty,
        Self::Loner,
        Self::Deaf,
        Self::Unarmed,
        Self::Idle,
        Self::Proud,
        Self::Patient,
        Self::Stubborn,
    ];
}

/// A machine that may be broken.
pub(crate) struct Subject {
    pub(crate) vips: Vips,
    mutant: Mutant,
    heard: u64,
    fresh: Vec<bool>,
    armed: Vec<bool>,
    queue: VecDeque<Effect>,
}

impl Subject {
    pub(crate) fn new(
        mut specs: Vec<VipSpec>,
        groups: Vec<GroupSpec>,
        links: usize,
        start: Boot,
        mutant: Mutant,
    ) -> Self {
        let groups = if mutant == Mutant::Loner { Vec::new() } else { groups };
        if mutant == Mutant::Patient {
            specs.iter_mut().for_each(|spec| spec.down_adverts *= 2);
        }
        let n = specs.len();
        Self {
            vips: Vips::new(specs, groups, links, start),
            mutant,
            heard: 0,
            fresh: vec![false; n],
            armed: vec![false; n],
            queue: VecDeque::new(),
        }
    }

    pub(crate) fn handle(&mut self, input: Input<'_>, now: Boot) {
        if self.mutant == Mutant::Sleepwalker {
            // As if each tick had come in time.
            while let Some(due) = self.vips.poll_timeout().filter(|due| *due < now) {
                self.vips.handle(Input::Tick, due);
            }
        }
        if matches!(input, Input::Shutdown) && self.mutant == Mutant::Stubborn {
            return;
        }
        if let Input::Packet(packet) = input {
            self.heard += 1;
            let better = packet.payload.get(2).is_some_and(|priority| *priority > 100);
            if (self.mutant == Mutant::Deaf && !self.heard.is_multiple_of(5))
                || (self.mutant == Mutant::Proud && better)
            {
                return;
            }
        }
        self.vips.handle(input, now);
    }

    pub(crate) fn retire(&mut self, next: &Next, now: Boot) {
        self.vips.retire(next, now);
    }

    pub(crate) fn apply(&mut self, mut next: Next, now: Boot) -> Vec<Effect> {
        if self.mutant == Mutant::Loner {
            next.groups.clear();
        }
        self.vips.apply(next, now)
    }

    pub(crate) fn poll_effect(&mut self) -> Option<Effect> {
        if self.mutant == Mutant::Hasty {
            while let Some(effect) = self.vips.poll_effect() {
                self.queue.push_back(effect);
            }
            if let (Some(Effect::Release { .. }), Some(Effect::Advertise { .. })) =
                (self.queue.front(), self.queue.get(1))
            {
                self.queue.swap(0, 1);
            }
            return self.queue.pop_front();
        }
        loop {
            let effect = self.vips.poll_effect()?;
            if !self.swallows(&effect) {
                return Some(effect);
            }
        }
    }

    fn swallows(&mut self, effect: &Effect) -> bool {
        match effect {
            Effect::Take { vip } => {
                self.fresh[vip.index()] = true;
                self.mutant == Mutant::Idle
            }
            Effect::Announce { vip } => {
                let fresh = std::mem::take(&mut self.fresh[vip.index()]);
                match self.mutant {
                    Mutant::Mute | Mutant::Idle => true,
                    Mutant::Once => !fresh,
                    Mutant::None
                    | Mutant::Sleepwalker
                    | Mutant::Clinging
                    | Mutant::Hasty
                    | Mutant::Loner
                    | Mutant::Deaf
                    | Mutant::Unarmed
                    | Mutant::Proud
                    | Mutant::Patient
                    | Mutant::Stubborn => false,
                }
            }
            Effect::Release { vip } => {
                self.armed[vip.index()] = false;
                self.mutant == Mutant::Clinging
            }
            Effect::Arm { vip, .. } => {
                self.mutant == Mutant::Unarmed && std::mem::replace(&mut self.armed[vip.index()], true)
            }
            Effect::Advertise { .. }
            | Effect::Start { .. }
            | Effect::Stop { .. }
            | Effect::Stance { .. }
            | Effect::Gone { .. }
            | Effect::Changed { .. } => false,
        }
    }
}
