//! What people are told of pools: where each backend stands, and why a request would go where it would go.

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_config::plan::edge::Target;
use mainstay_core::balance::{MemberView, State};
use serde::{Deserialize, Serialize};

use super::entry::Entry;
use super::set::Set;
use super::source::Source;
use crate::clock::boot_now;
use crate::road::Goal;

/// Where a backend stands, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// In use.
    Up,
    /// Back in use, on its way to its full share.
    Rising,
    /// In use, and at its bound of connections.
    Full,
    /// Its time aside is over, one request tries it.
    Trial,
    /// Set aside because of failed requests.
    Aside,
    /// Only for clients that are bound to it.
    Drained,
    /// Not in use: by its probe, by configuration, by order.
    Down,
    /// Its name has no address.
    Unresolved,
}

/// One backend, as one thread or, merged, a whole node sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendStatus {
    /// Its pool.
    pub pool: String,
    /// Its name, as the operator wrote it.
    pub backend: String,
    /// Its address; empty when its name has none.
    pub address: String,
    /// Where it stands.
    pub state: Standing,
    /// Why; empty when there is nothing to say.
    pub why: String,
    /// Its probe has not been heard of for too long, or its name is not found any more: what was known last is kept.
    pub degraded: bool,
    /// Only asked when no other is usable.
    pub backup: bool,
    /// Its weight, the operator's when there is one.
    pub weight: u32,
    /// Of that weight it gets so much at this moment, in percent.
    pub share: u32,
    /// Requests under way over all processes; addresses of one name share the number.
    pub load: u64,
    /// Its bound of them; 0 is without.
    pub max_connections: u32,
    /// Mean time to the head of its last answers in milliseconds; 0 before the first.
    pub latency_ms: f64,
    /// Requests that were sent to it.
    pub requests: u64,
    /// Those that failed.
    pub failures: u64,
    /// Those that had been sent elsewhere before.
    pub retries: u64,
    /// Threads that see it.
    pub threads: u32,
    /// Threads that have set it aside.
    pub aside_on: u32,
}

impl BackendStatus {
    /// Puts the views of threads and processes together: numbers are added, the worst state is shown.
    #[must_use]
    pub fn merge(views: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut order = Vec::new();
        let mut merged: BTreeMap<(String, String, String), Self> = BTreeMap::new();
        for view in views {
            let key = (view.pool.clone(), view.backend.clone(), view.address.clone());
            match merged.get_mut(&key) {
                Some(known) => known.add(view),
                None => {
                    order.push(key.clone());
                    merged.insert(key, view);
                }
            }
        }
        order.iter().filter_map(|key| merged.remove(key)).collect()
    }

    fn add(&mut self, other: Self) {
        if other.state > self.state {
            self.state = other.state;
            self.why = other.why;
            self.share = other.share;
        }
        self.degraded |= other.degraded;
        self.load = self.load.max(other.load);
        self.latency_ms = self.latency_ms.max(other.latency_ms);
        self.requests += other.requests;
        self.failures += other.failures;
        self.retries += other.retries;
        self.threads += other.threads;
        self.aside_on += other.aside_on;
    }
}

impl Set {
    /// The pool's backends in the order of the file.
    pub(super) fn status(&self) -> Vec<BackendStatus> {
        let now = boot_now();
        let inner = self.inner.borrow();
        let mut list = Vec::new();
        for source in self.sources.borrow().iter() {
            let mut known = false;
            for (at, entry) in inner.entries.iter().enumerate() {
                if *entry.name == *source.backend.name
                    && let Some(view) = inner.roster.view(at, now)
                {
                    known = true;
                    list.push(self.known(source, entry, view));
                }
            }
            if !known {
                list.push(self.unresolved(source));
            }
        }
        list
    }

    fn known(&self, source: &Source, entry: &Entry, view: MemberView) -> BackendStatus {
        let load = entry.load(self.cells);
        let (state, why) = standing(source, entry, view, load);
        BackendStatus {
            pool: self.name.to_string(),
            backend: entry.name.to_string(),
            address: entry.address.to_string(),
            state,
            why,
            degraded: view.degraded || source.trouble.is_some(),
            backup: source.is_backup(entry).0,
            weight: view.weight,
            share: view.share,
            load,
            max_connections: entry.max.get(),
            latency_ms: Duration::from_nanos(entry.mean.get()).as_secs_f64() * 1000.0,
            requests: entry.requests.get(),
            failures: entry.failures.get(),
            retries: entry.retries.get(),
            threads: 1,
            aside_on: u32::from(matches!(view.state, State::Aside(_) | State::Trial)),
        }
    }

    fn unresolved(&self, source: &Source) -> BackendStatus {
        BackendStatus {
            pool: self.name.to_string(),
            backend: source.backend.name.clone(),
            address: String::new(),
            state: Standing::Unresolved,
            why: not_found(source),
            degraded: true,
            backup: source.backend.backup,
            weight: source.backend.weight,
            share: 0,
            load: 0,
            max_connections: source.backend.max_connections,
            latency_ms: 0.0,
            requests: 0,
            failures: 0,
            retries: 0,
            threads: 1,
            aside_on: 0,
        }
    }
}

/// Why a name has no address.
pub(super) fn not_found(source: &Source) -> String {
    if let Target::Tunnel(_) = source.backend.target {
        return "no agent offers it".to_owned();
    }
    match &source.trouble {
        Some(why) => format!("its name is not found: {why}"),
        None => "its name is being looked up".to_owned(),
    }
}

/// The word for a state, and the reason for it.
pub(super) fn standing(source: &Source, entry: &Entry, view: MemberView, load: u64) -> (Standing, String) {
    let max = u64::from(entry.max.get());
    let full = max > 0 && load >= max;
    match view.state {
        State::Up if full => (Standing::Full, format!("it has {load} of {max} connections")),
        State::Up => (Standing::Up, kept(source, view)),
        State::Rising => (Standing::Rising, format!("it came back and has {} % of its share", view.share)),
        State::Trial => (Standing::Trial, "its time aside is over: one request tries it".to_owned()),
        State::Aside(left) => {
            (Standing::Aside, format!("too many requests to it failed; {} s left", seconds(left)))
        }
        State::Drained if view.weight == 0 => (Standing::Drained, "the operator gave it weight 0".to_owned()),
        State::Drained => (Standing::Drained, "the operator drains it".to_owned()),
        State::DownByProbe => (Standing::Down, judged(source, entry)),
        State::DownAsWritten => (Standing::Down, "its configuration says so".to_owned()),
        State::DownByOrder => (Standing::Down, "the operator says so".to_owned()),
    }
}

fn kept(source: &Source, view: MemberView) -> String {
    match (&source.trouble, view.degraded) {
        (Some(why), _) => format!("its name is not found any more, its last address is kept: {why}"),
        (None, true) => "its probe has not been heard of for too long: its last word is kept".to_owned(),
        (None, false) => String::new(),
    }
}

/// Who says that it is down, and why.
fn judged(source: &Source, entry: &Entry) -> String {
    let Goal::Agent(agent) = &entry.goal else { return format!("its probe says so{}", detail(source)) };
    let offer = source.offers.iter().find(|offer| *offer.agent == *agent.name);
    match offer.and_then(|offer| offer.trouble.as_deref()) {
        Some(why) if !why.is_empty() => format!("its agent says so: {why}"),
        Some(_) | None => "its agent says so".to_owned(),
    }
}

fn detail(source: &Source) -> String {
    match &source.verdict {
        Some((_, detail)) if !detail.is_empty() => format!(": {detail}"),
        Some(_) | None => String::new(),
    }
}

fn seconds(left: Duration) -> u64 {
    left.as_secs() + u64::from(left.subsec_nanos() > 0)
}
