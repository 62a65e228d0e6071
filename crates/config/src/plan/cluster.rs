//! The cluster: who belongs to it, who votes, over which wires its nodes speak, and the times of its leases.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use mainstay_core::lease::{Terms, VoterList};
use mainstay_core::name::NodeId;
use serde::{Deserialize, Serialize};

/// The nodes that speak with each other; only with a cluster key or pinned keys is there one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// The operator's name.
    pub name: String,
    /// This node in `list`.
    pub me: NodeId,
    /// Every node, this one included, in the order of their ids: the same everywhere. Epoch 1, as files have no other.
    pub list: VoterList,
    /// The times of the leases.
    pub terms: Terms,
    /// Promises end only when they are given back: a vip has guard `strict`.
    #[serde(default)]
    pub strict: bool,
    /// A hash of what must be the same everywhere beside the list: the cluster's name, the longest term, `strict`.
    pub salt: u64,
    /// The key that enrols nodes whose own key is not pinned.
    pub key: Option<ClusterKey>,
    /// The public key that this node should have, where its file says so.
    pub own_key: Option<[u8; 32]>,
    /// Where its peers look for this node, where its file says so.
    #[serde(default)]
    pub own_addrs: Vec<SocketAddr>,
    /// Where nodes are heard, by UDP.
    pub listen: Vec<SocketAddr>,
    /// The other members of `list`, in its order.
    pub peers: Vec<Peer>,
    /// A record that one of two nodes owns while they can't hear each other.
    #[serde(default)]
    pub lock: Option<super::arbitration::Lock>,
    /// What is done when this node is alone for too long.
    #[serde(default)]
    pub isolated: Option<super::arbitration::Isolated>,
}

/// Another member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its place in the list.
    pub node: NodeId,
    /// Its `node.id`.
    pub id: String,
    /// Where it is spoken to, one address for each wire; empty for an external voter.
    pub addrs: Vec<SocketAddr>,
    /// Its public key (X25519), where the file pins it.
    pub key: Option<[u8; 32]>,
    /// It votes and holds nothing.
    pub witness: bool,
    /// It is not a node at all.
    pub external: Option<External>,
}

/// A voter that is somebody else's store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum External {
    /// An etcd cluster.
    Etcd {
        /// URLs of its members, without a slash at the end.
        endpoints: Vec<String>,
        /// How it is told who we are, and how we are told who it is.
        #[serde(default)]
        access: Access,
    },
}

/// Certificates and passwords of an external voter, as they were read when the configuration was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// CA certificates, PEM; the system's when absent.
    pub ca: Option<String>,
    /// Our certificate chain, PEM, and its key.
    pub client: Option<(String, ClusterKey)>,
    /// Our user and password.
    pub user: Option<(String, ClusterKey)>,
}

/// A secret that is shown nowhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClusterKey(String);

impl ClusterKey {
    /// A secret as the operator wrote it.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The same as text.
    #[must_use]
    pub const fn text(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey(***)")
    }
}

/// Nodes speak with each other by UDP; nobody else is known to use this port.
pub const PORT: u16 = 5112;

/// Address, or address:port, as `addrs` and `listen` have it.
#[must_use]
pub fn place(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    match text.parse::<IpAddr>() {
        Ok(ip) => Some(SocketAddr::new(ip, PORT)),
        Err(_) => text.parse::<SocketAddr>().ok().filter(|place| place.port() != 0),
    }
}

/// Where nodes are heard unless the operator says otherwise: every address of both families.
pub(crate) const fn everywhere() -> SocketAddr {
    SocketAddr::new(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED), PORT)
}

impl super::Plan {
    /// Whether votes decide about anything that is known here: only where all vips are best effort, and no voter is there for
    /// votes alone, nothing hangs on them.
    #[must_use]
    pub fn counts_votes(&self) -> bool {
        let leased = self.vips.is_empty() || self.vips.iter().any(|vip| vip.spec.guard.is_leased());
        let voters = |cluster: &Cluster| {
            cluster.is_witness() || cluster.peers.iter().any(|peer| peer.witness || peer.external.is_some())
        };
        leased || self.cluster.as_ref().is_some_and(voters)
    }
}

impl Cluster {
    /// The same cluster for roles that speak with no other node.
    #[must_use]
    pub fn without_secrets(&self) -> Self {
        Self { key: None, ..self.clone() }
    }

    /// The same cluster for roles that do not speak with the external voter.
    #[must_use]
    pub fn without_access(&self) -> Self {
        let mut cluster = self.clone();
        for External::Etcd { access, .. } in cluster.peers.iter_mut().filter_map(|p| p.external.as_mut()) {
            *access = Access::default();
        }
        cluster
    }

    /// The voter that is no node.
    #[must_use]
    pub fn external(&self) -> Option<(&Peer, &External)> {
        self.peers.iter().find_map(|peer| Some((peer, peer.external.as_ref()?)))
    }

    /// Whether this node votes and holds nothing.
    #[must_use]
    pub fn is_witness(&self) -> bool {
        self.list.members.get(self.me.index()).is_some_and(|member| !member.holds)
    }
}
