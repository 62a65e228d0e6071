//! What the tests of this program have in common: the binary, imports, and two nodes with a client on one segment.

use std::fs;
use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mainstay_lab::peer::{Keepalived, Keeper, Mainstay};
use mainstay_lab::probe::{Echo, UdpClient};
use mainstay_lab::{Host, Lab, Node, Segment, wait_until};

/// How long anything may take on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// How long one node alone must answer before it counts as the holder.
pub(crate) const CALM: Duration = Duration::from_millis(500);

/// The program under test.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("MAINSTAY_BIN").map_or_else(|| env!("CARGO_BIN_EXE_mainstay").into(), PathBuf::from)
}

/// Runs the program in a host; any exit code is an answer.
pub(crate) fn mainstay(host: &Host, arguments: &[&str]) -> Result<Output> {
    Mainstay::ctl_on(host, &binary(), arguments)
}

/// What a program printed, both ways, for messages.
pub(crate) fn said(output: &Output) -> String {
    format!(
        "exit {:?}\n{}{}",
        output.status.code(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// What `mainstay import keepalived` makes of a file on this host: the TOML, and what was said about it.
pub(crate) fn import(host: &Host, keepalived_conf: &str) -> Result<(String, String)> {
    let path = host.directory().join("keepalived.conf");
    fs::write(&path, keepalived_conf)?;
    let output = mainstay(host, &["import", "keepalived", &path.to_string_lossy()])?;
    ensure!(output.status.success(), "the import of\n{keepalived_conf}\n{}", said(&output));
    Ok((String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?))
}

/// What keeps a node's vips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Keepalived, as it is installed.
    Keepalived,
    /// Mainstay, with the configuration that it imports from the file that keepalived would read.
    Mainstay,
}

/// A node under test, with its keeper by its own name.
pub(crate) struct Member {
    pub(crate) node: Node,
    pub(crate) keepalived: Option<Arc<Keepalived>>,
    pub(crate) mainstay: Option<Arc<Mainstay>>,
}

impl Member {
    /// Starts a keeper on `host` with what a keepalived.conf says.
    pub(crate) fn start(host: &Host, kind: Kind, keepalived_conf: &str) -> Result<Self> {
        let (mut keepalived, mut mainstay) = (None, None);
        let keeper: Arc<dyn Keeper> = match kind {
            Kind::Keepalived => {
                keepalived.insert(Arc::new(Keepalived::start(host, keepalived_conf)?)).clone()
            }
            Kind::Mainstay => {
                let (toml, _) = import(host, keepalived_conf)?;
                mainstay.insert(Arc::new(Mainstay::start(host, &binary(), &toml)?)).clone()
            }
        };
        let node = Node { host: host.clone(), interface: "eth0".into(), keeper, service: None };
        Ok(Self { node, keepalived, mainstay })
    }

    /// Whether an address stands on it.
    pub(crate) fn holds(&self, vip: &str) -> Result<bool> {
        Ok(self.node.host.addresses()?.contains(&vip.parse()?))
    }
}

/// Hosts `one` (10.0.4.1), `two` (10.0.4.2) and `client` (10.0.4.9) on one segment, all with IPv6 too.
pub(crate) struct Ground {
    pub(crate) hosts: [Host; 2],
    pub(crate) outside: Host,
    pub(crate) lan: Segment,
    // Dropped last: all processes of the others are in it.
    pub(crate) lab: Lab,
}

impl Ground {
    /// The network without any daemon.
    pub(crate) fn lay(name: &str) -> Result<Self> {
        let lab = Lab::new(name)?;
        let lan = lab.segment("lan")?;
        let plugged = |name: &str, number: u8| -> Result<Host> {
            let host = lab.host(name)?;
            host.plug(&lan, "eth0", &[&format!("10.0.4.{number}/24"), &format!("fd00:4::{number}/64")])?;
            Ok(host)
        };
        let hosts = [plugged("one", 1)?, plugged("two", 2)?];
        let outside = plugged("client", 9)?;
        Ok(Self { hosts, outside, lan, lab })
    }
}

/// Two nodes with one vip, an echo on each, and a client that asks for it all the time.
pub(crate) struct Pair {
    pub(crate) members: [Member; 2],
    pub(crate) client: UdpClient,
    pub(crate) vip: String,
    _echoes: [Echo; 2],
    pub(crate) ground: Ground,
}

impl Pair {
    /// Starts both and waits until each is ready and the first one holds `vip`.
    pub(crate) fn start(
        ground: Ground,
        vip: &str,
        kinds: [Kind; 2],
        conf: impl Fn(usize) -> String,
    ) -> Result<Self> {
        let target = format!("{}:7777", if vip.contains(':') { format!("[{vip}]") } else { vip.to_owned() });
        let target = target.parse().context("an address")?;
        let echo = |n: usize| Echo::start(&ground.hosts[n], target);
        let echoes = [echo(0)?, echo(1)?];
        let client = UdpClient::start(&ground.outside, target, Duration::from_millis(2))?;
        let member = |n: usize| Member::start(&ground.hosts[n], kinds[n], &conf(n));
        let members = [member(0)?, member(1)?];
        let pair = Self { members, client, vip: vip.to_owned(), _echoes: echoes, ground };
        for member in &pair.members {
            let keeper = &member.node.keeper;
            keeper.daemon().wait_until("it is ready", LIMIT, || keeper.ready())?;
        }
        pair.settles_on(0)?;
        Ok(pair)
    }

    /// Waits until one node alone holds the address and answers at it.
    pub(crate) fn settles_on(&self, holder: usize) -> Result<()> {
        let name = self.members[holder].node.host.name();
        wait_until(&format!("{name} alone holds {}", self.vip), LIMIT, || {
            Ok(self.members[holder].holds(&self.vip)? && !self.members[1 - holder].holds(&self.vip)?)
        })
        .and_then(|()| self.answers(holder))
        .with_context(|| self.logs())
    }

    /// Waits until one node alone answers at the address, whatever stands on the other.
    pub(crate) fn answers(&self, holder: usize) -> Result<()> {
        self.client
            .wait_for_steady(self.members[holder].node.host.name(), CALM, LIMIT)
            .with_context(|| self.logs())
    }

    /// The ends of both logs.
    pub(crate) fn logs(&self) -> String {
        self.members.iter().map(|m| m.node.keeper.daemon().log_tail() + "\n").collect()
    }
}
