//! Three hubs with the configuration of packaging/kubernetes behind one balanced name, rolled as a Deployment does it: a new one is
//! started and ready, an old one is taken out of the service, waits, and is stopped.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mainstay_lab::peer::{Keeper as _, Mainstay};
use mainstay_lab::probe::{Visitors, Visits, fetch_from};
use mainstay_lab::{Host, Lab, Segment, wait_until};
use rustix::process::Signal;

use crate::{HOST, LIMIT, binary, client, file, folder};

/// Where clients dial and visitors come: the service's name.
const FRONT: &str = "10.0.4.10";
/// A Deployment of three that is rolled once has had six pods.
const PODS: u8 = 6;

struct Pods {
    lab: Lab,
    lan: Segment,
    front: Mainstay,
    visitor: Host,
    /// The pods that run, oldest first.
    running: Vec<(u8, Host, Mainstay)>,
}

fn addr(pod: u8) -> String {
    format!("10.0.4.{}", 20 + pod)
}

impl Pods {
    fn start() -> Result<Self> {
        let lab = Lab::new("rolled")?;
        let lan = lab.segment("lan")?;
        let front = lab.host("front")?;
        front.plug(&lan, "eth0", &["10.0.4.10/24"])?;
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
        let front = Mainstay::start(&front, &binary(), &text)?;
        let mut pods = Self { lab, lan, front, visitor, running: Vec::new() };
        for pod in 1..=3 {
            pods.add(pod)?;
        }
        Ok(pods)
    }

    /// A pod is started, and in the service when it is ready.
    fn add(&mut self, pod: u8) -> Result<()> {
        let host = self.lab.host(&format!("pod{pod}"))?;
        host.plug(&self.lan, "eth0", &[&format!("{}/24", addr(pod))])?;
        let key = host.directory().join("hub.key");
        std::fs::write(&key, "0123456789abcdef0123456789abcdef")?;
        let text = std::fs::read_to_string(file("packaging/kubernetes/hubs/mainstay.toml"))?;
        // What the headless service's name stands for.
        let peers: Vec<String> = (1..=PODS).map(|pod| format!("{}:7001", addr(pod))).collect();
        let text = text
            .replace("\"gost-tunnel-hubs:7001\"", &format!("\"{}\"", peers.join("\", \"")))
            .replace("${POD_NAME}", host.name())
            .replace("${POD_IP}", &addr(pod))
            .replace("/etc/mainstay/keys/hub.key", &key.display().to_string());
        let node = Mainstay::start(&host, &binary(), &text)?;
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
        use std::io::{Read as _, Write as _};
        let asked = self.visitor.run(|| -> std::io::Result<String> {
            let mut stream = std::net::TcpStream::connect_timeout(&at, LIMIT)?;
            stream.write_all(b"GET /readyz?here HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        })?;
        Ok(asked.is_ok_and(|answer| answer.contains(" 200 ")))
    }

    /// The oldest pod ends: out of the service, a wait, TERM, its end.
    fn retire(&mut self, visitors: &Visitors) -> Result<()> {
        let (pod, _host, node) = self.running.remove(0);
        self.front.say(&["pool", "drain", "visitors", &format!("{}:8080", addr(pod))])?;
        self.front.say(&["pool", "drain", "clients", &format!("{}:8421", addr(pod))])?;
        // preStop: as long as it takes until everybody knows; here the balancer knows at once.
        served(visitors, 20)?;
        node.daemon().signal(Signal::TERM)?;
        node.daemon().wait_ended(LIMIT)
    }
}

/// Waits until so many requests that begin from here on are over.
fn served(visitors: &Visitors, requests: usize) -> Result<()> {
    let from = Instant::now();
    wait_until("requests are served", LIMIT, || Ok(visitors.since(from) >= requests))
}

#[test]
fn three_hubs_rolled_one_by_one_under_load_lose_no_request() {
    mainstay_lab::test(|| {
        let mut pods = Pods::start()?;
        let mut clients = Vec::new();
        for (number, name) in [(41, "one"), (42, "two")] {
            let host = pods.lab.host(name)?;
            host.plug(&pods.lan, "eth0", &[&format!("10.0.4.{number}/24")])?;
            let config = client(&format!("{FRONT}:8421"), &folder(&host, name)?)?;
            clients.push(Mainstay::start(&host, &binary(), &config)?);
        }
        let front: SocketAddr = format!("{FRONT}:80").parse()?;
        for name in ["one", "two"] {
            wait_until(name, LIMIT, || {
                let page = pods.visitor.run(|| fetch_from(front, HOST, LIMIT))?;
                Ok(page.is_ok_and(|page| page.contains(name)))
            })?;
        }
        let visits = Visits {
            hubs: vec![front],
            host: HOST.to_owned(),
            method: "GET",
            visitors: 4,
            rate: 50,
            per_connection: 1000,
            patience: Duration::from_secs(5),
            again: true,
        };
        let kept = Visitors::start(&pods.visitor, &visits)?;
        let fresh = Visitors::start(&pods.visitor, &Visits { per_connection: 1, ..visits })?;
        served(&fresh, 50)?;
        for pod in 4..=PODS {
            pods.add(pod)?;
            served(&fresh, 20)?;
            pods.retire(&fresh)?;
            served(&fresh, 50)?;
        }
        ensure!(pods.running.iter().map(|(pod, ..)| *pod).eq(4..=PODS), "three new pods run");
        for (what, visitors) in [("kept", kept), ("fresh", fresh)] {
            let fates = visitors.stop();
            let failed: Vec<_> = fates.iter().filter_map(|fate| fate.failed.as_ref()).collect();
            println!("{what}: {} requests, {} failed", fates.len(), failed.len());
            ensure!(failed.is_empty(), "{what}: {} of {} failed: {failed:?}", failed.len(), fates.len());
        }
        drop(clients);
        Ok(())
    });
}
