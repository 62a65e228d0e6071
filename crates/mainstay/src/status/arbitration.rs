//! References, the lock and isolation, as status and metrics tell them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The reference addresses of a vip.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReferenceStatus {
    /// Any of them is enough.
    pub addrs: Vec<IpAddr>,
    /// By what it is asked: `arp` (and neighbour discovery) or `ping`.
    #[serde(default)]
    pub method: String,
    /// Whether one answers this node; absent before that is known.
    pub answers: Option<bool>,
    /// Seconds for which that has been so.
    pub for_s: f64,
    /// Silence for so many milliseconds, at the most, loses it.
    pub bound_ms: u64,
    /// Why it is not asked, or what is known of why it does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

impl ReferenceStatus {
    /// As a sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let list: Vec<String> = self.addrs.iter().map(ToString::to_string).collect();
        let state = match self.answers {
            Some(true) => "answers",
            Some(false) => "does not answer",
            None => "has not answered yet",
        };
        let by = if self.method.is_empty() { String::new() } else { format!("by {}, ", self.method) };
        format!("{} {state} ({by}for {:.0} s; lost after {} ms)", list.join(", "), self.for_s, self.bound_ms)
    }

    /// What is wrong with it.
    #[must_use]
    pub fn degraded(&self, vip: &str) -> Option<String> {
        let list: Vec<String> = self.addrs.iter().map(ToString::to_string).collect();
        let (list, lost) = (list.join(", "), self.answers == Some(false));
        match (&self.trouble, lost) {
            (Some(why), true) => {
                Some(format!("vip {vip}: its reference {list} does not answer this node: {why}"))
            }
            (Some(why), false) => Some(format!("vip {vip}: its reference {list}: {why}")),
            (None, true) => Some(format!("vip {vip}: its reference {list} does not answer this node")),
            (None, false) => None,
        }
    }
}

/// What helps where nobody votes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArbitrationStatus {
    /// The lock, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<LockStatus>,
    /// Seconds for which this node has heard neither a peer nor a reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolated_s: Option<f64>,
    /// Seconds until something is done about that; 0 when it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_in_s: Option<f64>,
}

/// The lock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LockStatus {
    /// Where it is.
    pub path: String,
    /// `idle`: every peer is heard; `wanted`; `owned`: this node has it.
    pub state: String,
    /// Who has it, as far as this node knows.
    pub owner: Option<String>,
    /// Seconds for which another's record has stood still.
    pub still_s: Option<f64>,
    /// Why it can't be read or written.
    pub trouble: Option<String>,
}

impl LockStatus {
    /// As a sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        if let Some(trouble) = &self.trouble {
            return format!("no lock: {} can't be used: {trouble}", self.path);
        }
        match (self.state.as_str(), &self.owner, self.still_s) {
            ("owned", ..) => format!("this node has {}", self.path),
            ("wanted", Some(owner), Some(still)) => {
                format!("{owner} has {}; its record has stood still for {still:.1} s", self.path)
            }
            ("wanted", ..) => format!("this node asks for {}", self.path),
            _ => format!("{} is not needed: peers are heard, or nothing is wanted here", self.path),
        }
    }
}

impl ArbitrationStatus {
    /// What is wrong but not fatal, as sentences.
    #[must_use]
    pub fn degraded(&self) -> Vec<String> {
        let mut out = Vec::new();
        if let Some(lock) = self.lock.as_ref().filter(|lock| lock.state != "idle" || lock.trouble.is_some()) {
            out.push(format!("lock: peers are silent: {}", lock.sentence()));
        }
        if let Some(isolated) = self.isolated_s {
            let next = match self.action_in_s {
                Some(left) if left > 0.0 => format!("; something is done in {left:.0} s"),
                Some(_) => "; what is to be done about it was done".to_owned(),
                None => String::new(),
            };
            out.push(format!("isolated: neither a peer nor a reference is heard, for {isolated:.0} s{next}"));
        }
        out
    }
}
