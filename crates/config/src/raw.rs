//! What was written: the tables of a configuration, their keys optional, each with its place.
//!
//! The comments of the keys are the descriptions in the JSON schema; docs/reference/config.md says the same at
//! greater length, and a test holds the two together.

mod agent;
mod cluster;
mod edge;
mod forward;
mod gost;
mod listener;
mod policy;
mod pool;
mod registry;
mod route;
mod tunnel;
mod visit;

use crate::read::table;
use crate::source::At;
use crate::values::{
    AddrEntry, ChecksumWord, GuardWord, Headers, MethodWord, OnWord, Secret, Status, Time, Verdict,
};

pub(crate) use agent::*;
pub(crate) use cluster::*;
pub(crate) use edge::*;
pub(crate) use forward::*;
pub(crate) use gost::*;
pub(crate) use listener::*;
pub(crate) use policy::*;
pub(crate) use pool::*;
pub(crate) use registry::*;
pub(crate) use route::*;
pub(crate) use tunnel::*;
pub(crate) use visit::*;

type List<T> = Vec<At<T>>;

table! {
    /// A configuration of Mainstay.
    Root "the file" {
        /// This node.
        node: Node,
        /// The nodes that belong together.
        cluster: Cluster,
        /// Where e-mail notifications go.
        mail: Mail,
        /// The floating addresses.
        vip: List<Vip>,
        /// Vips that are active or not together.
        group: List<Group>,
        /// The active checks.
        probe: List<Probe>,
        /// What this node offers through hubs elsewhere.
        agent: List<Agent>,
        /// Private tunnels elsewhere that are reached from here.
        visit: List<Visit>,
        /// The edge as a whole.
        edge: Edge,
        /// Where connections are taken.
        listener: List<Listener>,
        /// What is done with requests.
        route: List<Route>,
        /// Sets of backends.
        pool: List<Pool>,
        /// What is counted by key.
        zone: List<Zone>,
        /// Variables computed from others.
        map: List<Map>,
        /// Access logs.
        log: List<Log>,
        /// The hub as a whole.
        hub: Hub,
        /// What holds for gost's clients and visitors.
        gost: Gost,
        /// Where hubs find each other.
        registry: Registry,
        /// What agents offer through us.
        tunnel: List<Tunnel>,
    }
}

table! {
    /// This node.
    Node "[node]" {
        /// Cluster-unique name; the host name when absent.
        id: String,
        /// User of commands that name none; `mainstay` when absent, or `nobody` where there is no such user.
        script_user: String,
        /// No takeover before this long after the start. Default "0s".
        start_delay: Time,
        /// Address and port where /metrics, /healthz and /readyz are served.
        metrics: String,
    }
}

table! {
    /// Where e-mail notifications go.
    Mail "[mail]" {
        /// host:port of the SMTP server.
        #[schemars(required)]
        smtp: String,
        /// Name given in EHLO; the host name when absent.
        helo: String,
        /// Sender.
        #[schemars(required)]
        from: String,
        /// Recipients.
        #[schemars(required)]
        to: List<String>,
        /// How long a delivery may take. Default "30s".
        timeout: Time,
    }
}

table! {
    /// A floating address.
    Vip "[[vip]]" {
        /// Unique name.
        #[schemars(required)]
        name: String,
        /// Advertised addresses, of one family.
        #[schemars(required)]
        addrs: List<AddrEntry>,
        /// Further addresses of any family that move with the vip but are not in its adverts.
        unadvertised: List<AddrEntry>,
        /// Whether addresses are put on the interface; false only notifies. Default true.
        install: bool,
        /// Where adverts go and, unless an address names its own, where addresses stand.
        #[schemars(required)]
        interface: String,
        /// Virtual router id, 1 to 255, unique for each interface and family; required unless `guard` is "quorum".
        #[schemars(range(min = 1, max = 255))]
        vrid: i64,
        /// VRRP version, 2 or 3. Default 3.
        #[schemars(range(min = 2, max = 3))]
        version: i64,
        /// 1 to 254; 255 for the owner. Default 100.
        #[schemars(range(min = 1, max = 255))]
        priority: i64,
        /// Time between adverts. Default "1s".
        advert: Time,
        /// Whether a higher priority takes over from an active node of lower priority. Default true.
        preempt: bool,
        /// How long a lower active node must have been heard before it is preempted. Default "0s".
        preempt_delay: Time,
        /// Adverts that may be missed before a backup takes over. Default 3.
        #[schemars(range(min = 1, max = 100))]
        down_adverts: i64,
        /// PASS data of version 2, up to 8 bytes.
        password: Secret,
        /// Source address of adverts; the interface's first own address when absent.
        source: String,
        /// Peers that adverts go to one by one; multicast when absent.
        unicast: List<String>,
        /// Whether only peers in `unicast` are heard. Default false.
        check_source: bool,
        /// Lowest TTL or hop limit that is accepted. Default 255.
        #[schemars(range(min = 1, max = 255))]
        ttl_min: i64,
        /// Multicast group; 224.0.0.18 or ff02::12 when absent.
        multicast: String,
        /// What the checksum of version 3 over IPv4 covers. Default "pseudo-header".
        checksum: ChecksumWord,
        /// Whether adverts with another address list are refused. Default true.
        check_addrs: bool,
        /// When and how often the addresses are announced.
        announce: Announce,
        /// How two holders are prevented; "strict" is refused, it is not there yet. Default "best-effort".
        guard: GuardWord,
        /// Addresses that a node hears unless it is itself in trouble.
        reference: Reference,
        /// Probes that must not be down.
        requires: List<String>,
        /// Probes that move the priority.
        weights: List<Weight>,
        /// Who is told of changes.
        notify: List<Notify>,
        /// What runs only on the holder.
        owns: List<Owns>,
    }
}

table! {
    /// An address on an interface of its own.
    AddrTable "an address" {
        /// Address, with or without prefix length.
        #[schemars(required)]
        addr: String,
        /// Interface that carries it; the vip's when absent.
        interface: String,
    }
}

table! {
    /// Addresses of others, such as the gateway's: a node that hears none of them does not take the vip on silence.
    Reference "vip.reference" {
        /// The addresses, any of which is enough.
        #[schemars(required)]
        addrs: List<String>,
        /// How they are asked: by ARP and neighbour discovery, on the interface's own networks alone, or by ICMP echo. Default "arp".
        method: MethodWord,
        /// Time between two questions. Default: a third of `advert` (of the lease's term with guard "quorum"), 20ms to 1s.
        interval: Time,
        /// Questions in a row without an answer before the reference is lost. Default 3.
        #[schemars(range(min = 1, max = 100))]
        missed: i64,
    }
}

table! {
    /// When and how often a vip is announced by gratuitous ARP or neighbour advertisements.
    Announce "vip.announce" {
        /// Bursts at once after taking the vip. Default 5.
        #[schemars(range(min = 0, max = 255))]
        repeat: i64,
        /// Time between the bursts of one series. Default "0s": together.
        interval: Time,
        /// A second series this long after taking the vip; "0s" for none. Default "5s".
        delay: Time,
        /// Bursts of the second series. Default 5.
        #[schemars(range(min = 0, max = 255))]
        delay_repeat: i64,
        /// Time between periodic series; "0s" for none. Default "0s".
        refresh: Time,
        /// Bursts of each periodic series. Default 1.
        #[schemars(range(min = 0, max = 255))]
        refresh_repeat: i64,
        /// Bursts when a lower advert was heard, and again when it fell silent. Default 5.
        #[schemars(range(min = 0, max = 255))]
        lower_repeat: i64,
    }
}

table! {
    /// A probe's influence on the priority.
    Weight "vip.weights" {
        /// Which probe.
        #[schemars(required)]
        probe: String,
        /// Added while the probe is up when positive, while it is down when negative; -253 to 253.
        #[schemars(required, range(min = -253, max = 253))]
        weight: i64,
        /// Turns the direction of the change round. Default false.
        reverse: bool,
    }
}

table! {
    /// One who is told of changes: exactly one of `exec`, `webhook` and `mail`.
    Notify "notify" {
        /// On which changes; all of them when absent.
        on: List<OnWord>,
        /// Program and arguments.
        exec: List<String>,
        /// Appends keepalived's TYPE NAME STATE PRIORITY. Default false.
        args: bool,
        /// User to run as.
        user: String,
        /// http or https URL that gets a JSON object.
        webhook: String,
        /// Extra HTTP headers.
        headers: Headers,
        /// Further tries of a webhook after the first. Default 3.
        #[schemars(range(min = 0, max = 255))]
        retries: i64,
        /// Sends an e-mail as `[mail]` says.
        mail: bool,
        /// How long it may take. Default "60s" for `exec`, "5s" for `webhook`.
        timeout: Time,
    }
}

table! {
    /// Something that runs only on the holder: a unit, or a pair of commands.
    Owns "vip.owns" {
        /// systemd unit.
        unit: String,
        /// Command that starts it.
        start: List<String>,
        /// Command that stops it.
        stop: List<String>,
        /// How long each of the two may take. Default "30s".
        timeout: Time,
        /// User to run as. Default root.
        user: String,
    }
}

table! {
    /// Vips that are active or not together.
    Group "[[group]]" {
        /// Unique name.
        #[schemars(required)]
        name: String,
        /// Names of the vips, at least one.
        #[schemars(required)]
        vips: List<String>,
        /// Who is told of changes.
        notify: List<Notify>,
    }
}

table! {
    /// One active check: exactly one of `exec`, `tcp`, `http`, `grpc`, `ping`, `process`, `up`, `file` and `pool`.
    Probe "[[probe]]" {
        /// Unique name.
        #[schemars(required)]
        name: String,
        /// Program and arguments; exit code 0 is success.
        exec: List<String>,
        /// User that `exec` runs as.
        user: String,
        /// host:port that must accept a connection.
        tcp: String,
        /// URL that must answer.
        http: String,
        /// Vip whose address is asked, by the nodes that do not hold it: an alarm when it is held and cannot be used.
        through: String,
        /// Who is told of that alarm, where the vip is not in this node's file.
        notify: List<Notify>,
        /// Method of `http`. Default "GET".
        method: String,
        /// Host header of `http`; the URL's when absent.
        host: String,
        /// Accepted status codes of `http`. Default ["200-399"].
        status: List<Status>,
        /// Regular expression that the first 64 KiB of the body of `http` must match.
        body: String,
        /// host:port whose gRPC health service must answer SERVING.
        grpc: String,
        /// Service that `grpc` asks about; "" is the whole server. Default "".
        service: String,
        /// Whether `grpc` goes over TLS. Default false.
        tls: bool,
        /// File with the CA certificates of `http` and `grpc`; the system's when absent.
        ca: String,
        /// Skips certificate verification of `http` and `grpc`. Default false.
        insecure: bool,
        /// Address that must answer an echo request.
        ping: String,
        /// Name of a process that must run.
        process: String,
        /// Arguments that `process` must have.
        args: List<String>,
        /// Pool of which some backends must be usable.
        pool: String,
        /// How many of `process`, or backends of `pool`, at least. Default 1.
        #[schemars(range(min = 0))]
        min: i64,
        /// How many of `process` at most.
        #[schemars(range(min = 0))]
        max: i64,
        /// Interface that must exist, be up and have carrier.
        up: String,
        /// File that must exist.
        file: String,
        /// What the first line of `file` must be.
        content: String,
        /// Time between the starts of two checks, 50ms and more. Default "1s".
        interval: Time,
        /// A check that takes longer has failed; the interval when absent.
        timeout: Time,
        /// Failures in a row before the verdict is down. Default 1.
        #[schemars(range(min = 1, max = 1000))]
        fall: i64,
        /// Successes in a row before the verdict is up. Default 1.
        #[schemars(range(min = 1, max = 1000))]
        rise: i64,
        /// The verdict before the first result; when absent the first result decides.
        initial: Verdict,
        /// Tried before the verdict falls.
        restart: Restart,
    }
}

table! {
    /// An attempt to revive a service before a vip is given up.
    Restart "probe.restart" {
        /// Program and arguments.
        #[schemars(required)]
        exec: List<String>,
        /// User to run as. Default root.
        user: String,
        /// How often it is tried in a row. Default 1.
        #[schemars(range(min = 1, max = 100))]
        tries: i64,
        /// How long after the command ended the service has to pass its check. Default "5s".
        wait: Time,
        /// The command is killed after this long. Default "30s".
        timeout: Time,
    }
}
