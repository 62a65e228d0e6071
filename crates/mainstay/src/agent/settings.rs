//! What an agent is to do, as the command line or the configuration says.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use mainstay_config::plan::agent::Look;
use mainstay_core::gost::relay::Login;
use mainstay_core::tunnel::address::Address;
use mainstay_link::tunnel::carrier::Dialing;
use mainstay_link::tunnel::keys::SigningKey;

use super::visit::Bound;

/// How long streams may go on when the agent is told to end.
pub(super) const DRAIN: Duration = Duration::from_secs(30);

/// An agent.
pub struct Settings {
    /// Hubs to dial; more are told by those. Either all of them are gost's servers or none is.
    pub hubs: Vec<Address>,
    /// What it calls itself.
    pub name: String,
    /// What it proves to be; gost's servers do not ask.
    pub key: SigningKey,
    /// Who it is to gost's servers.
    pub login: Option<Login>,
    /// The file that the key comes from, when the agent is to follow it by itself.
    pub key_file: Option<PathBuf>,
    /// Trust and proxy.
    pub dialing: Dialing,
    /// What it offers.
    pub services: Vec<Service>,
    /// The private tunnels that it reaches: with any it is a visitor, who offers nothing.
    pub wishes: Vec<Wish>,
    /// How long streams may go on at the end.
    pub drain: Duration,
}

/// A private tunnel that a visitor reaches.
#[derive(Clone)]
pub struct Wish {
    /// Its id.
    pub tunnel: String,
    /// Where its connections are taken.
    pub listen: Listen,
    /// Datagrams instead of bytes.
    pub udp: bool,
    /// The host that it wants behind the tunnel, which only gost's servers are told.
    pub host: Option<String>,
    /// The socket, when there is one already.
    pub(super) bound: Option<Rc<Bound>>,
}

/// Where connections for a tunnel are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address of this machine.
    At(SocketAddr),
    /// Standard input and output are the only one.
    Stdio,
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(addr) => addr.fmt(f),
            Self::Stdio => f.write_str("standard input"),
        }
    }
}

impl Wish {
    /// The same, with the host that is wanted behind it.
    #[must_use]
    pub fn behind(self, host: Option<String>) -> Self {
        Self { host, ..self }
    }

    /// A tunnel, and where it is reached.
    #[must_use]
    pub fn new(tunnel: &str, listen: Listen, udp: bool) -> Self {
        Self { tunnel: tunnel.to_owned(), listen, udp, host: None, bound: None }
    }
}

/// One service that an agent offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Under which tunnel.
    pub tunnel: String,
    /// Where to: `host:port`; in turn among those that are well.
    pub targets: Vec<String>,
    /// Files that are served instead.
    pub files: Option<PathBuf>,
    /// Datagrams instead of bytes.
    pub udp: bool,
    /// Its share among the agents of the tunnel.
    pub weight: u16,
    /// A host that it would like to be served under.
    pub host: Option<String>,
    /// How targets are looked at; without, they are taken to be well.
    pub look: Option<Look>,
    /// The version of the PROXY header that tells targets who the visitor is.
    pub header: Option<u8>,
}

impl Service {
    /// A service with what is usual.
    #[must_use]
    pub fn new(tunnel: &str) -> Self {
        Self {
            tunnel: tunnel.to_owned(),
            targets: Vec::new(),
            files: None,
            udp: false,
            weight: 1,
            host: None,
            look: None,
            header: None,
        }
    }
}

impl Settings {
    /// How long streams may go on at the end, when nobody says otherwise.
    pub const DRAIN: Duration = DRAIN;
}
