//! The half that ingress is: hosts, and the tunnels that they lead to.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{KEPT, RULES_MAX};
use crate::time::Boot;

/// One host.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) endpoint: String,
    /// It can be nobody else's.
    generated: bool,
    /// It was told here so, and is to be written whoever has it.
    pub(super) by_right: bool,
    /// When it was last set or asked for.
    heard: Boot,
    /// When the store last said whose it is.
    pub(super) looked: Boot,
    /// When it was last written so that it lasts anew.
    extended: Boot,
    pub(super) version: u64,
    pub(super) unwritten: bool,
}

/// All hosts.
#[derive(Debug, Default)]
pub(super) struct Rules {
    rules: BTreeMap<String, Rule>,
    seen: BTreeMap<String, String>,
    versions: u64,
    /// There was no room, and nothing to forget: not looked for again before then.
    full_until: Boot,
}

impl Rules {
    pub(super) fn get(&self, key: &str) -> Option<&Rule> {
        self.rules.get(key)
    }

    pub(super) fn count(&self) -> usize {
        self.rules.len()
    }

    fn lives(rule: &Rule, now: Boot, lasts: Duration) -> bool {
        rule.generated || now.since(rule.heard) < lasts * KEPT
    }

    /// The tunnel of a host.
    pub(super) fn of(&self, key: &str, now: Boot, lasts: Duration) -> Option<&str> {
        let told = self.rules.get(key).filter(|rule| Self::lives(rule, now, lasts));
        told.map(|rule| rule.endpoint.as_str()).or_else(|| self.seen.get(key).map(String::as_str))
    }

    /// What is known from elsewhere.
    pub(super) fn see(&mut self, rules: Vec<(String, String)>) {
        self.seen = rules.into_iter().collect();
    }

    /// Whether another host has room.
    pub(super) fn has_room(&mut self, key: &str, now: Boot, lasts: Duration) -> bool {
        if self.rules.len() < RULES_MAX || self.rules.contains_key(key) {
            return true;
        }
        if now < self.full_until {
            return false;
        }
        // What nobody has asked for within a key's lifetime is left to the store.
        self.rules.retain(|_, rule| rule.unwritten || now.since(rule.heard) < lasts);
        self.full_until = now + Duration::from_secs(1);
        self.rules.len() < RULES_MAX
    }

    /// A host as we are told it is, to be written. The caller has seen that it is free, or this tunnel's.
    pub(super) fn tell(&mut self, key: &str, endpoint: &str, generated: bool, now: Boot) {
        self.versions += 1;
        let looked = self.rules.get(key).map_or(Boot::ZERO, |rule| rule.looked);
        let rule = Rule {
            endpoint: endpoint.into(),
            generated,
            by_right: generated,
            heard: now,
            looked,
            extended: now,
            version: self.versions,
            unwritten: true,
        };
        self.rules.insert(key.into(), rule);
    }

    /// Somebody asks for a host.
    pub(super) fn hear(&mut self, key: &str, now: Boot) {
        if let Some(rule) = self.rules.get_mut(key) {
            rule.heard = now;
        }
    }

    /// The store says whose a host is, and whether it is so by right.
    /// Says whether it is to be written, as nobody knows how long it lasts.
    pub(super) fn looked(
        &mut self,
        key: &str,
        owner: Option<(&str, bool)>,
        now: Boot,
        lasts: Duration,
    ) -> bool {
        let has_room = self.has_room(key, now, lasts);
        match (self.rules.get_mut(key), owner) {
            (Some(rule), _) if rule.unwritten => false,
            (Some(rule), Some((owner, _))) if rule.endpoint == owner => {
                rule.looked = now;
                false
            }
            (_, Some((owner, generated))) if has_room => {
                self.tell(key, owner, generated, now);
                let rule = self.rules.get_mut(key).expect("it was told just now");
                (rule.by_right, rule.looked) = (false, now);
                true
            }
            (_, Some(_)) => false,
            (_, None) => {
                self.rules.remove(key);
                false
            }
        }
    }

    /// A claim has been carried out; whether that was the last word.
    pub(super) fn written(&mut self, key: &str, version: u64, owner: Option<&str>, now: Boot) -> bool {
        let Some(rule) = self.rules.get_mut(key) else { return true };
        if rule.version != version {
            return false;
        }
        (rule.unwritten, rule.by_right, rule.looked) = (false, false, now);
        if let Some(owner) = owner.filter(|owner| *owner != rule.endpoint) {
            (rule.endpoint, rule.generated) = (owner.into(), false);
        }
        true
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.rules.remove(key);
    }

    /// Forgets hosts that nobody wants any more.
    pub(super) fn sweep(&mut self, now: Boot, lasts: Duration) {
        self.rules.retain(|_, rule| Self::lives(rule, now, lasts));
    }

    /// Hosts that are to be written so that they last anew: those whose time has come, or all.
    pub(super) fn extend(&mut self, now: Boot, lasts: Duration, all: bool) -> Vec<String> {
        let mut due = Vec::new();
        for (key, rule) in &mut self.rules {
            if all || now.since(rule.extended) >= lasts / 3 {
                (rule.extended, rule.unwritten) = (now, true);
                due.push(key.clone());
            }
        }
        due
    }
}
