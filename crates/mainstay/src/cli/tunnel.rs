//! `mainstay tunnel ...`: what agents offer here, other hubs, keys.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(super) enum TunnelCommand {
    /// Make a pair of keys: the secret is for the agent or visitor, the public half for `[[tunnel]]` on the hub.
    Key {
        /// Where the secret goes, readable by its owner alone; only the public half is printed then. One that is there stays.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// One line for each other hub: the sessions with it, the tunnels that it has agents of, and why it is not reached.
    Hubs {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// One line for each agent: the places of this hub that it has a session to, its connections, what its target does.
    List {
        /// Only this tunnel.
        tunnel: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}
