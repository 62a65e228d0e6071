//! The promises about time: how long nobody may answer, who follows whom by when, who keeps what.

use mainstay_core::lease::Stance;

use crate::kernel::Time;
use crate::lease::check::Due;
use crate::lease::scenario::JITTER;
use crate::lease::world::World;

impl World {
    /// Something happened that may cost time, and up to `cost` more.
    pub(crate) fn disturb(&mut self, cost: Time) {
        self.checks.calm_since = self.checks.calm_since.max(self.now + cost);
        self.checks.due.fill(None);
        self.checks.cooperative.fill(false);
    }

    /// Everything has settled after the last fault.
    pub(crate) fn is_calm(&self) -> bool {
        !self.is_rough() && self.lasted(0) > self.patience()
    }

    /// The longest that nobody answers in the calm: promises to the dead run out, then somebody asks.
    fn patience(&self) -> Time {
        self.scenario.term() * 3 / 2 + self.grace()
    }

    /// What finding out, asking and answering takes.
    pub(crate) fn grace(&self) -> Time {
        4 * self.scenario.beat() + 6 * self.scenario.delay() + 4 * JITTER + self.scenario.removal
    }

    fn is_rough(&self) -> bool {
        !self.net.is_whole()
            || self.now < self.checks.late_until
            || self.nodes.iter().any(|node| node.task.is_some() && !node.runs(self.now))
    }

    /// How long a state that began at `since` has lasted in the calm.
    fn lasted(&self, since: Time) -> Time {
        self.now.saturating_sub(since.max(self.checks.calm_since))
    }

    /// Looks at everything.
    pub(crate) fn look(&mut self) {
        self.note_paths();
        if self.is_rough() {
            self.checks.calm_since = self.checks.calm_since.max(self.now);
        }
        self.check_lone();
        for right in 0..self.scenario.rights.len() {
            self.touched(right);
            self.check_none(right);
            if let Some(due) = self.checks.due[right].filter(|due| self.now > due.by) {
                self.fail(|| format!("promise 5: nobody has followed on vip/{right}: {due:?}"));
            }
        }
    }

    /// Which ways between holders and voters are bad at this moment.
    pub(crate) fn note_paths(&mut self) {
        let fair = self.net.weather.is_fair() && self.now >= self.checks.late_until;
        let mut rough = !fair;
        for n in 0..self.nodes.len() {
            rough |= !self.nodes[n].suspended && !self.nodes[n].runs(self.now);
            for v in 0..self.nodes.len() {
                let cut = self.net.is_cut(n, v) || self.net.is_cut(v, n);
                rough |= cut;
                let (holder, voter) = (&self.nodes[n], &self.nodes[v]);
                let good = fair
                    && !cut
                    && holder.runs(self.now)
                    && voter.can_vote(self.now)
                    && holder.disk.list == voter.disk.list;
                if !good {
                    self.checks.bad[n][v] = self.now;
                }
            }
        }
        if rough {
            self.checks.rough_at = self.now;
        }
    }

    /// Whether a node has had a majority of voters, the same one, for so long.
    pub(crate) fn has_majority_for(&self, n: usize, time: Time) -> bool {
        let list = &self.nodes[n].disk.list;
        let good = |v: usize| self.checks.bad[n][v] + time < self.now;
        list.voters().filter(|voter| good(voter.index())).count() >= list.majority()
    }

    /// Whether promises can be had at all without these nodes: a majority of voters lives and is not mute.
    fn votes_without(&self, absent: impl Fn(usize) -> bool) -> bool {
        let list = &self.checks.list;
        let votes =
            |v: usize| !absent(v) && self.nodes[v].can_vote(self.now) && self.nodes[v].disk.list == *list;
        list.voters().filter(|voter| votes(voter.index())).count() >= list.majority()
    }

    fn check_none(&mut self, right: usize) {
        let Some(since) = self.checks.none_since[right] else { return };
        let list = &self.checks.list;
        let could = (0..self.nodes.len())
            .find(|n| self.nodes[*n].is_fit(right, self.now) && self.nodes[*n].disk.list == *list);
        let (Some(n), true) = (could, self.votes_without(|_| false)) else {
            self.checks.none_since[right] = Some(self.now);
            return;
        };
        let lasted = self.lasted(since);
        self.outcome.worst.nobody = self.outcome.worst.nobody.max(lasted * 1_000 / self.patience());
        if lasted > self.patience() {
            self.fail(|| format!("promise 5: nobody answers for vip/{right}, and n{n} could"));
        }
    }

    /// Somebody answers for a right.
    pub(crate) fn answered(&mut self, right: usize, holder: usize) {
        let before = self.checks.holder[right].replace(holder);
        if let Some(due) = self.checks.due[right].take_if(|due| due.from != holder) {
            let took = self.now - due.since;
            let worst = &mut self.outcome.worst;
            if due.wished {
                worst.hand_over = worst.hand_over.max(took * 1_000 / self.scenario.delay());
                self.outcome.hand_overs += 1;
            } else {
                worst.takeover = worst.takeover.max(took * 1_000 / self.scenario.term());
                self.outcome.takeovers += 1;
            }
            if self.now > due.by {
                self.fail(|| format!("promise 5: n{holder} follows late on vip/{right}: {due:?}"));
            }
        }
        if before.is_some_and(|before| before != holder) {
            self.outcome.changes += 1;
        }
    }

    /// An address was removed because somebody wished it: who follows has two round trips.
    pub(crate) fn expect_next(&mut self, n: usize, right: usize) {
        let wished = std::mem::take(&mut self.checks.cooperative[right]);
        let gone = |v: usize| v == n && self.nodes[n].stopping && !self.scenario.strict;
        if !wished || !self.net.is_whole() || !self.votes_without(gone) || !self.has_heir(n, right) {
            return;
        }
        let by = self.now + 4 * self.scenario.delay() + 2 * JITTER;
        self.checks.due[right] = Some(Due { from: n, since: self.now, by, wished: true });
    }

    fn has_heir(&self, n: usize, right: usize) -> bool {
        (0..self.nodes.len()).any(|m| m != n && self.nodes[m].is_fit(right, self.now))
    }

    /// A node dies, or sleeps for long, in the calm: whoever can follow has the term to do it.
    pub(crate) fn expect_heir(&mut self, n: usize, calm: bool) {
        if !calm || !self.votes_without(|v| v == n) {
            return;
        }
        let by = self.now + self.scenario.term() + self.grace();
        for right in 0..self.scenario.rights.len() {
            let held = self.nodes[n].held[right].is_some() && !self.nodes[n].leaving[right];
            if held && self.has_heir(n, right) {
                self.checks.due[right] = Some(Due { from: n, since: self.now, by, wished: false });
            }
        }
    }

    /// After a cut: a holder without a majority, and on the other side somebody with one.
    pub(crate) fn expect_heirs_of_isolated(&mut self, calm: bool) {
        if !calm {
            return;
        }
        let list = self.checks.list.clone();
        let whole = |a: usize, b: usize| !self.net.is_cut(a, b) && !self.net.is_cut(b, a);
        let has = |n: usize| {
            let votes = |v: usize| whole(n, v) && self.nodes[v].can_vote(self.now);
            list.voters().filter(|voter| votes(voter.index())).count() >= list.majority()
        };
        let split = if self.net.is_clean() { 0 } else { 2 * self.scenario.term() };
        let by = self.now + self.scenario.term() + split + self.grace();
        for right in 0..self.scenario.rights.len() {
            let fit = |m: usize| matches!(self.nodes[m].stances[right], Stance::Ready { .. });
            let lost = (0..self.nodes.len()).find(|n| self.nodes[*n].held[right].is_some() && !has(*n));
            let heir = (0..self.nodes.len()).any(|m| Some(m) != lost && fit(m) && has(m));
            if let Some(from) = lost.filter(|_| heir) {
                self.checks.due[right] = Some(Due { from, since: self.now, by, wished: false });
            }
        }
    }
}
