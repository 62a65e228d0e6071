//! What this node offers through hubs elsewhere, as it is written.

use super::List;
use crate::read::table;
use crate::values::{Secret, Status, Time};

table! {
    /// What this node offers through hubs elsewhere.
    Agent "[[agent]]" {
        /// What it calls itself, unique; the node's id when absent.
        name: String,
        /// Hubs to dial; they tell of the others of their cluster: wss://HOST, ws://HOST, tls://HOST:PORT, quic://HOST:PORT or tcp://HOST:PORT. Or all of them gost's servers, which tell of none: gost+wss://HOST and so on.
        #[schemars(required)]
        hubs: List<String>,
        /// The secret that `mainstay tunnel key` has made. Required, but at gost's servers, which ask for none.
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
        /// How long streams may go on when the agent ends or is another after a reload. Default "30s".
        drain: Time,
        /// What it offers, at least one.
        #[schemars(required)]
        offer: List<Offer>,
    }
}

table! {
    /// One service, under a tunnel: exactly one of `to` and `files`.
    Offer "agent.offer" {
        /// The tunnel's id, as `[[tunnel]]` on the hub has it.
        #[schemars(required)]
        tunnel: String,
        /// Targets, host:port; those that answer take turns.
        to: List<String>,
        /// Folder whose files are served instead, with listings.
        files: String,
        /// Datagrams instead of connections. Default false.
        udp: bool,
        /// Its share among the agents of the tunnel, 1 to 65535. At gost's servers 1 to 255, and 255 takes all. Default 1.
        #[schemars(range(min = 1, max = 65535))]
        weight: i64,
        /// A host to be served under, besides those that the hub gives.
        host: String,
        /// How targets are looked at.
        probe: OfferProbe,
        /// Version of the PROXY header that tells targets who the visitor is, 1 or 2; none when absent.
        #[schemars(range(min = 1, max = 2))]
        proxy_header: i64,
    }
}

table! {
    /// How the targets of an offer are looked at: by connecting to them, or by asking for a page.
    OfferProbe "agent.offer.probe" {
        /// Whether they are; false takes them to be well. Default true.
        tcp: bool,
        /// Path that must answer over HTTP; a connection is enough when absent.
        http: String,
        /// Method of `http`. Default "GET".
        method: String,
        /// Host header of `http`; the target when absent.
        host: String,
        /// Accepted status codes of `http`. Default ["200-399"].
        status: List<Status>,
        /// Expression that the first 64 KiB of the body of `http` must match.
        body: String,
        /// Time between two looks, 50ms to 1h. Default "1s".
        interval: Time,
        /// A target that takes longer does not answer; the interval when absent, 3s at most.
        timeout: Time,
        /// Looks in a row that have to fail before a target is out. Default 1.
        #[schemars(range(min = 1, max = 1000))]
        fall: i64,
        /// Looks in a row that have to succeed before it is back. Default 1.
        #[schemars(range(min = 1, max = 1000))]
        rise: i64,
    }
}
