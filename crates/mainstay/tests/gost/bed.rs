//! A hub at 10.0.4.20, two hosts with a client of gost's and its target each, and a visitor's.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mainstay_lab::peer::{Gost, Keeper as _, Mainstay};
use mainstay_lab::probe::Mirror;
use mainstay_lab::{Host, Lab, Segment};

/// Longer than anything here takes on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

pub(crate) const TUNNEL: &str = "381433e1-7980-11ee-bbdb-60f262c1e32d";

/// What is made of that id.
pub(crate) const LABEL: &str = "b7de88a94729b931";
pub(crate) const HOST: &str = "b7de88a94729b931.gost.local";

/// Where visitors come to.
pub(crate) const ENTRY: &str = "10.0.4.20:80";
pub(crate) const GOST: &str = "10.0.4.20:8421";
pub(crate) const TLS: &str = "10.0.4.20:8443";
pub(crate) const BYTES: &str = "10.0.4.20:8022";
pub(crate) const DATAGRAMS: &str = "10.0.4.20:8053";

/// Where the target of each site is.
pub(crate) const TARGET: &str = "127.0.0.1:8000";

/// The network.
pub(crate) struct Bed {
    pub(crate) edge: Host,
    pub(crate) visitor: Host,
    /// Hosts of clients, with a mirror called as the host.
    pub(crate) sites: Vec<(Host, Mirror)>,
    _lan: Segment,
    _lab: Lab,
}

impl Bed {
    pub(crate) fn make() -> Result<Self> {
        let lab = Lab::new("gosthub")?;
        let lan = lab.segment("lan")?;
        let plugged = |name: &str, addr: &str| -> Result<Host> {
            let host = lab.host(name)?;
            host.plug(&lan, "eth0", &[addr])?;
            Ok(host)
        };
        let (edge, visitor) = (plugged("edge", "10.0.4.20/24")?, plugged("visitor", "10.0.4.9/24")?);
        let site = |name: &str, addr: &str| -> Result<(Host, Mirror)> {
            let host = plugged(name, addr)?;
            let mirror = Mirror::start(&host, TARGET.parse()?, name)?;
            Ok((host, mirror))
        };
        let sites = vec![site("one", "10.0.4.41/24")?, site("two", "10.0.4.42/24")?];
        Ok(Self { edge, visitor, sites, _lan: lan, _lab: lab })
    }

    /// A hub with one tunnel, and more of its file.
    pub(crate) fn config(&self, tunnel: &str, more: &str) -> Result<String> {
        let folder = self.edge.directory();
        let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        if !cert.exists() {
            let made = rcgen::generate_simple_self_signed(["hub.example".to_owned()])?;
            std::fs::write(&cert, made.cert.pem())?;
            std::fs::write(&key, made.signing_key.serialize_pem())?;
        }
        Ok(format!(
            "[node]\nid = \"edge\"\nscript_user = \"root\"\nmetrics = \"127.0.0.1:9105\"\n\n\
             [edge]\ninstances = 1\nthreads = 2\ndrain = \"5s\"\n\n[hub]\ndomain = \"gost.local\"\n\n\
             [[listener]]\nname = \"entry\"\nbind = \"{ENTRY}\"\ncompat = \"gost\"\nagents = \"/ws\"\n\n\
             [[listener]]\nname = \"gost\"\nbind = \"{GOST}\"\nprotocol = \"hub\"\ncompat = \"gost\"\n\n\
             [[listener]]\nname = \"tls\"\nbind = \"{TLS}\"\nprotocol = \"hub\"\ncompat = \"gost\"\ntls = [{{ cert = \"{}\", key = \"{}\" }}]\n\n\
             [[tunnel]]\nid = \"{TUNNEL}\"\ngost = true\n{tunnel}\n\n{more}\n",
            cert.display(),
            key.display()
        ))
    }

    /// Starts a hub and waits until it takes clients.
    pub(crate) fn start(&self, config: &str) -> Result<Mainstay> {
        let node = Mainstay::start(&self.edge, &binary(), config)?;
        self.wait_there(&node)?;
        Ok(node)
    }

    pub(crate) fn wait_there(&self, node: &Mainstay) -> Result<()> {
        let at: SocketAddr = GOST.parse()?;
        node.daemon().wait_until("the hub is there", LIMIT, || {
            Ok(self.visitor.run(|| TcpStream::connect_timeout(&at, LIMIT))?.is_ok())
        })
    }

    /// Starts a client of gost's at a site and waits until it has bound its tunnel.
    pub(crate) fn client(&self, site: usize, url: &str, more: &[&str]) -> Result<Gost> {
        let all = [&["-url", url, "-tunnel", TUNNEL][..], more].concat();
        let name = format!("client-{}", all.join("-").replace(['/', ':'], "_"));
        let client = Gost::start(&self.sites[site].0, &name, "client", &all)?;
        client.wait_for("bound", LIMIT)?;
        Ok(client)
    }

    /// A request over a connection of its own: status line, and body.
    pub(crate) fn get(&self, host: &str) -> Result<(String, String)> {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = talk(&self.visitor, ENTRY, &request)?;
        let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no answer: {answer:?}"))?;
        Ok((head.lines().next().unwrap_or_default().to_owned(), body.to_owned()))
    }

    /// The name of the target that answers.
    pub(crate) fn whose(&self) -> Result<String> {
        let (status, body) = self.get(HOST)?;
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

    /// A connection to the hub, as a visitor's host makes one.
    pub(crate) fn dial(&self, at: &str) -> Result<TcpStream> {
        dial(&self.visitor, at)
    }

    /// What the metrics say of gost's.
    pub(crate) fn metrics(&self) -> Result<String> {
        talk(&self.edge, "127.0.0.1:9105", "GET /metrics HTTP/1.0\r\n\r\n")
    }
}

/// The program under test.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("MAINSTAY_BIN").map_or_else(|| env!("CARGO_BIN_EXE_mainstay").into(), PathBuf::from)
}

/// How many agents the status shows of the tunnel.
pub(crate) fn agents(node: &Mainstay) -> Result<usize> {
    let Ok(status) = node.status_json() else { return Ok(0) };
    Ok(status["tunnels"][0]["agents"].as_array().map_or(0, Vec::len))
}

pub(crate) fn dial(host: &Host, at: &str) -> Result<TcpStream> {
    let at: SocketAddr = at.parse()?;
    let stream = host.run(|| TcpStream::connect_timeout(&at, LIMIT))??;
    stream.set_read_timeout(Some(LIMIT))?;
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
