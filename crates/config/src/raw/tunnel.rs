//! What agents offer through us, as it is written.

use super::List;
use crate::read::table;
use crate::values::{BalanceWord, Rate, Secret, Size, Words};

table! {
    /// The hub as a whole: where agents come in is said by listeners.
    Hub "[hub]" {
        /// Domain of generated hosts: each tunnel without `hosts` gets one under it.
        domain: String,
        /// Where agents reach the hubs of the cluster, this one included: they are told.
        addrs: List<String>,
        /// Where other hubs come in, always by mutual TLS 1.3: `"10.0.4.20:7001"`.
        bind: Words,
        /// Other hubs, as `HOST:PORT`; a name may stand for several, this hub among them. Default: none.
        peers: List<String>,
        /// The secret that makes a hub one of ours, the same on all of them. Default: the key of `[cluster]`.
        key: Secret,
        /// Where other hubs are told to reach this one. Default: `bind`, when that is one address.
        advertise: String,
    }
}

table! {
    /// A name under which agents offer the same thing.
    Tunnel "[[tunnel]]" {
        /// Its id: what agents and `tunnel:ID` in pools name. It authorises nothing.
        #[schemars(required)]
        id: String,
        /// Public keys of those who may offer it, as `mainstay tunnel key` prints them; may be absent with `gost`.
        agents: List<String>,
        /// Listeners where its hosts are served; every http listener when absent.
        listener: Words,
        /// Hosts that lead to it, with wildcards as in routes.
        hosts: List<String>,
        /// Addresses and ports whose connections go to it: `":8022"`.
        tcp: List<String>,
        /// Addresses and ports whose datagrams go to it: `":53"`.
        udp: List<String>,
        /// How an agent is chosen. Default "round-robin".
        balance: BalanceWord,
        /// Connections through it at once; 0 is without bound. Default 0.
        streams: i64,
        /// New connections through it: "100/s".
        rate: Rate,
        /// Bytes a second through it, both directions together.
        bandwidth: Size,
        /// Nobody reaches it but its visitors, who come in where agents do. Default false.
        private: bool,
        /// Public keys of those who may reach a private tunnel, as `mainstay tunnel key` prints them.
        visitors: List<String>,
        /// Whether gost's clients may offer it, and its visitors reach it. Default false.
        gost: bool,
    }
}
