//! A hub at 10.0.4.20, two hosts with an agent's target each, and a client.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mainstay_core::tunnel::hello::Kind;
use mainstay_lab::peer::{Keeper as _, Mainstay};
use mainstay_lab::probe::Mirror;
use mainstay_lab::{Host, Lab, Segment};
use mainstay_link::tunnel::keys::SigningKey;

use crate::agent::{Agent, As};

/// Longer than anything here takes on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Where visitors come to.
pub(crate) const WEB: &str = "10.0.4.20:80";

/// Where agents come to.
pub(crate) const HUB: &str = "10.0.4.20:7000";

/// Where the targets of both agents are, each on its own host.
const TARGET: &str = "127.0.0.1:8000";

pub(crate) const TUNNEL: &str = "office";

/// The secret of those who may offer it.
const KEY: &str = "mst1_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Another one.
pub(crate) const STRANGER: &str = "mst1_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA";

/// The program under test.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("MAINSTAY_BIN").map_or_else(|| env!("CARGO_BIN_EXE_mainstay").into(), PathBuf::from)
}

/// The network.
pub(crate) struct Bed {
    pub(crate) edge: Host,
    /// Where another hub may be.
    pub(crate) other: Host,
    pub(crate) client: Host,
    /// Hosts of agents, with a mirror called as the host.
    pub(crate) sites: Vec<(Host, Mirror)>,
    pub(crate) key: SigningKey,
    _lan: Segment,
    _lab: Lab,
}

impl Bed {
    pub(crate) fn make() -> Result<Self> {
        let lab = Lab::new("tunnel")?;
        let lan = lab.segment("lan")?;
        let plugged = |name: &str, addr: &str| -> Result<Host> {
            let host = lab.host(name)?;
            host.plug(&lan, "eth0", &[addr])?;
            Ok(host)
        };
        let edge = plugged("edge", "10.0.4.20/24")?;
        let other = plugged("other", "10.0.4.21/24")?;
        let client = plugged("client", "10.0.4.9/24")?;
        let site = |name: &str, addr: &str| -> Result<(Host, Mirror)> {
            let host = plugged(name, addr)?;
            let mirror = Mirror::start(&host, TARGET.parse()?, name)?;
            Ok((host, mirror))
        };
        let sites = vec![site("one", "10.0.4.41/24")?, site("two", "10.0.4.42/24")?];
        let key = SigningKey::parse(KEY)?;
        Ok(Self { edge, other, client, sites, key, _lan: lan, _lab: lab })
    }

    /// A configuration with one tunnel that this key may offer, and more keys of the tunnel's.
    pub(crate) fn config(&self, more: &str) -> String {
        format!(
            "[node]\nid = \"edge\"\nscript_user = \"root\"\n\n[edge]\ninstances = 2\nthreads = 2\ndrain = \"5s\"\n\n\
             [[listener]]\nname = \"web\"\nbind = \"{WEB}\"\n\n[[listener]]\nname = \"agents\"\nbind = \"{HUB}\"\nprotocol = \"hub\"\n\n\
             [[tunnel]]\nid = \"{TUNNEL}\"\nagents = [\"{}\"]\nhosts = [\"app.example.com\"]\n{more}\n",
            self.key.public()
        )
    }

    /// Starts a hub and waits until it takes agents.
    pub(crate) fn start(&self, config: &str) -> Result<Mainstay> {
        let node = Mainstay::start(&self.edge, &binary(), config)?;
        let at: SocketAddr = HUB.parse()?;
        node.daemon().wait_until("the hub is there", LIMIT, || {
            Ok(self.client.run(|| TcpStream::connect_timeout(&at, LIMIT))?.is_ok())
        })?;
        Ok(node)
    }

    /// What the agent of a site is; called as the site.
    pub(crate) fn who(&self, site: usize) -> Result<As> {
        let name = ["one", "two"][site];
        Ok(As { name, tunnel: TUNNEL, kind: Kind::Tcp, host: None, target: TARGET.parse()? })
    }

    /// Starts the agent of a site and waits until it has met every place of the hub.
    pub(crate) fn agent(&self, site: usize) -> Result<Agent> {
        let agent = Agent::start(&self.sites[site].0, HUB, &self.key.secret(), self.who(site)?)?;
        agent.wait_met()?;
        Ok(agent)
    }

    /// A request over a connection of its own: status line, and body.
    pub(crate) fn get(&self, host: &str) -> Result<(String, String)> {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = talk(&self.client, WEB, &request)?;
        let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no answer: {answer:?}"))?;
        Ok((head.lines().next().unwrap_or_default().to_owned(), body.to_owned()))
    }

    /// The name of the target that answers.
    pub(crate) fn whose(&self) -> Result<String> {
        let (status, body) = self.get("app.example.com")?;
        ensure!(status == "HTTP/1.1 200 OK", "{status}");
        Ok(body.lines().next().unwrap_or_default().to_owned())
    }

    /// The targets that answer so many requests, without repetition.
    pub(crate) fn all(&self, requests: usize) -> Result<Vec<String>> {
        let mut names = (0..requests).map(|_| self.whose()).collect::<Result<Vec<_>>>()?;
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }
}

/// Sends bytes and returns all that comes back until the end.
pub(crate) fn talk(host: &Host, at: &str, bytes: &str) -> Result<String> {
    let at: SocketAddr = at.parse()?;
    let mut stream = host.run(|| TcpStream::connect_timeout(&at, LIMIT))??;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(bytes.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Writes another configuration and has the node read it.
pub(crate) fn reload(node: &Mainstay, config: &str) -> Result<String> {
    std::fs::write(node.config_path(), config)?;
    node.say(&["reload"])
}
