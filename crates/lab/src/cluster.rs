//! A ready-made cluster: nodes with one kind of keeper on a segment, a service on each, and a client's host beside them.

use std::fmt;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::fault::Service;
use crate::peer::{Keepalived, Keeper, Mainstay};
use crate::probe::{Echo, Web};
use crate::{Host, Lab, Node, Segment, wait_until};

/// How long a cluster may take until it stands.
const START: Duration = Duration::from_secs(60);

/// What keeps the vips.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Software {
    /// Keepalived, as it is installed.
    Keepalived,
    /// This binary of ours.
    Mainstay(PathBuf),
}

impl fmt::Display for Software {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Keepalived => "keepalived",
            Self::Mainstay(_) => "mainstay",
        })
    }
}

/// Protocol version and advert interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// VRRP version, 2 or 3.
    pub version: u8,
    /// Advert interval.
    pub advert: Duration,
}

/// What a cluster is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What keeps the vips.
    pub software: Software,
    /// How it speaks.
    pub pace: Pace,
    /// The nodes' names, the first with the highest priority.
    pub nodes: Vec<String>,
    /// Segments; each node has an interface `eth0`, `eth1`, ... in each.
    pub segments: u8,
    /// Vips on each segment, at most 250.
    pub vips: u8,
    /// Whether a probe of the service, every 100 ms, decides about the vips.
    pub probe: bool,
}

/// A running cluster. The client's host is in the first segment.
pub struct Cluster {
    /// The nodes in the plan's order.
    pub nodes: Vec<Node>,
    /// Where clients are.
    pub outside: Host,
    /// Another outside host, for probes that would teach the client's own host something.
    pub watcher: Host,
    /// The segments.
    pub segments: Vec<Segment>,
    /// The lab that all is in.
    pub lab: Lab,
}

/// The node's service: a UDP echo on the first vip, port 7777, and a web server on port 80.
struct Threads {
    host: Host,
    running: Mutex<Option<(Echo, Web)>>,
}

impl Service for Threads {
    fn kill(&self) -> Result<()> {
        drop(self.running.lock().unwrap_or_else(PoisonError::into_inner).take());
        Ok(())
    }

    fn revive(&self) -> Result<()> {
        let echo = Echo::start(&self.host, echo_target())?;
        let web = Web::start(&self.host, ([0, 0, 0, 0], 80).into(), self.host.name())?;
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some((echo, web));
        Ok(())
    }
}

/// Where the echo of the holder is reached.
pub fn echo_target() -> SocketAddr {
    (vip_addr(0, 0), 7777).into()
}

/// Address of vip `number` (from 0) of segment `segment`.
pub fn vip_addr(segment: u8, number: u8) -> [u8; 4] {
    [10, 4, segment, number + 1]
}

/// Address of node `number` (from 0) on segment `segment`. The client's follows after those.
pub fn node_addr(segment: u8, number: usize) -> [u8; 4] {
    [10, 8, segment, u8::try_from(number + 1).unwrap_or(u8::MAX)]
}

fn dotted(addr: [u8; 4]) -> String {
    std::net::Ipv4Addr::from(addr).to_string()
}

impl Cluster {
    /// Builds the network and starts services and keepers, and waits until each keeper has started.
    pub fn start(plan: &Plan) -> Result<Self> {
        let lab = Lab::new(&plan.software.to_string())?;
        let segments: Result<Vec<Segment>> =
            (0..plan.segments).map(|number| lab.segment(&format!("lan{number}"))).collect();
        let segments = segments?;
        let plug = |host: &Host, number: usize, segments: &[Segment]| -> Result<()> {
            for (index, segment) in (0..).zip(segments) {
                // Vips and nodes are neighbours, so that the client has a way to both without a route.
                let addr = format!("{}/8", dotted(node_addr(index, number)));
                host.plug(segment, &format!("eth{index}"), &[&addr])?;
            }
            Ok(())
        };
        let outside = lab.host("client")?;
        plug(&outside, plan.nodes.len(), &segments[..1])?;
        let watcher = lab.host("watcher")?;
        plug(&watcher, plan.nodes.len() + 1, &segments[..1])?;
        let mut nodes = Vec::new();
        for (number, name) in plan.nodes.iter().enumerate() {
            let host = lab.host(name)?;
            plug(&host, number, &segments)?;
            let service = Arc::new(Threads { host: host.clone(), running: Mutex::new(None) });
            service.revive()?;
            let keeper = plan.keeper(&host, number)?;
            nodes.push(Node { host, interface: "eth0".into(), keeper, service: Some(service) });
        }
        for node in &nodes {
            node.keeper.daemon().wait_until("it is ready", START, || node.keeper.ready())?;
        }
        Ok(Self { nodes, outside, watcher, segments, lab })
    }

    /// The node with this name.
    pub fn node(&self, name: &str) -> Result<&Node> {
        let node = self.nodes.iter().find(|node| node.host.name() == name);
        node.with_context(|| format!("no node {name}"))
    }

    /// Waits until the first node has `count` addresses more than its own.
    pub fn wait_until_first_holds(&self, count: usize) -> Result<()> {
        let wanted = self.segments.len() + count;
        let shown = |node: &Node| -> Result<usize> {
            Ok(node.host.addresses()?.iter().filter(|addr| addr.is_ipv4()).count())
        };
        wait_until("the first node holds every vip", START, || Ok(shown(&self.nodes[0])? == wanted))
    }
}

impl Plan {
    /// One segment, one vip.
    pub fn simple(software: &Software, pace: Pace, nodes: &[&str]) -> Self {
        Self {
            software: software.clone(),
            pace,
            nodes: nodes.iter().map(|name| (*name).to_owned()).collect(),
            segments: 1,
            vips: 1,
            probe: false,
        }
    }

    fn keeper(&self, host: &Host, number: usize) -> Result<Arc<dyn Keeper>> {
        Ok(match &self.software {
            Software::Keepalived => {
                Arc::new(Keepalived::start(host, &self.keepalived_config(host, number)?)?)
            }
            Software::Mainstay(binary) => {
                Arc::new(Mainstay::start(host, binary, &self.mainstay_config(number))?)
            }
        })
    }

    /// 150 and 100 for a pair, as the published figures have it; then 50 and downwards.
    fn priority(number: usize) -> usize {
        match number {
            0 => 150,
            1 => 100,
            _ => 52_usize.saturating_sub(number).max(1),
        }
    }

    /// Name, interface, vrid and address of each vip.
    fn vips(&self) -> impl Iterator<Item = (String, u8, u8, String)> {
        (0..self.segments).flat_map(move |segment| {
            (0..self.vips).map(move |number| {
                let name = if (segment, number) == (0, 0) {
                    "front".to_owned()
                } else {
                    format!("v{segment}-{number}")
                };
                (name, segment, number + 1, dotted(vip_addr(segment, number)))
            })
        })
    }

    fn keepalived_config(&self, host: &Host, number: usize) -> Result<String> {
        let (name, version, priority) = (&self.nodes[number], self.pace.version, Self::priority(number));
        let advert = self.pace.advert.as_secs_f64();
        let mut text =
            format!("global_defs {{\n router_id {name}\n vrrp_version {version}\n script_user root\n}}\n");
        if self.probe {
            let script = host.directory().join("check.sh");
            // One connect, as the TCP probe beside it does; bash, because sh can't.
            let check = "#!/bin/bash\nexec 3<>/dev/tcp/127.0.0.1/80\n";
            write_script(&script, check)?;
            let _ = writeln!(
                text,
                "vrrp_script service {{\n script \"{}\"\n interval 0.1\n fall 1\n rise 1\n}}",
                script.display()
            );
        }
        let track = if self.probe { " track_script { service }\n" } else { "" };
        for (vip, segment, vrid, addr) in self.vips() {
            let _ = writeln!(
                text,
                "vrrp_instance {vip} {{\n state BACKUP\n interface eth{segment}\n virtual_router_id {vrid}\n \
                 priority {priority}\n advert_int {advert}\n virtual_ipaddress {{ {addr}/32 }}\n{track}}}"
            );
        }
        Ok(text)
    }

    fn mainstay_config(&self, number: usize) -> String {
        let (name, version, priority) = (&self.nodes[number], self.pace.version, Self::priority(number));
        let advert = self.pace.advert.as_millis();
        let others = self.nodes.iter().enumerate().filter(|(other, _)| *other != number);
        let peers: Vec<String> = others
            .map(|(other, id)| format!("{{ id = {id:?}, addrs = [{:?}] }}", dotted(node_addr(0, other))))
            .collect();
        let peers = peers.join(", ");
        let mut text = format!("[node]\nid = {name:?}\n\n[cluster]\nname = \"lab\"\npeers = [{peers}]\n\n");
        if self.probe {
            text += "[[probe]]\nname = \"service\"\ntcp = \"127.0.0.1:80\"\ninterval = \"100ms\"\n\n";
        }
        let requires = if self.probe { "requires = [\"service\"]\n" } else { "" };
        for (vip, segment, vrid, addr) in self.vips() {
            let _ = writeln!(
                text,
                "[[vip]]\nname = {vip:?}\naddrs = [{addr:?}]\ninterface = \"eth{segment}\"\nvrid = {vrid}\n\
                 version = {version}\npriority = {priority}\nadvert = \"{advert}ms\"\n{requires}"
            );
        }
        text
    }
}

/// Writes a file that may be executed.
fn write_script(path: &std::path::Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}
