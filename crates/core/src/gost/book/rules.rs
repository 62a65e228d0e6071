//! What ingress has told of hosts.

use std::collections::BTreeMap;
use std::time::Duration;

use super::line::Line;
use super::{FRESH, IDLE, Job, KNOWN_MAX, Look, NEGATIVE, PATIENCE, Rule, TEXT_MAX};
use crate::time::Boot;

/// Hosts, and what is behind them.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    known: BTreeMap<String, Known>,
}

#[derive(Clone, Debug)]
struct Known {
    /// Nothing: it was not known when it was asked for last.
    rule: Option<Rule>,
    /// Until when nobody asks again.
    fresh: Boot,
    /// Since when ingress answers without it.
    missed: Option<Boot>,
    /// When it was last answered.
    told: Boot,
    used: Boot,
}

impl Rules {
    /// What is behind a host; asks when that is not known.
    pub(super) fn look(&mut self, host: &str, line: &mut Line, now: Boot) -> Look<Rule> {
        if host.is_empty() || host.len() > TEXT_MAX || !line.there {
            return Look::Nobody;
        }
        let job = Job::Rule(host.to_owned());
        if let Some(known) = self.known.get_mut(host) {
            known.used = now;
            let stale = now >= known.fresh;
            if let Some(rule) = &known.rule {
                if stale {
                    line.schedule(job, now);
                }
                return Look::Known(rule.clone());
            }
            if !stale {
                return Look::Nobody;
            }
        }
        if line.ask(&job, now) { Look::Asked } else { Look::Nobody }
    }

    /// The same without asking.
    pub(super) fn peek(&self, host: &str) -> Option<&Rule> {
        self.known.get(host).and_then(|known| known.rule.as_ref())
    }

    /// What ingress says of a host; `keeps` says of a rule that is missing whether it is true all the same.
    pub(super) fn answered(
        &mut self,
        host: &str,
        rule: Option<Rule>,
        (now, renew): (Boot, Duration),
        keeps: impl FnOnce(&Rule) -> bool,
    ) {
        let known = self.entry(host, now);
        // It was seen to be missing again and again: ingress may have been away in between, and nobody could tell it anything.
        if now.since(known.told) > renew {
            known.missed = known.missed.map(|_| now);
        }
        known.told = now;
        let Some(rule) = rule else {
            let missed = *known.missed.get_or_insert(now);
            let gone = now.since(missed) >= renew.saturating_mul(PATIENCE);
            let stays = known.rule.as_ref().is_some_and(|rule| !gone || keeps(rule));
            if !stays {
                known.rule = None;
            }
            known.fresh = now + NEGATIVE;
            return;
        };
        (known.rule, known.fresh, known.missed) = (Some(rule), now + FRESH, None);
    }

    /// It could not be asked: who does not know waits no second time.
    pub(super) fn failed(&mut self, host: &str, now: Boot) {
        self.entry(host, now).fresh = now + NEGATIVE;
    }

    /// ingress was silent: what is missing could not be told to it.
    pub(super) fn forgive(&mut self, now: Boot) {
        self.known.values_mut().for_each(|known| known.missed = known.missed.map(|_| now));
    }

    /// Forgets what nobody asks for.
    pub(super) fn sweep(&mut self, now: Boot) {
        self.known.retain(|_, known| now.since(known.used) < if known.rule.is_some() { IDLE } else { FRESH });
    }

    pub(super) fn clear(&mut self) {
        self.known.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.known.values().filter(|known| known.rule.is_some()).count()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    fn entry(&mut self, host: &str, now: Boot) -> &mut Known {
        if self.known.len() >= KNOWN_MAX && !self.known.contains_key(host) {
            // Hosts that are behind nothing go first, then who was not asked for longest.
            let oldest = self.known.iter().min_by_key(|(_, known)| (known.rule.is_some(), known.used));
            let oldest = oldest.map(|(host, _)| host.clone());
            oldest.and_then(|host| self.known.remove(&host));
        }
        let fresh = || Known { rule: None, fresh: now, missed: None, told: now, used: now };
        self.known.entry(host.to_owned()).or_insert_with(fresh)
    }
}
