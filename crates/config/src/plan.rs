//! What a configuration means: names looked up, defaults filled in, secrets read, nothing left to validate.

mod action;
pub mod agent;
pub mod arbitration;
pub mod cluster;
pub mod edge;
pub mod gost;
mod guard;
mod listener;
mod parse;
mod pattern;
mod pool;
pub mod registry;
mod secrets;
mod step;
mod template;
pub mod tunnel;
pub mod visit;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use mainstay_core::election::{GroupSpec, VipSpec};
use mainstay_core::name::{CommandId, LinkId, PoolId, ProbeId};
use serde::{Deserialize, Serialize};

/// Everything a node does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Cluster-unique name of this node.
    pub node: String,
    /// The nodes that it speaks with.
    #[serde(default)]
    pub cluster: Option<cluster::Cluster>,
    /// Interfaces by name; `LinkId` is the index.
    pub links: Vec<String>,
    /// The vips; `VipId` is the index.
    pub vips: Vec<Vip>,
    /// Sync groups.
    pub groups: Vec<Group>,
    /// The probes; `ProbeId` is the index.
    pub probes: Vec<Probe>,
    /// Every command that the exec role may run; `CommandId` is the index.
    pub commands: Vec<Command>,
    /// Where e-mail notifications go.
    pub mail: Option<Mail>,
    /// Where /metrics, /healthz and /readyz are served.
    pub metrics: Option<SocketAddr>,
    /// What this node offers through hubs elsewhere.
    #[serde(default)]
    pub agents: Vec<agent::Agent>,
    /// Where hubs find each other.
    #[serde(default)]
    pub registry: Option<registry::Registry>,
    /// Private tunnels elsewhere that are reached from here.
    #[serde(default)]
    pub visits: Vec<visit::Visit>,
    /// Listeners, routes and pools.
    pub edge: edge::Edge,
}

/// A vip: the election's part and what sys and notify need beside it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Vip {
    /// The election's part.
    pub spec: VipSpec,
    /// Addresses to put on interfaces while active, advertised ones first; empty for a vip that only notifies.
    pub addrs: Vec<Addr>,
    /// Multicast group when `spec.unicast` is empty and it is not the standard one.
    pub multicast: Option<IpAddr>,
    /// Who is told of changes.
    pub notify: Vec<Notify>,
    /// What is started before the vip is announced and stopped before it is released, in order.
    pub owns: Vec<Owned>,
    /// Addresses that a node hears unless it is itself in trouble.
    #[serde(default)]
    pub reference: Option<arbitration::Reference>,
}

impl fmt::Debug for Vip {
    /// Everything but the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { spec, addrs, multicast, notify, owns, reference } = self;
        let mut spec = spec.clone();
        spec.password = spec.password.map(|_| [b'*'; 8]);
        f.debug_struct("Vip")
            .field("spec", &spec)
            .field("addrs", addrs)
            .field("multicast", multicast)
            .field("notify", notify)
            .field("owns", owns)
            .field("reference", reference)
            .finish()
    }
}

/// One address of a vip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addr {
    /// The address.
    pub addr: IpAddr,
    /// Prefix length: 32 or 128 unless the operator asked for more.
    pub prefix: u8,
    /// The interface that carries it.
    pub link: LinkId,
}

/// A sync group and who is told of its changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// The election's part.
    pub spec: GroupSpec,
    /// Who is told.
    pub notify: Vec<Notify>,
}

/// One who is told of a change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notify {
    /// On which changes; empty means all of them.
    pub on: Vec<NotifyOn>,
    /// How.
    pub how: NotifyHow,
}

/// A change worth telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NotifyOn {
    /// The vip became active here.
    Active,
    /// The vip became backup here.
    Backup,
    /// The vip became faulty here.
    Fault,
    /// The daemon stops.
    Stop,
    /// Somebody else claims its address, or no longer does.
    Conflict,
    /// It is held, and cannot be used from here, or can again.
    Unusable,
}

impl NotifyOn {
    /// Whether keepalived has a word for it.
    #[must_use]
    pub const fn is_of_keepalived(self) -> bool {
        match self {
            Self::Active | Self::Backup | Self::Fault | Self::Stop => true,
            Self::Conflict | Self::Unusable => false,
        }
    }
}

/// How somebody is told.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotifyHow {
    /// Run a command; with `args`, keepalived's TYPE NAME STATE PRIORITY follow its own arguments.
    Exec {
        /// Which command.
        command: CommandId,
        /// Whether the four arguments are appended.
        args: bool,
    },
    /// POST a JSON object.
    Webhook {
        /// http or https URL.
        url: String,
        /// Extra headers (secrets among them).
        headers: Vec<(String, String)>,
        /// How long one try may take.
        timeout: Duration,
        /// Further tries after the first.
        retries: u8,
    },
    /// Send an e-mail as `[mail]` says.
    Mail,
}

impl fmt::Debug for NotifyHow {
    /// Everything but the values of the headers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exec { command, args } => {
                f.debug_struct("Exec").field("command", command).field("args", args).finish()
            }
            Self::Webhook { url, headers, timeout, retries } => {
                let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
                f.debug_struct("Webhook")
                    .field("url", url)
                    .field("headers", &names)
                    .field("timeout", timeout)
                    .field("retries", retries)
                    .finish()
            }
            Self::Mail => f.write_str("Mail"),
        }
    }
}

/// Something that runs only on the holder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Owned {
    /// For status: the unit's name or the start command.
    pub name: String,
    /// Starts it.
    pub start: CommandId,
    /// Stops it.
    pub stop: CommandId,
}

/// A command line that the exec role runs by index, as its user, within its timeout.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Command {
    /// Program and arguments; never a shell unless the operator wrote one.
    pub argv: Vec<String>,
    /// User to run as; root's only when the operator says so.
    pub user: Option<String>,
    /// Killed, with its process group, after this long.
    pub timeout: Duration,
}

/// Where e-mail goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    /// host:port of the SMTP server.
    pub smtp: String,
    /// Name given in EHLO.
    pub helo: Option<String>,
    /// Sender.
    pub from: String,
    /// Recipients.
    pub to: Vec<String>,
    /// How long a delivery may take.
    pub timeout: Duration,
}

/// One active check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// The operator's name.
    pub name: String,
    /// What is done.
    pub check: Check,
    /// Time between the starts of two checks.
    pub interval: Duration,
    /// A check that takes longer has failed.
    pub timeout: Duration,
    /// Failures in a row before the verdict is down.
    pub fall: u32,
    /// Successes in a row before the verdict is up.
    pub rise: u32,
    /// The verdict before the first check; absent: pending until the first result, which decides alone.
    pub initial: Option<bool>,
    /// Tried before the verdict falls.
    pub restart: Option<Restart>,
    /// The vip whose service is looked at from outside: checked only where that is not held, and moving nothing.
    #[serde(default)]
    pub through: Option<String>,
    /// Who is told when it is held and cannot be used.
    #[serde(default)]
    pub notify: Vec<Notify>,
}

/// An attempt to revive a service before giving a vip up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// What revives it.
    pub command: CommandId,
    /// How often it is tried in a row.
    pub tries: u32,
    /// How long after the command ended the service has to pass its check.
    pub wait: Duration,
}

/// What a probe does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// A command: exit code 0 is success.
    Exec {
        /// Which.
        command: CommandId,
    },
    /// A TCP connect to host:port.
    Tcp {
        /// host:port.
        target: String,
    },
    /// An HTTP(S) request.
    Http(HttpCheck),
    /// The gRPC health protocol (grpc.health.v1), with prior knowledge or over TLS.
    Grpc(GrpcCheck),
    /// At least so many backends of a pool are usable.
    Pool {
        /// Which pool.
        pool: PoolId,
        /// So many.
        min: u32,
    },
    /// An ICMP or ICMPv6 echo.
    Ping {
        /// Target.
        target: IpAddr,
    },
    /// A number of processes with this name, and, when given, these arguments.
    Process {
        /// comm, or the base name of `argv[0]`.
        name: String,
        /// Arguments that must follow, when given.
        args: Option<Vec<String>>,
        /// At least so many.
        min: u32,
        /// At most so many, when given.
        max: Option<u32>,
    },
    /// An interface exists, is up and has carrier.
    Interface {
        /// Its name.
        name: String,
    },
    /// A file exists; with `content`, its first line equals it.
    File {
        /// Which.
        path: PathBuf,
        /// Expected first line.
        content: Option<String>,
    },
}

/// An HTTP(S) check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpCheck {
    /// http or https URL.
    pub url: String,
    /// GET, HEAD, ...
    pub method: String,
    /// Host header when it differs from the URL's.
    pub host: Option<String>,
    /// Name that TLS asks for and verifies when it differs from the URL's.
    pub server_name: Option<String>,
    /// Accepted status codes, inclusive ranges.
    pub status: Vec<(u16, u16)>,
    /// Regular expression that the first 64 KiB of the body must match.
    pub body: Option<String>,
    /// CA bundle for https; the system's roots when absent.
    pub ca: Option<PathBuf>,
    /// Skip certificate verification.
    pub insecure: bool,
}

/// A gRPC health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrpcCheck {
    /// host:port.
    pub target: String,
    /// The service that is asked about; empty is the whole server.
    pub service: String,
    /// Over TLS.
    pub tls: bool,
    /// Name that TLS asks for and verifies when it differs from the target's.
    pub server_name: Option<String>,
    /// CA bundle; the system's roots when absent.
    pub ca: Option<PathBuf>,
    /// Skip certificate verification.
    pub insecure: bool,
}

/// Names of the Plan's probes that a vip depends on in some way.
#[must_use]
pub fn probes_of(vip: &VipSpec) -> Vec<ProbeId> {
    let mut all = vip.requires.clone();
    all.extend(vip.weights.iter().map(|w| w.probe));
    all.sort_unstable();
    all.dedup();
    all
}
