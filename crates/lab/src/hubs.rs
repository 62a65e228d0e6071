//! Hubs and the agents that dial them: nodes with one tunnel, hosts with an agent and its target each, and visitors beside them.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde_json::Value;

use crate::peer::{Keeper as _, Mainstay};
use crate::probe::Mirror;
use crate::{Daemon, Host, Lab, Segment, wait_until};

/// Longer than anything takes that is to happen.
pub const LIMIT: Duration = Duration::from_secs(30);

/// The host that leads to the tunnel.
pub const HOST: &str = "app.example.com";

/// The tunnel.
pub const TUNNEL: &str = "office";

/// The secret of those who may offer it, of thirty-two zero bytes, and its public half.
pub const KEY: &str = "mst1_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// See [`KEY`].
pub const PUBLIC: &str = "ed25519:O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik=";

/// The address that moves among hubs which hold one.
const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 4, 99);

/// Where each site's target is.
pub const TARGET: &str = "127.0.0.1:8000";

/// What there is to be.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Hubs.
    pub hubs: u8,
    /// Agents, each on a host of its own.
    pub agents: u8,
    /// Edge processes of each hub, and threads of each.
    pub places: (u8, u8),
    /// Whether the hubs share an address under a lease.
    pub vip: bool,
    /// Whether each node's program is a file of its own, so that it can be upgraded.
    pub upgrades: bool,
    /// Lines for `[[tunnel]]`.
    pub tunnel: String,
    /// Lines for `[[agent.offer]]`.
    pub offer: String,
    /// The program that answers at [`TARGET`] of each site, with its arguments. A mirror when there is none.
    pub target: Option<(PathBuf, Vec<String>)>,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            hubs: 3,
            agents: 2,
            places: (1, 2),
            vip: false,
            upgrades: false,
            tunnel: String::new(),
            offer: String::new(),
            target: None,
        }
    }
}

/// A host with an agent and its target.
#[derive(Debug)]
pub struct Site {
    /// The host.
    pub host: Host,
    /// The node with the agent.
    pub node: Mainstay,
    target: Target,
}

#[derive(Debug)]
enum Target {
    Mirror(Option<Mirror>),
    Program(Daemon),
}

/// All of it.
#[derive(Debug)]
pub struct Hubs {
    /// The nodes that take agents in.
    pub hubs: Vec<(Host, Mainstay)>,
    /// The agents.
    pub sites: Vec<Site>,
    /// Where visitors are.
    pub client: Host,
    shape: Shape,
    lab: Lab,
    lan: Segment,
}

impl Hubs {
    /// Starts all and waits until everybody has met everybody.
    pub fn start(binary: &Path, shape: Shape) -> Result<Self> {
        let lab = Lab::new("hubs")?;
        let lan = lab.segment("lan")?;
        let client = lab.host("client")?;
        client.plug(&lan, "eth0", &["10.0.4.200/24"])?;
        let mut this = Self { hubs: Vec::new(), sites: Vec::new(), client, shape, lab, lan };
        for number in 0..this.shape.hubs {
            let host = this.plugged(&format!("hub{}", number + 1), Self::hub_addr(number.into()))?;
            let program = this.installed(&host, binary)?;
            let node = Mainstay::start(&host, &program, &this.hub_config(&host, number))?;
            this.hubs.push((host, node));
        }
        for number in 0..this.shape.agents {
            let name = format!("site{}", number + 1);
            let host = this.plugged(&name, Ipv4Addr::new(10, 0, 4, 41 + number))?;
            let target = this.target(&host)?;
            let program = this.installed(&host, binary)?;
            let node = Mainstay::start(&host, &program, &this.agent_config(&name))?;
            this.sites.push(Site { host, node, target });
        }
        this.settle()?;
        Ok(this)
    }

    fn plugged(&self, name: &str, addr: Ipv4Addr) -> Result<Host> {
        let host = self.lab.host(name)?;
        host.plug(&self.lan, "eth0", &[&format!("{addr}/24")])?;
        Ok(host)
    }

    /// The program that a host runs, and the cluster's key in its place.
    fn installed(&self, host: &Host, binary: &Path) -> Result<PathBuf> {
        let key = host.directory().join("cluster.key");
        fs::write(&key, "a key that is long enough for a lab")?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        if !self.shape.upgrades {
            return Ok(binary.to_owned());
        }
        let program = host.directory().join("mainstay");
        copied(host, binary, &program)?;
        Ok(program)
    }

    fn target(&self, host: &Host) -> Result<Target> {
        let Some((program, arguments)) = &self.shape.target else {
            return Ok(Target::Mirror(Some(Mirror::start(host, TARGET.parse()?, host.name())?)));
        };
        let daemon = Daemon::new(host, "target", program).args(arguments.iter());
        daemon.start()?;
        Ok(Target::Program(daemon))
    }

    /// A hub's own address.
    #[must_use]
    pub fn hub_addr(index: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 4, 21 + u8::try_from(index).unwrap_or(0))
    }

    /// Where visitors reach a hub.
    #[must_use]
    pub fn web(index: usize) -> SocketAddr {
        SocketAddrV4::new(Self::hub_addr(index), 80).into()
    }

    /// Where agents reach a hub.
    #[must_use]
    pub fn door(index: usize) -> SocketAddr {
        SocketAddrV4::new(Self::hub_addr(index), 7000).into()
    }

    /// Where visitors reach all hubs, each of them when they share no address.
    #[must_use]
    pub fn front(&self) -> Vec<SocketAddr> {
        if self.shape.vip {
            return vec![SocketAddrV4::new(VIP, 80).into()];
        }
        (0..self.hubs.len()).map(Self::web).collect()
    }

    fn hub_config(&self, host: &Host, number: u8) -> String {
        let (processes, threads) = self.shape.places;
        let doors: Vec<String> = (0..usize::from(self.shape.hubs))
            .map(|index| format!("\"tcp://{}\"", Self::door(index)))
            .collect();
        let mut text = format!(
            "[node]\nid = \"{}\"\nscript_user = \"root\"\n\n[edge]\ninstances = {processes}\nthreads = {threads}\ndrain = \"5s\"\n\n\
             [hub]\naddrs = [{}]\n\n[[listener]]\nname = \"web\"\nbind = \":80\"\n\n\
             [[listener]]\nname = \"agents\"\nbind = \":7000\"\nprotocol = \"hub\"\n\n\
             [[tunnel]]\nid = \"{TUNNEL}\"\nagents = [\"{PUBLIC}\"]\nhosts = [\"{HOST}\"]\n{}\n",
            host.name(),
            doors.join(", "),
            self.shape.tunnel,
        );
        if self.shape.vip {
            text += &self.vip_config(host, number);
        }
        text
    }

    fn vip_config(&self, host: &Host, number: u8) -> String {
        let key = host.directory().join("cluster.key");
        let peers = (0..usize::from(self.shape.hubs))
            .map(|index| format!("{{ id = \"hub{}\", addrs = [\"{}\"] }}", index + 1, Self::hub_addr(index)));
        let peers: Vec<String> = peers.collect();
        let mut text = String::new();
        let _ = write!(
            text,
            "\n[cluster]\nname = \"hubs\"\nkey = {{ file = \"{}\" }}\nterm = \"1500ms\"\npeers = [{}]\n\n[[vip]]\nname = \
             \"front\"\naddrs = [\"{VIP}\"]\ninterface = \"eth0\"\npriority = {}\nguard = \"quorum\"\npreempt = false\n",
            key.display(),
            peers.join(", "),
            150 - 10 * number,
        );
        text
    }

    fn agent_config(&self, name: &str) -> String {
        format!(
            "[node]\nid = \"{name}\"\nscript_user = \"root\"\n\n[[agent]]\nhubs = [\"tcp://{}\"]\nkey = \"{KEY}\"\n\n\
             [[agent.offer]]\ntunnel = \"{TUNNEL}\"\nto = [\"{TARGET}\"]\n{}\n",
            Self::door(0),
            self.shape.offer,
        )
    }

    /// Waits until each agent has a session to each place of each hub, and the shared address is held.
    pub fn settle(&self) -> Result<()> {
        for site in &self.sites {
            site.node.wait_until("it has met every hub", LIMIT, |status| self.has_met(status))?;
        }
        for (index, (_, hub)) in self.hubs.iter().enumerate() {
            hub.daemon().wait_until("all agents are there", LIMIT, || self.is_whole(index))?;
        }
        if self.shape.vip {
            for (_, hub) in &self.hubs {
                hub.wait_until("the nodes have met", LIMIT, |status| {
                    let state = &status["vips"][0]["state"];
                    status["cluster"]["answering"] == self.shape.hubs
                        && (state == "active" || state == "backup")
                })?;
            }
            wait_until("somebody holds the address", LIMIT, || Ok(self.holder().is_some()))?;
        }
        Ok(())
    }

    /// Whether an agent's status shows a session to each place of each hub.
    #[must_use]
    pub fn has_met(&self, status: &Value) -> bool {
        let places = u64::from(self.shape.places.0) * u64::from(self.shape.places.1);
        let hubs = status["agents"][0]["hubs"].as_array().cloned().unwrap_or_default();
        let whole = |hub: &&Value| hub["places"] == places && hub["sessions"] == places;
        hubs.iter().filter(whole).count() == usize::from(self.shape.hubs)
    }

    /// The hub that holds the shared address by its own account.
    #[must_use]
    pub fn holder(&self) -> Option<usize> {
        let holds = |(_, hub): &(Host, Mainstay)| hub.vip("front").is_ok_and(|vip| vip["state"] == "active");
        self.hubs.iter().position(holds)
    }

    /// Whether a hub has agents at all of its places, as it says.
    pub fn is_whole(&self, hub: usize) -> Result<bool> {
        let status = self.hubs[hub].1.status_json()?;
        let tunnel = &status["tunnels"][0];
        let agents = tunnel["agents"].as_array().cloned().unwrap_or_default();
        let met = |agent: &&Value| {
            agent["places"].as_array().map(|all| all.len() as u64) == tunnel["places"].as_u64()
        };
        let whole = |agent: &&Value| met(agent) && agent["leaving"] == 0 && agent["trouble"].is_null();
        Ok(agents.len() == self.sites.len() && agents.iter().all(|agent| whole(&agent)))
    }

    /// Waits until a hub takes connections of agents again, asking every few milliseconds; when that was.
    pub fn wait_open(&self, hub: usize) -> Result<Instant> {
        let at = Self::door(hub);
        self.client.run(|| {
            let by = Instant::now() + LIMIT;
            loop {
                if std::net::TcpStream::connect_timeout(&at, Duration::from_millis(100)).is_ok() {
                    return Ok(Instant::now());
                }
                anyhow::ensure!(Instant::now() < by, "hub {} takes no connections", hub + 1);
                std::thread::sleep(Duration::from_millis(2));
            }
        })?
    }

    /// Asks for another program with the same content to take over, and waits until it has.
    pub fn upgrade(host: &Host, node: &Mainstay) -> Result<String> {
        renewed(host)?;
        node.say(&["upgrade"])
    }

    /// Places of each hub.
    #[must_use]
    pub fn threads(&self) -> u8 {
        self.shape.places.0 * self.shape.places.1
    }

    /// How many agents of a hub have no target that answers, as it knows.
    pub fn troubled(&self, hub: usize) -> Result<usize> {
        let status = self.hubs[hub].1.status_json()?;
        let agents = status["tunnels"][0]["agents"].as_array().cloned().unwrap_or_default();
        Ok(agents.iter().filter(|agent| !agent["trouble"].is_null()).count())
    }

    /// Stops a node in order, waits for its end and starts it again.
    pub fn restart(node: &Mainstay) -> Result<()> {
        node.daemon().signal(Signal::TERM)?;
        node.daemon().wait_ended(LIMIT)?;
        node.daemon().start()
    }
}

impl Site {
    /// Its target dies with all that it serves.
    pub fn kill_target(&mut self) -> Result<()> {
        match &mut self.target {
            Target::Mirror(mirror) => {
                mirror.take();
                Ok(())
            }
            Target::Program(daemon) => daemon.kill_all(),
        }
    }

    /// And comes back.
    pub fn start_target(&mut self) -> Result<()> {
        match &mut self.target {
            Target::Mirror(mirror) => {
                *mirror = Some(Mirror::start(&self.host, TARGET.parse()?, self.host.name())?);
                Ok(())
            }
            Target::Program(daemon) => daemon.start(),
        }
    }
}

/// Puts a copy of the program in its place, as a package manager does.
fn renewed(host: &Host) -> Result<()> {
    let program = host.directory().join("mainstay");
    let fresh = program.with_extension("new");
    copied(host, &program, &fresh)?;
    fs::rename(&fresh, &program).context("put the new program in place")
}

/// Copies by a process of its own: a file that another thread's child still has open for writing cannot be executed.
fn copied(host: &Host, from: &Path, to: &Path) -> Result<()> {
    let text = |path: &Path| path.display().to_string();
    host.output("cp", &[&text(&fs::canonicalize(from)?), &text(to)]).map(drop)
}
