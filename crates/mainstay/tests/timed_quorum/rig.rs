//! Nodes `n1` and `n2` at 10.0.4.1 and .2, the witness `w` at .9, a second wire 10.1.4.0/24, a client and a watcher.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use mainstay_lab::peer::Mainstay;
use mainstay_lab::probe::{ArpProbe, Echo, UdpClient};
use mainstay_lab::{Host, Lab, Port, Segment};
use rustix::process::{Pid, Signal};

/// Longer than anything here takes on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A client is content after so long without a change.
pub(crate) const CALM: Duration = Duration::from_millis(300);

/// The address that moves.
pub(crate) const VIP: &str = "10.0.4.99";

/// Where its service is reached.
pub(crate) const SERVICE: &str = "10.0.4.99:7777";

/// The network.
pub(crate) struct Rig {
    pub(crate) nodes: [Host; 2],
    pub(crate) witness: Host,
    pub(crate) client: Host,
    watcher: Host,
    pub(crate) wires: [Segment; 2],
    _echoes: Vec<Echo>,
    lab: Lab,
}

impl Rig {
    pub(crate) fn new() -> Result<Self> {
        let lab = Lab::new("quorum")?;
        let wires = [lab.segment("lan")?, lab.segment("second")?];
        let plugged = |name: &str, number: u8, both: bool| -> Result<Host> {
            let host = lab.host(name)?;
            host.plug(&wires[0], "eth0", &[&format!("10.0.4.{number}/24")])?;
            if both {
                host.plug(&wires[1], "eth1", &[&format!("10.1.4.{number}/24")])?;
            }
            write_key(&host)?;
            Ok(host)
        };
        let nodes = [plugged("n1", 1, true)?, plugged("n2", 2, true)?];
        let (witness, client) = (plugged("w", 9, true)?, plugged("client", 200, false)?);
        let watcher = plugged("watcher", 201, false)?;
        let echoes: Result<Vec<Echo>> =
            nodes.iter().map(|host| Echo::start(host, SERVICE.parse()?)).collect();
        Ok(Self { nodes, witness, client, watcher, wires, _echoes: echoes?, lab })
    }

    /// A third node at .3, of those that the file of [`Self::config_of`] may name.
    pub(crate) fn third(&self) -> Result<Host> {
        let host = self.stranger("n3", 3)?;
        write_key(&host)?;
        Ok(host)
    }

    /// The whole file of a node, with these nodes in `[cluster] peers`.
    pub(crate) fn config_of(host: &Host, term: &str, ids: &[&str], priority: u8) -> String {
        cluster_of(host, term, ids) + &vip(priority, "preempt = false")
    }

    /// Starts node 1 or 2 with further lines for its vip.
    pub(crate) fn start(&self, n: usize, term: &str, priority: u8, more: &str) -> Result<Mainstay> {
        let host = &self.nodes[n - 1];
        Mainstay::start(host, &binary(), &(cluster(host, term) + &vip(priority, more)))
    }

    pub(crate) fn start_witness(&self, term: &str) -> Result<Mainstay> {
        Mainstay::start(&self.witness, &binary(), &cluster(&self.witness, term))
    }

    /// All three, `n1` active.
    pub(crate) fn up(&self, term: &str, more: &str) -> Result<[Mainstay; 3]> {
        self.up_with(term, [more, more])
    }

    /// The same with further lines for each.
    pub(crate) fn up_with(&self, term: &str, more: [&str; 2]) -> Result<[Mainstay; 3]> {
        let witness = self.start_witness(term)?;
        let first = self.start(1, term, 150, more[0])?;
        first.wait_for_state("front", "active", LIMIT)?;
        let second = self.start(2, term, 100, more[1])?;
        second.wait_for_state("front", "backup", LIMIT)?;
        // Everybody has met everybody: the second counts three votes.
        let answering = |status: &serde_json::Value| status["cluster"]["answering"] == 3;
        first.wait_until("three voters answer", LIMIT, answering)?;
        second.wait_until("three voters answer", LIMIT, answering)?;
        Ok([first, second, witness])
    }

    /// Another host on both wires.
    pub(crate) fn stranger(&self, name: &str, number: u8) -> Result<Host> {
        let host = self.lab.host(name)?;
        for (wire, (segment, interface)) in self.wires.iter().zip(["eth0", "eth1"]).enumerate() {
            host.plug(segment, interface, &[&format!("10.{wire}.4.{number}/24")])?;
        }
        Ok(host)
    }

    /// A client of the service, a request each millisecond, content with `n1`.
    pub(crate) fn ask(&self) -> Result<UdpClient> {
        let client = UdpClient::start(&self.client, SERVICE.parse()?, Duration::from_millis(1))?;
        client.wait_for_steady("n1", CALM, LIMIT)?;
        Ok(client)
    }

    /// The same, whoever answers.
    pub(crate) fn ask_whoever(&self) -> Result<UdpClient> {
        let client = UdpClient::start(&self.client, SERVICE.parse()?, Duration::from_millis(1))?;
        client.wait_for_steady("n1", CALM, LIMIT).or_else(|_| client.wait_for_steady("n2", CALM, LIMIT))?;
        Ok(client)
    }

    /// Asks every millisecond who has the address.
    pub(crate) fn watch(&self) -> Result<ArpProbe> {
        ArpProbe::start(&self.watcher, "eth0", VIP.parse()?, Duration::from_millis(1))
    }

    /// Where node `n` is plugged into a wire.
    pub(crate) fn port(&self, n: usize, wire: usize) -> Result<Port> {
        self.nodes[n - 1].port(["eth0", "eth1"][wire])
    }
}

/// Since `begun` no two hosts answered for the address at the same time.
pub(crate) fn never_two(watch: ArpProbe, begun: Instant) -> Result<()> {
    let answers = watch.stop();
    let dual = answers.dual(&(begun..Instant::now()));
    anyhow::ensure!(dual.is_empty(), "two hosts answered: {dual:?}");
    Ok(())
}

/// kill -9 of one process.
pub(crate) fn kill(pid: Pid) -> Result<()> {
    Ok(rustix::process::kill_process(pid, Signal::KILL)?)
}

/// The program under test.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("MAINSTAY_BIN").map_or_else(|| env!("CARGO_BIN_EXE_mainstay").into(), PathBuf::from)
}

/// The cluster key where a host's configuration looks for it.
pub(crate) fn write_key(host: &Host) -> Result<()> {
    let key = host.directory().join("cluster.key");
    fs::write(&key, "a key that is long enough for a test")?;
    Ok(fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?)
}

/// A vip of guard quorum.
pub(crate) fn vip(priority: u8, more: &str) -> String {
    format!(
        "[[vip]]\nname = \"front\"\naddrs = [\"{VIP}\"]\ninterface = \"eth0\"\npriority = {priority}\nguard = \
         \"quorum\"\n{more}\n"
    )
}

/// The head of a host's configuration.
pub(crate) fn cluster(host: &Host, term: &str) -> String {
    cluster_of(host, term, &["n1", "n2", "w"])
}

/// The same with these peers.
pub(crate) fn cluster_of(host: &Host, term: &str, ids: &[&str]) -> String {
    let peer = |id: &str, n: u8, more: &str| {
        format!("{{ id = \"{id}\", addrs = [\"10.0.4.{n}\", \"10.1.4.{n}\"]{more} }}")
    };
    let all = [
        ("n1", peer("n1", 1, "")),
        ("n2", peer("n2", 2, "")),
        ("n3", peer("n3", 3, "")),
        ("w", peer("w", 9, ", witness = true")),
    ];
    let named = all.into_iter().filter(|(id, _)| ids.contains(id));
    let peers = named.map(|(_, peer)| peer).collect::<Vec<_>>().join(", ");
    format!(
        "[node]\nid = \"{}\"\nscript_user = \"root\"\n\n[cluster]\nname = \"lab\"\nkey = {{ file = \"{}\" }}\nterm = \
         \"{term}\"\npeers = [{peers}]\n\n",
        host.name(),
        host.directory().join("cluster.key").display(),
    )
}

impl Rig {
    /// The head of the configuration of node 1 or 2 in a cluster whose third voter is the etcd at .9.
    pub(crate) fn cluster_with_etcd(&self, n: usize) -> String {
        let head = cluster_of(&self.nodes[n - 1], "5s", &["n1", "n2"]);
        head.replace("}]\n", "}, { id = \"etcd\", etcd = [\"http://10.0.4.9:2379\"] }]\n")
    }
}
