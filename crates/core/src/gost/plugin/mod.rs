//! The servers behind gost's sd and ingress plugins: who serves which tunnel, and which host leads to it.
//!
//! [`Plugin`] answers calls from what it knows and what a store says. Where the store is away or hangs, what was known last is
//! answered, and what was told is kept until it can be written. A store that has lost everything, which its epoch shows, is told
//! again what we were told and still holds. Without a store it keeps all of it by itself.
//!
//! What gost's own plugins do is kept, but for this: a renewal brings back a client that the store has lost; a host that is set or
//! asked for again lives on, and a generated host always does, as it can be nobody else's.

mod clients;
mod machine;
mod rules;
mod text;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

pub use machine::Plugin;
pub use text::key;

use crate::time::Boot;

/// The most bytes of a name, an id, a node, a host, an address.
pub const TEXT_MAX: usize = 256;

/// The most clients that one tunnel may have.
pub const CLIENTS_MAX: usize = 1024;

/// The most clients, of all tunnels.
pub const CLIENTS_ALL: usize = 1 << 17;

/// The most hosts.
pub const RULES_MAX: usize = 1 << 16;

/// The most calls that wait for the store at once; the next is answered from what is known.
pub const CALLS_MAX: usize = 1024;

/// While so much waits for the store, questions are answered from what is known.
pub const QUEUE_MAX: usize = 4096;

/// The most steps that the store has to take at once.
pub const STEPS_MAX: usize = 64;

/// A call waits so long for the store, then it is answered from what is known: gost's servers hold a lock while they renew.
pub const PATIENCE: Duration = Duration::from_millis(300);

/// A store that did not answer is tried again so often.
pub const AGAIN: Duration = Duration::from_secs(1);

/// A store that nothing was asked of for so long is asked whether it has lost anything.
pub const BEAT: Duration = Duration::from_secs(1);

/// A host that was looked up so lately is answered without the store.
pub const FRESH: Duration = Duration::from_secs(1);

/// A host that somebody chose, and that nobody sets or asks for any more, is free after so many lifetimes of a key.
pub const KEPT: u32 = 24;

/// A moment on both clocks: steps and calls end by the one, what stands in the store is dated by the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Since the host booted.
    pub boot: Boot,
    /// Seconds since 1970.
    pub unix: u64,
}

/// A client of a tunnel at a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// The connector's id.
    pub id: String,
    /// The tunnel.
    pub name: String,
    /// The node.
    pub node: String,
    /// `tcp` or `udp`.
    pub network: String,
    /// The node's entrypoint.
    pub address: String,
}

/// What the store keeps of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The node.
    pub node: String,
    /// `tcp` or `udp`.
    pub network: String,
    /// The node's entrypoint, its host always there.
    pub address: String,
    /// When it was last renewed, in seconds since 1970.
    pub renewed: u64,
}

impl Record {
    /// Whether a plugin would have written it for a client with this id.
    #[must_use]
    pub fn is_sound(&self, id: &str) -> bool {
        let Self { node, network, address, .. } = self;
        let filled = [id, node, address].into_iter().all(|text| !text.is_empty());
        filled && [id, node, network, address].into_iter().all(text::fits)
    }
}

/// What is asked of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A client has come.
    Register {
        /// Which, and where.
        service: Service,
        /// Where the call comes from: the host of an address that has none.
        from: IpAddr,
    },
    /// It is still there.
    Renew(Service),
    /// It has gone.
    Deregister(Service),
    /// Who serves this tunnel?
    Get(String),
    /// Which tunnel does this host lead to?
    GetRule(String),
    /// This host leads to this tunnel.
    SetRule {
        /// A generated host's label, or a host.
        host: String,
        /// The tunnel's UUID, `$` before it when it is private.
        endpoint: String,
    },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Whether it was done, or will be.
    Done(bool),
    /// Who serves it.
    Services(Vec<Service>),
    /// The tunnel; empty when none is known.
    Endpoint(String),
    /// The call makes no sense, and why.
    Invalid(&'static str),
    /// There is no room for it.
    Full,
}

/// What the store has to do; each is one step, and doing it twice is as good as once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Say that it is there.
    Nod,
    /// List the clients of a tunnel.
    List {
        /// The tunnel.
        name: String,
    },
    /// Write a client of a tunnel, all of which lasts so long from here.
    Put {
        /// The tunnel.
        name: String,
        /// The client.
        id: String,
        /// What of it.
        record: Record,
        /// How long.
        lasts: Duration,
    },
    /// Take a client of a tunnel out.
    Remove {
        /// The tunnel.
        name: String,
        /// The client.
        id: String,
    },
    /// Read a rule.
    Look {
        /// Its key.
        key: String,
    },
    /// Write a rule unless another tunnel has the key; if it is ours, it lasts anew. Answered by whose it is.
    Claim {
        /// Its key.
        key: String,
        /// The tunnel.
        endpoint: String,
        /// How long.
        lasts: Duration,
        /// Whoever has the key has no right to it.
        by_right: bool,
    },
}

/// What a step has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is done.
    Done,
    /// The clients of a tunnel, by id.
    Clients(Vec<(String, Record)>),
    /// Whose a key is.
    Owner(Option<String>),
    /// The store is well, and cannot do this: something else stands under the key.
    Unfit,
}

/// What happens to a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A call.
    Call {
        /// Its number, which its answer bears.
        call: u64,
        /// What is asked.
        ask: Ask,
    },
    /// A step was taken.
    Taken {
        /// Its number.
        step: u64,
        /// What it found.
        found: Found,
        /// What the store calls itself since it was last empty.
        epoch: Vec<u8>,
    },
    /// A step was not taken, or nobody knows.
    Failed {
        /// Its number.
        step: u64,
    },
    /// What is known beside all that: clients, and hosts with their tunnels. It takes the place of what was seen before.
    Seen {
        /// Clients.
        services: Vec<Service>,
        /// Hosts' keys and their tunnels.
        rules: Vec<(String, String)>,
    },
    /// Time has passed.
    Tick,
}

/// What a plugin asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Answer a call.
    Answer {
        /// Its number.
        call: u64,
        /// The answer.
        reply: Reply,
    },
    /// Have the store take a step; it ends within a deadline, by `Taken` or `Failed`.
    Take {
        /// Its number.
        step: u64,
        /// What.
        what: Step,
    },
    /// The store does not answer, or does again.
    Tell(News),
}

/// What an operator would want to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// The store does not answer; what was known last is served.
    Silent,
    /// It answers again, after so long.
    Returned(Duration),
    /// It has lost everything: what we were told is written again.
    Lost,
}

/// How a plugin is set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether there is a store.
    pub stored: bool,
    /// How long what was written lasts: a tunnel's clients since the last renewal, a host since it was set.
    pub lasts: Duration,
    /// Hosts below these are known by their first label.
    pub domains: Vec<String>,
    /// What gost generates as the host of a tunnel: such a host can be nobody else's.
    pub generate: fn(&str) -> String,
}

/// Numbers of a plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tunnels that have clients.
    pub tunnels: usize,
    /// Clients.
    pub clients: usize,
    /// Hosts.
    pub rules: usize,
    /// What waits to be written.
    pub unwritten: usize,
    /// Steps of the store that failed so far.
    pub failed: u64,
    /// Calls that were answered without the store, which was silent or slow.
    pub from_memory: u64,
    /// Calls that were refused as they name no tunnel or host: nothing else is touched in a store that others share.
    pub strange: u64,
}
