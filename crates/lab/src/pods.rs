//! Hubs with the configuration of packaging/kubernetes behind one balanced name, rolled as a Deployment does it: a new one is
//! started and ready, an old one is taken out of the service, waits, and is stopped.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use rustix::process::Signal;

use crate::hubs::LIMIT;
use crate::peer::{Keeper as _, Mainstay};
use crate::probe::Visitors;
use crate::{Host, Lab, Segment, wait_until};

/// Where clients dial (port 8421) and visitors come (port 80): the service's name.
pub const FRONT: &str = "10.0.4.10";

/// How many run at a time.
const REPLICAS: u8 = 3;

/// A Deployment of three that is rolled once has had six pods.
pub const PODS: u8 = 2 * REPLICAS;

/// The Deployment, and the balancer before it.
#[derive(Debug)]
pub struct Pods {
    /// Where visitors are.
    pub visitor: Host,
    front: Mainstay,
    binary: PathBuf,
    /// The pods that run, oldest first.
    running: Vec<(u8, Host, Mainstay)>,
    lan: Segment,
    lab: Lab,
}

fn addr(pod: u8) -> String {
    format!("10.0.4.{}", 20 + pod)
}

impl Pods {
    /// Three pods that are ready, of this program.
    pub fn start(binary: &Path) -> Result<Self> {
        let lab = Lab::new("rolled")?;
        let lan = lab.segment("lan")?;
        let front = lab.host("front")?;
        front.plug(&lan, "eth0", &[&format!("{FRONT}/24")])?;
        let visitor = lab.host("visitor")?;
        visitor.plug(&lan, "eth0", &["10.0.4.200/24"])?;
        // As kube-proxy: connections are spread over the pods that are ready, and stay where they are.
        let backends = |port: u16| format!("[\"{}:{port}\"]", addr(1));
        let text = format!(
            "[node]\nid = \"front\"\n[edge]\ninstances = 1\nthreads = 1\n\
             [[listener]]\nname = \"visitors\"\nbind = \":80\"\nprotocol = \"tcp\"\npool = \"visitors\"\n\
             [[listener]]\nname = \"clients\"\nbind = \":8421\"\nprotocol = \"tcp\"\npool = \"clients\"\n\
             [[pool]]\nname = \"visitors\"\nbackends = {}\n[[pool]]\nname = \"clients\"\nbackends = {}\n",
            backends(8080),
            backends(8421)
        );
        let front = Mainstay::start(&front, binary, &text)?;
        let mut pods = Self { visitor, front, binary: binary.to_owned(), running: Vec::new(), lan, lab };
        for pod in 1..=REPLICAS {
            pods.add(pod)?;
        }
        Ok(pods)
    }

    /// A host beside them, with the last byte of its address.
    pub fn host(&self, name: &str, last: u8) -> Result<Host> {
        let host = self.lab.host(name)?;
        host.plug(&self.lan, "eth0", &[&format!("10.0.4.{last}/24")])?;
        Ok(host)
    }

    /// The pods that run, oldest first.
    #[must_use]
    pub fn numbers(&self) -> Vec<u8> {
        self.running.iter().map(|(pod, ..)| *pod).collect()
    }

    /// A pod is started, and in the service when it is ready.
    pub fn add(&mut self, pod: u8) -> Result<()> {
        let host = self.host(&format!("pod{pod}"), 20 + pod)?;
        let key = host.directory().join("hub.key");
        std::fs::write(&key, "0123456789abcdef0123456789abcdef")?;
        let packaged =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/kubernetes/hubs/mainstay.toml");
        let text = std::fs::read_to_string(packaged)?;
        // What the headless service's name stands for.
        let peers: Vec<String> = (1..=PODS).map(|pod| format!("{}:7001", addr(pod))).collect();
        let text = text
            .replace("\"gost-tunnel-hubs:7001\"", &format!("\"{}\"", peers.join("\", \"")))
            .replace("${POD_NAME}", host.name())
            .replace("${POD_IP}", &addr(pod))
            .replace("/etc/mainstay/keys/hub.key", &key.display().to_string());
        let node = Mainstay::start(&host, &self.binary, &text)?;
        let looks: SocketAddr = format!("{}:9105", addr(pod)).parse()?;
        node.daemon().wait_until("it is ready", LIMIT, || self.is_ready(looks))?;
        self.running.push((pod, host, node));
        if pod > 1 {
            self.front.say(&["pool", "add", "visitors", &format!("{}:8080", addr(pod))])?;
            self.front.say(&["pool", "add", "clients", &format!("{}:8421", addr(pod))])?;
        }
        Ok(())
    }

    /// What the readiness probe sees.
    fn is_ready(&self, at: SocketAddr) -> Result<bool> {
        let asked = self.visitor.run(|| -> std::io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&at, LIMIT)?;
            stream.write_all(b"GET /readyz?here HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        })?;
        Ok(asked.is_ok_and(|answer| answer.contains(" 200 ")))
    }

    /// The oldest pod ends: out of the service, a wait, TERM, its end.
    pub fn retire(&mut self, visitors: &Visitors) -> Result<()> {
        let (pod, _host, node) = self.running.remove(0);
        self.front.say(&["pool", "drain", "visitors", &format!("{}:8080", addr(pod))])?;
        self.front.say(&["pool", "drain", "clients", &format!("{}:8421", addr(pod))])?;
        // preStop: as long as it takes until everybody knows; here the balancer knows at once.
        served(visitors, 20)?;
        node.daemon().signal(Signal::TERM)?;
        node.daemon().wait_ended(LIMIT)
    }

    /// Each pod is followed by a new one, while these visitors ask.
    pub fn roll(&mut self, visitors: &Visitors) -> Result<()> {
        for pod in REPLICAS + 1..=PODS {
            self.add(pod)?;
            served(visitors, 20)?;
            self.retire(visitors)?;
            served(visitors, 50)?;
        }
        Ok(())
    }
}

/// Waits until so many requests that begin from here on are over.
pub fn served(visitors: &Visitors, requests: usize) -> Result<()> {
    let from = Instant::now();
    wait_until("requests are served", LIMIT, || Ok(visitors.since(from) >= requests))
}
