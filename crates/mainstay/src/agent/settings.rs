//! What an agent is to do, as the command line or the configuration says.

use std::path::PathBuf;
use std::time::Duration;

use mainstay_config::plan::agent::Look;
use mainstay_core::tunnel::address::Address;
use mainstay_link::tunnel::carrier::Dialing;
use mainstay_link::tunnel::keys::SigningKey;

/// How long streams may go on when the agent is told to end.
pub(super) const DRAIN: Duration = Duration::from_secs(30);

/// An agent.
pub struct Settings {
    /// Hubs to dial; more are told by those.
    pub hubs: Vec<Address>,
    /// What it calls itself.
    pub name: String,
    /// What it proves to be.
    pub key: SigningKey,
    /// The file that the key comes from, when the agent is to follow it by itself.
    pub key_file: Option<PathBuf>,
    /// Trust and proxy.
    pub dialing: Dialing,
    /// What it offers.
    pub services: Vec<Service>,
    /// How long streams may go on at the end.
    pub drain: Duration,
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
