//! What helps nodes that vote on nothing to keep to one holder.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_core::arbitration::{LockTerms, ReferenceTerms};
use mainstay_core::election::Guard;
use mainstay_core::name::CommandId;
use serde::{Deserialize, Serialize};

use super::{Plan, Vip};

/// Addresses of others, asked over the vip's interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Any of them is enough.
    pub addrs: Vec<IpAddr>,
    /// By what they are asked.
    #[serde(default)]
    pub method: Method,
    /// How often they are asked.
    pub terms: ReferenceTerms,
}

/// By what a reference is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// ARP and neighbour discovery: on the networks of the interface alone.
    #[default]
    Arp,
    /// ICMP and ICMPv6 echo: through routers too.
    Ping,
}

impl Method {
    /// As the configuration has it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Arp => "arp",
            Self::Ping => "ping",
        }
    }
}

/// A place that both nodes reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// A file, or a disk.
    pub path: PathBuf,
    /// Its times.
    pub terms: LockTerms,
    /// What reads and writes it: this program under another name, `read` or `write TEXT` appended.
    pub command: CommandId,
}

/// What becomes of a node that is alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isolated {
    /// After so long.
    pub after: Duration,
    /// What is done.
    pub action: IsolatedAction,
}

/// What is done when a node has been alone for too long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IsolatedAction {
    /// A command is run.
    Exec(CommandId),
    /// This watchdog is fed no more.
    Watchdog(PathBuf),
}

impl Plan {
    /// What is proven of a vip and what is best effort, each aid included: the one sentence that check and status share.
    #[must_use]
    pub fn promise(&self, vip: &Vip) -> String {
        let mut promise = vip.spec.guard.promise().to_owned();
        if vip.reference.is_some() {
            promise.push_str(REFERENCE);
        }
        if self.is_locked(vip) {
            promise.push_str(LOCK);
        }
        promise
    }

    /// Whether a vip is held under the lock while peers are silent.
    #[must_use]
    pub fn is_locked(&self, vip: &Vip) -> bool {
        let lock = self.cluster.as_ref().is_some_and(|cluster| cluster.lock.is_some());
        lock && vip.spec.guard == Guard::BestEffort
    }
}

/// Said of a vip with a reference.
pub const REFERENCE: &str = "; one that hears neither a peer nor its reference gives it up";

/// Said of a vip under a lock.
pub const LOCK: &str = "; while they are silent to each other it is held by the one that has the lock";
