//! The machine, its driver or its operator with one thing broken, between the simulator and the real one.

use std::collections::VecDeque;
use std::time::Duration;

use mainstay_core::lease::{
    Effect, Ending, Input, Leases, Letter, Message, Outcome, Refused, Setup, Terms, VoterList,
};
use mainstay_core::time::Boot;

/// What is broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mutant {
    /// Nothing.
    #[default]
    None,
    /// Rule 1: a right counts from the moment that the majority has answered.
    LateStamp,
    /// Rule 1: no clock is wrong, no gate is late.
    NoMargin,
    /// Rule 1: it believes a right for longer than it was promised.
    Trusting,
    /// Rule 2: the gate stays open.
    OpenGate,
    /// Rule 3: a voter promises for half the term.
    ShortPromise,
    /// Rule 3: the right is given back while the address is still there.
    HastyFree,
    /// Rule 4: a restarted voter votes at once.
    Forgetful,
    /// Rule 5: one refusal counts as a grant.
    Minority,
    /// Rule 5: a voter does not look at the mark.
    AnyList,
    /// Rule 5: the operator changes the list again without waiting for the last change to be known.
    HastyOperator,
    /// Rule 6: it does not renew.
    Lazy,
    /// Rule 7: epochs begin anew with each start.
    Epochless,
    /// Rule 8: it does not give way to a higher epoch.
    Stubborn,
    /// Rule 9: it stays although its right has ended.
    Sleepwalker,
    /// It lives by the wall clock.
    WallClock,
    /// Its driver looks at the clock before it reads what has come.
    EarlyClock,
    /// It never gives anything back.
    Clinging,
    /// It never asks for anything.
    Idle,
    /// It says everything ten times.
    Chatty,
    /// Of two nodes: promises end with their term.
    Fleeting,
    /// Of two nodes: whoever hears nothing of the other takes it.
    Usurper,
    /// Of two nodes: a release that was lost is not asked for.
    Trustful,
}

impl Mutant {
    /// Every way in which it can be broken where two promise what lasts.
    pub const STRICT: [Self; 7] = [
        Self::HastyFree,
        Self::Clinging,
        Self::Idle,
        Self::Chatty,
        Self::Fleeting,
        Self::Usurper,
        Self::Trustful,
    ];
    /// Every way in which it can be broken where majorities promise.
    pub const ALL: [Self; 19] = [
        Self::LateStamp,
        Self::NoMargin,
        Self::Trusting,
        Self::OpenGate,
        Self::ShortPromise,
        Self::HastyFree,
        Self::Forgetful,
        Self::Minority,
        Self::AnyList,
        Self::HastyOperator,
        Self::Lazy,
        Self::Epochless,
        Self::Stubborn,
        Self::Sleepwalker,
        Self::WallClock,
        Self::EarlyClock,
        Self::Clinging,
        Self::Idle,
        Self::Chatty,
    ];
}

/// A machine that may be broken.
pub(crate) struct Subject {
    pub(crate) leases: Leases,
    mutant: Mutant,
    terms: Terms,
    now: Boot,
    queue: VecDeque<Effect>,
}

impl Subject {
    pub(crate) fn new(mut setup: Setup, rights: Vec<String>, now: Boot, mutant: Mutant) -> Self {
        let terms = setup.terms;
        if mutant == Mutant::NoMargin {
            (setup.terms.drift_ppm, setup.terms.gate_error) = (0, Duration::ZERO);
        }
        if mutant == Mutant::Epochless {
            setup.epoch_floor = 0;
        }
        setup.remembers |= mutant == Mutant::Forgetful;
        setup.lasting &= mutant != Mutant::Fleeting;
        Self { leases: Leases::new(setup, rights, now), mutant, terms, now, queue: VecDeque::new() }
    }

    pub(crate) fn handle(&mut self, input: Input<'_>, now: Boot) {
        self.now = now;
        match input {
            Input::Heard { from, letter } if self.garbles() => {
                let letter = self.garble(letter.clone());
                self.leases.handle(Input::Heard { from, letter: &letter }, now);
            }
            Input::Heard { .. }
            | Input::Stance { .. }
            | Input::Gone { .. }
            | Input::Successor { .. }
            | Input::List(_)
            | Input::Tick => self.leases.handle(input, now),
        }
        if self.mutant == Mutant::Usurper && self.leases.list().members.len() == 2 {
            let other = mainstay_core::name::NodeId(1 - self.leases.me().0);
            for right in (0..3).map(mainstay_core::name::RightId) {
                let _ = self.leases.take(right, other, now);
            }
        }
    }

    /// Whether it hears something else than what was said.
    fn garbles(&self) -> bool {
        matches!(self.mutant, Mutant::ShortPromise | Mutant::Minority | Mutant::AnyList)
    }

    fn garble(&self, mut letter: Letter) -> Letter {
        if self.mutant == Mutant::AnyList {
            letter.mark = self.leases.mark();
        }
        for message in &mut letter.messages {
            match message {
                Message::Request(request) if self.mutant == Mutant::ShortPromise => request.term /= 2,
                Message::Reply(reply) if self.mutant == Mutant::Minority => {
                    for answered in &mut reply.rights {
                        if let Outcome::Held { epoch, .. } = answered.outcome {
                            answered.outcome = Outcome::Granted { epoch: epoch + 1 };
                        }
                    }
                }
                Message::Beat(_)
                | Message::Request(_)
                | Message::Reply(_)
                | Message::Free(_)
                | Message::List(_)
                | Message::Sights(_) => {}
            }
        }
        letter
    }

    pub(crate) fn poll_effect(&mut self) -> Option<Effect> {
        loop {
            if let Some(effect) = self.queue.pop_front() {
                return Some(effect);
            }
            let mut effect = self.leases.poll_effect()?;
            if let (Mutant::Trusting, Effect::Held { until, .. }) = (self.mutant, &mut effect) {
                *until += self.terms.hold();
            }
            if !self.swallows(&effect) {
                let copies = if self.mutant == Mutant::Chatty && matches!(effect, Effect::Send { .. }) {
                    9
                } else {
                    0
                };
                self.queue.extend(std::iter::repeat_n(effect.clone(), copies));
                return Some(effect);
            }
        }
    }

    /// Until when the driver believes that a right is held.
    pub(crate) fn bend(&self, until: Boot) -> Boot {
        if self.mutant == Mutant::LateStamp {
            return self.now + self.terms.hold();
        }
        if self.mutant == Mutant::OpenGate { Boot::from_nanos(u64::MAX / 2) } else { until }
    }

    fn swallows(&self, effect: &Effect) -> bool {
        match effect {
            Effect::Yield { why, .. } => {
                let stubborn = self.mutant == Mutant::Stubborn && matches!(why, Ending::Superseded { .. });
                stubborn || self.mutant == Mutant::Sleepwalker && *why == Ending::Unrenewed
            }
            Effect::Send { message: Message::Free(_), .. } => self.mutant == Mutant::Clinging,
            Effect::Send { message: Message::Request(request), .. } => {
                let renews = request.rights.iter().any(|asked| asked.renewal);
                self.mutant == Mutant::Idle || self.mutant == Mutant::Lazy && renews
            }
            Effect::Send { message: Message::Reply(reply), .. } => {
                self.mutant == Mutant::Trustful && reply.number == 0
            }
            Effect::Send { message: Message::Beat(_) | Message::List(_) | Message::Sights(_), .. } => false,
            Effect::Held { .. } | Effect::Adopted(_) | Effect::Notice(_) => false,
        }
    }

    /// The operator's next list.
    pub(crate) fn change(&mut self, list: &VoterList, now: Boot) -> Result<(), Refused> {
        self.now = now;
        if self.mutant == Mutant::HastyOperator {
            self.leases.handle(Input::List(list), now);
            return Ok(());
        }
        self.leases.change(list, now)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Boot> {
        self.leases.poll_timeout()
    }

    pub(crate) fn letter(&self, messages: Vec<Message>) -> Letter {
        self.leases.letter(messages)
    }
}
