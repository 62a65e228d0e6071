//! What becomes of agents and visitors, told as events: once for a process, however many threads an agent meets.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mainstay_core::time::Boot;
use mainstay_proxy::clock::boot_now;
use tokio::sync::{mpsc, watch};

use crate::plugin::client::REFUSES;

/// Events that wait to be told; more are lost.
const WAITING: usize = 64;

/// Refusals are told no more often than this: whoever knocks can be anybody.
const REFUSALS: Duration = Duration::from_secs(1);

/// Addresses of other hubs that something is remembered of.
const TROUBLES: usize = 256;

/// Something to be told: what it is about, a word for it, and a sentence.
pub(crate) type Told = (String, &'static str, String);

/// A tunnel, who has sessions for it, and which run of it.
type Key = (String, String, u64);

/// Where the threads of a process put their news.
#[derive(Debug)]
pub(crate) struct News {
    out: mpsc::Sender<Told>,
    /// The tunnels that have sessions.
    offered: watch::Sender<BTreeSet<String>>,
    /// Sessions by tunnel, agent and its run.
    sessions: Mutex<HashMap<Key, usize>>,
    refused: Mutex<Boot>,
    hubs: Mutex<Hubs>,
    /// Threads for which a plugin of gost's is silent.
    silent: Mutex<HashMap<&'static str, usize>>,
}

/// What was told of other hubs.
#[derive(Debug, Default)]
struct Hubs {
    /// Sessions by hub and its run.
    sessions: HashMap<(String, u64), usize>,
    /// Why an address does not lead to a hub, as it was told last.
    troubles: HashMap<String, String>,
    /// When strangers are told of again.
    strangers: Boot,
}

impl News {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Told>) {
        let (out, told) = mpsc::channel(WAITING);
        let offered = watch::Sender::default();
        let (sessions, refused) = (Mutex::default(), Mutex::new(Boot::ZERO));
        (Self { out, offered, sessions, refused, hubs: Mutex::default(), silent: Mutex::default() }, told)
    }

    /// The tunnels that there are agents of.
    pub(crate) fn offered(&self) -> watch::Receiver<BTreeSet<String>> {
        self.offered.subscribe()
    }

    /// An agent has a session more.
    pub(super) fn joined(&self, tunnel: &str, agent: &str, instance: u64, from: &str) {
        let message = || format!("agent {agent} ({from}) offers tunnel {tunnel}");
        self.more((tunnel.to_owned(), agent.to_owned(), instance), message);
    }

    /// An agent has a session less.
    pub(super) fn left(&self, tunnel: &str, agent: &str, instance: u64, why: &str) {
        let message = || format!("agent {agent} no longer offers tunnel {tunnel}: {why}");
        self.fewer((tunnel.to_owned(), agent.to_owned(), instance), message);
    }

    /// A visitor has a session more.
    pub(super) fn visits(&self, tunnel: &str, visitor: &str, instance: u64, from: &str) {
        let message = || format!("visitor {visitor} ({from}) may reach tunnel {tunnel}");
        self.more((tunnel.to_owned(), format!("/{visitor}"), instance), message);
    }

    /// A visitor has a session less.
    pub(super) fn leaves(&self, tunnel: &str, visitor: &str, instance: u64, why: &str) {
        let message = || format!("visitor {visitor} has left tunnel {tunnel}: {why}");
        self.fewer((tunnel.to_owned(), format!("/{visitor}"), instance), message);
    }

    fn more(&self, key: Key, message: impl FnOnce() -> String) {
        let (tunnel, agent) = (key.0.clone(), is_agent(&key));
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let count = sessions.entry(key).or_insert(0);
        *count += 1;
        if *count == 1 {
            self.offered.send_if_modified(|tunnels| agent && tunnels.insert(tunnel.clone()));
            self.tell(&tunnel, "joined", message());
        }
    }

    fn fewer(&self, key: Key, message: impl FnOnce() -> String) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = sessions.get_mut(&key) else { return };
        *count -= 1;
        if *count == 0 {
            sessions.remove(&key);
            if !sessions.keys().any(|other| other.0 == key.0 && is_agent(other)) {
                self.offered.send_if_modified(|tunnels| tunnels.remove(&key.0));
            }
            self.tell(&key.0, "left", message());
        }
    }

    /// Somebody is not let in.
    pub(super) fn refused(&self, from: &str, why: &str) {
        let now = boot_now();
        let mut again = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if *again <= now {
            *again = now + REFUSALS;
            self.tell("", "refused", format!("a session from {from} is refused: {why}"));
        }
    }

    /// A tunnel does not get what its clients want.
    pub(super) fn kept_back(&self, tunnel: &str, why: &str) {
        let now = boot_now();
        let mut again = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if *again <= now {
            *again = now + REFUSALS;
            self.tell(tunnel, "refused", why.to_owned());
        }
    }

    /// There is a session more with another hub.
    pub(super) fn hub_joined(&self, hub: &str, instance: u64, at: &str) {
        let count = &mut *self.hubs();
        let count = count.sessions.entry((hub.to_owned(), instance)).or_insert(0);
        *count += 1;
        if *count == 1 {
            self.tell(hub, "joined", format!("hub {hub} is reached at {at}"));
        }
    }

    /// There is a session less.
    pub(super) fn hub_left(&self, hub: &str, instance: u64, why: &str) {
        let mut hubs = self.hubs();
        let key = (hub.to_owned(), instance);
        let Some(count) = hubs.sessions.get_mut(&key) else { return };
        *count -= 1;
        if *count == 0 {
            hubs.sessions.remove(&key);
            self.tell(hub, "left", format!("hub {hub} is gone: {why}"));
        }
    }

    /// An address does not lead to a hub: told once for each reason.
    pub(super) fn hub_trouble(&self, at: &str, why: &str) {
        let mut hubs = self.hubs();
        if hubs.troubles.len() < TROUBLES
            && hubs.troubles.insert(at.to_owned(), why.to_owned()).as_deref() != Some(why)
        {
            self.tell(at, "trouble", format!("no hub is reached at {at}: {why}"));
        }
    }

    /// An address leads to a hub.
    pub(super) fn hub_reached(&self, at: &str) {
        self.hubs().troubles.remove(at);
    }

    /// Why addresses do not lead to hubs.
    pub(super) fn hub_troubles(&self) -> Vec<(String, String)> {
        self.hubs().troubles.iter().map(|(at, why)| (at.clone(), why.clone())).collect()
    }

    /// Somebody who is no hub of ours has come where hubs come in. One without a word has only looked.
    pub(super) fn stranger(&self, from: &str, why: &str) {
        let mut hubs = self.hubs();
        let now = boot_now();
        if !why.is_empty() && hubs.strangers <= now {
            hubs.strangers = now + REFUSALS;
            self.tell("", "refused", format!("a hub from {from} is not let in: {why}"));
        }
    }

    /// A plugin of gost's does not answer a thread, or does with an error: told for the first one.
    pub(super) fn plugin_silent(&self, plugin: &'static str, why: &str) {
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        let count = silent.entry(plugin).or_insert(0);
        *count += 1;
        if *count == 1 {
            let how = if why.contains(REFUSES) { "refuses" } else { "does not answer" };
            tracing::warn!(plugin, why, "a plugin of gost's {how}: what was known of it stands");
            self.tell(plugin, "trouble", format!("the {plugin} {how}: {why}"));
        }
    }

    /// It answers again: told for the last one.
    pub(super) fn plugin_back(&self, plugin: &'static str, after: Duration) {
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = silent.get_mut(plugin) else { return };
        *count -= 1;
        if *count == 0 {
            silent.remove(plugin);
            let seconds = after.as_secs();
            tracing::info!(plugin, seconds, "a plugin of gost's answers again");
            self.tell(plugin, "joined", format!("the {plugin} answers again, after {seconds} s"));
        }
    }

    fn hubs(&self) -> std::sync::MutexGuard<'_, Hubs> {
        self.hubs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, tunnel: &str, word: &'static str, message: String) {
        // Who reads slowly misses some.
        let _ = self.out.try_send((tunnel.to_owned(), word, message));
    }
}

/// Whether it is an agent's: its name has no slash, a visitor's begins with one.
fn is_agent(key: &Key) -> bool {
    !key.1.starts_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_joins_with_its_first_session_and_leaves_with_its_last() {
        let (news, mut told) = News::new();
        for _ in 0..3 {
            news.joined("office", "a", 1, "192.0.2.1:5");
        }
        news.joined("office", "a", 2, "192.0.2.1:6");
        news.joined("depot", "a", 2, "192.0.2.1:6");
        assert_eq!(*news.offered().borrow(), BTreeSet::from(["depot".to_owned(), "office".to_owned()]));
        news.left("depot", "a", 2, "it has drained");
        assert_eq!(*news.offered().borrow(), BTreeSet::from(["office".to_owned()]));
        for _ in 0..3 {
            news.left("office", "a", 1, "it has drained");
        }
        news.left("office", "a", 1, "nobody is there");
        news.refused("192.0.2.9:1", "one");
        news.refused("192.0.2.9:1", "two");
        let words: Vec<_> = std::iter::from_fn(|| told.try_recv().ok()).map(|(_, word, _)| word).collect();
        assert_eq!(words, ["joined", "joined", "joined", "left", "left", "refused"]);
    }
}
