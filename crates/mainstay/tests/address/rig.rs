//! A segment with nodes `n1`, `n2`, ... at 10.0.4.1 and upwards, a client and a watcher: what most claims need.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mainstay_lab::peer::{Keeper, Mainstay};
use mainstay_lab::probe::{AdvertWatch, Echo, UdpClient};
use mainstay_lab::{Host, Lab, Segment, wait_until};
use mainstay_sys::netlink::{Change, Monitor};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal};

/// Longer than anything here takes on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A client is content after so long without a change.
pub(crate) const CALM: Duration = Duration::from_millis(300);

/// The address that moves.
pub(crate) const VIP: &str = "10.0.4.99";

/// Where its service is reached.
pub(crate) const SERVICE: &str = "10.0.4.99:7777";

/// A network without mainstay.
pub(crate) struct Rig {
    pub(crate) nodes: Vec<Host>,
    pub(crate) client: Host,
    pub(crate) watcher: Host,
    pub(crate) lan: Segment,
    pub(crate) lab: Lab,
    echoes: Vec<Echo>,
}

impl Rig {
    /// So many nodes, each with the echo service on the vip.
    pub(crate) fn new(nodes: u8) -> Result<Self> {
        let lab = Lab::new("address")?;
        let lan = lab.segment("lan")?;
        let plugged = |name: &str, number: u8| -> Result<Host> {
            let host = lab.host(name)?;
            host.plug(&lan, "eth0", &[&format!("10.0.4.{number}/24"), &format!("fd00:4::{number:x}/64")])?;
            Ok(host)
        };
        let hosts: Result<Vec<Host>> = (1..=nodes).map(|n| plugged(&format!("n{n}"), n)).collect();
        let (client, watcher) = (plugged("client", 200)?, plugged("watcher", 201)?);
        let mut rig = Self { nodes: hosts?, client, watcher, lan, lab, echoes: Vec::new() };
        rig.serve(SERVICE)?;
        Ok(rig)
    }

    /// Starts the echo service on another address, on every node.
    pub(crate) fn serve(&mut self, target: &str) -> Result<()> {
        for host in &self.nodes {
            self.echoes.push(Echo::start(host, target.parse()?)?);
        }
        Ok(())
    }

    /// Starts mainstay on node `n` (from 1).
    pub(crate) fn start(&self, n: usize, config: &str) -> Result<Mainstay> {
        Mainstay::start(self.host(n), &binary(), config)
    }

    /// The same with a gate of one kind.
    pub(crate) fn start_gated(&self, n: usize, gate: &str, config: &str) -> Result<Mainstay> {
        let path = self.host(n).directory().join("gated");
        let text = format!("#!/bin/sh\nMAINSTAY_GATE={gate} exec {} \"$@\"\n", binary().display());
        write_script(&path, &text)?;
        Mainstay::start(self.host(n), &path, config)
    }

    /// Node `n` (from 1).
    pub(crate) fn host(&self, n: usize) -> &Host {
        &self.nodes[n - 1]
    }

    /// A client of the service, one request every `interval`.
    pub(crate) fn ask(&self, target: &str, interval: Duration) -> Result<UdpClient> {
        UdpClient::start(&self.client, target.parse::<SocketAddr>()?, interval)
    }

    /// Listens to every advert of the segment.
    pub(crate) fn adverts(&self) -> Result<AdvertWatch> {
        AdvertWatch::start(&self.lab, &self.lan)
    }
}

/// The program under test.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("MAINSTAY_BIN").map_or_else(|| env!("CARGO_BIN_EXE_mainstay").into(), PathBuf::from)
}

/// The head of a configuration: node `n` of a cluster of `nodes`.
pub(crate) fn cluster(n: usize, nodes: usize) -> String {
    let others = (1..=nodes).filter(|other| *other != n);
    let peers: Vec<String> =
        others.map(|o| format!("{{ id = \"n{o}\", addrs = [\"10.0.4.{o}\"] }}")).collect();
    format!(
        "[node]\nid = \"n{n}\"\nscript_user = \"root\"\n\n[cluster]\nname = \"lab\"\npeers = [{}]\n\n",
        peers.join(", ")
    )
}

/// The vip `front`, an advert every 100 ms, with further lines.
pub(crate) fn front(priority: u8, more: &str) -> String {
    vip("front", VIP, 51, priority, more)
}

/// Another vip of the same kind.
pub(crate) fn vip(name: &str, addr: &str, vrid: u8, priority: u8, more: &str) -> String {
    format!(
        "[[vip]]\nname = \"{name}\"\naddrs = [\"{addr}\"]\ninterface = \"eth0\"\nvrid = {vrid}\npriority = \
         {priority}\nadvert = \"100ms\"\n{more}\n"
    )
}

/// A pair that is up: `n1` active with priority 150, `n2` backup with 100.
pub(crate) fn pair(rig: &Rig, more: &str) -> Result<[Mainstay; 2]> {
    let first = rig.start(1, &(cluster(1, 2) + &front(150, more)))?;
    first.wait_for_state("front", "active", LIMIT)?;
    let second = rig.start(2, &(cluster(2, 2) + &front(100, more)))?;
    second.wait_for_state("front", "backup", LIMIT)?;
    Ok([first, second])
}

/// Writes a file that may be executed.
pub(crate) fn write_script(path: &std::path::Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Whether an address stands on the host.
pub(crate) fn has(host: &Host, addr: &str) -> Result<bool> {
    let addr: IpAddr = addr.parse()?;
    Ok(host.addresses()?.contains(&addr))
}

/// Waits until an address is gone from the host, or is there.
pub(crate) fn wait_for_address(host: &Host, addr: &str, there: bool) -> Result<()> {
    let what = format!("{} {} {addr}", host.name(), if there { "has" } else { "has lost" });
    wait_until(&what, LIMIT, || Ok(has(host, addr)? == there))
}

/// Writes another configuration; the node reads it at its next reload.
pub(crate) fn rewrite(node: &Mainstay, config: &str) -> Result<()> {
    fs::write(node.config_path(), config).context("cannot write a configuration")
}

/// All messages of `mainstay events`.
pub(crate) fn events(node: &Mainstay) -> Result<String> {
    node.say(&["events"])
}

/// Waits until an event says `text`.
pub(crate) fn wait_for_event(node: &Mainstay, text: &str) -> Result<()> {
    node.daemon().wait_until(&format!("an event says {text:?}"), LIMIT, || Ok(events(node)?.contains(text)))
}

/// A counter of the status: of a vip, or of the node when `vip` is empty.
pub(crate) fn counter(node: &Mainstay, vip: &str, name: &str) -> Result<u64> {
    let status = if vip.is_empty() { node.status_json()? } else { node.vip(vip)? };
    let all = status["counters"].as_array().into_iter().flatten();
    let found = all.into_iter().find(|counter| counter["name"] == name);
    found.and_then(|counter| counter["value"].as_u64()).with_context(|| format!("no counter {name}"))
}

/// kill -9 of one process.
pub(crate) fn kill(pid: Pid) -> Result<()> {
    Ok(rustix::process::kill_process(pid, Signal::KILL)?)
}

/// Hears of addresses that come and go on a host, when the kernel says it.
pub(crate) struct AddrWatch {
    monitor: Monitor,
    addr: IpAddr,
}

impl AddrWatch {
    pub(crate) fn start(host: &Host, addr: &str) -> Result<Self> {
        let monitor = host.run(Monitor::open)??;
        Ok(Self { monitor, addr: addr.parse()? })
    }

    /// Waits until the address goes or comes, and says when it was heard.
    pub(crate) fn wait(&mut self, comes: bool) -> Result<Instant> {
        let deadline = Instant::now() + LIMIT;
        loop {
            while let Some(change) = self.monitor.next()? {
                let heard = match &change {
                    Change::Addr(addr) => comes && addr.addr == self.addr,
                    Change::AddrGone(addr) => !comes && addr.addr == self.addr,
                    Change::Link(_) | Change::LinkGone(..) | Change::Filter { .. } | Change::Overflow => {
                        false
                    }
                };
                if heard {
                    return Ok(Instant::now());
                }
            }
            let left = deadline.checked_duration_since(Instant::now());
            let left = left.with_context(|| format!("{} neither comes nor goes", self.addr))?;
            let mut fds = [PollFd::new(&self.monitor, PollFlags::IN)];
            poll(&mut fds, Some(&Timespec::try_from(left)?))?;
        }
    }
}
