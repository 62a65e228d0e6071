//! Private tunnels, with the real agent and the real visitor, and two hubs.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mainstay_lab::peer::{Keeper as _, Mainstay};
use mainstay_lab::{Daemon, Host};
use mainstay_link::tunnel::keys::SigningKey;

use crate::bed::{Bed, HUB, LIMIT, STRANGER, TUNNEL, binary, reload, talk};

/// The secret of the visitor.
const VISITOR: &str = "mst1_CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCA";

/// Where the second hub is.
const OTHER: &str = "10.0.4.42:7000";

/// Where the visitor listens.
const DOOR: &str = "127.0.0.1:8022";

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// Two hubs that have a private tunnel.
struct Private {
    bed: Bed,
    hubs: Vec<Mainstay>,
}

impl Private {
    fn make() -> Result<Self> {
        let bed = Bed::make()?;
        let config = |name: &str, at: &str| {
            format!(
                "[node]\nid = \"{name}\"\nscript_user = \"root\"\n\n[edge]\ninstances = 2\nthreads = 1\ndrain = \"5s\"\n\n\
                 [[listener]]\nname = \"agents\"\nbind = \"{at}\"\nprotocol = \"hub\"\n\n{}",
                tunnel(&bed, VISITOR)
            )
        };
        let first = Mainstay::start(&bed.edge, &binary(), &config("edge", HUB))?;
        let second = Mainstay::start(&bed.sites[1].0, &binary(), &config("other", OTHER))?;
        for (node, at) in [(&first, HUB), (&second, OTHER)] {
            let at: SocketAddr = at.parse()?;
            node.daemon().wait_until("the hub is there", LIMIT, || {
                Ok(bed.client.run(|| TcpStream::connect_timeout(&at, LIMIT))?.is_ok())
            })?;
        }
        Ok(Self { bed, hubs: vec![first, second] })
    }

    /// The real agent, on the first site; waits until both hubs have it everywhere.
    fn agent(&self, more: &[&str]) -> Result<Daemon> {
        let (host, _) = &self.bed.sites[0];
        let key = key_file(host, &self.bed.key.secret())?;
        let agent = Daemon::new(host, "agent", binary())
            .args(["agent", "--tunnel", TUNNEL, "--key"])
            .arg(key)
            .args(hubs())
            .args(more.iter().copied());
        agent.start()?;
        self.hubs.iter().try_for_each(|hub| self.wait_for_agent(hub))?;
        Ok(agent)
    }

    /// Waits until a hub has the agent everywhere.
    fn wait_for_agent(&self, hub: &Mainstay) -> Result<()> {
        hub.daemon().wait_until("the agent is there", LIMIT, || {
            let Ok(status) = hub.status_json() else { return Ok(false) };
            let agents = status["tunnels"][0]["agents"].as_array().cloned().unwrap_or_default();
            Ok(agents.iter().any(|agent| agent["places"].as_array().is_some_and(|it| it.len() == 2)))
        })
    }

    /// The real visitor, on the client's host.
    fn visitor(&self, secret: &str, more: &[&str]) -> Result<Daemon> {
        let host = &self.bed.client;
        let key = key_file(host, secret)?;
        let visitor = Daemon::new(host, "visit", binary())
            .args(["visit", "--tunnel", TUNNEL, "--name", "desk", "--key"])
            .arg(key)
            .args(hubs())
            .args(more.iter().copied());
        visitor.start()?;
        Ok(visitor)
    }

    /// Waits until both hubs have let the visitor in.
    fn wait_visited(&self) -> Result<()> {
        for hub in &self.hubs {
            hub.daemon().wait_until("the visitor is there", LIMIT, || Ok(visitors(hub)? == 1))?;
        }
        Ok(())
    }

    /// The target that answers a request through the visitor's door.
    fn whose(&self) -> Result<String> {
        let answer = talk(&self.bed.client, DOOR, REQUEST)?;
        let (_, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no answer: {answer:?}"))?;
        Ok(body.lines().next().unwrap_or_default().to_owned())
    }
}

fn hubs() -> [String; 4] {
    ["--hub".to_owned(), format!("tcp://{HUB}"), "--hub".to_owned(), format!("tcp://{OTHER}")]
}

fn tunnel(bed: &Bed, visitor: &str) -> String {
    let visitor = SigningKey::parse(visitor).expect("a secret").public();
    format!(
        "[[tunnel]]\nid = \"{TUNNEL}\"\nagents = [\"{}\"]\nprivate = true\nvisitors = [\"{visitor}\"]\n",
        bed.key.public()
    )
}

fn key_file(host: &Host, secret: &str) -> Result<PathBuf> {
    let path = host.directory().join("tunnel.key");
    let mut file =
        std::fs::File::options().create(true).truncate(true).write(true).mode(0o600).open(&path)?;
    writeln!(file, "{secret}")?;
    Ok(path)
}

fn visitors(hub: &Mainstay) -> Result<usize> {
    let Ok(status) = hub.status_json() else { return Ok(0) };
    Ok(status["tunnels"][0]["visitors"].as_array().map_or(0, Vec::len))
}

/// A target that says so many bytes it got, once it has got all.
fn counts(host: &Host, at: &str) -> Result<()> {
    let at: SocketAddr = at.parse()?;
    let listener = host.run(|| TcpListener::bind(at))??;
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut all = Vec::new();
            if stream.read_to_end(&mut all).is_ok() && all != b"end" {
                let _ = write!(stream, "{} bytes", all.len());
            } else {
                return;
            }
        }
    });
    Ok(())
}

#[test]
fn a_visitor_reaches_a_private_tunnel_and_goes_on_by_the_other_hub_when_one_is_killed() {
    mainstay_lab::test(|| {
        let private = Private::make()?;
        let _agent = private.agent(&["--to", "127.0.0.1:8000", "--proxy-header", "1"])?;
        let visitor = private.visitor(VISITOR, &[])?;
        private.wait_visited()?;
        let answer = talk(&private.bed.client, DOOR, REQUEST)?;
        ensure!(answer.contains("10.0.4.9"), "the target hears where the visitor is: {answer}");
        for hub in &private.hubs {
            let listed = hub.say(&["tunnel", "list"])?;
            ensure!(listed.contains("desk") && listed.contains("10.0.4.9"), "{listed}");
            let events = hub.say(&["events"])?;
            ensure!(events.contains("visitor desk (10.0.4.9"), "{events}");
        }
        for (dies, stays) in [(0, 1), (1, 0)] {
            private.hubs[dies].daemon().kill_all()?;
            for _ in 0..10 {
                let whose = private.whose().with_context(|| visitor.log_tail())?;
                ensure!(whose == "one", "{whose}");
            }
            private.hubs[dies].daemon().start()?;
            private.wait_for_agent(&private.hubs[dies])?;
            private.wait_visited()?;
            ensure!(visitors(&private.hubs[stays])? == 1);
        }
        Ok(())
    });
}
