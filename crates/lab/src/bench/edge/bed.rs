//! The three proxies with the same routes, and the backends behind them, in one namespace.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::peer::Mainstay;
use crate::probe::Mirror;
use crate::{Daemon, Host, Lab, wait_until};

/// How long a proxy may take to start, and to do what it is told.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

/// Files of 1 KiB and 4 MiB.
const FILES: u16 = 9000;

/// The same files, for configurations that have another backend.
const SPARE: u16 = 9002;

/// WebSockets come back as they were sent.
const MIRROR: u16 = 9001;

/// Two slow backends of the same pool, which can be killed.
pub(super) const PAIR: [u16; 2] = [9011, 9012];

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Software {
    Nginx,
    Haproxy,
    Mainstay,
}

impl Software {
    pub(super) const ALL: [Self; 3] = [Self::Nginx, Self::Haproxy, Self::Mainstay];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Mainstay => "mainstay",
        }
    }

    const fn port(self) -> u16 {
        match self {
            Self::Nginx => 8101,
            Self::Haproxy => 8201,
            Self::Mainstay => 8301,
        }
    }

    /// Its configuration; `turn` makes it another one each time.
    fn config(self, turn: usize) -> String {
        match self {
            Self::Nginx => nginx(turn),
            Self::Haproxy => haproxy(turn),
            Self::Mainstay => mainstay(turn),
        }
    }
}

/// The namespace with its backends.
#[derive(Debug)]
pub(super) struct Bed {
    pub(super) host: Host,
    binary: PathBuf,
    pub(super) pair: Vec<Daemon>,
    _files: Daemon,
    _mirror: Mirror,
    _lab: Lab,
}

impl Bed {
    pub(super) fn make(binary: &Path) -> Result<Self> {
        crate::bench::proxy::need("nginx", "nginx-light")?;
        crate::bench::proxy::need("haproxy", "haproxy")?;
        let lab = Lab::new("edge")?;
        let host = lab.host("edge")?;
        // Ten thousand connections to one address need as many ports, and twice as many beside a backend.
        host.sysctl("net.ipv4.ip_local_port_range", "10000 65000")?;
        let www = host.directory().join("www");
        fs::create_dir_all(&www)?;
        fs::write(www.join("1k"), vec![b'x'; 1024])?;
        fs::write(www.join("big"), vec![b'y'; 4 << 20])?;
        let server = format!(
            "http {{ access_log off; keepalive_requests 1000000000; open_file_cache max=10;\n\
             server {{ listen 127.0.0.1:{FILES} backlog=4096; listen 127.0.0.1:{SPARE} backlog=4096; root {}; }} }}\n",
            www.display()
        );
        let files = serve(&host, "files", &server)?;
        let program = std::env::current_exe().context("find this program")?;
        let pair = ["one", "two"].into_iter().zip(PAIR).map(|(name, port)| {
            let place = format!("127.0.0.1:{port}");
            let daemon = Daemon::new(&host, name, &program).args(["backend", &place, "200"]);
            daemon.start().map(|()| daemon)
        });
        let pair = pair.collect::<Result<_>>()?;
        let mirror = Mirror::start(&host, ([127, 0, 0, 1], MIRROR).into(), "mirror")?;
        let binary = fs::canonicalize(binary).with_context(|| format!("no program {}", binary.display()))?;
        Ok(Self { host, binary, pair, _files: files, _mirror: mirror, _lab: lab })
    }

    /// A proxy with its first configuration, once it serves.
    pub(super) fn start(&self, software: Software) -> Result<Proxy> {
        self.limited(software, None)
    }

    /// The same with at most so many descriptors for each of its processes.
    pub(super) fn limited(&self, software: Software, files: Option<u32>) -> Result<Proxy> {
        let folder = self.host.directory().join(software.name());
        fs::create_dir_all(&folder)?;
        let config = folder.join("config");
        fs::write(&config, software.config(0))?;
        // A program of its own, so that an upgrade finds a file that can be replaced.
        let program = match software {
            Software::Nginx => PathBuf::from("nginx"),
            Software::Haproxy => PathBuf::from("haproxy"),
            Software::Mainstay => folder.join("mainstay"),
        };
        if software == Software::Mainstay {
            install(&self.binary, &program)?;
        }
        let daemon = match files {
            None => Daemon::new(&self.host, software.name(), &program),
            Some(files) => Daemon::new(&self.host, software.name(), "prlimit")
                .arg(format!("--nofile={files}:{files}"))
                .arg(&program),
        };
        let daemon = match software {
            Software::Nginx => daemon.arg("-p").arg(&folder).args(["-e", "stderr", "-c"]).arg(&config),
            Software::Haproxy => daemon.args(["-W", "-f"]).arg(&config),
            Software::Mainstay => daemon
                .args(["run", "--config"])
                .arg(&config)
                .arg("--runtime-dir")
                .arg(self.host.directory().join("run"))
                .arg("--state-dir")
                .arg(self.host.directory().join("state")),
        };
        daemon.start()?;
        let proxy = Proxy { software, daemon, config, program, host: self.host.clone() };
        proxy.daemon.wait_until("it serves", LIMIT, || proxy.serves())?;
        Ok(proxy)
    }
}

/// Puts a program in place, as a package manager does: one that runs from there may go on.
fn install(from: &Path, to: &Path) -> Result<()> {
    let fresh = to.with_extension("new");
    fs::copy(from, &fresh).context("copy the program")?;
    fs::rename(&fresh, to).context("install the program")
}

fn serve(host: &Host, name: &str, http: &str) -> Result<Daemon> {
    let folder = host.directory().join(name);
    fs::create_dir_all(&folder)?;
    let head = "daemon off;\nworker_processes 1;\nworker_rlimit_nofile 19900;\npid nginx.pid;\nuser root root;\n\
                events { worker_connections 19000; }\n";
    fs::write(folder.join("nginx.conf"), format!("{head}{http}"))?;
    let daemon = Daemon::new(host, name, "nginx").arg("-p").arg(&folder).args(["-e", "stderr", "-c"]);
    let daemon = daemon.arg(folder.join("nginx.conf"));
    daemon.start()?;
    Ok(daemon)
}

/// A running proxy.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) software: Software,
    pub(super) daemon: Daemon,
    config: PathBuf,
    program: PathBuf,
    host: Host,
}

impl Proxy {
    pub(super) fn at(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.software.port()).into()
    }

    fn serves(&self) -> Result<bool> {
        let at = self.at();
        let asked =
            self.host.run(|| super::crowd::Crowd::open(at, 1)?.ask("/1k", Duration::from_secs(1)))??;
        Ok(asked.good == 1)
    }

    /// Has it read another configuration, and doesn't wait.
    pub(super) fn reload(&self, turn: usize) -> Result<()> {
        // A file is replaced and never seen half written.
        let fresh = self.config.with_extension("new");
        fs::write(&fresh, self.software.config(turn))?;
        fs::rename(&fresh, &self.config)?;
        let signal = if self.software == Software::Haproxy { Signal::USR2 } else { Signal::HUP };
        self.daemon.signal(signal)
    }

    /// Has it replaced by the same program in a new file.
    pub(super) fn upgrade(&self) -> Result<()> {
        install(&self.program, &self.program)?;
        self.daemon.signal(Signal::USR2)
    }

    /// What `mainstay status --json` says.
    pub(super) fn status(&self) -> Result<Value> {
        let output = Mainstay::ctl_on(&self.host, &self.program, &["status", "--json"])?;
        let said = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
        serde_json::from_slice(&output.stdout).with_context(said)
    }

    /// The edge processes.
    pub(super) fn edges(&self) -> Result<Vec<Pid>> {
        let status = self.status()?;
        let workers = status["workers"].as_array().into_iter().flatten().filter(|w| w["role"] == "edge");
        let pids = workers.filter_map(|w| w["pid"].as_i64()).filter_map(|pid| i32::try_from(pid).ok());
        Ok(pids.filter_map(Pid::from_raw).collect())
    }

    /// Waits until other edge processes than these run, as many.
    pub(super) fn wait_for_others(&self, than: &[Pid]) -> Result<()> {
        let fresh = || Ok(self.edges()?.iter().filter(|pid| !than.contains(pid)).count() == than.len());
        wait_until("new edge processes run", LIMIT, fresh)
    }
}

fn mainstay(turn: usize) -> String {
    let port = Software::Mainstay.port();
    let more = if turn % 2 == 1 {
        format!("[[listener]]\nname = \"more\"\nbind = \"127.0.0.1:{}\"\n\n", port + 1)
    } else {
        String::new()
    };
    let spare = if turn % 3 == 2 { format!(", \"127.0.0.1:{SPARE}\"") } else { String::new() };
    format!(
        "[node]\nid = \"bench\"\nmetrics = \"127.0.0.1:8304\"\n\n[edge]\ninstances = 2\nthreads = 1\ndrain = \"10m\"\n\n{more}\
         [[listener]]\nname = \"web\"\nbind = \"127.0.0.1:{port}\"\nidle_timeout = \"300s\"\n\n\
         [[route]]\nname = \"turn-{turn}\"\npath = \"/turn-{turn}/\"\nanswer = {{ status = 404 }}\n\n\
         [[route]]\nname = \"ws\"\npath = \"/ws\"\npool = \"mirror\"\n\n\
         [[route]]\nname = \"pair\"\npath = \"/pair/\"\npool = \"pair\"\n\n\
         [[route]]\nname = \"all\"\npool = \"files\"\n\n\
         [[pool]]\nname = \"files\"\nbackends = [\"127.0.0.1:{FILES}\"{spare}]\n\n\
         [[pool]]\nname = \"mirror\"\nbackends = [\"127.0.0.1:{MIRROR}\"]\n\n\
         [[pool]]\nname = \"pair\"\nbackends = [\"127.0.0.1:{}\", \"127.0.0.1:{}\"]\n",
        PAIR[0], PAIR[1]
    )
}

fn nginx(turn: usize) -> String {
    let port = Software::Nginx.port();
    let more = if turn % 2 == 1 { format!("listen 127.0.0.1:{};", port + 1) } else { String::new() };
    let spare = if turn % 3 == 2 { format!("server 127.0.0.1:{SPARE};") } else { String::new() };
    format!(
        "daemon off;\nworker_processes 2;\nworker_rlimit_nofile 20000;\npid nginx.pid;\nuser root root;\n\
         events {{ worker_connections 19000; }}\n\
         http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 300s;\n\
         upstream files {{ zone files 256k; server 127.0.0.1:{FILES}; {spare} keepalive 256; }}\n\
         upstream pair {{ zone pair 256k; server 127.0.0.1:{}; server 127.0.0.1:{}; keepalive 256; }}\n\
         server {{ listen 127.0.0.1:{port} backlog=4096 reuseport; {more}\n\
         proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
         location /turn-{turn}/ {{ return 404; }}\n\
         location /pair/ {{ proxy_pass http://pair; }}\n location / {{ proxy_pass http://files; }}\n\
         location /ws {{ proxy_pass http://127.0.0.1:{MIRROR}; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }} }} }}\n",
        PAIR[0], PAIR[1]
    )
}

fn haproxy(turn: usize) -> String {
    let port = Software::Haproxy.port();
    let more =
        if turn % 2 == 1 { format!("  bind 127.0.0.1:{} backlog 4096\n", port + 1) } else { String::new() };
    let spare = if turn % 3 == 2 { format!("  server two 127.0.0.1:{SPARE}\n") } else { String::new() };
    format!(
        "global\n  nbthread 2\n  maxconn 9950\n  stats socket unix@haproxy.sock mode 600 level admin expose-fd listeners\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 300s\n  timeout server 300s\n  timeout http-keep-alive 300s\n\
         \x20 option redispatch\n  retries 3\n  retry-on conn-failure empty-response\n\
         frontend web\n  bind 127.0.0.1:{port} backlog 4096\n{more}\
         \x20 http-request deny deny_status 404 if {{ path_beg /turn-{turn}/ }}\n\
         \x20 use_backend mirror if {{ path /ws }}\n  use_backend pair if {{ path_beg /pair/ }}\n  default_backend files\n\
         backend files\n  server one 127.0.0.1:{FILES}\n{spare}\
         backend mirror\n  server one 127.0.0.1:{MIRROR}\n\
         backend pair\n  server one 127.0.0.1:{}\n  server two 127.0.0.1:{}\n",
        PAIR[0], PAIR[1]
    )
}
