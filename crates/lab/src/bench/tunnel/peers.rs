//! The tunnels, and the server behind them: rathole, the bare driver, and the real thing over both carriers.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use super::TunnelOptions;
use crate::{Daemon, Host, process, wait_until};

/// How long a peer may take to start.
const STARTING: Duration = Duration::from_secs(20);

/// nginx's port.
pub(super) const TARGET: u16 = 9000;

/// Server and agent of one kind.
pub(super) struct Tunnel {
    pub(super) name: &'static str,
    /// Shared by those whose agents come to one hub.
    pub(super) server: Arc<Daemon>,
    pub(super) agent: Arc<Daemon>,
    /// Where visitors come to.
    pub(super) port: u16,
}

impl Tunnel {
    /// Processor time of all processes of both sides.
    pub(super) fn spent(&self) -> Result<Duration> {
        let server: Duration =
            self.server.tree()?.into_iter().map(process::cpu_time_exact).sum::<Result<_>>()?;
        Ok(server + process::cpu_time_exact(self.agent.pid()?)?)
    }

    /// Memory (PSS) of either side.
    pub(super) fn memory(&self) -> Result<[u64; 2]> {
        let server: u64 = self.server.tree()?.into_iter().map(process::memory).sum::<Result<_>>()?;
        Ok([server, process::memory(self.agent.pid()?)?])
    }
}

/// A program on one core, in the host's folder.
fn pinned(host: &Host, name: &str, core: &str, program: &Path) -> Daemon {
    Daemon::new(host, name, "taskset").args(["-c", core]).arg(program)
}

fn canonical(binary: &Path) -> Result<PathBuf> {
    fs::canonicalize(binary).with_context(|| format!("no program {}", binary.display()))
}

fn open(host: &Host, port: u16) -> Result<()> {
    wait_until(&format!("port {port} is open"), STARTING, || {
        host.run(|| TcpStream::connect(("127.0.0.1", port)).is_ok())
    })
}

/// Which cores a tunnel and its target have.
#[derive(Clone, Copy)]
pub(super) struct Cores {
    pub(super) tunnel: &'static str,
    pub(super) target: &'static str,
}

/// nginx with two files.
pub(super) fn target(host: &Host, cores: Cores) -> Result<Daemon> {
    let place = host.directory().join("target");
    fs::create_dir_all(place.join("www"))?;
    fs::write(place.join("www/1k"), vec![b'x'; 1024])?;
    fs::write(place.join("www/10m"), vec![b'y'; 10 << 20])?;
    let conf = format!(
        "daemon off;\nworker_processes 1;\nworker_rlimit_nofile 19000;\npid nginx.pid;\nuser root root;\n\
         events {{ worker_connections 9000; }}\n\
         http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; keepalive_timeout 300s;\n\
         open_file_cache max=10; server {{ listen {TARGET} backlog=4096; root www; }} }}\n"
    );
    fs::write(place.join("nginx.conf"), conf)?;
    let daemon = pinned(host, "target", cores.target, Path::new("nginx"))
        .arg("-p")
        .arg(&place)
        .args(["-e", "stderr", "-c"]);
    let daemon = daemon.arg(place.join("nginx.conf"));
    daemon.start()?;
    open(host, TARGET)?;
    Ok(daemon)
}

/// The driver alone: a bare hub and agent.
pub(super) fn driver(host: &Host, options: &TunnelOptions) -> Result<Tunnel> {
    let binary = canonical(&options.driver)?;
    let server = pinned(host, "driver-hub", "0", &binary).args(["hub", "127.0.0.1:8101", "127.0.0.1:8100"]);
    server.start()?;
    open(host, 8100)?;
    let target = format!("127.0.0.1:{TARGET}");
    let agent = pinned(host, "driver-agent", "0", &binary).args(["agent", "127.0.0.1:8100", &target]);
    agent.start()?;
    ready(host, Tunnel { name: "driver", server: Arc::new(server), agent: Arc::new(agent), port: 8101 })
}

/// rathole's server and client.
pub(super) fn rathole(host: &Host, options: &TunnelOptions) -> Result<Tunnel> {
    let binary = canonical(&options.rathole)?;
    let folder = host.directory();
    let server = "[server]\nbind_addr = \"127.0.0.1:8200\"\ndefault_token = \"bench\"\n\
                  [server.services.web]\nbind_addr = \"127.0.0.1:8201\"\n";
    let client = format!(
        "[client]\nremote_addr = \"127.0.0.1:8200\"\ndefault_token = \"bench\"\n\
         [client.services.web]\nlocal_addr = \"127.0.0.1:{TARGET}\"\n"
    );
    fs::write(folder.join("server.toml"), server)?;
    fs::write(folder.join("client.toml"), client)?;
    let run = |name: &str, side: &str| {
        let daemon =
            pinned(host, name, "0", &binary).arg(side).arg(folder.join(format!("{}.toml", &side[2..])));
        daemon.env("RUST_LOG", "error")
    };
    let server = run("rathole-server", "--server");
    server.start()?;
    open(host, 8200)?;
    let agent = run("rathole-client", "--client");
    agent.start()?;
    ready(host, Tunnel { name: "rathole", server: Arc::new(server), agent: Arc::new(agent), port: 8201 })
}

/// One node's hub with an agent over each carrier: visitors of `tcp`, `tls` and `quic` come to TCP ports of tunnels of their own, those
/// of `http` to a listener whose route leads to the first of them. The agents run on `site` and reach the hub at `addr`.
pub(super) fn real(
    host: &Host,
    site: &Host,
    addr: &str,
    cores: Cores,
    options: &TunnelOptions,
) -> Result<[Tunnel; 4]> {
    let binary = canonical(&options.binary)?;
    certificate(host, addr)?;
    let folder = host.directory();
    let secret = folder.join("agent.key");
    let program = binary.to_str().context("the program's path is text")?;
    let said = host.output(program, &["tunnel", "key", secret.to_str().context("a path is text")?])?;
    let key =
        said.split_whitespace().find(|word| word.starts_with("ed25519:")).context("a key is printed")?;
    let cert = folder.display();
    let conf = format!(
        "[node]\nid = \"bench\"\n\n[edge]\ninstances = 1\nthreads = 1\n\n\
         [[listener]]\nname = \"agents\"\nbind = \":8300\"\nprotocol = \"hub\"\n\n\
         [[listener]]\nname = \"sealed\"\nbind = \":8302\"\nprotocol = \"hub\"\nquic = true\n\
         tls = [{{ cert = \"{cert}/cert.pem\", key = \"{cert}/key.pem\" }}]\n\n\
         [[listener]]\nname = \"web\"\nbind = \"127.0.0.1:8304\"\nidle_timeout = \"300s\"\n\n\
         [[tunnel]]\nid = \"plain\"\nagents = [\"{key}\"]\ntcp = [\"127.0.0.1:8301\"]\nhosts = [\"bench.example.com\"]\n\n\
         [[tunnel]]\nid = \"sealed\"\nagents = [\"{key}\"]\ntcp = [\"127.0.0.1:8303\"]\n\n\
         [[tunnel]]\nid = \"quick\"\nagents = [\"{key}\"]\ntcp = [\"127.0.0.1:8305\"]\n"
    );
    let place = folder.join("hub");
    fs::create_dir_all(&place)?;
    let path = place.join("mainstay.toml");
    fs::write(&path, conf)?;
    let hub = pinned(host, "hub", cores.tunnel, &binary).args(["run", "--config"]).arg(&path);
    let hub = hub.arg("--runtime-dir").arg(place.join("run")).arg("--state-dir").arg(place.join("state"));
    hub.start()?;
    for port in [8300, 8302, 8304] {
        open(host, port).with_context(|| hub.log_tail())?;
    }
    let hub = Arc::new(hub);
    let agent = |name: &str, tunnel: &str, url: String| -> Result<Arc<Daemon>> {
        let agent =
            pinned(site, name, cores.tunnel, &binary).args(["agent", "--hub", &url, "--tunnel", tunnel]);
        let agent =
            agent.args(["--to", &format!("127.0.0.1:{TARGET}")]).arg("--ca").arg(folder.join("cert.pem"));
        let agent = agent.arg("--key").arg(&secret);
        agent.start()?;
        Ok(Arc::new(agent))
    };
    let plain = agent("agent-tcp", "plain", format!("tcp://{addr}:8300"))?;
    let sealed = agent("agent-tls", "sealed", format!("tls://{addr}:8302"))?;
    let quick = agent("agent-quic", "quick", format!("quic://{addr}:8302"))?;
    let tunnel = |name, agent: &Arc<Daemon>, port| {
        ready(host, Tunnel { name, server: Arc::clone(&hub), agent: Arc::clone(agent), port })
    };
    Ok([
        tunnel("tcp", &plain, 8301)?,
        tunnel("tls", &sealed, 8303)?,
        tunnel("http", &plain, 8304)?,
        tunnel("quic", &quick, 8305)?,
    ])
}

fn certificate(host: &Host, addr: &str) -> Result<()> {
    let arguments = format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=bench.example.com \
         -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=IP:{addr} -keyout key.pem -out cert.pem"
    );
    host.output("openssl", &arguments.split_whitespace().collect::<Vec<_>>())?;
    for name in ["cert.pem", "key.pem"] {
        fs::set_permissions(host.directory().join(name), fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}

/// Waits until a request comes through.
fn ready(host: &Host, tunnel: Tunnel) -> Result<Tunnel> {
    wait_until(&format!("{} carries a request", tunnel.name), STARTING, || {
        host.run(|| ask(tunnel.port).is_ok())
    })
    .with_context(|| format!("{}\n{}", tunnel.server.log_tail(), tunnel.agent.log_tail()))?;
    Ok(tunnel)
}

/// A connection over which a request was answered.
pub(super) fn ask(port: u16) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /1k HTTP/1.1\r\nHost: bench.example.com\r\n\r\n")?;
    let (mut got, mut answer) = (0, [0; 4096]);
    while got < 1024 {
        let count = stream.read(&mut answer)?;
        anyhow::ensure!(count > 0, "the connection was closed");
        got += count;
    }
    Ok(stream)
}
