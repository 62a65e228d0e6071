//! Private tunnels elsewhere that are reached from here, as it is written.

use super::List;
use crate::read::table;
use crate::values::{Secret, Time};

table! {
    /// Private tunnels elsewhere that are reached from here.
    Visit "[[visit]]" {
        /// What it calls itself, unique; the node's id when absent.
        name: String,
        /// Hubs to dial; they tell of the others of their cluster: wss://HOST, ws://HOST, tls://HOST:PORT, quic://HOST:PORT or tcp://HOST:PORT. Or all of them gost's servers, which tell of none: gost+wss://HOST and so on.
        #[schemars(required)]
        hubs: List<String>,
        /// The secret that `mainstay tunnel key` has made; its public half is among the tunnels' `visitors`. Required, but at gost's servers, which ask for none.
        key: Secret,
        /// The user of gost's servers, when they ask for one.
        user: String,
        /// Its password.
        password: Secret,
        /// Whether certificates are checked; only those of gost's servers, which make their own, need not be. Default true.
        verify: bool,
        /// File of the authorities that hubs are checked by; the system's when absent.
        ca: String,
        /// The HTTP proxy that leads out of here: `http://[USER:PASSWORD@]HOST:PORT`.
        proxy: Secret,
        /// How long connections may go on when the visit ends or is another after a reload. Default "30s".
        drain: Time,
        /// What it reaches, at least one.
        #[schemars(required)]
        tunnel: List<Door>,
    }
}

table! {
    /// One private tunnel, and where it is reached on this machine.
    Door "visit.tunnel" {
        /// The tunnel's id, as `[[tunnel]]` on the hub has it.
        #[schemars(required)]
        id: String,
        /// Where its connections, or datagrams, are taken here: such as `127.0.0.1:8022`. Whoever reaches this reaches the tunnel.
        #[schemars(required)]
        listen: String,
        /// Datagrams instead of connections. Default false.
        udp: bool,
        /// The host that is wanted behind the tunnel, with a port when that matters; only gost's servers are told.
        host: String,
    }
}
