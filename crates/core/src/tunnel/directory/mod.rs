//! Who offers what at other hubs: what hubs push to each other, and what is known from it (docs/internals/tunnel.md).
//!
//! What is known came over sessions, and is gone with them: nothing here has a time of its own. Of two runs of one hub the later one
//! counts; what an earlier one says, or has said, never comes back.

mod codec;
mod machine;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;

pub use codec::{HEAD, MESSAGE_MAX, Reader, Wrong, encode};
pub use machine::{Directory, Effect, Input, Line};

/// What opens the stream that a hub pushes its records through.
pub const RECORDS: &str = "mainstay:records";

/// The most agents of one tunnel that a hub tells of.
pub const AGENTS_MAX: usize = 128;

/// The most sessions with other hubs that anything is kept of.
pub const SESSIONS_MAX: usize = 128;

/// The most agents that one hub tells of, over all its tunnels.
pub const TOLD_MAX: usize = 16_384;

/// The longest sentence about an agent, in bytes.
pub const TROUBLE_MAX: usize = 200;

/// The most hosts of its own that a tunnel has.
pub const HOSTS_MAX: usize = 16;

/// The longest name of a host, in bytes (RFC 1035 2.3.4).
pub const HOST_MAX: usize = 253;

/// What one hub says to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Of itself; it replaces what was said before.
    Hub(About),
    /// Of one tunnel; it replaces what was said of it before.
    Tunnel(Offers),
}

/// What a hub says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Where agents reach it, as URLs.
    pub urls: Vec<String>,
    /// It is about to leave: what it offers is offered no longer.
    pub leaving: bool,
}

/// The agents that a hub has of one tunnel; without any, it offers it no more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// The tunnel's id.
    pub tunnel: String,
    /// Who.
    pub agents: Vec<Agent>,
    /// Some of them are gost's clients, and this is what those want.
    pub gost: Option<Gost>,
}

/// What gost's clients want of a tunnel, which other hubs may serve without a word of it in their files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gost {
    /// Its hosts lead nobody to it.
    pub private: bool,
    /// Hosts of its own, those that it has.
    pub hosts: Vec<String>,
}

/// An agent at another hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// What that hub calls it.
    pub name: String,
    /// It carries bytes.
    pub bytes: bool,
    /// It carries datagrams.
    pub datagrams: bool,
    /// Its share, 1 and more.
    pub weight: u32,
    /// Why its target cannot serve; nothing when it can.
    pub trouble: Option<String>,
    /// What tells it from others of its name, and the same one from itself at several places; 0 is not said.
    pub run: u64,
    /// Connections that it has, as far as that place knows.
    pub load: u32,
}
