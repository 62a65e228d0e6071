//! The command line: what is said there, and the exit codes that answer.

mod agent;
mod ask;
mod drill;
mod explain;
mod import;
mod join;
mod local;
mod lock;
mod man;
mod plugin;
mod render;
mod top;
mod tunnel;
mod visit;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::dirs::Dirs;
use crate::ipc::{ClusterAction, PoolAction, VipAction};
use crate::role::Role;
use tunnel::TunnelCommand;

pub use local::load;

pub(crate) use ask::{Unreachable, fetch_status};
pub(crate) use local::print;
pub(crate) use render::style;

/// Bad configuration, or a failure.
pub const FAILURE: u8 = 1;
/// The daemon cannot be reached.
pub const UNREACHABLE: u8 = 3;
/// It runs, but something is wrong.
pub const DEGRADED: u8 = 4;
/// The caller may not.
pub const DENIED: u8 = 5;

/// Keeps an address, the services behind it and the roads to them up.
#[derive(Debug, Parser)]
#[command(name = "mainstay", version, arg_required_else_help = true, after_help = AFTER)]
pub struct Cli {
    /// Where the control socket is.
    #[arg(long, global = true, env = "MAINSTAY_RUNTIME_DIR", hide_env_values = true, value_name = "DIR")]
    runtime_dir: Option<PathBuf>,
    /// Where state that outlives a restart is.
    #[arg(long, global = true, env = "MAINSTAY_STATE_DIR", hide_env_values = true, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

const AFTER: &str = "Exit codes: 0 ok, 1 bad configuration or failure, 2 usage, 3 daemon not reachable, 4 degraded, 5 permission.";

/// A configuration file.
#[derive(Args, Debug)]
struct Config {
    /// The configuration file; conf.d/*.toml beside it is merged in name order.
    #[arg(
        long,
        short,
        value_name = "FILE",
        env = "MAINSTAY_CONFIG",
        default_value = "/etc/mainstay/mainstay.toml"
    )]
    config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node in the foreground.
    Run(Config),
    /// Run a node that votes and holds no address: its own entry in `[cluster] peers` says witness = true.
    Witness(Config),
    /// Check a configuration: every error with file, line and what to write instead.
    Check {
        /// The file; the running node's by default.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        #[command(flatten)]
        config: Config,
        /// It is another host's: don't look for its programs, users and secret files here.
        #[arg(long)]
        elsewhere: bool,
    },
    /// Print a configuration in its canonical form.
    Fmt {
        /// The file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Write it back instead of printing it.
        #[arg(long)]
        write: bool,
    },
    /// Print the JSON schema of the configuration.
    Schema,
    /// Turn another program's configuration into ours: TOML on standard output, what was not understood on
    /// standard error.
    #[command(subcommand)]
    Import(import::From),
    /// Say what this node holds, since when, why, and who is next.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Watch vips, listeners, routes, pools and backends at work: requests, errors, latency, connections.
    Top {
        /// Show one look at it and end.
        #[arg(long)]
        once: bool,
        /// Seconds between two looks, over which rates are taken.
        #[arg(long, short, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
        interval: u64,
    },
    /// Print what happened.
    Events {
        /// Go on with what happens from here on.
        #[arg(long, short)]
        follow: bool,
        /// As JSON, one event a line.
        #[arg(long)]
        json: bool,
    },
    /// Tell the story behind a vip, or the way of a request: why it is as it is.
    #[command(subcommand)]
    Explain(Explain),
    /// List, move, drain, hold or readmit vips.
    #[command(subcommand)]
    Vip(VipCommand),
    /// List pools; add, remove, drain, readmit and weigh their backends.
    ///
    /// It holds at once on all edge processes, and until the configuration says something else of the backend; a restart
    /// forgets it, an upgrade does not.
    #[command(subcommand)]
    Pool(PoolCommand),
    /// Offer what runs here through a tunnel, in the foreground: it dials hubs, and needs no port that is open.
    Agent(Box<agent::AgentArgs>),
    /// Reach a private tunnel from here, in the foreground: a local port, or standard input and output, leads to it.
    Visit(Box<visit::VisitArgs>),
    /// Serve gost's servers as a plugin that shares who offers what, in the foreground: with gost-plugins' options, over its redis
    /// or from memory.
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
    /// What agents offer through this node, and keys of tunnels.
    #[command(subcommand)]
    Tunnel(TunnelCommand),
    /// This node's identity.
    #[command(subcommand)]
    Node(NodeCommand),
    /// Show the nodes that this one speaks with and their votes, and change who votes.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Rehearse with what runs here: it is the real thing, and clients notice as much as is reported.
    #[command(subcommand)]
    Drill(Drill),
    /// Read the configuration again; refused as a whole when it is bad.
    Reload,
    /// Become the program that stands in our place in the file system: listeners, connections and vips stay.
    ///
    /// The new program checks the configuration first; when it cannot take over, the old one goes on.
    Upgrade,
    /// Find out why peers do not hear each other.
    Doctor {
        #[command(flatten)]
        config: Config,
        /// How long to listen; at least three adverts.
        #[arg(long, default_value = "4", value_name = "SECONDS")]
        listen: u64,
    },
    /// Exit 0 when the node is up and well, 4 when degraded, 3 when it is not there.
    Healthcheck {
        /// Whether this node serves, whatever is wrong elsewhere: as `/readyz?here` answers.
        #[arg(long)]
        here: bool,
    },
    /// Rehearse failures with three nodes in network namespaces of this machine.
    ///
    /// It takes some ten seconds, needs ip(8) and nft(8), and root or the right to make user namespaces. Addresses,
    /// firewall and daemons of this machine stay as they are.
    Demo,
    /// Print the completion script of a shell.
    Completion {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    Man,
    /// Print the version and what this build can do.
    Version,
    /// Says whether this program can take over from one that runs; asked by `upgrade`.
    #[command(hide = true)]
    Handover(Config),
    /// Reads or writes the place of `[cluster] lock`; run by `run`.
    #[command(hide = true)]
    Lock {
        /// Where it is.
        path: PathBuf,
        #[command(subcommand)]
        what: LockCommand,
    },
    /// A worker process; started by `run`.
    #[command(hide = true)]
    Worker {
        /// Which role.
        role: Role,
    },
}

#[derive(Debug, Subcommand)]
enum LockCommand {
    /// Print the record.
    Read,
    /// Write one.
    Write {
        /// Which.
        text: String,
    },
}

#[derive(Debug, Subcommand)]
enum Explain {
    /// Why a vip is where it is, and what happened to it.
    Vip {
        /// Its name.
        name: String,
    },
    /// Which route would take a request and which backend it would get, and why not the others.
    Route(RouteQuestion),
}

/// A request that nobody sends.
#[derive(Args, Debug)]
struct RouteQuestion {
    /// https://a.example/path?query, or a path alone.
    url: String,
    /// Its method.
    #[arg(long, default_value = "GET")]
    method: String,
    /// A header of it, as "Name: value"; may be repeated.
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// The address that it comes from.
    #[arg(long, value_name = "ADDRESS")]
    from: Option<std::net::IpAddr>,
    /// The listener that it comes to; those that fit the URL by default.
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum VipCommand {
    /// One line for each vip.
    List,
    /// Hand it to whoever comes next; without a taker it comes back after about ten adverts.
    Move {
        /// Its name.
        name: String,
        /// Which node follows, whatever its priority; only with guard quorum or strict, and only one that can hold it.
        #[arg(long, value_name = "NODE")]
        to: Option<String>,
    },
    /// Take a vip of guard strict although the other node, which may hold it, is not heard: you have made sure that it is dead.
    Take {
        /// Its name.
        name: String,
        /// The node that is dead: switched off, or cut off from every network that has the address. If it still runs, there
        /// are two holders until they hear each other.
        #[arg(long, value_name = "NODE")]
        fenced: String,
    },
    /// Give it up and stay out until `ready`.
    Drain {
        /// Its name.
        name: String,
    },
    /// Keep it on this node until `ready`: nobody preempts it; a fault, a stop, `move` and `drain` still take it away.
    Hold {
        /// Its name; it is held by this node.
        name: String,
    },
    /// Take part again.
    Ready {
        /// Its name.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
enum NodeCommand {
    /// Print this node's public key, for `key` in `[cluster] peers` of the others; it is made when there is none.
    Key,
    /// Print a one-time token with which a machine becomes a node that `[cluster] peers` names: `mainstay node join` there.
    ///
    /// It needs no cluster key. The token is good once, for this id, on this node, until it expires, is revoked or replaced by
    /// another for the same id, or this node starts anew. The other nodes take the newcomer's key at this node's word.
    Enrol {
        /// The newcomer's `[node] id`.
        id: String,
        /// How long it is good.
        #[arg(long, default_value = "600", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(10..=86_400))]
        expires: u64,
        /// Where the newcomer reaches this node, when its own file does not say; may be repeated, once for each wire.
        #[arg(long, value_name = "ADDRESS")]
        addr: Vec<String>,
        /// Make the token that is out for this id worthless instead.
        #[arg(long, conflicts_with_all = ["expires", "addr"])]
        revoke: bool,
    },
    /// Make a node of this machine with a token, which is read from standard input.
    ///
    /// It makes the node's key, proves the token to the node that made it, and writes conf.d/cluster.toml beside the configuration:
    /// the cluster, its nodes and their keys. Nothing else has to be copied here.
    Join {
        /// Read the token from this file instead.
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
        #[command(flatten)]
        config: Config,
        /// How long to try.
        #[arg(long, default_value = "15", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
        wait: u64,
    },
    /// Forget another node's pinned key, here and at once: it has to enrol again.
    Forget {
        /// Its `[node] id`.
        id: String,
    },
}

#[derive(Debug, Subcommand)]
enum ClusterCommand {
    /// One line for each node: whether it votes, how it stands, its session and its wires.
    List,
    /// Make a node a voter that `[cluster] peers` of the files names. Only one change at a time; each waits for a term.
    Add {
        /// Its `[node] id`.
        id: String,
    },
    /// Take a node's vote away.
    Remove {
        /// Its `[node] id`.
        id: String,
    },
}

#[derive(Debug, Subcommand)]
enum Drill {
    /// Hand a vip over, take it back, and say for how long it had no holder each time, as this node measured.
    Vip {
        /// Its name; it is held by this node.
        name: String,
        /// How often it goes over and back.
        #[arg(long, default_value = "1", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
        runs: u32,
        /// How long to wait for each hand-over; longer than `preempt_delay`.
        #[arg(long, default_value = "30", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
        wait: u64,
    },
}

#[derive(Debug, Subcommand)]
enum PoolCommand {
    /// One line for each backend; those that the configuration does not have are marked.
    List {
        /// Only this pool.
        pool: Option<String>,
    },
    /// Put a backend into a pool: made and probed like the first one there.
    Add {
        /// The pool.
        pool: String,
        /// The backend: 10.0.4.20:8080, name:8080, `[2001:db8::1]:8080` or unix:/path.
        backend: String,
        /// Its share.
        #[arg(value_parser = clap::value_parser!(u32).range(0..=65_535))]
        weight: Option<u32>,
    },
    /// Take a backend out of a pool; requests under way there end as they would have.
    Remove {
        /// The pool.
        pool: String,
        /// The backend.
        backend: String,
    },
    /// Send a backend nothing new, but from clients that are bound to it by a cookie.
    Drain {
        /// The pool.
        pool: String,
        /// The backend.
        backend: String,
    },
    /// Use a backend again.
    Ready {
        /// The pool.
        pool: String,
        /// The backend.
        backend: String,
    },
    /// Give a backend another share.
    Weight {
        /// The pool.
        pool: String,
        /// The backend.
        backend: String,
        /// Its share; 0 drains it.
        #[arg(value_parser = clap::value_parser!(u32).range(0..=65_535))]
        weight: u32,
    },
}

impl PoolCommand {
    /// Pool and word; nothing for a list.
    fn into_action(self) -> Option<(String, PoolAction)> {
        Some(match self {
            Self::List { .. } => return None,
            Self::Add { pool, backend, weight } => (pool, PoolAction::Add { backend, weight }),
            Self::Remove { pool, backend } => (pool, PoolAction::Remove { backend }),
            Self::Drain { pool, backend } => (pool, PoolAction::Drain { backend }),
            Self::Ready { pool, backend } => (pool, PoolAction::Ready { backend }),
            Self::Weight { pool, backend, weight } => (pool, PoolAction::Weight { backend, weight }),
        })
    }
}

/// Does what the command line asks.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let dirs = Dirs::resolve(cli.runtime_dir.as_deref(), cli.state_dir.as_deref());
    match dispatch(cli.command, dirs) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("mainstay: {}", sentence(&error));
            ExitCode::from(code_of(&error))
        }
    }
}

fn dispatch(command: Command, dirs: Dirs) -> anyhow::Result<u8> {
    match command {
        Command::Run(config) => local::run(config.config, dirs),
        Command::Witness(config) => local::witness(config.config, dirs),
        Command::Lock { path, what: LockCommand::Read } => lock::read(&path).map(|()| 0),
        Command::Lock { path, what: LockCommand::Write { text } } => lock::write(&path, &text).map(|()| 0),
        Command::Worker { role } => crate::worker::run(role).map(|()| 0),
        Command::Check { file, config, elsewhere } => local::check(&file.unwrap_or(config.config), elsewhere),
        Command::Fmt { file, write } => local::fmt(&file, write),
        Command::Schema => local::print(&mainstay_config::schema()),
        Command::Import(from) => import::run(from),
        Command::Status { json } => ask::status(&dirs, json),
        Command::Top { once, interval } => top::run(&dirs, once, std::time::Duration::from_secs(interval)),
        Command::Events { follow, json } => ask::events(&dirs, follow, json),
        Command::Explain(Explain::Vip { name }) => explain::vip(&dirs, &name),
        Command::Explain(Explain::Route(question)) => explain::route(&dirs, question),
        Command::Vip(VipCommand::List) => ask::list(&dirs),
        Command::Vip(VipCommand::Move { name, to: None }) => ask::vip(&dirs, name, VipAction::Move),
        Command::Vip(VipCommand::Move { name, to: Some(to) }) => {
            ask::tell_cluster(&dirs, ClusterAction::Move { vip: name, to })
        }
        Command::Vip(VipCommand::Take { name, fenced }) => {
            ask::tell_cluster(&dirs, ClusterAction::Take { vip: name, fenced })
        }
        Command::Vip(VipCommand::Drain { name }) => ask::vip(&dirs, name, VipAction::Drain),
        Command::Vip(VipCommand::Hold { name }) => ask::vip(&dirs, name, VipAction::Hold),
        Command::Vip(VipCommand::Ready { name }) => ask::vip(&dirs, name, VipAction::Ready),
        Command::Pool(PoolCommand::List { pool }) => ask::pools(&dirs, pool.as_deref()),
        Command::Pool(command) => ask::pool(&dirs, command.into_action()),
        Command::Agent(args) => agent::run(*args),
        Command::Visit(args) => visit::run(*args),
        Command::Plugin(command) => plugin::run(command),
        Command::Tunnel(TunnelCommand::Key { file }) => agent::key(file.as_deref()),
        Command::Tunnel(TunnelCommand::Hubs { json }) => ask::hubs(&dirs, json),
        Command::Tunnel(TunnelCommand::List { tunnel, json }) => ask::tunnels(&dirs, tunnel.as_deref(), json),
        Command::Node(command) => node(&dirs, command),
        Command::Cluster(ClusterCommand::List) => ask::cluster(&dirs),
        Command::Cluster(ClusterCommand::Add { id }) => ask::tell_cluster(&dirs, ClusterAction::Add { id }),
        Command::Cluster(ClusterCommand::Remove { id }) => {
            ask::tell_cluster(&dirs, ClusterAction::Remove { id })
        }
        Command::Drill(Drill::Vip { name, runs, wait }) => {
            drill::vip(&dirs, &name, runs, std::time::Duration::from_secs(wait))
        }
        Command::Reload => ask::reload(&dirs),
        Command::Upgrade => ask::upgrade(&dirs),
        Command::Handover(config) => local::handover(&config.config),
        Command::Doctor { config, listen } => crate::doctor::run(&config.config, &dirs, listen),
        Command::Healthcheck { here } => ask::healthcheck(&dirs, here),
        Command::Demo => local::demo(),
        Command::Completion { shell } => local::completion(shell, &Cli::command()),
        Command::Man => local::man(&Cli::command()),
        Command::Version => local::version(),
    }
}

fn node(dirs: &Dirs, command: NodeCommand) -> anyhow::Result<u8> {
    match command {
        NodeCommand::Key => local::node_key(dirs),
        NodeCommand::Enrol { id, revoke: true, .. } => ask::tell_cluster(dirs, ClusterAction::Revoke { id }),
        NodeCommand::Enrol { id, expires, addr, revoke: false } => join::enrol(dirs, id, expires, addr),
        NodeCommand::Join { token_file, config, wait } => {
            join::join(dirs, &config.config, token_file.as_deref(), std::time::Duration::from_secs(wait))
        }
        NodeCommand::Forget { id } => ask::tell_cluster(dirs, ClusterAction::Forget { id }),
    }
}

/// An error and its causes; one that is part of what was said already is not said again.
fn sentence(error: &anyhow::Error) -> String {
    let mut said = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if said.is_empty() {
            said = cause;
        } else if !said.ends_with(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
}

fn code_of(error: &anyhow::Error) -> u8 {
    if let Some(unreachable) = error.downcast_ref::<ask::Unreachable>() {
        return unreachable.code();
    }
    let denied = error.chain().filter_map(|e| e.downcast_ref::<std::io::Error>());
    let denied = denied.into_iter().any(|e| e.kind() == std::io::ErrorKind::PermissionDenied);
    if denied { DENIED } else { FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_its_error_names_is_said_once() {
        let refused = || std::io::Error::other("not permitted");
        let named = anyhow::Error::new(refused()).context("open: not permitted");
        assert_eq!(sentence(&named), "open: not permitted");
        let unnamed = anyhow::Error::new(refused()).context("open");
        assert_eq!(sentence(&unnamed), "open: not permitted");
    }
}
