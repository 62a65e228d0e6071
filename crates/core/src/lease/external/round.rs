//! One round for some rights: how the voter stands, what it says to each, and the step that makes it so.

use std::collections::BTreeMap;
use std::time::Duration;

use super::deputy::{Asker, Deputy, Effect, Right};
use super::judge::{Verdict, judge};
use super::record::{Change, EpochRecord, Found, Key, PromiseRecord, Step, VoterRecord, Write};
use super::words::Heard;
use crate::lease::{Answered, Outcome, Reply};
use crate::time::Boot;

/// A round that finds the store changed so often under its hands waits.
const TRIES: u32 = 4;

/// The rights that are dealt with together.
#[derive(Clone, Debug)]
pub(super) struct Round {
    pub(super) batch: Vec<String>,
    /// What is known of them was read in this round.
    pub(super) fresh: bool,
    pub(super) tries: u32,
    /// Promises stand under another list.
    pub(super) unquiet: bool,
}

/// The step that is under way.
#[derive(Clone, Debug)]
pub(super) struct Busy {
    pub(super) step: u64,
    pub(super) intent: Intent,
    pub(super) round: Round,
}

/// What it is for.
#[derive(Clone, Debug)]
pub(super) enum Intent {
    /// To see whether somebody answers.
    Look,
    /// To know what lies there.
    Know,
    /// The voter's own record.
    Voter { record: VoterRecord, quiet: bool },
    /// Promises and releases.
    Rights { grants: Vec<Grant>, changes: Vec<Change>, freed: Vec<(String, u64)> },
}

/// One promise that is being made.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) right: String,
    number: u64,
    epoch: u64,
}

/// How the voter stands to who asks.
enum Stand {
    /// Its record is to be written first.
    Write { record: Box<VoterRecord>, version: u64, quiet: bool },
    /// It refuses everybody here.
    Refuses(Outcome),
    /// It judges.
    Judges { floor: u64 },
}

/// What comes of a round.
#[derive(Default)]
struct Plan {
    unchanged: Vec<(Key, u64)>,
    changes: Vec<Change>,
    lasts: Option<Duration>,
    grants: Vec<Grant>,
    refused: Vec<(String, Outcome)>,
    freed: Vec<(String, u64)>,
    /// Releases that change nothing, by what is known.
    moot: Vec<(String, u64)>,
}

impl Round {
    pub(super) fn new(batch: Vec<String>) -> Self {
        Self { batch, fresh: false, tries: 0, unquiet: false }
    }
}

impl Deputy {
    /// What follows from what is known, for the rights of a round.
    pub(super) fn decide(&mut self, round: Round, now: Boot) {
        let Some(asker) = self.asker.clone() else { return };
        let known = |name: &String| self.rights.get(name).is_some_and(|right: &Right| right.known.is_some());
        if self.voter.is_none() || !round.batch.iter().all(known) {
            let step = Step::Read(round.batch.clone());
            return self.take(Intent::Know, round, step);
        }
        if round.tries >= TRIES {
            self.wait_until = now + self.ability.terms.term / 20;
            return;
        }
        let stand = self.stand(&asker, round.unquiet, now);
        if let Stand::Write { record, version, quiet } = stand {
            let write = Write {
                unchanged: vec![(Key::Voter, version)],
                birth: self.known_birth(),
                quiet,
                changes: vec![Change::Voter((*record).clone())],
                lasts: None,
                rights: round.batch.clone(),
            };
            return self.take(Intent::Voter { record: *record, quiet }, round, Step::Write(write));
        }
        let plan = self.plan(&asker, &round, &stand, now);
        let granted_all = plan.moot.is_empty() && plan.refused.is_empty();
        if !(round.fresh || granted_all) {
            // Nobody is refused by what may have been so a while ago.
            let step = Step::Read(round.batch.clone());
            return self.take(Intent::Know, round, step);
        }
        self.refuse(plan.refused, now);
        for (name, epoch) in &plan.moot {
            self.freed(name, *epoch);
        }
        if plan.changes.is_empty() {
            return;
        }
        let version = self.voter.iter().flatten().map(|(_, version)| *version).next().unwrap_or(0);
        let mut unchanged = plan.unchanged;
        unchanged.push((Key::Voter, version));
        let write = Write {
            unchanged,
            birth: self.known_birth(),
            quiet: false,
            changes: plan.changes.clone(),
            lasts: plan.lasts,
            rights: round.batch.clone(),
        };
        let intent = Intent::Rights { grants: plan.grants, changes: plan.changes, freed: plan.freed };
        self.take(intent, round, Step::Write(write));
    }

    fn stand(&self, asker: &Asker, unquiet: bool, now: Boot) -> Stand {
        let mute = self.ability.terms.mute();
        let store = self.seen.map_or(0, |(store, _)| store);
        let write = |record, version, quiet| Stand::Write { record: Box::new(record), version, quiet };
        let Some((record, version)) = self.voter.as_ref().and_then(Option::as_ref) else {
            return write(self.born(None, asker, store, now), 0, false);
        };
        if self.forgot || record.store != store {
            return write(self.born(Some(record), asker, store, now), *version, false);
        }
        let listed = VoterRecord { mark: asker.mark, list: asker.list.clone(), ..record.clone() };
        if asker.mark.epoch > record.mark.epoch && follows(record, asker) {
            return write(listed, *version, false);
        }
        if asker.mark != record.mark {
            // Another list of the same epoch is what files say that were changed while nothing was held.
            if asker.mark.epoch == record.mark.epoch && !unquiet {
                return write(listed, *version, true);
            }
            let term_max = self.ability.terms.term_max;
            return Stand::Refuses(Outcome::Mismatch { mark: record.mark, term_max });
        }
        if record.open {
            return Stand::Judges { floor: record.floor };
        }
        let since =
            self.birth.filter(|(birth, ..)| *birth == record.birth).map_or(now, |(_, since, _)| since);
        let left = (since + mute).since(now);
        if left.is_zero() {
            return write(VoterRecord { open: true, ..record.clone() }, *version, false);
        }
        Stand::Refuses(Outcome::Mute { left })
    }

    /// The voter of a store that remembers nothing (rule 4): it promises when all that it may have promised is over.
    fn born(&self, before: Option<&VoterRecord>, asker: &Asker, store: u64, now: Boot) -> VoterRecord {
        let newer = before.filter(|before| before.mark.epoch > asker.mark.epoch);
        let (mark, list) = newer.map_or((asker.mark, &asker.list), |before| (before.mark, &before.list));
        VoterRecord {
            birth: self.new_birth(now),
            store,
            open: false,
            floor: self.floor(now).max(before.map_or(0, |before| before.floor)),
            mark,
            list: list.clone(),
        }
    }

    fn plan(&self, asker: &Asker, round: &Round, stand: &Stand, now: Boot) -> Plan {
        let mut plan = Plan::default();
        for name in &round.batch {
            let Some(right) = self.rights.get(name) else { continue };
            let Some(found) = right.known.as_ref() else { continue };
            let before = plan.changes.len();
            if let Some(ask) = right.ask.filter(|ask| ask.due <= now) {
                match self.verdict(asker, stand, right, found, now) {
                    Ok((promise, epoch)) => {
                        let lasts = Duration::from_millis(promise.term_ms);
                        plan.lasts = Some(plan.lasts.map_or(lasts, |most| most.max(lasts)));
                        plan.changes.push(Change::Promise(name.clone(), promise));
                        plan.changes.extend(epoch.map(|epoch| Change::Epoch(name.clone(), epoch)));
                        let grant = Grant { right: name.clone(), number: ask.number, epoch: ask.asks.epoch };
                        plan.grants.push(grant);
                    }
                    Err(outcome) => plan.refused.push((name.clone(), outcome)),
                }
            }
            if let Some(epoch) = right.free {
                if plan.changes.len() == before {
                    plan.changes.extend(self.release(asker, name, right, found, epoch));
                }
                let moot = plan.changes.len() == before;
                let list = if moot { &mut plan.moot } else { &mut plan.freed };
                list.push((name.clone(), epoch));
            }
            if plan.changes.len() > before {
                plan.unchanged.extend(found.versions(name));
            }
        }
        plan
    }

    fn verdict(
        &self,
        asker: &Asker,
        stand: &Stand,
        right: &Right,
        found: &Found,
        now: Boot,
    ) -> Result<(PromiseRecord, Option<EpochRecord>), Outcome> {
        let Some(ask) = right.ask else { return Err(Outcome::Full) };
        let terms = &self.ability.terms;
        let floor = match stand {
            Stand::Refuses(outcome) => return Err(outcome.clone()),
            Stand::Judges { floor } => *floor,
            Stand::Write { .. } => u64::MAX,
        };
        if ask.asks.term > terms.term_max || ask.asks.term.is_zero() {
            return Err(Outcome::Mismatch { mark: asker.mark, term_max: terms.term_max });
        }
        match judge(found, floor, self.who(asker), ask.asks) {
            Verdict::Grant(promise, epoch) => Ok((promise, epoch)),
            Verdict::Held { by, epoch } => {
                // The store does not say how old a promise is; this deputy has seen it for so long.
                let whole = found.promise.as_ref().map_or(0, |(promise, _)| promise.term_ms);
                let seen = right.since.map_or(Duration::ZERO, |(_, since)| now.since(since));
                let left = Duration::from_millis(whole).saturating_sub(seen).max(terms.term / 20);
                Err(Outcome::Held { by, epoch, left })
            }
            Verdict::Stale { epoch } => Err(Outcome::Stale { epoch }),
        }
    }

    /// What gives a right back, if it is ours to give.
    fn release(&self, asker: &Asker, name: &str, right: &Right, found: &Found, epoch: u64) -> Vec<Change> {
        let who = self.who(asker);
        let own = found.promise.as_ref().filter(|(promise, _)| promise.epoch == epoch && who.has(promise));
        let (promise, _) = match own {
            Some(own) => own,
            // A promise that may be written yet must find the epochs changed.
            None if right.unsure => {
                let freed = PromiseRecord {
                    node: self.ability.node.clone(),
                    instance: asker.instance,
                    epoch,
                    term_ms: 0,
                };
                let highest = found.highest().max(epoch);
                let epochs = EpochRecord { highest, freed: Some(freed) };
                return vec![Change::Epoch(name.to_owned(), epochs)];
            }
            None => return Vec::new(),
        };
        let epochs = EpochRecord { highest: found.highest().max(epoch), freed: Some(promise.clone()) };
        vec![Change::Release(name.to_owned()), Change::Epoch(name.to_owned(), epochs)]
    }

    fn known_birth(&self) -> Option<u64> {
        self.voter.as_ref()?.as_ref().map(|(record, _)| record.birth)
    }

    /// Tells who asks that it does not get what it asked for; who may wait is told once.
    fn refuse(&mut self, refused: Vec<(String, Outcome)>, now: Boot) {
        let pause = self.ability.terms.term / 10;
        let mut replies: BTreeMap<u64, Vec<Answered>> = BTreeMap::new();
        for (name, outcome) in refused {
            let Some(right) = self.rights.get_mut(&name) else { continue };
            let Some(ask) = &mut right.ask else { continue };
            let waits = match &outcome {
                Outcome::Held { .. } | Outcome::Mute { .. } => !ask.asks.renewal,
                Outcome::Granted { .. }
                | Outcome::Stale { .. }
                | Outcome::Mismatch { .. }
                | Outcome::Full => false,
            };
            ask.due = now + pause;
            if !std::mem::replace(&mut ask.told, true) || !waits {
                let answered = Answered { right: name.clone(), outcome };
                replies.entry(ask.number).or_default().push(answered);
            }
            if !waits {
                right.ask = None;
            }
        }
        self.say(replies);
    }

    /// Everything has been written.
    pub(super) fn written(&mut self, busy: Busy, revision: u64, now: Boot) {
        match busy.intent {
            Intent::Look | Intent::Know => {}
            Intent::Voter { record, .. } => {
                self.forgot = false;
                self.know_voter(Some((record, revision)), now);
                let tries = busy.round.tries + 1;
                self.decide(Round { tries, ..busy.round }, now);
            }
            Intent::Rights { grants, changes, freed } => {
                for change in changes {
                    self.keep(change, revision, now);
                }
                let mut replies: BTreeMap<u64, Vec<Answered>> = BTreeMap::new();
                for Grant { right, number, epoch } in grants {
                    if let Some(known) = self.rights.get_mut(&right) {
                        known.unsure = false;
                        known.ask = known.ask.filter(|ask| ask.number != number);
                    }
                    let outcome = Outcome::Granted { epoch };
                    replies.entry(number).or_default().push(Answered { right, outcome });
                }
                for (name, epoch) in freed {
                    self.freed(&name, epoch);
                }
                self.say(replies);
            }
        }
    }

    /// A release was dealt with.
    fn freed(&mut self, name: &str, epoch: u64) {
        if let Some(right) = self.rights.get_mut(name) {
            right.free = right.free.filter(|free| *free > epoch);
            right.unsure = false;
        }
    }

    /// A record is as it was written.
    fn keep(&mut self, change: Change, version: u64, now: Boot) {
        match change {
            Change::Voter(record) => self.voter = Some(Some((record, version))),
            Change::Promise(name, promise) => {
                if let Some(right) = self.rights.get_mut(&name) {
                    right.since = Some((version, now));
                    right.known.get_or_insert_default().promise = Some((promise, version));
                }
            }
            Change::Release(name) => {
                if let Some(right) = self.rights.get_mut(&name) {
                    right.since = None;
                    right.known.get_or_insert_default().promise = None;
                }
            }
            Change::Epoch(name, epoch) => {
                if let Some(right) = self.rights.get_mut(&name) {
                    right.known.get_or_insert_default().epoch = Some((epoch, version));
                }
            }
        }
    }

    fn say(&mut self, replies: BTreeMap<u64, Vec<Answered>>) {
        let (Some(asker), Some(Some((record, _)))) = (&self.asker, &self.voter) else { return };
        if replies.is_empty() {
            return;
        }
        let newer = record.mark.epoch > asker.mark.epoch;
        let heard = Heard {
            birth: record.birth,
            mark: record.mark,
            replies: replies.into_iter().map(|(number, rights)| Reply { number, rights }).collect(),
            list: newer.then(|| record.list.clone()),
        };
        self.effects.push_back(Effect::Say(heard));
    }
}

/// Whether the asker's list may follow the one in force (rule 5): one that is several changes ahead was proved step by
/// step elsewhere.
fn follows(record: &VoterRecord, asker: &Asker) -> bool {
    let next = asker.list.epoch == record.list.epoch.saturating_add(1);
    asker.list.flaw().is_none() && (!next || record.list.voters_changed(&asker.list) <= 1)
}
