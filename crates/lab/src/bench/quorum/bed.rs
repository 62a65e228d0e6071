//! The cluster under test and its observer: nodes on two wires, a witness perhaps, a client and a watcher outside.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::cluster::Software;
use crate::peer::{Keepalived, Keeper, Mainstay};
use crate::probe::{ArpProbe, Echo, UdpClient};
use crate::{Cut, Damage, Fault, Host, Lab, Node, Port, Segment, Way, partition, wait_until};

/// Longer than anything takes that is to happen.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A client is content after so long without a change.
pub(crate) const CALM: Duration = Duration::from_millis(200);

/// The observer's pause between two requests, and between two questions.
pub(crate) const EVERY: Duration = Duration::from_millis(1);

const VIP: &str = "10.0.4.99";
const SERVICE: &str = "10.0.4.99:7777";
const WIRES: [&str; 2] = ["eth0", "eth1"];

/// What a cluster is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Nodes that may hold the address, the first with the highest priority.
    pub(crate) nodes: u8,
    /// Whether a witness votes too.
    pub(crate) witness: bool,
    /// Whether the first takes the address back when it can.
    pub(crate) preempt: bool,
    /// Lease term; keepalived's adverts are a third of it, so that both miss a dead node after about the same time.
    pub(crate) term: Duration,
}

/// A voter, and perhaps a candidate.
pub(crate) struct Member {
    pub(crate) host: Host,
    pub(crate) keeper: Arc<dyn Keeper>,
    /// The same when it is ours.
    ours: Option<Arc<Mainstay>>,
}

/// All of it.
pub(crate) struct Bed {
    /// Candidates first, then the witness.
    pub(crate) members: Vec<Member>,
    pub(crate) shape: Shape,
    client: Host,
    watcher: Host,
    wires: [Segment; 2],
    binary: Option<PathBuf>,
    strangers: std::cell::Cell<u8>,
    _echoes: Vec<Echo>,
    lab: Lab,
}

/// What was done to a bed, to be undone.
#[derive(Default)]
#[must_use = "a wound stays until it is healed"]
pub(crate) struct Wound {
    pub(crate) damages: Vec<Damage>,
    pub(crate) cuts: Vec<Cut>,
    pub(crate) stopped: Vec<rustix::process::Pid>,
    pub(crate) carrier: Vec<Port>,
    pub(crate) flags: Vec<PathBuf>,
    /// Node that hands the address back when it is healed.
    pub(crate) moved_to: Option<usize>,
    pub(crate) stranger: Option<(Host, Mainstay)>,
}

impl Bed {
    /// Builds it and waits until the first node holds the address and all have met.
    pub(crate) fn start(software: &Software, shape: Shape) -> Result<Self> {
        let lab = Lab::new("quorum")?;
        let wires = [lab.segment("lan")?, lab.segment("second")?];
        let client = lab.host("client")?;
        client.plug(&wires[0], WIRES[0], &["10.0.4.200/24"])?;
        let watcher = lab.host("watcher")?;
        watcher.plug(&wires[0], WIRES[0], &["10.0.4.201/24"])?;
        let binary = match software {
            Software::Keepalived => None,
            Software::Mainstay(binary) => Some(binary.clone()),
        };
        let strangers = std::cell::Cell::new(0);
        let (members, echoes) = (Vec::new(), Vec::new());
        let mut bed =
            Self { members, shape, client, watcher, wires, binary, strangers, _echoes: echoes, lab };
        for number in 1..=shape.nodes {
            let host = bed.plugged(&format!("n{number}"), number)?;
            fs::write(well(&host), "")?;
            bed._echoes.push(Echo::start(&host, SERVICE.parse()?)?);
            bed.add(host, number)?;
        }
        if shape.witness && bed.binary.is_some() {
            let host = bed.plugged("w", 9)?;
            bed.add(host, 9)?;
        }
        bed.settle()?;
        Ok(bed)
    }

    /// A host on both wires that can join the cluster.
    fn plugged(&self, name: &str, number: u8) -> Result<Host> {
        let host = self.lab.host(name)?;
        for (wire, (segment, interface)) in self.wires.iter().zip(WIRES).enumerate() {
            host.plug(segment, interface, &[&format!("10.{wire}.4.{number}/24")])?;
        }
        let key = host.directory().join("cluster.key");
        fs::write(&key, "a key that is long enough for a bench")?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        Ok(host)
    }

    fn add(&mut self, host: Host, number: u8) -> Result<()> {
        let member = match &self.binary {
            Some(binary) => {
                let ours =
                    Arc::new(Mainstay::start(&host, binary, &self.config(&host, host.name(), number))?);
                Member { host, keeper: Arc::<Mainstay>::clone(&ours), ours: Some(ours) }
            }
            None => {
                let keeper = Arc::new(Keepalived::start(&host, &self.keepalived_config(number))?);
                Member { host, keeper, ours: None }
            }
        };
        self.members.push(member);
        Ok(())
    }

    fn config(&self, host: &Host, id: &str, number: u8) -> String {
        let peer = |id: &str, number: u8, more: &str| {
            format!("{{ id = \"{id}\", addrs = [\"10.0.4.{number}\", \"10.1.4.{number}\"]{more} }}")
        };
        let mut peers: Vec<String> =
            (1..=self.shape.nodes).map(|number| peer(&format!("n{number}"), number, "")).collect();
        if self.shape.witness {
            peers.push(peer("w", 9, ", witness = true"));
        }
        let mut text = format!(
            "[node]\nid = \"{id}\"\nscript_user = \"root\"\n\n[cluster]\nname = \"bench\"\nkey = {{ file = \"{}\" }}\n\
             term = \"{}ms\"\npeers = [{}]\n\n",
            host.directory().join("cluster.key").display(),
            self.shape.term.as_millis(),
            peers.join(", "),
        );
        if id != "w" {
            text += &format!(
                "[[vip]]\nname = \"front\"\naddrs = [\"{VIP}\"]\ninterface = \"eth0\"\npriority = {}\nguard = \
                 \"quorum\"\npreempt = {}\nrequires = [\"well\"]\n\n[[probe]]\nname = \"well\"\nfile = \
                 \"{}\"\ninterval = \"50ms\"\nfall = 1\nrise = 1\n",
                priority(number),
                self.shape.preempt,
                well(host).display(),
            );
        }
        text
    }

    fn keepalived_config(&self, number: u8) -> String {
        let advert = self.shape.term.as_secs_f64() / 3.0;
        format!(
            "global_defs {{\n router_id n{number}\n vrrp_version 3\n script_user root\n}}\nvrrp_instance front {{\n \
             state BACKUP\n interface eth0\n virtual_router_id 1\n priority {}\n advert_int {advert:.2}\n \
             virtual_ipaddress {{ {VIP}/32 }}\n}}\n",
            priority(number)
        )
    }

    /// The node with this number from 0, as faults want it.
    pub(crate) fn node(&self, index: usize) -> Node {
        let member = &self.members[index];
        Node {
            host: member.host.clone(),
            interface: WIRES[0].into(),
            keeper: Arc::clone(&member.keeper),
            service: None,
        }
    }

    /// Our program on a member.
    pub(crate) fn ours(&self, index: usize) -> Result<&Mainstay> {
        self.members[index].ours.as_deref().context("only Mainstay has such a command")
    }

    /// Our program's file, for a member's health.
    pub(crate) fn well(&self, index: usize) -> PathBuf {
        well(&self.members[index].host)
    }

    /// Where a member is plugged into a wire.
    pub(crate) fn port(&self, index: usize, wire: usize) -> Result<Port> {
        self.members[index].host.port(WIRES[wire])
    }

    /// Cuts these members off from those on both wires; the observer still sees all.
    pub(crate) fn part(&self, these: &[usize], those: &[usize]) -> Result<Vec<Cut>> {
        let ports = |members: &[usize], wire: usize| -> Result<Vec<Port>> {
            members.iter().map(|index| self.port(*index, wire)).collect()
        };
        (0..WIRES.len()).map(|wire| partition(&ports(these, wire)?, &ports(those, wire)?)).collect()
    }

    /// Cuts a member off from everybody, the observer too.
    pub(crate) fn isolate(&self, index: usize, way: Way) -> Result<Vec<Cut>> {
        (0..WIRES.len()).map(|wire| self.port(index, wire)?.isolate(way)).collect()
    }

    /// Stops only what the nodes say to each other; clients still reach the member.
    pub(crate) fn mute(&self, index: usize, way: Way) -> Result<Vec<Cut>> {
        let speech = |wire: usize| {
            let port = self.port(index, wire)?;
            if self.binary.is_some() { port.cut_matching("udp dport 5112", way) } else { port.cut_vrrp(way) }
        };
        (0..WIRES.len()).map(speech).collect()
    }

    /// A fault of one member.
    pub(crate) fn strike(&self, index: usize, fault: &Fault) -> Result<Wound> {
        Ok(Wound { damages: vec![fault.strike(&self.node(index))?], ..Wound::default() })
    }

    /// A stranger that says that it is the first node.
    pub(crate) fn double(&self) -> Result<(Host, Mainstay)> {
        let number = self.strangers.get();
        self.strangers.set(number + 1);
        let host = self.plugged(&format!("double{number}"), 100 + number)?;
        fs::write(well(&host), "")?;
        let Some(binary) = &self.binary else { bail!("keepalived has no node ids") };
        let node = Mainstay::start(&host, binary, &self.config(&host, "n1", 1))?;
        Ok((host, node))
    }

    /// A client of the service, a request each millisecond.
    pub(crate) fn ask(&self) -> Result<UdpClient> {
        let client = UdpClient::start(&self.client, SERVICE.parse()?, EVERY)?;
        client.wait_for_steady("n1", CALM, LIMIT)?;
        Ok(client)
    }

    /// Asks every millisecond who has the address.
    pub(crate) fn watch(&self) -> Result<ArpProbe> {
        ArpProbe::start(&self.watcher, WIRES[0], VIP.parse()?, EVERY)
    }

    /// Waits until the first node holds the address, the others wait for it, and everybody hears everybody.
    pub(crate) fn settle(&self) -> Result<()> {
        for (index, member) in self.members.iter().enumerate() {
            let Some(ours) = &member.ours else {
                member.keeper.daemon().wait_until("it is ready", LIMIT, || member.keeper.ready())?;
                continue;
            };
            let votes = self.members.len();
            let state = if index == 0 || !self.shape.preempt { "active" } else { "backup" };
            ours.wait_until("all are met and the first holds the address", LIMIT, |status| {
                let met = status["cluster"]["answering"] == votes;
                let vip = &status["vips"][0]["state"];
                let placed = vip.is_null() || vip == state || (!self.shape.preempt && vip == "backup");
                met && placed
            })?;
        }
        Ok(())
    }

    /// Waits until everybody hears everybody, whoever holds the address.
    pub(crate) fn meet(&self) -> Result<()> {
        let votes = self.members.len();
        for ours in self.members.iter().filter_map(|member| member.ours.as_ref()) {
            ours.wait_until("all are met", LIMIT, |status| {
                let vip = &status["vips"][0]["state"];
                status["cluster"]["answering"] == votes
                    && (vip.is_null() || vip == "active" || vip == "backup")
            })?;
        }
        Ok(())
    }

    /// Who holds the address by its own account.
    pub(crate) fn holder(&self) -> Option<usize> {
        (0..usize::from(self.shape.nodes)).find(|index| {
            let ours = self.members[*index].ours.as_ref();
            ours.and_then(|ours| ours.vip("front").ok()).is_some_and(|vip| vip["state"] == "active")
        })
    }

    /// Undoes what was done.
    pub(crate) fn heal(&self, wound: Wound) -> Result<()> {
        let Wound { damages, cuts, stopped, carrier, flags, moved_to, stranger } = wound;
        for pid in stopped {
            // Its supervisor may have killed it meanwhile.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::CONT);
        }
        cuts.into_iter().try_for_each(Cut::heal)?;
        carrier.iter().try_for_each(|port| port.set_carrier(true))?;
        flags.iter().try_for_each(|flag| fs::write(flag, ""))?;
        damages.into_iter().try_for_each(Damage::heal)?;
        if let Some(index) = moved_to {
            self.ours(index)?.say(&["vip", "move", "front"])?;
        }
        if let Some((_, double)) = stranger {
            wait_until("the second of one id has ended", LIMIT, || Ok(!double.daemon().running()))?;
        }
        Ok(())
    }
}

fn well(host: &Host) -> PathBuf {
    host.directory().join("well")
}

/// 150, 100, 50.
const fn priority(number: u8) -> u8 {
    match number {
        1 => 150,
        2 => 100,
        _ => 50,
    }
}
