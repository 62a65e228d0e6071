//! Hubs with `compat = "gost"`, clients of gost's or imported ones with a target each, and plugins over a redis.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::case::Kind;
use crate::hubs::{LIMIT, TARGET};
use crate::peer::{Gost, Keeper as _, Mainstay, Redis};
use crate::probe::fetch_from;
use crate::{Daemon, Host, Lab, Segment};

const ID: &str = "381433e1-7980-11ee-bbdb-60f262c1e32d";

/// What is made of that id.
pub(super) const HOST: &str = "b7de88a94729b931.gost.local";

/// What a target takes to answer, in milliseconds.
const THINKS: &str = "20";

/// A client, with the target beside it.
pub(super) struct Site {
    client: Client,
    _target: Daemon,
}

enum Client {
    Go(Gost),
    Imported(Mainstay),
}

/// The plugins and what they keep.
pub(super) struct Plugins {
    pub(super) redis: Redis,
    /// sd and ingress.
    pub(super) both: [Daemon; 2],
}

/// All of it.
pub(super) struct Bed {
    pub(super) visitor: Host,
    pub(super) hubs: Vec<(Host, Mainstay)>,
    pub(super) sites: Vec<Site>,
    pub(super) plugins: Option<Plugins>,
    binary: PathBuf,
    lan: Segment,
    lab: Lab,
}

/// Where clients dial a hub.
pub(super) fn door(hub: usize) -> String {
    format!("10.0.4.{}:8421", 21 + hub)
}

/// Where visitors reach a hub.
pub(super) fn entry(hub: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 4, 21 + u8::try_from(hub).unwrap_or(0)], 80))
}

impl Bed {
    /// One hub, and two clients of a kind at it.
    pub(super) fn alone(binary: &Path, kind: Kind) -> Result<Self> {
        let mut bed = Self::empty(binary)?;
        bed.hub(0, &format!("[[tunnel]]\nid = \"{ID}\"\ngost = true\n"))?;
        for number in 0..2 {
            let host = bed.host(&format!("site{number}"), 41 + number)?;
            bed.sites.push(Site::start(&host, binary, kind, &door(0))?);
        }
        let hub = &bed.hubs[0].1;
        hub.wait_until("both clients are there", LIMIT, |status| {
            status["tunnels"][0]["agents"].as_array().is_some_and(|agents| agents.len() == 2)
        })?;
        bed.wait_serves(0)?;
        Ok(bed)
    }

    /// Two hubs that know each other by the plugins alone, and a client at the first.
    pub(super) fn with_plugins(binary: &Path) -> Result<Self> {
        let mut bed = Self::empty(binary)?;
        bed.plugins = Some(bed.plugins()?);
        for hub in 0..2 {
            let more = format!(
                "[gost]\nadvertise = \"{}\"\nsd = \"grpc://10.0.4.30:8000\"\ningress = \"grpc://10.0.4.30:8001\"\n\
                 timeout = \"1s\"\nrenew = \"1s\"\ntunnels = \"any\"\n",
                entry(hub)
            );
            bed.hub(hub, &more)?;
        }
        let host = bed.host("site", 41)?;
        bed.sites.push(Site::start(&host, binary, Kind::Go, &door(0))?);
        bed.wait_serves(0)?;
        Ok(bed)
    }

    fn empty(binary: &Path) -> Result<Self> {
        let lab = Lab::new("fleet")?;
        let lan = lab.segment("lan")?;
        let visitor = lab.host("visitor")?;
        visitor.plug(&lan, "eth0", &["10.0.4.200/24"])?;
        let (hubs, sites) = (Vec::new(), Vec::new());
        Ok(Self { visitor, hubs, sites, plugins: None, binary: binary.to_owned(), lan, lab })
    }

    fn host(&self, name: &str, last: u8) -> Result<Host> {
        let host = self.lab.host(name)?;
        host.plug(&self.lan, "eth0", &[&format!("10.0.4.{last}/24")])?;
        Ok(host)
    }

    fn hub(&mut self, hub: usize, more: &str) -> Result<()> {
        let host = self.host(&format!("hub{hub}"), 21 + u8::try_from(hub)?)?;
        let text = format!(
            "[node]\nid = \"hub{hub}\"\nscript_user = \"root\"\n\n[edge]\ninstances = 1\nthreads = 2\n\n[hub]\ndomain = \"gost.local\"\n\n\
             [[listener]]\nname = \"gost\"\nbind = \"{}\"\nprotocol = \"hub\"\ncompat = \"gost\"\n\n\
             [[listener]]\nname = \"entry\"\nbind = \"{}\"\ncompat = \"gost\"\n\n{more}\n",
            door(hub),
            entry(hub)
        );
        let node = Mainstay::start(&host, &self.binary, &text)?;
        node.daemon().wait_until("the entrypoint is there", LIMIT, || self.listens(hub))?;
        self.hubs.push((host, node));
        Ok(())
    }

    /// The plugins over a redis. A rule lasts for two seconds, a client five from its last renewal.
    fn plugins(&self) -> Result<Plugins> {
        let host = self.host("plugins", 30)?;
        let redis = Redis::start(&host, &[])?;
        let plugin = |kind: &str, port: u16, more: &[&str]| -> Result<Daemon> {
            let addr = format!("--addr=:{port}");
            let daemon = Daemon::new(&host, kind, &self.binary)
                .args(["plugin", kind, &addr, "--redis.addr=127.0.0.1:6379"])
                .args(more);
            daemon.start()?;
            let listens =
                || Ok(!host.output("ss", &["-Hltn", &format!("sport = :{port}")])?.trim().is_empty());
            daemon.wait_until("it listens", LIMIT, listens)?;
            Ok(daemon)
        };
        let sd = plugin("sd", 8000, &["--redis.expiration=5s"])?;
        let ingress = plugin("ingress", 8001, &["--redis.expiration=2s", "--domain=gost.local"])?;
        Ok(Plugins { redis, both: [sd, ingress] })
    }

    /// Whether a hub takes connections of visitors.
    pub(super) fn listens(&self, hub: usize) -> Result<bool> {
        Ok(self.visitor.run(|| TcpStream::connect_timeout(&entry(hub), LIMIT))?.is_ok())
    }

    /// Waits until each of many requests in a row is served: every thread of the hub knows the way.
    pub(super) fn wait_serves(&self, hub: usize) -> Result<()> {
        let (_, node) = self.hubs.get(hub).context("there is this hub")?;
        node.daemon().wait_until("visitors reach a client", LIMIT, || {
            for _ in 0..16 {
                let page = self.visitor.run(|| fetch_from(entry(hub), HOST, LIMIT))?;
                if !page.is_ok_and(|page| page.starts_with("xxx")) {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }
}

impl Site {
    /// A target and a client that dials one hub.
    pub(super) fn start(host: &Host, binary: &Path, kind: Kind, at: &str) -> Result<Self> {
        let target = Daemon::new(host, "target", std::env::current_exe()?).args(["backend", TARGET, THINKS]);
        target.start()?;
        let client = match kind {
            Kind::Go => {
                let url = format!("tcp://{at}");
                let arguments = ["-url", &url, "-tunnel", ID, "-target", TARGET];
                let client = Gost::start(host, "client", "client", &arguments)?;
                client.wait_for("bound", LIMIT)?;
                Client::Go(client)
            }
            Kind::Imported => Client::Imported(Mainstay::start(host, binary, &imported(binary, at)?)?),
        };
        Ok(Self { client, _target: target })
    }

    /// The client's process.
    pub(super) fn client(&self) -> &Daemon {
        match &self.client {
            Client::Go(client) => client.daemon(),
            Client::Imported(node) => node.daemon(),
        }
    }
}

/// What a command line of gost's becomes.
fn imported(binary: &Path, at: &str) -> Result<String> {
    let local = format!("rtcp://:0/{TARGET}");
    let way = format!("tunnel+ws://{at}?tunnel.id={ID}");
    let output = Command::new(binary).args(["import", "gost", "--", "-L", &local, "-F", &way]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).context("it is text")
}
