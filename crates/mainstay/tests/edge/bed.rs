//! An edge at 10.0.4.20 with three mirrors behind it, and a client.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mainstay_lab::peer::{Keeper as _, Mainstay};
use mainstay_lab::probe::Mirror;
use mainstay_lab::{Host, Lab, Segment};
use rustix::process::Pid;
use serde_json::Value;

/// Longer than anything here takes on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Where the edge listens.
pub(crate) const EDGE: &str = "10.0.4.20:8080";

/// The program under test.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("MAINSTAY_BIN").map_or_else(|| env!("CARGO_BIN_EXE_mainstay").into(), PathBuf::from)
}

/// The network.
pub(crate) struct Bed {
    pub(crate) edge: Host,
    pub(crate) client: Host,
    pub(crate) mirrors: Vec<Mirror>,
    _lan: Segment,
    _lab: Lab,
}

/// `[node]` and `[edge]` as every test here has them.
pub(crate) const HEAD: &str =
    "[node]\nid = \"edge\"\nscript_user = \"root\"\n\n[edge]\ninstances = 2\nthreads = 2\ndrain = \"5s\"\n\n";

/// A listener, a route and a pool of the first two mirrors.
pub(crate) const WEB: &str = "[[listener]]\nname = \"web\"\nbind = \"10.0.4.20:8080\"\n\n[[route]]\nname = \"all\"\npool = \"app\"\n\n\
     [[pool]]\nname = \"app\"\nbackends = [\"10.0.4.31:80\", \"10.0.4.32:80\"]\n\n";

impl Bed {
    /// Three mirrors, called `one`, `two` and `three`, at 10.0.4.31 to 33.
    pub(crate) fn make() -> Result<Self> {
        let lab = Lab::new("edge")?;
        let lan = lab.segment("lan")?;
        let plugged = |name: &str, addrs: &[&str]| -> Result<Host> {
            let host = lab.host(name)?;
            host.plug(&lan, "eth0", addrs)?;
            Ok(host)
        };
        let edge = plugged("edge", &["10.0.4.20/24"])?;
        let client = plugged("client", &["10.0.4.9/24"])?;
        let apps = plugged("apps", &["10.0.4.31/24", "10.0.4.32/24", "10.0.4.33/24"])?;
        let names = [(31, "one"), (32, "two"), (33, "three")];
        let mirror = |(at, name): (u8, &str)| Mirror::start(&apps, format!("10.0.4.{at}:80").parse()?, name);
        let mirrors = names.into_iter().map(mirror).collect::<Result<_>>()?;
        Ok(Self { edge, client, mirrors, _lan: lan, _lab: lab })
    }

    /// Starts a node and waits until it serves.
    pub(crate) fn start(&self, config: &str) -> Result<Mainstay> {
        let node = Mainstay::start(&self.edge, &binary(), config)?;
        self.wait_served(&node, EDGE)?;
        Ok(node)
    }

    /// Waits until a request to an address gets an answer.
    pub(crate) fn wait_served(&self, node: &Mainstay, at: &str) -> Result<()> {
        node.daemon().wait_until(&format!("{at} is served"), LIMIT, || Ok(self.ask(at, "/").is_ok()))
    }

    /// A GET over a connection of its own: the body of a good answer.
    pub(crate) fn ask(&self, at: &str, path: &str) -> Result<String> {
        let answer = talk(&self.client, at, &get(path))?;
        let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no answer: {answer:?}"))?;
        ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
        Ok(body.to_owned())
    }

    /// The name of the mirror that answers.
    pub(crate) fn who(&self) -> Result<String> {
        Ok(self.ask(EDGE, "/")?.lines().next().unwrap_or_default().to_owned())
    }

    /// The mirrors that answer so many requests, without repetition, in the order of their names.
    pub(crate) fn all_who(&self, requests: usize) -> Result<Vec<String>> {
        let mut names = (0..requests).map(|_| self.who()).collect::<Result<Vec<_>>>()?;
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }
}

/// A request that ends its connection.
pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: edge.example\r\nConnection: close\r\n\r\n")
}

/// Opens a connection.
pub(crate) fn dial(host: &Host, at: &str) -> Result<TcpStream> {
    let at: SocketAddr = at.parse()?;
    let stream = host.run(|| TcpStream::connect_timeout(&at, LIMIT))??;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    Ok(stream)
}

/// Sends bytes and returns all that comes back until the end.
pub(crate) fn talk(host: &Host, at: &str, bytes: &str) -> Result<String> {
    let mut stream = dial(host, at)?;
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

/// Process ids of the edge workers.
pub(crate) fn edges(node: &Mainstay) -> Result<Vec<Pid>> {
    let status = node.status_json()?;
    let workers = status["workers"].as_array().into_iter().flatten().filter(|w| w["role"] == "edge");
    let pids = workers.filter_map(|w| w["pid"].as_i64()).filter_map(|pid| i32::try_from(pid).ok());
    Ok(pids.filter_map(Pid::from_raw).collect())
}

/// kill -9 of an edge process, and the wait until as many as before run again.
pub(crate) fn kill_one(node: &Mainstay) -> Result<()> {
    let before = edges(node)?;
    let victim = *before.first().context("an edge process runs")?;
    rustix::process::kill_process(victim, rustix::process::Signal::KILL)?;
    node.daemon().wait_until("its successor runs", LIMIT, || {
        let now = edges(node)?;
        Ok(now.len() == before.len() && !now.contains(&victim))
    })
}

/// A backend's part of the status.
pub(crate) fn backend(node: &Mainstay, name: &str) -> Result<Value> {
    let status = node.status_json()?;
    let pools = status["pools"].as_array().into_iter().flatten();
    let mut backends = pools.flat_map(|pool| pool["backends"].as_array().into_iter().flatten());
    backends.find(|b| b["backend"] == name).cloned().with_context(|| format!("no backend {name}: {status}"))
}

/// Waits until an event says `text`.
pub(crate) fn wait_for_event(node: &Mainstay, text: &str) -> Result<()> {
    let what = format!("an event says {text:?}");
    node.daemon().wait_until(&what, LIMIT, || Ok(node.say(&["events"])?.contains(text)))
}
