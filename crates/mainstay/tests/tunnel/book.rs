//! gost's node and our hub that share the sd and ingress plugins: a visitor at either reaches a client at the other, whatever
//! becomes of the plugins.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mainstay_lab::peer::{Gost, Keeper as _, Mainstay, Redis};
use mainstay_lab::probe::Mirror;
use mainstay_lab::{Daemon, Host, Lab, Segment};

use crate::bed::{LIMIT, binary, talk};

const TUNNEL: &str = "381433e1-7980-11ee-bbdb-60f262c1e32d";
const HOST: &str = "b7de88a94729b931.gost.local";

/// The entrypoints of gost's node and of our hub.
const GOST: &str = "10.0.4.21:80";
const OURS: &str = "10.0.4.22:80";

struct Bed {
    gost: Host,
    ours: Host,
    plugins: Host,
    site: Host,
    client: Host,
    _mirror: Mirror,
    _lan: Segment,
    _lab: Lab,
}

impl Bed {
    fn make() -> Result<Self> {
        let lab = Lab::new("book")?;
        let lan = lab.segment("lan")?;
        let plugged = |name: &str, addr: &str| -> Result<Host> {
            let host = lab.host(name)?;
            host.plug(&lan, "eth0", &[addr])?;
            Ok(host)
        };
        let site = plugged("site", "10.0.4.41/24")?;
        Ok(Self {
            gost: plugged("gost", "10.0.4.21/24")?,
            ours: plugged("ours", "10.0.4.22/24")?,
            plugins: plugged("plugins", "10.0.4.30/24")?,
            client: plugged("client", "10.0.4.9/24")?,
            _mirror: Mirror::start(&site, "127.0.0.1:8000".parse()?, "files")?,
            site,
            _lan: lan,
            _lab: lab,
        })
    }

    /// One of the plugins, over memory: started anew it has forgotten everything.
    fn plugin(&self, kind: &str, addr: &str, expiration: &str) -> Result<Daemon> {
        let mut arguments = vec!["plugin", kind, "--addr", addr, "--redis.expiration", expiration];
        if kind == "ingress" {
            arguments.extend(["--domain", "gost.local"]);
        }
        let daemon = Daemon::new(&self.plugins, &format!("plugin-{kind}"), binary()).args(arguments);
        daemon.start()?;
        Ok(daemon)
    }

    /// Both over a redis, as gost-plugins are run.
    fn over_redis(&self) -> Result<[Daemon; 2]> {
        let start = |kind: &str, addr: &str, db: &str, more: &[&str]| -> Result<Daemon> {
            let redis = ["--redis.addr", "127.0.0.1:6379", "--redis.db", db];
            let all = [&["plugin", kind, "--addr", addr], &redis[..], more].concat();
            let daemon = Daemon::new(&self.plugins, &format!("plugin-{kind}"), binary()).args(all);
            daemon.start()?;
            Ok(daemon)
        };
        let sd = start("sd", "10.0.4.30:8000", "2", &["--redis.expiration", "10s"])?;
        let ingress = ["--redis.expiration", "1h", "--domain", "gost.local"];
        Ok([sd, start("ingress", "10.0.4.30:8001", "1", &ingress)?])
    }

    fn both(&self, expiration: &str) -> Result<[Daemon; 2]> {
        let sd = self.plugin("sd", "10.0.4.30:8000", "10s")?;
        Ok([sd, self.plugin("ingress", "10.0.4.30:8001", expiration)?])
    }

    /// gost's node: a program of ours on the real smux that does what gost does.
    fn node(&self, more: &[&str]) -> Result<Gost> {
        let (sd, ingress) = ("http://10.0.4.30:8000/", "http://10.0.4.30:8001/");
        let arguments = [
            "-listen",
            "tcp://10.0.4.21:8421",
            "-entry",
            GOST,
            "-node",
            "gost-a",
            "-renew",
            "1",
            "-sd",
            sd,
            "-ingress",
            ingress,
        ];
        let node = Gost::start(&self.gost, "node", "server", &[&arguments, more].concat())?;
        node.wait_for("entrypoint", LIMIT)?;
        Ok(node)
    }

    /// Our hub; `via` is how it speaks with the plugins. It names the tunnel, or takes any.
    fn hub(&self, via: &str, names: bool) -> Result<Mainstay> {
        let config = Self::config(via, names, OURS, "ours");
        let hub = Mainstay::start(&self.ours, &binary(), &config)?;
        hub.daemon().wait_until("the entrypoint is there", LIMIT, || Ok(self.ask(OURS).is_ok()))?;
        Ok(hub)
    }

    /// A hub of ours in the place of gost's node.
    fn other_hub(&self, via: &str) -> Result<Mainstay> {
        let hub = Mainstay::start(&self.gost, &binary(), &Self::config(via, false, GOST, "other"))?;
        hub.daemon().wait_until("the other entrypoint is there", LIMIT, || Ok(self.ask(GOST).is_ok()))?;
        Ok(hub)
    }

    fn config(via: &str, names: bool, entry: &str, node: &str) -> String {
        let (ip, _) = entry.split_once(':').unwrap_or_default();
        let tunnels = if names {
            format!("[[tunnel]]\nid = \"{TUNNEL}\"\ngost = true\n")
        } else {
            "tunnels = \"any\"\n".to_owned()
        };
        format!(
            "[node]\nid = \"{node}\"\nscript_user = \"root\"\n\n[edge]\ninstances = 1\nthreads = 2\n\n[hub]\ndomain = \"gost.local\"\n\n\
             [[listener]]\nname = \"gost\"\nbind = \"{ip}:8421\"\nprotocol = \"hub\"\ncompat = \"gost\"\n\n\
             [[listener]]\nname = \"entry\"\nbind = \"{entry}\"\ncompat = \"gost\"\n\n\
             [gost]\nadvertise = \"{entry}\"\nsd = \"{via}://10.0.4.30:8000\"\ningress = \"{via}://10.0.4.30:8001\"\n\
             timeout = \"1s\"\nrenew = \"1s\"\n{tunnels}"
        )
    }

    /// A client of gost's, at either.
    fn agent(&self, name: &str, server: &str) -> Result<Gost> {
        let url = format!("tcp://{server}:8421");
        let arguments = ["-url", &url, "-tunnel", TUNNEL, "-target", "127.0.0.1:8000"];
        let agent = Gost::start(&self.site, name, "client", &arguments)?;
        agent.wait_for("bound", LIMIT)?;
        Ok(agent)
    }

    /// Status line and first line of the body.
    fn ask(&self, at: &str) -> Result<(String, String)> {
        let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
        let answer = talk(&self.client, at, &request)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let first = |text: &str| text.lines().next().unwrap_or_default().to_owned();
        Ok((first(head), first(body)))
    }

    fn serves(&self, at: &str) -> bool {
        self.ask(at).is_ok_and(|(status, body)| status.contains(" 200 ") && body == "files")
    }

    /// Asks again and again for so long; each request has to be served, and none slowly.
    fn serves_for(&self, at: &str, time: Duration) -> Result<usize> {
        let (until, mut count) = (Instant::now() + time, 0);
        while Instant::now() < until {
            let began = Instant::now();
            let (status, body) = self.ask(at)?;
            ensure!(status.contains(" 200 ") && body == "files", "request {count}: {status}");
            ensure!(began.elapsed() < Duration::from_secs(3), "request {count} took {:?}", began.elapsed());
            count += 1;
        }
        Ok(count)
    }
}

#[test]
fn a_visitor_at_either_reaches_a_client_at_the_other() -> Result<()> {
    for (via, names) in [("grpc", true), ("http", false)] {
        let bed = Bed::make()?;
        let _plugins = bed.both("2s")?;
        // A visitor that our hub sends on has to name a host of the tunnel.
        let node = bed.node(&["-strict"])?;
        let hub = bed.hub(via, names)?;
        let at_gost = bed.agent("at-gost", "10.0.4.21")?;
        hub.daemon().wait_until("a visitor of ours reaches it", LIMIT, || Ok(bed.serves(OURS)))?;
        // A visitor that names the tunnel, and not by HTTP alone.
        let url = format!("tcp://{OURS}");
        let visit =
            ["-url", &url, "-tunnel", TUNNEL, "-to", &format!("{HOST}:80"), "-listen", "127.0.0.1:9000"];
        let visitor = Gost::start(&bed.client, "visitor", "visit", &visit)?;
        visitor.wait_for("listening", LIMIT)?;
        let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
        let answer = talk(&bed.client, "127.0.0.1:9000", &request)?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{via}: {answer} ({:?})", visitor.said("lost"));
        at_gost.daemon().kill_all()?;
        // The other way round. gost's node looks rules up with each request: ours lives longer than rules do.
        let _at_ours = bed.agent("at-ours", "10.0.4.22")?;
        node.daemon().wait_until("a visitor of gost's reaches it", LIMIT, || Ok(bed.serves(GOST)))?;
        bed.serves_for(GOST, Duration::from_secs(5))?;
        ensure!(node.count("onward") > 0, "{via}: gost's node has sent nothing on");
    }
    Ok(())
}

#[test]
fn plugins_that_forget_hang_or_go_fail_no_request() -> Result<()> {
    let bed = Bed::make()?;
    let [sd, ingress] = bed.both("1h")?;
    let _node = bed.node(&[])?;
    let hub = bed.hub("grpc", false)?;
    let _agent = bed.agent("at-gost", "10.0.4.21")?;
    hub.daemon().wait_until("a visitor reaches it", LIMIT, || Ok(bed.serves(OURS)))?;
    // Only who asks finds out, and nobody notices.
    let silent = |hub: &Mainstay, yes: bool| {
        hub.wait_until("it is told how the plugins are", LIMIT, |status| {
            assert!(bed.serves(OURS), "a request fails");
            status["degraded"].to_string().contains("does not answer") == yes
        })
    };
    let while_ = Duration::from_secs(6);
    // gost's node sets its rule once: after a flush a thread knows it that has asked for it before. Each has.
    let mut count = bed.serves_for(OURS, Duration::from_secs(1))?;
    // Flushed: what runs on memory has nothing when it is started again.
    for plugin in [&sd, &ingress] {
        plugin.stop()?;
        plugin.start()?;
    }
    count += bed.serves_for(OURS, while_)?;
    silent(&hub, false)?;
    sd.freeze()?;
    ingress.freeze()?;
    count += bed.serves_for(OURS, while_)?;
    silent(&hub, true)?;
    sd.resume()?;
    ingress.resume()?;
    count += bed.serves_for(OURS, while_)?;
    silent(&hub, false)?;
    sd.kill_all()?;
    ingress.kill_all()?;
    count += bed.serves_for(OURS, while_)?;
    silent(&hub, true)?;
    println!("{count} requests, none failed");
    ensure!(count > 50, "{count} requests say little");
    Ok(())
}

/// `other`: the node with the client is a hub of ours, and not gost's.
fn over_a_redis(other: bool) -> Result<()> {
    let bed = Bed::make()?;
    let redis = Redis::start(&bed.plugins, &[])?;
    let plugins = bed.over_redis()?;
    let (_node, _hub) =
        if other { (None, Some(bed.other_hub("grpc")?)) } else { (Some(bed.node(&[])?), None) };
    let hub = bed.hub("grpc", false)?;
    let _agent = bed.agent("at-the-other", "10.0.4.21")?;
    // A thread that was told before that there is nobody asks again after a second.
    let each = || Ok((0..16).all(|_| bed.serves(OURS)));
    hub.daemon().wait_until("a visitor of any thread reaches it", LIMIT, each)?;
    let mut count = 0;
    let mut load = |what: &str| -> Result<()> {
        let served = bed.serves_for(OURS, Duration::from_secs(5)).with_context(|| what.to_owned())?;
        ensure!(served > 20, "{what}: {served} requests say little");
        count += served;
        Ok(())
    };
    load("at first")?;
    redis.flush()?;
    load("FLUSHALL")?;
    hub.daemon().wait_until("the rule stands in redis again", LIMIT, || {
        // Whoever asks the plugin has it notice.
        ensure!(bed.serves(GOST) && bed.serves(OURS), "a request fails");
        Ok(redis.ctl(&["-n", "1", "GET", "b7de88a94729b931"])?.trim() == TUNNEL)
    })?;
    redis.daemon().freeze()?;
    load("redis stopped")?;
    redis.daemon().resume()?;
    load("redis goes on")?;
    plugins.iter().try_for_each(Daemon::freeze)?;
    load("plugins stopped")?;
    plugins.iter().try_for_each(Daemon::resume)?;
    load("plugins go on")?;
    plugins.iter().try_for_each(Daemon::kill_all)?;
    load("plugins killed")?;
    plugins.iter().try_for_each(Daemon::start)?;
    load("plugins started")?;
    redis.flush()?;
    plugins.iter().try_for_each(Daemon::kill_all)?;
    plugins.iter().try_for_each(Daemon::start)?;
    load("plugins started over an empty redis")?;
    hub.wait_until("nothing is wrong in the end", LIMIT, |status| {
        assert!(bed.serves(OURS), "a request fails");
        !status["degraded"].to_string().contains("does not answer")
    })?;
    println!("{count} requests, none failed");
    Ok(())
}

#[test]
fn plugins_over_a_redis_that_is_flushed_or_hangs_fail_no_request_to_a_node_of_gosts() -> Result<()> {
    over_a_redis(false)
}

#[test]
fn plugins_over_a_redis_that_is_flushed_or_hangs_fail_no_request_to_another_hub() -> Result<()> {
    over_a_redis(true)
}

#[test]
fn a_hub_of_ours_without_clients_reaches_those_of_another() -> Result<()> {
    let bed = Bed::make()?;
    let _plugins = bed.both("1h")?;
    // The same file at the other's address: sd names the one that has a client, and never the other.
    let hub = bed.hub("grpc", false)?;
    let text = std::fs::read_to_string(hub.config_path())?.replace("10.0.4.22:", "10.0.4.21:");
    let other = Mainstay::start(&bed.gost, &binary(), &text.replace("id = \"ours\"", "id = \"other\""))?;
    other.daemon().wait_until("its entrypoint is there", LIMIT, || Ok(bed.ask(GOST).is_ok()))?;
    let _agent = bed.agent("at-other", "10.0.4.21")?;
    hub.daemon().wait_until("a visitor of ours reaches it", LIMIT, || Ok(bed.serves(OURS)))?;
    let count = bed.serves_for(OURS, Duration::from_secs(3))?;
    ensure!(count > 50, "{count} requests say little");
    Ok(())
}

#[test]
fn stale_entries_that_name_each_other_end_with_an_answer() -> Result<()> {
    let bed = Bed::make()?;
    let [sd, _ingress] = bed.both("1h")?;
    let node = bed.node(&[])?;
    let hub = bed.hub("http", true)?;
    // Both had a client, and neither has: nobody has taken the entries back.
    for (id, name, address) in [("11", "gost-a", GOST), ("22", "ours-before", OURS)] {
        let body = format!(
            "{{\"id\":\"00000000-0000-4000-8000-0000000000{id}\",\"name\":\"{TUNNEL}\",\"node\":\"{name}\",\
             \"network\":\"tcp\",\"address\":\"{address}\"}}"
        );
        let request = format!(
            "POST / HTTP/1.1\r\nHost: sd\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let answer = talk(&bed.client, "10.0.4.30:8000", &request)?;
        ensure!(answer.contains("true"), "{answer}\n{}", sd.log_tail());
    }
    hub.daemon().wait_until("our hub sends visitors to gost's node", LIMIT, || {
        bed.ask(OURS)?;
        Ok(node.count("onward") > 0)
    })?;
    let before = node.count("onward");
    let (status, _) = bed.ask(OURS)?;
    ensure!(status.contains(" 50"), "{status}");
    let onward = node.count("onward") - before;
    ensure!(onward <= 2, "one request went {onward} times from gost's node to ours");
    Ok(())
}
