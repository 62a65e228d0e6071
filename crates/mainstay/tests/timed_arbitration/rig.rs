//! Nodes `n1` and `n2` at 10.0.4.1 and .2, a gateway at .254, a client and a watcher behind the gateway's wire, and a
//! directory that both nodes share.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use mainstay_lab::peer::{Keeper as _, Mainstay};
use mainstay_lab::probe::{ArpProbe, Echo, UdpClient};
use mainstay_lab::{Cut, Host, Lab, Port, Segment, Way, partition};
use serde_json::Value;

/// Longer than anything here takes on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A client is content after so long without a change.
pub(crate) const CALM: Duration = Duration::from_millis(300);

/// The address that moves, and where its service is reached.
pub(crate) const VIP: &str = "10.0.4.99";
const SERVICE: &str = "10.0.4.99:7777";

/// The network.
pub(crate) struct Rig {
    pub(crate) nodes: [Host; 2],
    pub(crate) gateway: Host,
    pub(crate) client: Host,
    watchers: [Host; 2],
    pub(crate) shared: PathBuf,
    _wires: [Segment; 2],
    _echoes: Vec<Echo>,
    lab: Lab,
}

impl Rig {
    pub(crate) fn new() -> Result<Self> {
        let lab = Lab::new("arbitration")?;
        let wires = [lab.segment("lan")?, lab.segment("second")?];
        let plugged = |name: &str, number: u8| -> Result<Host> {
            let host = lab.host(name)?;
            for (wire, (segment, interface)) in wires.iter().zip(["eth0", "eth1"]).enumerate() {
                host.plug(segment, interface, &[&format!("10.{wire}.4.{number}/24")])?;
            }
            Ok(host)
        };
        let nodes = [plugged("n1", 1)?, plugged("n2", 2)?];
        let (gateway, client) = (plugged("gateway", 254)?, plugged("client", 200)?);
        let watchers = [plugged("w1", 201)?, plugged("w2", 202)?];
        let key = "a key that is long enough for a test";
        for host in &nodes {
            let path = host.directory().join("cluster.key");
            fs::write(&path, key)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        }
        let shared = lab.directory().join("shared");
        fs::create_dir(&shared)?;
        let echoes: Result<Vec<Echo>> =
            nodes.iter().map(|host| Echo::start(host, SERVICE.parse()?)).collect();
        Ok(Self { nodes, gateway, client, watchers, shared, _wires: wires, _echoes: echoes?, lab })
    }

    /// A host behind the gateway, at 192.0.2.1 and fd00:9::1, which the nodes reach through it.
    pub(crate) fn far_host(&self) -> Result<Host> {
        let (segment, far) = (self.lab.segment("beyond")?, self.lab.host("far")?);
        far.plug(&segment, "eth0", &["192.0.2.1/24", "fd00:9::1/64"])?;
        far.ip("route add default via 192.0.2.254\nroute add default via fd00:9::254\n")?;
        self.gateway.plug(&segment, "eth2", &["192.0.2.254/24", "fd00:9::254/64"])?;
        self.gateway.ip("addr add fd00:4::254/64 dev eth0 nodad\n")?;
        self.gateway.sysctl("net.ipv4.ip_forward", "1")?;
        self.gateway.sysctl("net.ipv6.conf.all.forwarding", "1")?;
        for (n, node) in (1..).zip(&self.nodes) {
            node.ip(&format!(
                "addr add fd00:4::{n}/64 dev eth0 nodad\nroute add 192.0.2.0/24 via 10.0.4.254 dev eth0\n\
                 route add fd00:9::/64 via fd00:4::254 dev eth0\n"
            ))?;
        }
        Ok(far)
    }

    /// Node 1 or 2 with sessions, further lines for `[cluster]` and for its vip.
    pub(crate) fn start(&self, n: usize, cluster: &str, vip: &str) -> Result<Mainstay> {
        let host = &self.nodes[n - 1];
        let peer = 3 - n;
        let head = format!(
            "[node]\nid = \"n{n}\"\nscript_user = \"root\"\n\n[cluster]\nname = \"lab\"\nkey = {{ file = \"{}\" }}\n\
             term = \"500ms\"\npeers = [{{ id = \"n{peer}\", addrs = [\"10.0.4.{peer}\", \"10.1.4.{peer}\"] }}]\n\
             {cluster}\n\n",
            host.directory().join("cluster.key").display(),
        );
        Mainstay::start(host, &binary(), &(head + &front(n, vip)))
    }

    /// The same without sessions: as with a partner that speaks VRRP alone.
    pub(crate) fn start_plain(&self, n: usize, vip: &str) -> Result<Mainstay> {
        let peer = 3 - n;
        let head = format!(
            "[node]\nid = \"n{n}\"\nscript_user = \"root\"\n\n[cluster]\nname = \"lab\"\npeers = [{{ id = \"n{peer}\", \
             addrs = [\"10.0.4.{peer}\"] }}]\n\n"
        );
        Mainstay::start(&self.nodes[n - 1], &binary(), &(head + &front(n, vip)))
    }

    /// Both, `n1` active.
    pub(crate) fn pair(&self, cluster: &str, vip: &str) -> Result<[Mainstay; 2]> {
        let first = self.start(1, cluster, vip)?;
        first.wait_for_state("front", "active", LIMIT)?;
        let second = self.start(2, cluster, vip)?;
        second.wait_for_state("front", "backup", LIMIT)?;
        for node in [&first, &second] {
            node.wait_until("the peer is heard", LIMIT, |status| status["cluster"]["answering"] == 2)?;
        }
        Ok([first, second])
    }

    pub(crate) fn port(&self, host: &Host, wire: usize) -> Result<Port> {
        host.port(["eth0", "eth1"][wire])
    }

    /// Nothing passes between the nodes, on either wire; both reach all others.
    pub(crate) fn part_nodes(&self) -> Result<Vec<Cut>> {
        let [n1, n2] = &self.nodes;
        [0, 1].into_iter().map(|w| partition(&[self.port(n1, w)?], &[self.port(n2, w)?])).collect()
    }

    /// Nothing reaches a host, or leaves it, on either wire.
    pub(crate) fn cut_off(&self, host: &Host) -> Result<Vec<Cut>> {
        [0, 1].into_iter().map(|w| self.port(host, w)?.isolate(Way::Both)).collect()
    }

    /// `n1` can talk to the first watcher alone; `n2` to all others.
    pub(crate) fn leave_with_a_watcher(&self) -> Result<Vec<Cut>> {
        let [n1, n2] = &self.nodes;
        let cut = |wire| -> Result<Cut> {
            let these = [self.port(n1, wire)?, self.port(&self.watchers[0], wire)?];
            let others = [n2, &self.gateway, &self.client, &self.watchers[1]];
            let others: Result<Vec<Port>> = others.into_iter().map(|host| self.port(host, wire)).collect();
            partition(&these, &others?)
        };
        [0, 1].into_iter().map(cut).collect()
    }

    /// A client of the service, content with `n1`.
    pub(crate) fn ask(&self) -> Result<UdpClient> {
        let client = UdpClient::start(&self.client, SERVICE.parse()?, Duration::from_millis(2))?;
        client.wait_for_steady("n1", CALM, LIMIT)?;
        Ok(client)
    }

    /// Two observers, one on each side of [`Self::leave_with_a_watcher`], ask who has the address.
    pub(crate) fn watch(&self) -> Result<[ArpProbe; 2]> {
        let probe = |host| {
            ArpProbe::start(host, "eth0", VIP.parse().context("an address")?, Duration::from_millis(2))
        };
        Ok([probe(&self.watchers[0])?, probe(&self.watchers[1])?])
    }

    /// The lock's file, and the lines that name it.
    pub(crate) fn lock(&self, more: &str) -> Result<String> {
        let path = self.shared.join("mainstay.lock");
        fs::File::create(&path)?.set_len(4096)?;
        Ok(lock_at(&path, more))
    }
}

pub(crate) fn lock_at(path: &std::path::Path, more: &str) -> String {
    format!("lock = {{ path = \"{}\"{more} }}", path.display())
}

/// The reference that most have.
pub(crate) const REFERENCE: &str = "reference = { addrs = [\"10.0.4.254\"] }";

fn front(n: usize, more: &str) -> String {
    let priority = if n == 1 { 150 } else { 100 };
    format!(
        "[[vip]]\nname = \"front\"\naddrs = [\"{VIP}\"]\ninterface = \"eth0\"\nvrid = 51\npriority = {priority}\n\
         advert = \"200ms\"\npreempt = false\n{more}\n"
    )
}

/// The program under test.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("MAINSTAY_BIN").map_or_else(|| env!("CARGO_BIN_EXE_mainstay").into(), PathBuf::from)
}

/// For how long both observers were answered at the same time, by whomever.
pub(crate) fn dual_time(rig: &Rig, probes: [ArpProbe; 2], begun: Instant) -> Result<Duration> {
    let window = begun..Instant::now();
    let macs = [rig.nodes[0].mac("eth0")?, rig.nodes[1].mac("eth0")?];
    let mut all = Vec::new();
    for probe in probes {
        all.extend(probe.stop().claims.into_iter().filter(|claim| window.contains(&claim.at)));
    }
    let of = |mac| all.iter().filter(move |claim| claim.mac == mac).map(|claim| claim.at);
    // The overlap of the older holder's last answers and the younger one's first.
    let (first, second): (Vec<Instant>, Vec<Instant>) = (of(macs[0]).collect(), of(macs[1]).collect());
    let end = first.iter().max().copied();
    let start = second.iter().min().copied();
    Ok(end.zip(start).map_or(Duration::ZERO, |(end, start)| end.saturating_duration_since(start)))
}

pub(crate) fn heal(cuts: Vec<Cut>) -> Result<()> {
    cuts.into_iter().try_for_each(Cut::heal)
}

pub(crate) fn reason(node: &Mainstay) -> Result<String> {
    Ok(node.vip("front")?["reason"]["kind"].as_str().unwrap_or_default().to_owned())
}

pub(crate) fn lock_state(status: &Value) -> &str {
    status["arbitration"]["lock"]["state"].as_str().unwrap_or("none")
}

pub(crate) fn answers(status: &Value, word: bool) -> bool {
    status["vips"][0]["reference"]["answers"] == word
}

pub(crate) fn wait_for_event(node: &Mainstay, text: &str) -> Result<()> {
    let told = || Ok(node.say(&["events"])?.contains(text));
    node.daemon().wait_until(&format!("an event says {text:?}"), LIMIT, told)
}
