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

/// A target that says how many bytes it got, once it has got all.
fn counts(host: &Host, at: &str) -> Result<Task> {
    let at: SocketAddr = at.parse()?;
    let listener = host.run(|| TcpListener::bind(at))??;
    Task::start(host, at, move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut all = Vec::new();
            match stream.read_to_end(&mut all) {
                Ok(_) if all == END => return,
                Ok(count) => {
                    let _ = write!(stream, "{count} bytes");
                }
                Err(_) => {}
            }
        }
    })
}

/// What a target ends at.
const END: &[u8] = b"that was all";

/// A thread with a target; ended when this is dropped.
struct Task {
    host: Host,
    at: SocketAddr,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Task {
    fn start(host: &Host, at: SocketAddr, body: impl FnOnce() + Send + 'static) -> Result<Self> {
        let thread = Some(std::thread::Builder::new().name("target".to_owned()).spawn(body)?);
        Ok(Self { host: host.clone(), at, thread })
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let at = self.at;
        let ended = self.host.run(move || TcpStream::connect_timeout(&at, LIMIT));
        if let Ok(Ok(mut stream)) = ended {
            let _ = stream.write_all(END);
        }
        self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// Runs the visitor with these bytes as its standard input.
fn pipe(private: &Private, secret: &str, tunnel: &str, input: &[u8]) -> Result<Output> {
    let host = &private.bed.client;
    let key = key_file(host, secret)?;
    let mut command = host.command(binary());
    command.args(["visit", "--tunnel", tunnel, "--listen", "-", "--key"]).arg(key).args(hubs());
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take().context("a pipe")?;
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output()?;
    let _ = writer.join();
    Ok(output)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
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

#[test]
fn standard_input_and_output_are_a_connection_whose_halves_end_by_themselves() {
    mainstay_lab::test(|| {
        let private = Private::make()?;
        let _target = counts(&private.bed.sites[0].0, "127.0.0.1:8001")?;
        let _agent = private.agent(&["--to", "127.0.0.1:8001"])?;
        // More than is kept for another try, and more than any window.
        for size in [0, 5, 3_000_000] {
            let output = pipe(&private, VISITOR, TUNNEL, &vec![b'x'; size])?;
            let (said, told) = (text(&output.stdout), text(&output.stderr));
            ensure!(said == format!("{size} bytes"), "{said:?}, and {told}");
            ensure!(output.status.success() && told.is_empty(), "{told}");
        }
        let door = private.visitor(VISITOR, &[])?;
        private.wait_visited()?;
        let at: SocketAddr = DOOR.parse()?;
        let mut stream = private.bed.client.run(|| TcpStream::connect_timeout(&at, LIMIT))??;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(b"four")?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).with_context(|| door.log_tail())?;
        ensure!(answer == "4 bytes", "{answer:?}");
        Ok(())
    });
}

#[test]
fn a_visitor_that_is_killed_leaves_no_connection_behind() {
    mainstay_lab::test(|| {
        let private = Private::make()?;
        let host = &private.bed.sites[0].0;
        let at: SocketAddr = "127.0.0.1:8001".parse()?;
        let listener = host.run(|| TcpListener::bind(at))??;
        // One that neither speaks nor ends, whatever it hears.
        let _target = Task::start(host, at, move || {
            let mut held = Vec::new();
            while let Ok((mut stream, _)) = listener.accept() {
                let mut first = [0];
                match stream.read_exact(&mut first) {
                    Ok(()) if first[0] == END[0] => return,
                    Ok(()) | Err(_) => held.push(stream),
                }
            }
        })?;
        let _agent = private.agent(&["--to", "127.0.0.1:8001"])?;
        let open = || -> Result<u64> {
            let mut open = 0;
            for hub in &private.hubs {
                let status = hub.status_json()?;
                let agents = status["tunnels"][0]["agents"].as_array().cloned().unwrap_or_default();
                open += agents.iter().filter_map(|agent| agent["streams"].as_u64()).sum::<u64>();
            }
            Ok(open)
        };
        let visitor = private.visitor(VISITOR, &[])?;
        private.wait_visited()?;
        let door: SocketAddr = DOOR.parse()?;
        let mut stream = private.bed.client.run(|| TcpStream::connect_timeout(&door, LIMIT))??;
        stream.write_all(b"x")?;
        visitor.wait_until("it has reached the target", LIMIT, || Ok(open()? == 1))?;
        visitor.kill_all()?;
        private.hubs[0].daemon().wait_until("it is over", LIMIT, || Ok(open()? == 0))
    });
}

#[test]
fn who_knows_the_id_alone_or_may_only_offer_it_reaches_nothing() {
    mainstay_lab::test(|| {
        let private = Private::make()?;
        let _agent = private.agent(&["--to", "127.0.0.1:8000"])?;
        let agents = private.bed.key.secret();
        for secret in [STRANGER, &*agents] {
            let public = SigningKey::parse(secret)?.public();
            let output = pipe(&private, secret, TUNNEL, REQUEST.as_bytes())?;
            let told = text(&output.stderr);
            ensure!(!output.status.success() && output.stdout.is_empty(), "{}", text(&output.stdout));
            ensure!(told.contains(&format!("{public} may not reach tunnel {TUNNEL}")), "{told}");
        }
        // Whether a tunnel exists is not told either.
        let output = pipe(&private, STRANGER, "nobodys", b"")?;
        let told = text(&output.stderr);
        ensure!(!output.status.success() && told.contains("may not reach tunnel nobodys"), "{told}");
        let host = &private.bed.client;
        let key = key_file(host, VISITOR)?;
        let offers = Daemon::new(host, "offers", binary())
            .args(["agent", "--tunnel", TUNNEL, "--to", "127.0.0.1:1", "--key"])
            .arg(key)
            .args(hubs());
        offers.start()?;
        offers.wait_until("a visitor's key may not offer", LIMIT, || {
            Ok(offers.log().contains("may not offer tunnel office"))
        })?;
        let events = private.hubs[0].say(&["events"])?;
        ensure!(events.contains("may not reach tunnel office"), "{events}");
        Ok(())
    });
}

#[test]
fn a_key_that_a_reload_takes_out_is_cut_off_with_what_it_has_open() {
    mainstay_lab::test(|| {
        let private = Private::make()?;
        let _agent = private.agent(&["--to", "127.0.0.1:8000"])?;
        let visitor = private.visitor(VISITOR, &[])?;
        private.wait_visited()?;
        let at: SocketAddr = DOOR.parse()?;
        let mut held = private.bed.client.run(|| TcpStream::connect_timeout(&at, LIMIT))??;
        held.set_read_timeout(Some(LIMIT))?;
        held.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")?;
        let mut first = [0; 8];
        held.read_exact(&mut first)?;
        for hub in &private.hubs {
            let config = std::fs::read_to_string(hub.config_path())?;
            let without = config.replace(&tunnel(&private.bed, VISITOR), &tunnel(&private.bed, STRANGER));
            ensure!(config != without);
            let said = reload(hub, &without)?;
            ensure!(said.contains("visitors"), "{said}");
        }
        let mut rest = Vec::new();
        // Its end, or a reset: not the silence of a connection that goes on.
        let over = held.read_to_end(&mut rest);
        ensure!(!over.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "it is still open");
        visitor.wait_until("it hears why", LIMIT, || Ok(visitor.log().contains("may not reach tunnel")))?;
        ensure!(private.whose().is_err(), "nobody serves it");
        let output = pipe(&private, STRANGER, TUNNEL, REQUEST.as_bytes())?;
        ensure!(text(&output.stdout).contains("one"), "the other key is let in: {}", text(&output.stderr));
        Ok(())
    });
}

#[test]
fn datagrams_reach_a_private_tunnel() {
    mainstay_lab::test(|| {
        let private = Private::make()?;
        let site = &private.bed.sites[0].0;
        let target = site.run(|| UdpSocket::bind("127.0.0.1:5300"))??;
        target.set_read_timeout(Some(LIMIT))?;
        let _agent = private.agent(&["--to", "127.0.0.1:5300", "--udp"])?;
        let visitor = private.visitor(VISITOR, &["--udp", "--listen", "127.0.0.1:5301"])?;
        private.wait_visited()?;
        let says = std::thread::spawn(move || -> Result<()> {
            let mut buffer = [0; 2000];
            loop {
                let (count, from) = target.recv_from(&mut buffer)?;
                if &buffer[..count] == b"stop" {
                    return Ok(());
                }
                target.send_to(&[b"echo: ", &buffer[..count]].concat(), from)?;
            }
        });
        let sockets =
            private.bed.client.run(|| [UdpSocket::bind("127.0.0.1:0"), UdpSocket::bind("127.0.0.1:0")])?;
        for (nth, socket) in sockets.into_iter().enumerate() {
            let socket = socket?;
            socket.connect("127.0.0.1:5301")?;
            socket.set_read_timeout(Some(Duration::from_millis(500)))?;
            let mut answer = [0; 2000];
            let said = [format!("question {nth}"), "y".repeat(1400)];
            for said in said {
                visitor.wait_until("an answer comes back", LIMIT, || {
                    socket.send(said.as_bytes())?;
                    let wanted = format!("echo: {said}");
                    Ok(socket.recv(&mut answer).is_ok_and(|count| answer[..count] == *wanted.as_bytes()))
                })?;
            }
            if nth == 1 {
                socket.send(b"stop")?;
            }
        }
        says.join().map_err(|_| anyhow::anyhow!("the target panicked"))?
    });
}

#[test]
fn a_hub_that_stops_loses_no_connection_of_a_visitor() {
    mainstay_lab::test(|| {
        let private = Private::make()?;
        let _agent = private.agent(&["--to", "127.0.0.1:8000"])?;
        let visitor = private.visitor(VISITOR, &[])?;
        private.wait_visited()?;
        for hub in &private.hubs {
            let (over, mut requests) = (hub.daemon(), 0);
            over.stop()?;
            while over.running() {
                private.whose().with_context(|| format!("request {requests}: {}", visitor.log_tail()))?;
                requests += 1;
            }
            ensure!(requests > 0);
            over.start()?;
            private.wait_for_agent(hub)?;
            private.wait_visited()?;
        }
        Ok(())
    });
}

/// The visitor as a file has it.
fn file(doors: &[&str]) -> String {
    let door = |at: &&str| format!("\n[[visit.tunnel]]\nid = \"{TUNNEL}\"\nlisten = \"{at}\"\n");
    let doors: String = doors.iter().map(door).collect();
    format!(
        "[node]\nid = \"desk\"\nscript_user = \"root\"\n\n[[visit]]\nhubs = [\"tcp://{HUB}\", \"tcp://{OTHER}\"]\nkey = \"{VISITOR}\"\n{doors}"
    )
}

#[test]
fn a_visit_of_a_file_is_kept_by_a_worker_and_a_reload_loses_no_connection() {
    mainstay_lab::test(|| {
        let private = Private::make()?;
        let _agent = private.agent(&["--to", "127.0.0.1:8000"])?;
        let host = &private.bed.client;
        let node = Mainstay::start(host, &binary(), &file(&[DOOR]))?;
        private.wait_visited()?;
        ensure!(private.whose()? == "one");
        let at: SocketAddr = DOOR.parse()?;
        let mut held = host.run(|| TcpStream::connect_timeout(&at, LIMIT))??;
        held.set_read_timeout(Some(LIMIT))?;
        let mut ask = || -> Result<()> {
            held.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")?;
            let mut answer = Vec::new();
            while !String::from_utf8_lossy(&answer).contains("\r\n\r\none\n") {
                let mut buffer = [0; 1000];
                let count = held.read(&mut buffer)?;
                ensure!(count > 0, "it has ended after {answer:?}");
                answer.extend_from_slice(&buffer[..count]);
            }
            Ok(())
        };
        ask()?;
        let shown = node.say(&["status"])?;
        ensure!(shown.contains(DOOR) && shown.contains("VISIT") && !shown.contains("mst1_"), "{shown}");
        let events = node.say(&["events"])?;
        ensure!(events.contains("tunnel office is reached at 127.0.0.1:8022, through hub"), "{events}");
        let proc = format!("/proc/{}/status", node.worker_pid("agent")?.as_raw_nonzero());
        let uids = std::fs::read_to_string(proc)?;
        let uids = uids.lines().find(|line| line.starts_with("Uid:")).unwrap_or_default();
        ensure!(!uids.contains("\t0"), "it runs as root: {uids}");

        let over = std::sync::atomic::AtomicBool::new(false);
        let drained = file(&[DOOR]).replace("[[visit]]\n", "[[visit]]\ndrain = \"60s\"\n");
        std::thread::scope(|scope| {
            let load = scope.spawn(|| -> Result<u32> {
                let mut served = 0;
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    private.whose().with_context(|| format!("request {served}"))?;
                    served += 1;
                }
                Ok(served)
            });
            let said = reload(&node, &drained);
            let settled = node.daemon().wait_until("the successor has met the hubs", LIMIT, || {
                let status = node.status_json()?;
                let sessions = status["agents"][0]["hubs"].as_array().cloned().unwrap_or_default();
                Ok(sessions.iter().filter(|hub| hub["sessions"].as_u64() == Some(1)).count() == 2)
            });
            over.store(true, std::sync::atomic::Ordering::Relaxed);
            let served = load.join().expect("the load does not panic")?;
            ensure!(said?.contains("visit \"desk\" has other drain") && served > 0);
            settled
        })?;
        ask().context("the connection of before the reload")
    });
}

#[test]
fn a_door_whose_place_is_taken_opens_once_that_is_free() {
    mainstay_lab::test(|| {
        let private = Private::make()?;
        let _agent = private.agent(&["--to", "127.0.0.1:8000"])?;
        let host = &private.bed.client;
        let at: SocketAddr = DOOR.parse()?;
        let taken = host.run(|| TcpListener::bind(at))??;
        let node = Mainstay::start(host, &binary(), &file(&[DOOR]))?;
        node.daemon().wait_until("it says so", LIMIT, || {
            Ok(node.status_json()?["degraded"].to_string().contains("127.0.0.1:8022 can't be listened at"))
        })?;
        drop(taken);
        node.daemon()
            .wait_until("it is open", LIMIT, || Ok(private.whose().is_ok_and(|who| who == "one")))?;
        node.daemon().wait_until("nothing is wrong any more", LIMIT, || {
            Ok(!node.status_json()?["degraded"].to_string().contains("listened at"))
        })?;
        let foreground = pipe_door(&private)?;
        ensure!(foreground.contains("127.0.0.1:8022 can't be listened at"), "{foreground}");
        Ok(())
    });
}

/// What the visitor says in the foreground, when its place is taken.
fn pipe_door(private: &Private) -> Result<String> {
    let visitor = private.visitor(VISITOR, &[])?;
    visitor.wait_ended(LIMIT)?;
    Ok(visitor.log())
}
