//! gost's clients, visitors and plugins, as it is written.

use super::List;
use crate::read::table;
use crate::values::{GostHostsWord, GostTunnelsWord, Secret, Time};

table! {
    /// What holds for gost's clients and visitors, on every listener with `compat = "gost"`.
    Gost "[gost]" {
        /// Users and their passwords, one of which clients and visitors have to name; nobody is asked when absent.
        users: List<GostUser>,
        /// Which tunnels clients may offer: `"listed"`, those of `[[tunnel]]` with `gost = true`, or `"any"`. Default "listed".
        tunnels: GostTunnelsWord,
        /// The id by which visitors reach public tunnels by their hosts.
        entrypoint: String,
        /// Whether who knows a tunnel's id reaches it under any host, private or not. Default false.
        direct: bool,
        /// Which hosts clients get: `"generated"` alone, or `"any"` that they ask for beside it. Default "generated".
        hosts: GostHostsWord,
        /// Where other nodes are told to send visitors: `"10.0.4.20:80"`. Default: the port of the first http listener with `compat`.
        advertise: String,
        /// The plugin that knows which node serves which tunnel: grpc://HOST:PORT, grpcs://, http://HOST:PORT/PATH or https://.
        sd: String,
        /// The plugin that knows which host leads to which tunnel, written as `sd`.
        ingress: String,
        /// What plugins know us by.
        token: Secret,
        /// File of the CA certificates that plugins are checked by, with grpcs:// and https://; the system's when absent.
        ca: String,
        /// How long a call of a plugin may take. Default "1s".
        timeout: Time,
        /// How often plugins are told again what is here. Default "15s".
        renew: Time,
        /// Plugins that this node is itself, for gost's servers and its own hub.
        plugin: GostPlugin,
    }
}

table! {
    /// Plugins that this node is itself.
    GostPlugin "gost.plugin" {
        /// Where the sd plugin listens: `":8000"`, or an address and a port.
        sd: String,
        /// Where the ingress plugin listens, written as `sd`.
        ingress: String,
    }
}

table! {
    /// One of gost's users.
    GostUser "gost.users" {
        /// The name, 1 to 255 bytes.
        #[schemars(required)]
        name: String,
        /// The password, up to 255 bytes.
        #[schemars(required)]
        password: Secret,
    }
}
