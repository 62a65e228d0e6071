//! The nodes that belong together.

use super::List;
use crate::read::table;
use crate::values::{Drift, Secret, Time};

table! {
    /// The nodes that belong together.
    Cluster "[cluster]" {
        /// Name of the cluster.
        #[schemars(required)]
        name: String,
        /// The other nodes; an entry with this node's own id says what this node is.
        peers: List<Peer>,
        /// The secret that enrols nodes whose key is not pinned, the same on every node; with it, or with pinned keys,
        /// nodes speak with each other.
        key: Secret,
        /// Where nodes are heard, by UDP: address, or address:port. Default `["[::]:5112"]`, every address of both families.
        listen: List<String>,
        /// How long a voter promises a right; 200ms to 60s. Default "1.5s".
        term: Time,
        /// No node may ask for a longer term, and a voter that has started anew says nothing for this long; the same
        /// on every node. Default: `term`.
        term_max: Time,
        /// How wrong the rate of any node's clock may be: "1%", or parts per million from 1000 to 100000. Default "1%".
        clock_drift: Drift,
        /// A record in a shared place that one of two nodes owns while they can't hear each other.
        lock: Lock,
        /// What is done when this node hears neither a peer nor a reference for too long.
        isolated: Isolated,
    }
}

table! {
    /// Another node, or an external voter.
    Peer "cluster.peers" {
        /// Its id.
        #[schemars(required)]
        id: String,
        /// Its addresses, one for each wire: address, or address:port. The port is 5112 when absent.
        addrs: List<String>,
        /// Whether it votes and holds no address. Default false.
        witness: bool,
        /// Its public key as `mainstay node key` prints it; when absent, the cluster key enrols it.
        key: String,
        /// It is no node but an etcd cluster that votes: URLs of its members, http or https.
        etcd: List<String>,
        /// File of the CA certificates that etcd's own is verified with; the system's when absent.
        ca: String,
        /// File of our certificate chain for etcd.
        cert: String,
        /// File of its key.
        cert_key: String,
        /// The user whom etcd knows.
        user: String,
        /// That user's password.
        password: Secret,
    }
}

table! {
    /// A file or a disk that both nodes reach; only its first 4 KiB are used.
    Lock "cluster.lock" {
        /// Its path; it must exist, so that a file system that is not mounted is no lock.
        #[schemars(required)]
        path: String,
        /// A record that was not renewed for so long is broken. Default "10s".
        stale: Time,
        /// A read or a write that takes longer has failed. Default "500ms".
        timeout: Time,
    }
}

table! {
    /// What is done when this node is alone: exactly one of `exec` and `watchdog`.
    Isolated "cluster.isolated" {
        /// How long it must have been alone, 1s to 1h.
        #[schemars(required)]
        after: Time,
        /// Program and arguments, run as root.
        exec: List<String>,
        /// How long `exec` may take. Default "60s".
        timeout: Time,
        /// Device that is fed from the start on, and no more when this node is alone for too long.
        watchdog: String,
    }
}
